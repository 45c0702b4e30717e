"""AlpacaEval: the length-controlled win rate against a literal computation, the judge's verdicts, both phases."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.contract import Phase
from selm_runtime.errors import InvalidInput
from selm_runtime.evaluate import run
from selm_runtime.evaluate.suites import alpaca
from selm_runtime.evaluate.suites.alpaca import Comparing, baseline_first, length_controlled, preference_for_first
from selm_runtime.judge.chat import ChatReply
from selm_runtime.prepare.suites import bring_suites
from support.chat_server import ChatServer, Fault, Messages
from support.phase_world import PhaseWorld
from support.suite_world import suite_world
from support.tiny_model import make_tiny_model, preference_rows

# The win rate at equal lengths


def literal(
    preferences: Sequence[float], lengths: Sequence[tuple[int, int]], difficulties: Sequence[float] | None
) -> float:
    """arXiv 2404.04475 written out: Newton's method on the penalised likelihood of soft labels, then the mean."""
    n = len(preferences)
    differences = [ours - theirs for ours, theirs in lengths]
    mean = sum(differences) / n
    spread = math.sqrt(sum((each - mean) ** 2 for each in differences) / (n - 1))
    rows = [
        [math.tanh(each / spread), *([] if difficulties is None else [difficulties[i]]), 1.0]
        for i, each in enumerate(differences)
    ]
    x, p = np.array(rows), np.array(preferences)
    w = np.zeros(x.shape[1])
    for _ in range(100):
        q = 1 / (1 + np.exp(-x @ w))
        gradient = 100.0 * x.T @ (q - p) + w
        hessian = 100.0 * x.T @ (x * (q * (1 - q))[:, None]) + np.eye(len(w))
        w -= np.linalg.solve(hessian, gradient)
    at_equal_length = x[:, 1:] @ w[1:]
    return float((1 / (1 + np.exp(-at_equal_length))).mean())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("with_difficulty", [False, True])
def test_the_rate_at_equal_lengths_is_the_formulas(seed: int, with_difficulty: bool) -> None:
    chance = np.random.default_rng(seed)
    preferences = chance.uniform(size=60).tolist()
    lengths = [(int(ours), int(theirs)) for ours, theirs in chance.integers(5, 900, size=(60, 2))]
    difficulties = chance.normal(size=60).tolist() if with_difficulty else None
    found = length_controlled(preferences, lengths, difficulties)
    assert found.rate == pytest.approx(literal(preferences, lengths, difficulties), abs=1e-6)
    assert list(found.weights) == ["length", *(["difficulty"] if with_difficulty else []), "model"]


def test_what_length_alone_explains_is_no_win() -> None:
    """A judge that likes length, and a model that is longer in three of four outputs: 0.75 as judged, a half at equal."""
    chance = np.random.default_rng(0)
    differences = [*chance.integers(1, 500, size=300), *-chance.integers(1, 500, size=100)]
    spread = float(np.std(differences, ddof=1))
    preferences = [1 / (1 + math.exp(-4 * math.tanh(each / spread))) for each in differences]
    lengths = [(600 + int(each), 600) for each in differences]
    found = length_controlled(preferences, lengths, None)
    assert sum(preferences) / len(preferences) > 0.65
    assert found.rate == pytest.approx(0.5, abs=0.01)
    assert found.weights["length"] == pytest.approx(4, abs=0.1)


def test_of_equal_lengths_the_rate_is_the_mean_and_of_wins_alone_it_is_near_one() -> None:
    preferences = [1.0, 0.25, 0.75, 0.75] * 10
    assert length_controlled(preferences, [(9, 9)] * 40, None).rate == pytest.approx(0.6875, abs=1e-3)
    assert length_controlled([1.0] * 5, [(9, 3)] * 5, None).rate > 0.99
    with pytest.raises(ValueError, match="no preferences"):
        length_controlled([], [], None)


# The judge's answers

REPLIES: dict[str, tuple[ChatReply, float | None]] = {
    "a name": (ChatReply("M", "stop"), 0.0),
    "a name between blanks": (ChatReply(" m\n", "stop"), 1.0),
    "neither": (ChatReply("both are good", "stop"), None),
    "nothing": (ChatReply("", "length"), None),
    "log-probs of both names": (
        ChatReply("m", "stop", first_token={"m": math.log(0.6), "M": math.log(0.2), "x": math.log(0.2)}),
        0.75,
    ),
    "spellings of one name add up": (
        ChatReply("m", "stop", first_token={"m": math.log(0.3), " m": math.log(0.3), "M": math.log(0.2)}),
        0.75,
    ),
    "log-probs of neither, a name as text": (ChatReply("M", "stop", first_token={"x": -0.1}), 0.0),
    "log-probs of neither": (ChatReply("x", "stop", first_token={"x": -0.1}), None),
}


