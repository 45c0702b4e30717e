"""The experiment trackers of `spec.training.reportTo`: Weights & Biases and MLflow, by their own client libraries.

The libraries are optional (the extra `trackers`); keys come by the environment, as each library reads them itself. A
training is one run of the tracker: an attempt goes on with the run of the one before it.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from selm_runtime.artifacts.commit import PhaseFolder
from selm_runtime.artifacts.upload import files_below
from selm_runtime.contract import MlflowConfig, PhaseConfig, WandbConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.train.tracking import Tracker

WANDB, MLFLOW = "wandb", "mlflow"
ENV_WANDB_KEY = "WANDB_API_KEY"
"""Set by the operator from the Secret that the spec names, or by a pod template. Absent: runs are written offline."""
WANDB_FOLDER = "wandb"
"""Below the pod's folder in the store: an offline run, for `wandb sync`."""
RUN_TAG = "selm.run"
"""MLflow's tag that finds the run again."""


def require_libraries(config: PhaseConfig) -> None:
    """Raise InvalidInput (`TrackerMissing`) before a rank is started, where the image lacks what the spec asks for."""
    for name in _asked_for(config):
        if not _is_there(name):
            raise InvalidInput(
                "TrackerMissing",
                f"spec.training.reportTo.{name}: the image has no Python package {name!r}; an image with it is needed "
                "(pip install 'selm-operator[trackers]'), or the field left out",
            )


def openers(config: PhaseConfig, folder: PhaseFolder, scratch: Path) -> list[Callable[[], Tracker]]:
    """One function a tracker that the spec asks for; each connects when it is called, and raises what its library does."""
    report_to = config.training.report_to
    found: list[Callable[[], Tracker]] = []
    if report_to is not None and report_to.wandb is not None:
        found.append(partial(Wandb, config, report_to.wandb, folder, scratch))
    if report_to is not None and report_to.mlflow is not None:
        found.append(partial(Mlflow, config, report_to.mlflow))
    return found


def identity(config: PhaseConfig) -> str:
    """Of a training over its attempts: letters, digits and dashes."""
    return f"{config.run.uid}-iter-{config.iteration}"


def hyperparameters(config: PhaseConfig) -> dict[str, Any]:
    """What the trackers show as the run's configuration."""
    training = config.training.model_dump(mode="json", by_alias=True, exclude={"report_to", "rendezvous"})
    return {
        "namespace": config.run.namespace,
        "run": config.run.name,
        "iteration": config.iteration,
        **training,
    }


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested groups as `group.name`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


class Wandb:
    """A run of a Weights & Biases project; without a key it is written offline and brought to the store."""

    def __init__(self, config: PhaseConfig, settings: WandbConfig, folder: PhaseFolder, scratch: Path) -> None:
        import wandb

        self._folder = folder
        self._offline = not os.environ.get(ENV_WANDB_KEY)
        self._place = scratch / WANDB_FOLDER
        self._place.mkdir(parents=True, exist_ok=True)
        options = {} if settings.base_url is None else {"base_url": settings.base_url}
        self._run: Any = wandb.init(
            project=settings.project,
            entity=settings.entity,
            id=identity(config),
            name=f"{config.run.name} iteration {config.iteration}",
            group=f"{config.run.namespace}/{config.run.name}",
            mode="offline" if self._offline else "online",
            resume=None if self._offline else "allow",
            dir=str(self._place),
            config=hyperparameters(config),
            settings=wandb.Settings(silent=True, console="off", **options),
        )

    @property
    def begins_empty(self) -> bool:
        return self._offline

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({f"train/{name}": value for name, value in values.items()}, step=step)

    def close(self, *, done: bool) -> None:
        self._run.finish(exit_code=0 if done else 1)
        if self._offline:
            for name, path in sorted(files_below(self._place, "").items()):
                self._folder.store.upload(path, f"{self._folder.place}/{self._folder.within}/{WANDB_FOLDER}/{name}")


class Mlflow:
    """A run of an MLflow experiment; user and token are read from MLFLOW_TRACKING_USERNAME, _PASSWORD and _TOKEN."""

    def __init__(self, config: PhaseConfig, settings: MlflowConfig) -> None:
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient

        self._metric = Metric
        self._client: Any = MlflowClient(tracking_uri=settings.tracking_uri)
        experiment = self._client.get_experiment_by_name(settings.experiment)
        experiment_id = experiment.experiment_id if experiment else self._client.create_experiment(settings.experiment)
        earlier = self._client.search_runs(
            [experiment_id],
            filter_string=f"tags.`{RUN_TAG}` = '{identity(config)}'",
            max_results=1,
        )
        if earlier:
            self._run_id = earlier[0].info.run_id
            self._client.update_run(self._run_id, status="RUNNING")
            return
        made = self._client.create_run(
            experiment_id,
            tags={RUN_TAG: identity(config)},
            run_name=f"{config.run.namespace}/{config.run.name} iteration {config.iteration}",
        )
        self._run_id = made.info.run_id
        params = [Param(name, str(value)) for name, value in flat(hyperparameters(config)).items()]
        self._client.log_batch(self._run_id, params=params)

    @property
    def begins_empty(self) -> bool:
        return False

    def log(self, step: int, values: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        batch = [self._metric(f"train/{name}", value, now, step) for name, value in sorted(values.items())]
        self._client.log_batch(self._run_id, metrics=batch)

    def close(self, *, done: bool) -> None:
        self._client.set_terminated(self._run_id, status="FINISHED" if done else "KILLED")


def _is_there(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # what stands in sys.modules has no spec
        return False


def _asked_for(config: PhaseConfig) -> list[str]:
    report_to = config.training.report_to
    if report_to is None:
        return []
    return [name for name in (WANDB, MLFLOW) if getattr(report_to, name) is not None]
