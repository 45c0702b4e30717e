"""`decide(snapshot)`: what a run needs next, and why. Pure and total; the first rule that matches gives the reason.

A pass first keeps the book (what ended is entered in the status, the next phase is opened), then asks the rules. What
was entered is written before any Job that follows from it is made.
"""

from __future__ import annotations

from dataclasses import replace

from selm_operator.constants import Reason
from selm_operator.decide.acceptance import is_finished, refused, unreadable, with_accepted
from selm_operator.decide.attempts import back_off, given_up, on_first, settle, temporary_deadline
from selm_operator.decide.case import Case
from selm_operator.decide.children import without_expired_children
from selm_operator.decide.conditions import conditions_of
from selm_operator.decide.control import control_condition, with_control
from selm_operator.decide.finish import finished, pushed_condition, pushes_again
from selm_operator.decide.progress import at_work, follow, waiting_for_deletion
from selm_operator.decide.scheduled import changes_without_effect, turn_offline, with_schedule
from selm_operator.decide.start import foreign_service, next_attempt, obstacle, written_first
from selm_operator.decide.strays import status_is_old, stray_jobs
from selm_operator.decide.suspension import account_for_the_stop, come_to_rest, suspended
from selm_operator.decide.verdict import Verdict
from selm_operator.decision import Announcement, Decision
from selm_operator.ledger import next_position, open_position
from selm_operator.snapshot import Snapshot
from selm_runtime.contract import Phase

__all__ = ["decide"]

BEFORE_THE_BOOK = (unreadable, status_is_old, stray_jobs, refused)
"""Reasons to touch nothing: neither the book nor the current phase's Job."""
RULES = (
    finished,
    suspended,
    given_up,
    waiting_for_deletion,
    at_work,
    temporary_deadline,
    back_off,
    written_first,
    obstacle,
    foreign_service,
)
"""In the order of their right of way. Where none matches, the next attempt is made."""


def decide(snapshot: Snapshot) -> Decision:
    """The effects, the status and the time of the next look for one run.

    Of a run that is being deleted nothing is decided: garbage collection deletes what it owns.
    """
    run = snapshot.run
    if run.deleting:
        return Decision(run.status)
    case = Case(snapshot, run.status)
    verdict = on_first(BEFORE_THE_BOOK, case)
    if verdict is None:
        case = keep_the_book(case)
        verdict = on_first(RULES, case)
        if verdict is None:
            case, verdict = next_attempt(case)
        verdict = without_expired_children(case, verdict)
        case, verdict = with_control(case, verdict)
    return _conclude(case, verdict)


def keep_the_book(case: Case) -> Case:
    """What ended is settled, what stopped comes to rest, what runs is followed, and the next phase is opened."""
    case = with_accepted(case)
    case = settle(case)
    case = account_for_the_stop(case)
    case = come_to_rest(case)
    case = _advance(case)
    case = turn_offline(case)
    case = with_schedule(case)
    return follow(case)


def _advance(case: Case) -> Case:
    """Opens the run's first phase, or the one after a committed one. A suspended run opens nothing."""
    if case.spec.suspend or (case.current is not None and not case.committed and not _leaves_the_push(case)):
        return case
    position = next_position(case.status, case.spec)
    return case if position is None else case.book(open_position(case.status, case.spec, position))


def _leaves_the_push(case: Case) -> bool:
    """Whether more iterations are asked for while the last push is given up: they are not held up by it."""
    position = case.position
    gone = position is not None and position[1] is Phase.PUSH and given_up(case) is not None
    return gone and not is_finished(case)


def _conclude(case: Case, verdict: Verdict) -> Decision:
    run = case.snapshot.run
    if pushes_again(case) and verdict.succeeded == "Unknown":
        verdict = replace(verdict, succeeded=None)  # Succeeded is left only by raising iterations
    conditions = (
        *conditions_of(verdict, run.status, run.generation, case.now),
        *control_condition(case, run.generation, case.now),
    )
    if (pushed := pushed_condition(case, case.now)) is not None:
        conditions = (*conditions, pushed)
    status = case.status.model_copy(update={"observed_generation": run.generation, "conditions": conditions})
    told = {condition.reason for condition in run.status.conditions or ()}
    news = (event for event in verdict.events if event.reason not in told)
    events = (*case.events, *news, *_transitions(case, verdict), *changes_without_effect(case))
    changed = status != run.status
    return Decision(status, verdict.actions, events if changed else (), verdict.requeue_after, case.settled)


def _transitions(case: Case, verdict: Verdict) -> tuple[Announcement, ...]:
    """Events of conditions that change with this verdict."""
    told = {c.type: c for c in case.snapshot.run.status.conditions or ()}

    def was(type_: str, state: str) -> bool:
        return type_ in told and told[type_].status == state

    events: list[Announcement] = []
    if verdict.succeeded == "True" and not was("Succeeded", "True"):
        events.append(Announcement("Normal", verdict.reason, verdict.message))
    if verdict.stalled and not (was("Stalled", "True") and told["Stalled"].reason == verdict.reason):
        events.append(Announcement("Warning", verdict.reason, verdict.message))
    if verdict.suspended and not was("Suspended", "True"):
        events.append(Announcement("Normal", Reason.SUSPENDED, verdict.message))
    if was("Suspended", "True") and not verdict.suspended and verdict.accepted and not is_finished(case):
        events.append(Announcement("Normal", Reason.RESUMED, "the run goes on"))
    return tuple(events)
