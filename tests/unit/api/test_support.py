"""What is not built is refused by the operator with its field; what cannot be is refused before any Job."""

from __future__ import annotations

from typing import Any

import pytest

from selm_operator.api import support
from selm_operator.api.docs import reference
from selm_operator.api.possible import impossible
from selm_operator.api.spec import SELMRunSpec
from selm_operator.api.support import not_yet_supported
from selm_operator.api.validate import validate_spec
from support.selmruns import Json, cases, minimal_spec, run_object


def spec_with(changes: Json) -> SELMRunSpec:
    """The minimal spec with dotted fields set; it must be one that the API server admits."""
    spec = minimal_spec()
    for path, value in changes.items():
        *groups, last = path.split(".")
        group: Any = spec
        for name in groups:
            group = group.setdefault(name, {})
        group[last] = value
    assert validate_spec(run_object(spec)) == []
    return SELMRunSpec.model_validate(spec)


def gpus(count: int) -> Json:
    return {"limits": {"nvidia.com/gpu": count}}


def test_what_is_not_built_yet_is_refused_and_stands_in_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(spec: SELMRunSpec) -> str | None:
        return "two passes are not built yet" if spec.training.epochs == 2 else None

    assert "Not built yet" not in reference()
    monkeypatch.setattr(support, "TABLE", (("spec.training.epochs", "two `training.epochs`", check),))
    assert not_yet_supported(spec_with({"training.epochs": 3})) == []
    found = not_yet_supported(spec_with({"training.epochs": 2}))
    assert found == [("spec.training.epochs", "two passes are not built yet")]
    assert "Not built yet, and refused" in reference()
    assert "- two `training.epochs`" in reference()


BUILT: dict[str, Json] = {
    "the minimal run": {},
    "children removed by time": {"retention.ttlSecondsAfterFinished": 60},
    "adapters": {"training.lora": {"rank": 8, "targetModules": ["q_proj"], "export": "Adapter"}},
    "adapters on quantized weights": {"training.lora": {"quantization": "NF4"}, "training.zeroStage": 2},
    "adapters with dropout": {"training.lora": {"dropout": 0.1}},
    "compiled layers": {"training.compile": True, "training.zeroStage": 2},
    "training state in the host's memory": {"training.offload": {"optimizer": "CPU", "parameters": "CPU"}},
    "a tracker": {"training.reportTo": {"mlflow": {"trackingURI": "http://mlflow:5000", "experiment": "e"}}},
    "a tracker without a key": {"training.reportTo": {"wandb": {"project": "p"}}},
    "plain DPO": {"training.objective": {"type": "DPO"}},
    "another objective": {"training.objective": {"type": "XPO", "xpo": {"kind": "IPO"}}},
    "an objective without a reference": {"training.objective": {"type": "SimPO"}},
    "the mean of the explored": {"training.objective": {"explored": "Mean"}},
    "a guard": {"training.guard": {"maxLogRatio": 50}},
    "a share of the data's own pairs": {"training.offlineShare": 0.25},
    "tasks of lm-evaluation-harness": {
        "evaluation.lmEval": {"uri": "s3://suites/tasks", "tasks": [{"name": "arc_easy"}]},
        "evaluation.selectBy": {"metric": "LMEval"},
    },
    "AlpacaEval": {
        "evaluation.alpacaEval": {
            "uri": "s3://suites/alpaca.json",
            "judge": {"endpoint": "http://judge", "model": "m"},
        },
        "evaluation.selectBy": {"metric": "AlpacaEval"},
    },
    "MT-Bench": {
        "evaluation.mtBench": {
            "uri": "s3://suites/question.jsonl",
            "judge": {"endpoint": "http://judge", "model": "m"},
        },
        "evaluation.selectBy": {"metric": "MTBench"},
    },
    "a reward model": {"scoring.scorers": [{"name": "a", "rewardModel": {"uri": "hf://org/model"}}]},
    "a reward model on vLLM": {
        "scoring.scorers": [{"name": "a", "rewardModel": {"uri": "hf://org/model", "engine": "VLLM"}}]
    },
    "engine arguments": {
        "generation.engineArgs": {"gpu_memory_utilization": 0.9, "dtype": "float16", "block_size": None}
    },
    "an argument that another image's vLLM may have": {
        "generation.engineArgs": {"new_in_next_release": 1},
        "image": "registry/own:1",
    },
    "the reference as a second policy": {"generation.policies": ["Reference", "Current"]},
    "engines in processes of a pod": {"generation.enginesPerPod": 4},
    "as many engines as GPUs": {"generation.enginesPerPod": 4, "generation.resources": gpus(8)},
    "tensor parallelism": {"generation.tensorParallelSize": 8},
    "the queue": {"scheduling.queueName": "team"},
    "only the best is kept": {"retention.artifacts": "KeepBest"},
    "the initial model as reference": {"training.reference": "Initial"},
    "a pairwise ranker": {"scoring.scorers": [{"name": "a", "pairRM": {"uri": "hf://llm-blender/PairRM"}}]},
    "a judge": {"scoring.scorers": [{"name": "a", "judge": {"endpoint": "http://judge", "model": "m"}}]},
    "the policy as its own judge": {
        "scoring.scorers": [{"name": "a", "judge": {"policy": "Current", "mode": "Grade"}}]
    },
    "tests that are run": {"scoring.scorers": [{"name": "a", "execution": {}}]},
    "another pairing rule": {"scoring.pairing": {"rule": "MaxMinProbability", "lengthControl": 0.1}},
    "a length penalty": {"scoring.lengthPenalty": 0.001},
    "a format": {"data.format": "Nectar"},
    "a registry": {
        "push": {
            "uri": "oci://localhost:5000/team/aligned:v1",
            "plainHTTP": True,
            "credentialsSecretRef": {"name": "registry"},
        }
    },
    "an offline iteration": {"schedule": [{"iteration": 1, "pairs": "Offline"}]},
}


