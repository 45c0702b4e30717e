"""Judges as scorers: both orders, what cannot be read, prompts and patterns, budget over attempts, Preparation's probe."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from selm_runtime.contract import JudgeConfig, Phase
from selm_runtime.errors import InvalidInput, TemporaryFailure
from selm_runtime.judge.chat import ChatReply, ChatRequest
from selm_runtime.prepare.data import SplitRows
from selm_runtime.prepare.judging import bring_judges, check_tests
from selm_runtime.prepare.rows import Rows
from selm_runtime.score import shard
from selm_runtime.score.interface import PairwiseRanker, Scorable
from selm_runtime.score.judge import GradingJudge, PairwiseJudge, judge_of, probe_judge
from selm_runtime.score.judge_prompts import JudgePrompt, built_in_template
from support.chat_server import ChatServer, Fault, Messages
from support.phase_world import PhaseWorld
from support.tiny_model import make_tiny_model, preference_rows

FIELD = "spec.scoring.scorers[0].judge"
PAIRWISE = JudgeConfig(endpoint="http://judge", model="m")
GRADE = JudgeConfig(endpoint="http://judge", model="m", mode="Grade")


class Answering:
    """A chat model whose answers a function makes of the question; None refuses it."""

    asked = "test"
    refusal = "too hard"

    def __init__(self, answer: Callable[[str], str | None]) -> None:
        self.answer = answer
        self.questions: list[str] = []

    def complete(
        self, requests: Sequence[ChatRequest], between: Callable[[], None] = lambda: None
    ) -> list[ChatReply | None]:
        self.questions += [request.messages[0][1] for request in requests]
        said = [self.answer(request.messages[0][1]) for request in requests]
        return [None if text is None else ChatReply(text, "stop", 7, 3) for text in said]

    def close(self) -> None:
        """Nothing is held."""


def scorables(*texts: str, **columns: str) -> list[Scorable]:
    return [Scorable(3, [{"role": "user", "content": "Why tea?"}], text, "stop", columns) for text in texts]


def responses_in(question: str) -> tuple[str, str]:
    found = re.search(r"--- Answer A ---\n(.*?)\n\n--- Answer B ---\n(.*?)\n\n--- End", question, re.DOTALL)
    assert found is not None
    return found.group(1), found.group(2)


def longer_wins(question: str) -> str:
    a, b = responses_in(question)
    return "Both are fine. " + ("[[A]]" if len(a) > len(b) else "[[B]]" if len(b) > len(a) else "[[C]]")


def pairwise(answer: Callable[[str], str | None], config: JudgeConfig = PAIRWISE) -> tuple[PairwiseJudge, Answering]:
    model = Answering(answer)
    judge = judge_of("judge", model, JudgePrompt(config, None, FIELD), config, FIELD)
    assert isinstance(judge, PairwiseJudge)
    return judge, model


def test_both_orders_are_asked_and_the_margin_is_their_mean() -> None:
    judge, model = pairwise(longer_wins)
    assert isinstance(judge, PairwiseRanker)
    first, second = judge.compare([scorables("a", "bbb", "cc"), scorables("x", "y")])
    assert first.margins == [[0.0, -1.0, -1.0], [1.0, 0.0, 1.0], [1.0, -1.0, 0.0]]
    assert first.wins[1] == [1.0, 0.5, 1.0]
    assert second.margins == [[0.0, 0.0], [0.0, 0.0]]
    assert [responses_in(question) for question in model.questions[:2]] == [("a", "bbb"), ("bbb", "a")]
    assert judge.counts() == {"asked": 8, "refused": 0, "unreadable": 0, "tokens": 80, "inconsistent": 0}


def test_a_judge_that_prefers_a_place_says_nothing() -> None:
    judge, _ = pairwise(lambda _: "[[A]]")
    (found,) = judge.compare([scorables("a", "b")])
    assert found.margins[0][1] == 0.0
    assert judge.counts()["inconsistent"] == 1


def test_equal_texts_tie_without_being_asked_about() -> None:
    judge, model = pairwise(longer_wins)
    (found,) = judge.compare([scorables("same", "same")])
    assert (found.margins[0][1], model.questions) == (0.0, [])


def test_what_cannot_be_read_is_missing_and_counted() -> None:
    def mumbles(question: str) -> str | None:
        a, b = responses_in(question)
        if "refuse" in (a, b):
            return None
        return "Hm." if (a, b) == ("a", "b") else longer_wins(question)

    judge, _ = pairwise(mumbles)
    (found,) = judge.compare([scorables("a", "b", "ccc", "refuse")])
    assert found.margins[0] == [0.0, None, -1.0, None]
    assert found.scores() == [-1.0, -1.0, 1.0, None]
    assert judge.counts() == {
        "asked": 12,
        "refused": 6,
        "unreadable": 1,
        "tokens": 60,
        "missingPairs": 4,
        "inconsistent": 0,
    }


def test_a_judge_that_says_nothing_readable_at_all_is_refused() -> None:
    judge, _ = pairwise(lambda _: "Lovely weather.")
    with pytest.raises(InvalidInput, match=r"none of 20 answers holds a verdict; one ends with 'Lovely weather\.'"):
        judge.compare([scorables(*"abcde")])
    few, _ = pairwise(lambda _: "Lovely weather.")
    assert few.compare([scorables("a", "b")])[0].scores() == [None, None]


def grading(answer: Callable[[str], str | None], config: JudgeConfig = GRADE) -> GradingJudge:
    judge = judge_of("judge", Answering(answer), JudgePrompt(config, None, FIELD), config, FIELD)
    assert isinstance(judge, GradingJudge)
    return judge


def test_grades_are_the_last_numbers() -> None:
    judge = grading(lambda question: "A Score: 1 would be low. Score: 4.5" if "---\ngood\n" in question else "no")
    assert judge.score(scorables("good", "bad")) == [4.5, None]
    assert judge.counts() == {"asked": 2, "refused": 0, "unreadable": 1, "tokens": 20}


READINGS: dict[str, tuple[JudgeConfig, str, float | None]] = {
    "the last verdict counts": (PAIRWISE, "At first [[A]], but no: [[B]]", -1.0),
    "a tie": (PAIRWISE, "[[C]]", 0.0),
    "a word that only looks like one": (PAIRWISE, "A is better", None),
    "an own pattern": (PAIRWISE.model_copy(update={"verdict_pattern": r"(?i)winner: (\w)"}), "Winner: b", -1.0),
    "an own pattern's other word": (
        PAIRWISE.model_copy(update={"verdict_pattern": r"winner: (\w+)"}),
        "winner: none",
        None,
    ),
    "a negative grade": (GRADE, "score: -2", -2.0),
    "no number": (GRADE.model_copy(update={"verdict_pattern": r"grade (\S+)"}), "grade nan", None),
    "a number beyond all measure": (GRADE, "Score: 99999999999", None),
    "nothing": (GRADE, "", None),
}


@pytest.mark.parametrize("case", READINGS)
def test_how_answers_are_read(case: str) -> None:
    config, text, verdict = READINGS[case]
    assert JudgePrompt(config, None, FIELD).verdict(ChatReply(text, "stop"), 7) == verdict


def test_own_templates_see_the_conversation_and_the_rows_columns() -> None:
    text = (
        "{{ columns.persona }} asks {{ prompt }} of {{ conversation | length }}: {{ response_a }} or {{ response_b }}?"
    )
    prompt = JudgePrompt(PAIRWISE, text, FIELD)
    (one,) = scorables("x", persona="A nurse")
    assert prompt.render(one, "first", "{{ second }}") == "A nurse asks Why tea? of 1: first or {{ second }}?"
    with pytest.raises(InvalidInput, match=r"judge\.template: fails on row 3: .*persona"):
        prompt.render(scorables("x")[0], "a", "b")


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("columns.persona + 1", "TypeError"),
        ("1 // (columns | length - 1)", "ZeroDivisionError"),
        ("columns.nothing", "UndefinedError"),
        ("range(10 ** 9) | list", "OverflowError"),
    ],
)
def test_a_template_that_fails_names_the_row_whatever_it_fails_with(broken: str, words: str) -> None:
    prompt = JudgePrompt(PAIRWISE, "{{ response_a }}{{ response_b }}{{ " + broken + " }}", FIELD)
    with pytest.raises(InvalidInput, match=rf"judge\.template: fails on row 3: {words}"):
        prompt.render(scorables("x", persona="A nurse")[0], "a", "b")


def test_a_pattern_that_does_not_end_names_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selm_runtime.score.judge_prompts.MATCH_SECONDS", 0.2)
    config = GRADE.model_copy(update={"verdict_pattern": r"((?:a|aa)+)!"})
    judge = grading(lambda _: "a" * 60 + "?", config)
    with pytest.raises(InvalidInput, match=r"judge\.verdictPattern: took more than 0.2 s on an answer .* about row 3"):
        judge.score(scorables("x"))


TEMPLATES: dict[str, tuple[JudgeConfig, str | None, str]] = {
    "no Jinja": (PAIRWISE, "{{ response_a", r"judge\.template: no Jinja template"),
    "an unknown variable": (
        PAIRWISE,
        "{{ response_a }}{{ response_b }}{{ truth }}",
        "truth; response_a and response_b must",
    ),
    "a response left out": (PAIRWISE, "{{ response_a }}", "response_a; response_a and response_b must be used"),
    "the other mode's": (GRADE, "{{ response_a }}{{ response_b }}", "response must be used in mode Grade"),
    "a pattern that is none": (
        PAIRWISE.model_copy(update={"verdict_pattern": "("}),
        None,
        r"judge\.verdictPattern: '\('",
    ),
    "a pattern without a group": (PAIRWISE.model_copy(update={"verdict_pattern": "A|B"}), None, "has 0 groups"),
}


@pytest.mark.parametrize("case", TEMPLATES)
def test_templates_and_patterns_that_cannot_be(case: str) -> None:
    config, text, words = TEMPLATES[case]
    with pytest.raises(InvalidInput, match=words):
        JudgePrompt(config, text, FIELD)


def test_a_template_cannot_reach_out_of_the_sandbox() -> None:
    text = "{{ response_a }}{{ response_b }}{{ conversation.__class__.__mro__ }}"
    with pytest.raises(InvalidInput, match="template: fails on row 3"):
        JudgePrompt(PAIRWISE, text, FIELD).render(scorables("x")[0], "a", "b")


@pytest.mark.parametrize("mode", ["Pairwise", "Grade"])
def test_the_probe_wants_one_readable_answer(mode: str) -> None:
    config = PAIRWISE if mode == "Pairwise" else GRADE
    prompt, (sample,) = JudgePrompt(config, None, FIELD), scorables("x")
    good = "[[A]]" if mode == "Pairwise" else "Score: 3"
    probe_judge(Answering(lambda q: good if "2 + 2" in q else "?"), prompt, config, FIELD, sample)
    with pytest.raises(InvalidInput, match="JudgeAnswersNonsense"):
        probe_judge(Answering(lambda _: "banana"), prompt, config, FIELD, sample)
    with pytest.raises(InvalidInput, match="all were refused by the endpoint, which says 'too hard'"):
        probe_judge(Answering(lambda _: None), prompt, config, FIELD, sample)


def test_the_built_in_prompts_are_files() -> None:
    assert "{{ response_a }}" in built_in_template("Pairwise")
    assert "{{ response }}" in built_in_template("Grade")


# --- in the phases -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SELM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("SELM_TIME_SCALE", "0.01")


def chat_longer_wins(messages: Messages) -> str | Fault:
    return longer_wins(messages[0]["content"])


def judged(server: ChatServer, **judge: object) -> dict[str, object]:
    return {
        "scorers": [{"name": "llm", "judge": {"endpoint": server.url, "model": "m", **judge}}],
        "pairing": {"offline": "Exclude"},
    }


ROWS = 10
TEXTS = ("a b c d", "a b", "a")


def new_world(root: Path, model: Path, scoring: dict[str, object]) -> PhaseWorld:
    """With a Generation of three samples a row, two chunks."""
    world = PhaseWorld(root, scoring=scoring)
    world.prepare(model, preference_rows(ROWS))
    world.commit_responses(TEXTS, ROWS)
    return world


def score(world: PhaseWorld, index: int = 0, **scoring: object) -> None:
    with world.context(Phase.SCORING, 1, index, **({"scoring": scoring} if scoring else {})) as ctx:
        shard.run_shard(ctx)


def test_scoring_by_a_judge_from_end_to_end(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELM_JUDGE_KEY_LLM", "secret")
    with ChatServer(chat_longer_wins, key="secret") as server:
        world = new_world(tmp_path, model, judged(server))
        score(world)
        with world.context(Phase.SCORING, 1) as ctx:
            manifest = ctx.folder.committed()
            assert manifest is not None
            names = sorted(entry.name for entry in manifest.files)
            pairs = [row for name in names for row in ctx.folder.read_table(manifest, name).to_pylist()]
        assert [(pair["chosen_source"], pair["rejected_source"]) for pair in pairs] == [
            ("Current:0", "Current:2")
        ] * ROWS
        assert [candidate["score"] for candidate in pairs[0]["candidates"]] == [1.0, 0.0, -1.0]
        sums = manifest.facts["sums"]
        assert (sums["scorer.llm.asked"], sums["scorer.llm.tokens"]) == (6 * ROWS, 6 * ROWS * 15)
        assert (sums["scorer.llm.unreadable"], sums["scorer.llm.inconsistent"]) == (0, 0)


def test_a_judge_that_goes_away_costs_no_answer_twice(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selm_runtime.judge.client.RETRY_SECONDS", 5.0)
    answered: list[str] = []
    most = [20]

    def answer(messages: Messages) -> str | Fault:
        if len(answered) >= most[0]:
            return Fault(503)
        answered.append(messages[0]["content"])
        return chat_longer_wins(messages)

    with ChatServer(answer) as server:
        world = new_world(tmp_path, model, judged(server))
        with pytest.raises(TemporaryFailure, match="JudgeUnavailable"):
            score(world)
        assert 20 <= len(answered) < 6 * ROWS
        most[0] = 1000
        score(world)
        assert len(answered) == len(set(answered)) == 6 * ROWS


def test_a_budget_holds_over_attempts_and_a_higher_one_goes_on(tmp_path: Path, model: Path) -> None:
    with ChatServer(chat_longer_wins) as server:
        # The first chunk of eight rows takes 48 answers of 15 tokens; the second would take 12 more.
        world = new_world(tmp_path, model, judged(server, tokenBudget=800, concurrency=1))
        for _ in range(2):
            with pytest.raises(InvalidInput, match=r"judge\.tokenBudget: 810 tokens of 800 are used up"):
                score(world)
            assert len(server.seen) == 54
        score(world, **judged(server, tokenBudget=900))
        assert len(server.seen) == 60


ROWS_BROUGHT = 3


def prepared(tmp_path: Path, server_url: str, **judge: object) -> dict[str, Path]:
    """What Preparation would commit for the judge."""
    scoring = {"scorers": [{"name": "llm", "judge": {"endpoint": server_url, "model": "m", **judge}}]}
    world = PhaseWorld(tmp_path, scoring=scoring)
    with world.context(Phase.PREPARATION, 0) as ctx:
        data = preference_rows(ROWS_BROUGHT)
        data[-1]["topic"] = "the last"
        rows = world._table(ctx.scratch / "rows.parquet", data)
        split = SplitRows(rows, ROWS_BROUGHT, "UltraFeedback", True, "train", 0, ((0, "train.jsonl"),))
        brought = bring_judges(ctx, Rows(ctx, [rows], [split]))
        return {name: Path(path.read_text()) for name, path in brought.items()}


def test_preparation_brings_the_template_and_asks_the_judge(tmp_path: Path) -> None:
    template = tmp_path / "mine.jinja"
    template.write_text("On {{ columns.topic }}, A {{ response_a }} or B {{ response_b }}?")
    with ChatServer(lambda _: "[[A]]") as server:
        found = prepared(tmp_path, server.url, template=f"file://{template}")
        assert list(found) == ["scorers/llm/template.jinja"]
        assert len(server.seen) == 3
        assert re.fullmatch(r"On \w+, A .* or B .*\?", server.seen[0]["messages"][0]["content"])


PREPARATIONS: dict[str, tuple[dict[str, object], str | Fault, str]] = {
    "no template there": ({"template": "file:///nowhere/x.jinja"}, "[[A]]", r"judge\.template: found no file at"),
    "a column that the rows have not": ({"template": "TEMPLATE"}, "[[A]]", r"judge\.template: fails on row 0"),
    "a template that fails on the last row alone": (
        {"template": "LAST"},
        "[[A]]",
        r"judge\.template: fails on row 2: .*; row 2 is row 2 of split 'train' in train\.jsonl, its row 2",
    ),
    "a refused key": ({}, Fault(401), r"judge\.apiKeySecretRef: the key is refused"),
    "a model that is not there": ({}, Fault(404), r"judge\.model: found 'm'"),
    "nonsense": ({}, "banana", r"judge: none of 3 answers holds a verdict"),
}


@pytest.mark.parametrize("case", PREPARATIONS)
def test_preparation_refuses(case: str, tmp_path: Path) -> None:
    judge, answer, words = PREPARATIONS[case]
    said = {
        "TEMPLATE": "{{ columns.persona }}",
        "LAST": "{% if columns.topic == 'the last' %}{{ columns.nothing }}{% endif %}",
    }
    if (own := said.get(str(judge.get("template")))) is not None:
        (tmp_path / "t.jinja").write_text(own + "{{ response_a }}{{ response_b }}")
        judge = {"template": f"file://{tmp_path}/t.jinja"}
    with ChatServer(lambda _: answer) as server, pytest.raises(InvalidInput, match=words):
        prepared(tmp_path, server.url, **judge)


def test_an_endpoint_that_is_away_is_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selm_runtime.judge.client.RETRY_SECONDS", 5.0)
    with pytest.raises(TemporaryFailure, match=r"judge\.endpoint: http://127\.0\.0\.1:9/v1 does not answer"):
        prepared(tmp_path, "http://127.0.0.1:9/v1")


def test_tests_are_read_row_by_row_before_anything_runs(tmp_path: Path) -> None:
    scoring = {"scorers": [{"name": "t", "execution": {"testsColumn": "topic"}}]}
    world = PhaseWorld(tmp_path, scoring=scoring)
    with world.context(Phase.PREPARATION, 0) as ctx:
        good = world._table(ctx.scratch / "good.parquet", [{**row, "topic": "assert 1"} for row in preference_rows(2)])
        check_tests(ctx.config.scoring, [good])
        rows = [{**row, "topic": test} for row, test in zip(preference_rows(2), ("assert 1", "assert ("), strict=True)]
        bad = world._table(ctx.scratch / "bad.parquet", rows)
        with pytest.raises(InvalidInput, match=r"scorers\[0\]\.execution\.testsColumn: row 1 has a test .* no Python"):
            check_tests(ctx.config.scoring, [good, bad])
