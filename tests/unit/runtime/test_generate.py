"""Generation by chunks: what is asked of the engine, what is committed, what a kill changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from selm_runtime.contract import Phase
from selm_runtime.data.tokens import encode_prompt, load_tokenizer
from selm_runtime.engine import Completion, Request
from selm_runtime.errors import InvalidInput, TemporaryFailure
from selm_runtime.generate import shard
from selm_runtime.generate.encode import encode_rows
from selm_runtime.generate.loop import generate_chunks
from selm_runtime.generate.requests import ChunkPlan, Prompt, plan_chunk
from selm_runtime.phase import StopFlag
from selm_runtime.reporting import Reporter
from support.fake_engine import FakeEngine
from support.phase_world import PhaseWorld
from support.tiny_model import make_tiny_model, preference_rows

ROWS = 20  # three chunks: 8, 8 and 4 rows


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    fake = FakeEngine()
    monkeypatch.setattr(shard, "start_engine", lambda *_: fake)
    return fake


@pytest.fixture
def world(tmp_path: Path, model: Path) -> PhaseWorld:
    return new_world(tmp_path / "world", model)


def new_world(root: Path, model: Path, **settings: object) -> PhaseWorld:
    root.mkdir()
    made = PhaseWorld(root, **settings)  # type: ignore[arg-type]
    made.prepare(model, preference_rows(ROWS), preference_rows(3, seed=1))
    return made


def generate(world: PhaseWorld, index: int = 0, **settings: object) -> None:
    with world.context(Phase.GENERATION, 1, index, **settings) as ctx:
        shard.run_shard(ctx)


def composed_digest(world: PhaseWorld) -> str:
    with world.context(Phase.GENERATION, 1) as ctx:
        manifest = ctx.folder.committed()
    assert manifest is not None
    return manifest.content_digest


def test_the_phase_is_committed_before_the_engine_is_closed(
    world: PhaseWorld, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing takes an engine seconds, as many as a small chunk: what is whole does not wait for it."""
    seen: list[bool] = []

    def close() -> None:
        with world.context(Phase.GENERATION, 1) as ctx:
            seen.append(ctx.folder.committed() is not None)

    monkeypatch.setattr(engine, "close", close)
    generate(world)
    assert seen == [True]


def test_a_shard_alone_generates_every_chunk_and_composes_the_phase(world: PhaseWorld, engine: FakeEngine) -> None:
    generate(world)
    assert [(call["chunk"], call["requests"]) for call in world.events("engine-call")] == [(0, 16), (1, 16), (2, 8)]
    with world.context(Phase.GENERATION, 1) as ctx:
        manifest = ctx.folder.committed()
        assert manifest is not None
        table = ctx.folder.read_table(manifest, "chunks/00001/responses.parquet").to_pylist()
    assert [(row["row"], row["sample"]) for row in table] == [(row, s) for row in range(8, 16) for s in (0, 1)]
    for row in table:
        assert (row["finish_reason"] == "stop") == (row["response_ids"][-1] == 2)
        assert "</s>" not in row["text"]
    assert manifest.rows == 40
    assert manifest.metrics["responses"] == 40
    assert manifest.metrics["meanLength"] == manifest.metrics["tokens"] / 40
    assert 0 < manifest.metrics["finishedRate"] < 1
    assert engine.closed
    assert engine.forgotten == 3


def test_any_number_of_shards_makes_the_same_phase(
    world: PhaseWorld, engine: FakeEngine, tmp_path: Path, model: Path
) -> None:
    generate(world)
    sharded = new_world(tmp_path / "sharded", model)
    for index in (1, 0):
        generate(sharded, index, generation={"shards": 2})
    calls = [(call["index"], call["chunk"]) for call in sharded.events("engine-call")]
    assert calls == [(1, 1), (0, 0), (0, 2)]
    assert composed_digest(sharded) == composed_digest(world)


def test_a_shard_without_a_chunk_starts_no_engine(world: PhaseWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard, "start_engine", lambda *_: pytest.fail("an engine was started"))
    generate(world, 3, generation={"shards": 4})


def test_what_is_committed_is_never_asked_for_again(
    world: PhaseWorld, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: Path
) -> None:
    with world.context(Phase.GENERATION, 1) as ctx:
        commit = ctx.folder.commit_chunk

        def commit_and_stop(chunk: int, *args: object, **kwargs: object) -> object:
            done = commit(chunk, *args, **kwargs)  # type: ignore[arg-type]
            ctx.stop.request()
            return done

        monkeypatch.setattr(ctx.folder, "commit_chunk", commit_and_stop)
        with pytest.raises(TemporaryFailure, match="Preempted"):
            shard.run_shard(ctx)
    assert engine.closed
    stored = {path: path.read_bytes() for path in world.root.rglob("chunks/00000/*") if path.is_file()}
    assert stored
    generate(world, attempt=2)
    assert [call["chunk"] for call in world.events("engine-call")] == [0, 1, 2]
    assert {path: path.read_bytes() for path in stored} == stored
    undisturbed = new_world(tmp_path / "undisturbed", model)
    generate(undisturbed)
    assert composed_digest(world) == composed_digest(undisturbed)


