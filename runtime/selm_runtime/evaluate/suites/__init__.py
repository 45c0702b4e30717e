"""Benchmarks beside the held-out prompts (`spec.evaluation`): run of the base and after each iteration.

A suite's data is imported by Preparation below `suites/<suite>/`; what the suite found goes to a file of the same name
in Evaluation's artifact, one number to its metrics, the rest to its facts. A run without suites has none of it. Those that
the policy answers are planned and answered before anything is judged (`generated`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.contract import SelectByConfig
from selm_runtime.data.tokens import Tokenizer
from selm_runtime.evaluate.suites import mt_bench
from selm_runtime.evaluate.suites.alpaca import FIELD as ALPACA_FIELD
from selm_runtime.evaluate.suites.alpaca import (
    INSTRUCTIONS,
    alpaca_figures,
    compare,
    comparing_template,
    read_instructions,
)
from selm_runtime.evaluate.suites.judging import suite_judge
from selm_runtime.evaluate.suites.lm_eval import mean_figure, run_tasks
from selm_runtime.evaluate.suites.responses import Answer, Asking, room_for
from selm_runtime.inputs import SUITES
from selm_runtime.phase import PhaseContext
from selm_runtime.precision import inference_device, inference_dtype

LM_EVAL_FILE = "lm-eval.json"
SELECTED = {"LMEval": "lmEval", "AlpacaEval": "alpacaEval", "MTBench": "mtBench"}
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


def plan_suites(ctx: PhaseContext, preparation: Manifest, model: Path, tokenizer: Tokenizer) -> list[Asking]:
    """What the suites of the spec ask the model in that folder, in the order of `EvaluationConfig.answered`.

    Raises InvalidInput where its context is too short for one.
    """
    plans = {"alpacaEval": _plan_alpaca, "mtBench": _plan_mt_bench}
    return [plans[name](ctx, preparation, model, tokenizer) for name in ctx.config.evaluation.answered]


def _plan_alpaca(ctx: PhaseContext, preparation: Manifest, model: Path, tokenizer: Tokenizer) -> Asking:
    config = ctx.config.evaluation.alpaca_eval
    assert config is not None
    instructions = read_instructions(_suite_folder(ctx, preparation, "alpaca-eval") / INSTRUCTIONS)
    asked = [[{"role": "user", "content": each.instruction}] for each in instructions]
    room = room_for(ctx, model, tokenizer, config.max_tokens, ALPACA_FIELD, asked)
    return Asking("alpacaEval", room, lambda _: asked, len(asked), ("alpacaEval",))


def _plan_mt_bench(ctx: PhaseContext, preparation: Manifest, model: Path, tokenizer: Tokenizer) -> Asking:
    config = ctx.config.evaluation.mt_bench
    assert config is not None
    questions = mt_bench.read_questions(_suite_folder(ctx, preparation, "mt-bench") / mt_bench.QUESTIONS)
    unanswered = [mt_bench.conversation(question, [""]) for question in questions]
    grows = config.max_tokens + mt_bench.SPARE_TOKENS
    room = room_for(ctx, model, tokenizer, config.max_tokens, mt_bench.FIELD, unanswered, grows)

    def conversations(answers: Sequence[Sequence[str]]) -> list[list[dict[str, str]]]:
        return [mt_bench.conversation(*both) for both in zip(questions, answers, strict=True)]

    turns = tuple(f"mtBench-{turn}" for turn in range(mt_bench.TURNS))
    return Asking("mtBench", room, conversations, len(questions), turns)


def run_suites(
    ctx: PhaseContext, preparation: Manifest, model: Path, answers: Mapping[str, Sequence[Sequence[Answer]]]
) -> Found:
    """Every suite of the spec, of the model in that folder. `answers` are what it said to those that were planned.

    What needs the device goes first; then judges are waited for.
    """
    found = Found()
    if ctx.config.evaluation.lm_eval is not None:
        with ctx.reporter.stage("lm-eval"):
            _lm_eval(ctx, preparation, model, found)
    if ctx.config.evaluation.alpaca_eval is not None:
        with ctx.reporter.stage("alpaca-eval"):
            _alpaca(ctx, preparation, answers["alpacaEval"], found)
    if ctx.config.evaluation.mt_bench is not None:
        with ctx.reporter.stage("mt-bench"):
            _mt_bench(ctx, preparation, answers["mtBench"], found)
    return found


def _lm_eval(ctx: PhaseContext, preparation: Manifest, model: Path, found: Found) -> None:
    tasks, file = _tasks(ctx, preparation, model)
    found.metrics["lmEval"] = mean_figure(tasks)
    shown = ("metric", "filter", "value", "stderr", "documents", "fewshot")
    found.facts["lmEval"] = {
        "mean": found.metrics["lmEval"],
        "tasks": {name: {key: task[key] for key in shown} for name, task in tasks.items()},
    }
    found.files[f"{SUITES}{LM_EVAL_FILE}"] = file


def _tasks(ctx: PhaseContext, preparation: Manifest, model: Path) -> tuple[dict[str, Any], Path]:
    """What the harness found, by task, and its file: the phase's last chunk, so that no later attempt runs it again."""
    lm_eval, chunk = ctx.config.evaluation.lm_eval, ctx.folder.total_chunks() - 1
    assert lm_eval is not None
    kept = ctx.folder.chunks().get(chunk)
    if kept is not None:
        file = ctx.folder.fetch(kept, LM_EVAL_FILE, ctx.scratch / f"kept-{chunk}") / LM_EVAL_FILE
        return json.loads(file.read_text(encoding="utf-8")), file
    device = inference_device()
    tasks = run_tasks(
        lm_eval,
        model,
        _suite_folder(ctx, preparation, "lm-eval"),
        ctx.scratch,
        ctx.stop,
        device=str(device),
        dtype=inference_dtype(model, on_gpu=device.type == "cuda"),
        trust_remote_code=ctx.config.model.trust_remote_code,
    )
    file = write_json(ctx.scratch / LM_EVAL_FILE, tasks)
    ctx.folder.commit_chunk(chunk, {LM_EVAL_FILE: file}, rows=sum(task["documents"] for task in tasks.values()))
    return tasks, file


