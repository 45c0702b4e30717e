"""What Evaluation generates: one engine for the held-out prompts and all suites, gone before anything is judged, kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.contract import Phase
from selm_runtime.data.tokens import load_tokenizer
from selm_runtime.engine import EngineSettings
from selm_runtime.errors import InvalidInput, TemporaryFailure
from selm_runtime.evaluate import engine as evaluate_engine
from selm_runtime.evaluate import phase, run
from selm_runtime.evaluate.engine import Room, SharedEngine, long_rope_from, shared_room
from selm_runtime.evaluate.generated import Answers, generate
from selm_runtime.evaluate.held_out import generate_held_out, held_out_room
from selm_runtime.evaluate.suites import plan_suites
from selm_runtime.evaluate.suites.alpaca import INSTRUCTIONS, Instruction, write_instructions
from selm_runtime.evaluate.suites.mt_bench import QUESTIONS, SPARE_TOKENS, Question, write_questions
from selm_runtime.evaluate.suites.responses import Asking, answer_suite, room_for
from selm_runtime.phase import PhaseContext
from support.chat_server import ChatServer, Fault, Messages
from support.engine_starts import engine_starts
from support.fake_engine import FakeEngine
from support.phase_world import PhaseWorld
from support.suite_world import suite_world
from support.tiny_model import make_tiny_model, preference_rows

HELD_OUT, ASKED, TURNS = 4, 5, 6  # requests: held-out rows, instructions, two turns of three questions
LONGEST = "Tell me about number 4. " * 6


# Which parts share


ROOMS = [Room(100, 20), Room(90, 40), Room(200, 60)]


@pytest.mark.parametrize(
    ("long_from", "expected"),
    [
        (None, [260, 260, 260]),
        (1000, [260, 260, 260]),
        (260, [260, 260, 260]),
        (259, [130, 130, 260]),
        (120, [120, 260, 260]),
    ],
)
def test_all_share_one_engine_where_no_rope_changes_between_them(long_from: int | None, expected: list[int]) -> None:
    assert [shared_room(room, ROOMS, long_from).tokens for room in ROOMS] == expected


LONG = {"original_max_position_embeddings": 4096, "short_factor": [1.0], "long_factor": [2.0]}
CONFIGS: dict[str, tuple[dict[str, Any], int | None]] = {
    "none": ({}, None),
    "another kind": ({"rope_scaling": {"rope_type": "llama3", "original_max_position_embeddings": 8192}}, None),
    "of transformers 5": ({"rope_parameters": {"rope_type": "longrope", **LONG}}, 4096),
    "of before": ({"rope_scaling": {"type": "su"}, "original_max_position_embeddings": 2048}, 2048),
    "none, spelled out": ({"rope_scaling": None}, None),
}


@pytest.mark.parametrize("what", CONFIGS)
def test_where_a_models_rope_changes(what: str, tmp_path: Path) -> None:
    config, expected = CONFIGS[what]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert long_rope_from(tmp_path) == expected


# With made-up engines


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"), 3)


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[FakeEngine]:
    """Every engine that was started, in order."""
    return []


@pytest.fixture
def settings() -> list[EngineSettings]:
    """What each was made of."""
    return []


def world_of(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: Path,
    engines: list[FakeEngine],
    settings: list[EngineSettings],
    on_step: Callable[[], None] | None = None,
) -> PhaseWorld:
    root.mkdir()
    world = suite_world(root, monkeypatch)

    def start(_: PhaseContext, asked: EngineSettings, __: int | None) -> FakeEngine:
        assert all(each.closed for each in engines)
        settings.append(asked)
        engines.append(FakeEngine(on_step=on_step))
        return engines[-1]

    monkeypatch.setattr(evaluate_engine, "start_engine", start)
    prepare(world, model)
    return world


def prepare(world: PhaseWorld, model: Path) -> None:
    write_instructions(
        world.root / INSTRUCTIONS,
        [Instruction(LONGEST if i == 3 else f"Say {i}.", "something", None) for i in range(ASKED)],
    )
    write_questions(
        world.root / QUESTIONS, [Question(str(i), "writing", (f"Write {i}.", "More."), None) for i in range(TURNS // 2)]
    )
    files = {
        f"suites/alpaca-eval/{INSTRUCTIONS}": world.root / INSTRUCTIONS,
        f"suites/mt-bench/{QUESTIONS}": world.root / QUESTIONS,
    }
    world.prepare(model, preference_rows(9), preference_rows(HELD_OUT, seed=1), files=files)


def suites(endpoint: str = "http://127.0.0.1:1/v1") -> dict[str, Any]:
    judge = {"endpoint": endpoint, "model": "j"}
    return {
        "alpacaEval": {"uri": "file:///a.json", "maxTokens": 24, "judge": judge},
        "mtBench": {"uri": "file:///m.jsonl", "maxTokens": 16, "judge": judge},
    }


def said(messages: Messages) -> str | Fault:
    return "Rating: [[7]]" if "a grade from 1 to 10" in messages[-1]["content"] else "m"


def evaluated(world: PhaseWorld, endpoint: str, attempt: int = 1) -> Manifest:
    with world.context(Phase.EVALUATION, 0, attempt=attempt, evaluation=suites(endpoint)) as ctx:
        run(ctx)
        manifest = ctx.folder.committed()
    assert manifest is not None
    return manifest


def test_one_engine_serves_all_and_is_gone_before_anything_is_measured_or_judged(
    tmp_path: Path,
    model: Path,
    engines: list[FakeEngine],
    settings: list[EngineSettings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = world_of(tmp_path / "w", monkeypatch, model, engines, settings)
    measured = phase.measure_log_probs

    def measure(*asked: Any) -> Any:
        assert engines[0].closed
        return measured(*asked)

    def judge(messages: Messages) -> str | Fault:
        return said(messages) if engines[0].closed else Fault(400)

    monkeypatch.setattr(phase, "measure_log_probs", measure)
    with ChatServer(judge) as server:
        manifest = evaluated(world, server.url)
    (engine,) = engines
    assert len(engine.asked) == HELD_OUT + ASKED + TURNS
    assert engine.forgotten == 4  # each call begins with a cold prefix cache
    assert manifest.metrics["mtBench"] == 7
    assert manifest.facts["suites"]["alpacaEval"]["compared"] == ASKED
    # The held-out requests are drawn as the engine is, the suites' with as many tokens as they may have.
    drawn = [request.sampling for request in engine.asked]
    assert drawn[:HELD_OUT] == [None] * HELD_OUT
    assert [each.max_tokens for each in drawn[HELD_OUT:] if each] == [24] * ASKED + [16] * TURNS
    assert {each.temperature for each in drawn[HELD_OUT:] if each} == {0.8}
    longest = max(len(request.prompt_ids) for request in engine.asked)
    assert settings[0].max_prompt_tokens + settings[0].max_new_tokens == longest + 24
    assert [event["suite"] for event in world.events("stage") if event["name"] == "answers"] == [
        "alpacaEval",
        "mtBench",
    ]


def test_an_attempt_that_a_judge_kept_waiting_costs_no_second_engine(
    tmp_path: Path,
    model: Path,
    engines: list[FakeEngine],
    settings: list[EngineSettings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    away = False
    with ChatServer(lambda messages: Fault(503) if away else said(messages)) as server:
        expected = evaluated(world_of(tmp_path / "whole", monkeypatch, model, engines, settings), server.url)
        world, away = world_of(tmp_path / "again", monkeypatch, model, engines, settings), True
        with pytest.raises(TemporaryFailure):
            evaluated(world, server.url)
        assert len(engines) == 2
        away = False
        manifest = evaluated(world, server.url, 2)
    assert len(engines) == 2
    assert len(world.events("engine-call")) == 1
    assert manifest.content_digest == expected.content_digest


@pytest.mark.parametrize("part", [0.1, 0.4, 0.7, 1.0])
def test_a_killed_attempt_keeps_what_was_answered(
    part: float,
    tmp_path: Path,
    model: Path,
    engines: list[FakeEngine],
    settings: list[EngineSettings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps, kill_at = 0, 0

    def count() -> None:
        nonlocal steps
        steps += 1
        if steps == kill_at:
            raise KeyboardInterrupt

    with ChatServer(said) as server:
        expected = evaluated(world_of(tmp_path / "whole", monkeypatch, model, engines, settings, count), server.url)
        engines.clear()
        kill_at, steps = max(1, round(part * steps)), 0
        world = world_of(tmp_path / "killed", monkeypatch, model, engines, settings, count)
        with pytest.raises(KeyboardInterrupt):
            evaluated(world, server.url)
        manifest = evaluated(world, server.url, 2)
    assert [(f.name, f.sha256) for f in manifest.files] == [(f.name, f.sha256) for f in expected.files]
    assert manifest.metrics == expected.metrics
    first, second = ([request.seed for request in engine.asked] for engine in engines)
    assert len({*first, *second}) == HELD_OUT + ASKED + TURNS
    repeated = len(first) + len(second) - (HELD_OUT + ASKED + TURNS)
    assert 0 < repeated <= max(HELD_OUT, ASKED, TURNS)
    assert settings[-1] == settings[-2]  # what is still to be done does not decide what engine does it


def test_a_suite_that_does_not_fit_is_refused_before_an_engine_is_started(
    tmp_path: Path,
    model: Path,
    engines: list[FakeEngine],
    settings: list[EngineSettings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = world_of(tmp_path / "w", monkeypatch, model, engines, settings)
    asked = suites()
    asked["mtBench"]["maxTokens"] = 400
    with (
        world.context(Phase.EVALUATION, 0, evaluation=asked) as ctx,
        pytest.raises(InvalidInput, match=r"mtBench\.maxTokens: found 400, allowed is at most 256"),
    ):
        run(ctx)
    assert engines == []


def test_a_suite_has_room_for_its_longest_conversation_and_asks_for_the_goal(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELM_CACHE_DIR", str(tmp_path / "cache"))
    goal = {"transform": "RewardAugmented", "rewardAugmented": {"goal": 9}}
    world = PhaseWorld(tmp_path, data={**goal, "uri": "file:///data", "portions": 1})
    world.prepare(model, preference_rows(2), preference_rows(2, seed=1))
    asked = [[{"role": "user", "content": text}] for text in ("Short.", "Longer than that.")]
    engine, tokenizer = FakeEngine(), load_tokenizer(model)
    with world.context(Phase.EVALUATION, 0) as ctx:
        room = room_for(ctx, model, tokenizer, 12, "spec.x", asked, 30)
        answer_suite(ctx, engine, model, tokenizer, Asking("alpacaEval", room, lambda _: asked, 2, ("alpacaEval",)))
    assert room == Room(max(len(request.prompt_ids) for request in engine.asked) + 30, 12)
    texts = tokenizer.batch_decode([list(request.prompt_ids) for request in engine.asked], skip_special_tokens=True)
    assert all(text.endswith("Give a response that scores 9.") for text in texts)


# With real engines


@pytest.fixture
def real_world(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> PhaseWorld:
    monkeypatch.setenv("SELM_CACHE_DIR", str(tmp_path / "cache"))
    world = PhaseWorld(tmp_path)
    prepare(world, model)
    return world


def rows_of(ctx: PhaseContext) -> Sequence[Any]:
    from selm_runtime.data.rows import held_out_rows_of

    return held_out_rows_of(ctx.folder)


@pytest.mark.timeout(900)
def test_one_engine_says_what_engines_of_their_own_would(real_world: PhaseWorld, model: Path) -> None:
    """Sampled, with seeds: neither the engine's length nor what it was asked before changes a token."""
    tokenizer = load_tokenizer(model)
    with real_world.context(Phase.EVALUATION, 0, evaluation=suites()) as ctx, engine_starts():
        asked = plan_suites(ctx, ctx.folder.manifest(Phase.PREPARATION, 0), model, tokenizer)
        responses, answers = generate(ctx, model, tokenizer, rows_of(ctx), asked)
        assert len([event for event in real_world.events("stage") if event["name"] == "engine"]) == 1
        alone: Answers = {}
        for suite in asked:
            with closing(SharedEngine(ctx, model, tokenizer.eos_token_id, [suite.room])) as engine:
                alone[suite.name] = answer_suite(ctx, engine.of(suite.room), model, tokenizer, suite)
        room = held_out_room(ctx)
        with closing(SharedEngine(ctx, model, tokenizer.eos_token_id, [room])) as engine:
            held_out = generate_held_out(ctx, engine.of(room), tokenizer, rows_of(ctx))
    assert len({suite.room.tokens for suite in asked} | {room.tokens}) == 3
    assert responses.equals(held_out)
    assert answers == alone
    assert {len(turns) for turns in answers["mtBench"]} == {2}
    assert asked[1].room.prompt > SPARE_TOKENS
    assert len({answer.text for turns in answers["alpacaEval"] for answer in turns}) > 1


