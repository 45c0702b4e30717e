"""Every field that carries a mark, changed alone, is answered as its mark says, by models and CRD alike.

The changes are made from the schema, so a new field is covered by being declared.
"""

from __future__ import annotations

import copy
import functools
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from selm_operator.api.base import Change
from selm_operator.api.inspection import FieldNode, walk
from selm_operator.api.rule import ChangeRule
from selm_operator.api.rules import RULES
from selm_operator.api.schema import Schema, run_schema
from selm_operator.api.spec import SELMRunSpec
from selm_operator.api.validate import validate_change, validate_spec
from selm_runtime.contract import OBJECTIVE_PARAMETERS
from support.crd_answers import crd_answer
from support.selmruns import Json, cases, run_object

RESOURCES = {"limits": {"nvidia.com/gpu": 2}}
RICH: Json = {
    "iterations": 4,
    "image": "registry/selm:1",
    "model": {"uri": "s3://models/base", "tokenSecretRef": {"name": "hub"}},
    "data": {
        "uri": "s3://data/prefs",
        "portions": 4,
        "heldOut": {"split": "test"},
        "selection": {"keep": 0.5, "resources": RESOURCES},
    },
    "generation": {
        "samplesPerPrompt": 2,
        "temperature": 0.7,
        "topP": 0.9,
        "enginesPerPod": 1,
        "weights": "Stream",
        "engineArgs": {"max_model_len": 512},
        "resources": RESOURCES,
    },
    "scoring": {
        "scorers": [
            {"name": "ranker", "pairRM": {"uri": "hf://llm-blender/PairRM"}},
            {"name": "reward", "weight": 2, "rewardModel": {"uri": "s3://models/reward"}},
            {
                "name": "judge",
                "judge": {
                    "endpoint": "http://judge",
                    "model": "m",
                    "apiKeySecretRef": {"name": "key"},
                    "mode": "Grade",
                    "template": "s3://prompts/judge.jinja",
                    "verdictPattern": "(A|B|C)",
                    "maxTokens": 100,
                    "temperature": 0.5,
                    "concurrency": 4,
                    "requestsPerMinute": 60,
                    "tokenBudget": 1000,
                },
            },
            {"name": "style", "rules": [{"type": "Length", "target": 12}]},
            {"name": "tests", "execution": {}},
        ],
        "pairing": {"lengthControl": 0.1},
        "resources": RESOURCES,
    },
    "training": {
        "ranksPerNode": 2,
        "resources": RESOURCES,
        "lora": {"rank": 8, "targetModules": ["q_proj"]},
        "guard": {"maxLogRatio": 50},
        "reportTo": {"wandb": {"project": "p", "apiKeySecretRef": {"name": "wandb"}}},
    },
    "evaluation": {
        "selectBy": {"scorer": "reward"},
        "control": True,
        "stopWhen": {"iterationsWithoutGain": 2, "maxKL": 40},
        "lmEval": {
            "uri": "s3://suites/tasks",
            "tasks": [{"name": "arc_easy", "metric": "acc_norm"}],
            "numFewshot": 5,
            "limit": 100,
        },
        "mtBench": {
            "uri": "s3://suites/question.jsonl",
            "judge": {
                "endpoint": "http://judge",
                "model": "m",
                "maxTokens": 400,
                "requestsPerMinute": 60,
                "tokenBudget": 1000,
                "apiKeySecretRef": {"name": "key"},
            },
        },
        "alpacaEval": {
            "uri": "s3://suites/alpaca_eval.json",
            "limit": 100,
            "template": "s3://suites/alpaca_eval.jinja",
            "judge": {
                "endpoint": "http://judge",
                "model": "m",
                "maxTokens": 4,
                "requestsPerMinute": 60,
                "tokenBudget": 1000,
                "apiKeySecretRef": {"name": "key"},
            },
        },
        "resources": RESOURCES,
    },
    "schedule": [{"iteration": 2, "alpha": 0.1}],
    "artifacts": {
        "uri": "s3://selm/runs",
        "endpoint": "http://s3:9000",
        "region": "here",
        "credentialsSecretRef": {"name": "s3"},
        "caBundleConfigMapRef": {"name": "ca"},
    },
    "push": {"uri": "hf://team/aligned", "tokenSecretRef": {"name": "hub", "key": "write"}},
    "imagePullSecrets": [{"name": "registry"}],
    "retention": {"ttlSecondsAfterFinished": 60},
    "podTemplates": [{"phase": "All", "labels": {"team": "a"}}],
}
OTHER: dict[str, Any] = {
    "generation.policies": ["Current", "Reference"],
    "generation.engineArgs": {"max_model_len": 1024},
    "scoring.pairing.rule": "MaxMinProbability",
    "evaluation.selectBy.scorer": "style",
    "evaluation.lmEval.tasks": [{"name": "arc_easy"}, {"name": "gsm8k"}],
    "push": {"uri": "s3://models/aligned"},
    "scheduling": {"queueName": "team"},
    "imagePullSecrets": [],
    "podTemplates": [],
    "schedule": [{"iteration": 3, "alpha": 0.1}],
    "data.rewardAugmented": {"goal": 5},
    "training.lora": {"rank": 4},
    "training.reportTo": {"mlflow": {"trackingURI": "http://mlflow:5000", "experiment": "e"}},
}
OBJECTIVE = "training.objective"
GROUPS = {f"{OBJECTIVE}.{alias}": kind for kind, alias in OBJECTIVE_PARAMETERS.items()}
"""Groups of parameters may stand only beside their own type: these fields are changed in a spec of that type."""
MARKED = [(path, node) for path, node in walk(SELMRunSpec, "") if node.change]


