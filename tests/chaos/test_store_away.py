"""The store is away in each phase: pods end with 75 and give back what they hold; nothing is lost or counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.e2e_operators import operator_away, own_operator, skip_unless_ours
from support.e2e_proxy import StoreProxy
from support.e2e_runs import long_training
from support.e2e_watch import assert_one_at_a_time, exit_codes, job_of, watching
from support.lab import Json, Lab, condition, phase_status

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

MINUTES_TO_SECONDS = "0.02"
PHASES = [
    (0, "Preparation", "prep"),
    (1, "Generation", "gen"),
    (1, "Scoring", "score"),
    (1, "Training", "train"),
    (1, "Evaluation", "eval"),
]


@pytest.fixture(scope="module")
def proxy(lab: Lab) -> Iterator[StoreProxy]:
    """A way to the store that can be cut."""
    skip_unless_ours(lab)
    store = urlsplit(lab.environment["AWS_ENDPOINT_URL"])
    assert store.hostname is not None
    assert store.port is not None
    proxy = StoreProxy(store.hostname, store.port)
    yield proxy
    proxy.close()


@pytest.fixture(scope="module")
def hasty(lab: Lab, base: Json, proxy: StoreProxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A namespace of its own, with an operator that waits seconds for minutes, and so do its pods."""
    assert base["status"]["iterations"], "made before the usual operator goes"
    assert proxy.endpoint
    own = Lab(lab.environment, embedded_state=lab.embedded_state)
    own.create_namespace()
    log: Path = tmp_path_factory.mktemp("operator") / "operator.log"
    hurry = {"SELM_TIME_SCALE": MINUTES_TO_SECONDS, "SELM_NAMESPACES": own.namespace}
    with operator_away(lab), own_operator(lab, log, **hurry):
        yield own
    own.remove_namespace()


def test_an_outage_in_each_phase_costs_attempts_that_do_not_count(
    hasty: Lab, lab: Lab, inputs: dict[str, str], base: Json, proxy: StoreProxy
) -> None:
    name = "store-away"
    selector = f"selm.dev/run={name}"
    artifacts = {"reuse": "None", "endpoint": proxy.endpoint}
    with watching(hasty, "jobs", selector) as jobs, watching(hasty, "pods", selector) as pods:
        hasty.apply(long_training(name, inputs, artifacts=artifacts, retry={"maxAttempts": 1}))
        for iteration, phase, short in PHASES:
            proxy.away_at(rf"^PUT /\S*/{name}-[^/]+/iter-{iteration}/{phase.lower()}/")
            hasty.until(f"the store is away in {phase}", lambda: proxy.is_away, 300)
            hasty.until(f"{phase} gave up for now", lambda t=iteration, p=phase: ended_for_now(hasty, name, t, p), 300)
            job = f"{name}-i{iteration}-{short}-a1"
            codes = exit_codes(pods.events, lambda pod, job=job: job_of(pod) == job)
            assert 75 in codes
            assert codes <= {0, 75, 76, 137, 143}, f"{phase}: {codes}"
            proxy.back()
        run = hasty.succeeded(name)
        assert_one_at_a_time(jobs, pods)
    for iteration, phase, _ in PHASES:
        assert phase_status(run, iteration, phase)["attempts"] > 1
        mine, theirs = hasty.manifest(run, iteration, phase), lab.manifest(base, iteration, phase)
        assert mine["contentDigest"] == theirs["contentDigest"], phase


def test_a_store_that_stays_away_stalls_the_run_until_it_may_wait_longer(
    hasty: Lab, inputs: dict[str, str], proxy: StoreProxy
) -> None:
    name = "store-gone"
    proxy.away()
    run = long_training(name, inputs, artifacts={"endpoint": proxy.endpoint}, retry={"temporaryDeadlineSeconds": 1})
    hasty.apply(run)
    said = hasty.in_condition(name, "Stalled", "True", "TemporaryDeadlineExceeded", 300)
    assert "temporaryDeadlineSeconds" in said["message"]
    stalled = hasty.run(name)
    assert condition(stalled, "Succeeded")["status"] == "Unknown"
    assert condition(stalled, "Reconciling")["status"] == "False"
    assert "countedFailures" not in stalled["status"]["current"]
    assert not [job for job in hasty.items("jobs", "-l", f"selm.dev/run={name}") if job["status"].get("active")]
    proxy.back()
    hasty.change(name, retry={"temporaryDeadlineSeconds": 3600})
    hasty.in_phase(name, 0, "Evaluation")
    hasty.delete_run(name)


def ended_for_now(lab: Lab, name: str, iteration: int, phase: str) -> bool:
    """An attempt of the phase ended by the outage, is not counted, and no pod of it holds anything."""
    current: Json = lab.run(name)["status"].get("current", {})
    failure = current.get("failure", {})
    if (current.get("iteration"), current.get("phase")) != (iteration, phase) or "exitCode" not in failure:
        return False
    # A rank that loses its peer to the outage says so; which of the two the operator reads is a matter of moments.
    assert failure["exitCode"] in ((75, 76) if phase == "Training" else (75,)), failure
    assert not failure["counted"], failure
    assert "countedFailures" not in current
    return True