@pytest.mark.timeout(600)
def test_an_engine_answers_as_transformers_does(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Greedily, by the model's chat template; what is longer than the context leaves room for loses its beginning."""
    monkeypatch.setenv("SELM_CACHE_DIR", str(tmp_path / "cache"))
    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    world = PhaseWorld(tmp_path, generation={"temperature": 0.0, "samplesPerPrompt": 1})
    world.prepare(model, preference_rows(2), preference_rows(2, seed=1))
    asked = [[{"role": "user", "content": text}] for text in ("Tell me about rain.", "long " * 120)]
    with world.context(Phase.EVALUATION, 0) as ctx, engine_starts():
        room = room_for(ctx, model, tokenizer, 12, "spec.evaluation.alpacaEval", asked)
        suite = Asking("alpacaEval", room, lambda _: asked, 2, ("alpacaEval",))
        with closing(SharedEngine(ctx, model, tokenizer.eos_token_id, [room])) as engine:
            answers = [answer for (answer,) in answer_suite(ctx, engine.of(room), model, tokenizer, suite)]
    assert [answer.cut for answer in answers] == [False, True]
    for messages, answer in zip(asked, answers, strict=True):
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"][-500:]
        with torch.inference_mode():
            made = network.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False)[0, len(ids) :]
        assert answer.text == tokenizer.decode(made, skip_special_tokens=True)
        assert answer.tokens == len(made)