def test_not_reproducible_feeds_the_engine_ahead(world: PhaseWorld, engine: FakeEngine) -> None:
    generate(world, generation={"reproducible": False})
    assert engine.capacity <= engine.most_unfinished < engine.capacity + 16
    assert engine.forgotten == 0
    with world.context(Phase.GENERATION, 1, generation={"reproducible": False}) as ctx:
        manifest = ctx.folder.committed()
    assert manifest is not None
    assert manifest.rows == 40


def test_progress_is_told_in_prompts_with_the_rate(world: PhaseWorld, engine: FakeEngine) -> None:
    generate(world)
    last = world.events("progress")[-1]
    assert (last["done"], last["total"], last["unit"]) == (20, 20, "prompts")
    assert last["tokensPerSecond"] > 0


@pytest.mark.parametrize("policies", [["Current"], ["Current", "Reference"]])
def test_prompts_that_were_cut_are_counted_once(
    policies: list[str], world: PhaseWorld, engine: FakeEngine, model: Path
) -> None:
    settings = {"training": {"maxPromptLength": 30}, "generation": {"policies": policies}}
    generate(world, **settings)
    with world.context(Phase.GENERATION, 1, **settings) as ctx:
        manifest = ctx.folder.committed()
    assert manifest is not None
    tokenizer = load_tokenizer(model)
    longer = [
        row
        for row in preference_rows(ROWS)
        if len(encode_prompt(tokenizer, [{"role": "user", "content": row["prompt"]}])) > 30
    ]
    assert longer
    assert manifest.metrics["truncatedPrompts"] == len(longer)


def test_a_prompt_is_a_whole_conversation(model: Path, world: PhaseWorld) -> None:
    """System prompt and turns as the model's own chat template writes them, with one BOS."""
    turns = [("system", "Be brief."), ("user", "Hi."), ("assistant", "Hello."), ("user", "Why?")]
    messages = [{"role": role, "content": content} for role, content in turns]
    tokenizer = load_tokenizer(model)
    (prompt,) = encode_rows(tokenizer, [{"row": 5, "prompt": messages}], world.config(Phase.GENERATION, 1))
    (text,) = tokenizer.batch_decode([list(prompt.ids)])
    assert text == "<s><|system|>Be brief.<|user|>Hi.<|assistant|>Hello.</s><|user|>Why?<|assistant|>"
    assert not prompt.cut


def test_a_row_that_the_chat_template_refuses_is_named(world: PhaseWorld, model: Path) -> None:
    tokenizer = load_tokenizer(model)
    tokenizer.chat_template = "{{ raise_exception('System role not supported') }}"
    rows = [{"row": 5, "prompt": [{"role": "system", "content": "Be brief."}]}]
    with pytest.raises(InvalidInput, match=r"spec\.model: .* fails on row 5, of the roles system: System role not sup"):
        encode_rows(tokenizer, rows, world.config(Phase.GENERATION, 1))


def test_requests_have_seeds_of_their_own(world: PhaseWorld) -> None:
    config = world.config(Phase.GENERATION, 1)
    plan = plan_chunk(0, [Prompt(row, (1, 2, 3)) for row in range(8)], config)
    seeds = [planned.request.seed for planned in plan.responses]
    assert len(set(seeds)) == 16
    later = plan_chunk(0, [Prompt(7, (9,)), Prompt(0, (1,))], config)
    assert [planned.request.seed for planned in later.responses] == [*seeds[14:], *seeds[:2]]


class _SlowStop:
    """Asks the pod to go at the n-th step."""

    def __init__(self, stop: StopFlag, n: int) -> None:
        self._left, self._stop = n, stop

    def __call__(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._stop.request()


def test_being_asked_to_go_ends_between_two_steps() -> None:
    stop = StopFlag()
    engine = FakeEngine(on_step=_SlowStop(stop, 3))
    done = generate_chunks(engine, [_plan(0, 50)], Reporter(Phase.GENERATION, 1, 0), stop, reproducible=True)
    with pytest.raises(TemporaryFailure):
        next(done)
    assert engine.unfinished > 0


@pytest.mark.parametrize("reproducible", [True, False])
def test_completions_out_of_order_land_in_their_places(reproducible: bool) -> None:
    class Backwards(FakeEngine):
        def step(self) -> list[Completion]:
            return super().step()[::-1]

    engine = Backwards(slots=1000)
    plans = [_plan(0, 9), _plan(1, 9)]
    chunks = list(
        generate_chunks(engine, plans, Reporter(Phase.GENERATION, 1, 0), StopFlag(), reproducible=reproducible)
    )
    for done in chunks:
        expected = [planned.request.key for planned in done.plan.responses]
        assert [completion.key for completion in done.completions] == expected
    assert sorted(done.plan.chunk for done in chunks) == [0, 1]


def _plan(chunk: int, prompts: int) -> ChunkPlan:
    from selm_runtime.generate.requests import PlannedResponse

    made = [Prompt(chunk * 100 + i, (i + 1,)) for i in range(prompts)]
    return ChunkPlan(
        chunk,
        tuple(PlannedResponse(p, "Current", 0, Request(f"{p.row}", p.ids, p.row)) for p in made),
        prompts,
    )


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SELM_CACHE_DIR", str(tmp_path / "cache"))
