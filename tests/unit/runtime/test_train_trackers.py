"""The trackers of `reportTo`: what their client libraries are asked, and what happens where one is not there."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from selm_runtime.artifacts.file_store import FileStore
from selm_runtime.contract import PhaseConfig, ReportToConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.train.trackers import ENV_WANDB_KEY, flat, openers, require_libraries
from selm_runtime.train.tracking import Tracking
from support.phase_configs import phase_config
from support.phase_folders import Pod

CONFIG = phase_config(phase="Training", iteration=1)
MLFLOW = {"mlflow": {"trackingURI": "http://mlflow:5000", "experiment": "e"}}
WANDB = {"wandb": {"project": "p"}}


def reporting_to(**trackers: object) -> PhaseConfig:
    report_to = ReportToConfig.model_validate(trackers)
    return CONFIG.model_copy(update={"training": CONFIG.training.model_copy(update={"report_to": report_to})})


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    return Pod(FileStore(tmp_path / "store"), tmp_path, writer="w1", config=CONFIG)


@pytest.mark.parametrize(("name", "settings"), [("wandb", WANDB), ("mlflow", MLFLOW)])
def test_a_tracker_whose_library_the_image_lacks_is_refused_by_its_field(
    name: str, settings: Mapping[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = reporting_to(**settings)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InvalidInput, match=rf"spec\.training\.reportTo\.{name}"):
        require_libraries(config)
    require_libraries(CONFIG)


def test_mlflow_goes_on_with_the_run_of_the_attempt_before(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    server = MlflowServer()
    monkeypatch.setitem(sys.modules, "mlflow", ModuleType("mlflow"))
    for module, names in {
        "mlflow.entities": {"Metric": lambda *values: values, "Param": lambda *values: values},
        "mlflow.tracking": {"MlflowClient": lambda tracking_uri: server},
    }.items():
        fake = ModuleType(module)
        vars(fake).update(names)
        monkeypatch.setitem(sys.modules, module, fake)
    for step, done in ((1, False), (2, True)):
        places = Tracking(openers(reporting_to(**MLFLOW), pod.folder, Path()))
        places.replay([{"loss": 0.5}] * (step - 1))
        places.log(step, {"loss": 0.5})
        places.close(done=done)
    assert server.created == 1
    assert [(name, value, step) for name, value, _, step in server.metrics] == [
        ("train/loss", 0.5, 1),
        ("train/loss", 0.5, 2),
    ]
    assert server.ends == ["KILLED", "FINISHED"]
    assert server.params["objective.type"] == "SELM"


class MlflowServer:
    """What the client is asked, by the methods of `mlflow.tracking.MlflowClient`."""

    def __init__(self) -> None:
        self.created = 0
        self.metrics: list[Any] = []
        self.ends: list[str] = []
        self.params: dict[str, str] = {}

    def get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(experiment_id="1")

    def search_runs(self, experiments: list[str], filter_string: str, max_results: int) -> list[Any]:
        assert "selm.run" in filter_string
        return [SimpleNamespace(info=SimpleNamespace(run_id="r"))] * self.created

    def create_run(self, experiment: str, tags: dict[str, str], run_name: str) -> Any:
        self.created += 1
        return SimpleNamespace(info=SimpleNamespace(run_id="r"))

    def update_run(self, run_id: str, status: str) -> None:
        assert status == "RUNNING"

    def log_batch(self, run_id: str, metrics: list[Any] | None = None, params: list[Any] | None = None) -> None:
        self.metrics += metrics or []
        self.params |= dict(params or [])

    def set_terminated(self, run_id: str, status: str) -> None:
        self.ends.append(status)


class WandbLibrary(ModuleType):
    """Of the module `wandb` what is used; a run's steps are written into its folder when it is finished."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.options: dict[str, Any] = {}
        self.steps: list[tuple[int, dict[str, float]]] = []

    @staticmethod
    def Settings(**options: Any) -> dict[str, Any]:
        return options

    def init(self, **options: Any) -> WandbLibrary:
        self.options = options
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        self.steps.append((step, values))

    def finish(self, exit_code: int) -> None:
        (Path(self.options["dir"]) / "run.wandb").write_text(str((exit_code, self.steps)))


def report_to_wandb(pod: Pod, folder: Path, monkeypatch: pytest.MonkeyPatch) -> WandbLibrary:
    """A resumed attempt that does its second step."""
    library = WandbLibrary()
    monkeypatch.setitem(sys.modules, "wandb", library)
    places = Tracking(openers(reporting_to(**WANDB), pod.folder, folder / "scratch"))
    places.replay([{"loss": 0.7}])
    places.log(2, {"loss": 0.6})
    places.close(done=True)
    return library


def test_without_a_key_a_wandb_run_is_whole_in_the_store(
    pod: Pod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ENV_WANDB_KEY, raising=False)
    library = report_to_wandb(pod, tmp_path, monkeypatch)
    assert library.options["mode"] == "offline"
    assert library.steps == [(1, {"train/loss": 0.7}), (2, {"train/loss": 0.6})]
    keys = [info.key for info in pod.folder.store.list(pod.folder.place)]
    assert keys == [f"{pod.folder.place}/pod-w1/wandb/run.wandb"]


def test_with_a_key_a_wandb_run_goes_on_at_its_server(
    pod: Pod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENV_WANDB_KEY, "k")
    library = report_to_wandb(pod, tmp_path, monkeypatch)
    assert (library.options["mode"], library.options["resume"]) == ("online", "allow")
    assert library.options["id"] == f"{CONFIG.run.uid}-iter-1"
    assert library.steps == [(2, {"train/loss": 0.6})]
    assert not list(pod.folder.store.list(pod.folder.place))


def test_groups_are_flat_for_trackers_that_know_none() -> None:
    assert flat({"a": 1, "b": {"c": {"d": 2}}}) == {"a": 1, "b.c.d": 2}
