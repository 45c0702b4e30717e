"""The structural schema: one node a value, built once from `openAPIV3Schema`.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema (Structural); the fields are OpenAPI v3.0's as
apiextensions.k8s.io/v1 JSONSchemaProps allows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from selm_local.apiserver.schema.jsonvalue import Json


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final[Any] = _Absent()
"""Where None would mean JSON's null."""

_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of x-kubernetes-validations."""

    rule: str
    message: str = ""
    message_expression: str = ""
    reason: str | None = None
    field_path: str = ""
    optional_old_self: bool | None = None

    @classmethod
    def parse(cls, source: Mapping[str, Any]) -> Rule:
        return cls(
            rule=source.get("rule") or "",
            message=source.get("message") or "",
            message_expression=source.get("messageExpression") or "",
            reason=source.get("reason"),
            field_path=source.get("fieldPath") or "",
            optional_old_self=source.get("optionalOldSelf"),
        )

    def go_json(self) -> dict[str, Any]:
        """The rule as Kubernetes prints it in an error (the internal Go type has no JSON names)."""
        return {
            "Rule": self.rule,
            "Message": self.message,
            "MessageExpression": self.message_expression,
            "Reason": self.reason,
            "FieldPath": self.field_path,
            "OptionalOldSelf": self.optional_old_self,
        }

    @property
    def title(self) -> str:
        """What names the rule in an error about it: its message, else its text."""
        return (self.message or self.rule).strip()


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a schema. Validations of the value (`minimum`, `pattern`, ...) stay in `source`."""

    source: Mapping[str, Any]
    type: str = ""
    format: str = ""
    nullable: bool = False
    default: Json = ABSENT
    properties: Mapping[str, Node] = field(default_factory=lambda: _NONE)
    declares_properties: bool = False
    additional: Node | None = None
    open: bool = False  # additionalProperties: true
    items: Node | None = None
    preserve_unknown: bool = False
    int_or_string: bool = False
    embedded: bool = False
    list_type: str = "atomic"
    list_keys: tuple[str, ...] = ()
    map_type: str = "granular"
    required: tuple[str, ...] = ()
    all_of: tuple[Node, ...] = ()
    any_of: tuple[Node, ...] = ()
    one_of: tuple[Node, ...] = ()
    not_: Node | None = None
    rules: tuple[Rule, ...] = ()

    @classmethod
    def parse(cls, source: Mapping[str, Any]) -> Node:
        """Build a node and all beneath it. The source must have passed `crd.validate_crd` to be meaningful."""
        additional, items = source.get("additionalProperties"), source.get("items")
        properties = source.get("properties") or {}
        return cls(
            source=source,
            type=source.get("type") or "",
            format=source.get("format") or "",
            nullable=bool(source.get("nullable")),
            default=source["default"] if source.get("default") is not None else ABSENT,
            properties=MappingProxyType({name: cls.parse(child) for name, child in properties.items()}),
            declares_properties="properties" in source,
            additional=cls.parse(additional) if isinstance(additional, dict) else None,
            open=additional is True,
            items=cls.parse(items) if isinstance(items, dict) else None,
            preserve_unknown=bool(source.get("x-kubernetes-preserve-unknown-fields")),
            int_or_string=bool(source.get("x-kubernetes-int-or-string")),
            embedded=bool(source.get("x-kubernetes-embedded-resource")),
            list_type=source.get("x-kubernetes-list-type") or "atomic",
            list_keys=tuple(source.get("x-kubernetes-list-map-keys") or ()),
            map_type=source.get("x-kubernetes-map-type") or "granular",
            required=tuple(source.get("required") or ()),
            all_of=tuple(cls.parse(child) for child in source.get("allOf") or ()),
            any_of=tuple(cls.parse(child) for child in source.get("anyOf") or ()),
            one_of=tuple(cls.parse(child) for child in source.get("oneOf") or ()),
            not_=cls.parse(source["not"]) if isinstance(source.get("not"), dict) else None,
            rules=tuple(Rule.parse(rule) for rule in source.get("x-kubernetes-validations") or ()),
        )

    def child(self, name: str) -> Node | None:
        """The schema of property `name`: declared, or that of additionalProperties."""
        return self.properties.get(name) or self.additional

    def is_int_or_string_pattern(self) -> bool:
        """`anyOf: [{type: integer}, {type: string}]`, the one place where a structural schema may say type in anyOf."""
        return self.int_or_string and [dict(node.source) for node in self.any_of] == [
            {"type": "integer"},
            {"type": "string"},
        ]


def list_key(item: Json, keys: tuple[str, ...], node: Node | None = None) -> tuple[Any, ...] | None:
    """The key of an item of a list of type map, defaults of absent keys filled in; None where it is no object."""
    if not isinstance(item, dict):
        return None
    found: list[Any] = []
    for key in keys:
        value = item.get(key, ABSENT)
        if value is ABSENT and node is not None and key in node.properties:
            value = node.properties[key].default
        found.append((type(value).__name__, None if value is ABSENT else repr(value)))
    return tuple(found)
