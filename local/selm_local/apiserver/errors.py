"""What a request is refused with: one exception that carries a `v1.Status`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Protocol


class FieldProblem(Protocol):
    """The shape of a field error (see `schema.errors.FieldError`)."""

    @property
    def field(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def message(self) -> str: ...


class ApiError(Exception):
    """A refusal. `status()` is the `v1.Status` that a client of the Kubernetes API expects.

    code: the HTTP status. reason: machine-readable, CamelCase (metav1.StatusReason), may be empty.
    details: metav1.StatusDetails (group, kind, name, uid, causes, retryAfterSeconds).
    """

    def __init__(self, code: int, reason: str, message: str, details: Mapping[str, Any] | None = None):
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = dict(details) if details is not None else None

    def status(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            body["reason"] = self.reason
        if self.details is not None:
            body["details"] = self.details
        body["code"] = self.code
        return body


def _qualified(group: str, what: str) -> str:
    return f"{what}.{group}" if group else what


def _details(group: str, kind: str, name: str) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    details["kind"] = kind
    return details


def not_found(group: str, plural: str, name: str) -> ApiError:
    return ApiError(404, "NotFound", f'{_qualified(group, plural)} "{name}" not found', _details(group, plural, name))


def already_exists(group: str, plural: str, name: str) -> ApiError:
    message = f'{_qualified(group, plural)} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, _details(group, plural, name))


def conflict(group: str, what: str, name: str, why: str) -> ApiError:
    message = f'Operation cannot be fulfilled on {_qualified(group, what)} "{name}": {why}'
    return ApiError(409, "Conflict", message, _details(group, what, name))


def modified(group: str, plural: str, name: str) -> ApiError:
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(group, plural, name, why)


def invalid(group: str, kind: str, name: str, problems: Iterable[FieldProblem]) -> ApiError:
    """422 with one cause per field, in the order given."""
    found = list(problems)
    causes = [{"reason": p.reason, "message": p.message, "field": p.field} for p in found]
    texts = list(dict.fromkeys(f"{p.field}: {p.message}" for p in found))
    text = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    details = _details(group, kind, name)
    details["causes"] = causes
    return ApiError(422, "Invalid", f'{_qualified(group, kind)} "{name}" is invalid: {text}', details)


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def forbidden(group: str, plural: str, name: str, why: str) -> ApiError:
    what = _qualified(group, plural) + (f' "{name}"' if name else "")
    return ApiError(403, "Forbidden", f"{what} is forbidden: {why}", _details(group, plural, name))


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def method_not_allowed() -> ApiError:
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")


def gone(message: str) -> ApiError:
    """410: the version asked for is older than what the event log still holds (or a paging token has expired)."""
    return ApiError(410, "Expired", message)


def not_acceptable(accepted: Iterable[str]) -> ApiError:
    message = "only the following media types are accepted: " + ", ".join(accepted)
    return ApiError(406, "NotAcceptable", message)


def unsupported_media_type(accepted: Iterable[str]) -> ApiError:
    listed = ", ".join(accepted)
    message = f"the body of the request was in an unknown format - accepted media types include: {listed}"
    return ApiError(415, "UnsupportedMediaType", message)


def not_implemented(what: str) -> ApiError:
    """501: a real cluster has this, the embedded one does not. It is said, never pretended."""
    return ApiError(501, "NotImplemented", f"the embedded cluster does not implement {what}")


def internal(message: str) -> ApiError:
    return ApiError(500, "InternalError", f"Internal error occurred: {message}")


def reason_phrase(code: int) -> str:
    return HTTPStatus(code).phrase
