"""Pruning, defaults and OpenAPI validation of custom resources."""

import pytest

from selm_local.apiserver.schema import CustomSchema, admit


def schema(**spec):
    """A schema whose spec has these keywords."""
    return CustomSchema({"type": "object", "properties": {"spec": {"type": "object", **spec}}})


def obj(**spec):
    return {"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "a"}, "spec": spec}


def errors_of(of, value, old=None, *, strict=True):
    _, errors = admit(of, value, old, strict=strict)
    return [(e.field, e.reason) for e in errors if "were not checked" not in e.message]


ANY = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
SCALARS = schema(
    properties={
        "i": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 5},
        "n": {"type": "number", "minimum": 0, "exclusiveMinimum": True, "multipleOf": 0.5},
        "s": {"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^a+$"},
        "e": {"type": "string", "enum": ["A", "B"]},
        "b": {"type": "boolean"},
        "t": {"type": "string", "format": "date-time"},
        "d": {"type": "string", "format": "duration"},
        "ip": {"type": "string", "format": "ipv4"},
        "q": {
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": "^[0-9]+$",
        },
        "l": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "string"}},
        "m": {"type": "object", "maxProperties": 1, "additionalProperties": {"type": "integer"}},
        "o": {"type": "string", "nullable": True},
        "x": {"type": "string", "oneOf": [{"pattern": "^a"}, {"pattern": "b$"}], "not": {"enum": ["axb"]}},
        "y": {"type": "integer", "allOf": [{"minimum": 2}, {"maximum": 3}], "anyOf": [{"enum": [2]}, {"enum": [3]}]},
    }
)

VALUES = [
    ("an integer in range", {"i": 5}, None),
    ("a whole float for an integer", {"i": 2.0}, None),
    ("an integer below", {"i": 0}, ("spec.i", "FieldValueInvalid")),
    ("an integer above", {"i": 6}, ("spec.i", "FieldValueInvalid")),
    ("a boolean is no integer", {"i": True}, ("spec.i", "FieldValueTypeInvalid")),
    ("a string is no integer", {"i": "1"}, ("spec.i", "FieldValueTypeInvalid")),
    ("an integer for a number", {"n": 1}, None),
    ("the excluded minimum", {"n": 0}, ("spec.n", "FieldValueInvalid")),
    ("no multiple", {"n": 0.75}, ("spec.n", "FieldValueInvalid")),
    ("a number as string", {"n": "1.5"}, ("spec.n", "FieldValueTypeInvalid")),
    ("a string that fits", {"s": "aaa"}, None),
    ("a string too short", {"s": "a"}, ("spec.s", "FieldValueInvalid")),
    ("a string too long", {"s": "aaaaa"}, ("spec.s", "FieldValueTooLong")),
    ("a string that ends in a line break", {"s": "aa\n"}, ("spec.s", "FieldValueInvalid")),
    ("a value of the enum", {"e": "B"}, None),
    ("a value beyond the enum", {"e": "C"}, ("spec.e", "FieldValueNotSupported")),
    ("a boolean", {"b": False}, None),
    ("yes is no boolean", {"b": "yes"}, ("spec.b", "FieldValueTypeInvalid")),
    ("a time", {"t": "2026-01-02T03:04:05.123456789+01:00"}, None),
    ("a day is no time", {"t": "2026-01-02"}, ("spec.t", "FieldValueTypeInvalid")),
    ("a time that is not", {"t": "2026-02-30T00:00:00Z"}, ("spec.t", "FieldValueTypeInvalid")),
    ("a duration", {"d": "1h30m"}, None),
    ("no duration", {"d": "soon"}, ("spec.d", "FieldValueTypeInvalid")),
    ("an address", {"ip": "10.0.0.1"}, None),
    ("no address", {"ip": "10.0.0.256"}, ("spec.ip", "FieldValueTypeInvalid")),
    ("an int-or-string that is an int", {"q": 3}, None),
    ("an int-or-string that is a string", {"q": "3"}, None),
    ("an int-or-string of the wrong form", {"q": "three"}, ("spec.q", "FieldValueInvalid")),
    ("an int-or-string that is a boolean", {"q": True}, ("spec.q", "FieldValueTypeInvalid")),
    ("a list too short", {"l": []}, ("spec.l", "FieldValueInvalid")),
    ("a list too long", {"l": ["a", "b", "c"]}, ("spec.l", "FieldValueTooMany")),
    ("an item of the wrong type", {"l": ["a", 1]}, ("spec.l[1]", "FieldValueTypeInvalid")),
    ("a mapping for a list", {"l": {}}, ("spec.l", "FieldValueTypeInvalid")),
    ("too many entries", {"m": {"a": 1, "b": 2}}, ("spec.m", "FieldValueTooMany")),
    ("an entry of the wrong type", {"m": {"a": "1"}}, ("spec.m.a", "FieldValueTypeInvalid")),
    ("a null that may be", {"o": None}, None),
    ("one of two patterns", {"x": "a"}, None),
    ("both of two patterns", {"x": "ab"}, ("spec.x", "FieldValueInvalid")),
    ("all and any", {"y": 3}, None),
]


