"""What a CustomResourceDefinition must be to be admitted."""

import copy

import pytest

from selm_local.apiserver.schema import default_crd, validate_crd
from selm_local.apiserver.schema.admission import celcheck
from selm_local.apiserver.schema.cel.rules import RuleSet
from selm_local.apiserver.schema.node import Node

AT = "spec.validation.openAPIV3Schema.properties[spec]"


def crd(properties=None, **more):
    """A CRD whose spec has these properties and keywords."""
    spec = {"type": "object", "properties": properties or {}, **more}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
    }
    body = {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "tries", "singular": "try", "kind": "Try"},
        "versions": [version],
    }
    return {"metadata": {"name": "tries.example.com"}, "spec": body}


def rules(*entries):
    return {"x-kubernetes-validations": list(entries)}


def found(of, old=None):
    return [(e.field, e.reason) for e in validate_crd(default_crd(of), old)]


KEYED = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name"],
    "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
}


def keyed(**items):
    return {**KEYED, "items": {**KEYED["items"], **items}}


GOOD = [
    ("an empty spec", crd()),
    ("an int-or-string", crd({"a": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}})),
    ("an open object", crd({"a": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}})),
    ("an open field without type", crd({"a": {"x-kubernetes-preserve-unknown-fields": True}})),
    ("a map by key", crd({"a": KEYED})),
    ("a map by a key with default", crd({"a": keyed(required=[], properties={"name": {"type": "string", "default": "x"}})})),
    ("a set", crd({"a": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}})),
    ("a default that fits", crd({"a": {"type": "object", "default": {"b": 1}, "properties": {"b": {"type": "integer"}}}})),
    ("value checks in a junctor", crd({"a": {"type": "string", "anyOf": [{"pattern": "^a"}, {"maxLength": 2}]}})),
    ("a rule", crd({"a": {"type": "integer"}}, **rules({"rule": "self.a > 1", "message": "m", "fieldPath": ".a"}))),
    ("a rule that holds for its default", crd({"a": {"type": "integer", "default": 2, **rules({"rule": "self == oldSelf || self > 1"})}})),
]  # fmt: skip


@pytest.mark.parametrize("of", [case[1] for case in GOOD], ids=[case[0] for case in GOOD])
def test_admitted(of):
    assert found(of) == []


