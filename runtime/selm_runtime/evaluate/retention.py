"""Which models an iteration's end removes from the store, and their removal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from selm_runtime.artifacts.commit import PhaseFolder
from selm_runtime.artifacts.layout import phase_folder
from selm_runtime.contract import Phase

Retention = Literal["KeepAll", "KeepBest", "KeepLast"]
MODEL_PREFIX = "model/"


def models_to_remove(retention: Retention, iteration: int, best: int) -> list[int]:
    """The iterations whose models go when `iteration` was evaluated and `best` is the best one so far.

    The base (0) and the newest model always stay, and the one that `modelURI` names: the best's, or with KeepLast the
    newest's. A best iteration never comes back among those removed: only the newest can overtake it.
    """
    older = range(1, iteration)
    match retention:
        case "KeepAll":
            return []
        case "KeepBest":
            return [t for t in older if t != best]
        case "KeepLast":
            return list(older)


def remove_models(folder: PhaseFolder, iterations: Sequence[int]) -> None:
    """Deletes the model files of these iterations; what is gone already counts as deleted. Manifests stay."""
    for iteration in iterations:
        manifest = folder.manifest(Phase.TRAINING, iteration)
        place = phase_folder(folder.config.run, Phase.TRAINING, iteration)
        folder.store.delete([f"{place}/{entry.path}" for entry in manifest.under(MODEL_PREFIX)])
