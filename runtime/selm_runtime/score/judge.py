"""LLM judges: Pairwise compares two responses in both orders (a ranker), Grade gives each a number (a scalar scorer).

**Pairwise** (Zheng et al. 2023, 2306.05685): each pair is asked about twice, with the responses' places changed. A
verdict is +1, 0 or −1 for the first; the margin is the mean of the two, so a judge that prefers a place and not a
response gives 0 (`inconsistent` counts these), and the probability to win is (1 + margin) / 2. Equal texts tie
without being asked about. **Grade** (Yuan et al. 2024, self-rewarding, 2401.10020) reads a number.

An answer that cannot be read (`unreadable`), and a question that the endpoint refuses (`refused`), count as missing:
a pair without both verdicts has none, a response without its grade no score. None is guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from selm_runtime.contract import JudgeConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.judge.chat import ChatModel, ChatReply, ChatRequest
from selm_runtime.score.interface import Comparisons, Scorable
from selm_runtime.score.judge_prompts import JudgePrompt

NONSENSE_ANSWERS = 20
"""So many answers of one call without any verdict are no chance: the judge or its prompt is wrong."""
EASY_CASES = (("What is 2 + 2?", "4", "5"), ("Name a colour.", "Red.", "No."), ("Say hello.", "Hello!", "Goodbye."))
"""What Preparation asks a judge about: prompt, good and bad response. One readable answer is enough."""

Read = Callable[[ChatReply, int], float | None]
"""From an answer and its question's place, a verdict, or None where the answer holds none."""


def ask(
    model: ChatModel,
    requests: Sequence[ChatRequest],
    read: Read,
    field: str,
    between: Callable[[], None] = lambda: None,
) -> tuple[list[float | None], Counter[str]]:
    """Verdicts in the requests' order, and counts: `asked`, `refused` by the endpoint, `unreadable`, `tokens`.

    `ownTemperature`, where there are any, counts answers that the endpoint drew at a temperature of its own.

    None is guessed: what was refused or cannot be read has no verdict. `field` is the judge's path in the spec. Raises
    InvalidInput where none of many answers has one.
    """
    replies = model.complete(requests, between)
    verdicts = [None if reply is None else read(reply, place) for place, reply in enumerate(replies)]
    answered = [reply for reply in replies if reply is not None]
    refused, missing = len(replies) - len(answered), verdicts.count(None)
    if missing == len(verdicts) >= NONSENSE_ANSWERS:
        raise nonsense(field, replies, model.refusal)
    counts = Counter(
        asked=len(requests),
        refused=refused,
        unreadable=missing - refused,
        tokens=sum(reply.tokens or 0 for reply in answered),
    )
    if drawn := sum(reply.own_temperature for reply in answered):
        counts["ownTemperature"] = drawn
    return verdicts, counts


class _Judge:
    """What both modes share: asking, reading, counting."""

    def __init__(
        self,
        name: str,
        model: ChatModel,
        prompt: JudgePrompt,
        config: JudgeConfig,
        field: str,
        between: Callable[[], None] = lambda: None,
    ) -> None:
        """`between` is called while answers come in: it may raise to stop."""
        self._name, self._model, self._prompt = name, model, prompt
        self._config, self._field, self._between = config, field, between
        self._counts: Counter[str] = Counter()

    @property
    def name(self) -> str:
        return self._name

    def counts(self) -> dict[str, float]:
        counts: dict[str, float] = dict(self._counts)
        self._counts.clear()
        return counts

    def close(self) -> None:
        self._model.close()

    def _ask(self, questions: Sequence[str], rows: Sequence[int]) -> list[float | None]:
        """The verdict of each question about a row. Raises InvalidInput where none of many answers can be read."""
        requests = [
            ChatRequest((("user", question),), self._config.max_tokens, self._config.temperature)
            for question in questions
        ]
        verdicts, counts = ask(
            self._model,
            requests,
            lambda reply, place: self._prompt.verdict(reply, rows[place]),
            self._field,
            self._between,
        )
        self._counts.update(counts)
        return verdicts


class PairwiseJudge(_Judge):
    """A ranker."""

    def compare(self, prompts: Sequence[Sequence[Scorable]]) -> list[Comparisons]:
        places = [
            (p, i, j)
            for p, prompt in enumerate(prompts)
            for i in range(len(prompt))
            for j in range(i + 1, len(prompt))
            if prompt[i].text != prompt[j].text
        ]
        questions = []
        for p, i, j in places:
            first, second = prompts[p][i], prompts[p][j]
            questions.append(self._prompt.render(first, first.text, second.text))
            questions.append(self._prompt.render(first, second.text, first.text))
        verdicts = self._ask(questions, [prompts[p][i].row for p, i, _ in places for _ in range(2)])
        margins: dict[tuple[int, int, int], float | None] = {}
        for k, place in enumerate(places):
            forth, back = verdicts[2 * k], verdicts[2 * k + 1]
            if forth is None or back is None:
                margins[place] = None
                self._counts["missingPairs"] += 1
            else:
                margins[place] = (forth - back) / 2
                self._counts["inconsistent"] += forth == back != 0
        return [
            Comparisons.of(
                len(prompt),
                {(i, j): margins.get((p, i, j), 0.0) for i in range(len(prompt)) for j in range(i + 1, len(prompt))},
                lambda margin: (1.0 + margin) / 2,
            )
            for p, prompt in enumerate(prompts)
        ]


class GradingJudge(_Judge):
    """A scalar scorer."""

    def score(self, responses: Sequence[Scorable]) -> list[float | None]:
        questions = [self._prompt.render(response, response.text) for response in responses]
        return self._ask(questions, [response.row for response in responses])


def judge_of(
    name: str,
    model: ChatModel,
    prompt: JudgePrompt,
    config: JudgeConfig,
    field: str,
    between: Callable[[], None] = lambda: None,
) -> PairwiseJudge | GradingJudge:
    """The judge of the declared mode."""
    kind = PairwiseJudge if config.mode == "Pairwise" else GradingJudge
    return kind(name, model, prompt, config, field, between)


def probe_judge(model: ChatModel, prompt: JudgePrompt, config: JudgeConfig, field: str, sample: Scorable) -> None:
    """Asks a judge about easy cases (`sample` gives the row's columns). Raises InvalidInput where none is readable."""
    requests = []
    for asked, good, bad in EASY_CASES:
        scorable = Scorable(sample.row, [{"role": "user", "content": asked}], good, "stop", sample.columns)
        question = prompt.render(scorable, *((good, bad) if config.mode == "Pairwise" else (good,)))
        requests.append(ChatRequest((("user", question),), config.max_tokens, config.temperature))
    replies = model.complete(requests)
    if not any(reply is not None and prompt.verdict(reply, sample.row) is not None for reply in replies):
        raise nonsense(field, replies, model.refusal)


def nonsense(field: str, replies: Sequence[ChatReply | None], refusal: str) -> InvalidInput:
    """What is said of a judge whose answers hold no verdict; `refusal`: what was last said of a refused request."""
    said = [reply.text for reply in replies if reply is not None]
    refused = "; all were refused by the endpoint" + (f", which says {refusal!r}" if refusal else "")
    example = f"; one ends with {said[0].strip()[-160:]!r}" if said else refused
    return InvalidInput(
        "JudgeAnswersNonsense",
        f"{field}: none of {len(replies)} answers holds a verdict{example}; allowed is a model that ends with what "
        "verdictPattern finds, within maxTokens",
    )
