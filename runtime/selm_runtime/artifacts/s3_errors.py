"""What S3 servers and botocore raise, in the terms of `Store`: which field to mend, or that the store is away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from boto3.exceptions import Boto3Error
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)
from botocore.exceptions import SSLError as BotoSSLError
from urllib3.exceptions import HTTPError

from selm_runtime.artifacts.store import NotFound
from selm_runtime.errors import STORE_UNAVAILABLE, InvalidInput, TemporaryFailure

_REFUSED = {
    "403",
    "401",
    "AccessDenied",
    "AllAccessDisabled",
    "ExpiredToken",
    "Forbidden",
    "InvalidAccessKeyId",
    "InvalidSecurity",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "Unauthorized",
    "UnauthorizedAccess",
}
_ABSENT = {"404", "NoSuchKey", "NotFound"}
_ELSEWHERE = {"301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"}
_PASSING = {"NoSuchUpload", "OperationAborted", "RequestTimeout", "RequestTimeTooSkewed", "SlowDown", "Throttling"}
CONDITION_FAILED = {"412", "PreconditionFailed"}
CONDITION_RACED = {"409", "ConditionalRequestConflict"}
RANGE_BEYOND = {"416", "InvalidRange"}
NOT_IMPLEMENTED = {"501", "NotImplemented", "XNotImplemented", "MethodNotAllowed", "405"}


@dataclass(frozen=True)
class Where:
    """What error messages name."""

    field: str
    bucket: str
    endpoint: str


def code_of(error: ClientError) -> str:
    """The S3 error code; the HTTP status as text where the answer had no body (HEAD)."""
    return str(error.response.get("Error", {}).get("Code") or status_of(error))


def status_of(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


@contextmanager
def s3_errors(where: Where, key: str) -> Iterator[None]:
    """Translate; NotFound, InvalidInput and TemporaryFailure pass through."""
    try:
        yield
    except ClientError as error:
        raise _of_answer(where, key, error) from error
    except Boto3Error as error:
        # The transfer manager puts the server's answer into a message and keeps it as the context.
        cause = error.__cause__ or error.__context__
        if isinstance(cause, ClientError):
            raise _of_answer(where, key, cause) from error
        raise _away(where, error) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise InvalidInput(
            "CredentialsMissing",
            "spec.artifacts.credentialsSecretRef: found no complete credentials "
            f"({error}); allowed are a Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a service "
            "account with rights of its own",
        ) from error
    except ParamValidationError as error:
        raise InvalidInput("InvalidURI", f"{where.field}: bucket {where.bucket!r}, key {key!r}: {error}") from error
    except BotoSSLError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise InvalidInput(
                "CertificateRefused",
                f"spec.artifacts.caBundleConfigMapRef: the certificate of {where.endpoint} is not trusted: {error}",
            ) from error
        raise _away(where, error) from error
    except (BotoCoreError, HTTPError, ConnectionError, TimeoutError) as error:
        raise _away(where, error) from error


def _of_answer(where: Where, key: str, error: ClientError) -> Exception:
    code, status = code_of(error), status_of(error)
    if code == "NoSuchBucket":
        return InvalidInput(
            "BucketNotFound",
            f"{where.field}: bucket {where.bucket!r} does not exist at {where.endpoint}; it must be there before",
        )
    if code in _ABSENT:
        return NotFound(key)
    if code in _REFUSED or status in (401, 403):
        return InvalidInput(
            "CredentialsRefused",
            f"spec.artifacts.credentialsSecretRef: {where.endpoint} refuses access to bucket {where.bucket!r} "
            f"({code} at {key!r}); the credentials must be valid and allowed to read, write, list and delete there",
        )
    if code in _ELSEWHERE or status == 301:
        return InvalidInput(
            "WrongRegion", f"spec.artifacts.region: bucket {where.bucket!r} is in another region ({code}: {error})"
        )
    if code in _PASSING or status >= 500 or status in (0, 408, 409, 429):
        return _away(where, error)
    return InvalidInput("StoreRefused", f"{where.field}: {where.endpoint} answers {code} at {key!r}: {error}")


def _away(where: Where, error: Exception) -> TemporaryFailure:
    return TemporaryFailure(STORE_UNAVAILABLE, f"{where.field}: {where.endpoint} does not answer as it should: {error}")
