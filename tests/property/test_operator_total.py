"""`decide` answers any snapshot, also those that no history leads to: a status that somebody edited, Jobs out of order."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selm_operator.api.status import Current, Failure, SELMRunStatus
from selm_operator.decide import decide
from selm_operator.decision import CreateJob, Decision
from selm_operator.ledger import Position, open_position, order_of, with_phase
from selm_operator.settings import Settings
from selm_operator.snapshot import (
    Condition,
    JobView,
    Obstacle,
    PodView,
    RunView,
    ServiceView,
    Snapshot,
    read_run,
)
from selm_runtime.contract import Phase, TerminationMessage
from support.fake_cluster import START, digest
from support.kstatus import check_conditions
from support.run_builder import make_run

NOW = START + timedelta(days=1)
SETTINGS = Settings(runtime_image="runtime:1")
times = st.integers(0, 90_000).map(lambda seconds: NOW - timedelta(seconds=seconds))
positions = st.tuples(st.integers(0, 3), st.sampled_from(Phase)).filter(
    lambda p: (p[1] is Phase.PREPARATION) <= (p[0] == 0) and (p[0] > 0 or p[1] in (Phase.PREPARATION, Phase.EVALUATION))
)
exit_codes = st.sampled_from((0, 1, 64, 75, 76, 137, 143))
states = st.sampled_from(("Pending", "Running", "Succeeded", "Failed", "Skipped"))
failures = st.builds(
    Failure, attempt=st.integers(1, 4), exit_code=st.none() | exit_codes, counted=st.booleans(), time=st.none() | times
)


@st.composite
def statuses(draw: st.DrawFn, spec_run: RunView) -> SELMRunStatus:
    status = SELMRunStatus()
    assert spec_run.spec is not None
    for position in draw(st.lists(positions, max_size=6)):
        status = open_position(status, spec_run.spec, position)
        state = draw(states)
        manifest = digest("x") if state == "Succeeded" and draw(st.booleans()) else None
        status = with_phase(status, position, state=state, manifest_digest=manifest)
    if not draw(st.booleans()):
        return status
    iteration, phase = draw(positions)
    current = Current(
        iteration=iteration,
        phase=phase.value,
        attempt=draw(st.none() | st.integers(1, 4)),
        failure=draw(st.none() | failures),
        counted_failures=draw(st.none() | st.integers(0, 5)),
        progress=draw(st.none() | st.integers(0, 9)),
        temporary_since=draw(st.none() | times),
        next_attempt_time=draw(st.none() | times),
    )
    return status.model_copy(update={"current": current})


conditions = st.none() | st.builds(
    Condition,
    reason=st.sampled_from(("PodFailurePolicy", "BackoffLimitExceeded", "")),
    message=st.sampled_from(("", "matching FailJob rule at index 0", "matching FailJob rule at index 1")),
    time=st.none() | times,
)


@st.composite
def jobs(draw: st.DrawFn) -> JobView:
    position: Position = draw(positions)
    attempt = draw(st.integers(1, 5))
    return JobView(
        name=f"tiny-i{position[0]}-{order_of(position)[1]}-a{attempt}",
        uid=f"uid-{draw(st.integers(0, 99))}",
        phase=position[1],
        iteration=position[0],
        attempt=attempt,
        created=draw(times),
        deleted=draw(st.none() | times),
        grace_seconds=draw(st.integers(0, 600)),
        image="runtime:1",
        pods=draw(st.integers(1, 4)),
        indexes=draw(st.integers(1, 4)),
        gpus_per_pod=draw(st.integers(0, 8)),
        complete=draw(conditions),
        failed=draw(conditions),
        failure_target=draw(conditions),
        suspended=draw(conditions),
        started=draw(st.none() | times),
        ended=draw(st.none() | times),
        ready=draw(st.integers(0, 4)),
        succeeded=draw(st.integers(0, 4)),
    )


pods = st.builds(
    PodView,
    name=st.just("pod"),
    index=st.integers(0, 3),
    phase=st.sampled_from(("Pending", "Running", "Failed", "Succeeded")),
    disrupted=st.booleans(),
    unschedulable=st.none() | st.just("no node fits"),
    waiting=st.none() | st.just(("ImagePullBackOff", "no such tag")),
    exit_code=st.none() | exit_codes,
    ended=st.none() | times,
    ended_reason=st.sampled_from((None, "Error", "OOMKilled")),
    said=st.none()
    | st.builds(
        TerminationMessage, manifest=st.none() | st.just(digest("y")), checkpoint_step=st.none() | st.integers(0, 9)
    ),
    last_words=st.sampled_from(("", "Traceback")),
    image_digest=st.none() | st.just("sha256:" + "a" * 64),
)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    builder = make_run().with_iterations(draw(st.integers(1, 3)))
    if draw(st.booleans()):
        builder.suspended()
    if draw(st.booleans()):
        builder.offline(1)
    run = read_run(builder.obj())
    status = draw(statuses(run))
    run = RunView(run.namespace, run.name, run.uid, 1, draw(st.booleans()), run.spec, (), run.immutable, status)
    found = tuple(draw(st.lists(jobs(), max_size=4)))
    return Snapshot(
        run,
        found,
        NOW,
        SETTINGS,
        pods=tuple(draw(st.lists(pods, max_size=3))),
        pods_of=draw(st.sampled_from([job.name for job in found])) if found else None,
        not_made=draw(st.sampled_from((None, "exceeded quota: gpus"))),
        service=draw(
            st.sampled_from((None, ServiceView("tiny-train", True, "uid-s"), ServiceView("tiny-train", False)))
        ),
        obstacle=draw(
            st.none() | st.builds(Obstacle, st.sampled_from(("JobNameTaken", "EffectRefused")), st.just("why"))
        ),
    )


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(snapshots())
def test_decide_answers_any_snapshot_and_makes_at_most_one_job(snapshot: Snapshot) -> None:
    decision = decide(snapshot)
    assert isinstance(decision, Decision)
    assert decide(snapshot) == decision, "decide is not a function"
    made = [action for action in decision.actions if isinstance(action, CreateJob)]
    assert len(made) <= 1
    waits = SETTINGS.waits
    if made:
        assert not snapshot.run.deleting
        assert snapshot.obstacle is None
        assert not any(job.active(NOW, waits.deletion_margin) for job in snapshot.jobs)
        name = made[0].manifest["metadata"]["name"]
        assert decision.status.current is not None
        assert decision.status.current.job_name == name
    if not snapshot.run.deleting:
        check_conditions({"metadata": {"generation": 1}}, decision.status)
    dumped = decision.status.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert SELMRunStatus.model_validate(dumped).model_dump(mode="json", by_alias=True, exclude_none=True) == dumped
