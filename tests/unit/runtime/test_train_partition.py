"""Loading under ZeRO-3: what the ranks hold together is what one alone would hold, and as much is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM, PreTrainedModel

from selm_runtime.errors import InvalidInput
from selm_runtime.train import model as models
from selm_runtime.train.weight_files import WeightFiles
from support.train_loading import Loaded, load_on_ranks

SIZES = {
    "vocab_size": 262,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
HEAD, EMBEDDING, NORM = "lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"
Weights = dict[str, Tensor]


def llama(**more: object) -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**{**SIZES, **more}))


def mixtral() -> PreTrainedModel:
    return MixtralForCausalLM(MixtralConfig(**SIZES, num_local_experts=4))


def changed(change: Callable[[Weights], object], **more: object) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        llama(**more).save_pretrained(folder)
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    return make


def in_two_formats(weights: Weights) -> None:
    for name in weights:
        if name != NORM:
            weights[name] = weights[name].bfloat16()


FOLDERS: dict[str, Callable[[Path], None]] = {
    "plain": lambda folder: llama().save_pretrained(folder),
    "several files": lambda folder: llama().save_pretrained(folder, max_shard_size="50KB"),
    "experts that loading merges": lambda folder: mixtral().save_pretrained(folder),
    "tied": lambda folder: llama(tie_word_embeddings=True).save_pretrained(folder),
    "tied with both in the file": changed(
        lambda weights: weights.update({HEAD: weights[EMBEDDING].clone()}), tie_word_embeddings=True
    ),
    "tied by word, not by values": changed(
        lambda weights: weights.update({HEAD: weights[EMBEDDING] + 1.0}), tie_word_embeddings=True
    ),
    "two number formats": changed(in_two_formats),
    "missing": changed(lambda weights: weights.pop(NORM)),
    "superfluous": changed(lambda weights: weights.update({"model.layers.9.weight": torch.zeros(2)})),
    "of another shape": changed(lambda weights: weights.update({NORM: torch.ones(7)})),
}
REFUSED = {"missing": "missing keys", "superfluous": "unexpected keys", "of another shape": "mismatched keys"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    at = tmp_path_factory.mktemp("folders")
    found = {}
    for number, (name, make) in enumerate(FOLDERS.items()):
        torch.manual_seed(number)
        found[name] = at / str(number)
        make(found[name])
    return found


@pytest.fixture(scope="module")
def loaded(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Loaded]:
    found = load_on_ranks(list(folders.values()), tmp_path_factory.mktemp("loaded") / "found.pt")
    return dict(zip(folders, found, strict=True))


@pytest.mark.parametrize("name", [name for name in FOLDERS if name not in REFUSED])
def test_ranks_hold_together_what_one_would_hold_alone(
    name: str, folders: dict[str, Path], loaded: dict[str, Loaded]
) -> None:
    alone = models.load(folders[name], dtype=torch.float32, max_length=64)
    expected = dict(alone.named_parameters()) | dict(alone.named_buffers())
    found = loaded[name]["weights"]
    assert set(found) == set(expected)
    assert any("inv_freq" in key for key in expected)
    for key, value in expected.items():
        assert torch.equal(found[key], value), key
    whole = sum(parameter.numel() for parameter in alone.parameters())
    assert loaded[name]["parts"] == pytest.approx(whole / 2, rel=1e-3)


@pytest.mark.parametrize("name", REFUSED)
def test_as_much_is_refused(name: str, folders: dict[str, Path], loaded: dict[str, Loaded]) -> None:
    assert REFUSED[name] in loaded[name]["error"]
    with pytest.raises(InvalidInput, match=REFUSED[name]):
        models.load(folders[name], dtype=torch.float32, max_length=64)


def written(policy: models.ResponseLogProbs, into: Path) -> Path:
    into.mkdir()
    files = WeightFiles(policy.model, into)
    for key, parameter in sorted(policy.model.named_parameters()):
        files.add({key: parameter.detach()})
    files.close()
    return into


@pytest.mark.parametrize("name", ["plain", "tied"])
def test_files_are_those_of_save_pretrained(
    name: str, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selm_runtime.train.weight_files.FILE_BYTES", 30_000)
    policy = models.load(folders[name], dtype=torch.float32, max_length=64)
    ours, theirs = written(policy, tmp_path / "ours"), tmp_path / "theirs"
    parameters = sorted(policy.model.named_parameters())
    policy.causal_lm.save_pretrained(theirs, state_dict=dict(parameters), max_shard_size=30_000)
    made = sorted(path.name for path in theirs.glob("model*"))
    assert len(made) > 3
    assert sorted(path.name for path in ours.iterdir()) == made
    for file in made:
        if file.endswith(".json"):
            assert json.loads((ours / file).read_text()) == json.loads((theirs / file).read_text())
        else:
            assert (ours / file).read_bytes() == (theirs / file).read_bytes()


def test_merged_experts_leave_as_the_architecture_publishes_them(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selm_runtime.train.weight_files.FILE_BYTES", 30_000)
    folder = folders["experts that loading merges"]
    ours = written(models.load(folder, dtype=torch.float32, max_length=64), tmp_path / "ours")
    found: Weights = {}
    for file in ours.glob("*.safetensors"):
        found |= load_file(file)
    base = load_file(folder / "model.safetensors")
    assert set(found) == set(base)
    assert all(torch.equal(found[key], value) for key, value in base.items())
    index = json.loads((ours / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(value.nbytes for value in base.values())
    shutil.copyfile(folder / "config.json", ours / "config.json")
    models.load(ours, dtype=torch.float32, max_length=64)
