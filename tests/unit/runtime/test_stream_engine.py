"""vLLM on weights that it reads from S3: the tokens of the folder's, or no engine at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from selm_runtime.contract import Phase
from support.moto_s3 import REGION, S3Server, s3_server
from support.phase_world import PhaseWorld
from support.stream_engines import PART_BYTES, PROMPTS, Ask, engine_process
from support.tiny_model import make_tiny_model, preference_rows

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

BUCKET = "selm"
SHARDED, OWN_HEAD, LACKING = ("Preparation", 0), ("Training", 1), ("Training", 2)


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        boto3.client("s3", endpoint_url=running.endpoint, region_name=REGION).create_bucket(Bucket=BUCKET)
        yield running


@pytest.fixture(scope="module")
def world(server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> PhaseWorld:
    root = tmp_path_factory.mktemp("world")
    store = {"uri": f"s3://{BUCKET}/runs", "endpoint": server.endpoint, "region": REGION, "reuse": "None"}
    made = PhaseWorld(root, artifacts=store, generation={"temperature": 0.0, "maxTokens": 8, "samplesPerPrompt": 1})
    made.prepare(sharded(root / "sharded"), preference_rows(8), preference_rows(2, seed=1))
    made.commit_model(with_a_head_of_its_own(root / "own-head"), 1)
    made.commit_model(lacking_a_weight(root / "lacking"), 2)
    return made


def sharded(folder: Path) -> Path:
    """bf16, several files with an index, the head tied to the embeddings."""
    make_tiny_model(folder)
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    network.config.tie_word_embeddings = True
    network.tie_weights()
    (folder / "model.safetensors").unlink()
    network.save_pretrained(folder, max_shard_size="60KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    assert not any("lm_head" in name for name in json.loads((folder / "model.safetensors.index.json").read_text()))
    return folder


def with_a_head_of_its_own(folder: Path) -> Path:
    """config.json says that the head is tied, the file has another one: vLLM looks into the file before it believes."""
    make_tiny_model(folder, seed=1)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    assert "lm_head.weight" in load_file(folder / "model.safetensors")
    return folder


def lacking_a_weight(folder: Path) -> Path:
    make_tiny_model(folder, seed=2)
    held = load_file(folder / "model.safetensors")
    del held["model.layers.1.input_layernorm.weight"]
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def ask(server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    with engine_process(tmp_path_factory.mktemp("log") / "log") as asking:
        yield asking


@pytest.fixture
def answer(ask: Ask, world: PhaseWorld, tmp_path: Path) -> Any:
    """What an engine makes of a model that came one way or the other, from a cold cache."""

    def of(model: tuple[str, int], weights: str) -> dict[str, Any]:
        cache = tmp_path / weights
        shutil.rmtree(cache, ignore_errors=True)
        config = world.config(Phase.GENERATION, 3, generation={"weights": weights})
        found = ask(config.model_dump_json(by_alias=True), model, cache)
        assert bool(list(cache.rglob("*.safetensors"))) == (weights == "Cache")
        return found

    return of


@pytest.mark.parametrize("model", [SHARDED, OWN_HEAD])
def test_the_tokens_are_the_folders(model: tuple[str, int], answer: Any) -> None:
    """Also of two models one after the other in one process, whose heads are tied and are not."""
    by_folder, by_stream = answer(model, "Cache"), answer(model, "Stream")
    assert not by_folder["failure"]
    assert len(by_folder["tokens"]) == 3
    assert {key: by_stream[key] for key in ("tokens", "failure")} == {
        key: by_folder[key] for key in ("tokens", "failure")
    }
    (said,) = by_stream["weights"]
    assert said["way"] == "Stream"
    assert said["bytes"] > 3 * PART_BYTES


def test_a_head_of_its_own_is_used_whatever_was_loaded_before(answer: Any, world: PhaseWorld) -> None:
    """vLLM remembers by the model's path, the same for all of ours, that the first one's head was tied."""
    answer(SHARDED, "Stream")
    network = AutoModelForCausalLM.from_pretrained(
        world.root / "own-head", dtype=torch.float32, tie_word_embeddings=False
    ).eval()
    tokens = answer(OWN_HEAD, "Stream")["tokens"]
    for number, prompt in enumerate(PROMPTS):
        likeliest: list[int] = []
        with torch.inference_mode():
            while len(likeliest) < 8 and likeliest[-1:] != [2]:
                likeliest.append(int(network(torch.tensor([[*prompt, *likeliest]])).logits[0, -1].argmax()))
        assert tokens[str(number)] == likeliest


def test_a_store_that_hiccups_is_borne(answer: Any, server: S3Server) -> None:
    undisturbed = answer(SHARDED, "Stream")
    assert not undisturbed["failure"]
    server.faults.only = ".safetensors"
    server.faults.away, server.faults.break_every = 2, 3
    disturbed = answer(SHARDED, "Stream")
    server.faults.break_every = 0
    assert server.faults.away == 0
    assert server.faults.broken > 4  # more than headers are read
    assert disturbed == undisturbed


def test_a_weight_that_is_missing_fails_as_it_does_with_files(answer: Any) -> None:
    by_folder, by_stream = answer(LACKING, "Cache"), answer(LACKING, "Stream")
    assert "layers.1.input_layernorm.weight" in by_folder["failure"][2]
    assert by_stream["failure"] == by_folder["failure"]


@pytest.mark.parametrize("case", ["a changed byte", "a byte less"])
def test_a_damaged_object_makes_no_engine(case: str, answer: Any, world: PhaseWorld, server: S3Server) -> None:
    with world.context(Phase.GENERATION, 3) as ctx:
        manifest = ctx.folder.manifest(Phase.PREPARATION, 0)
        entry = [entry for entry in manifest.under("model/") if entry.name.endswith(".safetensors")][1]
        key = f"default/tiny-u1/iter-0/preparation/{entry.path}"
        whole = ctx.store.get(key)
        spoiled = whole[:-1] if case == "a byte less" else whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:]
        ctx.store.put(key, spoiled)
        try:
            kind, reason, message = answer(SHARDED, "Stream")["failure"]
        finally:
            ctx.store.put(key, whole)
    assert (kind, reason) == ("InvalidInput", "CorruptArtifact")
    assert message.startswith(entry.name.removeprefix("model/"))
    told = f"has {len(whole) - 1} bytes" if case == "a byte less" else "has SHA-256"
    assert told in message
