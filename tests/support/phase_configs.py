"""Phase configs for tests: valid ones, to be changed by `model_copy` or by nested keyword arguments."""

from __future__ import annotations

from typing import Any

from selm_runtime.contract import PhaseConfig

BASE: dict[str, Any] = {
    "run": {"namespace": "team", "name": "run", "uid": "0001"},
    "phase": "Preparation",
    "iteration": 0,
    "attempt": 1,
    "iterations": 2,
    "seed": 42,
    "artifacts": {"uri": "file:///nowhere"},
    "model": {"uri": "file:///nowhere/model"},
    "data": {"uri": "file:///nowhere/data", "portions": 2},
    "generation": {"temperature": 0.7, "topP": 1.0, "maxTokens": 16, "samplesPerPrompt": 2},
    "scoring": {"scorers": [{"name": "length", "rules": [{"type": "Length", "target": 20}]}]},
    "training": {
        "objective": {"type": "SELM", "alpha": 0.001, "beta": 0.1},
        "learningRate": 1e-4,
        "batchSize": 4,
        "maxTokensPerMicroBatch": 1024,
        "maxLength": 128,
        "maxPromptLength": 96,
    },
}


def merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """`change` over `base`, dictionary by dictionary; neither is modified."""
    merged = dict(base)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def phase_config(**change: Any) -> PhaseConfig:
    """The base config with nested changes, by wire names: `phase_config(phase="Training", data={"portions": 3})`."""
    return PhaseConfig.model_validate(merge(BASE, change))
