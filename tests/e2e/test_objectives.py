"""Each objective, and adapters, through the operator: one run pays for data and responses, the others train and evaluate on them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from support.e2e_runs import make_run
from support.lab import Json, Lab, condition, phase_status

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

OBJECTIVES: dict[str, dict[str, Any]] = {
    "SELM": {"objective": {"type": "SELM", "alpha": 0.3}},
    "XPO": {"objective": {"type": "XPO", "alpha": 0.01, "xpo": {"kind": "IPO"}}},
    "VPO": {"objective": {"type": "VPO", "alpha": 0.3, "vpo": {"sign": "Offline", "calibration": "Chosen"}}},
    "SEPOPO": {"objective": {"type": "SEPOPO", "alpha": 0.3, "explored": "Mean"}},
    "IPO": {"objective": {"type": "IPO"}},
    "Hinge": {"objective": {"type": "Hinge"}},
    "SimPO": {"objective": {"type": "SimPO", "beta": 2.0, "simPO": {"gamma": 0.5}}},
    "RobustDPO": {"objective": {"type": "RobustDPO"}},
    "ConservativeDPO": {"objective": {"type": "ConservativeDPO", "conservativeDPO": {"epsilon": 0.2}}},
    "AlphaDPO": {"objective": {"type": "AlphaDPO", "beta": 2.5}},
    "NSDPO": {"objective": {"type": "NSDPO"}},
    "RPO": {"objective": {"type": "RPO", "rpo": {"lambda": 0.5}}},
    "GEB": {"objective": {"type": "GEB", "alpha": 0.01}},
    "HPO": {"objective": {"type": "XPO", "alpha": 0.01}, "offlineShare": 0.25},
}
FAST = ("SimPO", "AlphaDPO")
"""The others run in `make test-long`: they differ in what the unit tests hold to their formulas."""


@pytest.fixture(scope="module")
def paid(lab: Lab, inputs: dict[str, str]) -> Json:
    """Plain DPO, whose Generation and Scoring the others reuse."""
    lab.apply(make_run("objective-dpo", inputs, training={"objective": {"type": "DPO"}, "nodes": 1}))
    return lab.succeeded("objective-dpo", seconds=900)


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.long) for name in OBJECTIVES]
)
def test_an_objective_trains_on_responses_that_are_paid_for(
    name: str, lab: Lab, inputs: dict[str, str], paid: Json
) -> None:
    run_name = f"objective-{name.lower()}"
    lab.apply(make_run(run_name, inputs, training={"nodes": 1, **OBJECTIVES[name]}))
    run = lab.succeeded(run_name, seconds=900)
    for phase in ("Generation", "Scoring"):
        assert lab.manifest(run, 1, phase)["contentDigest"] == lab.manifest(paid, 1, phase)["contentDigest"]
    assert not [record for record in lab.logs(f"{run_name}-i1-gen-a1") if record["selm"] == "engine-call"]
    ours, theirs = (lab.manifest(one, 1, "Training") for one in (run, paid))
    assert math.isfinite(ours["metrics"]["loss"])
    assert ours["metrics"]["gradNorm"] > 0
    # NS-DPO discounts by age, and the pairs of a first iteration are all new: it differs from the second one on, see below.
    assert (weights(ours) == weights(theirs)) == (name == "NSDPO")
    explores = name in ("SELM", "XPO", "SEPOPO", "HPO")
    assert ("exploredLogRatio" in ours["metrics"]) == explores
    assert phase_status(run, 1, "Evaluation")["state"] == "Succeeded"


@pytest.mark.long
def test_selm_without_its_term_gives_dpos_weights(lab: Lab, inputs: dict[str, str], paid: Json) -> None:
    settings = {"objective": {"type": "SELM", "alpha": 0.0}, "nodes": 1}
    lab.apply(make_run("objective-alpha-zero", inputs, training=settings))
    run = lab.succeeded("objective-alpha-zero", seconds=900)
    assert weights(lab.manifest(run, 1, "Training")) == weights(lab.manifest(paid, 1, "Training"))


@pytest.mark.long
def test_discounted_replay_takes_the_pairs_of_both_iterations(lab: Lab, inputs: dict[str, str]) -> None:
    settings = {"objective": {"type": "NSDPO"}, "nodes": 1}
    lab.apply(make_run("objective-replay", inputs, iterations=2, training=settings))
    run = lab.succeeded("objective-replay", seconds=1200)
    steps = [lab.manifest(run, t, "Training")["facts"]["steps"] for t in (1, 2)]
    assert steps[1] > steps[0]


@pytest.mark.long
def test_reward_augmented_data_asks_for_the_goal(lab: Lab, inputs: dict[str, str], paid: Json) -> None:
    augmented = {"transform": "RewardAugmented", "rewardAugmented": {"goal": 2}}
    settings = {"objective": {"type": "DPO"}, "nodes": 1}
    lab.apply(make_run("objective-augmented", inputs, data=augmented, training=settings))
    run = lab.succeeded("objective-augmented", seconds=900)
    generated = [lab.manifest(one, 1, "Generation")["contentDigest"] for one in (run, paid)]
    assert generated[0] != generated[1]
    pairs = lab.manifest(run, 1, "Scoring")["metrics"]["pairs"]
    training = lab.manifest(run, 1, "Training")["facts"]
    assert training["pairs"] + training["droppedPairs"] == 2 * pairs


@pytest.fixture(scope="module")
def adapted(lab: Lab, inputs: dict[str, str], paid: Json) -> Json:
    """Plain DPO of adapters, on the responses that are paid for; more iterations may be asked of it."""
    adapters = {"rank": 4, "alpha": 8, "export": "Adapter"}
    settings = {"objective": {"type": "DPO"}, "nodes": 1, "lora": adapters, "learningRate": 1.0e-2}
    lab.apply(make_run("adapters", inputs, data={"portions": 1}, training=settings))
    return lab.succeeded("adapters", seconds=900)


def test_adapters_train_on_responses_that_are_paid_for_and_leave_a_whole_model(
    lab: Lab, adapted: Json, paid: Json
) -> None:
    for phase in ("Generation", "Scoring"):
        assert lab.manifest(adapted, 1, phase)["contentDigest"] == lab.manifest(paid, 1, phase)["contentDigest"]
    ours, theirs = (lab.manifest(run, 1, "Training") for run in (adapted, paid))
    sizes = {file["name"]: file["size"] for file in ours["files"]}
    full = {file["name"]: file["size"] for file in theirs["files"]}
    assert sizes["model/model.safetensors"] == full["model/model.safetensors"]
    assert 0 < sizes["adapter/adapter_model.safetensors"] < sizes["model/model.safetensors"] / 2
    assert weights(ours) != weights(theirs)
    assert phase_status(adapted, 1, "Evaluation")["state"] == "Succeeded"


@pytest.mark.long
def test_the_next_iteration_generates_from_merged_adapters_and_trains_new_ones(lab: Lab, adapted: Json) -> None:
    lab.change("adapters", iterations=2)
    lab.until("the second iteration has begun", lambda: lab.run("adapters")["status"]["current"]["iteration"] == 2)
    run = lab.succeeded("adapters", seconds=900)
    responses = [lab.manifest(run, t, "Generation")["contentDigest"] for t in (1, 2)]
    assert responses[0] != responses[1]
    trained = [weights(lab.manifest(run, t, "Training")) for t in (1, 2)]
    assert trained[0] != trained[1]
    assert phase_status(run, 2, "Evaluation")["state"] == "Succeeded"


def test_a_training_that_runs_away_is_stopped_and_can_be_repaired(lab: Lab, inputs: dict[str, str], paid: Json) -> None:
    runaway = {"type": "SELM", "alpha": 1000.0, "beta": 1.0}
    settings = {"objective": runaway, "learningRate": 1.0e-2, "guard": {"maxLogRatio": 0.5}, "nodes": 1}
    lab.apply(make_run("objective-runaway", inputs, training=settings))
    found = lab.in_condition("objective-runaway", "Succeeded", "False", "InvalidInput", 600)
    assert "spec.training.guard.maxLogRatio allows 0.5" in found["message"]
    assert condition(lab.run("objective-runaway"), "Stalled")["status"] == "True"
    assert "guard" in lab.change_refused("objective-runaway", training={"guard": {"maxLogRatio": 100000}})
    lab.change("objective-runaway", suspend=True)
    lab.in_condition("objective-runaway", "Suspended", "True", "Suspended")
    lab.change("objective-runaway", schedule=[{"iteration": 1, "alpha": 0.01, "learningRate": 1.0e-5}])
    lab.change("objective-runaway", suspend=False)
    run = lab.succeeded("objective-runaway", seconds=600)
    assert lab.manifest(run, 1, "Training")["metrics"]["exploredLogRatioLowest"] > -0.5


def weights(manifest: Json) -> str:
    return str(next(file["sha256"] for file in manifest["files"] if file["name"] == "model/model.safetensors"))
