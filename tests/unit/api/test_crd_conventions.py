"""The generated CRD against the conventions of the Kubernetes API, read off the schema itself.

Floats and booleans are allowed, by decision; the rest holds: structural, bounded, listed, described.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from selm_operator.api.crd import custom_resource_definition
from selm_runtime.contract import OBJECTIVE_PARAMETERS

CRD = custom_resource_definition()
VERSION = CRD["spec"]["versions"][0]
ROOT = VERSION["schema"]["openAPIV3Schema"]
INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from nodes(schema["additionalProperties"], f"{path}{{}}")


NODES = dict(nodes(ROOT))
OURS = {path: node for path, node in NODES.items() if path.startswith((".spec", ".status"))}
FIELDS = {path: node for path, node in OURS.items() if not path.endswith(("[]", "{}"))}


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    return {path: node for path, node in OURS.items() if node.get("type") == kind}


def test_the_schema_is_structural() -> None:
    for path, node in NODES.items():
        if node.get("x-kubernetes-int-or-string"):
            assert node["anyOf"] == INT_OR_STRING, path
            assert "type" not in node, path
        else:
            assert node["type"] in {"object", "array", "string", "integer", "number", "boolean"}, path
            assert not {"anyOf", "oneOf", "allOf", "not", "$ref", "nullable"} & node.keys(), path
        assert not ("properties" in node and "additionalProperties" in node), path


def test_every_field_is_described_beginning_with_its_name() -> None:
    for path, node in FIELDS.items():
        assert node["description"].startswith(f"{path.rsplit('.', 1)[1]}: "), path
        assert node["description"].rstrip().endswith("."), path


def test_descriptions_tell_the_default_that_is_stored() -> None:
    for path, node in FIELDS.items():
        if "default" in node and node["default"] != {}:
            value = node["default"]
            written = value if isinstance(value, str) else json.dumps(value).replace('"', "")
            told = re.search(r"Default: (.*?)\.( |$)(?=Immutable|Mutable|May|Entries|$)", node["description"])
            assert told, path
            assert told[1] == written or float(told[1]) == float(written), path


def test_every_string_is_bounded() -> None:
    for path, node in of_type("string").items():
        assert node.keys() & {"maxLength", "enum"} or node.get("format") == "date-time", path


def test_every_number_of_the_spec_and_every_integer_has_both_bounds() -> None:
    for path, node in {**of_type("integer"), **of_type("number")}.items():
        if node["type"] == "number" and path.startswith(".status"):
            continue  # measured values
        assert {"minimum", "maximum"} <= node.keys(), path


def test_integers_are_exact_in_every_json_reader() -> None:
    for path, node in of_type("integer").items():
        limit = {"int32": 2**31 - 1, "int64": 2**53 - 1}[node["format"]]
        assert -limit <= node["minimum"] <= node["maximum"] <= limit, path


def test_every_list_is_bounded_and_says_how_it_merges() -> None:
    for path, node in of_type("array").items():
        assert "maxItems" in node, path
        kind = node["x-kubernetes-list-type"]
        items = node["items"]
        if kind == "map":
            assert set(node["x-kubernetes-list-map-keys"]) <= set(items["required"]), path
        else:
            assert kind == ("set" if items["type"] != "object" else "atomic"), path


def test_every_map_is_bounded_and_only_engine_arguments_are_open() -> None:
    open_objects = []
    for path, node in of_type("object").items():
        if "additionalProperties" in node:
            assert "maxProperties" in node, path
        elif "properties" not in node:
            assert node["x-kubernetes-preserve-unknown-fields"] is True, path
            open_objects.append(path)
    assert open_objects == [".spec.generation.engineArgs"]


def test_enum_values_are_camel_case() -> None:
    for path, node in OURS.items():
        for value in node.get("enum", []):
            assert re.fullmatch(r"[A-Z][A-Za-z0-9]*", value) or (value, path[-6:]) == ("", "medium"), path


def test_field_names_are_camel_case_and_durations_and_times_carry_their_unit() -> None:
    for path, node in FIELDS.items():
        name = path.rsplit(".", 1)[1]
        assert re.fullmatch(r"[a-z][A-Za-z0-9]*", name), path
        assert not re.search(r"(?i)(duration|timestamp|timeout|interval|ttl)$", name), path
        if node.get("format") == "date-time":
            assert name.endswith(("Time", "Since")) or name == "time", path
        if name.endswith("Seconds"):
            assert node["type"] in {"integer", "number"}, path


def test_no_field_is_a_duration_string() -> None:
    assert not [path for path, node in OURS.items() if node.get("format") == "duration"]


def test_defaults_stand_on_optional_fields_outside_list_items() -> None:
    for path, node in OURS.items():
        for name in node.get("required", []):
            assert "default" not in node["properties"][name], f"{path}.{name}"
        if "[]" in path:
            assert "default" not in node, path


OPTIONAL_GROUPS = (
    ".spec.training.lora",
    *(f".spec.training.objective.{name}" for name in OBJECTIVE_PARAMETERS.values()),
)
"""Groups whose being there says something: they are not filled in where they are absent."""


def test_groups_are_filled_in_by_an_empty_default() -> None:
    for path, node in FIELDS.items():
        inner = node.get("properties", {}).values()
        required = node.get("required", [])
        if path.startswith(".spec.") and "[]" not in path and not required and any("default" in i for i in inner):
            assert node.get("default") == (None if path in OPTIONAL_GROUPS else {}), path


@pytest.mark.parametrize("path", [p for p, n in NODES.items() if "x-kubernetes-validations" in n])
def test_rules_say_what_is_allowed(path: str) -> None:
    for rule in NODES[path]["x-kubernetes-validations"]:
        assert re.match(r"`[^`]+` .*(is immutable|must|may|can not)", rule["message"]), rule
        assert rule.get("reason", "FieldValueInvalid") in {"FieldValueInvalid", "FieldValueForbidden"}
        if "oldSelf" in rule["rule"]:
            assert rule["reason"] == "FieldValueForbidden", rule
        field = path + rule.get("fieldPath", "")
        assert field in NODES, field


def test_kstatus_takes_no_run_for_done_that_nobody_has_looked_at() -> None:
    assert NODES[".status"]["default"] == {"observedGeneration": -1}


def test_the_status_is_a_subresource_with_conditions_as_kubernetes_has_them() -> None:
    assert VERSION["subresources"] == {"status": {}}
    conditions = NODES[".status.conditions"]
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert set(conditions["items"]["required"]) == {"type", "status", "reason", "message", "lastTransitionTime"}


def test_names_and_columns() -> None:
    assert CRD["spec"]["names"]["shortNames"] == ["selm"]
    assert "categories" not in CRD["spec"]["names"]
    shown = [column["name"] for column in VERSION["additionalPrinterColumns"] if not column.get("priority")]
    assert shown == ["Succeeded", "Reason", "Iteration", "Of", "Phase", "Best", "Age"]


def test_a_client_side_apply_can_remember_the_crd() -> None:
    assert len(json.dumps(CRD)) < 256 * 1024
