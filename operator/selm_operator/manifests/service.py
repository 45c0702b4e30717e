"""The headless Service of a run's training pods."""

from __future__ import annotations

from typing import Any

from selm_operator.constants import LABEL_MANAGED_BY, LABEL_PHASE, LABEL_RUN, LABEL_RUN_UID, MANAGED_BY
from selm_operator.manifests.names import owner_reference
from selm_operator.snapshot import RunView
from selm_runtime.contract import Phase


def build_service(run: RunView, name: str) -> dict[str, Any]:
    """One Service a run, for all attempts and iterations: the pods' host names tell attempts apart.

    Addresses are published before pods are ready, for rank 0 is not while it waits for the others. No ports: DNS alone
    is wanted of it.
    """
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": run.namespace,
            "labels": {LABEL_RUN: run.name, LABEL_RUN_UID: run.uid, LABEL_MANAGED_BY: MANAGED_BY},
            "ownerReferences": [owner_reference(run)],
        },
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {LABEL_RUN_UID: run.uid, LABEL_PHASE: Phase.TRAINING.value},
        },
    }
