"""What Preparation does for scorers without a model: judges are asked whether they answer, tests are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from selm_runtime.contract import JudgeConfig, ScoringConfig
from selm_runtime.data.rows import BATCH_ROWS
from selm_runtime.errors import InvalidInput
from selm_runtime.phase import PhaseContext
from selm_runtime.prepare.rows import Rows, scorable_of
from selm_runtime.prepare.sources import StoreSource
from selm_runtime.score.execution import snippets_of
from selm_runtime.score.judge import probe_judge
from selm_runtime.score.judge_prompts import TEMPLATE, JudgePrompt
from selm_runtime.score.judges import endpoint_client

MAX_TEMPLATE_BYTES = 1 << 18


def bring_judges(ctx: PhaseContext, rows: Rows) -> dict[str, Path]:
    """The judges' templates as files to commit, by logical name, once every judge's prompt and endpoint are tried.

    A template of one's own is tried with every row. Raises InvalidInput for a template that cannot be, or not for some row,
    a refused key, a judge that answers nonsense; TemporaryFailure for an endpoint that is away.
    """
    files: dict[str, Path] = {}
    sample = scorable_of(rows.first())
    for i, scorer in enumerate(ctx.config.scoring.scorers):
        if scorer.judge is None:
            continue
        judge, field = scorer.judge, f"spec.scoring.scorers[{i}].judge"
        text = None
        if judge.template is not None:
            path, text = fetch_template(ctx, judge.template, field, scorer.name)
            files[f"scorers/{scorer.name}/{TEMPLATE}"] = path
        prompt = JudgePrompt(judge, text, field)
        if text is not None:
            rows.check([partial(_render, prompt, judge)])
        if judge.policy is None:
            with closing(endpoint_client(ctx, scorer, judge, field)) as client:
                probe_judge(client, prompt, judge, field, sample)
    return files


def check_tests(scoring: ScoringConfig, paths: Iterable[Path]) -> None:
    """Raises InvalidInput at the first row whose tests cannot be run, where a scorer runs tests."""
    wanted = [
        (scorer.execution, f"spec.scoring.scorers[{i}].execution")
        for i, scorer in enumerate(scoring.scorers)
        if scorer.execution is not None
    ]
    for path in paths if wanted else ():
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=["row", "columns"]):
                for row in batch.to_pylist():
                    for execution, field in wanted:
                        snippets_of(dict(row["columns"]), row["row"], execution, field)


def fetch_template(ctx: PhaseContext, uri: str, field: str, name: str) -> tuple[Path, str]:
    """A judge's template as a file of this process, and its text; `name` is the judge's among all of the phase.

    Raises InvalidInput, naming `<field>.template`, where there is none, or none of a template's size and encoding.
    """
    folder, _, file = uri.rpartition("/")
    source = StoreSource.resolve(folder, ctx.config.artifacts, field=f"{field}.template", only=file)
    size = source.sizes().get(file)
    if size is None or size > MAX_TEMPLATE_BYTES:
        found = "no file" if size is None else f"{size} bytes"
        raise InvalidInput(
            "InvalidTemplate",
            f"{field}.template: found {found} at {uri}; allowed is a Jinja template of at most {MAX_TEMPLATE_BYTES} bytes",
        )
    path = ctx.scratch / "judges" / name / TEMPLATE
    path.parent.mkdir(parents=True, exist_ok=True)
    source.fetch(file, path)
    try:
        return path, path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput("InvalidTemplate", f"{field}.template: {uri} is no UTF-8 text: {error}") from error


def _render(prompt: JudgePrompt, judge: JudgeConfig, row: Mapping[str, Any]) -> None:
    prompt.render(scorable_of(row), *(("",) if judge.mode == "Grade" else ("", "")))
