"""What the tests of training in one process and by ranks share; a module of tests has each once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # heavy libraries are imported once a test asks for them
    from support.train_world import TrainWorld


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny model."""
    from support.tiny_model import make_tiny_model

    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> TrainWorld:
    """The store of a module's trainings."""
    from support.train_world import TrainWorld

    return TrainWorld(tmp_path_factory.mktemp("world"))
