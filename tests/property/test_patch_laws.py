"""Laws of patches, defaults and pruning, over generated objects."""

import copy
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from selm_local.apiserver.patch import FieldRequest, apply, json_patch, merge_patch, merge_type_of, settle
from selm_local.apiserver.patch.fieldset import FieldSet
from selm_local.apiserver.patch.typedwalk import compare, field_set, merge, remove
from selm_local.apiserver.schema import CustomSchema
from selm_local.apiserver.schema.jsonvalue import json_equal

LAW = settings(deadline=None, max_examples=60)
COSTLY = settings(deadline=None, max_examples=40)

KEYS = st.sampled_from(["a", "b", "c", "d/e", "f~g"])
SCALARS = (
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-2, 2, allow_nan=False) | st.text("xyé", max_size=3)
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=12
)
OBJECTS = st.dictionaries(KEYS, JSON, max_size=4)


def without_nulls(value):
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return value


@LAW
@given(JSON, JSON)
def test_a_merge_patch_applied_twice_is_applied_once(target, patch):
    once = merge_patch(target, patch)
    assert json_equal(merge_patch(once, patch), once)


@LAW
@given(JSON)
def test_an_empty_merge_patch_changes_no_object(target):
    assert merge_patch(target, {}) == (target if isinstance(target, dict) else {})


@LAW
@given(OBJECTS, OBJECTS)
def test_a_merge_patch_of_an_object_onto_nothing_is_the_object_without_nulls(target, patch):
    assert json_equal(merge_patch({}, patch), without_nulls(patch))
    assert json_equal(merge_patch("replaced", patch), without_nulls(patch))


@LAW
@given(OBJECTS, KEYS, JSON)
def test_a_json_patch_that_adds_and_removes_leaves_the_object(target, key, value):
    pointer = "/" + key.replace("~", "~0").replace("/", "~1")
    target.pop(key, None)
    patch = [
        {"op": "add", "path": pointer, "value": value},
        {"op": "test", "path": pointer, "value": value},
        {"op": "remove", "path": pointer},
    ]
    before = copy.deepcopy(target)
    assert json_equal(json_patch(target, patch), before)
    assert json_equal(target, before)


SCHEMA = CustomSchema(
    {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "default": {},
                "properties": {
                    "i": {"type": "integer", "default": 1},
                    "n": {"type": "integer", "nullable": True},
                    "group": {
                        "type": "object",
                        "default": {"x": 2},
                        "properties": {"x": {"type": "integer"}, "y": {"type": "integer", "default": 3}},
                    },
                    "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                    "atomic": {"type": "array", "items": {"type": "integer"}},
                    "entries": {"type": "object", "additionalProperties": {"type": "integer"}},
                    "items": {
                        "type": "array",
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["name"],
                        "items": {
                            "type": "object",
                            "required": ["name"],
                            "properties": {"name": {"type": "string"}, "v": {"type": "integer"}},
                        },
                    },
                },
            }
        },
    }
)
TYPE = merge_type_of(SCHEMA)
NUMBERS = st.integers(0, 3)
NAMES = st.sampled_from(["p", "q", "r"])
ITEMS = st.dictionaries(NAMES, st.fixed_dictionaries({}, optional={"v": NUMBERS}), min_size=1, max_size=3).map(
    lambda found: [{"name": name, **rest} for name, rest in found.items()]
)
# Lists that merge are never empty: as on the real server, an empty one says nothing and is owned by nobody.
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "i": NUMBERS,
        "group": st.fixed_dictionaries({}, optional={"x": NUMBERS, "y": NUMBERS}),
        "set": st.lists(NAMES, unique=True, min_size=1, max_size=3),
        "atomic": st.lists(NUMBERS, max_size=2),
        "entries": st.dictionaries(NAMES, NUMBERS, max_size=2),
        "items": ITEMS,
    },
)
MANAGERS = st.sampled_from(["alice", "bob", "carol"])


