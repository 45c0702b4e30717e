"""The operator converges whatever happens to it, and the property notices when a branch that makes it so is taken out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from selm_operator.decide.case import Case
from selm_operator.execute import Executor
from selm_operator.jobs import WatchedJobs
from selm_operator.kube import ApiError
from selm_operator.snapshot import JobView
from support.operator_machine import OperatorMachine
from support.watching_machine import WatchingMachine

BUDGET: dict[str, Any] = {
    "stateful_step_count": 40,
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "database": None,
}

TestOperator = OperatorMachine.TestCase
TestOperator.settings = settings(max_examples=40, **BUDGET)

TestWatchingOperator = WatchingMachine.TestCase
TestWatchingOperator.settings = settings(max_examples=30, **BUDGET)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("machine", [OperatorMachine, WatchingMachine])
def test_the_operator_converges_over_many_histories(machine: type[OperatorMachine]) -> None:
    run_state_machine_as_test(machine, settings=settings(settings.get_profile("search"), max_examples=400, **BUDGET))


@contextmanager
def without_the_409(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A name that exists is an error like any other."""

    async def refuse(self: Executor, namespace: str, action: object) -> None:
        raise ApiError(409, "AlreadyExists", "taken out")

    monkeypatch.setattr(Executor, "accept_existing", refuse)
    yield


@contextmanager
def without_the_owner_in_the_409(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A name that exists is taken for ours, whoever owns it."""

    async def accept(self: Executor, namespace: str, action: object) -> None:
        return

    monkeypatch.setattr(Executor, "accept_existing", accept)
    yield


@contextmanager
def without_the_adoption(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Only the Job that the status names is known; one whose status write got lost is not."""

    def attempt(self: Case) -> int:
        return (self.current.attempt or 0) if self.current else 0

    def job(self: Case) -> object:
        named = self.current.job_name if self.current else None
        return next((job for job in self.here if job.attempt == self.attempt and job.name == named), None)

    monkeypatch.setattr(Case, "attempt", property(attempt))
    monkeypatch.setattr(Case, "job", property(job))
    yield


@contextmanager
def without_the_abandonment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Job being deleted is waited for, for ever."""
    monkeypatch.setattr(JobView, "abandoned", lambda self, now, margin: False)
    yield


@contextmanager
def without_the_memory_of_own_jobs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What this process made is known when the watch tells."""
    monkeypatch.setattr(WatchedJobs, "making", lambda self, manifest: None)
    monkeypatch.setattr(WatchedJobs, "made", lambda self, job: None)
    yield


@contextmanager
def without_the_doubt(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A POST whose answer was lost did not arrive."""
    monkeypatch.setattr(WatchedJobs, "making", lambda self, manifest: None)
    yield


@pytest.mark.parametrize(
    ("taken_out", "noticed"),
    [
        pytest.param(without_the_409, "a pass failed on a healthy API server", id="the 409"),
        pytest.param(without_the_owner_in_the_409, "another owner's Job is taken for ours", id="the owner in the 409"),
        pytest.param(without_the_adoption, "a run at rest has an active Job", id="the adoption"),
        pytest.param(without_the_abandonment, "the run does not come to rest", id="the abandonment"),
    ],
)
def test_the_property_goes_red_without(taken_out: Any, noticed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_red(OperatorMachine, taken_out, noticed, monkeypatch)


@pytest.mark.parametrize("taken_out", [without_the_memory_of_own_jobs, without_the_doubt])
def test_the_property_of_a_watch_goes_red_without(taken_out: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_red(WatchingMachine, taken_out, "a run at rest has an active Job", monkeypatch)


def goes_red(
    machine: type[OperatorMachine], taken_out: Any, noticed: str, monkeypatch: pytest.MonkeyPatch, examples: int = 300
) -> None:
    budget = settings(
        max_examples=examples, derandomize=True, phases=[Phase.generate], report_multiple_bugs=False, **BUDGET
    )
    with taken_out(monkeypatch), pytest.raises(AssertionError) as failure:
        run_state_machine_as_test(machine, settings=budget)
    assert noticed in str(failure.value)
