"""Several engines in one pod: real processes with an engine that needs no model."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.contract import Phase
from selm_runtime.engine import KEPT, EngineSettings, Request
from selm_runtime.errors import InvalidInput, TemporaryFailure
from selm_runtime.generate import processes, shard
from selm_runtime.generate.processes import EngineLost, places
from selm_runtime.generate.seeds import request_seed
from selm_runtime.generate.work import response_chunks, units
from selm_runtime.generate.worker import Place
from selm_runtime.score.shard import run_shard as score
from support.fake_engine import FakeEngine, engine_in_a_process, streamed_engine_in_a_process, weights_of
from support.phase_world import PhaseWorld
from support.tiny_model import make_tiny_model, preference_rows

ROWS = 44  # six chunks
TWO = {"enginesPerPod": 2}
BOTH = {"policies": ["Current", "Reference"]}
TWO_MODELS: dict[str, Any] = {"generation": BOTH, "training": {"reference": "Initial"}}
"""From iteration 2 on the two policies are two models."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The base and a trained model."""
    root = tmp_path_factory.mktemp("models")
    return [make_tiny_model(root / f"seed-{seed}", seed=seed) for seed in (0, 1)]


@pytest.fixture(autouse=True)
def _no_vllm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, models: list[Path]) -> None:
    monkeypatch.setenv("SELM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(shard, "PROCESS_ENGINE", engine_in_a_process)
    for variable in KEPT:  # restored after the test, whoever sets them in it
        monkeypatch.setenv(variable, "elsewhere")
    base = weights_of(models[0])
    monkeypatch.setattr(shard, "start_engine", lambda *_: FakeEngine(salt=base))


def new_world(root: Path, models: list[Path], iteration: int = 1) -> PhaseWorld:
    root.mkdir()
    world = PhaseWorld(root)
    world.prepare(models[0], preference_rows(ROWS), preference_rows(3, seed=1))
    for trained in range(1, iteration):
        world.commit_model(models[1], trained)
    return world


def generate(world: PhaseWorld, iteration: int = 1, **settings: Any) -> Manifest:
    with world.context(Phase.GENERATION, iteration, **settings) as ctx:
        shard.run_shard(ctx)
        manifest = ctx.folder.committed()
    assert manifest is not None
    return manifest


def responses(world: PhaseWorld, manifest: Manifest) -> list[dict[str, Any]]:
    with world.context(manifest.phase, manifest.iteration) as ctx:
        tables = [ctx.folder.read_table(manifest, entry.name) for entry in manifest.files]
    return [row for table in tables for row in table.to_pylist()]


def calls(world: PhaseWorld) -> Counter[int]:
    return Counter(call["chunk"] for call in world.events("engine-call"))


def test_engines_share_the_chunks_and_make_the_same_phase(tmp_path: Path, models: list[Path]) -> None:
    alone, shared = new_world(tmp_path / "alone", models), new_world(tmp_path / "shared", models)
    assert generate(shared, generation=TWO).content_digest == generate(alone).content_digest
    assert calls(shared) == Counter(range(6))
    started = [event for event in shared.events("stage") if event["name"] == "engine"]
    assert {event["engine"] for event in started} <= {0, 1}  # one may be done before the other is there
    last = shared.events("progress")[-1]
    assert (last["done"], last["total"]) == (ROWS, ROWS)


def test_compiled_kernels_are_kept_in_the_nodes_cache_unless_told_otherwise(
    tmp_path: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VLLM_CACHE_ROOT")
    generate(new_world(tmp_path / "kept", models), generation=TWO)
    folder = Path(os.environ["VLLM_CACHE_ROOT"])
    assert folder.parent.parent == tmp_path / "cache"
    assert folder.parent.name.startswith("kept-vllm")
    assert os.environ["TRITON_CACHE_DIR"] == "elsewhere"


def test_engines_that_are_fed_ahead_make_every_chunk(tmp_path: Path, models: list[Path]) -> None:
    world = new_world(tmp_path / "ahead", models)
    manifest = generate(world, generation={**TWO, "reproducible": False})
    assert manifest.rows == ROWS * 2
    assert calls(world) == Counter(range(6))


def test_a_killed_engine_repeats_its_chunk_and_no_other(
    tmp_path: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = generate(new_world(tmp_path / "undisturbed", models))
    world = new_world(tmp_path / "killed", models)
    monkeypatch.setenv("SELM_PHASE_CONFIG", world.config(Phase.GENERATION, 1).model_dump_json(by_alias=True))
    monkeypatch.setenv("TEST_FAULT", "Generation:engine-chunk-done:1")
    assert generate(world, generation=TWO).content_digest == undisturbed.content_digest
    (lost,) = world.events("engine-lost")
    assert (lost["exit"], lost["chunks"]) == (-signal.SIGKILL, [0])
    assert calls(world) == Counter([0, *range(6)])


def test_a_chunk_that_kills_two_engines_ends_the_attempt(
    tmp_path: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = new_world(tmp_path / "doomed", models, iteration=2)
    monkeypatch.setenv("SELM_PHASE_CONFIG", world.config(Phase.GENERATION, 2).model_dump_json(by_alias=True))
    monkeypatch.setenv("TEST_FAULT", "Generation:engine-chunk-done:1,Generation:engine-chunk-done:2")
    with pytest.raises(EngineLost, match=r"engine process 1 ended with -9, the second to die of chunk 0"):
        generate(world, 2, **TWO_MODELS)


def test_each_engine_streams_its_model_where_that_is_asked_for(
    tmp_path: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two policies, one engine after the other: the responses are those of the cached models."""
    by_cache = generate(new_world(tmp_path / "cached", models, 2), 2, **TWO_MODELS)
    monkeypatch.setenv("SELM_CACHE_DIR", str(tmp_path / "another-cache"))
    monkeypatch.setattr(shard, "PROCESS_ENGINE", streamed_engine_in_a_process)
    world = new_world(tmp_path / "streamed", models, 2)
    settings = {**TWO_MODELS, "generation": {**BOTH, "weights": "Stream"}}
    assert generate(world, 2, **settings).content_digest == by_cache.content_digest
    assert not list((tmp_path / "another-cache").rglob("*.safetensors"))
    said = {(event["model"], event["way"]) for event in world.events("weights")}
    assert said == {("Preparation-0", "Stream"), ("Training-1", "Stream")}


def test_the_engine_of_the_pods_own_process_is_told_what_to_stream(
    tmp_path: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[EngineSettings] = []

    def start(_ctx: object, settings: EngineSettings, _eos: object) -> FakeEngine:
        told.append(settings)
        return FakeEngine()

    monkeypatch.setattr(shard, "start_engine", start)
    generate(new_world(tmp_path / "streamed", models), generation={"weights": "Stream"})
    (settings,) = told
    assert settings.streamed is not None
    streamed, _ = settings.streamed
    assert (settings.model, [file.name for file in streamed.files]) == (streamed.folder, ["model.safetensors"])


REFUSED = {
    "refused": ("refuse", InvalidInput, "engineArgs.refuse: no"),
    "is away from its weights": ("away", TemporaryFailure, "the store does not answer"),
    "crashes": (
        "crash",
        EngineLost,
        r"engine process \d ended with 1 \(OSError: no device\) before its engine was there",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_engine_that_does_not_start_ends_the_phase(case: str, tmp_path: Path, models: list[Path]) -> None:
    argument, kind, message = REFUSED[case]
    world = new_world(tmp_path / case, models)
    with pytest.raises(kind, match=message):
        generate(world, generation={**TWO, "engineArgs": {argument: True}})


def test_an_engine_that_cannot_have_its_processors_says_so(
    tmp_path: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard, "places", lambda *_, **__: [Place((100_000,), {})] * 2)
    world = new_world(tmp_path / "nowhere", models)
    with pytest.raises(EngineLost, match=r"ended with 1 \((OSError|ValueError): .*\) before its engine was there"):
        generate(world, generation=TWO)


def test_an_engine_that_is_lost_because_the_pod_ends_is_no_failure(
    tmp_path: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal may reach an engine before it is the first process's matter alone."""
    world = new_world(tmp_path / "ending", models)

    def lost(_pool: object) -> Iterator[object]:
        os.kill(os.getpid(), signal.SIGTERM)
        raise EngineLost("engine process 0 ended with -15 before its engine was there")
        yield

    monkeypatch.setattr(processes._Pool, "hear", lost)
    with pytest.raises(TemporaryFailure, match="Preempted"):
        generate(world, generation=TWO)


def test_being_asked_to_go_leaves_no_engine(
    tmp_path: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = new_world(tmp_path / "stopped", models)
    with world.context(Phase.GENERATION, 1, generation=TWO) as ctx:
        commit = ctx.folder.commit_chunk

        def commit_and_stop(chunk: int, *args: Any, **kwargs: Any) -> object:
            os.kill(os.getpid(), signal.SIGTERM)
            return commit(chunk, *args, **kwargs)

        monkeypatch.setattr(ctx.folder, "commit_chunk", commit_and_stop)
        with pytest.raises(TemporaryFailure, match="Preempted"):
            shard.run_shard(ctx)
        assert 1 <= len(ctx.folder.chunks()) < 6
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert not [pid for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
    generate(world, generation=TWO, attempt=2)


def test_each_policy_answers_with_its_own_model(tmp_path: Path, models: list[Path]) -> None:
    """In iteration 2 against the initial reference the two are two models; one engine after the other serves them."""
    world = new_world(tmp_path / "both", models, iteration=2)
    manifest = generate(world, 2, **TWO_MODELS)
    assert manifest.facts["chunks"] == 12
    rows = responses(world, manifest)
    by_policy = Counter(row["policy"] for row in rows)
    assert by_policy == {"Current": ROWS * 2, "Reference": ROWS * 2}
    trained, base = (FakeEngine(salt=weights_of(model)) for model in (models[1], models[0]))
    with world.context(Phase.GENERATION, 2) as ctx:
        seed = ctx.config.seed
    for row in rows:
        engine = trained if row["policy"] == "Current" else base
        seeds = request_seed(seed, 2, row["row"], row["policy"], row["sample"])
        assert row["response_ids"] == list(engine.answer(Request("", row["prompt_ids"], seeds)))
    served = [event["model"] for event in world.events("stage") if event["name"] == "engine"]
    assert sorted(served) == ["Preparation-0", "Training-1"]


def test_policies_of_one_model_share_its_engine(tmp_path: Path, models: list[Path]) -> None:
    """In the first iteration, and with `reference: Previous`, the reference is the policy itself: other samples of it."""
    world = new_world(tmp_path / "one", models)
    rows = responses(world, generate(world, generation=BOTH))
    assert not [event for event in world.events("stage") if "engine" in event]
    first = {row["row"]: row["response_ids"] for row in rows if (row["policy"], row["sample"]) == ("Current", 0)}
    second = {row["row"]: row["response_ids"] for row in rows if (row["policy"], row["sample"]) == ("Reference", 0)}
    assert first.keys() == second.keys()
    assert first != second


def test_scoring_takes_the_responses_of_both(tmp_path: Path, models: list[Path]) -> None:
    world = new_world(tmp_path / "scored", models)
    world.record(generate(world, generation=BOTH))
    with world.context(Phase.SCORING, 1, generation=BOTH) as ctx:
        score(ctx)
        manifest = ctx.folder.committed()
    assert manifest is not None
    pairs = responses(world, manifest)
    assert len(manifest.files) == 6
    for pair in pairs:
        sources = {candidate["source"] for candidate in pair["candidates"]}
        assert sources >= {"Current:0", "Current:1", "Reference:0", "Reference:1"}
    assert pairs


@given(st.integers(1, 3000))
def test_every_row_is_asked_of_every_policy(rows: int) -> None:
    policies = ("Current", "Reference")
    made = units(rows, policies)
    assert [unit.chunk for unit in made] == list(range(len(made)))
    ranges = len(made) // 2
    for place in range(ranges):
        both = [made[chunk] for chunk in response_chunks(place, ranges, policies)]
        assert [unit.policy for unit in both] == list(policies)
        assert both[0].rows == both[1].rows
    for policy in policies:
        assert [row for unit in made if unit.policy == policy for row in unit.rows] == list(range(rows))


def test_shards_of_two_policies_make_the_same_phase(tmp_path: Path, models: list[Path]) -> None:
    alone, sharded = new_world(tmp_path / "alone", models), new_world(tmp_path / "sharded", models)
    expected = generate(alone, generation=BOTH)
    for index in (2, 1):
        with sharded.context(Phase.GENERATION, 1, index, generation={**BOTH, "shards": 3}) as ctx:
            shard.run_shard(ctx)
            assert ctx.folder.total_chunks() == 12
    assert generate(sharded, generation={**BOTH, "shards": 3}).content_digest == expected.content_digest


def test_places_are_apart() -> None:
    gpus = [str(number) for number in range(8)]
    assert [place.variables["CUDA_VISIBLE_DEVICES"] for place in places(2, 4, gpus=gpus, cpus=[0])] == [
        "0,1,2,3",
        "4,5,6,7",
    ]
    with pytest.raises(InvalidInput, match=r"enginesPerPod: found 3, each over 4 GPUs .* at most 2"):
        places(3, 4, gpus=gpus, cpus=[0])
    assert places(1, 1, gpus=[], cpus=[0, 1]) == [Place((), {})]
    assert [place.cpus for place in places(2, 1, gpus=[], cpus=[0, 1, 2])] == [(0, 2), (1,)]
    assert [place.cpus for place in places(3, 1, gpus=[], cpus=[4, 5])] == [(4,), (5,), (4,)]
