"""From verdicts to conditions, where a run's outcome was told before."""

from __future__ import annotations

from datetime import timedelta

from selm_operator.api.status import SELMRunStatus
from selm_operator.decide.conditions import conditions_of
from selm_operator.decide.verdict import Verdict
from support.fake_cluster import START
from support.kstatus import check_conditions, kstatus

FAILED = Verdict("AttemptsExhausted", "it failed 3 times", succeeded="False", stalled=True)
STRAY = Verdict("WaitingForOldJob", "Job x is being deleted", succeeded=None)
TRAINING = Verdict("Training", "Training of iteration 1 is at work")


def after(*verdicts: Verdict) -> SELMRunStatus:
    """The status that these verdicts leave, a minute apart."""
    status = SELMRunStatus(observed_generation=1)
    for minute, verdict in enumerate(verdicts):
        conditions = conditions_of(verdict, status, 1, START + timedelta(minutes=minute))
        status = status.model_copy(update={"conditions": conditions})
    return status


def test_a_failure_stays_one_while_a_stray_job_is_cleared_away() -> None:
    status = after(FAILED, STRAY)
    check_conditions({"metadata": {"generation": 1}}, status)
    told = {c.type: (c.status, c.reason) for c in status.conditions or ()}
    assert told["Succeeded"] == ("False", "AttemptsExhausted")
    assert told["Stalled"] == ("True", "AttemptsExhausted")


def test_the_time_of_a_transition_is_that_of_the_state_not_of_the_reason() -> None:
    status = after(TRAINING, Verdict("BackOff", "it waits"), FAILED)
    times = {c.type: c.last_transition_time for c in status.conditions or ()}
    assert times["Accepted"] == START
    assert times["Succeeded"] == times["Stalled"] == START + timedelta(minutes=2)


def test_kstatus_waits_for_a_generation_that_nobody_has_looked_at() -> None:
    status = after(Verdict("Succeeded", "done", succeeded="True"))
    written = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert kstatus({"metadata": {"generation": 1}, "status": written}) == "Current"
    assert kstatus({"metadata": {"generation": 2}, "status": written}) == "InProgress"
    assert kstatus({"metadata": {"generation": 1, "deletionTimestamp": "x"}, "status": written}) == "Terminating"
