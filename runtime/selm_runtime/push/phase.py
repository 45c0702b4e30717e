"""The Push phase: the best or the last model, with its card, to where `spec.push` says. Needs no GPU."""

from __future__ import annotations

import os

from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.contract import Phase, PhaseConfig, PushConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.inputs import required_manifests
from selm_runtime.phase import PhaseContext
from selm_runtime.push.card import CardFacts, model_card, pushed_model
from selm_runtime.push.destination import push_folder
from selm_runtime.push.targets import check_target

FIELD = "spec.push.uri"


def run(ctx: PhaseContext) -> None:
    """Push and commit `README.md`, the card; the manifest's facts say what is where.

    An attempt after a killed one pushes again, which changes nothing that is there. Raises InvalidInput where there is
    nothing to push or the target refuses it.
    """
    target = ctx.config.push
    if target is None:
        raise InvalidInput("InvalidConfig", "the Push phase has no push in its config")
    check_target(target.uri, FIELD)
    facts = _facts(ctx, target)
    folder = ctx.scratch / "model"
    model = pushed_model(facts)
    ctx.folder.fetch(model, "model/", folder)
    card = folder / "README.md"
    card.write_text(model_card(facts), encoding="utf-8")
    ctx.stop.check()
    pushed = push_folder(folder, target, facts, field=FIELD, artifacts=ctx.config.artifacts, environment=os.environ)
    ctx.reporter.event("pushed", uri=pushed.uri, revision=pushed.revision, changed=pushed.changed)
    ctx.folder.commit(
        {"README.md": card},
        rows=0,
        facts={
            "uri": pushed.uri,
            "revision": pushed.revision,
            "iteration": facts.iteration,
            "model": model.content_under("model/"),
        },
    )


def _facts(ctx: PhaseContext, target: PushConfig) -> CardFacts:
    config = ctx.config
    manifests: dict[tuple[Phase, int], Manifest] = {
        (phase, iteration): ctx.folder.manifest(phase, iteration) for phase, iteration in required_manifests(config)
    }
    evaluation = manifests[Phase.EVALUATION, config.iteration]
    best = int(evaluation.facts["bestIteration"]) if "bestIteration" in evaluation.facts else None
    return CardFacts(config.run, target.recipe, _iteration(config, target, best), best, manifests)


def _iteration(config: PhaseConfig, target: PushConfig, best: int | None) -> int:
    """The one whose model is pushed."""
    if target.model == "Final" or config.retention == "KeepLast":
        return config.iteration
    if not best:
        raise InvalidInput(
            "NothingToPush", "spec.push.model: found Best, but no iteration was better than the base; allowed is Final"
        )
    return best
