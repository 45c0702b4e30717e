"""One cluster and one namespace for all end-to-end tests of a session."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.e2e_runs import long_training
from support.lab import BIN, Json, Lab
from support.tiny_model import make_prefs, make_tiny_model, make_tiny_reward_model


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    if "KUBECONFIG" in os.environ:
        lab = Lab(
            {name: value for name, value in os.environ.items() if name == "KUBECONFIG" or name.startswith("AWS_")}
        )
        lab.create_namespace()
        yield lab
        lab.remove_namespace()
        return
    state = tmp_path_factory.mktemp("selm")
    waits = os.environ.get("SELM_TIME_SCALE", "0.2")
    own = {**os.environ, "SELM_LOCAL_DIR": str(state), "OMP_NUM_THREADS": "1", "SELM_TIME_SCALE": waits}
    subprocess.run([BIN / "selm", "local", "up"], env=own, check=True, timeout=120)
    try:
        ours = {name: own[name] for name in ("SELM_LOCAL_DIR", "SELM_TIME_SCALE")}
        lab = Lab({**cluster_exports(own), **ours}, embedded_state=state)
        lab.create_namespace()
        yield lab
    finally:
        subprocess.run([BIN / "selm", "local", "down"], env=own, check=True, timeout=120)


def cluster_exports(environment: dict[str, str]) -> dict[str, str]:
    """What `selm local env` says to a shell: KUBECONFIG and the store's variables."""
    shell = 'eval "$("$0" local env)" && env -0'
    printed = subprocess.run(
        ["bash", "-c", shell, str(BIN / "selm")],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    pairs = dict(line.split("=", 1) for line in printed.split("\0") if "=" in line)
    return {name: value for name, value in pairs.items() if name == "KUBECONFIG" or name.startswith("AWS_")}


@pytest.fixture(scope="session")
def inputs(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The tiny model, a reward model and preference rows in the store; where artifacts go."""
    folder: Path = tmp_path_factory.mktemp("inputs")
    make_tiny_model(folder / "model", seed=1)
    make_tiny_reward_model(folder / "reward", seed=2)
    (folder / "data").mkdir()
    make_prefs(folder / "data" / "train.jsonl", rows=48, seed=3)
    make_prefs(folder / "data" / "test.jsonl", rows=8, seed=5)
    prefix = f"inputs/{lab.namespace}"
    uris = {name: lab.upload(folder / name, f"{prefix}/{name}") for name in ("model", "reward", "data")}
    return {**uris, "artifacts": f"s3://{lab.bucket}/artifacts"}


@pytest.fixture(scope="session")
def base(lab: Lab, inputs: dict[str, str]) -> Json:
    """A run that nothing disturbs. Others find its phases by their inputs, or must come to the same ends."""
    lab.apply(long_training("base", inputs))
    return lab.succeeded("base")