SCHEMAS = [
    ("no type", {"a": {"description": "x"}}, [("properties[a].type", "FieldValueRequired")]),
    ("an unknown type", {"a": {"type": "float"}}, [("properties[a].type", "FieldValueNotSupported")]),
    ("a type in a junctor", {"a": {"type": "string", "anyOf": [{"type": "string"}]}}, [("properties[a].anyOf[0].type", "FieldValueForbidden")]),
    ("a default in a junctor", {"a": {"type": "string", "allOf": [{"default": "x"}]}}, [("properties[a].allOf[0].default", "FieldValueForbidden")]),
    ("an array without items", {"a": {"type": "array"}}, [("properties[a].items", "FieldValueRequired")]),
    ("a bad pattern", {"a": {"type": "string", "pattern": "("}}, [("properties[a].pattern", "FieldValueInvalid")]),
    ("a look-ahead, which RE2 has not", {"a": {"type": "string", "pattern": "(?=a)"}}, [("properties[a].pattern", "FieldValueInvalid")]),
    ("additionalProperties beside properties", {"a": {"type": "object", "additionalProperties": {"type": "string"}, "properties": {"b": {"type": "string"}}}}, [("properties[a].additionalProperties", "FieldValueForbidden")]),
    ("unique items", {"a": {"type": "array", "uniqueItems": True, "items": {"type": "string"}}}, [("properties[a].uniqueItems", "FieldValueForbidden")]),
    ("preserve-unknown-fields false", {"a": {"type": "object", "x-kubernetes-preserve-unknown-fields": False}}, [("properties[a].x-kubernetes-preserve-unknown-fields", "FieldValueInvalid")]),
    ("an int-or-string that is open", {"a": {"x-kubernetes-int-or-string": True, "x-kubernetes-preserve-unknown-fields": True}}, [("properties[a].x-kubernetes-preserve-unknown-fields", "FieldValueInvalid")]),
    ("a list type on an object", {"a": {"type": "object", "x-kubernetes-list-type": "set"}}, [("properties[a].type", "FieldValueInvalid")]),
    ("an unknown list type", {"a": {"type": "array", "x-kubernetes-list-type": "bag", "items": {"type": "string"}}}, [("properties[a].x-kubernetes-list-type", "FieldValueNotSupported")]),
    ("a map without keys", {"a": {**KEYED, "x-kubernetes-list-map-keys": []}}, [("properties[a].x-kubernetes-list-map-keys", "FieldValueRequired")]),
    ("a key that is no property", {"a": {**KEYED, "x-kubernetes-list-map-keys": ["id"]}}, [("properties[a].x-kubernetes-list-map-keys", "FieldValueInvalid")]),
    ("a key that may be absent", {"a": keyed(required=[])}, [("properties[a].items.properties[name].default", "FieldValueRequired")]),
    ("a key that is an object", {"a": keyed(properties={"name": {"type": "object"}})}, [("properties[a].items.properties[name].type", "FieldValueInvalid")]),
    ("a set of granular objects", {"a": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object"}}}, [("properties[a].items.x-kubernetes-map-type", "FieldValueInvalid")]),
    ("a default below the minimum", {"a": {"type": "integer", "minimum": 3, "default": 1}}, [("properties[a].default", "FieldValueInvalid")]),
    ("a default of another type", {"a": {"type": "integer", "default": "1"}}, [("properties[a].default", "FieldValueTypeInvalid")]),
    ("a default with an undeclared field", {"a": {"type": "object", "default": {"b": 1}}}, [("properties[a].default", "FieldValueInvalid")]),
    ("a default that breaks its rule", {"a": {"type": "integer", "default": 1, **rules({"rule": "self > 1"})}}, [("properties[a].default", "FieldValueInvalid")]),
    ("a rule that the default's absent field fails", {"a": {"type": "object", "default": {}, "properties": {"b": {"type": "integer", "default": 2}}, **rules({"rule": "self.b > 1"})}}, [("properties[a].default", "FieldValueInvalid")]),
    ("patternProperties", {"a": {"type": "object", "patternProperties": {"x": {"type": "string"}}}}, [("properties[a].patternProperties", "FieldValueForbidden")]),
    ("a rule on what has no schema", {"a": {"x-kubernetes-preserve-unknown-fields": True, **rules({"rule": "true"})}}, [("properties[a].x-kubernetes-validations", "InternalError")]),
]  # fmt: skip


@pytest.mark.parametrize(("properties", "expected"), [c[1:] for c in SCHEMAS], ids=[c[0] for c in SCHEMAS])
def test_a_schema_is_refused(properties, expected):
    assert found(crd(properties)) == [(f"{AT}.{field}", reason) for field, reason in expected]


RULES = [
    ("an empty rule", {"rule": " "}, "rule", "FieldValueRequired"),
    ("an empty message", {"rule": "true", "message": " "}, "message", "FieldValueInvalid"),
    ("a message of two lines", {"rule": "true", "message": "a\nb"}, "message", "FieldValueInvalid"),
    ("a rule of two lines without message", {"rule": "true\n|| true"}, "message", "FieldValueRequired"),
    ("an unknown reason", {"rule": "true", "reason": "Because"}, "reason", "FieldValueNotSupported"),
    ("a fieldPath that is not", {"rule": "true", "fieldPath": ".b"}, "fieldPath", "FieldValueInvalid"),
    ("a fieldPath without dot", {"rule": "true", "fieldPath": "a"}, "fieldPath", "FieldValueInvalid"),
    (
        "a messageExpression that is no string",
        {"rule": "true", "messageExpression": "self.a"},
        "messageExpression",
        "FieldValueInvalid",
    ),
    (
        "optionalOldSelf without oldSelf",
        {"rule": "true", "optionalOldSelf": True},
        "optionalOldSelf",
        "FieldValueInvalid",
    ),
    ("no boolean", {"rule": "self.a + 1"}, "rule", "FieldValueInvalid"),
]


@pytest.mark.parametrize(("rule", "field", "reason"), [c[1:] for c in RULES], ids=[c[0] for c in RULES])
def test_a_rule_is_refused(rule, field, reason):
    assert found(crd({"a": {"type": "integer"}}, **rules(rule))) == [
        (f"{AT}.x-kubernetes-validations[0].{field}", reason)
    ]


def test_oldSelf_needs_items_that_can_be_matched():
    item = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string", "maxLength": 5}},
        **rules({"rule": "self == oldSelf"}),
    }
    listed = {"type": "array", "maxItems": 5, "items": item}
    assert found(crd({"a": listed})) == [
        (f"{AT}.properties[a].items.x-kubernetes-validations[0].rule", "FieldValueInvalid")
    ]
    assert found(crd({"a": {**listed, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}})) == []
    loose = {
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {"b": {"type": "integer", **rules({"rule": "self == oldSelf"})}},
    }
    assert [f[0] for f in found(crd({"a": loose}))] == [
        f"{AT}.properties[a].properties[b].x-kubernetes-validations[0].rule"
    ]


WORDS = {"type": "array", "items": {"type": "array", "items": {"type": "string"}}}


def test_a_rule_over_unbounded_lists_is_too_dear():
    dear = {"rule": "self.a.all(x, self.a.all(y, x.all(z, y.exists(w, w == z))))"}
    where = f"{AT}.x-kubernetes-validations[0].rule"
    errors = validate_crd(default_crd(crd({"a": WORDS}, **rules(dear))))
    assert [(e.field, e.reason) for e in errors] == [
        (where, "FieldValueForbidden"),
        (where, "FieldValueForbidden"),
        ("spec.validation.openAPIV3Schema", "FieldValueForbidden"),
    ]
    assert "more than 100x" in errors[0].message


def test_bounds_make_the_same_rule_affordable():
    bounded = {
        "type": "array",
        "maxItems": 5,
        "items": {"type": "array", "maxItems": 5, "items": {"type": "string", "maxLength": 5}},
    }
    assert (
        found(crd({"a": bounded}, **rules({"rule": "self.a.all(x, self.a.all(y, x.all(z, y.exists(w, w == z))))"})))
        == []
    )


def cost(schema, rule):
    """The estimated cost of a rule on a spec with property `a`."""
    root = Node.parse(
        {
            "type": "object",
            "properties": {"spec": {"type": "object", "properties": {"a": schema}, **rules({"rule": rule})}},
        }
    )
    errors, report = celcheck.check(root, RuleSet(root), "s")
    assert errors == []
    return report.total


# By hand from the cost table of cel-go: an identifier or a selection 1, a string 0.1 a character (4 bytes each), a
# pattern 0.25 a character, a list literal 10, a comparison of scalars 1.
COSTS = [
    ("a comparison", {"type": "integer"}, "self.a > 1", 3),
    ("presence is free but for its operand", {"type": "integer"}, "has(self.a)", 1),
    ("strings are compared by length", {"type": "string", "maxLength": 10}, "self.a == oldSelf.a", 4 + 4),
    ("an enum is as long as its longest value", {"type": "string", "enum": ["abcd", "ab"]}, "self.a == oldSelf.a", 4 + 1),
    ("a literal bounds a comparison", {"type": "string", "maxLength": 100}, "self.a == 'abcdefghij'", 2 + 1),
    ("a pattern costs text times pattern", {"type": "string", "maxLength": 25}, "self.a.matches('abcdefgh')", 2 + 11 * 2),
    ("a list is its length times the step", {"type": "array", "maxItems": 10, "items": {"type": "integer"}}, "self.a.all(x, x > 0)", 2 + 10 * 5 + 1),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "rule", "expected"), [c[1:] for c in COSTS], ids=[c[0] for c in COSTS])
