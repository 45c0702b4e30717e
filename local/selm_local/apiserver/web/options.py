"""Query parameters and option bodies of the API, checked: a wrong one is named."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

from multidict import MultiMapping

from selm_local.apiserver.access import User
from selm_local.apiserver.errors import ApiError, bad_request, invalid
from selm_local.apiserver.requests import DeleteRequest, FieldValidation, WriteRequest
from selm_local.apiserver.schema.errors import FieldError, not_supported
from selm_local.apiserver.schema.errors import invalid as invalid_field
from selm_local.apiserver.web.route import is_true

FIELD_VALIDATION = ("Ignore", "Warn", "Strict")
MAX_MANAGER = 128


def whole_number(query: Mapping[str, str], name: str) -> int | None:
    value = query.get(name)
    if not value:
        return None
    try:
        return int(value)
    except ValueError:
        raise bad_request(f"{name}: Invalid value: {value!r}: must be a whole number") from None


def version_number(query: Mapping[str, str], name: str = "resourceVersion") -> int | None:
    """A resourceVersion; None where none was given. Raises ApiError 400."""
    value = query.get(name)
    if not value:
        return None
    if not value.isdecimal():
        raise bad_request(
            f'invalid resource version: {name}: Invalid value: "{value}": '
            f'strconv.ParseUint: parsing "{value}": invalid syntax'
        )
    return int(value)


def _dry_run(values: list[str], kind: str) -> bool:
    wrong = [v for v in values if v != "All"]
    if wrong:
        raise invalid("meta.k8s.io", kind, "", [not_supported("dryRun", wrong, ["All"])])
    return bool(values)


def write_request(
    query: MultiMapping[str], user_agent: str, user: User, kind: str, *, apply: bool = False
) -> WriteRequest:
    """Of a create, update or patch. The manager defaults to the client's name, except for apply, which must say it."""
    validation = query.get("fieldValidation") or "Warn"
    if validation not in FIELD_VALIDATION:
        raise invalid("meta.k8s.io", kind, "", [not_supported("fieldValidation", validation, FIELD_VALIDATION)])
    manager = query.get("fieldManager") or ""
    if len(manager) > MAX_MANAGER:
        problem = FieldError("fieldManager", "FieldValueTooLong", f"Too long: may not be more than {MAX_MANAGER} bytes")
        raise invalid("meta.k8s.io", kind, "", [problem])
    force = is_true(query.get("force"))
    if force and not apply:
        problem = FieldError("force", "FieldValueForbidden", "Forbidden: may not be specified for non-apply patch")
        raise invalid("meta.k8s.io", kind, "", [problem])
    if not manager and not apply:
        manager = user_agent.split("/", 1)[0][:MAX_MANAGER] or "unknown"
    return WriteRequest(
        manager=manager,
        dry_run=_dry_run(query.getall("dryRun", []), kind),
        field_validation=cast(FieldValidation, validation),
        force=force,
        user=user,
    )


def delete_request(query: MultiMapping[str], body: Any) -> DeleteRequest:
    """From the DeleteOptions in the body, or from the query where there is no body."""
    options: Mapping[str, Any] = {}
    if body is not None:
        if not isinstance(body, dict) or body.get("kind", "DeleteOptions") != "DeleteOptions":
            raise bad_request("the body of a DELETE must be a DeleteOptions object")
        options = body
    propagation = options.get("propagationPolicy") or query.get("propagationPolicy") or None
    orphan = options.get("orphanDependents")
    if orphan is None and "orphanDependents" in query:
        orphan = is_true(query["orphanDependents"])
    if orphan is not None and propagation is not None:
        text = "orphanDependents and deletionPropagation cannot be both set"
        raise invalid("meta.k8s.io", "DeleteOptions", "", [invalid_field("propagationPolicy", propagation, text)])
    if orphan is not None:
        propagation = "Orphan" if orphan else "Background"
    grace = options.get("gracePeriodSeconds")
    if grace is None:
        grace = whole_number(query, "gracePeriodSeconds")
    if grace is not None and (isinstance(grace, bool) or not isinstance(grace, int)):
        raise bad_request(f"gracePeriodSeconds: Invalid value: {grace!r}: must be a whole number of seconds")
    preconditions = options.get("preconditions") or {}
    dry = list(options.get("dryRun") or []) + query.getall("dryRun", [])
    return DeleteRequest(
        propagation=propagation,
        grace_seconds=grace,
        uid=preconditions.get("uid"),
        resource_version=preconditions.get("resourceVersion"),
        dry_run=_dry_run(dry, "DeleteOptions"),
    )


def watch_seconds(query: Mapping[str, str], default: float) -> float:
    asked = whole_number(query, "timeoutSeconds")
    return default if not asked else float(min(asked, math.ceil(default * 4)))


def list_problem(field: str, message: str) -> ApiError:
    return invalid(
        "meta.k8s.io", "ListOptions", "", [FieldError(field, "FieldValueForbidden", f"Forbidden: {message}")]
    )