def place(spec: Json, path: str) -> tuple[Json, str, str]:
    """The mapping that holds the field, its key, and the field's path with the entries' indexes."""
    holder: Any = spec
    steps, where = path.split("."), "spec"
    for step, after in itertools.pairwise(steps):
        name = step.removesuffix("[]")
        holder, where = holder.setdefault(name, {}), f"{where}.{name}"
        if step.endswith("[]"):
            index = next(i for i, entry in enumerate(holder) if after in entry)
            holder, where = holder[index], f"{where}[{index}]"
    return holder, steps[-1], f"{where}.{steps[-1]}"


def schema_at(path: str) -> Schema:
    schema = run_schema()["properties"]["spec"]
    for step in path.split("."):
        schema = schema["properties"][step.removesuffix("[]")]
        schema = schema["items"] if step.endswith("[]") else schema
    return schema


def other(path: str, value: Any) -> Any:
    """Another admissible value of the field."""
    schema = schema_at(path)
    if path in OTHER:
        return OTHER[path]
    if "enum" in schema:
        return next(choice for choice in schema["enum"] if choice != value)
    match schema["type"]:
        case "boolean":
            return not value
        case "integer":
            return value * 2 if value and value * 2 <= schema["maximum"] else value - 1
        case "number":
            return value / 2 if value else 0.25
        case "string":
            return f"{value}x"
        case "array":
            return [*value[:-1], {**value[-1], "weight": 7}]
    inner = schema["properties"]
    name = next((name for name, node in inner.items() if name in value or "default" in node), next(iter(inner)))
    if "additionalProperties" in inner[name]:
        return {**value, name: {**value.get(name, {}), "cpu": 1}}
    return {**value, name: other(f"{path}.{name}", value.get(name, inner[name].get("default", "")))}


def rich_for(path: str) -> Json:
    """The rich spec that has the field."""
    spec = copy.deepcopy(RICH)
    if path in GROUPS:
        spec["training"]["objective"] = {"type": GROUPS[path], path.rsplit(".", 1)[1]: {}}
    if path == "training.compile":
        spec["training"]["zeroStage"] = 2
    if path.endswith("judge.policy"):
        next(s for s in spec["scoring"]["scorers"] if s["name"] == "judge")["judge"] = {"policy": "Current"}
    if path.startswith("data.rewardAugmented"):
        spec["training"]["objective"] = {"type": "DPO"}
        spec["scoring"]["scorers"] = [
            s for s in spec["scoring"]["scorers"] if s["name"] in ("reward", "style", "tests")
        ]
        spec["data"] |= {"transform": "RewardAugmented", "rewardAugmented": {"goal": 10}}
    return spec


