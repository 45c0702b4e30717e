"""The CustomResourceDefinition `selmruns.selm.dev`, from the models."""

from __future__ import annotations

from typing import Any

import yaml

from selm_operator.api.base import GROUP, KIND, PLURAL, VERSION
from selm_operator.api.schema import run_schema

SHORT_NAME = "selm"
HEADER = "# Generated from operator/selm_operator/api by `make generate`; changes belong there.\n"


def _condition(kind: str, field: str) -> str:
    return f'.status.conditions[?(@.type=="{kind}")].{field}'


_COLUMNS: tuple[tuple[str, str, str, int], ...] = (
    ("Succeeded", "string", _condition("Succeeded", "status"), 0),
    ("Reason", "string", _condition("Succeeded", "reason"), 0),
    ("Iteration", "integer", ".status.current.iteration", 0),
    ("Of", "integer", ".spec.iterations", 0),
    ("Phase", "string", ".status.current.phase", 0),
    ("Best", "integer", ".status.bestIteration", 0),
    ("Suspended", "string", _condition("Suspended", "status"), 1),
    ("GPU-Seconds", "number", ".status.gpuSeconds", 1),
    ("Message", "string", _condition("Succeeded", "message"), 1),
    ("Age", "date", ".metadata.creationTimestamp", 0),
)
"""Name, type, JSON path and priority (1: shown by `-o wide` alone) of what `kubectl get` prints."""


def custom_resource_definition() -> dict[str, Any]:
    """The CRD as plain JSON values."""
    columns = [
        {"name": name, "type": kind, "jsonPath": path} | ({"priority": priority} if priority else {})
        for name, kind, path, priority in _COLUMNS
    ]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "plural": PLURAL,
                "singular": KIND.lower(),
                "kind": KIND,
                "listKind": f"{KIND}List",
                "shortNames": [SHORT_NAME],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": columns,
                    "schema": {"openAPIV3Schema": run_schema()},
                }
            ],
        },
    }


class _NoAliases(yaml.SafeDumper):
    """YAML anchors would save lines that readers and diffs need."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 (the signature is PyYAML's)
        return True


def crd_yaml() -> str:
    """The CRD as the text of `crds/selmruns.selm.dev.yaml`."""
    text = yaml.dump(custom_resource_definition(), Dumper=_NoAliases, sort_keys=False, width=120, allow_unicode=True)
    return HEADER + text