def obj(spec):
    return {"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "a"}, "spec": spec}


def ask(manager, operation="Apply", time="2026-01-01T00:00:00Z"):
    return FieldRequest(manager, operation, "g/v1", time)


def spec_of(value):
    return value.get("spec") or {}


@LAW
@given(OBJECTS)
def test_defaults_and_pruning_are_idempotent(spec):
    pruned, _ = SCHEMA.prune(obj(spec))
    again, unknown = SCHEMA.prune(pruned)
    assert json_equal(again, pruned)
    assert unknown == []
    once = SCHEMA.default(pruned)
    assert json_equal(SCHEMA.default(once), once)


@LAW
@given(SPECS)
def test_a_field_set_survives_being_written_down(spec):
    fields = field_set(TYPE, obj(spec))
    assert FieldSet.parse(json.loads(json.dumps(fields.fields_v1()))) == fields


@LAW
@given(SPECS, SPECS)
def test_merging_makes_all_that_is_applied_true_and_nothing_else_different(live, applied):
    merged = merge(TYPE, obj(live), obj(applied))
    assert json_equal(merge(TYPE, merged, obj(applied)), merged)
    changed = compare(TYPE, obj(live), merged)
    assert not changed.removed
    said = field_set(TYPE, obj(applied)).with_parents(TYPE)
    assert not (changed.modified | changed.added) - said


@LAW
@given(SPECS, SPECS)
def test_comparing_both_ways_mirrors(left, right):
    there, back = compare(TYPE, obj(left), obj(right)), compare(TYPE, obj(right), obj(left))
    assert (there.added, there.removed, there.modified) == (back.removed, back.added, back.modified)
    assert not compare(TYPE, obj(left), obj(left)).modified


@LAW
@given(SPECS)
def test_removing_all_fields_leaves_nothing_of_the_spec(spec):
    fields = field_set(TYPE, {"spec": spec}).with_parents(TYPE)
    assert not field_set(TYPE, remove(TYPE, {"spec": spec}, fields))


@COSTLY
@given(st.lists(st.tuples(MANAGERS, SPECS), min_size=1, max_size=5))
def test_applies_of_several_managers(steps):
    live = None
    for manager, spec in steps:
        live = apply(live, obj(spec), ask(manager), TYPE, force=True)
        # What was applied last stands, applying it again changes nothing, and each field that is owned is there.
        assert json_equal(merge(TYPE, live, obj(spec)), live)
        assert json_equal(apply(live, obj(spec), ask(manager, time="2027-01-01T00:00:00Z"), TYPE), live)
        present = field_set(TYPE, live).with_parents(TYPE)
        owned = FieldSet()
        for entry in live["metadata"].get("managedFields", []):
            owned = owned | FieldSet.parse(entry["fieldsV1"])
        assert not owned - present
        # Nothing stays that nobody owns: there are no defaults here.
        leaves = field_set(TYPE, {"spec": spec_of(live)})
        assert not leaves - owned.with_parents(TYPE)


@COSTLY
@given(SPECS, SPECS)
def test_one_manager_that_applies_again_has_what_it_applied_last(first, then):
    live = apply(apply(None, obj(first), ask("alice"), TYPE), obj(then), ask("alice"), TYPE)
    assert not field_set(TYPE, {"spec": spec_of(live)}) - field_set(TYPE, obj(then)).with_parents(TYPE)


@COSTLY
@given(st.lists(st.tuples(MANAGERS, SPECS), min_size=1, max_size=5))
def test_each_field_of_an_object_that_is_updated_has_one_owner(steps):
    live = None
    for manager, spec in steps:
        new = obj(spec) if live is None else {**live, "spec": spec}
        live = settle(live, new, ask(manager, "Update"), TYPE)
        sets = [FieldSet.parse(entry["fieldsV1"]) for entry in live["metadata"].get("managedFields", [])]
        present = compare(TYPE, {}, {"spec": spec}).added
        everything = FieldSet()
        for one in sets:
            assert not one & everything, "two updates own one field"
            everything = everything | one
        assert not everything - present
        assert not present - everything
        assert json_equal(settle(live, live, ask("else", "Update", "2027-01-01T00:00:00Z"), TYPE), live)
