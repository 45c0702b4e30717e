"""`selm dataset` and `selm push`, on a run whose phases are committed in a store."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from selm_cli import dataset, push
from selm_cli.errors import CliError
from selm_cli.run_state import RunState
from selm_runtime.push.oci import FILE_PATH
from selm_runtime.push.targets import LIST
from selm_runtime.tables import PAIRS
from support.fake_registry import PASSWORD, USER, fake_registry
from support.train_world import TrainWorld


class Published:
    """A run of two iterations, the first of which is trained; the candidates of its pairs have texts."""

    def __init__(self, folder: Path) -> None:
        self.world = TrainWorld(folder, pairs=6)
        for chunk in (0, 1):
            path = folder / f"pairs-{chunk}.parquet"
            pairs = pq.read_table(path).to_pylist()
            for pair in pairs:
                for candidate in pair["candidates"]:
                    candidate["text"] = f"{candidate['source']} of {pair['row']}"
            pq.write_table(pa.Table.from_pylist(pairs, PAIRS), path)
        self.config = self.world.config(iteration=2)

    def run(self, **spec: Any) -> RunState:
        phases: dict[int, list[dict[str, Any]]] = {}
        for done in self.config.committed:
            entry = {"phase": done.phase.value, "state": "Succeeded", "manifestDigest": done.manifest}
            phases.setdefault(done.iteration, []).append(entry)
        ref, uri = self.config.run, self.config.artifacts.uri
        return RunState(
            ref.namespace,
            ref.name,
            ref.uid,
            {"iterations": 2, "artifacts": {"uri": uri}, "data": {"portions": 1}, **spec},
            {"bestIteration": 1, "iterations": [{"iteration": t, "phases": of} for t, of in phases.items()]},
        )


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    return Published(tmp_path_factory.mktemp("published"))


def console() -> Console:
    return Console(file=io.StringIO())


def test_the_pairs_of_an_iteration_are_read_by_datasets(published: Published, tmp_path: Path) -> None:
    files = dataset.write(published.run(), tmp_path / "out", console(), iteration=1)
    assert [file.name for file in files] == ["iteration-1.parquet"]
    loaded = datasets.load_dataset(
        "parquet", data_files=str(files[0]), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert len(loaded) == 6
    for row in loaded:
        assert row["prompt"] == [{"role": "user", "content": f"Question {row['row']}?"}]
        assert row["chosen"] == [{"role": "assistant", "content": f"Current:0 of {row['row']}"}]
        assert row["rejected"] == [{"role": "assistant", "content": f"Current:1 of {row['row']}"}]
        assert row["explored"] == f"Current:0 of {row['row']}"
        assert (row["chosen_score"], row["rejected_score"], row["iteration"]) == (1.0, 0.0, 1)
        assert {candidate["source"] for candidate in row["candidates"]} >= {"Current:0", "Current:1"}


def test_an_offline_iteration_is_the_datas_own_pairs(published: Published, tmp_path: Path) -> None:
    run = published.run()
    offline = {"iteration": 1, "phases": [{"phase": "Scoring", "state": "Skipped"}]}
    others = [entry for entry in run.status["iterations"] if entry["iteration"] != 1]
    run = replace(run, status={**run.status, "iterations": [*others, offline]})
    (file,) = dataset.write(run, tmp_path, console(), iteration=1)
    rows = pq.read_table(file).to_pylist()
    assert len(rows) == 6
    assert all(row["explored"] is None and row["chosen_source"] == "offline:chosen" for row in rows)


def test_the_files_of_all_iterations_are_one_dataset(published: Published, tmp_path: Path) -> None:
    run = published.run()
    offline = {"iteration": 2, "phases": [{"phase": "Scoring", "state": "Skipped"}]}
    others = [entry for entry in run.status["iterations"] if entry["iteration"] != 2]
    run = replace(run, status={**run.status, "iterations": [*others, offline]})
    files = dataset.write(run, tmp_path / "out", console())
    assert [file.name for file in files] == ["iteration-1.parquet", "iteration-2.parquet"]
    loaded = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "out" / "*.parquet"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert loaded["iteration"][:] == [1] * 6 + [2] * 6
    assert [score is None for score in loaded["chosen_score"][:]] == [False] * 6 + [True] * 6
    assert pq.read_table(tmp_path / "out").num_rows == 12


def test_pairs_that_are_not_there_yet_are_told(published: Published, tmp_path: Path) -> None:
    with pytest.raises(CliError, match="iteration 5 has no pairs yet"):
        dataset.write(published.run(), tmp_path, console(), iteration=5)


def test_the_best_model_is_pushed_with_its_card_once(published: Published, tmp_path: Path) -> None:
    said = console()
    uri = f"file://{tmp_path}/pushed"
    push.push(published.run(), uri, said, which="best")
    there = {path.name for path in (tmp_path / "pushed").iterdir()}
    assert there >= {"README.md", "config.json", "model.safetensors", LIST}
    assert (tmp_path / "pushed" / "model.safetensors").read_bytes() == (
        published.world.folder / "trained" / "model.safetensors"
    ).read_bytes()
    assert "iteration 1" in (tmp_path / "pushed" / "README.md").read_text()
    assert set(json.loads((tmp_path / "pushed" / LIST).read_text())["files"]) == there - {LIST}
    push.push(published.run(), uri, said, which="final")
    assert isinstance(said.file, io.StringIO)
    first, second = said.file.getvalue().splitlines()
    assert first == f"iteration 1 pushed to {uri}"
    assert second == f"iteration 1 is already at {uri}"


def test_a_registry_is_shown_the_docker_configuration(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = console()
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with fake_registry("Basic") as registry:
        entry = {"username": USER, "password": PASSWORD}
        (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.host: entry}}))
        uri = f"oci://{registry.host}/models/tiny:v1"
        push.push(published.run(), uri, said, plain_http=True)
        manifest = json.loads(registry.manifests["models/tiny:v1"])
        weights = (published.world.folder / "trained" / "model.safetensors").read_bytes()
        assert weights in registry.blobs.values()
        assert "README.md" in {layer["annotations"][FILE_PATH] for layer in manifest["layers"]}
        (tmp_path / "config.json").unlink()
        with pytest.raises(CliError, match="does not let whoever shows no credentials push"):
            push.push(published.run(), uri, said, plain_http=True)
    assert isinstance(said.file, io.StringIO)
    assert said.file.getvalue().startswith(f"iteration 1 pushed to {uri} at sha256:")


def test_what_cannot_be_pushed_is_told(published: Published, tmp_path: Path) -> None:
    run = published.run()
    with pytest.raises(CliError, match=r"URI: found 'oci://registry\.example', allowed is oci://"):
        push.push(run, "oci://registry.example", console())
    with pytest.raises(CliError, match="no iteration was better than the base"):
        push.push(replace(run, status={**run.status, "bestIteration": 0}), f"file://{tmp_path}", console())
    with pytest.raises(CliError, match="has no trained model yet"):
        push.push(replace(run, status={}), f"file://{tmp_path}", console())
