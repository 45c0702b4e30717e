"""The wrapper of vLLM on a real engine with a tiny model: one engine serves the whole module."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from selm_runtime.contract import Phase
from selm_runtime.contract_engine import RESERVED, describe, shipped_arguments
from selm_runtime.engine import (
    Completion,
    Engine,
    EngineSettings,
    Request,
    Sampling,
    check_context,
    check_engine_args,
    stop_token_ids,
)
from selm_runtime.errors import InvalidInput, TemporaryFailure
from selm_runtime.generate import shard
from support.engine_starts import engine_starts
from support.phase_world import PhaseWorld
from support.tiny_model import make_tiny_model, preference_rows

PROMPT_TOKENS, NEW_TOKENS = 128, 12


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def engine(model: Path) -> Iterator[Engine]:
    settings = EngineSettings(model, PROMPT_TOKENS, NEW_TOKENS, engine_args={"max_num_seqs": 48})
    with engine_starts():
        made = Engine(settings, Sampling(0.8, 1.0, NEW_TOKENS, stop_token_ids(model, 2)))
    yield made
    made.close()


def drain(engine: Engine, requests: list[Request]) -> dict[str, Completion]:
    for request in requests:
        engine.submit(request)
    done: dict[str, Completion] = {}
    while engine.unfinished:
        done |= {completion.key: completion for completion in engine.step()}
    return done


def test_token_ids_come_out_with_their_stop_token(engine: Engine) -> None:
    done = drain(engine, [Request(f"a{i}", [1, 3, 70 + i, 4], i) for i in range(32)])
    assert len(done) == 32
    for completion in done.values():
        assert 1 <= len(completion.ids) <= NEW_TOKENS
        assert (completion.finish_reason == "stop") == (completion.ids[-1] == 2)
        assert 2 not in completion.ids[:-1]
        assert completion.finish_reason == "stop" or len(completion.ids) == NEW_TOKENS


def test_seeded_prompts_that_exceed_a_steps_budget_together_are_answered(engine: Engine) -> None:
    """One step takes 4,096 tokens on a CPU; vLLM's sampler for CPUs dies of a prompt that is cut in two by that."""
    asked = [[1, *(3 + (7 * i + j) % 200 for j in range(PROMPT_TOKENS - 5))] for i in range(40)]
    done = drain(engine, [Request(f"b{i}", ids, i) for i, ids in enumerate(asked)])
    assert sorted(done) == sorted(f"b{i}" for i in range(40))


def test_the_models_folder_is_no_part_of_what_compiled_kernels_are_found_by(engine: Engine, tmp_path: Path) -> None:
    """Each iteration's model lies in another folder; vLLM's name of what it compiled covers the path that it was given."""
    from vllm.engine.arg_utils import EngineArgs

    def name(folder: Path, path: str) -> str:
        with contextlib.chdir(folder):
            return str(EngineArgs(path, skip_tokenizer_init=True).create_model_config().compute_hash())

    folders = [make_tiny_model(tmp_path / str(seed), seed=seed) for seed in (0, 1)]
    assert engine._engine.vllm_config.model_config.model == "."
    assert name(folders[0], ".") == name(folders[1], ".")
    assert name(folders[0], str(folders[0])) != name(folders[1], str(folders[1]))


def test_at_temperature_0_the_tokens_are_the_models_likeliest_whatever_the_seed(engine: Engine, model: Path) -> None:
    """The default of the API and of the published code; beside it transformers, a token at a time. The request says how it
    is drawn, not the engine.
    """
    greedy = Sampling(0.0, 1.0, NEW_TOKENS, stop_token_ids(model, 2))
    prompts = [[1, 3, *range(40 + n, 52 + 2 * n), 4] for n in range(3)]
    done = drain(engine, [Request(f"{n}:{seed}", prompts[n], seed, greedy) for n in range(3) for seed in (1, 2)])
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    for n, prompt in enumerate(prompts):
        likeliest: list[int] = []
        with torch.inference_mode():
            while len(likeliest) < NEW_TOKENS and likeliest[-1:] != [2]:
                likeliest.append(int(network(torch.tensor([[*prompt, *likeliest]])).logits[0, -1].argmax()))
        for seed in (1, 2):
            assert list(done[f"{n}:{seed}"].ids) == likeliest


def test_a_seed_decides_what_is_sampled(engine: Engine) -> None:
    requests = [Request(f"b{i}", [1, 3, 80, 4], seed) for i, seed in enumerate((5, 5, 6, 2**63 - 1))]
    engine.forget()
    once = drain(engine, requests)
    engine.forget()
    again = drain(engine, requests)
    assert once == again
    assert once["b0"].ids == once["b1"].ids != once["b2"].ids


