"""What Preparation does for the suites of `spec.evaluation`: their data is imported, tried, and its prompts are known.

The pods that run suites have GPUs and fetch nothing from elsewhere. A prompt that a suite asks is not trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from selm_runtime.artifacts.manifest import digest_of, sha256_of_file
from selm_runtime.contract import AlpacaEvalConfig, LMEvalConfig, MTBenchConfig
from selm_runtime.data.files import read_records
from selm_runtime.data.overlap import prompt_key
from selm_runtime.errors import InvalidInput
from selm_runtime.evaluate.suites import alpaca, mt_bench
from selm_runtime.evaluate.suites.judging import suite_judge
from selm_runtime.evaluate.suites.lm_eval import FIELD as LM_EVAL
from selm_runtime.evaluate.suites.lm_eval import check_tasks
from selm_runtime.inputs import SUITES
from selm_runtime.phase import PhaseContext
from selm_runtime.prepare.judging import fetch_template
from selm_runtime.prepare.sources import HUB, HubSource, Source, StoreSource, hub_repository
from selm_runtime.score.judge import EASY_CASES
from selm_runtime.score.judge_prompts import TEMPLATE

TASK_FILES = (".yaml", ".yml", ".jsonl", ".json", ".gz", ".parquet", ".csv", ".tsv", ".txt", ".arrow", ".jinja")
"""Kinds of files that tasks are made of; Python code only where it is trusted."""
MAX_FILES = 2048
MAX_BYTES = 8 << 30


@dataclass
class Brought:
    """What the suites need of Preparation's artifact; empty without any."""

    files: dict[str, Path] = field(default_factory=dict)
    """By logical name."""
    prompts: dict[str, frozenset[bytes]] = field(default_factory=dict)
    """The keys (`prompt_key`) of the prompts of each suite."""
    facts: dict[str, Any] = field(default_factory=dict)
    """By suite: where its data is from and what it is pinned to."""


def bring_suites(ctx: PhaseContext) -> Brought:
    """Imports and tries every suite's data. Raises InvalidInput where a suite cannot be run with it."""
    brought = Brought()
    if ctx.config.evaluation.lm_eval is not None:
        _bring_tasks(ctx, ctx.config.evaluation.lm_eval, brought)
    if ctx.config.evaluation.alpaca_eval is not None:
        _bring_instructions(ctx, ctx.config.evaluation.alpaca_eval, brought)
    if ctx.config.evaluation.mt_bench is not None:
        _bring_questions(ctx, ctx.config.evaluation.mt_bench, brought)
    return brought


def _bring_tasks(ctx: PhaseContext, lm_eval: LMEvalConfig, brought: Brought) -> None:
    source = _folder(ctx, lm_eval.uri, lm_eval.revision, LM_EVAL)
    names = task_files(source, lm_eval)
    folder = ctx.scratch / "suites-lm-eval"
    digests = {}
    for name in names:
        ctx.stop.check()
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        source.fetch(name, path)
        brought.files[f"{SUITES}lm-eval/{name}"] = path
        digests[name] = sha256_of_file(path)
    tasks = check_tasks(lm_eval, folder, ctx.scratch, ctx.stop)
    brought.prompts["lmEval"] = frozenset(
        prompt_key([{"role": "user", "content": prompt}]) for task in tasks.values() for prompt in task["prompts"]
    )
    brought.facts["lmEval"] = {
        "uri": lm_eval.uri,
        "revision": lm_eval.revision,
        "pinned": source.pinned or digest_of(sorted(digests.items())),
        "tasks": {name: {key: task[key] for key in ("metric", "documents")} for name, task in tasks.items()},
    }


def task_files(source: Source, lm_eval: LMEvalConfig) -> list[str]:
    """The files of the folder that tasks are made of. Raises InvalidInput for none, or too many."""
    kinds = (*TASK_FILES, ".py") if lm_eval.trust_remote_code else TASK_FILES
    sizes = {name: size for name, size in source.sizes().items() if name.endswith(kinds) and _is_within(name)}
    if not any(name.endswith((".yaml", ".yml")) for name in sizes):
        found = ", ".join(sorted(source.sizes())[:8]) or "nothing"
        raise InvalidInput(
            "TasksNotFound",
            f"{LM_EVAL}.uri: found {found} at {lm_eval.uri}; allowed is a folder with tasks' YAML files",
        )
    if len(sizes) > MAX_FILES or sum(sizes.values()) > MAX_BYTES:
        raise InvalidInput(
            "TooMuchData",
            f"{LM_EVAL}.uri: found {len(sizes)} files of {sum(sizes.values())} bytes at {lm_eval.uri}; allowed are "
            f"{MAX_FILES} files of {MAX_BYTES} bytes together: a folder with these tasks alone",
        )
    return sorted(sizes)


def _is_within(name: str) -> bool:
    parts: Sequence[str] = PurePosixPath(name).parts
    return not name.startswith("/") and not any(part == ".." or part.startswith(".") for part in parts)


def _folder(ctx: PhaseContext, uri: str, revision: str, field: str) -> Source:
    if uri.startswith(HUB):
        hub_repository(uri, "dataset", f"{field}.uri")
        return HubSource.resolve(uri, revision, kind="dataset", field=field)
    return StoreSource.resolve(uri.rstrip("/"), ctx.config.artifacts, field=field)


