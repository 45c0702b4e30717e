"""AlpacaEval 2.0: a judge compares the model's outputs with a baseline's, and lengths are taken out of the win rate.

Li et al. 2023 (AlpacaEval); Dubois et al. 2024 (arXiv 2404.04475), the length-controlled win rate: the probability q that
the model is preferred to the baseline b on instruction x is modelled as

    logit q(x) = θ + φ · tanh(Δlen(x) / std(Δlen)) + ψ · γ(x),

Δlen = len(output) − len(baseline's output), in characters, γ the instruction's difficulty where the data has it. The
win rate is the mean of q with the term of the lengths left out: what it would be were both outputs as long.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import TemplateError

from selm_runtime.contract import SuiteJudgeConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.evaluate.statistics import bootstrap_interval
from selm_runtime.judge.chat import ChatModel, ChatReply, ChatRequest
from selm_runtime.score.judge import ask
from selm_runtime.score.judge_prompts import TEMPLATE, parsed_template

FIELD = "spec.evaluation.alpacaEval"
INSTRUCTIONS = "instructions.jsonl"
"""The suite's file below `suites/alpaca-eval/` of Preparation; a template of the spec's lies beside it."""
JUDGE_TOKENS = 16
"""Of a verdict, where the spec does not say: one is needed, and some models begin with a blank or a quote."""
_VARIABLES = ("instruction", "output_1", "output_2")

FIRST, SECOND = "m", "M"
"""The names that the judge knows the two outputs by, one token each."""
TOP_LOGPROBS = 5
INVERSE_PENALTY = 100.0
"""C of the logistic regression: losses summed over instructions weigh so much against half the squared weights."""


@dataclass(frozen=True)
class Instruction:
    """A row of the suite: what is asked, and the baseline's output."""

    instruction: str
    output: str
    difficulty: float | None


def baseline_first(instruction: str) -> bool:
    """Whether the baseline's output stands first: half of the time, the same for an instruction in every iteration."""
    return hashlib.sha256(instruction.encode()).digest()[0] % 2 == 0


def preference_for_first(reply: ChatReply) -> float | None:
    """The probability that the judge names the output that stood first; None where it names neither.

    From the log-probs of the first token's alternatives where the endpoint gives them, else 0 or 1 from the text.
    """
    weights = dict.fromkeys((FIRST, SECOND), 0.0)
    for token, log_prob in (reply.first_token or {}).items():
        if token.strip() in weights:
            weights[token.strip()] += math.exp(log_prob)
    if not any(weights.values()):
        said = reply.text.strip()
        if said not in weights:
            return None
        weights[said] = 1.0
    return weights[FIRST] / (weights[FIRST] + weights[SECOND])


@dataclass(frozen=True)
class LengthControlled:
    """The fitted model's win rate at equal lengths, and its weights (`length`, `difficulty` where there is one, `model`)."""

    rate: float
    weights: Mapping[str, float]


def length_controlled(
    preferences: Sequence[float], lengths: Sequence[tuple[int, int]], difficulties: Sequence[float] | None
) -> LengthControlled:
    """Fits the model above to preferences in [0, 1]; `lengths` are (the model's, the baseline's).

    A preference p counts as a win with weight p and a loss with weight 1 − p. Raises ValueError for no preferences.
    """
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

    if not preferences:
        raise ValueError("no preferences to fit")
    wanted = np.asarray(preferences, dtype=np.float64)
    columns = {"length": length_feature(lengths)}
    if difficulties is not None:
        columns["difficulty"] = np.asarray(difficulties, dtype=np.float64)
    columns["model"] = np.ones(len(wanted))
    features = np.column_stack(list(columns.values()))
    fitted = LogisticRegression(C=INVERSE_PENALTY, fit_intercept=False, tol=1e-10, max_iter=10_000)
    outcomes = np.repeat([1, 0], len(wanted))
    fitted.fit(np.vstack([features, features]), outcomes, sample_weight=np.concatenate([wanted, 1.0 - wanted]))
    at_equal_length = features.copy()
    at_equal_length[:, 0] = 0.0
    rates = fitted.predict_proba(at_equal_length)[:, 1]
    return LengthControlled(
        float(rates.mean()), {name: float(weight) for name, weight in zip(columns, fitted.coef_[0], strict=True)}
    )


