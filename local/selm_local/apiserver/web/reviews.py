"""Questions that are answered and not stored: access reviews, who am I, tokens of ServiceAccounts."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from selm_local.apiserver import errors, meta
from selm_local.apiserver.access import (
    BOUND,
    ISSUER,
    MAX_TOKEN_SECONDS,
    MIN_TOKEN_SECONDS,
    Access,
    Attributes,
    User,
)
from selm_local.apiserver.resources import (
    LOCAL_SUBJECT_ACCESS_REVIEWS,
    SELF_SUBJECT_ACCESS_REVIEWS,
    SELF_SUBJECT_REVIEWS,
    SELF_SUBJECT_RULES_REVIEWS,
    SERVICE_ACCOUNTS,
    SUBJECT_ACCESS_REVIEWS,
    TOKEN_REVIEWS,
)
from selm_local.apiserver.schema.errors import FieldError, invalid, required
from selm_local.apiserver.storage import Object
from selm_local.apiserver.web.objects import Call
from selm_local.apiserver.web.respond import answer_object

_DEFAULT_TOKEN_SECONDS = 3600


async def review(call: Call, access: Access, user: User) -> web.StreamResponse:
    request = call.write_request("CreateOptions")
    obj = await call.read_object(request)
    resource = call.resource
    obj = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {}, **obj}
    spec: Object = obj.get("spec") or {}
    if resource in (SELF_SUBJECT_ACCESS_REVIEWS, SUBJECT_ACCESS_REVIEWS, LOCAL_SUBJECT_ACCESS_REVIEWS):
        if resource != SELF_SUBJECT_ACCESS_REVIEWS:
            user = _subject(resource.group, resource.kind, spec)
        obj["status"] = _decide(access, user, resource.group, resource.kind, spec)
    elif resource == SELF_SUBJECT_RULES_REVIEWS:
        obj["status"] = _rules(access, user, spec.get("namespace"))
    elif resource == SELF_SUBJECT_REVIEWS:
        obj["status"] = {"userInfo": user.info()}
    elif resource == TOKEN_REVIEWS:
        obj["status"] = _token_review(access, spec)
    return answer_object(obj, call.wanted, 201, request.warnings)


def _subject(group: str, kind: str, spec: Object) -> User:
    if not spec.get("user") and not spec.get("groups"):
        problem = invalid("spec.user", spec.get("user", ""), "at least one of user or group must be specified")
        raise errors.invalid(group, kind, "", [problem])
    return User(spec.get("user") or "", tuple(spec.get("groups") or ()), spec.get("uid") or "")


def _decide(access: Access, user: User, group: str, kind: str, spec: Object) -> Object:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if bool(resource) == bool(path):
        text = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        problem = FieldError("spec.resourceAttributes", "FieldValueInvalid", f"Invalid value: {text}")
        raise errors.invalid(group, kind, "", [problem])
    if path:
        what = Attributes(path.get("verb", ""), path=path.get("path", ""))
    else:
        found: dict[str, Any] = resource or {}
        plural, sub = found.get("resource", ""), found.get("subresource")
        what = Attributes(
            found.get("verb", ""),
            found.get("group", ""),
            f"{plural}/{sub}" if sub else plural,
            found.get("namespace") or None,
            found.get("name", ""),
        )
    return {"allowed": access.allowed(user, what)}


def _rules(access: Access, user: User, namespace: str | None) -> Object:
    rules = list(access.rules(user, namespace))
    if "system:masters" in user.groups:
        rules = [
            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
            {"verbs": ["*"], "nonResourceURLs": ["*"]},
        ]
    return {
        "resourceRules": [r for r in rules if r.get("resources")],
        "nonResourceRules": [r for r in rules if r.get("nonResourceURLs")],
        "incomplete": False,
    }


def _token_review(access: Access, spec: Object) -> Object:
    if not spec.get("token"):
        return {"user": {}, "error": "[invalid bearer token, no token in the review]"}
    wanted = spec.get("audiences") or [ISSUER]
    user = access.user_of_token(spec["token"], wanted)
    if user is None:
        return {"user": {}, "error": "[invalid bearer token]"}
    held = access.audiences_of(spec["token"])
    return {"authenticated": True, "user": user.info(), "audiences": [one for one in wanted if one in held]}


def _bound_object(call: Call, account: Object, reference: Object) -> Object:
    """The object that a token is to be bound to, as its claim names it. Raises ApiError."""
    kind, name = str(reference.get("kind") or ""), str(reference.get("name") or "")
    resource = BOUND.get(kind)
    if resource is None or reference.get("apiVersion") != "v1":
        raise errors.bad_request(f"cannot bind token to object of type {reference.get('apiVersion')}, Kind={kind}")
    found = call.registry.stored(resource, call.target.namespace, name).object
    uid = found["metadata"]["uid"]
    if reference.get("uid") not in (None, "", uid):
        why = (
            f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record. "
            "The object might have been deleted and then recreated"
        )
        raise errors.conflict("", resource.plural, name, why)
    mine = account["metadata"]["name"]
    if kind == "Pod" and found["spec"].get("serviceAccountName") != mine:
        why = f'cannot bind token for serviceaccount "{mine}" to pod running with different serviceaccount name.'
        raise errors.bad_request(why)
    return {"kind": kind, "name": name, "uid": uid}


async def token(call: Call, access: Access) -> web.StreamResponse:
    """POST serviceaccounts/{name}/token: a TokenRequest."""
    request = call.write_request("CreateOptions")
    obj = await call.read_object(request)
    sent = obj.get("metadata") or {}
    if sent.get("name") not in (None, "", call.name):
        raise errors.bad_request(
            f"the name of the object ({sent['name']}) does not match the name on the URL ({call.name})"
        )
    account = call.registry.stored(SERVICE_ACCOUNTS, call.target.namespace, call.name)
    spec: Object = dict(obj.get("spec") or {})
    seconds = spec.get("expirationSeconds")
    seconds = _DEFAULT_TOKEN_SECONDS if seconds is None else seconds
    problems: list[FieldError] = []
    if isinstance(seconds, bool) or not isinstance(seconds, int):
        raise errors.bad_request(
            f"spec.expirationSeconds: Invalid value: {seconds!r}: must be a whole number of seconds"
        )
    if not MIN_TOKEN_SECONDS <= seconds <= MAX_TOKEN_SECONDS:
        short = seconds < MIN_TOKEN_SECONDS
        text = f"may not specify a duration {'less than 10 minutes' if short else 'larger than 2^32 seconds'}"
        problems.append(invalid("spec.expirationSeconds", seconds, text))
    for i, audience in enumerate(spec.get("audiences") or []):
        if not audience:
            problems.append(required(f"spec.audiences[{i}]"))
    if problems:
        raise errors.invalid("authentication.k8s.io", "TokenRequest", "", problems)
    reference = spec.get("boundObjectRef")
    bound = _bound_object(call, account.object, reference) if reference else None
    made, ends = access.issue(account.copy(), seconds, spec.get("audiences") or [], bound)
    spec |= {"expirationSeconds": seconds, "audiences": spec.get("audiences") or [ISSUER], "boundObjectRef": reference}
    found = account.object["metadata"]
    answer = {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {
            "name": found["name"],
            "namespace": found["namespace"],
            "creationTimestamp": meta.now_text(call.registry.clock()),
        },
        "spec": spec,
        "status": {"token": made, "expirationTimestamp": meta.now_text(ends)},
    }
    return answer_object(answer, call.wanted, 201, request.warnings)
