"""Who asks (bearer tokens, ServiceAccount tokens) and what they may do (RBAC).

Sources: https://kubernetes.io/docs/reference/access-authn-authz/{authentication,rbac}/
"""

from __future__ import annotations

import datetime as dt
import hmac
import secrets
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jwt
import jwt.types

from selm_local.apiserver.errors import ApiError, bad_request, unauthorized
from selm_local.apiserver.resources import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    PODS,
    ROLE_BINDINGS,
    ROLES,
    SECRETS,
    SERVICE_ACCOUNTS,
)
from selm_local.apiserver.storage import Object, Storage

ISSUER = "https://kubernetes.default.svc.cluster.local"
_ALGORITHM = "HS256"
_KEY = "service-account-signing-key"
_EXTRA = "authentication.kubernetes.io"
BOUND = {"Pod": PODS, "Secret": SECRETS}
"""What a token may be bound to: kind → resource."""
MIN_TOKEN_SECONDS = 600
MAX_TOKEN_SECONDS = 2**32


@dataclass(frozen=True)
class User:
    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, list[str]] = field(default_factory=dict)

    def info(self) -> Object:
        """authentication.k8s.io/v1 UserInfo."""
        found: Object = {"username": self.name}
        if self.uid:
            found["uid"] = self.uid
        if self.groups:
            found["groups"] = list(self.groups)
        if self.extra:
            found["extra"] = dict(self.extra)
        return found


ADMIN = User("kubernetes-admin", ("system:masters", "system:authenticated"))
ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


@dataclass(frozen=True)
class Attributes:
    """What is to be done: to a resource (with subresource after a slash), or to a path."""

    verb: str
    group: str = ""
    resource: str = ""
    namespace: str | None = None
    name: str = ""
    path: str = ""


class Access:
    """Authentication and authorization over the stored objects. admin_token: the kubeconfig's."""

    def __init__(self, storage: Storage, admin_token: str, clock: Callable[[], dt.datetime]):
        self._storage = storage
        self._admin_token = admin_token
        self._clock = clock
        self._key = storage.setting(_KEY) or storage.keep_setting(_KEY, secrets.token_urlsafe(48))

    # --- who

    def authenticate(self, authorization: str | None) -> User:
        """From an Authorization header; none is the anonymous user. Raises ApiError 401."""
        if not authorization:
            return ANONYMOUS
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise unauthorized()
        user = self.user_of_token(token.strip())
        if user is None:
            raise unauthorized()
        return user

    def impersonated(self, user: User, name: str | None, groups: list[str], uid: str) -> User:
        """The user that a client with the right to impersonate asks to be taken for (Impersonate-* headers)."""
        if not name:
            if groups or uid:
                raise bad_request("requested impersonation without a user (Impersonate-User)")
            return user
        prefix, _, rest = name.partition("system:serviceaccount:")
        if not prefix and rest.count(":") == 1:
            namespace, account = rest.split(":")
            self.require(user, Attributes("impersonate", "", "serviceaccounts", namespace, account))
            groups = groups or ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
        else:
            self.require(user, Attributes("impersonate", "", "users", None, name))
        for group in groups:
            self.require(user, Attributes("impersonate", "", "groups", None, group))
        if uid:
            self.require(user, Attributes("impersonate", "authentication.k8s.io", "uids", None, uid))
        everyone = "system:unauthenticated" if name == ANONYMOUS.name else "system:authenticated"
        return User(name, tuple(dict.fromkeys([*groups, everyone])), uid)

    def user_of_token(self, token: str, audiences: Sequence[str] = (ISSUER,)) -> User | None:
        """Whose token it is; None where it is nobody's, no longer valid, or for none of the audiences."""
        if hmac.compare_digest(token.encode(), self._admin_token.encode()):
            return ADMIN
        try:
            # Times are checked below, by the cluster's clock.
            options: jwt.types.Options = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
            claims = jwt.decode(
                token, self._key, algorithms=[_ALGORITHM], audience=list(audiences), issuer=ISSUER, options=options
            )
        except jwt.InvalidTokenError:
            return None
        if not claims["nbf"] <= self._clock().timestamp() < claims["exp"]:
            return None
        bound = claims["kubernetes.io"]
        namespace, account = bound["namespace"], bound["serviceaccount"]
        found = self._storage.get(SERVICE_ACCOUNTS.storage, namespace, account["name"])
        if found is None or found.object["metadata"]["uid"] != account["uid"]:
            return None
        extra = {f"{_EXTRA}/credential-id": [f"JTI={claims['jti']}"]}
        for kind, resource in BOUND.items():
            holder = bound.get(kind.lower())
            if holder is None:
                continue
            stored = self._storage.get(resource.storage, namespace, holder["name"])
            if stored is None or stored.object["metadata"]["uid"] != holder["uid"]:
                return None
            if kind == "Pod":
                extra |= {f"{_EXTRA}/pod-name": [holder["name"]], f"{_EXTRA}/pod-uid": [holder["uid"]]}
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        return User(f"system:serviceaccount:{namespace}:{account['name']}", groups, account["uid"], extra)

    @staticmethod
    def audiences_of(token: str) -> list[str]:
        """Whom a token that `user_of_token` accepted is for; the administrator's is for the server."""
        try:
            return list(jwt.decode(token, options={"verify_signature": False})["aud"])
        except jwt.InvalidTokenError:
            return [ISSUER]

    def issue(
        self, account: Object, seconds: int, audiences: Sequence[str], bound: Object | None = None
    ) -> tuple[str, dt.datetime]:
        """A token for a ServiceAccount and when it ends. It dies with the account, and with the object it is bound to.

        bound: kind (of BOUND), name and uid.
        """
        now = self._clock()
        ends = now + dt.timedelta(seconds=seconds)
        found = account["metadata"]
        namespace, name = found["namespace"], found["name"]
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "aud": list(audiences) or [ISSUER],
            "jti": str(uuid.uuid4()),
            "sub": f"system:serviceaccount:{namespace}:{name}",
            "iat": int(now.timestamp()),
            "nbf": int(now.timestamp()),
            "exp": int(ends.timestamp()),
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name, "uid": found["uid"]}},
        }
        if bound is not None:
            claims["kubernetes.io"][bound["kind"].lower()] = {"name": bound["name"], "uid": bound["uid"]}
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM), ends

    # --- what

    def allowed(self, user: User, what: Attributes) -> bool:
        if "system:masters" in user.groups:
            return True
        return any(rule_allows(rule, what) for rule in self.rules(user, what.namespace))

    def rules(self, user: User, namespace: str | None) -> Iterator[Mapping[str, Any]]:
        """The policy rules that hold for the user: cluster-wide ones, then those of the namespace."""
        for stored in self._storage.all(CLUSTER_ROLE_BINDINGS.storage):
            if _binds(stored.object, user, None):
                yield from self._role_rules(stored.object, None)
        if namespace:
            for stored in self._storage.all(ROLE_BINDINGS.storage, namespace):
                if _binds(stored.object, user, namespace):
                    yield from self._role_rules(stored.object, namespace)

    def _role_rules(self, binding: Object, namespace: str | None) -> list[Mapping[str, Any]]:
        reference = binding["roleRef"]
        if reference["kind"] == "ClusterRole":
            stored = self._storage.get(CLUSTER_ROLES.storage, "", reference["name"])
        else:
            stored = self._storage.get(ROLES.storage, namespace or "", reference["name"])
        return (stored.object.get("rules") or []) if stored else []

    def require(self, user: User, what: Attributes) -> None:
        """Raises ApiError 403."""
        if not self.allowed(user, what):
            raise _forbidden(user, what)


