"""What must hold at every step of `support.operator_machine`, whatever happens to the operator."""

from __future__ import annotations

import json

from hypothesis.stateful import RuleBasedStateMachine, invariant

from selm_operator.kube import Json
from selm_operator.settings import Settings
from selm_operator.snapshot import read_job
from support.fake_cluster import NAMESPACE, FakeCluster

SETTINGS = Settings(runtime_image="runtime:1")
PHASES = ["Preparation", "Generation", "Scoring", "Training", "Evaluation", "Push"]


class OperatorInvariants(RuleBasedStateMachine):
    """The checks, and what they remember of the history."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = FakeCluster(interleaved=True)
        self.cluster.on_status = self.check_status_write
        self.cluster.on_create = self.check_creation
        self.raised_iterations = False
        self.removed: dict[str, int] = {}
        """The cluster's version when a Job of that name vanished last."""
        self.late: set[str] = set()
        """uids of Jobs that a pass made under a name that had become free since it began: nothing can fence a POST."""
        self.reported: set[str] = set()
        """Manifests that some pod said to have committed."""

    def pass_began(self) -> int:
        """The cluster's version when the pass at work began."""
        raise NotImplementedError

    def jobs_seen(self) -> int:
        """The cluster's version that the pass at work may know the Jobs of."""
        return self.pass_began()

    def ours(self) -> list[Json]:
        return [job for job in self.cluster.jobs() if job["metadata"].get("labels")]

    @property
    def status(self) -> Json:
        run = self.cluster.objects.get(("selmruns", NAMESPACE, "tiny"))
        return (run or {}).get("status") or {}

    def is_true(self, type_: str) -> bool:
        return any(c["type"] == type_ and c["status"] == "True" for c in self.status.get("conditions") or ())

    def active(self) -> list[Json]:
        waits, now = SETTINGS.waits, self.cluster.now
        views = [(job, read_job(job)) for job in self.ours()]
        return [job for job, view in views if view is not None and view.active(now, waits.deletion_margin)]

    @invariant()
    def at_most_one_job_is_active(self) -> None:
        names = [job["metadata"]["name"] for job in self.active() if job["metadata"]["uid"] not in self.late]
        assert len(names) <= 1, f"active at once: {names}"

    def check_creation(self, obj: Json) -> None:
        """No phase is begun before those before it are committed, none is begun that is given up."""
        if "completionMode" not in (obj.get("spec") or {}):
            return
        name, labels = obj["metadata"]["name"], obj["metadata"]["labels"]
        if self.removed.get(name, -1) >= self.pass_began():
            self.late.add(obj["metadata"]["uid"])
        here = (int(labels["selm.dev/iteration"]), PHASES.index(labels["selm.dev/phase"]))
        done = {}
        for iteration in self.status.get("iterations", ()):
            for phase in iteration["phases"]:
                done[(iteration["iteration"], PHASES.index(phase["phase"]))] = phase
        for position, phase in done.items():
            if position < here and phase["phase"] != "Push":  # one that is given up holds up no iteration
                assert phase["state"] in ("Succeeded", "Skipped"), f"{name} is made before {position} is committed"
        config = json.loads(obj["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"])
        told = {(c["iteration"], PHASES.index(c["phase"])): c["manifest"] for c in config["committed"]}
        expected = {p: d["manifestDigest"] for p, d in done.items() if p < here and d["state"] == "Succeeded"}
        assert told == expected, f"{name} is told of {told}, committed are {expected}"

    def check_status_write(self, before: Json, after: Json) -> None:
        """Nothing goes back, nothing is committed twice, nothing is committed that no pod reported."""
        old, new = before.get("status") or {}, after.get("status") or {}
        assert place(new) >= place(old), f"the run goes back from {place(old)} to {place(new)}"
        was, now = manifests(old), manifests(new)
        for position, manifest in was.items():
            assert now.get(position) == manifest, f"{position} was committed as {manifest}, then {now.get(position)}"
        for position, manifest in now.items():
            assert manifest in self.reported, f"{position} is committed by nobody"
        job_name = (new.get("current") or {}).get("jobName")
        foreign = self.cluster.objects.get(("jobs", NAMESPACE, job_name or ""))
        made_now = job_name != (old.get("current") or {}).get("jobName")
        # Ours may have been seen under that name and have made room since: no status write can be fenced against that.
        made_room = self.removed.get(job_name or "", -1) >= self.jobs_seen()
        if foreign is not None and made_now and not made_room:
            assert not foreign["metadata"]["uid"].startswith("foreign-"), "another owner's Job is taken for ours"
        if succeeded(old) and not succeeded(new):
            assert self.raised_iterations, "a run that succeeded does so no more"

    @invariant()
    def nobody_elses_job_is_deleted(self) -> None:
        for job in self.cluster.jobs():
            if job["metadata"]["uid"].startswith("foreign-"):
                assert "deletionTimestamp" not in job["metadata"]


def conditions(job: Json) -> list[Json]:
    return (job.get("status") or {}).get("conditions") or []


def place(status: Json) -> tuple[int, int, int]:
    current = status.get("current") or {}
    phase = PHASES.index(current["phase"]) if "phase" in current else -1
    return (current.get("iteration", -1), phase, current.get("attempt", 0))


def manifests(status: Json) -> dict[tuple[int, str], str]:
    return {
        (i["iteration"], p["phase"]): p["manifestDigest"]
        for i in status.get("iterations") or ()
        for p in i["phases"]
        if "manifestDigest" in p
    }


def succeeded(status: Json) -> bool:
    return any(c["type"] == "Succeeded" and c["status"] == "True" for c in status.get("conditions") or ())
