"""CRD and models answer any spec and any change alike: admitted by both or by none, and for the same fields.

The CRD is asked through the embedded API server's admission. One difference is wanted: the models see one engine
argument swapped for another, which the API server's `==` on open objects does not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, assume, given, settings

from selm_local.apiserver.schema import FieldError as CrdError
from selm_operator.api.field_errors import FieldError
from selm_operator.api.validate import validate_change, validate_spec
from support.crd_answers import crd_answer
from support.selmruns import Json, run_object
from support.spec_mutations import changes, specs

FAST = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LONG = settings(
    settings.get_profile("search"), max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
SWAPPED = "spec.generation.engineArgs"
WHOLE = "<nil>"  # how an API server says that it asked no rules


Answer = Sequence[FieldError | CrdError]


def agree(ours: Answer, theirs: Answer) -> None:
    """Both name the same fields.

    Keys where no schema knows any are compared without the places in lists around them. pydantic stops at the first
    entry too many, so nothing is compared within such a list.
    """
    full = [error.field for error in [*ours, *theirs] if error.reason == "FieldValueTooMany"]

    def fields(errors: Answer) -> set[str]:
        named = {re.sub(r"\[\d+\]", "", e.field) if e.reason == "UnknownField" else e.field for e in errors} - {WHOLE}
        return {field for field in named if not any(field.startswith(f"{path}[") for path in full)}

    assert fields(ours) == fields(theirs)


def check_spec(spec: Json) -> None:
    run = run_object(spec)
    agree(validate_spec(run), crd_answer(run)[1])


def check_change(change: tuple[Json, Json, Json | None]) -> None:
    old_spec, new_spec, status = change
    stored, errors = crd_answer(run_object(old_spec))
    assume(not errors)
    assert stored is not None
    old, new = {**stored, **({} if status is None else {"status": status})}, run_object(new_spec)
    ours, theirs = validate_change(old, new), crd_answer(new, old)[1]
    if SWAPPED not in {error.field for error in theirs}:
        ours = [error for error in ours if error.field != SWAPPED]
    agree(ours, theirs)


@FAST
@given(specs())
def test_any_spec_is_answered_alike(spec: Json) -> None:
    check_spec(spec)


@FAST
@given(changes())
def test_any_change_is_answered_alike(change: tuple[Json, Json, Json | None]) -> None:
    check_change(change)


@pytest.mark.long
@LONG
@given(specs())
def test_very_many_specs_are_answered_alike(spec: Json) -> None:
    check_spec(spec)


@pytest.mark.long
@LONG
@given(changes())
def test_very_many_changes_are_answered_alike(change: tuple[Json, Json, Json | None]) -> None:
    check_change(change)