@pytest.mark.parametrize("sentence", BUILT)
def test_built(sentence: str) -> None:
    spec = spec_with(BUILT[sentence])
    assert not_yet_supported(spec) == []
    assert impossible(spec) == []


IMPOSSIBLE: dict[str, tuple[Json, str, str]] = {
    "a batch that the GPUs do not divide": (
        {"training.resources": gpus(8), "training.batchSize": 12},
        "spec.training.batchSize",
        "1 nodes x 8 ranks = 8; found 12",
    ),
    "more ranks than GPUs": (
        {"training.resources": gpus(2), "training.ranksPerNode": 4},
        "spec.training.ranksPerNode",
        "at most the GPUs in training.resources.limits, 2; found 4",
    ),
    "an engine over more GPUs than its pod has": (
        {"generation.tensorParallelSize": 2, "generation.resources": gpus(1)},
        "spec.generation.tensorParallelSize",
        "generation.resources.limits, 1; found 2",
    ),
    "an engine over more GPUs than evaluation's pod has": (
        {"generation.tensorParallelSize": 2, "generation.resources": gpus(2), "evaluation.resources": gpus(1)},
        "spec.generation.tensorParallelSize",
        "evaluation.resources.limits, 1; found 2",
    ),
    "more engines than GPUs": (
        {"generation.enginesPerPod": 5, "generation.tensorParallelSize": 2, "generation.resources": gpus(8)},
        "spec.generation.enginesPerPod",
        "must be at most 4: generation.resources.limits has 8 GPUs, and an engine spans 2; found 5",
    ),
    "an engine argument that vLLM does not have": (
        {"generation.engineArgs": {"gpu_memory_utilisation": 0.9}},
        "spec.generation.engineArgs.gpu_memory_utilisation",
        "vLLM has no such engine argument; near to it: gpu_memory_utilization",
    ),
    "an engine argument of another type": (
        {"generation.engineArgs": {"max_num_seqs": "many"}},
        "spec.generation.engineArgs.max_num_seqs",
        'found "many", allowed is an integer or null',
    ),
    "an engine argument of no known value": (
        {"generation.engineArgs": {"dtype": "float99"}},
        "spec.generation.engineArgs.dtype",
        "allowed is 'auto' or 'half'",
    ),
    "an engine argument that is decided elsewhere, whatever the image": (
        {"generation.engineArgs": {"seed": 1}, "image": "registry/own:1"},
        "spec.generation.engineArgs.seed",
        "this argument is decided by spec.seed",
    ),
    "the reference alone": (
        {"generation.policies": ["Reference"]},
        "spec.generation.policies",
        "must hold Current",
    ),
    "selection by pairs that the data cannot have": (
        {
            "evaluation.selectBy": {"metric": "PreferenceAccuracy"},
            "data.format": "Prompts",
            "generation.samplesPerPrompt": 2,
            "generation.temperature": 0.7,
            "scoring.pairing": {"offline": "Exclude"},
        },
        "spec.evaluation.selectBy.metric",
        "must be WinRate or MeanReward",
    ),
}


@pytest.mark.parametrize("sentence", IMPOSSIBLE)
def test_impossible(sentence: str) -> None:
    changes, field, words = IMPOSSIBLE[sentence]
    found = impossible(spec_with(changes))
    assert [error.field for error in found] == [field]
    assert words in found[0].message


def test_ranks_of_a_pod_are_the_gpus_of_any_vendor_else_one() -> None:
    def ranks(changes: Json) -> int:
        return spec_with(changes).training.resolved_ranks_per_node

    assert ranks({}) == 1
    assert ranks({"training.resources": {"limits": {"cpu": "4"}}}) == 1
    assert ranks({"training.resources": {"limits": {"amd.com/gpu": "8"}}}) == 8
    assert ranks({"training.resources": gpus(8), "training.ranksPerNode": 2}) == 2


def test_engines_of_a_pod_are_those_that_its_gpus_hold_else_one() -> None:
    def engines(changes: Json) -> int:
        return spec_with(changes).generation.resolved_engines_per_pod

    assert engines({}) == 1
    assert engines({"generation.resources": gpus(8)}) == 8
    assert engines({"generation.resources": gpus(8), "generation.tensorParallelSize": 4}) == 2
    assert engines({"generation.resources": gpus(8), "generation.enginesPerPod": 2}) == 2
    assert engines({"generation.enginesPerPod": 2}) == 2


def test_no_good_spec_of_the_table_is_impossible() -> None:
    for case in cases():
        if case["kind"] == "good":
            assert impossible(SELMRunSpec.model_validate(case["spec"])) == [], case["name"]
