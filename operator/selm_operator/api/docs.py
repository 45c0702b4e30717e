"""`docs/reference.md`: every field, condition of change and rule, from the models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from selm_operator.api.base import API_VERSION, KIND, ApiModel, Change
from selm_operator.api.inspection import FieldNode, fields_of, plain, walk
from selm_operator.api.rule import ChangeRule, Rule, Run
from selm_operator.api.rules import RULES
from selm_operator.api.schema import group_schema
from selm_operator.api.spec import SELMRunSpec
from selm_operator.api.status import SELMRunStatus
from selm_operator.api.support import unbuilt

_CHANGES = {
    None: "",
    Change.IMMUTABLE: "never",
    Change.SUSPENDED: "suspended",
    Change.ALWAYS: "always",
    Change.GROWING: "grows",
    Change.SCHEDULED: "ahead",
    Change.KEYED: "never",
}

_HEAD = f"""<!-- Generated from operator/selm_operator/api by `make generate`; changes belong there. -->
# Reference of SELMRun

`{API_VERSION}`, kind `{KIND}`, short name `selm`. Everything but `model`, `data`, `scoring.scorers` and `artifacts` has a
default. The column *changes* says when a field may change: `never`; `suspended`: while `spec.suspend` was true, what a
repair needs; `always`; `grows`: upward, where `data.portions` is set; `ahead`: for iterations that have not begun, and
for the one at work while suspended. An empty cell: as the group around it.

The object's name must match the rule at the end, so that the names of Jobs, Services and pods fit beneath it.
"""
_NOT_BUILT = "Not built yet, and refused with the condition `Accepted`=False, reason `NotYetSupported`:\n\n"


def reference() -> str:
    """The page as Markdown."""
    not_built = [_NOT_BUILT, *(f"- {words}" for words in unbuilt()), ""] if unbuilt() else []
    return "\n".join(
        [_HEAD, *not_built, *_fields("spec", SELMRunSpec, True), *_fields("status", SELMRunStatus, False), *_rules()]
    )


def _fields(root: str, model: type[ApiModel], of_spec: bool) -> Iterator[str]:
    """One table a group; groups that stand at several places (a Secret's reference) are repeated at each."""
    groups: list[tuple[str, type[ApiModel]]] = [(root, model)]
    groups += [(f"{path}[]" if node.is_list else path, node.model) for path, node in walk(model, root) if node.model]
    for path, group in groups:
        yield f"## {path}\n" if path == root else f"### {path}\n"
        yield f"{(group.__doc__ or '').strip()}\n"
        head = ("Field", "Type", "Default", "Allowed", *(("Changes",) if of_spec else ()), "Meaning")
        yield f"| {' | '.join(head)} |\n|{' --- |' * len(head)}"
        schema = group_schema(group)["properties"]
        yield from (_row(node, schema[node.alias], of_spec) for node in fields_of(group))
        yield ""


def _row(node: FieldNode, schema: dict[str, Any], of_spec: bool) -> str:
    cells = [f"`{node.alias}`", _type(schema), _default(node), _allowed(schema)]
    if of_spec:
        cells.append(_CHANGES[node.change])
    cells.append(node.description)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type(schema: dict[str, Any]) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "quantity"
    if schema["type"] == "array":
        kind = {
            "map": f"keyed by `{schema.get('x-kubernetes-list-map-keys', [''])[0]}`",
            "set": "set",
            "atomic": "list",
        }
        return f"list of {_type(schema['items'])}, {kind[schema['x-kubernetes-list-type']]}".removesuffix(", list")
    if "additionalProperties" in schema:
        return f"map of {_type(schema['additionalProperties'])}"
    if schema.get("format") == "date-time":
        return "time"
    return str(schema["type"])


def _default(node: FieldNode) -> str:
    if node.required:
        return "**required**"
    if node.default_words:
        return node.default_words
    if node.absent_means:
        return f"absent: `{plain(node.absent_means.value)}`"
    if node.may_be_absent or isinstance(node.default, ApiModel):
        return ""
    return f"`{plain(node.default)}`"


def _allowed(schema: dict[str, Any]) -> str:
    values = schema["items"] if schema.get("type") == "array" and "enum" in schema["items"] else schema
    parts = []
    if "enum" in values:
        parts.append(", ".join(f"`{value}`" if value else "empty" for value in values["enum"]))
    if "minimum" in schema or "maximum" in schema:
        parts.append(_range(schema))
    for least, most, unit in (("minLength", "maxLength", "characters"), ("minItems", "maxItems", "entries")):
        if most in schema:
            parts.append(
                f"{schema[least]} to {schema[most]} {unit}" if least in schema else f"to {schema[most]} {unit}"
            )
    if "maxProperties" in schema:
        parts.append(f"to {schema['maxProperties']} keys")
    if "pattern" in schema and not schema.get("x-kubernetes-int-or-string"):
        parts.append(f"`{schema['pattern']}`".replace("\t", "\\t"))
    return "; ".join(parts)


def _range(schema: dict[str, Any]) -> str:
    low = f"{'above ' if schema.get('exclusiveMinimum') else ''}{plain_number(schema['minimum'])}"
    if "maximum" not in schema:
        return f"from {low}"
    return f"{low} to {'below ' if schema.get('exclusiveMaximum') else ''}{plain_number(schema['maximum'])}"


def plain_number(value: float) -> str:
    """A bound without a needless fraction."""
    return str(int(value)) if value == int(value) else str(value)


def _rules() -> Iterator[str]:
    yield "## Rules\n"
    yield "Of every object:\n"
    yield from (f"- {rule.message}." for rule in RULES if isinstance(rule, Rule))
    yield "\nOf changes, beside what the tables say:\n"
    yield from (
        f"- {rule.message}."
        for rule in RULES
        if isinstance(rule, ChangeRule) and (rule.on is Run or rule.at == ".iterations")
    )
    yield ""