@pytest.mark.parametrize("what", REPLIES)
def test_how_an_answer_is_read(what: str) -> None:
    reply, expected = REPLIES[what]
    assert preference_for_first(reply) == (expected if expected is None else pytest.approx(expected))


def test_a_template_must_use_what_is_compared() -> None:
    assert Comparing("{{instruction}}|{{output_1}}|{{output_2}}").render("a", "b", "c") == "a|b|c"
    for source in ("{{instruction}}", "{{instruction}}{{output_1}}{{output_2}}{{more}}", "{% if %}"):
        with pytest.raises(InvalidInput, match=r"spec\.evaluation\.alpacaEval\.template"):
            Comparing(source)


# Preparation


def records(count: int = 12, **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "instruction": f"Tell me about number {i}.",
            "output": f"It is {'very ' * i}large.",
            "generator": "base",
            **more,
        }
        for i in range(count)
    ]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PhaseWorld:
    return suite_world(tmp_path, monkeypatch)


def suite(world: PhaseWorld, server: ChatServer, rows: Sequence[Any] | str, **more: Any) -> dict[str, Any]:
    """`spec.evaluation` with the suite's data written beside the store."""
    text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
    (world.root / "alpaca.jsonl").write_text(text)
    settings = {"uri": f"file://{world.root}/alpaca.jsonl", "maxTokens": 16, **more}
    return {"alpacaEval": {**settings, "judge": {"endpoint": server.url, "model": "j"}}}


def brought(world: PhaseWorld, settings: dict[str, Any]) -> tuple[dict[str, Path], dict[str, Any], int]:
    """The suite's files (copied), its facts, and how many prompts training leaves out."""
    with world.context(Phase.PREPARATION, 0, evaluation=settings) as ctx:
        made = bring_suites(ctx)
        kept = {}
        for name, path in made.files.items():
            kept[name] = world.root / "kept" / path.name
            kept[name].parent.mkdir(exist_ok=True)
            kept[name].write_bytes(path.read_bytes())
        return kept, made.facts["alpacaEval"], len(made.prompts["alpacaEval"])


def always(said: str) -> Any:
    return lambda _: said


def test_preparation_brings_the_first_instructions_and_tries_the_judge(world: PhaseWorld) -> None:
    with ChatServer(always("m")) as server:
        files, facts, prompts = brought(world, suite(world, server, json.dumps(records()), limit=7))
    assert list(files) == ["suites/alpaca-eval/instructions.jsonl"]
    kept = alpaca.read_instructions(files["suites/alpaca-eval/instructions.jsonl"])
    assert [each.output for each in kept] == [row["output"] for row in records(7)]
    assert (facts["instructions"], prompts, len(server.seen)) == (7, 7, 3)
    assert facts["pinned"].startswith("sha256:")
    assert all(body["top_logprobs"] == 5 for body in server.seen)