def _bring_instructions(ctx: PhaseContext, config: AlpacaEvalConfig, brought: Brought) -> None:
    path, facts = _fetch_file(ctx, config.uri, config.revision, alpaca.FIELD, "alpaca-eval.json")
    records = read_json(path, config.uri, alpaca.FIELD)[: config.limit]
    instructions = [alpaca.instruction_of(record, f"record {number}") for number, record in enumerate(records)]
    known = sum(each.difficulty is not None for each in instructions)
    if known not in (0, len(instructions)):
        raise InvalidInput(
            "InvalidData",
            f"{alpaca.FIELD}.uri: {known} of {len(instructions)} records have an instruction_difficulty; allowed is all "
            "or none",
        )
    folder = ctx.scratch / "suites-alpaca-eval"
    folder.mkdir()
    alpaca.write_instructions(folder / alpaca.INSTRUCTIONS, instructions)
    if config.template is not None:
        template, _ = fetch_template(ctx, config.template, alpaca.FIELD, "suites/alpaca-eval")
        template.rename(folder / TEMPLATE)
    brought.files |= {f"{SUITES}alpaca-eval/{kept.name}": kept for kept in folder.iterdir()}
    _probe_alpaca(ctx, config, alpaca.comparing_template(folder))
    brought.prompts["alpacaEval"] = frozenset(
        prompt_key([{"role": "user", "content": each.instruction}]) for each in instructions
    )
    brought.facts["alpacaEval"] = {**facts, "instructions": len(instructions)}


def _probe_alpaca(ctx: PhaseContext, config: AlpacaEvalConfig, template: alpaca.Comparing) -> None:
    """Asks the judge about easy cases. Raises InvalidInput where no answer is a verdict."""
    instructions = [alpaca.Instruction(asked, worse, None) for asked, _, worse in EASY_CASES]
    good = [better for _, better, _ in EASY_CASES]
    with closing(suite_judge(ctx, "alpacaEval", config.judge, f"{alpaca.FIELD}.judge")) as judge:
        verdicts, _ = alpaca.compare(judge, instructions, good, template, config.judge, ctx.stop.check)
    if all(verdict is None for verdict in verdicts):
        raise InvalidInput(
            "JudgeAnswersNonsense",
            f"{alpaca.FIELD}.judge: none of {len(EASY_CASES)} answers names one of the two outputs; allowed is a model that "
            f"begins its answer with {alpaca.FIRST} or {alpaca.SECOND}",
        )


def _bring_questions(ctx: PhaseContext, config: MTBenchConfig, brought: Brought) -> None:
    path, facts = _fetch_file(ctx, config.uri, config.revision, mt_bench.FIELD, "mt-bench.json")
    records = read_json(path, config.uri, mt_bench.FIELD)
    questions = [mt_bench.question_of(record, f"record {number}") for number, record in enumerate(records)]
    kept = ctx.scratch / mt_bench.QUESTIONS
    mt_bench.write_questions(kept, questions)
    brought.files[f"{SUITES}mt-bench/{mt_bench.QUESTIONS}"] = kept
    _probe_mt_bench(ctx, config)
    brought.prompts["mtBench"] = frozenset(
        prompt_key([{"role": "user", "content": each.turns[0]}]) for each in questions
    )
    brought.facts["mtBench"] = {**facts, "questions": len(questions)}


def _probe_mt_bench(ctx: PhaseContext, config: MTBenchConfig) -> None:
    """Asks the judge about an easy case. Raises InvalidInput where it gives no rating."""
    easy = mt_bench.Question("probe", "probe", ("What is 2 + 2?", "And 3 + 3?"), None)
    with closing(suite_judge(ctx, "mtBench", config.judge, f"{mt_bench.FIELD}.judge")) as judge:
        ((first, second),), _ = mt_bench.grade(judge, [easy], [["4", "6"]], config.judge, ctx.stop.check)
    if first is None and second is None:
        raise InvalidInput(
            "JudgeAnswersNonsense",
            f"{mt_bench.FIELD}.judge: neither of 2 answers has a rating; allowed is a model that ends with [[a number from "
            "1 to 10]], within maxTokens",
        )


def _fetch_file(ctx: PhaseContext, uri: str, revision: str, field: str, name: str) -> tuple[Path, dict[str, str]]:
    """One file of a store or of a dataset repository (hf://owner/name/path), and what it is pinned to."""
    if uri.startswith(HUB):
        owner, repository, file = [*uri.removeprefix(HUB).removeprefix("datasets/").split("/", 2), "", ""][:3]
        source: Source = HubSource.resolve(f"{HUB}{owner}/{repository}", revision, kind="dataset", field=field)
    else:
        folder, _, file = uri.rpartition("/")
        source = StoreSource.resolve(folder, ctx.config.artifacts, field=field, only=file)
    if not file or file not in source.sizes():
        raise InvalidInput("DataNotFound", f"{field}.uri: there is no file at {uri}")
    path = ctx.scratch / f"suites-{name}"
    source.fetch(file, path)
    return path, {"uri": uri, "revision": revision, "pinned": source.pinned or f"sha256:{sha256_of_file(path)}"}


def read_json(path: Path, uri: str, field: str) -> list[dict[str, Any]]:
    """The objects of a JSON array or of JSON lines. Raises InvalidInput naming what cannot be read, or for none."""
    records = list(read_records(path, f"{field}.uri: {uri}"))
    if not records:
        raise InvalidInput("InvalidData", f"{field}.uri: {uri} holds no records; allowed are objects, one a record")
    return records
