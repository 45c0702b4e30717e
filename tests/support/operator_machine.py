"""The operator under everything that a cluster does to it, as a hypothesis state machine.

Two operators can be at work at once, each stopped between any two requests: one that goes on late is a stale leader,
one that is dropped has crashed. Jobs succeed, fail in every way, vanish, hang in their deletion; users suspend, resume
and raise limits; the API server refuses. What must hold is checked at every step, and at the end the run must finish.
"""

from __future__ import annotations

import json
from collections.abc import Coroutine
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from selm_operator.events import EventRecorder
from selm_operator.kube import JOBS, RUNS, ApiError, Json, Resource
from selm_operator.queue import Look
from selm_operator.reconcile import Reconciler
from support.fake_cluster import NAMESPACE, digest
from support.operator_invariants import SETTINGS, OperatorInvariants, conditions
from support.run_builder import make_run

FATES = (
    "committed",
    "silent",
    "crash",
    "refused",
    "temporary",
    "peer-lost",
    "oom-after-progress",
    "disrupted",
    "sealed",
)
FAR = 9.0
"""The divergence of every iteration: a run with a bound ends after each one that it is let do."""
SLOTS = st.integers(0, 1)
POINTS = (
    ("before", "create", "jobs"),
    ("after", "create", "jobs"),
    ("before", "create", "selmruns"),
    ("after", "create", "selmruns"),
    ("before", "replace", "selmruns"),
    ("after", "replace", "selmruns"),
    ("before", "delete", "jobs"),
    ("after", "delete", "jobs"),
)
"""The two sides of every effect."""


