"""The operator's ServiceAccount on the embedded cluster: the rights of the chart, and a kubeconfig with its token.

So the operator is held to them in whatever it does here, as on a real cluster.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from selm_local.apiclient import ApiClient
from selm_local.state import StateDir, write_atomically

NAMESPACE = "selm-system"
"""The operator's own: its Lease is there."""
NAME = "selm-operator"
TOKEN_SECONDS = 10 * 365 * 24 * 3600
"""It is renewed at each start of the operator; the state folder holds a token of the administrator, too."""
RIGHTS = "rbac.yaml"
RBAC = "rbac.authorization.k8s.io"


def rights_file() -> Path | None:
    """The chart's list of rights: in the source tree, or where an installation puts shared data."""
    here = Path(__file__).resolve()
    chart = here.parents[2] / "charts" / "selm-operator" / "files" / RIGHTS
    candidates = [chart, Path(sys.prefix) / "share" / "selm" / RIGHTS]
    return next((path for path in candidates if path.is_file()), None)


def kubeconfig_path(state: StateDir) -> Path:
    return state.root / "operator.kubeconfig"


def grant(api: ApiClient, state: StateDir, rights: dict[str, Any]) -> Path:
    """Applies account, roles and bindings, and writes the account's kubeconfig with a new token; returns its path.

    Args:
        rights: RBAC rules by where they hold: `watched` in all namespaces, `own` in the operator's.

    Raises:
        ApiRefusal, ApiUnavailable: from the API server.
    """
    for path, obj in _objects(rights):
        api.apply(path, obj)
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": TOKEN_SECONDS},
    }
    answer = api.create(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{NAME}/token", request)
    config = yaml.safe_load(state.kubeconfig.read_text(encoding="utf-8"))
    config["users"] = [{**config["users"][0], "user": {"token": answer["status"]["token"]}}]
    target = kubeconfig_path(state)
    write_atomically(target, yaml.safe_dump(config))
    return target


def _objects(rights: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(path, object) of what is applied, in this order."""
    yield f"/api/v1/namespaces/{NAMESPACE}", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": NAMESPACE}}
    yield f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{NAME}", account
    for kind, namespace, rules in (("ClusterRole", None, rights["watched"]), ("Role", NAMESPACE, rights["own"])):
        metadata = {"name": NAME} | ({"namespace": namespace} if namespace else {})
        base = f"/apis/{RBAC}/v1" + (f"/namespaces/{namespace}" if namespace else "")
        role = {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": metadata, "rules": rules}
        yield f"{base}/{kind.lower()}s/{NAME}", role
        binding = {
            "apiVersion": f"{RBAC}/v1",
            "kind": f"{kind}Binding",
            "metadata": metadata,
            "roleRef": {"apiGroup": RBAC, "kind": kind, "name": NAME},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}],
        }
        yield f"{base}/{kind.lower()}bindings/{NAME}", binding