def length_feature(lengths: Sequence[tuple[int, int]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """tanh(Δlen / std(Δlen)), the sample's standard deviation (n − 1); zeros where all differences are alike."""
    differences = np.asarray([ours - theirs for ours, theirs in lengths], dtype=np.float64)
    spread = float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    return np.tanh(differences / spread) if spread else np.zeros_like(differences)


def alpaca_figures(
    instructions: Sequence[Instruction], outputs: Sequence[str], preferences: Sequence[float | None]
) -> dict[str, Any]:
    """Win rates in 0 to 1 over the instructions with a verdict, how many have none, and mean lengths in characters.

    Raises InvalidInput where none has a verdict.
    """
    known = [
        (each, output, preference)
        for each, output, preference in zip(instructions, outputs, preferences, strict=True)
        if preference is not None
    ]
    if not known:
        raise InvalidInput("NoVerdicts", f"{FIELD}.judge: none of {len(preferences)} comparisons has a verdict")
    rates = [preference for _, _, preference in known]
    difficulties = [each.difficulty for each, _, _ in known if each.difficulty is not None]
    fitted = length_controlled(
        rates,
        [(len(output), len(each.output)) for each, output, _ in known],
        difficulties if len(difficulties) == len(known) else None,
    )
    low, high = bootstrap_interval(rates)
    return {
        "lengthControlledWinRate": fitted.rate,
        "winRate": math.fsum(rates) / len(rates),
        "winRateLow": low,
        "winRateHigh": high,
        "weights": dict(fitted.weights),
        "compared": len(known),
        "missing": len(preferences) - len(known),
        "meanLength": math.fsum(map(len, outputs)) / len(outputs),
        "baselineLength": math.fsum(len(each.output) for each in instructions) / len(instructions),
    }


def compare(
    model: ChatModel,
    instructions: Sequence[Instruction],
    outputs: Sequence[str],
    template: Comparing,
    judge: SuiteJudgeConfig,
    between: Callable[[], None],
) -> tuple[list[float | None], dict[str, int]]:
    """The probability that each output is preferred to the baseline's (None: no verdict), and the judge's counts."""
    swapped = [baseline_first(each.instruction) for each in instructions]
    requests = []
    for each, output, baseline_stands_first in zip(instructions, outputs, swapped, strict=True):
        both = (each.output, output) if baseline_stands_first else (output, each.output)
        requests.append(
            ChatRequest(
                (("user", template.render(each.instruction, *both)),),
                judge.max_tokens or JUDGE_TOKENS,
                top_logprobs=TOP_LOGPROBS,
            )
        )
    firsts, counts = ask(model, requests, lambda reply, _: preference_for_first(reply), f"{FIELD}.judge", between)
    preferred = [
        None if first is None else 1.0 - first if baseline_stands_first else first
        for first, baseline_stands_first in zip(firsts, swapped, strict=True)
    ]
    return preferred, counts


class Comparing:
    """The question about two outputs: a Jinja template (sandboxed) of `instruction`, `output_1` and `output_2`."""

    def __init__(self, source: str) -> None:
        """Raises InvalidInput for what is no template or does not use these three alone."""
        self._template, found = parsed_template(source, FIELD)
        if found != set(_VARIABLES):
            raise InvalidInput(
                "InvalidTemplate",
                f"{FIELD}.template: uses {', '.join(sorted(found)) or 'no variable'}; {', '.join(_VARIABLES)} must be used",
            )

    def render(self, instruction: str, output_1: str, output_2: str) -> str:
        """The question as one text. Raises InvalidInput where the template fails."""
        try:
            return self._template.render(instruction=instruction, output_1=output_1, output_2=output_2)
        except TemplateError as error:
            raise InvalidInput("InvalidTemplate", f"{FIELD}.template: fails: {error}") from error


def comparing_template(folder: Path) -> Comparing:
    """The suite's template in the folder with its files, else the built-in one."""
    own = folder / TEMPLATE
    built_in = resources.files("selm_runtime.evaluate.suites").joinpath("prompts/alpaca.jinja")
    return Comparing((own if own.exists() else built_in).read_text(encoding="utf-8"))


def read_instructions(path: Path) -> list[Instruction]:
    """What `write_instructions` wrote."""
    return [Instruction(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def write_instructions(path: Path, instructions: Sequence[Instruction]) -> None:
    """One JSON object a line."""
    path.write_text("".join(json.dumps(asdict(each)) + "\n" for each in instructions), encoding="utf-8")


def instruction_of(record: Mapping[str, Any], where: str) -> Instruction:
    """A record of the suite's data; `where` names it. Raises InvalidInput where something is missing."""
    for name in ("instruction", "output"):
        if not isinstance(record.get(name), str) or not record[name].strip():
            raise InvalidInput(
                "InvalidData", f"{FIELD}.uri: {where}: found {record.get(name)!r:.60} as {name!r}; allowed is a text"
            )
    difficulty = record.get("instruction_difficulty")
    if difficulty is not None and (isinstance(difficulty, bool) or not isinstance(difficulty, int | float)):
        raise InvalidInput(
            "InvalidData",
            f"{FIELD}.uri: {where}: found {difficulty!r:.60} as 'instruction_difficulty'; allowed is a number",
        )
    return Instruction(record["instruction"], record["output"], None if difficulty is None else float(difficulty))
