"""The model cache: fetched once, verified, shared, evicted by size, whole after a kill at any line."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from selm_runtime.artifacts.cache import ModelCache
from selm_runtime.artifacts.file_store import FileStore
from selm_runtime.artifacts.manifest import Manifest
from support.phase_configs import phase_config
from support.phase_folders import Pod


class World:
    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.store = FileStore(tmp_path / "store")
        self.root = tmp_path / "cache"
        self.fetches = 0
        self.die_after: int | None = None

    def model(self, name: str, size: int = 1000, prefix: str = "model/") -> Manifest:
        self.pod = Pod(
            self.store,
            self.tmp_path,
            config=phase_config(phase="Training", iteration=1, run={"uid": name + prefix.strip("/").replace("/", "-")}),
        )
        contents = {f"{prefix}config.json": name.encode(), f"{prefix}w": name.encode() * size}
        return self.pod.folder.commit(self.pod.files(contents), rows=1)

    def cache(self, limit: int | None = None) -> ModelCache:
        return ModelCache(self.root, self._fetch, limit_bytes=limit)

    def fetch(self, manifest: Manifest, prefix: str = "model/", limit: int | None = None) -> Path:
        """By a process that ends at once: it holds no lock afterwards."""
        cache = self.cache(limit)
        try:
            return cache.model(manifest, prefix)
        finally:
            cache.close()

    def _fetch(self, manifest: Manifest, prefix: str, into: Path) -> Path:
        self.fetches += 1
        for entry in manifest.under(prefix):
            if self.die_after == 0:
                raise KeyboardInterrupt  # what a kill leaves: whatever was written so far
            target = into / entry.name.removeprefix(prefix)
            target.parent.mkdir(parents=True, exist_ok=True)
            for info in self.store.list():
                if info.key.endswith(entry.path) and self.store.get(info.key) and info.size == entry.size:
                    self.store.download(info.key, target)
            if self.die_after is not None:
                self.die_after -= 1
        return into

    def names(self) -> list[str]:
        return sorted(path.name for path in self.root.iterdir() if path.is_dir())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_model_is_fetched_once(world: World) -> None:
    manifest = world.model("a")
    first = world.fetch(manifest)
    assert (first / "config.json").read_bytes() == b"a"
    assert world.fetch(manifest) == first
    assert world.fetches == 1


def test_the_same_content_is_one_model_whatever_the_manifest_calls_it(world: World) -> None:
    one, two = world.model("a"), world.model("a", prefix="scorers/rm/")
    assert world.fetch(one) == world.fetch(two, "scorers/rm/")
    assert world.fetches == 1


@pytest.mark.parametrize("damage", ["changed", "shorter", "removed"])
def test_a_damaged_model_is_fetched_again(world: World, damage: str) -> None:
    manifest = world.model("a")
    path = world.fetch(manifest) / "w"
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes(b"b" * (1000 if damage == "changed" else 999))
    assert (world.fetch(manifest) / "w").read_bytes() == b"a" * 1000
    assert world.fetches == 2


def test_a_touched_file_is_read_again_and_kept_if_it_is_whole(world: World) -> None:
    manifest = world.model("a")
    path = world.fetch(manifest) / "w"
    os.utime(path, (1, 1))
    world.fetch(manifest)
    assert world.fetches == 1


@pytest.mark.parametrize("files", [0, 1])
def test_a_fetch_that_was_killed_leaves_nothing_that_looks_whole(world: World, files: int) -> None:
    manifest = world.model("a")
    world.die_after = files
    with pytest.raises(KeyboardInterrupt):
        world.fetch(manifest)
    world.die_after = None
    path = world.fetch(manifest)
    assert (path / "w").read_bytes() == b"a" * 1000
    assert world.names() == [path.name]


def test_models_that_nobody_uses_are_evicted_the_longest_unused_first(world: World) -> None:
    paths = {}
    for age, name in enumerate("abc"):
        cache = world.cache()
        paths[name] = cache.model(world.model(name))
        cache.close()
        os.utime(paths[name], (1000 + age, 1000 + age))
    cache = world.cache()
    cache.model(world.model("a"))  # used again: now b is the oldest
    cache.close()
    limit = sum(_size(path) for path in paths.values())
    world.fetch(world.model("d"), limit=limit)
    assert not paths["b"].exists()
    assert paths["a"].exists()
    assert paths["c"].exists()


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.iterdir())


def test_a_model_in_use_is_not_evicted(world: World) -> None:
    user = world.cache()
    used = user.model(world.model("a"))
    world.fetch(world.model("b"), limit=0)
    assert used.exists()
    user.close()
    world.fetch(world.model("c"), limit=0)
    assert not used.exists()


def test_what_programs_keep_outlives_them_until_its_room_is_needed(world: World) -> None:
    user = world.cache()
    kept = user.kept("vllm-1")
    (kept / "kernels").mkdir()
    world.fetch(world.model("a"), limit=0)
    assert (kept / "kernels").exists()
    user.close()
    next_pod = world.cache()
    assert next_pod.kept("vllm-1") == kept
    assert (kept / "kernels").exists()
    next_pod.close()
    world.fetch(world.model("b"), limit=0)
    assert not kept.exists()
    with pytest.raises(ValueError, match="without a dot"):
        user.kept("vllm-1.2")


def test_what_a_kill_left_incoming_is_evicted_too(world: World) -> None:
    manifest = world.model("a")
    world.die_after = 1
    with pytest.raises(KeyboardInterrupt):
        world.fetch(manifest)
    world.die_after = None
    world.fetch(world.model("b"), limit=0)
    assert [name for name in world.names() if name.endswith(".incoming")] == []


def test_a_full_disk_evicts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = world.cache()
    old = cache.model(world.model("a"))
    cache.close()
    usage = shutil.disk_usage(world.tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    world.fetch(world.model("b"))
    assert not old.exists()


def test_another_process_that_fetches_is_waited_for(world: World) -> None:
    manifest = world.model("a")
    path = world.fetch(manifest)
    shutil.rmtree(path)
    with _held_by_another_process(world.root / f"{path.name}.fetching", "EX", seconds=1.0):
        started = time.monotonic()
        world.fetch(manifest)
        assert time.monotonic() - started > 0.5


def test_who_uses_a_model_keeps_nobody_from_using_or_fetching_it(world: World) -> None:
    manifest = world.model("a")
    path = world.fetch(manifest)
    with _held_by_another_process(world.root / f"{path.name}.lock", "SH", seconds=30.0):
        assert world.fetch(manifest) == path
        shutil.rmtree(path)
        assert world.fetch(manifest) == path


@contextmanager
def _held_by_another_process(lock: Path, kind: str, seconds: float) -> Iterator[None]:
    program = (
        "import fcntl, sys, time\n"
        "held = open(sys.argv[1], 'a')\n"
        "fcntl.flock(held, getattr(fcntl, 'LOCK_' + sys.argv[2]))\n"
        "print('held', flush=True)\n"
        "time.sleep(float(sys.argv[3]))\n"
    )
    command = [sys.executable, "-c", program, str(lock), kind, str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        yield
        holder.kill()


def test_the_lock_of_a_killed_process_is_free(world: World) -> None:
    manifest = world.model("a")
    path = world.fetch(manifest)
    with (world.root / f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
    assert world.fetch(manifest) == path
