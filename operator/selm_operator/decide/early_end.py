"""Whether `evaluation.stopWhen` ends a run before its last iteration."""

from __future__ import annotations

from selm_operator.api.status import PhaseStatus, SELMRunStatus, StoppedEarly
from selm_operator.decide.case import Case
from selm_operator.ledger import Position, phase_status
from selm_runtime.contract import Phase

KL_METRIC = "kl"
"""Evaluation's divergence from the base, in nats a response. Written by the runtime's `evaluate.phase`."""


def with_early_end(case: Case, position: Position) -> SELMRunStatus:
    """The status of a phase that was just committed, with the run's early end where `evaluation.stopWhen` asks for it.

    It is asked once, when an iteration's evaluation enters the book, and never of the last iteration: so a run that was
    ended, or that finished, goes on when `iterations` is raised, and a changed `stopWhen` reaches only what comes.
    """
    iteration, phase = position
    if phase is not Phase.EVALUATION or not 0 < iteration < case.spec.iterations:
        return case.status
    why = _no_gain(case, iteration) or _too_far(case, phase_status(case.status, position))
    if why is None:
        return case.status
    stopped = StoppedEarly(iteration=iteration, iterations=case.spec.iterations, message=why)
    return case.status.model_copy(update={"stopped_early": stopped})


def _no_gain(case: Case, iteration: int) -> str | None:
    allowed, best = case.spec.evaluation.stop_when.iterations_without_gain, case.status.best_iteration
    if allowed is None or best is None:
        return None
    before = case.status.stopped_early
    since = max(best, before.iteration if before else 0)  # whoever went on from an early end starts counting there
    if iteration - since < allowed:
        return None
    what, count = f"iteration {best}" if best else "the base", iteration - since
    return (
        f"{count} iteration{'s' if count > 1 else ''} brought nothing better than {what} "
        f"(evaluation.stopWhen.iterationsWithoutGain is {allowed})"
    )


def _too_far(case: Case, entry: PhaseStatus | None) -> str | None:
    bound = case.spec.evaluation.stop_when.max_kl
    kl = next((m.value for m in (entry.metrics if entry else None) or () if m.name == KL_METRIC), None)
    if bound is None or kl is None or kl <= bound:
        return None
    return f"its divergence from the base is {kl:.4g} nats a response (evaluation.stopWhen.maxKL is {bound:.4g})"