@pytest.mark.parametrize(("spec", "expected"), [c[1:] for c in VALUES], ids=[c[0] for c in VALUES])
def test_value(spec, expected):
    assert errors_of(SCALARS, obj(**spec)) == ([] if expected is None else [expected])


def test_neither_pattern_says_why():
    assert set(errors_of(SCALARS, obj(x="c"))) == {("spec.x", "FieldValueInvalid")}


def test_allOf_names_the_field():
    assert set(errors_of(SCALARS, obj(y=9))) == {("spec.y", "FieldValueInvalid"), ("spec.y", "FieldValueNotSupported")}


def test_an_integer_beyond_its_format_is_refused():
    wide = schema(properties={"i": {"type": "integer", "format": "int32"}})
    assert errors_of(wide, obj(i=2**31)) == [("<nil>", "FieldValueInvalid")]
    assert errors_of(wide, obj(i=2**31 - 1)) == []


def test_messages_are_those_of_kubernetes():
    _, errors = admit(SCALARS, obj(i=0, e="C", s="b" * 3, n="x"))
    assert {(e.field, e.message) for e in errors} >= {
        ("spec.i", "Invalid value: 0: spec.i in body should be greater than or equal to 1"),
        ("spec.e", 'Unsupported value: "C": supported values: "A", "B"'),
        ("spec.s", "Invalid value: \"bbb\": spec.s in body should match '^a+$'"),
        ("spec.n", 'Invalid value: "string": spec.n in body must be of type number: "string"'),
    }


def test_required_fields():
    of = CustomSchema(
        {
            "type": "object",
            "required": ["spec"],
            "properties": {"spec": {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}},
        }
    )
    bare = {"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "a"}}
    assert errors_of(of, bare) == [("spec", "FieldValueRequired")]
    assert errors_of(of, obj()) == [("spec.a", "FieldValueRequired")]


DEFAULTS = schema(
    properties={
        "a": {"type": "integer", "default": 1},
        "n": {"type": "integer", "nullable": True, "default": 2},
        "plain": {"type": "integer"},
        "group": {"type": "object", "default": {}, "properties": {"x": {"type": "integer", "default": 3}}},
        "optional": {"type": "object", "properties": {"x": {"type": "integer", "default": 4}}},
        "items": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "integer", "default": 5}}}},
        "map": {
            "type": "object",
            "additionalProperties": {"type": "object", "properties": {"x": {"type": "integer", "default": 6}}},
        },
    }
)

DEFAULTING = [
    ("an absent field gets its default, an absent group only if it has one", {}, {"a": 1, "n": 2, "group": {"x": 3}}),
    ("a given value stays", {"a": 0, "group": {"x": 0}}, {"a": 0, "n": 2, "group": {"x": 0}}),
    ("a null that may not be gets the default", {"a": None}, {"a": 1, "n": 2, "group": {"x": 3}}),
    ("a null that may be stays", {"n": None}, {"a": 1, "n": None, "group": {"x": 3}}),
    ("a null without default goes", {"plain": None}, {"a": 1, "n": 2, "group": {"x": 3}}),
    ("a group that is there gets its own", {"optional": {}}, {"a": 1, "n": 2, "group": {"x": 3}, "optional": {"x": 4}}),
    (
        "items and entries get theirs",
        {"items": [{}], "map": {"k": {}}},
        {"a": 1, "n": 2, "group": {"x": 3}, "items": [{"x": 5}], "map": {"k": {"x": 6}}},
    ),
]


@pytest.mark.parametrize(("given", "stored"), [c[1:] for c in DEFAULTING], ids=[c[0] for c in DEFAULTING])
def test_defaults(given, stored):
    found, errors = admit(DEFAULTS, obj(**given))
    assert (found["spec"], errors) == (stored, [])


def test_defaults_are_copies():
    first, second = DEFAULTS.default(obj()), DEFAULTS.default(obj())
    first["spec"]["group"]["x"] = 99
    assert second["spec"]["group"] == {"x": 3}
    assert DEFAULTS.default(obj())["spec"]["group"] == {"x": 3}


