"""Benchmarks beside the held-out prompts (`spec.evaluation`): run of the base and after each iteration.

A suite's data is imported by Preparation below `suites/<suite>/`; what the suite found goes to a file of the same name
in Evaluation's artifact, one number to its metrics, the rest to its facts. A run without suites has none of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.contract import SelectByConfig
from selm_runtime.evaluate.suites.lm_eval import mean_figure, run_tasks
from selm_runtime.inputs import SUITES
from selm_runtime.phase import PhaseContext
from selm_runtime.precision import inference_device, inference_dtype

SELECTED = {"LMEval": "lmEval"}
"""The suites' metrics by the names that `selectBy.metric` has for them."""


@dataclass
class Found:
    """What the suites gave; empty without any."""

    files: dict[str, Path] = field(default_factory=dict)
    """By logical name."""
    metrics: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    """By suite."""

    def selecting(self, select_by: SelectByConfig) -> float | None:
        """The figure that the iterations are compared by; None where no suite selects."""
        name = SELECTED.get(select_by.metric)
        return None if name is None else self.metrics[name]


def run_suites(ctx: PhaseContext, preparation: Manifest, model: Path) -> Found:
    """Every suite of the spec, of the model in that folder."""
    found = Found()
    if ctx.config.evaluation.lm_eval is not None:
        with ctx.reporter.stage("lm-eval"):
            _lm_eval(ctx, preparation, model, found)
    return found


def _lm_eval(ctx: PhaseContext, preparation: Manifest, model: Path, found: Found) -> None:
    lm_eval = ctx.config.evaluation.lm_eval
    assert lm_eval is not None
    device = inference_device()
    tasks = run_tasks(
        lm_eval,
        model,
        ctx.folder.fetch(preparation, f"{SUITES}lm-eval/", ctx.scratch / "lm-eval"),
        ctx.scratch,
        ctx.stop,
        device=str(device),
        dtype=inference_dtype(model, on_gpu=device.type == "cuda"),
        trust_remote_code=ctx.config.model.trust_remote_code,
    )
    found.metrics["lmEval"] = mean_figure(tasks)
    shown = ("metric", "filter", "value", "stderr", "documents", "fewshot")
    found.facts["lmEval"] = {
        "mean": found.metrics["lmEval"],
        "tasks": {name: {key: task[key] for key in shown} for name, task in tasks.items()},
    }
    found.files[f"{SUITES}lm-eval.json"] = write_json(ctx.scratch / "lm-eval.json", tasks)


def write_json(path: Path, content: Mapping[str, Any]) -> Path:
    """One JSON object, equal for equal contents; returns the path."""
    path.write_text(json.dumps(content, ensure_ascii=False, sort_keys=True, indent=1), encoding="utf-8")
    return path
