"""Operators of a test's own, in place of the embedded cluster's: other settings, two at once, one that is away."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.lab import Lab


def skip_unless_ours(lab: Lab) -> None:
    if lab.embedded_state is None:
        pytest.skip("the operator of another cluster is not ours to stop")


@contextlib.contextmanager
def operator_away(lab: Lab) -> Iterator[None]:
    """No operator of the embedded cluster runs until the block is left."""
    assert lab.operator_environment, "others are started as it was"
    found = lab.operator_process()
    if found is not None:
        found.terminate()
        found.wait(30)
    try:
        yield
    finally:
        lab.start_cluster()


@contextlib.contextmanager
def own_operator(lab: Lab, log: Path, **environment: str) -> Iterator[psutil.Popen]:
    """An operator process started as the embedded cluster's own, with more or other variables; it ends with the block."""
    with log.open("ab") as file:
        process = psutil.Popen(
            [sys.executable, "-m", "selm_operator"],
            env={**lab.operator_environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()
            process.terminate()
        process.wait(30)