def test_unknown_fields_are_named_and_dropped():
    of = schema(
        properties={
            "a": {"type": "object", "properties": {"b": {"type": "integer"}}},
            "open": ANY,
            "l": {"type": "array", "items": {"type": "object", "properties": {}}},
        }
    )
    given = obj(a={"b": 1, "c": 2}, open={"any": [1]}, l=[{"z": 1}], typo=1)
    given["metadata"]["surprise"] = 1
    pruned, unknown = of.prune(given)
    assert unknown == ["metadata.surprise", "spec.a.c", "spec.l[0].z", "spec.typo"]
    assert pruned["spec"] == {"a": {"b": 1}, "open": {"any": [1]}, "l": [{}]}
    assert given["spec"]["typo"] == 1, "the argument was changed"
    assert errors_of(of, given) == [(path, "UnknownField") for path in unknown]


LISTS = schema(
    properties={
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "map": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "v": {"type": "integer", "maximum": 9}},
            },
        },
        "free": {"type": "array", "items": {"type": "integer", "maximum": 9}},
        "n": {"type": "integer", "maximum": 9},
    }
)


def test_sets_and_maps_hold_each_item_once():
    assert errors_of(LISTS, obj(set=["a", "b", "a", "a"])) == [("spec.set[2]", "FieldValueDuplicate")]
    assert errors_of(LISTS, obj(map=[{"name": "a"}, {"name": "a", "v": 1}])) == [("spec.map[1]", "FieldValueDuplicate")]
    assert errors_of(LISTS, obj(map=[{"name": "a"}, {"name": "b"}], free=[1, 1])) == []


def test_an_object_within_an_object_must_say_what_it_is():
    of = schema(
        properties={
            "t": {
                "type": "object",
                "x-kubernetes-embedded-resource": True,
                "x-kubernetes-preserve-unknown-fields": True,
            }
        }
    )
    assert (
        errors_of(of, obj(t={"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"a": "b"}}, "spec": {}})) == []
    )
    assert errors_of(of, obj(t={"kind": "-", "metadata": {"labels": {"a b": "c"}}})) == [
        ("spec.t.apiVersion", "FieldValueRequired"),
        ("spec.t.kind", "FieldValueInvalid"),
        ("spec.t.metadata.labels", "FieldValueInvalid"),
    ]
    pruned, unknown = of.prune(obj(t={"metadata": {"surprise": 1}, "any": 1}))
    assert (pruned["spec"], unknown) == ({"t": {"metadata": {}, "any": 1}}, ["spec.t.metadata.surprise"])


RATCHETING = [
    ("what was invalid and did not change stays", {"n": 10}, {"n": 10, "set": ["a"]}, []),
    ("what was invalid and changed is refused", {"n": 10}, {"n": 11}, [("spec.n", "FieldValueInvalid")]),
    (
        "an item of a map is known by its key",
        {"map": [{"name": "a", "v": 10}]},
        {"map": [{"name": "b"}, {"name": "a", "v": 10}]},
        [],
    ),
    ("an item of an atomic list is not", {"free": [10]}, {"free": [1, 10]}, [("spec.free[1]", "FieldValueInvalid")]),
    ("a duplicate that was there stays", {"set": ["a", "a"]}, {"set": ["a", "a"], "n": 1}, []),
    ("a new duplicate is refused", {"set": ["a"]}, {"set": ["a", "a"]}, [("spec.set[1]", "FieldValueDuplicate")]),
]


@pytest.mark.parametrize(("old", "new", "expected"), [c[1:] for c in RATCHETING], ids=[c[0] for c in RATCHETING])
def test_ratcheting(old, new, expected):
    assert errors_of(LISTS, obj(**new), obj(**old)) == expected


def test_status_is_written_through_its_subresource_alone():
    of = CustomSchema(
        {
            "type": "object",
            "properties": {
                "spec": {"type": "object", "properties": {"a": {"type": "integer"}}},
                "status": {"type": "object", "properties": {"b": {"type": "integer"}}},
            },
        },
        status_subresource=True,
    )
    created, _ = admit(of, {**obj(a=1), "status": {"b": 1}})
    assert "status" not in created
    written, _ = admit(of, {**created, "spec": {"a": 9}, "status": {"b": 2}}, created, subresource="status")
    assert (written["spec"], written["status"]) == ({"a": 1}, {"b": 2})
    updated, _ = admit(of, {**obj(a=3), "status": {"b": 7}}, written)
    assert (updated["spec"], updated["status"]) == ({"a": 3}, {"b": 2})


def test_the_kind_is_checked_before_anything_else():
    of = CustomSchema({"type": "object", "required": ["spec"]}, api_version="g/v1", kind="K")
    assert errors_of(of, {"apiVersion": "g/v1", "kind": "Other", "metadata": {}}) == [("kind", "FieldValueInvalid")]