def with_value(path: str, value: Any) -> tuple[Json, str]:
    """The rich spec with the field set, or removed where the value is None; and the field's path."""
    spec = rich_for(path)
    holder, key, where = place(spec, path)
    if value is None:
        del holder[key]
    else:
        holder[key] = value
    return spec, where


def current(path: str) -> Any:
    holder, key, _ = place(rich_for(path), path)
    return holder.get(key, schema_at(path).get("default", 1.0 if key == "weight" else {}))


def changed_specs() -> Iterator[tuple[str, FieldNode, Json, Json, str]]:
    """What is done, the field, the spec before and after, and the field's path."""
    for path, node in MARKED:
        if path == "scoring.scorers":
            spec = copy.deepcopy(RICH)
            spec["scoring"]["scorers"].pop(0)
            yield "an entry removed from scoring.scorers", node, RICH, spec, "spec.scoring.scorers"
            continue
        if node.change is not Change.KEYED:
            yield f"{path} changed", node, rich_for(path), *with_value(path, other(path, current(path)))
        if node.may_be_absent:
            yield f"{path} removed", node, rich_for(path), *with_value(path, None)


CHANGES = list(changed_specs())


def as_suspended(spec: Json, suspended: bool) -> Json:
    return {**copy.deepcopy(spec), "suspend": suspended}


@functools.cache
def _stored(text: str) -> Json:
    kept, errors = crd_answer(run_object(json.loads(text)))
    assert errors == []
    assert kept is not None
    return kept


def stored(spec: Json) -> Json:
    """As the API server keeps it."""
    return _stored(json.dumps(spec))


def test_every_marked_field_is_in_the_rich_spec() -> None:
    assert validate_spec(run_object(RICH)) == []
    assert len(CHANGES) > len(MARKED)


@pytest.mark.parametrize("suspended", [False, True], ids=["running", "suspended"])
@pytest.mark.parametrize(("node", "old", "new", "where"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES])
def test_a_field_changed_alone(node: FieldNode, old: Json, new: Json, where: str, suspended: bool) -> None:
    old = as_suspended(old, suspended)
    if node.name != "suspend":
        new = as_suspended(new, suspended)
    ours = {error.field for error in validate_change(run_object(old), run_object(new))}
    theirs = {error.field for error in crd_answer(run_object(new), stored(old))[1]}
    assert ours == theirs
    free = node.change in (Change.ALWAYS, Change.GROWING, Change.SCHEDULED)
    if free or (suspended and node.change is Change.SUSPENDED):
        assert ours == set()
    else:
        named = where.split("[")[0] if node.change is Change.SUSPENDED else where
        assert named in ours


def broken_rule_messages() -> set[str]:
    seen: list[Any] = []
    for case in cases():
        if case["kind"] == "transition":
            seen += validate_change(run_object(case["old"]), run_object(case["new"]), case.get("status"))
        else:
            seen += validate_spec(run_object(case.get("spec"), **case.get("metadata", {})))
    for _, _, old, new, _ in CHANGES:
        seen += validate_change(run_object(old), run_object(new))
    for _, spec in BROKEN.values():
        seen += validate_spec(run_object(spec))
    seen += validate_spec(run_object(RICH, name=LONG_NAME))
    return {error.message for error in seen}


LONG_NAME = "a" * 33
"""A run's name that leaves no room for the control run's."""


def test_a_name_must_leave_room_for_the_control_runs() -> None:
    for name, control, fields in (
        (LONG_NAME, True, {"spec.evaluation.control"}),
        (LONG_NAME, False, set()),
        ("a" * 32, True, set()),
    ):
        run = run_object(rich(evaluation={"control": control}), name=name)
        assert {error.field for error in validate_spec(run)} == fields
        assert {error.field for error in crd_answer(run)[1]} == fields


