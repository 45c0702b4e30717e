"""The digests of what may never change, against the marks of the fields: each field in both directions."""

from __future__ import annotations

from typing import Any

import pytest

from selm_operator.api.immutable import immutable_digests
from selm_operator.api.spec import SELMRunSpec
from support.run_builder import make_run


def digests(**groups: Any) -> dict[str, str]:
    return immutable_digests(SELMRunSpec.model_validate(make_run().with_spec(**groups).obj()["spec"]))


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "the seed": ({"seed": 7}, "seed"),
    "the model": ({"model": {"uri": "s3://selm/models/other"}}, "model"),
    "its revision": ({"model": {"revision": "v2"}}, "model"),
    "the portions": ({"data": {"portions": 2}}, "data"),
    "an optional group added": ({"data": {"heldOut": {"split": "test"}}}, "data"),
    "a field of a group of defaults": ({"data": {"columns": {"prompt": "question"}}}, "data"),
    "the temperature": ({"generation": {"temperature": 0.3}}, "generation"),
    "a field beneath two groups": ({"training": {"optimizer": {"beta1": 0.8}}}, "training"),
    "the objective": ({"training": {"objective": {"alpha": 0.1}}}, "training"),
    "a scorer's rule": (
        {"scoring": {"scorers": [{"name": "short", "rules": [{"type": "Length", "target": 9}]}]}},
        "scoring",
    ),
    "a scorer's name": (
        {"scoring": {"scorers": [{"name": "long", "rules": [{"type": "Length", "target": 20}]}]}},
        "scoring",
    ),
    "the selection": ({"evaluation": {"selectBy": {"metric": "PreferenceAccuracy"}}}, "evaluation"),
    "the store": ({"artifacts": {"uri": "s3://selm/elsewhere"}}, "artifacts"),
    "the store's region": ({"artifacts": {"region": "eu-west-1"}}, "artifacts"),
}


@pytest.mark.parametrize(("groups", "field"), CHANGES.values(), ids=CHANGES.keys())
def test_a_change_shows_in_its_field_alone(groups: dict[str, Any], field: str) -> None:
    before, after = digests(), digests(**groups)
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} == {field}


SAME: dict[str, dict[str, Any]] = {
    "defaults written out": {
        "seed": 42,
        "generation": {"temperature": 0.0, "policies": ["Current"]},
        "training": {"learningRate": 5e-7, "optimizer": {"beta1": 0.9}},
        "data": {"columns": {"prompt": "prompt"}},
    },
    "what an absent field means written out": {
        "scoring": {"scorers": [{"name": "short", "weight": 1.0, "rules": [{"type": "Length", "target": 20}]}]}
    },
    "what may change while suspended": {
        "image": "selm:2",
        "generation": {"shards": 8, "engineArgs": {"a": 1}, "tensorParallelSize": 2},
        "training": {"nodes": 2, "zeroStage": 2, "resources": {"limits": {"memory": "1Gi"}}},
        "artifacts": {"endpoint": "https://s3.example.org", "credentialsSecretRef": {"name": "other"}},
        "podTemplates": [{"phase": "All", "labels": {"a": "b"}}],
    },
    "what may always change": {
        "iterations": 3,
        "suspend": True,
        "retry": {"maxAttempts": 9},
        "retention": {"artifacts": "KeepBest"},
        "schedule": [{"iteration": 1, "alpha": 0.5}],
    },
}


@pytest.mark.parametrize("groups", SAME.values(), ids=SAME.keys())
def test_nothing_shows_of(groups: dict[str, Any]) -> None:
    assert digests(**groups) == digests()


def test_the_order_of_scorers_says_nothing() -> None:
    one = {"name": "a", "rules": [{"type": "Length", "target": 9}]}
    two = {"name": "b", "rules": [{"type": "Length", "target": 8}]}
    assert digests(scoring={"scorers": [one, two]}) == digests(scoring={"scorers": [two, one]})


def test_the_digests_are_those_of_today() -> None:
    """They are stored in runs that exist: a change of the projection would refuse every one of them."""
    found = digests(seed=7)
    assert found["seed"] == "sha256:7902699be42c8a8e46fbbb4501726517e86b22c56a189f7625a6da49081b2451"
    assert sorted(found) == ["artifacts", "data", "evaluation", "model", "scoring", "seed"]
