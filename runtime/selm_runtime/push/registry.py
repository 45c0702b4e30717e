"""A registry of the OCI distribution specification: blobs streamed in bounded memory, manifests, credentials, retries.

Blobs go whole by one PUT each, the way that every registry takes; what breaks off is begun again.
"""

from __future__ import annotations

import base64
import hashlib
import ssl
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TypeVar
from urllib.parse import quote
from urllib.request import parse_http_list, parse_keqv_list

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from selm_runtime.artifacts.upload import time_scale
from selm_runtime.errors import InvalidInput, TemporaryFailure
from selm_runtime.push.credentials import NONE, Credentials
from selm_runtime.push.place import Place

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_API_HOSTS = {"docker.io": "registry-1.docker.io"}
MOST_ATTEMPTS = 5
LONGEST_BACKOFF_SECONDS = 20.0
CONNECT_SECONDS, SILENT_SECONDS = 10.0, 60.0
FINISH_SECONDS = 900.0
"""How long a registry may be silent once a blob is sent: it hashes and moves gigabytes before it answers."""
MOST_REDIRECTS = 5
FIRST_BYTE = {"Range": "bytes=0-0"}

Body = Callable[[], Iterator[bytes]]
"""Makes the body anew for each attempt."""
T = TypeVar("T")


class _Again(Exception):
    """The same request may be answered otherwise later."""