def rich(**groups: Any) -> Json:
    return {**copy.deepcopy(RICH), **groups}


def trained(**training: Any) -> Json:
    return rich(training={**copy.deepcopy(RICH["training"]), **training})


def scored_by(*scorers: Json) -> Json:
    return rich(scoring={**copy.deepcopy(RICH["scoring"]), "scorers": list(scorers)})


def reward_on_vllm(**model: Any) -> Json:
    return {"name": "reward", "rewardModel": {"uri": "s3://models/reward", "engine": "VLLM", **model}}


def augmented(**groups: Any) -> Json:
    return {**rich_for("data.rewardAugmented"), **groups}


def templates(env: Json) -> list[Json]:
    return [{"phase": "All", "env": [{"name": "A", **env}]}]


BROKEN: dict[str, tuple[str, Json]] = {
    **{
        f"parameters of {kind} beside another type": (
            f"spec.{path}",
            trained(objective={"type": "DPO", path.rsplit(".", 1)[1]: {}}),
        )
        for path, kind in GROUPS.items()
    },
    "XPO against the initial model without its responses": (
        "spec.generation.policies",
        trained(objective={"type": "XPO"}, reference="Initial"),
    ),
    "a share of pairs that the data has not": (
        "spec.training.offlineShare",
        {
            **trained(offlineShare=0.5),
            "data": {"uri": "s3://data/prompts", "format": "Prompts"},
            "scoring": {**RICH["scoring"], "pairing": {**RICH["scoring"]["pairing"], "offline": "Exclude"}},
        },
    ),
    "a share of a batch of one": ("spec.training.offlineShare", trained(offlineShare=0.5, batchSize=1, ranksPerNode=1)),
    "a goal that nothing asks for": (
        "spec.data.rewardAugmented",
        rich(data={**RICH["data"], "rewardAugmented": {"goal": 10}}),
    ),
    "a fit of responses that are not there": (
        "spec.data.selection.of",
        rich(
            data={"uri": "s3://data/prompts", "format": "Prompts", "selection": {"keep": 0.5, "resources": RESOURCES}},
            scoring={**RICH["scoring"], "pairing": {**RICH["scoring"]["pairing"], "offline": "Exclude"}},
        ),
    ),
    "reward augmentation without a goal": (
        "spec.data.rewardAugmented",
        augmented(data={**RICH["data"], "transform": "RewardAugmented"}),
    ),
    "a judge without an endpoint": (
        "spec.scoring.scorers[0].judge",
        rich(scoring={**RICH["scoring"], "scorers": [{"name": "reward", "judge": {"model": "m"}}]}),
    ),
    "a judge of two kinds": (
        "spec.scoring.scorers[0].judge",
        rich(
            scoring={
                **RICH["scoring"],
                "scorers": [{"name": "reward", "judge": {"policy": "Current", "endpoint": "http://j", "model": "m"}}],
            }
        ),
    ),
    "selection by tasks that are not run": (
        "spec.evaluation.selectBy.metric",
        rich(evaluation={"selectBy": {"metric": "LMEval"}}),
    ),
    "selection by AlpacaEval that is not run": (
        "spec.evaluation.selectBy.metric",
        rich(evaluation={"selectBy": {"metric": "AlpacaEval"}}),
    ),
    "selection by MT-Bench that is not run": (
        "spec.evaluation.selectBy.metric",
        rich(evaluation={"selectBy": {"metric": "MTBench"}}),
    ),
    "several outputs on vLLM": (
        "spec.scoring.scorers[0].rewardModel.engine",
        scored_by(reward_on_vllm(objectives=[{"label": "a", "weight": 1}])),
    ),
    "two reward models on vLLM": (
        "spec.scoring.scorers",
        scored_by(reward_on_vllm(), {**reward_on_vllm(), "name": "other"}),
    ),
    "a reward model on vLLM beside the policy as judge": (
        "spec.scoring.scorers",
        scored_by(reward_on_vllm(), {"name": "judge", "judge": {"policy": "Current"}}),
    ),
    "length control of a rule that has no worst": (
        "spec.scoring.pairing.lengthControl",
        rich(scoring={**RICH["scoring"], "pairing": {"rule": "MaxMax", "lengthControl": 0.1}}),
    ),
    "reward augmentation by probabilities": (
        "spec.scoring.pairing.rule",
        augmented(
            scoring={**rich_for("data.rewardAugmented")["scoring"], "pairing": {"rule": "MaxMinProbability"}},
        ),
    ),
    "reward augmentation by a ranker": ("spec.data.transform", augmented(scoring=RICH["scoring"])),
    "reward augmentation of an exploring objective": (
        "spec.data.transform",
        augmented(training={"ranksPerNode": 2, "objective": {"type": "SELM"}}),
    ),
    "a registry's settings for a hub": ("spec.push", rich(push={"uri": "hf://a/b", "plainHTTP": True})),
    "a registry's credentials for a store": (
        "spec.push",
        rich(push={"uri": "s3://a/b", "credentialsSecretRef": {"name": "registry"}}),
    ),
    "a place in a registry without a name": ("spec.push.uri", rich(push={"uri": "oci://registry.example"})),
    "a place in a registry by a digest": ("spec.push.uri", rich(push={"uri": "oci://registry.example/a@sha256:0"})),
    "parameters offloaded that every rank holds": (
        "spec.training.offload.parameters",
        trained(offload={"parameters": "CPU"}, zeroStage=2),
    ),
    "an optimizer offloaded that is not shared": (
        "spec.training.offload.optimizer",
        trained(offload={"optimizer": "CPU"}, zeroStage=0),
    ),
    "compiled layers that ZeRO-3 would break": ("spec.training.compile", trained(compile=True, zeroStage=3)),
    "compiled layers beside the stage that is not given": ("spec.training.compile", trained(compile=True)),
    "four-bit weights that ZeRO-3 would cut": (
        "spec.training.lora.quantization",
        trained(lora={"quantization": "NF4"}, zeroStage=3),
    ),
    "one sample in an iteration that has only its own responses to compare": (
        "spec.schedule",
        rich(
            scoring={**RICH["scoring"], "pairing": {**RICH["scoring"]["pairing"], "offline": "Exclude"}},
            schedule=[{"iteration": 1, "samplesPerPrompt": 1}],
        ),
    ),
    "offline pairs of data that has none": (
        "spec.schedule",
        rich(
            data={"uri": "s3://data/prompts", "format": "Prompts"},
            scoring={**RICH["scoring"], "pairing": {**RICH["scoring"]["pairing"], "offline": "Exclude"}},
            schedule=[{"iteration": 1, "pairs": "Offline"}],
        ),
    ),
    "a variable with a value and a source": (
        "spec.podTemplates[0].env[0]",
        rich(podTemplates=templates({"value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})),
    ),
    "a variable with a source of no kind": (
        "spec.podTemplates[0].env[0].valueFrom",
        rich(podTemplates=templates({"valueFrom": {}})),
    ),
}


@pytest.mark.parametrize("sentence", BROKEN)
def test_rules_that_the_table_does_not_break(sentence: str) -> None:
    field, spec = BROKEN[sentence]
    assert {error.field for error in validate_spec(run_object(spec))} == {field}
    assert {error.field for error in crd_answer(run_object(spec))[1]} == {field}


def test_every_rule_is_broken_by_some_case() -> None:
    messages = broken_rule_messages()
    assert [r.message for r in RULES if not any(m.startswith(r.message) for m in messages)] == []


def test_rules_of_change_read_the_past_and_the_others_do_not() -> None:
    for rule in RULES:
        assert ("oldSelf" in rule.cel) == isinstance(rule, ChangeRule), rule.message
