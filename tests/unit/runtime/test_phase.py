"""The life of a phase's process: what it ends with, and what it says last."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selm_runtime import faults, phase
from selm_runtime.artifacts.file_store import FileStore
from selm_runtime.contract import Phase, PhaseConfig
from selm_runtime.contract.phase_config import ADDED
from selm_runtime.errors import InvalidInput, PeerLost, TemporaryFailure
from selm_runtime.phase import PhaseContext
from support.phase_configs import phase_config
from support.phase_folders import commit_preparation

Run = Callable[[PhaseContext], None]


@pytest.mark.parametrize("compiled", [False, True])
def test_a_setting_that_came_later_reaches_a_pod_only_where_it_is_used(compiled: bool) -> None:
    """The image that a run began with refuses a setting that it does not know."""
    config = phase_config(phase="Training", iteration=1, training={"compile": compiled})
    said = json.loads(config.for_pod())
    assert ("compile" in said["training"]) == compiled
    assert PhaseConfig.model_validate(said) == config
    for group, name, unused in ADDED:
        assert PhaseConfig.model_validate(said | {group: said[group] | {name: unused}}) == phase_config(
            phase="Training", iteration=1
        )


class World:
    """A store with a Preparation, the environment of a pod, and a phase module that the test writes."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tmp_path = tmp_path
        self.monkeypatch = monkeypatch
        self.uri = f"file://{tmp_path}/store"
        self.store = FileStore(tmp_path / "store")
        self.log = tmp_path / "log"
        self.runs = 0
        monkeypatch.setenv("SELM_TERMINATION_LOG", str(self.log))
        monkeypatch.setenv("SELM_CACHE_DIR", str(tmp_path / "cache"))
        monkeypatch.setenv("SELM_TIME_SCALE", "0.01")

    def config(self, **change: Any) -> PhaseConfig:
        base = {"phase": "Generation", "iteration": 1, "artifacts": {"uri": self.uri}}
        return commit_preparation(self.store, 8, phase_config(**{**base, **change}))

    def pod(self, config: PhaseConfig, run: Run, *, writer: str = "w1", index: int = 0) -> int:
        """Run a pod of this config whose phase module is `run`; its exit code."""
        module = types.ModuleType("phase_of_the_test")

        def counted(ctx: PhaseContext) -> None:
            self.runs += 1
            run(ctx)

        module.run = counted  # type: ignore[attr-defined]
        self.monkeypatch.setitem(sys.modules, "phase_of_the_test", module)
        self.monkeypatch.setitem(phase.PHASE_MODULES, config.phase, "phase_of_the_test")
        self.monkeypatch.setenv("SELM_PHASE_CONFIG", config.model_dump_json(by_alias=True))
        self.monkeypatch.setenv("SELM_WRITER_ID", writer)
        self.monkeypatch.setenv("JOB_COMPLETION_INDEX", str(index))
        self.log.unlink(missing_ok=True)
        return phase.main(config.phase.slug)

    @property
    def said(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.log.read_text())
        return said


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def _generate(ctx: PhaseContext) -> None:
    path = ctx.scratch / "responses"
    path.write_bytes(b"sampled")
    ctx.folder.commit_chunk(0, {"responses": path}, rows=8)
    ctx.folder.compose(1)


def _raise(error: Exception) -> Run:
    def run(ctx: PhaseContext) -> None:
        raise error

    return run


ENDS: dict[str, tuple[Exception, int, str]] = {
    "input that no retry can help ends with 64": (InvalidInput("NoModel", "spec.model.uri: found none"), 64, "NoModel"),
    "a store that is away ends with 75": (TemporaryFailure("StoreUnavailable", "away"), 75, "StoreUnavailable"),
    "a lost peer ends with 76": (PeerLost("PeerLost", "rank 1 is gone"), 76, "PeerLost"),
    "anything else ends with 1 and its last words": (RuntimeError("out of memory"), 1, "Crashed"),
}


@pytest.mark.parametrize("what", ENDS)
def test_how_a_phase_ends(world: World, what: str) -> None:
    error, code, reason = ENDS[what]
    assert world.pod(world.config(), _raise(error)) == code
    assert world.said["error"]["reason"] == reason
    assert str(error).removeprefix(f"{reason}: ") in world.said["error"]["message"]


def test_a_phase_that_is_done_ends_with_0_and_its_manifest(world: World) -> None:
    assert world.pod(world.config(), _generate) == 0
    assert world.said["manifest"].startswith("sha256:")
    assert world.said["chunks"] == {"done": 1, "total": 1}


def test_a_committed_phase_is_reported_and_not_run_again(world: World) -> None:
    config = world.config()
    world.pod(config, _generate)
    said = world.said
    assert world.pod(config.model_copy(update={"attempt": 2}), _generate, writer="w2") == 0
    assert world.runs == 1
    assert world.said["manifest"] == said["manifest"]


def test_equal_work_of_another_run_is_adopted_before_the_phase_is_imported(world: World) -> None:
    world.pod(world.config(), _generate)
    other = world.config(run={"uid": "0002"})
    for index in (1, 0):
        assert world.pod(other, _generate, writer=f"w{index + 2}", index=index) == 0
        assert world.said["rows"] == 8
    assert world.runs == 1


def test_the_other_indexes_leave_the_copying_to_index_0(world: World) -> None:
    world.pod(world.config(), _generate)
    other = world.config(run={"uid": "0002"})
    world.pod(other, _generate, writer="zero", index=0)
    world.pod(other, _generate, writer="one", index=1)
    copied = [info.key for info in world.store.list("team/run-0002/") if "pod-" in info.key]
    assert [key.split("/")[4] for key in copied if "generation" in key] == ["pod-zero"]


