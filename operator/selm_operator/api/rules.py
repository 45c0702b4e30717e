"""Every rule that is more than one field's bounds, in CEL and in Python, side by side.

Rules about several groups stand on the spec, with a `fieldPath`: a group's own rule would be asked before the group's
inner defaults are there. They are kept by the group that they restrict, in the modules that are put together here; the
rules of change of single fields come from their marks (`mutability.py`).
"""

from __future__ import annotations

from typing import Any

from selm_operator.api.base import ApiModel
from selm_operator.api.mutability import change_rules
from selm_operator.api.rule import BaseRule, ChangeRule, Rule
from selm_operator.api.rules_evaluation import EVALUATION_RULES
from selm_operator.api.rules_pods import POD_RULES
from selm_operator.api.rules_run import RUN_RULES
from selm_operator.api.rules_scoring import SCORING_RULES
from selm_operator.api.rules_training import TRAINING_RULES
from selm_operator.api.spec import SELMRunSpec

_SPEC_RULES: tuple[BaseRule[Any], ...] = (
    ChangeRule[SELMRunSpec](
        on=SELMRunSpec,
        cel=(
            "self.iterations == oldSelf.iterations || (self.iterations > oldSelf.iterations && has(self.data.portions))"
        ),
        message="`iterations` must not shrink, and may grow only where `data.portions` is set",
        at=".iterations",
        reason="FieldValueForbidden",
        holds=lambda new, old: (
            new.iterations == old.iterations or (new.iterations > old.iterations and new.data.portions is not None)
        ),
    ),
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel="self.schedule.all(e, e.iteration <= self.iterations)",
        message="`schedule[].iteration` must be within 1 and `iterations`",
        at=".schedule",
        holds=lambda spec: all(e.iteration <= spec.iterations for e in spec.schedule),
    ),
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel=(
            "self.schedule.all(e, "
            "(has(e.samplesPerPrompt) ? e.samplesPerPrompt : self.generation.samplesPerPrompt) <= 1 || "
            "(has(e.temperature) ? e.temperature : self.generation.temperature) > 0.0)"
        ),
        message=(
            "`schedule[].temperature` must be greater than 0 where that iteration's `samplesPerPrompt` "
            "is greater than 1"
        ),
        at=".schedule",
        holds=lambda spec: all(
            (spec.generation.samples_per_prompt if e.samples_per_prompt is None else e.samples_per_prompt) <= 1
            or (spec.generation.temperature if e.temperature is None else e.temperature) > 0
            for e in spec.schedule
        ),
    ),
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel="self.generation.samplesPerPrompt <= 1 || self.generation.temperature > 0.0",
        message=(
            "`generation.temperature` must be greater than 0 where `generation.samplesPerPrompt` is greater than 1"
        ),
        at=".generation.temperature",
        holds=lambda spec: spec.generation.samples_per_prompt <= 1 or spec.generation.temperature > 0,
    ),
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel="self.data.format != 'Prompts' || self.schedule.all(e, !has(e.pairs) || e.pairs != 'Offline')",
        message="`schedule[].pairs` must not be Offline where `data.format` is Prompts",
        at=".schedule",
        holds=lambda spec: spec.data.format != "Prompts" or all(e.pairs != "Offline" for e in spec.schedule),
    ),
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel=(
            "!has(self.push) || (!self.push.plainHTTP && !has(self.push.credentialsSecretRef)) || "
            "self.push.uri.startsWith('oci://')"
        ),
        message="`push.plainHTTP` and `push.credentialsSecretRef` may be set only where `push.uri` is oci://",
        at=".push",
        holds=lambda spec: (
            spec.push is None
            or (not spec.push.plain_http and spec.push.credentials_secret_ref is None)
            or spec.push.uri.startswith("oci://")
        ),
    ),
)

RULES: tuple[BaseRule[Any], ...] = (
    *RUN_RULES,
    *_SPEC_RULES,
    *TRAINING_RULES,
    *SCORING_RULES,
    *EVALUATION_RULES,
    *POD_RULES,
    *change_rules(),
)


def rules_on(model: type[ApiModel]) -> tuple[BaseRule[Any], ...]:
    """The rules whose Python function takes that group."""
    return tuple(rule for rule in RULES if rule.on is model)