def rule_allows(rule: Mapping[str, Any], what: Attributes) -> bool:
    """Whether one PolicyRule covers the attributes."""
    if not _has(rule.get("verbs"), what.verb):
        return False
    if what.path:
        return any(_path_matches(p, what.path) for p in rule.get("nonResourceURLs") or [])
    if not _has(rule.get("apiGroups"), what.group):
        return False
    names = rule.get("resourceNames") or []
    if names and what.name not in names:
        return False
    return any(_resource_matches(r, what.resource) for r in rule.get("resources") or [])


def _has(listed: list[str] | None, value: str) -> bool:
    return listed is not None and ("*" in listed or value in listed)


def _resource_matches(rule: str, resource: str) -> bool:
    if rule in ("*", resource):
        return True
    return rule.startswith("*/") and resource.endswith(rule[1:])


def _path_matches(rule: str, path: str) -> bool:
    return rule in ("*", path) or (rule.endswith("*") and path.startswith(rule[:-1]))


def _binds(binding: Object, user: User, namespace: str | None) -> bool:
    for subject in binding.get("subjects") or []:
        match subject["kind"]:
            case "User" if subject["name"] == user.name:
                return True
            case "Group" if subject["name"] in user.groups:
                return True
            case "ServiceAccount":
                where = subject.get("namespace") or namespace
                if user.name == f"system:serviceaccount:{where}:{subject['name']}":
                    return True
    return False


def _forbidden(user: User, what: Attributes) -> ApiError:
    if what.path:
        message = f'forbidden: User "{user.name}" cannot {what.verb} path "{what.path}"'
        return ApiError(403, "Forbidden", message, {})
    plural = what.resource.split("/")[0]
    where = f'in the namespace "{what.namespace}"' if what.namespace else "at the cluster scope"
    qualified = f"{plural}.{what.group}" if what.group else plural
    named = f' "{what.name}"' if what.name else ""
    message = (
        f'{qualified}{named} is forbidden: User "{user.name}" cannot {what.verb} resource "{what.resource}" '
        f'in API group "{what.group}" {where}'
    )
    details = {"name": what.name, "group": what.group, "kind": plural}
    return ApiError(403, "Forbidden", message, {k: v for k, v in details.items() if v})
