"""A run's life as tables of `decide`: in this situation, this reason, these actions, and the next look then.

Each row plays steps against a cluster in memory, then asks `decide` about what is there. `reason` is what the summary
Succeeded says (or Accepted, where the spec is not), with its state; a stalled run has a `!` before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from selm_operator.decide import decide
from selm_operator.jobs import ListedJobs
from selm_operator.kube import Json
from selm_operator.observe import observe
from support.fake_cluster import NAMESPACE
from support.kstatus import check_conditions
from support.life_steps import (
    Step,
    a_job_of_another_owner,
    actions_of,
    change,
    commits,
    committed,
    ends,
    fails_and_waits,
    finish,
    its_job_vanishes,
    its_pods_vanish,
    job_has,
    look,
    pod_is,
    pods_are_refused,
    reach,
    the_job_was_made_by_an_older_operator,
    the_old_job_vanishes,
    the_queue_admits_it,
    the_queue_admits_only,
    the_queue_suspends_it,
    wait,
)
from support.operator_world import SETTINGS, World
from support.run_builder import RunBuilder, make_run

STORE_AWAY = {"error": {"reason": "StoreUnavailable", "message": "s3.example.org does not answer"}}
BAD_ROW = {"error": {"reason": "BadRow", "message": "spec.data: row 7 has no prompt"}}


@dataclass(frozen=True)
class Row:
    """What is done, and what `decide` must answer."""

    steps: tuple[Step, ...]
    reason: str
    actions: tuple[str, ...] = ()
    requeue: float | None = None
    run: RunBuilder | None = None
    words: str = ""
    """Part of the message."""


async def check(row: Row) -> None:
    world = World(row.run or make_run())
    for step in row.steps:
        await step(world)
    seen = await observe(world.cluster, ListedJobs(world.cluster), NAMESPACE, "tiny", SETTINGS, world.cluster.now)
    assert seen is not None
    decision = decide(seen[1])
    told = {condition.type: condition for condition in decision.status.conditions or ()}
    summary, stalled = told["Succeeded"], told["Stalled"].status == "True"
    if told["Accepted"].status == "False":
        summary = told["Accepted"]
    check_conditions(seen[0], decision.status)
    found = f"{'!' if stalled else ''}{summary.status} {summary.reason}"
    assert (found, actions_of(decision), decision.requeue_after) == (row.reason, row.actions, row.requeue)
    assert row.words in summary.message


def running(ready: int = 1) -> Step:
    return job_has(ready=ready, startTime="2026-01-01T00:00:00Z")


def named(short: str, attempt: int = 1) -> str:
    return f"tiny-i1-{short}-a{attempt}"


SHORT = {"Generation": "gen", "Scoring": "score", "Training": "train", "Evaluation": "eval"}
DOING = {"Generation": "Generating", "Scoring": "Scoring", "Training": "Training", "Evaluation": "Evaluating"}

SUSPENSION = {
    **{
        f"suspended in {phase}: its Job is deleted": Row(
            (reach(phase), change(suspend=True)), "Unknown Suspending", (f"delete {named(short)}",), 5.0
        )
        for phase, short in SHORT.items()
    },
    **{
        f"resumed in {phase}: the next attempt goes on": Row(
            (reach(phase), change(suspend=True), look(), the_old_job_vanishes(), look(), change(suspend=False), look()),
            f"Unknown {DOING[phase]}",
            requeue=15.0,
        )
        for phase in SHORT
    },
    "suspended, its Job still stopping": Row(
        (reach("Training"), change(suspend=True), look(), wait(300)), "Unknown Suspending", requeue=5.0
    ),
    "suspended, its Job stopping for longer than its pods may: it rests": Row(
        (reach("Training"), change(suspend=True), look(), wait(661)), "Unknown Suspended"
    ),
    "resumed at once: the old Job is waited for": Row(
        (reach("Training"), change(suspend=True), look(), change(suspend=False)),
        "Unknown WaitingForOldJob",
        requeue=5.0,
    ),
    "resumed at once, and the old Job is gone: what it left is looked at first": Row(
        (reach("Training"), change(suspend=True), look(), change(suspend=False), the_old_job_vanishes()),
        "Unknown Starting",
        requeue=0.0,
    ),
    "suspended while a phase commits: it is committed, and nothing is begun": Row(
        (reach("Generation"), change(suspend=True), commits()), "Unknown Suspended"
    ),
    "a failed run suspended: it rests and is repaired": Row(
        (reach("Training"), ends(137), look(), change(suspend=True)),
        "Unknown Suspended",
        run=make_run().with_retry(maxAttempts=1),
    ),
    "a failed run suspended and resumed: its counts begin anew": Row(
        (
            reach("Training"),
            ends(137),
            look(),
            change(suspend=True),
            look(),
            change(suspend=False, training={"resources": {"limits": {"memory": "64Gi"}}}),
        ),
        "Unknown Training",
        (f"create {named('train', 2)}",),
        run=make_run().with_retry(maxAttempts=1),
    ),
}

CHANGE = {
    "a finished run rests": Row((finish(),), "True Succeeded"),
    "the iterations of a finished run raised: the next one is opened before any Job": Row(
        (finish(), change(iterations=2)), "Unknown Starting", requeue=0.0
    ),
    "a finished run whose attempts are raised stays finished": Row(
        (finish(), change(retry={"maxAttempts": 9})), "True Succeeded"
    ),
    "a failed run whose attempts are raised goes on": Row(
        (reach("Training"), ends(1), look(), wait(600), change(retry={"maxAttempts": 2})),
        "Unknown Training",
        (f"create {named('train', 2)}",),
        run=make_run().with_retry(maxAttempts=1),
    ),
    "input refused is not helped by more attempts": Row(
        (reach("Training"), ends(64, said=BAD_ROW), look(), wait(600), change(retry={"maxAttempts": 9})),
        "!False InvalidInput",
    ),
    "the seed changed where no rule of the CRD refused it": Row(
        (reach("Scoring"), change(seed=7)), "!False ImmutableFieldChanged", words="spec.seed: "
    ),
    "a scorer's weight changed likewise, though its Job failed meanwhile: nothing follows": Row(
        (
            reach("Scoring"),
            ends(1),
            change(
                scoring={"scorers": [{"name": "short", "weight": 2.0, "rules": [{"type": "Length", "target": 20}]}]}
            ),
        ),
        "!False ImmutableFieldChanged",
        words="spec.scoring: ",
    ),
    "an immutable field set back: it goes on": Row(
        (reach("Scoring"), change(seed=7), look(), change(seed=42), look()), "Unknown Scoring", requeue=15.0
    ),
    "a group of defaults written out is no change": Row(
        (reach("Scoring"), change(generation={"temperature": 0.0}, seed=42)), "Unknown Scoring", requeue=15.0
    ),
}

RETRIES = {
    "64: never again": Row(
        (reach("Scoring"), ends(64, said=BAD_ROW)), "!False InvalidInput", words="row 7 has no prompt"
    ),
    "64, though the pods are gone": Row(
        (reach("Scoring"), ends(64), its_pods_vanish()), "!False InvalidInput", words="exit code 64"
    ),
    "75: ten seconds first": Row(
        (reach("Scoring"), ends(75, said=STORE_AWAY)), "Unknown BackOff", requeue=10.0, words="s3.example.org"
    ),
    "75 for the fifth time: the wait doubles": Row(
        (reach("Scoring"), fails_and_waits(75, 5)), "Unknown BackOff", requeue=160.0
    ),
    "75, the wait is over": Row(
        (reach("Scoring"), ends(75), look(), wait(10)), "Unknown Scoring", (f"create {named('score', 2)}",)
    ),
    "75 for longer than allowed": Row(
        (reach("Scoring"), ends(75), look(), wait(30)),
        "!Unknown TemporaryDeadlineExceeded",
        run=make_run().with_retry(temporaryDeadlineSeconds=30),
    ),
    "75, and the deadline comes before the next attempt: it is told then": Row(
        (reach("Scoring"), ends(75)),
        "Unknown BackOff",
        requeue=4.0,
        run=make_run().with_retry(temporaryDeadlineSeconds=4),
    ),
    "75 for longer than allowed, and the deadline is raised": Row(
        (reach("Scoring"), ends(75), look(), wait(30), look(), change(retry={"temporaryDeadlineSeconds": 99})),
        "Unknown Scoring",
        (f"create {named('score', 2)}",),
        run=make_run().with_retry(temporaryDeadlineSeconds=30),
    ),
    "75 for longer than allowed, suspended and resumed": Row(
        (reach("Scoring"), ends(75), look(), wait(30), change(suspend=True), look(), change(suspend=False)),
        "Unknown Scoring",
        (f"create {named('score', 2)}",),
        run=make_run().with_retry(temporaryDeadlineSeconds=30),
    ),
    "76: not counted": Row(
        (reach("Training"), ends(76, 76)),
        "Unknown BackOff",
        requeue=10.0,
        run=make_run().with_nodes(2).with_retry(maxAttempts=1),
    ),
    "a crash: counted, the last one ends it": Row(
        (reach("Training"), ends(1, 76, said="CUDA error")),
        "!False AttemptsExhausted",
        run=make_run().with_nodes(2).with_retry(maxAttempts=1),
        words="CUDA error",
    ),
    "an OOM: counted": Row(
        (reach("Training"), ends(137)),
        "!False AttemptsExhausted",
        run=make_run().with_retry(maxAttempts=1),
        words="OOMKilled",
    ),
    "an OOM after a new checkpoint: not counted": Row(
        (reach("Training"), ends(137, said={"checkpointStep": 5})),
        "Unknown BackOff",
        requeue=10.0,
        run=make_run().with_retry(maxAttempts=1),
    ),
    "an OOM at the same checkpoint again: counted": Row(
        (reach("Training"), fails_and_waits(137, 2, {"checkpointStep": 5})),
        "!False AttemptsExhausted",
        run=make_run().with_retry(maxAttempts=1),
    ),
    "an eviction: costs nothing, and all ranks begin anew": Row(
        (reach("Training"), ends(143, 1, disrupted=0)),
        "Unknown BackOff",
        requeue=10.0,
        run=make_run().with_nodes(2).with_retry(maxAttempts=1),
    ),
    "an eviction known from the Job alone": Row(
        (reach("Training"), ends(143, 1, disrupted=0), its_pods_vanish()),
        "Unknown BackOff",
        requeue=10.0,
        run=make_run().with_nodes(2).with_retry(maxAttempts=1),
    ),
    "one shard of two crashed: the next attempt has both indexes": Row(
        (reach("Generation"), ends(0, 1), look(), wait(10)),
        "Unknown Generating",
        (f"create {named('gen', 2)}",),
        run=make_run().with_shards(2),
    ),
    "a failure that is sealed and never told, before the grace and a minute": Row(
        (reach("Training"), ends(1, 143, target=True), wait(659)),
        "Unknown Training",
        requeue=15.0,
        run=make_run().with_nodes(2),
    ),
    "a failure that is sealed and never told, after them: it is one": Row(
        (reach("Training"), ends(1, 143, target=True), wait(661)),
        "!False AttemptsExhausted",
        run=make_run().with_nodes(2).with_retry(maxAttempts=1),
    ),
    "the Job vanished: one attempt more, at once": Row(
        (reach("Generation"), its_job_vanishes(), look()), "Unknown Generating", requeue=15.0
    ),
    "the Job vanished twice: then it waits": Row(
        (reach("Generation"), its_job_vanishes(), look(), its_job_vanishes()), "Unknown BackOff", requeue=10.0
    ),
    "it completed and says nothing: one attempt more, at once": Row(
        (reach("Evaluation"), ends(0)), "Unknown Starting", requeue=0.0
    ),
    "it completed and its message is cut: the same": Row(
        (reach("Evaluation"), ends(0, said='{"manifest": "sha256:12')), "Unknown Starting", requeue=0.0
    ),
    "it completed and its pods are gone: the same": Row(
        (reach("Evaluation"), ends(0, said=committed("x")), its_pods_vanish()), "Unknown Starting", requeue=0.0
    ),
    "it failed after it committed: it is committed": Row(
        (reach("Training"), ends(1, said=committed("x"))), "Unknown Starting", requeue=0.0, words="Evaluation"
    ),
}

OTHERS = {
    "a Job of another owner under our name": Row(
        (reach("Generation"), a_job_of_another_owner(named("score")), commits(), look()),
        "Unknown Scoring",
        (f"create {named('score')}",),
    ),
    "a Job of a run of the same name that was created again": Row(
        (
            reach("Generation"),
            running(),
            a_job_of_another_owner(
                "tiny-i2-gen-a1",
                "an older uid",
                **{"selm.dev/run": "tiny", "selm.dev/run-uid": "an older uid", "selm.dev/iteration": "2"},
            ),
        ),
        "Unknown Generating",
    ),
    "a Job that an operator of another version made, at work": Row(
        (reach("Training"), the_job_was_made_by_an_older_operator(), running()), "Unknown Training"
    ),
    "a Job that an operator of another version made, suspended: it is ours": Row(
        (reach("Training"), the_job_was_made_by_an_older_operator(), change(suspend=True)),
        "Unknown Suspending",
        (f"delete {named('train')}",),
        5.0,
    ),
}


def pending(**condition: str) -> Json:
    return {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", **condition}]}


def waiting(reason: str, message: str) -> Json:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"phase": "Pending", "containerStatuses": [{"name": "phase", "state": state}]}


QUOTA = 'Error creating: pods "x" is forbidden: exceeded quota: gpus, requested: 8, used: 0, limited: 4'

SCHEDULING = {
    "in the queue": Row(
        (reach("Training"), the_queue_suspends_it(), wait(90_000)),
        "Unknown Queued",
        run=make_run().with_spec(scheduling={"queueName": "team-a"}),
        words="waits in queue team-a",
    ),
    "suspended by the queue while it ran, its pods ended with 75: nothing is counted, nobody toggles it": Row(
        (reach("Training"), running(2), look(), the_queue_suspends_it(75, 75)),
        "Unknown Queued",
        run=make_run().with_nodes(2).with_retry(maxAttempts=1),
    ),
    "admitted again: it goes on": Row(
        (reach("Training"), running(2), the_queue_suspends_it(75, 75), look(), the_queue_admits_it()),
        "Unknown Training",
        run=make_run().with_nodes(2).with_retry(maxAttempts=1),
    ),
    "partly admitted: its shards run a few at a time": Row(
        (reach("Generation"), the_queue_admits_only(2), job_has(ready=2), wait(100)),
        "Unknown Generating",
        run=make_run().with_shards(8),
    ),
    "no node fits": Row(
        (reach("Training"), pod_is(0, pending(reason="Unschedulable", message="0/3 nodes: no GPU")), wait(20)),
        "Unknown Pending",
        requeue=15.0,
        words="unschedulable: 0/3 nodes: no GPU",
    ),
    "the image cannot be pulled": Row(
        (reach("Training"), pod_is(0, waiting("ImagePullBackOff", "no such tag")), wait(20)),
        "Unknown Pending",
        requeue=15.0,
        words="ImagePullBackOff: no such tag",
    ),
    "a quota leaves no room for its pods": Row(
        (reach("Training"), pods_are_refused("older"), pods_are_refused(QUOTA, 5), wait(20)),
        "Unknown Pending",
        requeue=15.0,
        words=f"1 of 1 pods of Job {named('train')} are not made: {QUOTA}",
    ),
    "a quota leaves room for one of two pods": Row(
        (reach("Training"), pod_is(0, {"phase": "Running"}), pods_are_refused(QUOTA), job_has(ready=1), wait(20)),
        "Unknown Pending",
        requeue=15.0,
        run=make_run().with_nodes(2),
        words="1 of 2 pods",
    ),
    "pods are not made and nobody says why": Row(
        (reach("Training"), wait(20)), "Unknown Pending", requeue=15.0, words="its events say why"
    ),
    "pods do not start for long": Row(
        (reach("Training"), pod_is(0, waiting("ImagePullBackOff", "no such tag")), wait(1800)),
        "Unknown PendingTooLong",
        requeue=15.0,
    ),
    "it runs for a day and nothing moves": Row(
        (reach("Training"), pod_is(0, {"phase": "Running"}), job_has(ready=1), wait(86_400)),
        "Unknown NoProgress",
        words="since it began 24.0 hours ago",
    ),
    "it runs for less": Row(
        (reach("Training"), pod_is(0, {"phase": "Running"}), job_has(ready=1), wait(86_000)), "Unknown Training"
    ),
}

DAY = 86_400
FINISHED = make_run().with_spec(retention={"ttlSecondsAfterFinished": DAY})
CHILDREN = tuple(
    f"delete tiny-i{n}" for n in ("0-eval-a1", "0-prep-a1", "1-eval-a1", "1-gen-a1", "1-score-a1", "1-train-a1")
)

RETENTION = {
    "finished, its time to live runs": Row((finish(), wait(100)), "True Succeeded", requeue=DAY - 100.0, run=FINISHED),
    "finished, its time is over: the children go": Row(
        (finish(), wait(DAY)), "True Succeeded", (*CHILDREN, "delete service tiny-train"), run=FINISHED
    ),
    "finished, its children are gone": Row(
        (finish(), wait(DAY), look(), the_old_job_vanishes()), "True Succeeded", run=FINISHED
    ),
    "finished without a time: they stay": Row((finish(), wait(99 * DAY)), "True Succeeded"),
    "failed, its time is over: the children go, and it can be repaired as before": Row(
        (reach("Generation"), ends(64), look(), wait(DAY)),
        "!False InvalidInput",
        ("delete tiny-i0-eval-a1", "delete tiny-i0-prep-a1", "delete tiny-i1-gen-a1"),
        run=FINISHED,
    ),
    "at work for longer than that: nothing goes": Row(
        (reach("Training"), job_has(ready=1), wait(DAY - 1)), "Unknown Training", run=FINISHED
    ),
    "finished, cleaned, and its iterations raised: it goes on": Row(
        (finish(), wait(DAY), look(), the_old_job_vanishes(), change(iterations=2), look()),
        "Unknown Generating",
        requeue=15.0,
        run=FINISHED,
    ),
}

TABLES = {
    "suspension": SUSPENSION,
    "change": CHANGE,
    "retries": RETRIES,
    "others": OTHERS,
    "scheduling": SCHEDULING,
    "retention": RETENTION,
}


@pytest.mark.parametrize(
    "row",
    [pytest.param(row, id=f"{table}: {name}") for table, rows in TABLES.items() for name, row in rows.items()],
)
async def test_in_this_situation(row: Row) -> None:
    await check(row)
