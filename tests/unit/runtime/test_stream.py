"""Weights that are read from the store in parts: what is read, what is held in memory, and what is refused."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file, save, save_file

from selm_runtime.artifacts import stream
from selm_runtime.artifacts.manifest import FileEntry, Manifest
from selm_runtime.artifacts.reader import RunReader
from selm_runtime.artifacts.store import Corrupt
from selm_runtime.artifacts.stream import INDEX, Streamed, StreamedFile, damage_of, open_stream, read_weights
from selm_runtime.artifacts.tensors import ITEM_BYTES, BadHeader, UnknownType, header_end, tensor_places
from selm_runtime.contract import GenerationConfig, Phase, RunRef
from selm_runtime.errors import InvalidInput, TemporaryFailure
from selm_runtime.generate.weights import local_model, why_not_streamed
from support.memory_store import MemoryStore
from support.phase_world import PhaseWorld
from support.tiny_model import make_tiny_model, preference_rows

PART = 1000
AHEAD = 3


class CountingStore(MemoryStore):
    """Remembers which ranges were asked for; `spoil` may change what is answered, by the number of the read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[tuple[str, int, int]] = []
        self.spoiled: dict[int, Any] = {}
        self._counting = threading.Lock()

    def read(self, key: str, start: int, size: int) -> bytearray:
        with self._counting:
            number = len(self.reads)
            self.reads.append((key, start, size))
        found = super().read(key, start, size)
        return self.spoiled[number](found) if number in self.spoiled else found


def stored(store: MemoryStore, name: str, data: bytes) -> StreamedFile:
    store.objects[name] = data
    return StreamedFile(name, name, len(data), hashlib.sha256(data).hexdigest())


def tensors(*sizes: int) -> dict[str, torch.Tensor]:
    return {f"t{i}": torch.randn(size, generator=torch.Generator().manual_seed(i)) for i, size in enumerate(sizes)}


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


# The header


def test_a_header_says_what_safetensors_reads(tmp_path: Path) -> None:
    held = {
        "b": torch.arange(6, dtype=torch.int64).reshape(2, 3),
        "a": torch.zeros(5, dtype=torch.bfloat16),
        "none": torch.zeros(0, 4),
        "one": torch.tensor(True),
    }
    save_file(held, tmp_path / "x", metadata={"format": "pt"})
    data = (tmp_path / "x").read_bytes()
    places = tensor_places(data, len(data))
    assert {place.name: place.shape for place in places} == {name: tuple(it.shape) for name, it in held.items()}
    at = header_end(data, len(data))
    for place in places:
        own = held[place.name].contiguous().view(-1)
        assert data[at : at + place.size] == bytes(own.view(torch.uint8).numpy().tobytes() if place.size else b"")
        at += place.size


def test_every_type_that_torch_has_for_safetensors_is_known() -> None:
    from safetensors.torch import _TYPES

    assert {name: ITEM_BYTES[name] for name in _TYPES} == {name: dtype.itemsize for name, dtype in _TYPES.items()}


def _header(described: object, tail: int = 8) -> bytes:
    text = json.dumps(described).encode()
    return len(text).to_bytes(8, "little") + text + bytes(tail)