def test_the_scratch_folder_is_gone_afterwards(world: World) -> None:
    seen: list[Path] = []

    def run(ctx: PhaseContext) -> None:
        (ctx.scratch / "x").write_text("x")
        seen.append(ctx.scratch)
        raise RuntimeError

    world.pod(world.config(), run)
    assert not seen[0].exists()


def test_sigterm_sets_the_flag_that_phases_look_at(world: World) -> None:
    def run(ctx: PhaseContext) -> None:
        assert not ctx.stop.requested
        ctx.stop.check()
        os.kill(os.getpid(), signal.SIGTERM)
        assert ctx.stop.requested
        ctx.stop.check()

    before = signal.getsignal(signal.SIGTERM)
    assert world.pod(world.config(), run) == 75
    assert world.said["error"]["reason"] == "Preempted"
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_missing_manifest_is_invalid_input(world: World) -> None:
    config = world.config(phase="Scoring", iteration=1)
    assert world.pod(config, _generate) == 64
    assert "needs Generation of iteration 1" in world.said["error"]["message"]


BAD_ENVIRONMENTS: dict[str, tuple[dict[str, str], str]] = {
    "no config": ({"SELM_PHASE_CONFIG": ""}, "SELM_PHASE_CONFIG is not set"),
    "a config that is no JSON": ({"SELM_PHASE_CONFIG": "{"}, "Invalid JSON"),
    "a config with a wrong field": ({"SELM_PHASE_CONFIG": '{"phase":"Dreaming"}'}, "phase: Input should be"),
    "an index that is no number": ({"JOB_COMPLETION_INDEX": "first"}, "JOB_COMPLETION_INDEX: found 'first'"),
    "a writer id that is a path": ({"SELM_WRITER_ID": "../x"}, "SELM_WRITER_ID: found '../x'"),
}


@pytest.mark.parametrize("what", BAD_ENVIRONMENTS)
def test_a_bad_environment_is_invalid_input(world: World, what: str) -> None:
    change, message = BAD_ENVIRONMENTS[what]
    config = world.config()
    world.monkeypatch.setenv("SELM_PHASE_CONFIG", config.model_dump_json(by_alias=True))
    world.monkeypatch.setenv("SELM_WRITER_ID", "w1")
    for name, value in change.items():
        world.monkeypatch.setenv(name, value)
    assert phase.main("generation") == 64
    assert message in world.said["error"]["message"]


def test_the_command_and_the_config_name_the_same_phase(world: World) -> None:
    world.monkeypatch.setenv("SELM_PHASE_CONFIG", world.config().model_dump_json(by_alias=True))
    assert phase.main("training") == 64
    assert "phase is Generation, the command says 'training'" in world.said["error"]["message"]


def test_the_program_itself(world: World) -> None:
    """`python -m selm_runtime`, as a process, ends at a committed phase without importing torch."""
    config = world.config()
    world.pod(config, _generate)
    world.log.unlink()
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "selm_runtime", "generation"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["selm"] == "already-committed"
    assert world.said["manifest"].startswith("sha256:")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "vllm", "transformers", "deepspeed", "datasets"}
    assert time.monotonic() - started < 60


# Faults


FAULTS: dict[str, tuple[str, dict[str, Any], bool]] = {
    # TEST_FAULT, the config's change, whether chunk-committed 2 at index 1 kills
    "the named point": ("Generation:chunk-committed:2", {}, True),
    "another count": ("Generation:chunk-committed:1", {}, False),
    "another phase": ("Scoring:chunk-committed:2", {}, False),
    "another point": ("Generation:before-commit:2", {}, False),
    "its index": ("Generation:chunk-committed:2:index=1", {}, True),
    "another index": ("Generation:chunk-committed:2:index=0", {}, False),
    "its iteration": ("Generation:chunk-committed:2:index=1:iteration=1", {}, True),
    "another iteration": ("Generation:chunk-committed:2:iteration=2", {}, False),
    "one of several": ("Training:step-done:1, Generation:chunk-committed:2", {}, True),
    "a later attempt": ("Generation:chunk-committed:2", {"attempt": 2}, False),
    "nothing": ("", {}, False),
}


@pytest.mark.parametrize("what", FAULTS)
def test_faults_kill_where_they_say(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, change, dies = FAULTS[what]
    config = phase_config(phase="Generation", iteration=1, **change)
    kills: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: kills.append(number))
    monkeypatch.setenv("TEST_FAULT", text)
    monkeypatch.setenv("SELM_PHASE_CONFIG", config.model_dump_json(by_alias=True))
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    faults.reach("chunk-committed", 2)
    assert kills == ([signal.SIGKILL] if dies else [])


@pytest.mark.parametrize("text", ["Generation", "Generation:nowhere:1", "Dreaming:step-done:1", "Training:step-done:x"])
def test_a_fault_that_cannot_be_read_is_an_error(text: str) -> None:
    with pytest.raises(InvalidInput, match="TEST_FAULT: found"):
        faults.parse(text)


def test_a_commit_reaches_its_points(world: World) -> None:
    reached: list[tuple[str, int]] = []
    world.monkeypatch.setattr(faults, "reach", lambda point, n=1: reached.append((point, n)))
    world.pod(world.config(), _generate)
    assert reached == [("chunk-committed", 1), ("before-commit", 1)]
    assert Phase.GENERATION.slug == "generation"
