"""Whatever JSON comes in, a custom resource's schema answers; and what it admits, it admits again."""

from hypothesis import given, settings
from hypothesis import strategies as st

from selm_local.apiserver.schema import CustomSchema, admit
from selm_local.apiserver.schema.jsonvalue import json_equal

NAMES = st.sampled_from(["i", "s", "t", "items", "set", "open", "q", "map", "name", "v", "x"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4)
    | st.sampled_from(["2026-01-01T00:00:00Z", "A", "1Gi"])
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=15
)


def rule(text):
    return {"rule": text, "message": "no"}


SCHEMA = CustomSchema(
    {
        "type": "object",
        "x-kubernetes-validations": [rule("size(self.metadata.name) < 10")],
        "properties": {
            "spec": {
                "type": "object",
                "default": {},
                "x-kubernetes-validations": [
                    rule("!has(self.i) || self.i < 100"),
                    rule("!has(self.set) || !has(oldSelf.set) || self.set == oldSelf.set"),
                ],
                "properties": {
                    "i": {"type": "integer", "format": "int32", "default": 1},
                    "s": {"type": "string", "enum": ["A", "B"], "nullable": True},
                    "t": {"type": "string", "format": "date-time"},
                    "q": {"x-kubernetes-int-or-string": True, "pattern": "^[0-9]+(Gi)?$"},
                    "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                    "map": {"type": "object", "additionalProperties": {"type": "number"}},
                    "set": {
                        "type": "array",
                        "maxItems": 3,
                        "x-kubernetes-list-type": "set",
                        "items": {"type": "string"},
                    },
                    "items": {
                        "type": "array",
                        "maxItems": 3,
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["name"],
                        "items": {
                            "type": "object",
                            "required": ["name"],
                            "x-kubernetes-validations": [rule("!has(self.v) || self.v > oldSelf.v")],
                            "properties": {"name": {"type": "string"}, "v": {"type": "integer", "default": 2}},
                        },
                    },
                },
            }
        },
    }
)


@settings(deadline=None, max_examples=150)
@given(JSON, JSON)
def test_every_object_gets_an_answer(spec, metadata):
    stored, errors = admit(SCHEMA, {"metadata": metadata, "spec": spec}, strict=False)
    assert errors or isinstance(stored["metadata"], dict)
    for error in errors:
        assert error.field
        assert error.message


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(NAMES, JSON, max_size=4))
def test_what_is_admitted_is_admitted_again_unchanged(spec):
    stored, errors = admit(SCHEMA, {"metadata": {"name": "a"}, "spec": spec}, strict=False)
    if errors:
        return
    again, found = admit(SCHEMA, stored, strict=True)
    assert found == []
    assert json_equal(again, stored)


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(NAMES, JSON, max_size=4))
def test_what_is_stored_may_be_stored_unchanged_even_if_it_is_invalid(spec):
    stored, _ = admit(SCHEMA, {"metadata": {"name": "a"}, "spec": spec}, strict=False)
    found = [error for error in admit(SCHEMA, stored, stored)[1] if "oldSelf" not in error.message]
    # Rules that compare with the old self, or cannot be evaluated, are not ratcheted.
    assert all("evaluating rule" in error.message or error.message == "Invalid value: no" for error in found)
