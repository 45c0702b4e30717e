"""The state machine of `operator_machine` with an operator that has its Jobs from a watch that lags."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

from selm_operator.events import EventRecorder
from selm_operator.job_store import JobStore
from selm_operator.jobs import WatchedJobs
from selm_operator.reconcile import Reconciler
from support.operator_invariants import SETTINGS
from support.operator_machine import SLOTS, OperatorMachine


class WatchingMachine(OperatorMachine):
    """One operator at a time. Its watch tells when a rule says so; a crash ends its memory with it.

    A second operator at the same time is `OperatorMachine`'s: between two processes a watch is as late as a list.
    """

    def __init__(self) -> None:
        super().__init__()
        self.memory: WatchedJobs | None = None
        self.store = JobStore()
        self.prompt = True
        self.told = 0
        """The cluster's version that the watch told of last."""

    def jobs_seen(self) -> int:
        return min(self.told, self.pass_began())

    def reconciler(self, slot: int) -> Reconciler:
        if self.memory is None:
            self.store = JobStore()
            store = self.store
            self.memory = WatchedJobs(self.cluster, lambda namespace: store)
            self.the_watch_tells()
        if self.prompt:
            self.the_watch_tells()
        recorder = EventRecorder(self.cluster, "operator")
        return Reconciler(self.cluster, SETTINGS, recorder, clock=lambda: self.cluster.now, jobs=self.memory)

    @rule()
    def the_watch_tells(self) -> None:
        """All that happened by now."""
        self.told = self.cluster.version
        self.store.replace(self.cluster.jobs(), self.cluster.version)

    @rule(prompt=st.booleans())
    def the_watch_lags(self, prompt: bool) -> None:
        self.prompt = prompt

    @rule()
    def a_user_suspends_while_the_watch_lags(self) -> None:
        """A Job was just made; the status that would tell of it meets the user's change and is lost."""
        self.prompt = False
        self.advance_to(0, ("after", "create", "jobs"), False)
        self.a_user_suspends_or_resumes(True, False)
        while self.step(0):
            continue
        self.look(0)

    @rule()
    def a_post_is_not_answered_while_the_watch_lags(self) -> None:
        """It arrived. Then the user suspends."""
        self.prompt = False
        self.advance_to(0, ("before", "create", "jobs"), False)
        if self.cluster.at == ("before", "create", "jobs") and 0 in self.passes:
            self.failing = ["after timeout"]
            while self.step(0):
                continue
            self.a_user_suspends_or_resumes(True, True)

    def step(self, slot: int) -> bool:
        return super().step(0)

    @rule(slot=SLOTS)
    def crash(self, slot: int) -> None:
        if 0 in self.passes:
            self.memory = None
        super().crash(0)

    def teardown(self) -> None:
        self.prompt = True
        super().teardown()