class OperatorMachine(OperatorInvariants):
    """One run of two iterations, the first of them offline, with two shards and two nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster.fault = self.fault
        self.passes: dict[int, tuple[Coroutine[Any, Any, Look], int]] = {}
        """By slot: the pass at work, and the cluster's version when it began."""
        self.failing: list[str] = []
        self.stepping: int | None = None
        self.spoiled = False
        """Whether the API server refused something that the pass at work has yet to fail of."""

    def pass_began(self) -> int:
        return self.passes[self.stepping][1] if self.stepping in self.passes else self.cluster.version

    @initialize(
        iterations=st.integers(1, 2),
        offline=st.booleans(),
        attempts=st.integers(1, 2),
        stops=st.booleans(),
        control=st.booleans(),
        push=st.booleans(),
    )
    def begin(self, iterations: int, offline: bool, attempts: int, stops: bool, control: bool, push: bool) -> None:
        run = make_run().with_iterations(iterations).with_shards(2, 1).with_nodes(2, gpus=1)
        run.with_retry(maxAttempts=attempts)
        if offline:
            run.offline(1)
        if control:
            run.with_spec(evaluation={"control": True})
        if push:
            run.with_spec(push={"uri": "s3://models/aligned"})
        if stops:
            run.with_spec(evaluation={"stopWhen": {"maxKL": FAR / 2}})
        self.cluster.store(RUNS, NAMESPACE, run.obj())

    # ---- operators -----------------------------------------------------------------------------------------------
    @rule(slot=SLOTS, steps=st.integers(1, 12))
    def advance(self, slot: int, steps: int) -> None:
        """A pass begins or goes on, for some requests."""
        for _ in range(steps):
            if not self.step(slot):
                return

    @rule(slot=SLOTS, point=st.sampled_from(POINTS), then_crash=st.booleans())
    def advance_to(self, slot: int, point: tuple[str, str, str], then_crash: bool) -> None:
        """A pass goes on to just before, or just after, an effect; there it stays or dies."""
        while self.step(slot):
            if self.cluster.at == point:
                break
        if then_crash:
            self.crash(slot)

    @rule()
    def all_goes_well(self) -> None:
        """The active Job commits and the next one is made."""
        self.look(0)
        if self.running:
            self.end(self.running[0], "committed")
        self.look(0)

    @rule(slot=SLOTS)
    def look(self, slot: int) -> None:
        """A whole pass, without anybody between: after it at most one Job is left to go on."""
        self.crash(slot)
        healthy = not self.failing
        while self.step(slot):
            continue
        if healthy:
            going_on = [j["metadata"]["name"] for j in self.active() if "deletionTimestamp" not in j["metadata"]]
            assert len(going_on) <= 1, f"left to go on: {going_on}"
            if self.is_true("Suspended"):
                assert not self.active(), "a run at rest has an active Job"

    @rule()
    def a_user_suspends_after_a_crash(self) -> None:
        """The process died having made a Job that no status tells of."""
        self.advance_to(0, ("after", "create", "jobs"), True)
        self.a_user_suspends_or_resumes(True, True)

    @rule()
    def a_stale_leader_wakes_after_a_cleaner(self) -> None:
        """It was about to make a Job; another made it, and it ended and was cleaned away."""
        self.advance_to(1, ("before", "create", "jobs"), False)
        if self.cluster.at != ("before", "create", "jobs") or 1 not in self.passes:
            return
        self.all_goes_well()
        for job in self.ours():
            if conditions(job):
                self.remove(job)
        while self.step(1):
            continue

    @rule(slot=SLOTS)
    def crash(self, slot: int) -> None:
        """The process is gone between two requests, or after one that it never got the answer of."""
        if slot in self.passes:
            self.passes.pop(slot)[0].close()

    @rule(how=st.sampled_from(("before 500", "before timeout", "after timeout", "before 429")))
    def the_api_fails_once(self, how: str) -> None:
        self.failing.append(how)

    def step(self, slot: int) -> bool:
        """One request of a pass; whether the pass goes on."""
        if slot not in self.passes:
            self.passes[slot] = (self.reconciler(slot)((NAMESPACE, "tiny")), self.cluster.version)
        coroutine = self.passes[slot][0]
        healthy = not self.failing
        self.stepping = slot
        try:
            coroutine.send(None)
        except StopIteration:
            del self.passes[slot]
            return False
        except (ApiError, TimeoutError):
            del self.passes[slot]
            assert not healthy or self.spoiled, "a pass failed on a healthy API server"
            self.spoiled = False
            return False
        finally:
            self.stepping = None
        return True

    def reconciler(self, slot: int) -> Reconciler:
        """The operator that begins a pass: with nothing in memory, so that every pass may be a new process' first."""
        recorder = EventRecorder(self.cluster, f"operator-{slot}")
        return Reconciler(self.cluster, SETTINGS, recorder, clock=lambda: self.cluster.now)

    def fault(self, when: str, verb: str, resource: Resource, name: str) -> None:
        if resource.plural == "events" or not self.failing or self.failing[0].split()[0] != when:
            return
        how = self.failing.pop(0)
        self.spoiled = True
        if how.endswith("timeout"):
            raise TimeoutError
        raise ApiError(int(how.split()[1]), "Injected", "the API server is unwell")

    # ---- Jobs ----------------------------------------------------------------------------------------------------
    @property
    def running(self) -> list[Json]:
        return [job for job in self.ours() if not conditions(job) and "deletionTimestamp" not in job["metadata"]]

    @precondition(lambda self: self.running)
    @rule(data=st.data(), fate=st.sampled_from(FATES))
    def a_job_ends(self, data: st.DataObject, fate: str) -> None:
        self.end(data.draw(st.sampled_from(self.running)), fate)

    @precondition(lambda self: self.running)
    @rule()
    def a_job_commits(self) -> None:
        self.end(self.running[0], "committed")

    def end(self, job: Json, fate: str) -> None:
        name, pods = job["metadata"]["name"], job["spec"]["completions"]
        labels = job["metadata"]["labels"]
        # A phase has one manifest, whichever attempt commits it: that is the store's promise.
        manifest = digest(f"{labels['selm.dev/iteration']} {labels['selm.dev/phase']}")
        training = labels["selm.dev/phase"] == "Training"
        said: Json = {"checkpointStep": 5} if training else {"chunks": {"done": 3, "total": 9}}
        match fate:
            case "committed":
                self.reported.add(manifest)
                # Not every pod knows: the last one to end composed the manifest.
                last: Json = {"manifest": manifest}
                if labels["selm.dev/phase"] == "Evaluation":
                    last |= {"bestIteration": 0, "metrics": {"kl": FAR}}
                messages = {i: (0, last if i == pods - 1 else {}) for i in range(pods)}
                self.cluster.end_job(name, messages)
            case "silent":
                self.cluster.end_job(name, dict.fromkeys(range(pods), (0, '{"manifest": "sha256:')))
            case "crash":
                self.cluster.end_job(name, {0: (1, "Traceback: it broke")})
            case "refused":
                error = {"error": {"reason": "BadRow", "message": "row 7 has no prompt"}}
                self.cluster.end_job(name, {0: (64, error)})
            case "temporary":
                self.cluster.end_job(name, {0: (75, {"error": {"reason": "StoreAway", "message": "no answer"}})})
            case "peer-lost":
                self.cluster.end_job(name, dict.fromkeys(range(pods), (76, None)))
            case "oom-after-progress":
                self.cluster.end_job(name, {0: (137, said)})
            case "disrupted":
                self.cluster.end_job(name, {0: (143, None)}, disrupted=0)
            case "sealed":
                self.cluster.end_job(name, {0: (1, None)}, target=True)

    @precondition(lambda self: self.ours())
    @rule(data=st.data())
    def a_job_vanishes(self, data: st.DataObject) -> None:
        """With its pods: somebody deleted it, or a cleaner did."""
        self.remove(data.draw(st.sampled_from(self.ours())))

    def remove(self, job: Json) -> None:
        self.cluster.remove(JOBS, NAMESPACE, job["metadata"]["name"])
        self.removed[job["metadata"]["name"]] = self.cluster.version
        self.cluster.version += 1

    @precondition(lambda self: any("deletionTimestamp" in j["metadata"] for j in self.cluster.jobs()))
    @rule()
    def a_deletion_finishes(self) -> None:
        for job in self.cluster.jobs():
            if "deletionTimestamp" in job["metadata"]:
                self.remove(job)
                return

    @rule(data=st.data())
    def another_owner_takes_a_name(self, data: st.DataObject) -> None:
        """What is left of a run of the same name that was deleted, say."""
        current = self.status.get("current")
        if current is None or "phase" not in current:
            return
        short = {
            "Preparation": "prep",
            "Generation": "gen",
            "Scoring": "score",
            "Training": "train",
            "Evaluation": "eval",
            "Push": "push",
        }
        attempt = current.get("attempt", 0) + data.draw(st.integers(0, 1))
        name = f"tiny-i{current['iteration']}-{short[current['phase']]}-a{attempt}"
        if ("jobs", NAMESPACE, name) not in self.cluster.objects:
            owner = {"kind": "SELMRun", "name": "tiny", "uid": "another", "controller": True}
            metadata = {"name": name, "uid": f"foreign-{name}", "ownerReferences": [owner]}
            self.cluster.store(JOBS, NAMESPACE, {"metadata": metadata, "spec": {}})

    @rule()
    def the_other_owners_jobs_go(self) -> None:
        for job in self.cluster.jobs():
            if job["metadata"]["uid"].startswith("foreign-"):
                self.cluster.remove(JOBS, NAMESPACE, job["metadata"]["name"])

    # ---- users and time ------------------------------------------------------------------------------------------
    @rule(suspend=st.booleans(), then_look=st.booleans())
    def a_user_suspends_or_resumes(self, suspend: bool, then_look: bool) -> None:
        if self.cluster.run("tiny")["spec"].get("suspend", False) != suspend:
            self.cluster.change_spec("tiny", suspend=suspend)
        if then_look:
            self.look(0)

    @rule()
    def a_user_raises_the_iterations(self) -> None:
        if self.cluster.run("tiny")["spec"]["iterations"] < 3:
            self.raised_iterations = True
            self.cluster.change_spec("tiny", iterations=self.cluster.run("tiny")["spec"]["iterations"] + 1)

    @rule()
    def a_user_raises_the_attempts(self) -> None:
        allowed = self.cluster.run("tiny")["spec"]["retry"]["maxAttempts"]
        self.cluster.change_spec("tiny", retry={"maxAttempts": min(allowed + 1, 9)})

    @rule(seconds=st.sampled_from((1, 15, 100, 700, 30_000)))
    def time_passes(self, seconds: int) -> None:
        self.cluster.sleep(seconds)

    # ---- the end -------------------------------------------------------------------------------------------------
    def teardown(self) -> None:
        """When the world calms down, the run finishes. Deletions that hang go on hanging: it gets past them."""
        if ("selmruns", NAMESPACE, "tiny") not in self.cluster.objects:
            return
        for slot in (0, 1):
            self.crash(slot)
        self.failing.clear()
        self.the_other_owners_jobs_go()
        self.cluster.change_spec("tiny", retry={"maxAttempts": 50})
        self.rest()
        for _ in range(120):
            self.look(0)
            self.at_most_one_job_is_active()
            if self.is_true("Succeeded"):
                break
            self.cluster.sleep(700)
            if self.running:
                self.end(self.running[0], "committed")
        assert self.is_true("Succeeded"), f"the run does not finish: {json.dumps(self.status, indent=1)}"
        states = {p["state"] for i in self.status["iterations"] for p in i["phases"]}
        assert states <= {"Succeeded", "Skipped"}
        if "stoppedEarly" not in self.status:
            assert self.status["iterations"][-1]["iteration"] == self.cluster.run("tiny")["spec"]["iterations"]
        if self.cluster.run("tiny")["spec"]["evaluation"].get("control"):
            self.look(0)
            made = [what for what in self.cluster.log if what == ("create", "selmruns", "tiny-control")]
            assert (len(made), "control" in self.status) == (1, True), "there is to be one control run"
        assert not self.active(), "a finished run has an active Job"

    def rest(self) -> None:
        """Suspends until the run is at rest, then resumes: what a person does to a run that gave up."""
        self.a_user_suspends_or_resumes(True, False)
        for _ in range(20):
            self.look(0)
            if self.is_true("Suspended"):
                break
            self.cluster.sleep(300)
        else:
            raise AssertionError(f"the run does not come to rest: {json.dumps(self.status, indent=1)}")
        self.a_user_suspends_or_resumes(False, False)
