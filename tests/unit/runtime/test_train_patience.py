"""A store that is silent never lets the other ranks take rank 0 for lost: between steps nobody waits for it."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from selm_runtime.artifacts import s3_store
from selm_runtime.artifacts.file_store import FileStore
from selm_runtime.artifacts.upload import FINAL_UPLOAD_SECONDS
from selm_runtime.contract import CheckpointConfig
from selm_runtime.errors import STORE_UNAVAILABLE, TemporaryFailure
from selm_runtime.train.checkpoint import Checkpointer, Progress, asked_to_go
from selm_runtime.train.engine import Engine
from selm_runtime.train.ranks import PATIENT, PROMPT, Ranks
from selm_runtime.train.reference import ReferenceTable
from support.lone_rank import Alone
from support.phase_configs import phase_config
from support.phase_folders import Pod

CONFIG = phase_config(phase="Training", iteration=1)
LONGEST_BACKOFF_SECONDS = 20
"""Of boto3 between two attempts."""


class SilentStore(FileStore):
    """Answers no commit (a write under a condition) until it is told to."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked, self.answers = threading.Event(), threading.Event()
        self.away = False

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        self.asked.set()
        assert self.answers.wait(60)
        if self.away:
            raise TemporaryFailure(STORE_UNAVAILABLE, "the store does not answer")
        return super().put(key, data, if_absent=if_absent)


@pytest.fixture
def store(tmp_path: Path) -> SilentStore:
    return SilentStore(tmp_path / "store")


@pytest.fixture
def pod(store: SilentStore, tmp_path: Path) -> Pod:
    return Pod(store, tmp_path, writer="w0", config=CONFIG)


@pytest.fixture
def checkpointer(pod: Pod, tmp_path: Path) -> Checkpointer:
    training = CONFIG.training.model_copy(update={"checkpoint": CheckpointConfig(interval_seconds=0)})
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return Checkpointer(pod.folder, training, cast(Ranks, Alone()), scratch, pod.reporter)


def begun(checkpointer: Checkpointer, step: int) -> None:
    """A checkpoint whose upload is done and that is handed on to be committed."""
    engine = SimpleNamespace(save=lambda folder: (folder / "state").write_bytes(b"state"))
    checkpointer.begin(cast(Engine, engine), Progress(step, ReferenceTable({}), []))
    end = time.monotonic() + 30
    while not checkpointer.settle(wait=False):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_steps_go_on_while_the_commit_waits_for_the_store(
    checkpointer: Checkpointer, store: SilentStore, pod: Pod
) -> None:
    begun(checkpointer, 1)  # comes back although nothing was written
    assert store.asked.wait(30)
    assert not checkpointer.due, "no other checkpoint is begun meanwhile"
    assert not checkpointer.settle(wait=False)
    assert pod.folder.latest_checkpoint() is None
    store.answers.set()
    checkpointer.settle(wait=True)
    found = pod.folder.latest_checkpoint()
    assert found is not None
    assert found.step == 1
    assert checkpointer.due


def test_a_commit_that_fails_costs_its_checkpoint_alone(
    checkpointer: Checkpointer, store: SilentStore, pod: Pod, caplog: pytest.LogCaptureFixture
) -> None:
    store.away = True
    store.answers.set()
    begun(checkpointer, 1)
    checkpointer.settle(wait=True)
    assert "commit of the checkpoint at step 1 failed" in caplog.text
    assert checkpointer.committed == 0
    store.away = False
    begun(checkpointer, 2)
    checkpointer.settle(wait=True)
    found = pod.folder.latest_checkpoint()
    assert found is not None
    assert found.step == 2
    assert checkpointer.committed == 2


@pytest.mark.parametrize(("kept", "reached", "says"), [(4, 4, "step 4 is what"), (0, 4, "step 0 is what")])
def test_who_is_asked_to_go_names_the_checkpoint_that_there_is(kept: int, reached: int, says: str) -> None:
    words = asked_to_go(kept, reached)
    assert says in words
    assert ("did not take" in words) == (kept < reached)


def test_where_rank_0_waits_for_the_store_the_others_wait_longer() -> None:
    attempts = s3_store.MOST_ATTEMPTS
    silent = attempts * (s3_store.CONNECT_SECONDS + s3_store.READ_SECONDS) + (attempts - 1) * LONGEST_BACKOFF_SECONDS
    assert PROMPT.total_seconds() < silent, "else the commit need not be in the background"
    assert PATIENT.total_seconds() > FINAL_UPLOAD_SECONDS + silent
