"""What a judge is asked and how its answer is read: prompt templates, and the pattern of verdicts.

A template is Jinja (sandboxed). It may use `conversation` (messages with `role` and `content`), `prompt` (the last
user turn's text), `columns` (the row's other columns) and, for Pairwise, `response_a` and `response_b`, for Grade
`response`; those of the mode it must use. What it renders is sent as one user message.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

import regex
from jinja2 import StrictUndefined, Template, TemplateError, meta
from jinja2.sandbox import SandboxedEnvironment

from selm_runtime.contract import JudgeConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.judge.chat import ChatReply
from selm_runtime.score.interface import Scorable

TEMPLATE = "template.jinja"
"""The name of a judge's template among its files of Preparation, below `scorers/<name>/`."""
RESPONSES = {"Pairwise": ("response_a", "response_b"), "Grade": ("response",)}
ALWAYS = ("conversation", "prompt", "columns")
PATTERNS = {"Pairwise": r"\[\[(A|B|C)\]\]", "Grade": r"(?i)score:\s*(-?\d+(?:\.\d+)?)"}
VERDICTS = {"A": 1.0, "B": -1.0, "C": 0.0}
MATCH_SECONDS = 5.0
"""A pattern that takes longer on one answer backtracks without end: refused, since no verdict would be right."""


class JudgePrompt:
    """One judge's template and pattern, checked."""

    def __init__(self, config: JudgeConfig, template: str | None, field: str) -> None:
        """`template` is the file's text, None for the mode's own; `field` the judge's path in the spec.

        Raises InvalidInput for a template that is no Jinja, names unknown things or leaves out a response, and for a
        pattern that is no regular expression with one group.
        """
        self._mode = config.mode
        source = template if template is not None else built_in_template(config.mode)
        wanted = RESPONSES[config.mode]
        self._template, found = parsed_template(source, field)
        allowed = {*wanted, *ALWAYS}
        if found - allowed or set(wanted) - found:
            raise InvalidInput(
                "InvalidTemplate",
                f"{field}.template: uses {', '.join(sorted(found)) or 'no variable'}; {' and '.join(wanted)} must be used "
                f"in mode {config.mode}, and {', '.join(ALWAYS)} may be",
            )
        pattern = config.verdict_pattern if config.verdict_pattern is not None else PATTERNS[config.mode]
        try:
            self._pattern = regex.compile(pattern)
        except regex.error as error:
            raise InvalidInput(
                "InvalidPattern", f"{field}.verdictPattern: {pattern!r} is no regular expression: {error}"
            ) from error
        if self._pattern.groups != 1:
            raise InvalidInput(
                "InvalidPattern",
                f"{field}.verdictPattern: {pattern!r} has {self._pattern.groups} groups; one, around the verdict, is needed",
            )
        self._field = field

    def render(self, of: Scorable, *responses: str) -> str:
        """The question about one response (Grade) or two (Pairwise). Raises InvalidInput where the template fails."""
        asked = [message["content"] for message in of.messages if message["role"] == "user"]
        values: dict[str, Any] = {
            "conversation": list(of.messages),
            "prompt": asked[-1] if asked else "",
            "columns": dict(of.columns),
            **dict(zip(RESPONSES[self._mode], responses, strict=True)),
        }
        try:
            return self._template.render(values)
        except Exception as error:  # a template is a program: it fails in Jinja's ways, and in all of Python's
            raise InvalidInput(
                "InvalidTemplate", f"{self._field}.template: fails on row {of.row}: {type(error).__name__}: {error}"
            ) from error

    def verdict(self, reply: ChatReply, row: int) -> float | None:
        """The last match's verdict: Pairwise 1 for A, −1 for B, 0 for C; Grade the number. None where there is none.

        Raises InvalidInput, naming the row, where the pattern does not come to an end.
        """
        try:
            matches = self._pattern.findall(reply.text, timeout=MATCH_SECONDS)
        except TimeoutError as error:
            raise InvalidInput(
                "InvalidPattern",
                f"{self._field}.verdictPattern: took more than {MATCH_SECONDS:g} s on an answer of {len(reply.text)} "
                f"characters about row {row}; allowed is a pattern that does not backtrack without end",
            ) from error
        if not matches:
            return None
        found = matches[-1].strip()
        if self._mode == "Pairwise":
            return VERDICTS.get(found.upper())
        try:
            number = float(found)
        except ValueError:
            return None
        return number if abs(number) < 1e9 else None


def parsed_template(source: str, field: str) -> tuple[Template, set[str]]:
    """A judge's template, sandboxed, and the variables that it uses.

    Raises InvalidInput, naming `<field>.template`, for what is no Jinja.
    """
    environment = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    try:
        return environment.from_string(source), meta.find_undeclared_variables(environment.parse(source))
    except TemplateError as error:
        raise InvalidInput("InvalidTemplate", f"{field}.template: no Jinja template: {error}") from error


def built_in_template(mode: str) -> str:
    """The mode's own template."""
    return resources.files("selm_runtime.score").joinpath(f"prompts/{mode.lower()}.jinja").read_text(encoding="utf-8")