class Registry:
    """One repository of a registry; to be used as a context manager.

    Every method raises InvalidInput where the registry refuses (credentials, no such repository, TLS), naming `field`,
    and TemporaryFailure where it is away or overloaded after some attempts.
    """

    def __init__(self, place: Place, *, field: str, plain_http: bool = False, credentials: Credentials = NONE) -> None:
        self._place, self._field, self._plain, self._credentials = place, field, plain_http, credentials
        self._origin = httpx.URL(f"{'http' if plain_http else 'https'}://{_API_HOSTS.get(place.host, place.host)}")
        self._authorization: str | None = None
        self._client = httpx.Client(timeout=httpx.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS))

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._client.close()

    def has_blob(self, digest: str) -> bool:
        """Whether the repository has it.

        Registries that keep blobs in an object store lead there, also where they are only asked whether it is there. Such
        a link may be made for GET alone, so where HEAD is refused the first byte is asked for; in doubt it is not there.
        """

        return self._persistently(lambda: self._has_blob(digest))

    def _has_blob(self, digest: str) -> bool:
        response = self._send("HEAD", self._url(f"blobs/{digest}"))
        if response.status_code == 404:
            return False
        if not response.has_redirect_location:
            self._check(response)
            return True
        if self._follow("HEAD", self._led_to(response)).is_success:
            return True
        again = self._send("GET", self._url(f"blobs/{digest}"), FIRST_BYTE)
        return again.has_redirect_location and self._follow("GET", self._led_to(again), FIRST_BYTE).is_success

    def push_blob(self, digest: str, size: int, body: Body) -> None:
        """Send a blob of `size` bytes; the registry holds it against its digest.

        Whether it is there is looked at only after a request that broke off: its end may have come through.
        """
        tried = False

        def send() -> None:
            nonlocal tried
            if tried and self._has_blob(digest):
                return
            tried = True
            begun = self._send("POST", self._url("blobs/uploads/"), {"Content-Length": "0"})
            self._check(begun)
            place = self._safe(self._origin.join(begun.headers.get("Location", "")))
            joint = "&" if place.query else "?"
            sent = self._send(
                "PUT",
                httpx.URL(f"{place}{joint}digest={quote(digest, safe='')}"),
                {"Content-Type": "application/octet-stream", "Content-Length": str(size)},
                body,
            )
            if sent.status_code in (404, 416):  # the registry has forgotten the upload that it has just begun
                raise _Again(f"the upload is unknown ({sent.status_code})")
            self._check(sent)

        self._persistently(send)

    def manifest_digest(self) -> str | None:
        """Of what the tag names; None where it names nothing."""

        def ask() -> str | None:
            accepted = {"Accept": MANIFEST_TYPE}
            response = self._send("GET", self._url(f"manifests/{self._place.tag}"), accepted)
            if response.has_redirect_location:
                response = self._follow("GET", self._led_to(response), accepted)
            if response.status_code == 404:
                return None
            self._check(response)
            return f"sha256:{hashlib.sha256(response.content).hexdigest()}"

        return self._persistently(ask)

    def put_manifest(self, manifest: bytes) -> None:
        """Have the tag name it; the registry takes it only where all its blobs are there."""

        def send() -> None:
            url = self._url(f"manifests/{self._place.tag}")
            headers = {"Content-Type": MANIFEST_TYPE, "Content-Length": str(len(manifest))}
            self._check(self._send("PUT", url, headers, lambda: iter((manifest,))))

        self._persistently(send)

    def _url(self, path: str) -> httpx.URL:
        return self._origin.join(f"/v2/{self._place.name}/{path}")

    # One request

    def _send(
        self, method: str, url: httpx.URL, headers: Mapping[str, str] | None = None, body: Body | None = None
    ) -> httpx.Response:
        """The answer, after the credentials were shown where they are asked for."""
        response = self._once(method, url, headers, body)
        if response.status_code == 401 and self._is_own(url):
            self._authenticate(response)
            response = self._once(method, url, headers, body)
        return response

    def _once(
        self, method: str, url: httpx.URL, headers: Mapping[str, str] | None, body: Body | None
    ) -> httpx.Response:
        sent = dict(headers or {})
        if self._authorization is not None and self._is_own(url):  # an upload may be led to another host
            sent["Authorization"] = self._authorization
        try:
            if body is None:
                return self._client.request(method, url, headers=sent)
            patience = httpx.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS, read=FINISH_SECONDS)
            return self._client.request(method, url, headers=sent, content=body(), timeout=patience)
        except httpx.TransportError as error:
            self._refuse_tls(error)
            raise _Again(f"it does not answer: {error or type(error).__name__}") from error

    def _led_to(self, response: httpx.Response) -> httpx.URL:
        return self._safe(response.url.join(response.headers["Location"]))

    def _follow(self, method: str, url: httpx.URL, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """What a place answers that the registry leads to, over further ones; only the registry is shown credentials."""
        for _ in range(MOST_REDIRECTS):
            response = self._send(method, url, headers)
            if not response.has_redirect_location:
                return response
            url = self._led_to(response)
        raise InvalidInput(
            "PushRefused",
            f"{self._field}: {self._place.uri} leads on more than {MOST_REDIRECTS} times, at last to {url.host}",
        )

    def _is_own(self, url: httpx.URL) -> bool:
        return (url.scheme, url.netloc) == (self._origin.scheme, self._origin.netloc)

    def _safe(self, url: httpx.URL) -> httpx.URL:
        """Nothing is sent in the clear but to a registry for which that is declared."""
        if url.scheme != "https" and not self._plain:
            raise InvalidInput(
                "InsecureRegistry",
                f"{self._field}: {self._place.host} leads to {url.scheme}://{url.host}, where data would go in the clear; "
                "allowed where plain HTTP is declared (plainHTTP)",
            )
        return url

    def _authenticate(self, response: httpx.Response) -> None:
        """Answer a challenge: Basic, or a Bearer token fetched where the registry says."""
        scheme, _, rest = response.headers.get("WWW-Authenticate", "").partition(" ")
        own = self._credentials
        if scheme.lower() == "basic" and own.username is not None:
            self._authorization = _basic(own)
        elif scheme.lower() == "bearer" and own.registry_token is not None:
            self._authorization = f"Bearer {own.registry_token}"
        elif scheme.lower() == "bearer":
            self._authorization = f"Bearer {self._token(parse_keqv_list(parse_http_list(rest)))}"
        else:
            raise self._denied(response.status_code)

    def _token(self, challenge: Mapping[str, str]) -> str:
        own, realm = self._credentials, self._safe(httpx.URL(challenge.get("realm", "")))
        asked = {"service": challenge.get("service", ""), "scope": f"repository:{self._place.name}:pull,push"}
        try:
            if own.identity_token is not None:
                refresh = {"grant_type": "refresh_token", "client_id": "selm", "refresh_token": own.identity_token}
                response = self._client.post(realm, data={**asked, **refresh})
            else:
                headers = {} if own.username is None else {"Authorization": _basic(own)}
                response = self._client.get(realm.copy_merge_params(asked), headers=headers)
        except httpx.TransportError as error:
            self._refuse_tls(error)
            raise _Again(f"{realm.host}, which gives its tokens, does not answer: {error}") from error
        if response.status_code in (400, 401, 403, 404):
            raise self._denied(response.status_code)
        self._check(response)
        given = _json(response)
        token = given.get("token") or given.get("access_token")
        if not isinstance(token, str):
            raise self._denied(response.status_code)
        return token

    # Answers

    def _check(self, response: httpx.Response) -> None:
        status, codes, text = response.status_code, *_told(response)
        if response.is_success:
            return
        if status in (408, 425, 429) or status >= 500 or "MANIFEST_BLOB_UNKNOWN" in codes:
            raise _Again(f"it answers {status}{text}")
        if status in (401, 403):
            raise self._denied(status, text)
        if status == 404:
            raise InvalidInput(
                "MissingRepository",
                f"{self._field}: {self._place.host} has no repository {self._place.name} and makes none by a push "
                f"(404{text})",
            )
        if response.has_redirect_location:
            led = self._led_to(response)
            raise InvalidInput(
                "PushRefused",
                f"{self._field}: {self._place.host} takes no push and leads to {led.scheme}://{led.netloc.decode()} ({status}); "
                "allowed is the registry itself",
            )
        raise InvalidInput("PushRefused", f"{self._field}: {self._place.uri} is refused ({status}{text})")

    def _denied(self, status: int, text: str = "") -> InvalidInput:
        return InvalidInput(
            "AccessDenied",
            f"{self._field}: {self._place.host} does not let {self._credentials} push to {self._place.name} "
            f"({status}{text})",
        )

    def _refuse_tls(self, error: BaseException) -> None:
        """Raise InvalidInput where TLS fails for a reason that stays."""
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, ssl.SSLError):
            cause = cause.__cause__ or cause.__context__
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise InvalidInput(
                "UntrustedRegistry",
                f"{self._field}: the certificate of {self._place.host} is not trusted ({cause.verify_message}); allowed is "
                "one that the system's authorities or those in SSL_CERT_FILE have signed",
            ) from error
        if isinstance(cause, ssl.SSLError) and cause.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
            raise InvalidInput(
                "UntrustedRegistry",
                f"{self._field}: {self._place.host} does not speak TLS; allowed where plain HTTP is declared (plainHTTP)",
            ) from error

    def _persistently(self, work: Callable[[], T]) -> T:
        scale = time_scale()
        try:
            for attempt in Retrying(
                retry=retry_if_exception_type(_Again),
                wait=wait_random_exponential(multiplier=scale, max=LONGEST_BACKOFF_SECONDS * scale),
                stop=stop_after_attempt(MOST_ATTEMPTS),
                reraise=True,
            ):
                with attempt:
                    result = work()
        except _Again as error:
            raise TemporaryFailure(
                "RegistryUnavailable", f"{self._field}: no push to {self._place.uri} now: {error}"
            ) from error
        return result


def _basic(credentials: Credentials) -> str:
    pair = f"{credentials.username}:{credentials.password}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _json(response: httpx.Response) -> dict[str, object]:
    try:
        answer = response.json()
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _told(response: httpx.Response) -> tuple[set[str], str]:
    """The codes of a refusal, and what is said of it (`: CODE: message`, or nothing)."""
    errors = _json(response).get("errors")
    entries = [entry for entry in errors if isinstance(entry, dict)] if isinstance(errors, list) else []
    said = "; ".join(f"{entry.get('code')}: {entry.get('message')}" for entry in entries)
    return {str(entry.get("code")) for entry in entries}, f": {said[:300]}" if said else ""