def test_generation_survives_a_kill_at_a_chunk_boundary_token_by_token(
    engine: Engine, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three ways to the same phase: undisturbed, by two shards, and stopped after its first chunk and resumed."""
    monkeypatch.setenv("SELM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(shard, "start_engine", lambda *_: _Kept(engine))
    digests = []
    for name, shards in (("undisturbed", 1), ("sharded", 2), ("stopped", 1)):
        (tmp_path / name).mkdir()
        world = PhaseWorld(tmp_path / name, generation={"maxTokens": NEW_TOKENS, "shards": shards})
        world.prepare(model, preference_rows(20), preference_rows(2, seed=1))
        if name == "stopped":
            _stop_after_first_chunk(world, monkeypatch)
        for index in reversed(range(shards)):
            with world.context(Phase.GENERATION, 1, index) as ctx:
                shard.run_shard(ctx)
        with world.context(Phase.GENERATION, 1) as ctx:
            manifest = ctx.folder.committed()
        assert manifest is not None
        digests.append(manifest.content_digest)
        calls = sorted((call["chunk"], call["requests"]) for call in world.events("engine-call"))
        assert calls == [(0, 16), (1, 16), (2, 8)]
    assert len(set(digests)) == 1


class _Kept:
    """The shared engine, which a shard must not close."""

    def __init__(self, engine: Engine) -> None:
        self.submit, self.step, self.forget = engine.submit, engine.step, engine.forget
        self._engine = engine

    @property
    def unfinished(self) -> int:
        return self._engine.unfinished

    def close(self) -> None:
        pass


def _stop_after_first_chunk(world: PhaseWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    with world.context(Phase.GENERATION, 1) as ctx:
        commit = ctx.folder.commit_chunk

        def commit_and_stop(chunk: int, *args: object, **kwargs: object) -> object:
            done = commit(chunk, *args, **kwargs)  # type: ignore[arg-type]
            ctx.stop.request()
            return done

        monkeypatch.setattr(ctx.folder, "commit_chunk", commit_and_stop)
        with pytest.raises(TemporaryFailure):
            shard.run_shard(ctx)


def test_the_list_that_the_operator_refuses_by_is_the_installed_vllms() -> None:
    """Stale: run `make generate` and commit the result."""
    from vllm.engine.arg_utils import EngineArgs

    assert describe(EngineArgs) == shipped_arguments()
    assert RESERVED.keys() <= shipped_arguments().keys()


ARGUMENTS = {
    "an argument that vLLM does not have": (
        {"gpu_memory_utilisation": 0.9},
        r"spec\.generation\.engineArgs\.gpu_memory_utilisation: .*near to it: gpu_memory_utilization",
    ),
    "one that is decided elsewhere": (
        {"tensor_parallel_size": 2},
        r"engineArgs\.tensor_parallel_size: .*decided by spec\.generation\.tensorParallelSize",
    ),
    "an inner one": ({"_api_process_count": 2}, r"engineArgs\._api_process_count: vLLM has no such"),
    "a text for a number": (
        {"max_num_seqs": "many"},
        r"engineArgs\.max_num_seqs: found \"many\", allowed is an integer",
    ),
    "a number for a flag": ({"enforce_eager": 1}, r"engineArgs\.enforce_eager: found 1, allowed is true or false"),
    "a value of no list": ({"dtype": "float99"}, r"engineArgs\.dtype: found \"float99\", allowed is 'auto' or"),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_engine_arguments_are_refused_by_name_and_type(case: str) -> None:
    arguments, message = ARGUMENTS[case]
    check_engine_args({"max_num_seqs": 4, "gpu_memory_utilization": 1, "dtype": "float32"})
    with pytest.raises(InvalidInput, match=message):
        check_engine_args(arguments)


def test_a_value_that_vllm_refuses_is_told_with_its_field(model: Path) -> None:
    settings = EngineSettings(model, PROMPT_TOKENS, NEW_TOKENS, engine_args={"max_num_batched_tokens": 1})
    with pytest.raises(InvalidInput, match=r"refuses its arguments \(spec\.generation\.engineArgs\.max_num_batched"):
        Engine(settings, Sampling(0.0, 1.0, NEW_TOKENS, (2,)))


def test_prompt_and_response_must_fit_the_models_context(model: Path) -> None:
    check_context(EngineSettings(model, 500, 12))
    with pytest.raises(InvalidInput, match=r"maxPromptLength \(500\) and spec\.generation\.maxTokens \(13\) make 513"):
        check_context(EngineSettings(model, 500, 13))


def test_stop_tokens_are_those_of_the_generation_config_and_the_tokenizers_eos(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [7, 9]}')
    assert stop_token_ids(tmp_path, 2) == (2, 7, 9)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 7}')
    assert stop_token_ids(tmp_path, None) == (7,)
    (tmp_path / "generation_config.json").unlink()
    with pytest.raises(InvalidInput, match=r"spec\.model\.uri"):
        stop_token_ids(tmp_path, None)
