"""The models' validators answer everything that JSON can say, and never raise."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from selm_operator.api.field_errors import FieldError
from selm_operator.api.possible import impossible
from selm_operator.api.spec import SELMRunSpec
from selm_operator.api.support import not_yet_supported
from selm_operator.api.validate import validate_change, validate_spec
from support.selmruns import Json, run_object
from support.spec_mutations import changes, specs

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def well_formed(errors: list[FieldError]) -> bool:
    return all(error.field and error.message for error in errors)


@given(ANY_JSON)
def test_any_json_for_a_spec_is_answered(spec: Any) -> None:
    assert validate_spec(run_object(spec))


@settings(max_examples=300, deadline=None)
@given(specs())
def test_what_is_admitted_can_be_read_and_judged(spec: Json) -> None:
    errors = validate_spec(run_object(spec))
    assert well_formed(errors)
    if not errors:
        read = SELMRunSpec.model_validate(spec)
        not_yet_supported(read)
        impossible(read)
        again = read.model_dump(mode="json", by_alias=True, exclude_none=True)
        assert validate_spec(run_object(again)) == []
        assert SELMRunSpec.model_validate(again) == read


@settings(max_examples=300, deadline=None)
@given(changes())
def test_every_change_is_answered(change: tuple[Json, Json, Json | None]) -> None:
    old, new, status = change
    assert well_formed(validate_change(run_object(old), run_object(new), status))
    assert validate_change(run_object(old), run_object(old), status) == []
