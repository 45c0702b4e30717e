"""One table of good, bad and changing specs, answered by the models; `test_crd_table.py` asks the CRD."""

from __future__ import annotations

from typing import Any

import pytest

from selm_operator.api.inspection import fields_of
from selm_operator.api.spec import SELMRunSpec
from selm_operator.api.status import SELMRunStatus
from selm_operator.api.validate import FieldError, validate_change, validate_spec
from support.selmruns import Json, cases, is_beneath, run_object

CASES = cases()


def answer(case: Json) -> list[FieldError]:
    metadata = case.get("metadata", {})
    if case["kind"] != "transition":
        return validate_spec(run_object(case.get("spec"), **metadata))
    old = run_object(case["old"], **metadata)
    assert validate_spec(old) == []
    return validate_change(old, run_object(case["new"], **metadata), case.get("status"))


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_models_answer_as_the_api_server_did(case: Json) -> None:
    errors = answer(case)
    if case["expect"] == "admitted":
        assert errors == []
        return
    named = [error for error in errors if is_beneath(error.field, case["expect"]["field"])]
    assert named, f"must name {case['expect']['field']}, names {[str(error) for error in errors]}"
    assert case["expect"].get("reason") in (None, *(error.reason for error in named))


@pytest.mark.parametrize("case", [c for c in CASES if "stored" in c], ids=lambda case: case["name"])
def test_models_hold_what_is_stored(case: Json) -> None:
    spec = SELMRunSpec.model_validate(case["spec"])
    for path, value in case["stored"].items():
        found: Any = spec
        for step in path.removeprefix("spec.").replace("[", ".").replace("]", "").split("."):
            if found is None:
                break
            if step.isdigit():
                found = found[int(step)]
            else:
                found = getattr(found, next(node.name for node in fields_of(type(found)) if node.alias == step))
        assert (list(found) if isinstance(found, tuple) else found) == value, path


def test_the_table_is_whole() -> None:
    kinds = [case["kind"] for case in CASES]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"good": 43, "bad": 113, "transition": 108}


@pytest.mark.parametrize("case", [c for c in CASES if c.get("status")], ids=lambda case: case["name"])
def test_statuses_of_the_table_are_read_and_written_unchanged(case: Json) -> None:
    status = SELMRunStatus.model_validate(case["status"])
    assert status.model_dump(mode="json", by_alias=True, exclude_none=True) == case["status"]