def test_cost(schema, rule, expected):
    assert cost(schema, rule) == expected


def test_a_rule_costs_as_often_as_its_value_can_occur():
    inner = {"type": "object", "properties": {"b": {"type": "integer"}}, **rules({"rule": "self.b > 1"})}

    def total(**bounds):
        root = Node.parse({"type": "object", "properties": {"a": {"type": "array", "items": inner, **bounds}}})
        return celcheck.check(root, RuleSet(root), "s")[1].total

    assert total(maxItems=7) == 3 * 7
    assert total() == 3 * (3 * 1024 * 1024 // 3), "unbounded: as many {} and commas as fit a request"


def change(of, **spec):
    result = copy.deepcopy(of)
    result["spec"].update(spec)
    return result


def with_version(**version):
    result = crd()
    result["spec"]["versions"][0].update(version)
    return result


COLUMN = {"name": "A", "type": "string", "jsonPath": ".spec.a"}
HEADS = [
    ("another name", {**crd(), "metadata": {"name": "others.example.com"}}, [("metadata.name", "FieldValueInvalid")]),
    ("a group without dot", {**change(crd(), group="example"), "metadata": {"name": "tries.example"}}, [("spec.group", "FieldValueInvalid")]),
    ("no scope", change(crd(), scope=None), [("spec.scope", "FieldValueRequired")]),
    ("an unknown scope", change(crd(), scope="Global"), [("spec.scope", "FieldValueNotSupported")]),
    ("a kind with a dash at its end", change(crd(), names={"plural": "tries", "singular": "try", "kind": "Try-", "listKind": "TryList"}), [("spec.names.kind", "FieldValueInvalid")]),
    ("a short name in capitals", change(crd(), names={"plural": "tries", "kind": "Try", "shortNames": ["T"]}), [("spec.names.shortNames[0]", "FieldValueInvalid")]),
    ("no storage version", with_version(storage=False), [("spec.versions", "FieldValueInvalid"), ("status.storedVersions", "FieldValueInvalid")]),
    ("a version without schema", with_version(schema=None), [("spec.versions[0].schema.openAPIV3Schema", "FieldValueRequired")]),
    ("a version's bad name", with_version(name="V1"), [("spec.versions[0].name", "FieldValueInvalid")]),
    ("a column without type", with_version(additionalPrinterColumns=[{**COLUMN, "type": ""}]), [("spec.additionalPrinterColumns[0].type", "FieldValueRequired")]),
    ("a column of an unknown type", with_version(additionalPrinterColumns=[{**COLUMN, "type": "float"}]), [("spec.additionalPrinterColumns[0].type", "FieldValueInvalid")]),
    ("a column whose path has no dot", with_version(additionalPrinterColumns=[{**COLUMN, "jsonPath": "spec.a"}]), [("spec.additionalPrinterColumns[0].JSONPath", "FieldValueInvalid")]),
    ("scale paths elsewhere", with_version(subresources={"scale": {"specReplicasPath": ".status.n", "statusReplicasPath": ".status.n"}}), [("spec.subresources.scale.specReplicasPath", "FieldValueInvalid")]),
    ("a conversion webhook, which is not here", change(crd(), conversion={"strategy": "Webhook"}), [("spec.conversion.strategy", "FieldValueNotSupported")]),
]  # fmt: skip


@pytest.mark.parametrize(("of", "expected"), [c[1:] for c in HEADS], ids=[c[0] for c in HEADS])
def test_a_crd_is_refused(of, expected):
    assert found(of) == expected


def test_two_versions_are_named_apart_where_they_differ():
    of = crd({"a": {"type": "integer"}})
    second = copy.deepcopy(of["spec"]["versions"][0])
    second.update(name="v2", storage=False)
    second["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["b"] = {"description": "no type"}
    of["spec"]["versions"].append(second)
    assert found(of) == [
        ("spec.versions[1].schema.openAPIV3Schema.properties[spec].properties[b].type", "FieldValueRequired")
    ]


def test_defaults_of_a_crd():
    of = default_crd(crd())
    assert of["spec"]["names"] == {"plural": "tries", "singular": "try", "kind": "Try", "listKind": "TryList"}
    assert of["spec"]["conversion"] == {"strategy": "None"}
    assert of["status"]["storedVersions"] == ["v1"]
    assert default_crd(of) == of


def test_what_an_established_crd_may_not_change():
    old = default_crd(crd())
    old["status"]["conditions"] = [{"type": "Established", "status": "True"}]
    new = copy.deepcopy(old)
    assert found(new, old) == []
    new["spec"]["scope"] = "Cluster"
    new["spec"]["names"]["kind"] = "Other"
    assert found(new, old) == [("spec.scope", "FieldValueInvalid"), ("spec.names.kind", "FieldValueInvalid")]


def test_a_version_that_was_stored_must_remain():
    old = default_crd(crd())
    new = copy.deepcopy(old)
    new["spec"]["versions"][0]["name"] = "v2"
    assert found(new, old) == [("status.storedVersions[0]", "FieldValueInvalid")]


def test_metadata_at_the_root_is_the_servers():
    of = crd()
    root = of["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    root["properties"]["metadata"] = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 9}}}
    assert found(of) == []
    root["properties"]["metadata"]["properties"]["labels"] = {"type": "object"}
    assert found(of) == [("spec.validation.openAPIV3Schema.properties[metadata]", "FieldValueForbidden")]


def test_the_root_of_a_schema_with_status_may_say_little():
    of = with_version(subresources={"status": {}})
    assert found(of) == []
    of["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["minProperties"] = 1
    assert found(of) == [("spec.validation.openAPIV3Schema", "FieldValueInvalid")]
