"""Every rule that is more than one field's bounds, in CEL and in Python, side by side.

Rules about several groups stand on the spec, with a `fieldPath`: a group's own rule would be asked before the group's
inner defaults are there. The rules of change of single fields come from their marks (`mutability.py`).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from selm_operator.api.base import ApiModel
from selm_operator.api.equality import same_group
from selm_operator.api.mutability import change_rules
from selm_operator.api.pods import EnvVar, EnvVarSource, Volume
from selm_operator.api.rule import BaseRule, ChangeRule, Rule, Run, exactly_one_of, present
from selm_operator.api.rules_scoring import SCORING_RULES
from selm_operator.api.rules_training import TRAINING_RULES
from selm_operator.api.spec import ScheduleEntry, SELMRunSpec

NAME_PATTERN = "^[a-z]([-a-z0-9]*[a-z0-9])?$"
MAX_NAME = 40
"""Leaves room for what is appended: Job, Service and pod names have at most 63 characters."""

CONTROL_SUFFIX = "-control"
"""Of the name of the run that `evaluation.control` asks for."""
MAX_NAME_WITH_CONTROL = MAX_NAME - len(CONTROL_SUFFIX)

RESERVED_ENV_PREFIX = "SELM_"
RESERVED_ENV = ("JOB_COMPLETION_INDEX", "MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK")


def _valid_name(run: Run) -> bool:
    head, rest = run.name[:1], run.name[1:]
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789-")
    return len(run.name) <= MAX_NAME and "a" <= head <= "z" and set(rest) <= allowed and not run.name.endswith("-")


def _schedule_change_is_ahead(new: Run, old: Run) -> bool:
    """Entries may change for iterations not yet begun, and for the one at work while suspended."""
    if old.status is None or old.status.current is None:
        return True
    at_work, suspended = old.status.current.iteration, old.spec.suspend

    def open_to_change(entry: ScheduleEntry) -> bool:
        return entry.iteration > at_work or (suspended and entry.iteration == at_work)

    after = all(
        open_to_change(entry) or any(same_group(entry, was) for was in old.spec.schedule) for entry in new.spec.schedule
    )
    kept = {entry.iteration for entry in new.spec.schedule}
    return after and all(open_to_change(was) or was.iteration in kept for was in old.spec.schedule)


_RUN_RULES: tuple[BaseRule[Any], ...] = (
    Rule[Run](
        on=Run,
        cel=f"size(self.metadata.name) <= {MAX_NAME} && self.metadata.name.matches('{NAME_PATTERN}')",
        message=f"`metadata.name` must match {NAME_PATTERN} and have at most {MAX_NAME} characters",
        at=".metadata.name",
        holds=_valid_name,
    ),
    Rule[Run](
        on=Run,
        cel=f"!self.spec.evaluation.control || size(self.metadata.name) <= {MAX_NAME_WITH_CONTROL}",
        message=(
            f"`spec.evaluation.control` may be true only where `metadata.name` has at most {MAX_NAME_WITH_CONTROL} "
            f"characters: the control run's is that with {CONTROL_SUFFIX}"
        ),
        at=".spec.evaluation.control",
        holds=lambda run: not run.spec.evaluation.control or len(run.name) <= MAX_NAME_WITH_CONTROL,
    ),
    ChangeRule[Run](
        on=Run,
        cel=(
            "has(oldSelf.status) && has(oldSelf.status.current) ? "
            "self.spec.schedule.all(e, e.iteration > oldSelf.status.current.iteration || "
            "(oldSelf.spec.suspend && e.iteration == oldSelf.status.current.iteration) || "
            "oldSelf.spec.schedule.exists(o, o == e)) && "
            "oldSelf.spec.schedule.all(o, o.iteration > oldSelf.status.current.iteration || "
            "(oldSelf.spec.suspend && o.iteration == oldSelf.status.current.iteration) || "
            "self.spec.schedule.exists(e, e.iteration == o.iteration)) : true"
        ),
        message=(
            "`spec.schedule[]` may change only for iterations after `status.current.iteration`, "
            "and for that one while `suspend` was true"
        ),
        at=".spec.schedule",
        reason="FieldValueForbidden",
        holds=_schedule_change_is_ahead,
    ),
)


def _may_mean_reward(spec: SELMRunSpec) -> bool:
    by = spec.evaluation.select_by
    return by.metric != "MeanReward" or all(
        s.reward_model is not None
        or s.rules is not None
        or s.execution is not None
        or (by.scorer is not None and s.name != by.scorer)
        for s in spec.scoring.scorers
    )


def _ranks_divide_batch(spec: SELMRunSpec) -> bool:
    training = spec.training
    if training.ranks_per_node is None:
        return True
    ranks = training.nodes * training.ranks_per_node
    return ranks < 1 or training.batch_size % ranks == 0


_SUITES = {
    "LMEval": ("lmEval", "lm_eval"),
    "AlpacaEval": ("alpacaEval", "alpaca_eval"),
    "MTBench": ("mtBench", "mt_bench"),
}
"""Suites that `selectBy.metric` may name, and the field of `spec.evaluation` with each: its alias and its name."""


def _selects_by_a_suite_that_is_run(spec: SELMRunSpec, metric: str) -> bool:
    by = spec.evaluation.select_by.metric
    return by != metric or getattr(spec.evaluation, _SUITES[metric][1]) is not None


_SUITE_RULES: tuple[BaseRule[Any], ...] = tuple(
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel=f"self.evaluation.selectBy.metric != '{metric}' || has(self.evaluation.{alias})",
        message=f"`evaluation.selectBy.metric` may be {metric} only where `evaluation.{alias}` is given",
        at=".evaluation.selectBy.metric",
        holds=partial(_selects_by_a_suite_that_is_run, metric=metric),
    )
    for metric, (alias, _) in _SUITES.items()
)

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
        cel=(
            "!has(self.training.ranksPerNode) || self.training.nodes * self.training.ranksPerNode < 1 || "
            "self.training.batchSize % (self.training.nodes * self.training.ranksPerNode) == 0"
        ),
        message="`training.batchSize` must be a multiple of `training.nodes` x `training.ranksPerNode`",
        at=".training.batchSize",
        holds=_ranks_divide_batch,
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
        cel=(
            "self.scoring.pairing.offline != 'Exclude' || "
            "self.generation.samplesPerPrompt * self.generation.policies.size() >= 2"
        ),
        message=(
            "`scoring.pairing.offline` may be Exclude only where `generation.samplesPerPrompt` times the number of "
            "`generation.policies` is at least 2"
        ),
        at=".scoring.pairing.offline",
        holds=lambda spec: (
            spec.scoring.pairing.offline != "Exclude"
            or spec.generation.samples_per_prompt * len(spec.generation.policies) >= 2
        ),
    ),
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel=(
            "self.scoring.pairing.offline != 'Exclude' || self.schedule.all(e, !has(e.samplesPerPrompt) || "
            "e.samplesPerPrompt * self.generation.policies.size() >= 2)"
        ),
        message=(
            "`schedule[].samplesPerPrompt` times the number of `generation.policies` must be at least 2 "
            "where `scoring.pairing.offline` is Exclude"
        ),
        at=".schedule",
        holds=lambda spec: (
            spec.scoring.pairing.offline != "Exclude"
            or all(
                e.samples_per_prompt is None or e.samples_per_prompt * len(spec.generation.policies) >= 2
                for e in spec.schedule
            )
        ),
    ),
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel=(
            "!has(self.evaluation.selectBy.scorer) || "
            "self.scoring.scorers.exists(s, s.name == self.evaluation.selectBy.scorer)"
        ),
        message="`evaluation.selectBy.scorer` must be the name of one of `scoring.scorers`",
        at=".evaluation.selectBy.scorer",
        holds=lambda spec: (
            spec.evaluation.select_by.scorer is None
            or any(s.name == spec.evaluation.select_by.scorer for s in spec.scoring.scorers)
        ),
    ),
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel=(
            "self.evaluation.selectBy.metric != 'MeanReward' || self.scoring.scorers.all(s, has(s.rewardModel) || "
            "has(s.rules) || has(s.execution) || "
            "(has(self.evaluation.selectBy.scorer) && s.name != self.evaluation.selectBy.scorer))"
        ),
        message=(
            "`evaluation.selectBy.metric` may be MeanReward only with a scalar scorer: "
            "`rewardModel`, `rules` or `execution`"
        ),
        at=".evaluation.selectBy.metric",
        holds=_may_mean_reward,
    ),
    *_SUITE_RULES,
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel="self.data.format != 'Prompts' || self.scoring.pairing.offline == 'Exclude'",
        message=("`scoring.pairing.offline` must be Exclude where `data.format` is Prompts: there is no offline pair"),
        at=".scoring.pairing.offline",
        holds=lambda spec: spec.data.format != "Prompts" or spec.scoring.pairing.offline == "Exclude",
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
        cel="self.scoring.pairing.rule != 'TwoPolicy' || self.generation.policies.exists(p, p == 'Reference')",
        message="`generation.policies` must hold Reference where `scoring.pairing.rule` is TwoPolicy",
        at=".generation.policies",
        holds=lambda spec: spec.scoring.pairing.rule != "TwoPolicy" or "Reference" in spec.generation.policies,
    ),
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel=(
            "!has(self.scoring.pairing.lengthControl) || "
            "self.scoring.pairing.rule == 'BestWorst' || self.scoring.pairing.rule == 'MaxMinProbability'"
        ),
        message=(
            "`scoring.pairing.lengthControl` may be set only where `scoring.pairing.rule` is BestWorst or "
            "MaxMinProbability"
        ),
        at=".scoring.pairing.lengthControl",
        holds=lambda spec: (
            spec.scoring.pairing.length_control is None
            or spec.scoring.pairing.rule in ("BestWorst", "MaxMinProbability")
        ),
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
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel="self.training.maxPromptLength < self.training.maxLength",
        message="`training.maxPromptLength` must be less than `training.maxLength`",
        at=".training.maxPromptLength",
        holds=lambda spec: spec.training.max_prompt_length < spec.training.max_length,
    ),
)


_ITEM_RULES: tuple[BaseRule[Any], ...] = (
    Rule[Volume](
        on=Volume,
        cel=exactly_one_of("persistentVolumeClaim", "hostPath", "emptyDir", "configMap", "secret", "nfs"),
        message=(
            "`volumes[]` must have exactly one of `persistentVolumeClaim`, `hostPath`, `emptyDir`, `configMap`, "
            "`secret`, `nfs`"
        ),
        holds=lambda v: (
            present(v.persistent_volume_claim, v.host_path, v.empty_dir, v.config_map, v.secret, v.nfs) == 1
        ),
    ),
    Rule[EnvVar](
        on=EnvVar,
        cel="!(has(self.value) && has(self.valueFrom))",
        message="`env[]` must not have both `value` and `valueFrom`",
        holds=lambda env: env.value is None or env.value_from is None,
    ),
    Rule[EnvVar](
        on=EnvVar,
        field="name",
        cel=(
            f"!self.startsWith('{RESERVED_ENV_PREFIX}') && "
            f"!(self in [{', '.join(repr(name) for name in RESERVED_ENV)}])"
        ),
        message=(f"`name` must not be one that the operator sets: {RESERVED_ENV_PREFIX}*, {', '.join(RESERVED_ENV)}"),
        reason="FieldValueForbidden",
        holds=lambda env: not env.name.startswith(RESERVED_ENV_PREFIX) and env.name not in RESERVED_ENV,
    ),
    Rule[EnvVarSource](
        on=EnvVarSource,
        cel=exactly_one_of("secretKeyRef", "configMapKeyRef", "fieldRef"),
        message="`valueFrom` must have exactly one of `secretKeyRef`, `configMapKeyRef`, `fieldRef`",
        holds=lambda source: present(source.secret_key_ref, source.config_map_key_ref, source.field_ref) == 1,
    ),
)

RULES: tuple[BaseRule[Any], ...] = (
    *_RUN_RULES,
    *_SPEC_RULES,
    *TRAINING_RULES,
    *SCORING_RULES,
    *_ITEM_RULES,
    *change_rules(),
)


def rules_on(model: type[ApiModel]) -> tuple[BaseRule[Any], ...]:
    """The rules whose Python function takes that group."""
    return tuple(rule for rule in RULES if rule.on is model)