def _suite_folder(ctx: PhaseContext, preparation: Manifest, name: str) -> Path:
    """A suite's files, brought once: what is asked is planned from them before anything is judged by them."""
    folder = ctx.scratch / name
    return folder if folder.exists() else ctx.folder.fetch(preparation, f"{SUITES}{name}/", folder)


def _alpaca(ctx: PhaseContext, preparation: Manifest, answers: Sequence[Sequence[Answer]], found: Found) -> None:
    config = ctx.config.evaluation.alpaca_eval
    assert config is not None
    folder = _suite_folder(ctx, preparation, "alpaca-eval")
    instructions = read_instructions(folder / INSTRUCTIONS)
    outputs = [answer.text for (answer,) in answers]
    with closing(suite_judge(ctx, "alpacaEval", config.judge, f"{ALPACA_FIELD}.judge")) as judge:
        preferences, counts = compare(
            judge, instructions, outputs, comparing_template(folder), config.judge, ctx.stop.check
        )
    figures = alpaca_figures(instructions, outputs, preferences)
    found.metrics["alpacaEval"] = figures["lengthControlledWinRate"]
    found.metrics["alpacaEvalWinRate"] = figures["winRate"]
    found.facts["alpacaEval"] = {**figures, "counts": {**counts, **_cut(answers, "cutOutputs")}}
    rows = [
        {"instruction": each.instruction, "output": output, "baseline": each.output, "preference": preference}
        for each, output, preference in zip(instructions, outputs, preferences, strict=True)
    ]
    found.files[f"{SUITES}alpaca-eval.json"] = write_json(
        ctx.scratch / "alpaca-eval.json", {**found.facts["alpacaEval"], "rows": rows}
    )


def _mt_bench(ctx: PhaseContext, preparation: Manifest, answers: Sequence[Sequence[Answer]], found: Found) -> None:
    config = ctx.config.evaluation.mt_bench
    assert config is not None
    questions = mt_bench.read_questions(_suite_folder(ctx, preparation, "mt-bench") / mt_bench.QUESTIONS)
    texts = [[answer.text for answer in turns] for turns in answers]
    with closing(suite_judge(ctx, "mtBench", config.judge, f"{mt_bench.FIELD}.judge")) as judge:
        ratings, judged = mt_bench.grade(judge, questions, texts, config.judge, ctx.stop.check)
    figures = mt_bench.figures(questions, ratings)
    found.metrics["mtBench"] = figures["mean"]
    found.facts["mtBench"] = {**figures, "counts": {**_cut(answers, "cutAnswers"), **judged}}
    rows = [mt_bench.as_record(*each) for each in zip(questions, texts, ratings, strict=True)]
    found.files[f"{SUITES}mt-bench.json"] = write_json(
        ctx.scratch / "mt-bench.json", {**found.facts["mtBench"], "rows": rows}
    )


def _cut(answers: Sequence[Sequence[Answer]], name: str) -> dict[str, int]:
    """How many conversations lost their beginning (`cutPrompts`), and how many answers their end."""
    said = [answer for turns in answers for answer in turns]
    return {
        "cutPrompts": sum(answer.cut for answer in said),
        name: sum(answer.finish_reason == "length" for answer in said),
    }


def write_json(path: Path, content: Mapping[str, Any]) -> Path:
    """One JSON object, equal for equal contents; returns the path."""
    path.write_text(json.dumps(content, ensure_ascii=False, sort_keys=True, indent=1), encoding="utf-8")
    return path
