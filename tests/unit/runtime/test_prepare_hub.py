"""Models and data from a hub, by its own client libraries, in a process of its own (they read HF_ENDPOINT once)."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.fake_hub import COMMIT, Hub, fake_hub
from support.phase_configs import phase_config
from support.tiny_model import make_tiny_model, preference_rows

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    model = make_tiny_model(tmp_path_factory.mktemp("hub") / "model")
    tables = {"train_prefs": preference_rows(40), "test_prefs": preference_rows(20, seed=7)}
    repositories = {
        "models/own/tiny": {path.name: path.read_bytes() for path in model.iterdir()}
        | {"pytorch_model.bin": b"pickle"},
        "models/own/gated": {},
        "datasets/own/prefs": {f"data/{name}-00000-of-00001.parquet": _parquet(rows) for name, rows in tables.items()},
    }
    with fake_hub(repositories) as running:
        running.gated.add("own/gated")
        yield running


def _parquet(rows: list[dict[str, object]]) -> bytes:
    table = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), table)
    return table.getvalue()


class Pod:
    def __init__(self, tmp_path: Path, hub: Hub) -> None:
        self.tmp_path = tmp_path
        self.hub = hub

    def prepare(self, **change: Any) -> tuple[int, dict[str, Any]]:
        """Exit code and termination message of `python -m selm_runtime preparation`."""
        config = phase_config(
            **{
                "artifacts": {"uri": f"file://{self.tmp_path}/store"},
                "model": {"uri": "hf://own/tiny"},
                "data": {
                    "uri": "hf://own/prefs",
                    "split": "train_prefs",
                    "heldOut": {"split": "test_prefs", "limit": 9},
                },
                **change,
            }
        )
        log = self.tmp_path / "log"
        log.unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "selm_runtime", "preparation"],
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
                "HF_ENDPOINT": self.hub.endpoint,
                "HF_HOME": str(self.tmp_path / "hf"),
                "SELM_PHASE_CONFIG": config.model_dump_json(by_alias=True),
                "SELM_WRITER_ID": f"w{config.run.uid}",
                "SELM_TERMINATION_LOG": str(log),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert log.exists(), done.stderr
        return done.returncode, json.loads(log.read_text())

    def facts(self, digest: str, uid: str = "0001") -> dict[str, Any]:
        folder = self.tmp_path / "store" / "team" / f"run-{uid}" / "iter-0" / "preparation" / "manifests"
        manifest = json.loads((folder / f"{digest.removeprefix('sha256:')}.json").read_text())
        facts: dict[str, Any] = manifest["facts"]
        return {**facts, "files": [entry["name"] for entry in manifest["files"]]}


@pytest.fixture
def pod(tmp_path: Path, hub: Hub) -> Pod:
    return Pod(tmp_path, hub)


def test_model_and_data_are_pinned_and_imported_once(pod: Pod, hub: Hub) -> None:
    code, said = pod.prepare()
    assert (code, said.get("error")) == (0, None)
    facts = pod.facts(said["manifest"])
    assert facts["model"] | {"contentDigest": ""} == {
        "uri": "hf://own/tiny",
        "revision": "main",
        "pinned": COMMIT,
        "contentDigest": "",
    }
    assert facts["data"]["pinned"] == COMMIT
    assert (facts["portions"], facts["heldOutRows"], facts["data"]["format"]) == ([20, 20], 9, "UltraFeedback")
    assert "model/model.safetensors" in facts["files"]
    assert not any("pytorch_model" in request for request in hub.requests)
    hub.requests.clear()
    code, said = pod.prepare(run={"namespace": "team", "name": "run", "uid": "0002"})
    assert code == 0
    assert not any("model.safetensors" in request for request in hub.requests)
    assert pod.facts(said["manifest"], "0002")["model"]["pinned"] == COMMIT


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a model that is not there": (
        {"model": {"uri": "hf://own/none"}},
        "spec.model.uri: hf://own/none is not on the hub",
    ),
    "a revision that is not there": (
        {"model": {"uri": "hf://own/tiny", "revision": "v9"}},
        "spec.model.revision: found 'v9', allowed is a branch, tag or commit of hf://own/tiny",
    ),
    "a gated model": ({"model": {"uri": "hf://own/gated"}}, "spec.model.tokenSecretRef"),
    "data that is not there": (
        {"data": {"uri": "hf://own/none", "portions": 1}},
        "spec.data.uri: hf://own/none is not on the hub",
    ),
    "a split that is not there": (
        {"data": {"uri": "hf://own/prefs", "split": "train", "portions": 1}},
        "spec.data.split: found 'train', allowed at hf://own/prefs are",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(pod: Pod, what: str) -> None:
    change, message = REFUSED[what]
    code, said = pod.prepare(**change)
    assert code == 64, said
    assert message in said["error"]["message"]


def test_a_hub_that_is_away_is_temporary(pod: Pod) -> None:
    pod.hub = Hub({}, "http://127.0.0.1:9")
    code, said = pod.prepare()
    assert code == 75, said
    assert said["error"]["reason"] == "HubUnavailable"