def test_a_line_ends_with_a_line_feed_and_nothing_else(world: PhaseWorld) -> None:
    """JSON leaves U+2028, U+2029 and U+0085 in texts as they are."""
    rows = [{"instruction": f"one\u2028two\u2029three\x85 ({number})", "output": "o"} for number in range(2)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with ChatServer(always("m")) as server:
        files, _, _ = brought(world, suite(world, server, text))
    kept = alpaca.read_instructions(files["suites/alpaca-eval/instructions.jsonl"])
    assert [each.instruction for each in kept] == [row["instruction"] for row in rows]


def test_a_template_that_is_not_there_is_named_by_its_field(world: PhaseWorld) -> None:
    with (
        ChatServer(always("m")) as server,
        pytest.raises(InvalidInput, match=r"spec\.evaluation\.alpacaEval\.template: found no file at file://.*absent"),
    ):
        brought(world, suite(world, server, records(2), template=f"file://{world.root}/absent.jinja"))


REFUSED: dict[str, tuple[Any, Any, str]] = {
    # the data, the judge's answers, what is said
    "no output": ([{"instruction": "a"}], always("m"), r"\.uri: record 0: found None as 'output'"),
    "an empty instruction": (
        [*records(1), {"instruction": " ", "output": "b"}],
        always("m"),
        r"\.uri: record 1: found ' ' as 'instruction'",
    ),
    "a difficulty that is no number": (
        records(1, instruction_difficulty="hard"),
        always("m"),
        r"\.uri: record 0: found 'hard' as 'instruction_difficulty'",
    ),
    "difficulties of some": (
        [*records(2), *records(1, instruction_difficulty=0.5)],
        always("m"),
        r"\.uri: 1 of 3 records have an instruction_difficulty",
    ),
    "no JSON": (
        json.dumps(records(1)[0]) + "\n{'instruction'}\n",
        always("m"),
        r"\.uri: file://.*alpaca\.jsonl, line 2 is no JSON",
    ),
    "no records": ("[]", always("m"), r"\.uri: .* holds no records"),
    "a judge that answers nonsense": (records(), always("both"), r"\.judge: none of 3 answers names one"),
    "a judge that refuses the key": (records(), always(Fault(401)), r"\.judge\.apiKeySecretRef: the key is refused"),
    "a judge that is no API": (records(), always(Fault(200, "<html>")), r"\.judge\.endpoint: .* answers"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_before_a_gpu_is_asked_for(what: str, world: PhaseWorld) -> None:
    rows, answer, message = REFUSED[what]
    with ChatServer(answer) as server, pytest.raises(InvalidInput, match=rf"spec\.evaluation\.alpacaEval{message}"):
        brought(world, suite(world, server, rows))


def test_a_file_that_is_not_there_is_refused(world: PhaseWorld) -> None:
    with ChatServer(always("m")) as server:
        settings = suite(world, server, records(), uri=f"file://{world.root}/none.json")
        with pytest.raises(InvalidInput, match=r"spec\.evaluation\.alpacaEval\.uri: there is no file"):
            brought(world, settings)


# Evaluation


def outputs_in(messages: Messages) -> tuple[str, str]:
    text = messages[-1]["content"]
    first = text.split("Output of the model m ---\n")[1].split("\n\n--- Output of the model M ---")[0]
    second = text.split("Output of the model M ---\n")[1].split("\n\n--- End of the outputs")[0]
    return first, second


def longer(messages: Messages) -> str | Fault:
    """Prefers the longer output; refuses to compare what mentions number 3."""
    if "number 3." in messages[-1]["content"]:
        return Fault(400)
    first, second = outputs_in(messages)
    return "m" if len(first) >= len(second) else "M"


def evaluated(world: PhaseWorld, model: Path, server: ChatServer, **more: Any) -> tuple[Manifest, dict[str, Any]]:
    settings = suite(world, server, records(), **more)
    files, _, _ = brought(world, settings)
    world.prepare(model, preference_rows(9), preference_rows(4, seed=1), files=files)
    settings["selectBy"] = {"metric": "AlpacaEval"}
    with world.context(Phase.EVALUATION, 0, evaluation=settings) as ctx:
        run(ctx)
        manifest = ctx.folder.committed()
        assert manifest is not None
        kept = ctx.folder.fetch(manifest, "suites/", ctx.scratch / "kept") / "alpaca-eval.json"
        return manifest, json.loads(kept.read_text())


def test_the_base_is_judged_and_what_is_refused_is_missing(world: PhaseWorld, tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "model")
    with ChatServer(longer) as server:
        manifest, kept = evaluated(world, model, server)
        asked = len(server.seen)
    figures = manifest.facts["suites"]["alpacaEval"]
    rows = kept["rows"]
    judged = [row for row in rows if "number 3." not in row["instruction"]]
    expected = [
        float(len(row["output"]) > len(row["baseline"]))
        if len(row["output"]) != len(row["baseline"])
        else float(not baseline_first(row["instruction"]))
        for row in judged
    ]
    assert [row["preference"] for row in judged] == expected
    assert {baseline_first(row["instruction"]) for row in rows} == {True, False}
    assert (figures["compared"], figures["missing"], figures["counts"]["refused"]) == (11, 1, 1)
    assert manifest.metrics["alpacaEvalWinRate"] == pytest.approx(sum(expected) / 11)
    lengths = [(len(row["output"]), len(row["baseline"])) for row in judged]
    assert manifest.metrics["alpacaEval"] == pytest.approx(literal(expected, lengths, None), abs=1e-6)
    assert manifest.facts["standing"]["suite"] == manifest.metrics["alpacaEval"]
    assert asked == 3 + len(rows)
    assert {"alpacaEval", "alpacaEvalWinRate"} <= set(list(manifest.metrics)[:16])


def test_a_judge_without_any_verdict_is_refused(world: PhaseWorld, tmp_path: Path) -> None:
    def later_nonsense(messages: Messages) -> str:
        return "m" if "2 + 2" in messages[-1]["content"] else "who knows"

    with (
        ChatServer(later_nonsense) as server,
        pytest.raises(InvalidInput, match="none of 12 comparisons has a verdict"),
    ):
        evaluated(world, make_tiny_model(tmp_path / "model"), server)


def test_more_tokens_than_half_the_context_are_refused(world: PhaseWorld, tmp_path: Path) -> None:
    with ChatServer(longer) as server, pytest.raises(InvalidInput, match=r"alpacaEval\.maxTokens: found 400, .* 256"):
        evaluated(world, make_tiny_model(tmp_path / "model"), server, maxTokens=400)
