"""kstatus' verdict on a custom resource, as sigs.k8s.io/cli-utils computes it for kinds that it does not know, and what a
SELMRun's conditions must be whatever happens."""

from __future__ import annotations

from typing import Any

from selm_operator.api.status import SELMRunStatus
from selm_operator.constants import Reason

Json = dict[str, Any]


def kstatus(obj: Json) -> str:
    """`Terminating`, `InProgress`, `Failed` or `Current`; the first rule that matches.

    From cli-utils' pkg/kstatus/status/generic.go (checkGenericProperties, checkReadyCondition).
    """
    metadata, status = obj["metadata"], obj.get("status") or {}
    if metadata.get("deletionTimestamp"):
        return "Terminating"
    if "observedGeneration" in status and status["observedGeneration"] != metadata.get("generation"):
        return "InProgress"
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or ()}
    if conditions.get("Reconciling") == "True":
        return "InProgress"
    if conditions.get("Stalled") == "True":
        return "Failed"
    if conditions.get("Ready") in ("False", "Unknown"):
        return "InProgress"
    return "Current"


TYPES = ["Accepted", "Succeeded", "Suspended", "Reconciling", "Stalled"]
REASONS = {value for name, value in vars(Reason).items() if name.isupper()}


def check_conditions(run: Json, status: SELMRunStatus) -> None:
    """The API conventions for conditions, and that kstatus reads of them what is true.

    `Current` is what needs no waiting: a run that succeeded, and one that rests because it was told to. `Failed` is what a
    person must repair. Everything else is `InProgress`.
    """
    written = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    conditions = written["conditions"]
    controlled = ["ControlCreated"] if run.get("spec", {}).get("evaluation", {}).get("control") else []
    assert [c["type"] for c in conditions] == [*TYPES, *controlled]
    for condition in conditions:
        assert condition["reason"] in REASONS, condition
        assert condition["message"], condition
        assert condition["observedGeneration"] == run["metadata"]["generation"]
        assert condition["lastTransitionTime"]
    state = {c["type"]: c["status"] for c in conditions}
    assert (state["Reconciling"], state["Stalled"]) != ("True", "True")
    verdict = kstatus({**run, "status": written})
    if state["Stalled"] == "True":
        assert verdict == "Failed"
    else:
        assert (verdict == "Current") == (state["Succeeded"] == "True" or state["Suspended"] == "True")
        assert verdict in ("Current", "InProgress")
        assert state["Succeeded"] != "False", "a failed run needs a person"
