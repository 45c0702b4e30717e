"""MT-Bench (Zheng et al. 2023, 2306.05685): questions of two turns, each answer graded from 1 to 10 by a judge alone.

The judge sees the whole conversation and, for questions of math, reasoning and coding, reference answers. What it says
without a rating counts as missing, and no mean takes it in.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template
from jinja2.sandbox import SandboxedEnvironment

from selm_runtime.contract import SuiteJudgeConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.judge.chat import ChatModel, ChatReply, ChatRequest
from selm_runtime.score.judge import ask

FIELD = "spec.evaluation.mtBench"
QUESTIONS = "questions.jsonl"
"""The suite's file below `suites/mt-bench/` of Preparation."""
JUDGE_TOKENS = 2048
"""Of a judgement, where the spec does not say."""
SPARE_TOKENS = 64
"""An answer's text may have more tokens than it was made of."""
TURNS = 2
REFERENCE_CATEGORIES = ("math", "reasoning", "coding")
"""Of these a judge errs without the right answer before it."""
RATING = re.compile(r"\[\[(\d+(?:\.\d+)?)\]\]")
LOWEST, HIGHEST = 1.0, 10.0


@dataclass(frozen=True)
class Question:
    """A row of the suite."""

    question: str
    """Its id, as text."""
    category: str
    turns: tuple[str, str]
    references: tuple[str, str] | None


def conversation(question: Question, answers: Sequence[str]) -> list[dict[str, str]]:
    """The turns up to the first that has no answer yet."""
    messages = [{"role": "user", "content": question.turns[0]}]
    for answer, following in zip(answers, question.turns[1:], strict=False):
        messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": following}]
    return messages


def grading_prompt(question: Question, answers: Sequence[str]) -> str:
    """What the judge is asked: to grade the last of `answers`, one or two."""
    exchange = [
        {
            "asked": question.turns[i],
            "answered": answer,
            "reference": question.references[i] if question.references else None,
        }
        for i, answer in enumerate(answers)
    ]
    return _template().render(exchange=exchange, referenced=question.references is not None)


def rating(reply: ChatReply) -> float | None:
    """The last `[[rating]]` of the answer; None where there is none from 1 to 10."""
    found = RATING.findall(reply.text)
    value = float(found[-1]) if found else 0.0
    return value if LOWEST <= value <= HIGHEST else None


def figures(questions: Sequence[Question], ratings: Sequence[Sequence[float | None]]) -> dict[str, Any]:
    """Means over the ratings that there are: `mean` over all, `turns` one a turn, `categories` by name; and `missing`.

    `ratings` holds both turns' of each question. A turn's or category's mean over no rating is None. Raises InvalidInput
    where there is no rating at all.
    """
    flat = [value for both in ratings for value in both]
    categories = dict.fromkeys(question.category for question in questions)
    mean = _mean(flat)
    if mean is None:
        raise InvalidInput("NoVerdicts", f"{FIELD}.judge: none of {len(flat)} answers has a rating")
    return {
        "mean": mean,
        "turns": [_mean([both[turn] for both in ratings]) for turn in range(TURNS)],
        "categories": {
            name: _mean(
                [
                    value
                    for question, both in zip(questions, ratings, strict=True)
                    if question.category == name
                    for value in both
                ]
            )
            for name in sorted(categories)
        },
        "ratings": sum(value is not None for value in flat),
        "missing": sum(value is None for value in flat),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def as_record(question: Question, answers: Sequence[str], ratings: Sequence[float | None]) -> Mapping[str, Any]:
    """One question's line in the artifact."""
    return {
        "question": question.question,
        "category": question.category,
        "turns": list(question.turns),
        "answers": list(answers),
        "ratings": list(ratings),
    }


@cache
def _template() -> Template:
    source = resources.files("selm_runtime.evaluate.suites").joinpath("prompts/mt_bench.jinja")
    environment = SandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(source.read_text(encoding="utf-8"))


def grade(
    model: ChatModel,
    questions: Sequence[Question],
    answers: Sequence[Sequence[str]],
    judge: SuiteJudgeConfig,
    between: Callable[[], None],
) -> tuple[list[list[float | None]], dict[str, int]]:
    """Both turns' ratings of each question (None: no rating), and the judge's counts."""
    requests = [
        ChatRequest((("user", grading_prompt(question, both[: turn + 1])),), judge.max_tokens or JUDGE_TOKENS)
        for question, both in zip(questions, answers, strict=True)
        for turn in range(TURNS)
    ]
    ratings, counts = ask(model, requests, lambda reply, _: rating(reply), f"{FIELD}.judge", between)
    return [ratings[i : i + TURNS] for i in range(0, len(ratings), TURNS)], counts


def question_of(record: Mapping[str, Any], where: str) -> Question:
    """A record of the suite's data; `where` names it. Raises InvalidInput where something is missing."""
    turns = _texts(record, "turns")
    references = _texts(record, "reference")
    category = record.get("category")
    if turns is None or not isinstance(category, str) or not category:
        name = "turns" if turns is None else "category"
        raise InvalidInput(
            "InvalidData",
            f"{FIELD}.uri: {where}: found {record.get(name)!r:.60} as {name!r}; allowed are "
            f"{TURNS} texts as 'turns', and a text as 'category'",
        )
    if references is None and category in REFERENCE_CATEGORIES:
        raise InvalidInput(
            "NoReference",
            f"{FIELD}.uri: {where}: a question of the category {category!r} needs {TURNS} reference answers as 'reference'; "
            f"found {record.get('reference')!r:.60}",
        )
    if category not in REFERENCE_CATEGORIES:
        references = None  # a judge is given one for the categories where it needs it, and no others
    return Question(str(record.get("question_id", where)), category, turns, references)


def _texts(record: Mapping[str, Any], name: str) -> tuple[str, str] | None:
    """One text a turn; None where there is something else."""
    value = record.get(name)
    if not isinstance(value, list) or len(value) != TURNS or not all(isinstance(each, str) and each for each in value):
        return None
    return value[0], value[1]


def read_questions(path: Path) -> list[Question]:
    """What `write_questions` wrote."""
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        Question(
            record["question"],
            record["category"],
            (record["turns"][0], record["turns"][1]),
            None if record["references"] is None else (record["references"][0], record["references"][1]),
        )
        for record in records
    ]


def write_questions(path: Path, questions: Sequence[Question]) -> None:
    """One JSON object a line."""
    path.write_text("".join(json.dumps(asdict(each)) + "\n" for each in questions), encoding="utf-8")
