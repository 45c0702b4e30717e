"""A run that failed for want of memory is given more, and goes on where it stopped."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from support.e2e_runs import long_training
from support.lab import BIN, Json, Lab, condition, phase_status

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

NAME = "repaired"
TOO_LITTLE, ENOUGH = "150Mi", "8Gi"
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def failed(lab: Lab, inputs: dict[str, str], base: Json) -> Json:
    """Training runs out of memory until its attempts are out; what comes before was found in the store."""
    assert base["status"]["iterations"]
    training = {"resources": {"limits": {"memory": TOO_LITTLE}}, "nodes": 1}
    lab.apply(long_training(NAME, inputs, variant=1, training=training, retry={"maxAttempts": 2}))
    assert wait_for_the_end(lab) != 0, "the recipe took a failure for success"
    return lab.run(NAME)


def test_a_run_out_of_attempts_says_why(lab: Lab, failed: Json) -> None:
    found = condition(failed, "Succeeded")
    assert (found["status"], found["reason"]) == ("False", "AttemptsExhausted")
    assert "OOMKilled" in found["message"]
    assert condition(failed, "Stalled")["status"] == "True"
    assert condition(failed, "Reconciling")["status"] == "False"
    assert phase_status(failed, 1, "Training")["state"] == "Failed"
    assert phase_status(failed, 1, "Training")["attempts"] == 2
    assert not [job for job in lab.items("jobs", "-l", f"selm.dev/run={NAME}") if job["status"].get("active")]


def test_more_memory_lets_it_go_on_and_nothing_before_is_repeated(lab: Lab, failed: Json, base: Json) -> None:
    before = lab.jobs(failed)
    lab.change(NAME, suspend=True)
    lab.in_condition(NAME, "Suspended", "True", "Suspended")
    lab.change(NAME, training={"resources": {"limits": {"memory": ENOUGH}}, "nodes": 2})
    lab.change(NAME, suspend=False)
    lab.until("the run goes on", lambda: condition(lab.run(NAME), "Succeeded")["status"] == "Unknown", 60)
    assert wait_for_the_end(lab) == 0
    run = lab.succeeded(NAME, 5)
    assert sorted(lab.jobs(run).keys() - before.keys()) == [f"{NAME}-i1-eval-a1", f"{NAME}-i1-train-a3"]
    assert lab.manifest(run, 1, "Training")["contentDigest"] == lab.manifest(base, 1, "Training")["contentDigest"]


def wait_for_the_end(lab: Lab) -> int:
    """The documented recipe, as it stands there; returns its exit code."""
    recipe = re.search(r"```bash\n(# Wait for the end.*?)```", (DOCS / "gitops.md").read_text(), re.DOTALL)
    assert recipe is not None, "docs/gitops.md has no recipe that begins with `# Wait for the end`"
    environment = {**lab.kubectl_environment, "RUN": NAME, "NAMESPACE": lab.namespace}
    environment["PATH"] = f"{BIN}:{environment['PATH']}"
    done = subprocess.run(["bash", "-c", recipe.group(1)], env=environment, timeout=600, check=False)
    return done.returncode
