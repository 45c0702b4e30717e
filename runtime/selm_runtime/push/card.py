"""The model card of a pushed model: recipe, data, metrics and digests, all of it from what the run committed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.contract import Phase, RunRef

TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
RECIPE = ("iterations", "seed", "model", "data", "generation", "scoring", "training", "evaluation", "schedule")
"""Fields of the spec that make the model what it is."""
_NOT_PUBLIC = re.compile(r"\b(s3|file|https?|oci)://\S*")
"""Places that only the run's own cluster knows, wherever in the spec they stand; hf:// is everybody's."""
_NO_RECIPE = ("resources", "shards", "checkpoint", "terminationGracePeriodSeconds", "reportTo")
_SHOWN_METRICS = (
    ("meanReward", "mean reward"),
    ("winRateBase", "win rate against the base"),
    ("preferenceAccuracy", "preference accuracy"),
    ("kl", "KL to the base"),
)
"""Of Evaluation's metrics, and their headings."""
_HALF_WIDTHS = {"meanReward": "meanRewardCI95"}
_BOUNDS = {"winRateBase": ("winRateBaseLow", "winRateBaseHigh")}
"""Where a metric's 95 % interval stands among them."""
_SUITE_METRICS = (
    ("lmEval", "lm-evaluation-harness"),
    ("alpacaEval", "AlpacaEval at equal lengths"),
    ("mtBench", "MT-Bench"),
)
"""The suites' own, shown where they were run."""

Manifests = Mapping[tuple[Phase, int], Manifest]


@dataclass(frozen=True)
class CardFacts:
    """What a card is written from; equal facts make equal cards."""

    run: RunRef
    spec: Mapping[str, Any]
    """`SELMRun.spec` as it is in the cluster."""
    iteration: int
    """The one whose model is pushed; 0 is the base."""
    best: int | None
    manifests: Manifests
    """Everything that is committed."""


def model_card(facts: CardFacts) -> str:
    """The card as Markdown with its YAML header, as the hub reads it. Holds no secret's name, no time and no host."""
    from huggingface_hub import ModelCard, ModelCardData

    preparation = facts.manifests[Phase.PREPARATION, 0]
    model, data = preparation.facts.get("model", {}), preparation.facts.get("data", {})
    header = ModelCardData(
        base_model=_hub_name(model.get("uri")),
        datasets=[name] if (name := _hub_name(data.get("uri"))) else None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["selm", "preference-optimization", str(_objective(facts.spec)).lower()],
    )
    card = ModelCard.from_template(
        header,
        template_path=str(TEMPLATE),
        run=facts.run,
        iteration=facts.iteration,
        best=facts.best,
        objective=_objective(facts.spec),
        model=model,
        data=data,
        rows=preparation.rows,
        held_out=preparation.facts.get("heldOutRows"),
        overlap=preparation.facts.get("evaluationOverlap"),
        headings=[heading for _, heading in _shown(facts.manifests)],
        metrics=_metrics(facts.manifests),
        tasks=_tasks(facts),
        recipe=yaml.safe_dump(recipe(facts.spec), sort_keys=False, allow_unicode=True, width=100).strip(),
        digests=digests(facts),
    )
    return str(card)


def pushed_model(facts: CardFacts) -> Manifest:
    """The manifest whose `model/` is pushed. Raises KeyError where it is not committed."""
    return facts.manifests[(Phase.TRAINING, facts.iteration) if facts.iteration else (Phase.PREPARATION, 0)]


def _objective(spec: Mapping[str, Any]) -> Any:
    return spec.get("training", {}).get("objective", {}).get("type", "SELM")


def _hub_name(uri: str | None) -> str | None:
    """`owner/name` where it is on the hub; places in a store are nobody's business but the run's."""
    if not uri or not uri.startswith("hf://"):
        return None
    return uri.removeprefix("hf://").removeprefix("datasets/")


def _metrics(manifests: Manifests) -> list[tuple[str, list[str]]]:
    """By iteration, the shown metrics as texts; empty cells where one was not measured."""
    evaluated = sorted(iteration for phase, iteration in manifests if phase is Phase.EVALUATION)
    return [
        ("base" if iteration == 0 else str(iteration), [_cell(measured, name) for name, _ in _shown(manifests)])
        for iteration in evaluated
        for measured in (manifests[Phase.EVALUATION, iteration].metrics,)
    ]


def _shown(manifests: Manifests) -> list[tuple[str, str]]:
    measured = {name for (phase, _), its in manifests.items() if phase is Phase.EVALUATION for name in its.metrics}
    return [*_SHOWN_METRICS, *(each for each in _SUITE_METRICS if each[0] in measured)]


def _tasks(facts: CardFacts) -> list[tuple[str, str]]:
    """The pushed model's figure in each task of lm-evaluation-harness; empty where none was run."""
    evaluation = facts.manifests.get((Phase.EVALUATION, facts.iteration))
    tasks = evaluation.facts.get("suites", {}).get("lmEval", {}).get("tasks", {}) if evaluation else {}
    return [(name, f"{task['metric']} {task['value']:.4g}") for name, task in tasks.items()]


def _cell(measured: Mapping[str, float], name: str) -> str:
    """A metric with its 95 % interval, where there is one; empty where it was not measured."""
    if name not in measured:
        return ""
    text = f"{measured[name]:.4g}"
    if (half := measured.get(_HALF_WIDTHS.get(name, ""))) is not None:
        return f"{text} ± {half:.2g}"
    bounds = [measured[bound] for bound in _BOUNDS.get(name, ()) if bound in measured]
    return f"{text} [{bounds[0]:.4g}, {bounds[1]:.4g}]" if len(bounds) == 2 else text


def recipe(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What of the spec makes the model what it is, without places, endpoints and names of Secrets."""
    return {name: _public(spec[name]) for name in RECIPE if spec.get(name) not in (None, [], {})}


def _public(value: Any) -> Any:
    """Without where things run, where anything lies that is not on the hub, and references to Secrets."""
    if isinstance(value, Mapping):
        return {
            key: _without_paths(inner) if key == "engineArgs" else _public(inner)
            for key, inner in value.items()
            if key not in _NO_RECIPE and not key.endswith("Ref")
        }
    if isinstance(value, str):
        return _NOT_PUBLIC.sub(r"\1://… (not public)", value)
    return [_public(item) for item in value] if isinstance(value, list | tuple) else value


def _without_paths(value: Any) -> Any:
    """Arguments of an engine may name files of its pod."""
    if isinstance(value, Mapping):
        return {key: _without_paths(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_paths(item) for item in value]
    return "/… (not public)" if isinstance(value, str) and value.startswith("/") else _public(value)


def digests(facts: CardFacts) -> list[tuple[str, str]]:
    """What was computed from what: the model's content, then every committed phase's."""
    phases = sorted(facts.manifests, key=lambda where: (where[1], list(Phase).index(where[0])))
    return [
        ("model", pushed_model(facts).content_under("model/")),
        *(
            (f"{phase.value} of iteration {iteration}", facts.manifests[phase, iteration].digest)
            for phase, iteration in phases
        ),
    ]
