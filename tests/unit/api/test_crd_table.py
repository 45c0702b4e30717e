"""The generated CRD against the table, through the embedded API server's own admission."""

from __future__ import annotations

from typing import Any

import pytest

from selm_local.apiserver.schema import default_crd, validate_crd
from selm_operator.api.crd import custom_resource_definition
from support.crd_answers import crd_answer
from support.selmruns import Json, cases, is_beneath, run_object

CASES = cases()


def test_an_api_server_admits_the_crd() -> None:
    assert validate_crd(default_crd(custom_resource_definition())) == []


def stored(case: Json) -> Json:
    """A transition's beginning, as the API server keeps it."""
    old, errors = crd_answer(run_object(case["old"], **case.get("metadata", {})))
    assert errors == []
    assert old is not None
    return {**old, "status": case["status"]} if case.get("status") else old


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_crd_answers_as_the_api_server_did(case: Json) -> None:
    metadata = case.get("metadata", {})
    if case["kind"] == "transition":
        _, errors = crd_answer(run_object(case["new"], **metadata), stored(case))
    else:
        kept, errors = crd_answer(run_object(case.get("spec"), **metadata))
        for path, value in case.get("stored", {}).items():
            assert value_at(kept, path) == value, path
    if case["expect"] == "admitted":
        assert errors == []
        return
    named = [error for error in errors if is_beneath(error.field, case["expect"]["field"])]
    assert named, f"must name {case['expect']['field']}, names {[str(error) for error in errors]}"


def value_at(found: Any, path: str) -> Any:
    for step in path.replace("[", ".").replace("]", "").split("."):
        found = found[int(step)] if step.isdigit() else (found or {}).get(step)
    return found
