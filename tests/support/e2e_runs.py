"""SELMRuns for end-to-end tests: a tiny model, a few rows, seconds a phase."""

from __future__ import annotations

import copy
from typing import Any

Json = dict[str, Any]


def make_run(name: str, inputs: dict[str, str], **changes: Any) -> Json:
    """A one-iteration run over the tiny inputs; `changes` are merged into the spec, group by group."""
    spec: Json = {
        "iterations": 1,
        "seed": 7,
        "model": {"uri": inputs["model"]},
        "data": {"uri": inputs["data"], "heldOut": {"split": "test", "limit": 8}},
        "generation": {"temperature": 0.8, "samplesPerPrompt": 2, "maxTokens": 12, "shards": 2},
        "scoring": {
            "scorers": [{"name": "rules", "rules": [{"type": "Length", "target": 4}, {"type": "Repetition"}]}],
            "pairing": {"offline": "Include"},
        },
        "training": {
            "objective": {"alpha": 0.01, "beta": 0.1},
            "learningRate": 1.0e-4,
            "precision": "Float32",
            "batchSize": 8,
            "maxTokensPerMicroBatch": 512,
            "maxLength": 192,
            "maxPromptLength": 128,
            "nodes": 2,
            "zeroStage": 2,
            "terminationGracePeriodSeconds": 30,
        },
        "evaluation": {"selectBy": {"metric": "MeanReward"}},
        "artifacts": {"uri": inputs["artifacts"], "credentialsSecretRef": {"name": "s3"}},
        "podTemplates": [{"phase": "All", "env": [{"name": "OMP_NUM_THREADS", "value": "1"}]}],
    }
    return {
        "apiVersion": "selm.dev/v1alpha1",
        "kind": "SELMRun",
        "metadata": {"name": name},
        "spec": merged(spec, changes),
    }


UNREACHED_NORM = 1.0e5


def long_training(name: str, inputs: dict[str, str], variant: int = 0, **changes: Any) -> Json:
    """A run whose Training takes its time over many steps, with a checkpoint each second.

    `variant` sets another bound on the gradient, which is never reached: another input digest for Training alone, and
    the same weights. So a variant of the run that the fixture `base` made trains anew and finds all the rest.
    """
    training = {"maxGradNorm": UNREACHED_NORM + variant, "epochs": 40, "checkpoint": {"intervalSeconds": 1}}
    return make_run(name, inputs, **merged({"training": training}, changes))


def merged(base: Json, changes: Json) -> Json:
    """A deep copy with the changes merged in: objects by key, everything else replaced; None removes."""
    out = copy.deepcopy(base)
    for key, value in changes.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = merged(out[key], value)
        else:
            out[key] = copy.deepcopy(value)
    return out


def with_fault(run: Json, fault: str) -> Json:
    """The run with a process that kills itself at a point of a phase, in the first attempt only."""
    out = copy.deepcopy(run)
    out["spec"]["podTemplates"][0]["env"].append({"name": "TEST_FAULT", "value": fault})
    return out
