"""Names of what a run owns, and the references that tell whose they are."""

from __future__ import annotations

from typing import Any

from selm_operator.api.rules_run import CONTROL_SUFFIX
from selm_operator.constants import API_VERSION, KIND, PHASE_SHORT
from selm_operator.snapshot import RunView
from selm_runtime.contract import Phase


def job_name(run: str, iteration: int, phase: Phase, attempt: int) -> str:
    """`<run>-i<t>-<prep|gen|score|train|eval>-a<attempt>`.

    With a run's name of at most 40 characters a pod's host name, `<job>-<index>`, stays within 63.
    """
    return f"{run}-i{iteration}-{PHASE_SHORT[phase]}-a{attempt}"


def service_name(run: str) -> str:
    """The headless Service by which the ranks of a run's training find each other; one for all attempts."""
    return f"{run}-train"


def control_name(run: str) -> str:
    """The run that `evaluation.control` asks for."""
    return f"{run}{CONTROL_SUFFIX}"


def owner_reference(run: RunView) -> dict[str, Any]:
    """The run as controller: its deletion deletes what it owns, and in the foreground waits for it."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": run.name,
        "uid": run.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