BAD = {
    "nothing": b"",
    "a header longer than the file": (200).to_bytes(8, "little") + bytes(20),
    "no JSON": (4).to_bytes(8, "little") + b"nope" + bytes(8),
    "a list": _header([1]),
    "no place": _header({"t": {"dtype": "F32", "shape": [2]}}),
    "a gap": _header({"t": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}),
    "an overlap": _header(
        {
            "t": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
            "u": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
        }
    ),
    "bytes behind the last": _header({"t": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}),
    "more than the file": _header({"t": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}),
    "another size than its shape": _header({"t": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}),
    "a negative shape": _header({"t": {"dtype": "F32", "shape": [-1, -2], "data_offsets": [0, 8]}}),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_header_is_refused(case: str) -> None:
    with pytest.raises(BadHeader):
        tensor_places(BAD[case], len(BAD[case]))


@given(st.binary(max_size=200))
def test_no_bytes_make_anything_but_places_or_a_refusal(data: bytes) -> None:
    with contextlib.suppress(BadHeader):
        assert sum(place.size for place in tensor_places(data, len(data))) < len(data)


@given(st.integers(0, 400), st.integers(0, 255))
def test_no_changed_byte_of_a_header_makes_anything_else(at: int, value: int) -> None:
    data = bytearray(save(tensors(3, 2)))
    data[at % header_end(data, len(data))] = value
    with contextlib.suppress(BadHeader, UnknownType):
        assert sum(place.size for place in tensor_places(data, len(data))) <= len(data)


# Reading


def read_all(store: MemoryStore, files: list[StreamedFile]) -> list[bytes]:
    return [b"".join(parts) for _, parts in read_weights(store, files, part_bytes=PART, ahead=AHEAD)]


def test_files_come_whole_and_in_order_whatever_the_parts(store: CountingStore) -> None:
    data = [bytes([n]) * size for n, size in enumerate((1, PART - 1, PART, PART + 1, 5 * PART, 3))]
    files = [stored(store, f"f{n}", it) for n, it in enumerate(data)]
    assert read_all(store, files) == data
    assert sum(size for _, _, size in store.reads) == sum(map(len, data))


def test_no_more_parts_are_under_way_than_are_allowed(store: CountingStore) -> None:
    """A reader that takes its time: what was asked of the store and is not taken yet stays bounded."""
    files = [stored(store, f"f{n}", bytes(20 * PART)) for n in range(2)]
    taken = most = 0
    for _, parts in read_weights(store, files, part_bytes=PART, ahead=AHEAD):
        for part in parts:
            most = max(most, sum(size for _, _, size in store.reads) - taken)
            taken += len(part)
    assert AHEAD * PART <= most <= (AHEAD + 1) * PART
    assert taken == 40 * PART


def test_a_reader_that_gives_up_leaves_no_read_behind(store: CountingStore) -> None:
    before = threading.active_count()
    for _, parts in read_weights(store, [stored(store, "f", bytes(50 * PART))], part_bytes=PART, ahead=AHEAD):
        next(parts)
        break
    assert threading.active_count() == before
    assert len(store.reads) <= AHEAD + 1


def test_a_changed_byte_is_told_with_the_file(store: CountingStore) -> None:
    data = save(tensors(1000, 10))
    good, bad = stored(store, "good", data), stored(store, "bad", data)
    store.objects["bad"] = data[:-3] + b"\xff" + data[-2:]
    with pytest.raises(Corrupt, match="memory://store/bad has SHA-256"):
        read_all(store, [good, bad])
    found = damage_of(store, bad, Corrupt("x"))
    assert isinstance(found, InvalidInput)
    assert "bad: memory://store/bad has SHA-256" in found.message


def test_what_another_look_finds_whole_was_damaged_on_its_way(store: CountingStore) -> None:
    file = stored(store, "f", save(tensors(1000)))
    store.spoiled[1] = lambda found: bytearray(len(found))
    with pytest.raises(Corrupt):
        read_all(store, [file])
    found = damage_of(store, file, Corrupt("f has SHA-256 0"))
    assert isinstance(found, TemporaryFailure)
    assert found.reason == "DamagedOnTheWay"


def test_an_object_that_ends_early_is_told_with_its_sizes(store: CountingStore) -> None:
    file = stored(store, "f", bytes(5 * PART))
    store.objects["f"] = bytes(2 * PART + 7)
    with pytest.raises(Corrupt, match=f"has {2 * PART + 7} bytes, its manifest says {5 * PART}"):
        read_all(store, [file])


def test_an_object_that_is_gone_is_told(store: CountingStore) -> None:
    file = stored(store, "f", bytes(5 * PART))
    del store.objects["f"]
    with pytest.raises(InvalidInput, match="f was committed, but is not at memory://store/f any more"):
        read_all(store, [file])


# The folder


def opened(store: MemoryStore, folder: Path, files: dict[str, bytes]) -> Streamed:
    run = RunRef(namespace="n", name="r", uid="u")
    entries = []
    for name, data in files.items():
        store.objects[f"n/r-u/iter-1/training/pod/{name}"] = data
        sha256 = hashlib.sha256(data).hexdigest()
        entries.append(FileEntry(name=f"model/{name}", path=f"pod/{name}", size=len(data), sha256=sha256))
    digest = f"sha256:{'0' * 64}"
    manifest = Manifest(
        phase=Phase.TRAINING, iteration=1, input_digest=digest, content_digest=digest, rows=0, files=tuple(entries)
    )
    return open_stream(RunReader(store, run), manifest, folder)


def test_the_folder_has_all_but_the_tensors(store: CountingStore, tmp_path: Path) -> None:
    data = save(tensors(1000))
    found = opened(store, tmp_path / "m", {"config.json": b"{}", "model.safetensors": data})
    assert (tmp_path / "m/config.json").read_bytes() == b"{}"
    left = (tmp_path / "m/model.safetensors").read_bytes()
    assert data.startswith(left)
    assert len(left) == len(data) - 4000
    assert [file.name for file in found.files] == ["model.safetensors"]
    with pytest.raises(SafetensorError):
        load_file(tmp_path / "m/model.safetensors")  # nobody takes it for the model


def test_an_index_says_which_files_are_read(store: CountingStore, tmp_path: Path) -> None:
    index = json.dumps({"weight_map": {"a": "x-2.safetensors", "b": "x-1.safetensors"}}).encode()
    weights = {f"x-{n}.safetensors": save(tensors(n)) for n in (1, 2)}
    found = opened(store, tmp_path / "m", {INDEX: index, "consolidated.safetensors": save(tensors(3)), **weights})
    assert [file.name for file in found.files] == ["x-1.safetensors", "x-2.safetensors"]
    with pytest.raises(InvalidInput, match=r"names x-2\.safetensors, which is not in the manifest"):
        opened(store, tmp_path / "other", {INDEX: index, "x-1.safetensors": save(tensors(1))})


def test_a_header_longer_than_the_first_look_is_read_whole(
    store: CountingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_FIRST_BYTES", 30)
    data = save(tensors(*range(1, 40)))
    opened(store, tmp_path / "m", {"config.json": b"{}", "model.safetensors": data})
    left = (tmp_path / "m/model.safetensors").read_bytes()
    assert left == data[: header_end(data, len(data))]


@pytest.mark.parametrize("case", ["another size", "no header", "gone"])
def test_a_folder_is_refused_where_the_object_is_not_what_was_committed(
    case: str, store: CountingStore, tmp_path: Path
) -> None:
    data = save(tensors(100))
    files = {"config.json": b"{}", "model.safetensors": data}
    opened(store, tmp_path / "before", files)
    key = "n/r-u/iter-1/training/pod/model.safetensors"
    words = {
        "another size": rf"model\.safetensors: memory://\S+ has {len(data) - 1} bytes, its manifest says {len(data)}",
        "no header": r"model\.safetensors: memory://\S+ is no whole safetensors file: a file of",
        "gone": r"model/model\.safetensors was committed|model\.safetensors was committed, but is not at",
    }[case]

    class Later(CountingStore):
        def stat(self, asked: str) -> Any:
            if asked == key:
                self.objects[key] = {"another size": data[:-1], "no header": b"\xff" * len(data)}.get(case, b"")
                if case == "gone":
                    del self.objects[key]
            return super().stat(asked)

    with pytest.raises(InvalidInput, match=words):
        opened(Later(), tmp_path / "after", files)


# Which way


@pytest.mark.parametrize(
    ("generation", "environment", "words"),
    [
        ({}, {}, None),
        ({"engineArgs": {"max_num_seqs": 4}}, {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}, None),
        ({"tensorParallelSize": 2}, {}, "each of the pod's engine processes"),
        ({"enginesPerPod": 2}, {}, "each of the pod's engine processes"),
        ({"engineArgs": {"load_format": "runai_streamer"}}, {}, "engineArgs.load_format is set"),
        ({"engineArgs": {"speculative_config": {}}}, {}, "engineArgs.speculative_config is set"),
        ({"engineArgs": {"quantization": "torchao"}}, {}, "torchao"),
        ({}, {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}, "another process"),
    ],
)
def test_what_stands_against_streaming(
    generation: dict[str, Any], environment: dict[str, str], words: str | None
) -> None:
    base = {"temperature": 0.0, "topP": 1.0, "maxTokens": 4, "samplesPerPrompt": 1, "weights": "Stream"}
    found = why_not_streamed(GenerationConfig.model_validate({**base, **generation}), environment)
    assert found is None if words is None else words in (found or "")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PhaseWorld]:
    monkeypatch.setenv("SELM_CACHE_DIR", str(tmp_path / "cache"))
    made = PhaseWorld(tmp_path, generation={"weights": "Stream"})
    made.prepare(make_tiny_model(tmp_path / "model"), preference_rows(8), preference_rows(2, seed=1))
    return made


def test_the_cache_is_taken_where_it_holds_the_model(world: PhaseWorld, tmp_path: Path) -> None:
    with world.context(Phase.GENERATION, 1) as ctx:
        manifest = ctx.folder.manifest(Phase.PREPARATION, 0)
        first = local_model(ctx, manifest)
        assert first.streamed is not None
        assert not list((tmp_path / "cache").rglob("*.safetensors"))
        whole = ctx.cache.model(manifest)
        second = local_model(ctx, manifest)
    assert (second.folder, second.streamed) == (whole, None)
    said = [(event["way"], event.get("because")) for event in world.events("weights")]
    assert said == [("Stream", None), ("Cache", "the node's cache holds it")]


def test_a_cached_model_that_is_damaged_is_not_taken_for_held(world: PhaseWorld, tmp_path: Path) -> None:
    with world.context(Phase.GENERATION, 1) as ctx:
        manifest = ctx.folder.manifest(Phase.PREPARATION, 0)
        with (ctx.cache.model(manifest) / "model.safetensors").open("r+b") as file:
            file.seek(500)
            file.write(b"\xff\xfe\xfd")
    with world.context(Phase.GENERATION, 1) as ctx:
        assert local_model(ctx, manifest).streamed is not None
        assert ctx.cache.model(manifest).is_dir()  # nothing that was looked at stands in a fetch's way
    assert not list(tmp_path.rglob("*.incoming"))


def test_what_cannot_be_streamed_comes_through_the_cache(world: PhaseWorld) -> None:
    with world.context(Phase.GENERATION, 1, generation={"enginesPerPod": 2}) as ctx:
        assert local_model(ctx, ctx.folder.manifest(Phase.PREPARATION, 0)).streamed is None
    (said,) = world.events("weights")
    assert said["because"].startswith("each of the pod's engine processes")


def test_without_being_asked_nothing_is_said(world: PhaseWorld) -> None:
    with world.context(Phase.GENERATION, 1, generation={"weights": "Cache"}) as ctx:
        assert local_model(ctx, ctx.folder.manifest(Phase.PREPARATION, 0)).streamed is None
    assert not world.events("weights")
