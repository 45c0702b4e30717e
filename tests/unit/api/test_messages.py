"""A refusal names the field, what was found and what is allowed."""

from __future__ import annotations

from typing import Any

import pytest

from selm_operator.api.validate import validate_change, validate_spec
from support.selmruns import Json, minimal_spec, run_object

BAD: dict[str, tuple[Json, str]] = {
    "a quoted number": ({"iterations": "3"}, 'spec.iterations: must be an integer; found the string "3"'),
    "a number that is too large": ({"iterations": 60}, "spec.iterations: must be at most 50; found 60"),
    "zero where more is needed": (
        {"training": {"learningRate": 0}},
        "spec.training.learningRate: must be greater than 0.0; found 0",
    ),
    "infinity": (
        {"training": {"maxGradNorm": float("inf")}},
        "spec.training.maxGradNorm: must be a finite number; found the number Infinity",
    ),
    "a misspelt field": (
        {"retry": {"maxAttempt": 2}},
        "spec.retry.maxAttempt: is no field of a SELMRun; did you mean maxAttempts? "
        "Allowed here: maxAttempts, temporaryDeadlineSeconds",
    ),
    "a field by its Python name": (
        {"retry": {"max_attempts": 2}},
        "spec.retry.max_attempts: is no field of a SELMRun; did you mean maxAttempts? "
        "Allowed here: maxAttempts, temporaryDeadlineSeconds",
    ),
    "an unknown value": (
        {"training": {"precision": "fp16"}},
        "spec.training.precision: must be one of 'BFloat16' or 'Float32'; found \"fp16\"",
    ),
    "a number for a name": (
        {"training": {"precision": 16}},
        "spec.training.precision: must be one of 'BFloat16' or 'Float32'; found the integer 16",
    ),
    "a place without a scheme": (
        {"model": {"uri": "org/model"}},
        'spec.model.uri: must be hf://owner/name, s3://bucket/path or file:///path, without spaces; found "org/model"',
    ),
    "a quantity in words": (
        {"training": {"resources": {"limits": {"memory": "8 gigs"}}}},
        'spec.training.resources.limits.memory: must be a quantity such as 8, 500m or 80Gi; found "8 gigs"',
    ),
    "a group left out": ({"model": None}, "spec.model: is required"),
    "a null in a list": ({"schedule": [None]}, "spec.schedule[0]: must be a mapping; found null"),
    "a list for a group": ({"retry": []}, "spec.retry: must be a mapping; found a list []"),
    "too many entries": (
        {"imagePullSecrets": [{"name": f"s{i}"} for i in range(17)]},
        "spec.imagePullSecrets: must have at most 16 entries; found ",
    ),
    "two of a name": (
        {"imagePullSecrets": [{"name": "a"}, {"name": "a"}]},
        'spec.imagePullSecrets[1]: `name` must be unique in the list; found "a" again',
    ),
    "a prompt as long as all": (
        {"training": {"maxPromptLength": 2048}},
        "spec.training.maxPromptLength: `training.maxPromptLength` must be less than `training.maxLength`; found 2048",
    ),
}


@pytest.mark.parametrize("sentence", BAD)
def test_refusal(sentence: str) -> None:
    change, message = BAD[sentence]
    found = [str(error) for error in validate_spec(run_object({**minimal_spec(), **change}))]
    assert len(found) == 1
    assert found[0].startswith(message)


def test_a_long_value_is_cut() -> None:
    spec = {**minimal_spec(), "image": "x" * 5000}
    (error,) = validate_spec(run_object(spec))
    assert len(error.message) < 200


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"speck": {}}, "speck"),
        ({"kind": "SelmRun"}, "kind"),
        ({"apiVersion": "selm.dev/v1"}, "apiVersion"),
        ({"metadata": {"name": "a.b"}}, "metadata.name"),
        ({"metadata": {"name": "x" * 41}}, "metadata.name"),
        ({"metadata": {}}, "metadata.name"),
        ({"spec": []}, "spec"),
        ({"spec": None}, "spec"),
    ],
)
def test_the_object_around_the_spec(change: dict[str, Any], field: str) -> None:
    assert [error.field for error in validate_spec({**run_object(minimal_spec()), **change})] == [field]


def test_both_errors_of_bounds_and_rules_are_told() -> None:
    spec = {**minimal_spec(), "iterations": 60, "training": {"maxPromptLength": 4096}}
    assert [error.field for error in validate_spec(run_object(spec))] == [
        "spec.iterations",
        "spec.training.maxPromptLength",
    ]


def test_a_key_of_the_engine_swapped_for_another_is_seen() -> None:
    """The API server's `==` on an open object misses it; the operator's guard must not."""
    old = run_object({**minimal_spec(), "generation": {"engineArgs": {"max_model_len": 512}}})
    new = run_object({**minimal_spec(), "generation": {"engineArgs": {"block_size": 16}}})
    (error,) = validate_change(old, new)
    assert (error.field, error.reason) == ("spec.generation.engineArgs", "FieldValueForbidden")


def test_status_beside_the_old_object_or_in_it() -> None:
    old = run_object({**minimal_spec(), "schedule": [{"iteration": 1, "alpha": 0.1}]})
    new, status = run_object(minimal_spec()), {"current": {"iteration": 1}}
    assert validate_change(old, new) == []
    assert [e.field for e in validate_change(old, new, status)] == ["spec.schedule"]
    assert [e.field for e in validate_change({**old, "status": status}, new)] == ["spec.schedule"]
