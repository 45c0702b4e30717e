"""The control arm of a run: the same run without the exploring term."""

from __future__ import annotations

from typing import Any

from selm_operator.api.spec import SELMRunSpec
from selm_operator.constants import API_VERSION, KIND, LABEL_CONTROL_OF, LABEL_MANAGED_BY, MANAGED_BY
from selm_operator.manifests.names import control_name, owner_reference
from selm_operator.snapshot import RunView


def build_control(run: RunView, spec: SELMRunSpec) -> dict[str, Any]:
    """The SELMRun `<name>-control`, owned by the run: alpha 0 in objective and schedule, no control of its own, and no push.

    Alpha is no input of Generation and Scoring, nor of the base's Evaluation, so those of iteration 1 are taken over by
    their input digests. From there on it is a run like others: its `suspend` and `iterations` are its own.
    """
    written = spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    written["generation"]["engineArgs"] = dict(spec.generation.engine_args)  # a null in them has a meaning
    written["training"]["objective"]["alpha"] = 0.0
    for entry in written["schedule"]:
        if "alpha" in entry:
            entry["alpha"] = 0.0
    written["evaluation"]["control"] = False
    written.pop("push", None)  # the two would overwrite each other's model
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": control_name(run.name),
            "namespace": run.namespace,
            "labels": {LABEL_CONTROL_OF: run.name, LABEL_MANAGED_BY: MANAGED_BY},
            "ownerReferences": [owner_reference(run)],
        },
        "spec": written,
    }
