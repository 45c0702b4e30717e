"""MT-Bench: what the judge is asked and how it is read, means with missing ratings, both phases."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.contract import Phase
from selm_runtime.errors import InvalidInput
from selm_runtime.evaluate import engine, run
from selm_runtime.evaluate.suites import mt_bench
from selm_runtime.evaluate.suites.mt_bench import Question, conversation, figures, grading_prompt, rating
from selm_runtime.judge.chat import ChatReply
from selm_runtime.prepare.suites import bring_suites
from support.chat_server import ChatServer, Fault, Messages
from support.fake_engine import FakeEngine
from support.phase_world import PhaseWorld
from support.suite_world import suite_world
from support.tiny_model import make_tiny_model, preference_rows

Answer = Callable[[Messages], str | Fault]

RECORDS: list[dict[str, Any]] = [
    {"question_id": 81, "category": "writing", "turns": ["Write a haiku.", "Now without the letter e."]},
    {"question_id": 111, "category": "math", "turns": ["What is 3 x 7?", "Halve it."], "reference": ["21", "10.5"]},
    {
        "question_id": 121,
        "category": "coding",
        "turns": ["Sort a list.", "In one line."],
        "reference": ["sort", "sorted"],
    },
    {"question_id": 151, "category": "writing", "turns": ["Write a letter.", "Shorter."], "reference": ["Dear", "Hi"]},
]
PLAIN = Question("1", "writing", ("first ask", "second ask"), None)
REFERENCED = Question("2", "math", ("first ask", "second ask"), ("one right", "two right"))


# What is asked and read


def test_the_second_turn_has_the_first_answer_before_it() -> None:
    assert conversation(PLAIN, []) == [{"role": "user", "content": "first ask"}]
    assert conversation(PLAIN, ["first answer"]) == [
        {"role": "user", "content": "first ask"},
        {"role": "assistant", "content": "first answer"},
        {"role": "user", "content": "second ask"},
    ]


@pytest.mark.parametrize("question", [PLAIN, REFERENCED], ids=lambda question: question.category)
def test_the_judge_sees_the_conversation_as_far_as_it_is_graded(question: Question) -> None:
    first, second = grading_prompt(question, ["answer A"]), grading_prompt(question, ["answer A", "answer B"])
    assert [text in first for text in ("first ask", "answer A", "second ask", "answer B")] == [True, True, False, False]
    places = [second.index(text) for text in ("first ask", "answer A", "second ask", "answer B")]
    assert places == sorted(places)
    assert "grade the last answer alone" in second
    assert "grade the last answer alone" not in first
    for right, its in (("one right", (first, second)), ("two right", (second,))):
        assert all((right in prompt) == (question.references is not None) for prompt in its)
    assert "two right" not in first


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("It is fine.\nRating: [[7]]", 7.0),
        ("Rating: [[6.5]]", 6.5),
        ("[[3]] at first, but then Rating: [[8]]", 8.0),
        ("Rating: [[10]]", 10.0),
        ("Rating: [[0]]", None),
        ("Rating: [[11]]", None),
        ("Rating: 7", None),
        ("[[good]]", None),
        ("", None),
    ],
)
def test_how_a_rating_is_read(said: str, expected: float | None) -> None:
    assert rating(ChatReply(said, "stop")) == expected


def test_no_mean_takes_in_what_is_missing() -> None:
    questions = [Question("1", "a", ("x", "y"), None), Question("2", "b", ("x", "y"), None), PLAIN]
    found = figures(questions, [[8.0, 5.0], [None, 2.0], [None, None]])
    assert found == {
        "mean": 5.0,
        "turns": [8.0, 3.5],
        "categories": {"a": 6.5, "b": 2.0, "writing": None},
        "ratings": 3,
        "missing": 3,
    }
    with pytest.raises(InvalidInput, match=r"spec\.evaluation\.mtBench\.judge: none of 2 answers has a rating"):
        figures([PLAIN], [[None, None]])


# Both phases


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PhaseWorld:
    return suite_world(tmp_path, monkeypatch)


def suite(world: PhaseWorld, server: ChatServer, rows: Sequence[Any]) -> dict[str, Any]:
    """`spec.evaluation` with the suite's data written beside the store."""
    (world.root / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judge = {"endpoint": server.url, "model": "j"}
    return {"mtBench": {"uri": f"file://{world.root}/questions.jsonl", "maxTokens": 16, "judge": judge}}


def brought(world: PhaseWorld, settings: dict[str, Any]) -> tuple[dict[str, Path], dict[str, Any], int]:
    """The suite's files (copied), its facts, and how many prompts training leaves out."""
    with world.context(Phase.PREPARATION, 0, evaluation=settings) as ctx:
        made = bring_suites(ctx)
        kept = {}
        for name, path in made.files.items():
            kept[name] = world.root / path.name.replace("questions", "kept")
            kept[name].write_bytes(path.read_bytes())
        return kept, made.facts["mtBench"], len(made.prompts["mtBench"])


def always(said: str | Fault) -> Answer:
    return lambda _: said


def test_preparation_brings_questions_and_tries_the_judge(world: PhaseWorld) -> None:
    with ChatServer(always("Rating: [[5]]")) as server:
        files, facts, prompts = brought(world, suite(world, server, RECORDS))
    kept = mt_bench.read_questions(files["suites/mt-bench/questions.jsonl"])
    assert [each.question for each in kept] == ["81", "111", "121", "151"]
    assert [each.references for each in kept] == [None, ("21", "10.5"), ("sort", "sorted"), None]
    assert (facts["questions"], prompts, len(server.seen)) == (4, 4, 2)


REFUSED: dict[str, tuple[dict[str, Any], str | Fault, str]] = {
    # a record, what the judge answers, what is said
    "one turn": ({"category": "writing", "turns": ["a"]}, "[[5]]", r"\.uri: record 1: found \['a'\] as 'turns'"),
    "no category": ({"turns": ["a", "b"]}, "[[5]]", r"\.uri: record 1: found None as 'category'"),
    "math without references": (
        {"category": "math", "turns": ["a", "b"]},
        "[[5]]",
        r"\.uri: record 1: a question of the category 'math' needs 2 reference answers .*found None",
    ),
    "a reference for one turn": (
        {"category": "coding", "turns": ["a", "b"], "reference": ["x"]},
        "[[5]]",
        r"\.uri: record 1: .*'coding' needs 2 reference answers .*found \['x'\]",
    ),
    "a judge without ratings": (RECORDS[0], "Splendid!", r"\.judge: neither of 2 answers has a rating"),
    "a judge that is not there": (RECORDS[0], Fault(404), r"\.judge\.model: found 'j'"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_before_a_gpu_is_asked_for(what: str, world: PhaseWorld) -> None:
    record, answer, message = REFUSED[what]
    with (
        ChatServer(always(answer)) as server,
        pytest.raises(InvalidInput, match=rf"spec\.evaluation\.mtBench{message}"),
    ):
        brought(world, suite(world, server, [RECORDS[0], record]))


def evaluated(world: PhaseWorld, model: Path, answer: Answer) -> tuple[Manifest, dict[str, Any], list[str]]:
    """The base's evaluation, the suite's file, and what the judge was asked after Preparation."""
    with ChatServer(answer) as server:
        settings = suite(world, server, RECORDS)
        files, _, _ = brought(world, settings)
        server.seen.clear()
        world.prepare(model, preference_rows(9), preference_rows(4, seed=1), files=files)
        settings["selectBy"] = {"metric": "MTBench"}
        with world.context(Phase.EVALUATION, 0, evaluation=settings) as ctx:
            run(ctx)
            manifest = ctx.folder.committed()
            assert manifest is not None
            kept = ctx.folder.fetch(manifest, "suites/", ctx.scratch / "kept") / "mt-bench.json"
            asked = [body["messages"][-1]["content"] for body in server.seen]
            return manifest, json.loads(kept.read_text()), asked


def test_the_base_is_graded_over_two_turns(world: PhaseWorld, tmp_path: Path) -> None:
    """The judge grades by the turn and by whether it has a reference, and says nothing of the haiku's second turn."""

    def judge(messages: Messages) -> str:
        text = messages[-1]["content"]
        if "without the letter e" in text:
            return "I would rather not."
        grade = 4 + 3 * ("Question 2" in text) + ("Reference answer 1" in text)
        return f"Well.\nRating: [[{grade}]]"

    manifest, kept, asked = evaluated(world, make_tiny_model(tmp_path / "model"), judge)
    rows = {row["question"]: row for row in kept["rows"]}
    assert {name: row["ratings"] for name, row in rows.items()} == {
        "81": [4.0, None],
        "111": [5.0, 8.0],
        "121": [5.0, 8.0],
        "151": [4.0, 7.0],
    }
    found = manifest.facts["suites"]["mtBench"]
    assert manifest.metrics["mtBench"] == found["mean"] == pytest.approx((4 + 5 + 8 + 5 + 8 + 4 + 7) / 7)
    assert found["turns"] == pytest.approx([4.5, 23 / 3])
    assert found["categories"] == pytest.approx({"coding": 6.5, "math": 6.5, "writing": 5.0})
    assert (found["missing"], found["counts"]["unreadable"], found["counts"]["asked"]) == (1, 1, 8)
    assert manifest.facts["standing"]["suite"] == manifest.metrics["mtBench"]
    assert "mtBench" in list(manifest.metrics)[:16]
    second = [text for text in asked if "Halve it." in text]
    answers = rows["111"]["answers"]
    assert len(asked) == 8
    assert len(second) == 1
    for answer in answers:
        assert re.search(re.escape(answer.strip()), second[0])


def test_a_judge_that_stops_rating_is_refused(world: PhaseWorld, tmp_path: Path) -> None:
    def judge(messages: Messages) -> str:
        return "Rating: [[9]]" if "2 + 2" in messages[-1]["content"] else "no more"

    with pytest.raises(InvalidInput, match="none of 8 answers has a rating"):
        evaluated(world, make_tiny_model(tmp_path / "model"), judge)


def test_the_best_iteration_by_the_suite(world: PhaseWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first iteration is graded below the base, the second above: each by answers of its own."""
    model, grade = make_tiny_model(tmp_path / "model"), 5
    with ChatServer(lambda _: f"Rating: [[{grade}]]") as server:
        settings = {**suite(world, server, RECORDS), "selectBy": {"metric": "MTBench"}}
        files, _, _ = brought(world, settings)
        world.prepare(model, preference_rows(9), preference_rows(4, seed=1), files=files)
        best = []
        for iteration, grade in enumerate((6, 4, 8)):  # noqa: B007 - the judge reads it
            if iteration:
                world.commit_model(make_tiny_model(tmp_path / f"model{iteration}", iteration), iteration)
            monkeypatch.setattr(engine, "start_engine", lambda *_, t=iteration: FakeEngine(salt=str(t)))
            with world.context(Phase.EVALUATION, iteration, evaluation=settings) as ctx:
                run(ctx)
                best.append(world.record(ctx.folder.committed()))
    assert [manifest.metrics["mtBench"] for manifest in best] == [6, 4, 8]
    assert [manifest.facts["bestIteration"] for manifest in best] == [0, 0, 2]
