"""The syntax of names, labels and metadata."""

import pytest

from selm_local.apiserver.schema import names

CASES = [
    ("a label of letters, digits and dashes", names.dns1123_label, "a-1", True),
    ("a label with a dot", names.dns1123_label, "a.b", False),
    ("a label of 64 characters", names.dns1123_label, "a" * 64, False),
    ("a label that ends in a dash", names.dns1123_label, "a-", False),
    ("a label that ends in a line break", names.dns1123_label, "a\n", False),
    ("a subdomain", names.dns1123_subdomain, "a.b-c.d", True),
    ("a subdomain in capitals", names.dns1123_subdomain, "Bad_Name", False),
    ("a subdomain with an empty part", names.dns1123_subdomain, "a..b", False),
    ("a service's name", names.dns1035_label, "a1", True),
    ("a service's name that begins with a digit", names.dns1035_label, "1a", False),
    ("a bare key", names.qualified_name, "My.Name_1", True),
    ("a key with prefix", names.qualified_name, "example.com/name", True),
    ("a key with an empty prefix", names.qualified_name, "/name", False),
    ("a key with two prefixes", names.qualified_name, "a/b/c", False),
    ("a key with a space", names.qualified_name, "a b", False),
    ("a key whose name has 64 characters", names.qualified_name, "example.com/" + "a" * 64, False),
    ("an empty label value", names.label_value, "", True),
    ("a label value with dots", names.label_value, "v1.2_3", True),
    ("a label value that begins with a dash", names.label_value, "-a", False),
]


@pytest.mark.parametrize(("check", "value", "valid"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_syntax(check, value, valid):
    assert (check(value) == []) is valid


def fields(errors):
    return [(error.field, error.reason) for error in errors]


def test_metadata_of_a_good_object():
    good = {
        "name": "a",
        "labels": {"example.com/a": "b"},
        "annotations": {"example.com/A": "any text"},
        "finalizers": ["example.com/hold"],
        "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": True}],
    }
    assert names.object_meta(good) == []


BAD_METADATA = [
    ("no name", {}, ("metadata.name", "FieldValueRequired")),
    ("a bad name", {"name": "A"}, ("metadata.name", "FieldValueInvalid")),
    ("a bad label", {"name": "a", "labels": {"a b": "c"}}, ("metadata.labels", "FieldValueInvalid")),
    ("a number as label", {"name": "a", "labels": {"a": 1}}, ("metadata.labels", "FieldValueInvalid")),
    (
        "annotations too long",
        {"name": "a", "annotations": {"a": "x" * 300_000}},
        ("metadata.annotations", "FieldValueTooLong"),
    ),
    (
        "an unqualified finalizer",
        {"name": "a", "finalizers": ["hold"]},
        ("metadata.finalizers[0]", "FieldValueInvalid"),
    ),
    (
        "an owner without uid",
        {"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]},
        ("metadata.ownerReferences[0].uid", "FieldValueInvalid"),
    ),
]


@pytest.mark.parametrize(("metadata", "expected"), [c[1:] for c in BAD_METADATA], ids=[c[0] for c in BAD_METADATA])
def test_metadata_is_refused(metadata, expected):
    assert fields(names.object_meta(metadata)) == [expected]


def test_a_generated_name_may_end_in_a_dash_but_must_be_a_name():
    assert fields(names.object_meta({"generateName": "work-"})) == [("metadata.name", "FieldValueRequired")]
    assert names.object_meta({"generateName": "work-", "name": "work-abcde"}) == []
    assert ("metadata.generateName", "FieldValueInvalid") in fields(
        names.object_meta({"generateName": "W", "name": "w"})
    )


def test_two_controllers_are_refused():
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": True}
    errors = names.object_meta({"name": "a", "ownerReferences": [owner, {**owner, "uid": "v"}]})
    assert fields(errors) == [("metadata.ownerReferences", "FieldValueInvalid")]


def test_identity_does_not_change_on_update():
    old = {"name": "a", "namespace": "n", "uid": "1"}
    assert names.object_meta({**old, "labels": {"a": "b"}}, old=old) == []
    assert fields(names.object_meta({**old, "uid": "2"}, old=old)) == [("metadata.uid", "FieldValueInvalid")]
