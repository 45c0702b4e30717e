"""The process that runs lm-evaluation-harness, by its own Hugging Face backend: `python -m … REQUEST ANSWER`, two files.

A process of its own, for the harness sets seeds of the whole process, resolves data files against the working folder,
and may run Python code of the tasks, which has no business with the pod's secrets; and its end frees the GPU. The
working folder is the tasks'. Nothing is downloaded: the parent sets the environment of the Hugging Face libraries so.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selm_runtime.data.overlap import plain_words
from selm_runtime.evaluate.suites.lm_eval import REFUSED

SEED = 1234
"""Of the examples in prompts, and of whatever a task draws; the harness' own."""
BOOTSTRAP = 1000
"""Draws for the standard errors that have no formula."""


class TasksRefused(Exception):
    """The tasks cannot be run as asked."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Chosen:
    """A task and the metric that counts."""

    name: str
    task: Any
    metric: str
    filter: str


def load_tasks(folder: Path, wanted: Sequence[Mapping[str, Any]]) -> list[Chosen]:
    """The wanted tasks ({name, metric or None}) of the folder. Raises TasksRefused."""
    from lm_eval.tasks import TaskManager  # type: ignore[import-untyped]

    try:
        manager = TaskManager(include_path=str(folder), include_defaults=False)
    except Exception as error:
        raise TasksRefused("TasksRefused", f"the folder's YAML files cannot be read: {_said(error)}") from error
    return [_load(manager, asked["name"], asked.get("metric")) for asked in wanted]


def _load(manager: Any, name: str, metric: str | None) -> Chosen:
    if name not in manager.all_subtasks:
        found = ", ".join(manager.all_subtasks[:20]) or "none"
        raise TasksRefused("TaskNotFound", f"found {name!r}; the folder's tasks are {found}")
    try:
        task = manager.load([name])["tasks"][name]
        documents = len(task.eval_docs)
        directions = task.higher_is_better()
    except Exception as error:
        raise TasksRefused("TaskRefused", f"task {name!r} cannot be loaded: {_said(error)}") from error
    if not documents:
        raise TasksRefused("NoDocuments", f"task {name!r} has no document to evaluate on")
    better = [known for known, higher in directions.items() if higher]
    wanted = metric if metric is not None else next(iter(directions), None)
    if wanted not in better:
        raise TasksRefused(
            "WrongMetric",
            f"task {name!r}: found the metric {wanted!r}; allowed are those where higher is better: "
            f"{', '.join(better) or 'it has none'}",
        )
    filters = [str(each["name"]) for each in task.config.filter_list or ()] or ["none"]
    return Chosen(name, task, str(wanted), filters[0])


def prompts_of(chosen: Chosen, limit: int | None) -> Iterator[str]:
    """What each document asks, without examples: as the task words it, and the document's own texts in that.

    `"Question: {{question}}\\nAnswer:"` is no user's prompt, the question may be one.
    """
    for index, document in enumerate(chosen.task.eval_docs):
        if limit is not None and index >= limit:
            return
        asked = chosen.task.doc_to_text(document)
        yield from asked_texts(document, asked if isinstance(asked, str) else "")


def asked_texts(document: Any, asked: str) -> list[str]:
    """The prompt that a task makes of a document, and those of the document's texts that stand in it; no blank ones.

    All of its texts where the task makes none (it asks about a whole document, or numbers the choices). Texts in lists are
    left out: they are choices.
    """
    whole = plain_words(asked)
    own = [text for text in _texts_of(document) if not whole or _stands_in(plain_words(text), whole)]
    return list(dict.fromkeys(text for text in (asked, *own) if text.strip()))


def _stands_in(words: str, text: str) -> bool:
    """As whole words: a key of one letter stands in no word."""
    return re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text) is not None


def _texts_of(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts_of(inner)


def check(request: Mapping[str, Any]) -> dict[str, Any]:
    """By task: its metric, how many documents will be evaluated on, and their prompts (`prompts_of`)."""
    limit = request["limit"]
    answer = {}
    for chosen in load_tasks(Path.cwd(), request["tasks"]):
        documents = len(chosen.task.eval_docs)
        try:
            prompts = list(prompts_of(chosen, limit))
        except Exception as error:
            raise TasksRefused(
                "TaskRefused", f"task {chosen.name!r}: a prompt cannot be made: {_said(error)}"
            ) from error
        answer[chosen.name] = {
            "metric": chosen.metric,
            "documents": documents if limit is None else min(documents, limit),
            "prompts": prompts,
        }
    return answer


def run(request: Mapping[str, Any]) -> dict[str, Any]:
    """By task: the figure that counts with its standard error, and all the harness' figures."""
    import numpy as np
    import torch
    from lm_eval.evaluator import evaluate  # type: ignore[import-untyped]
    from lm_eval.models.huggingface import HFLM  # type: ignore[import-untyped]

    random.seed(SEED)
    np.random.seed(SEED)
    torch.manual_seed(SEED)
    tasks = load_tasks(Path.cwd(), request["tasks"])
    for chosen in tasks:
        own = chosen.task.get_config("num_fewshot")
        if request["numFewshot"] is not None and own != 0:
            chosen.task.set_config(key="num_fewshot", value=request["numFewshot"])
        elif own is None:
            chosen.task.set_config(key="num_fewshot", value=0)
        chosen.task.set_fewshot_seed(seed=SEED)
    model = HFLM(
        pretrained=request["model"],
        backend="causal",
        device=request["device"],
        dtype=request["dtype"],
        batch_size=request["batchSize"],
        trust_remote_code=request["modelCode"],
    )
    found = evaluate(
        lm=model,
        task_dict={"tasks": {chosen.name: chosen.task for chosen in tasks}, "groups": {}, "group_map": {}},
        limit=request["limit"],
        bootstrap_iters=BOOTSTRAP,
        log_samples=False,
        apply_chat_template=request["chatTemplate"],
        fewshot_as_multiturn=request["chatTemplate"],
        confirm_run_unsafe_code=request["taskCode"],
    )
    assert found is not None  # None is for the other processes of several
    return {
        chosen.name: {
            **_figure(chosen, found["results"][chosen.name]),
            "documents": found["n-samples"][chosen.name]["effective"],
            "fewshot": found["n-shot"][chosen.name],
            "version": found["versions"][chosen.name],
        }
        for chosen in tasks
    }


def _figure(chosen: Chosen, results: Mapping[str, Any]) -> dict[str, Any]:
    figures = {key: value for key, value in results.items() if "," in key and isinstance(value, int | float)}
    key = f"{chosen.metric},{chosen.filter}"
    if key not in figures:
        raise TasksRefused("WrongMetric", f"task {chosen.name!r}: the harness gave no {key}, but {', '.join(figures)}")
    return {
        "metric": chosen.metric,
        "filter": chosen.filter,
        "value": float(figures[key]),
        "stderr": figures.get(f"{chosen.metric}_stderr,{chosen.filter}"),
        "figures": dict(sorted(figures.items())),
    }


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"


def main(request_path: str, answer_path: str) -> int:
    """Reads the request, writes the answer; returns the exit code."""
    request = json.loads(Path(request_path).read_text(encoding="utf-8"))
    code = 0
    try:
        answer = {"check": check, "run": run}[request["mode"]](request)
    except TasksRefused as refused:
        answer, code = {"reason": refused.reason, "message": str(refused)}, REFUSED
    Path(answer_path).write_text(json.dumps(answer, ensure_ascii=False, sort_keys=True), encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
