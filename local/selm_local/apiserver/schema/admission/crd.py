"""Admission of a CustomResourceDefinition: defaults, and every reason to refuse it.

Source: k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/{v1/defaults.go, validation/validation.go}. As there, what
all versions have in common is reported once at `spec.validation`, `spec.subresources`,
`spec.additionalPrinterColumns`, and at `spec.versions[i]` where versions differ.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Final

from selm_local.apiserver.schema import errors, fieldpath, names
from selm_local.apiserver.schema.admission import celcheck, openapi, structural
from selm_local.apiserver.schema.cel.rules import RuleSet
from selm_local.apiserver.schema.errors import FieldError
from selm_local.apiserver.schema.jsonvalue import json_equal
from selm_local.apiserver.schema.node import Node

Crd = dict[str, Any]
COLUMN_TYPES: Final = ("boolean", "date", "integer", "number", "string")
COLUMN_FORMATS: Final = (
    "int32", "int64", "float", "double", "byte", "date", "date-time", "password",
)  # fmt: skip
MAX_SELECTABLE_FIELDS: Final = 8
_ROOT_KEYS: Final = frozenset(
    (
        *("description", "type", "format", "title", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum"),
        *(
            "maxLength",
            "minLength",
            "pattern",
            "maxItems",
            "minItems",
            "uniqueItems",
            "multipleOf",
            "required",
            "items",
        ),
        *("properties", "externalDocs", "example"),
        *("x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations"),
    )
)


def default_crd(crd: Crd) -> Crd:
    """The CRD with `names.singular`, `names.listKind` and `conversion` filled in; status.storedVersions kept up."""
    result = copy.deepcopy(crd)
    spec = result.setdefault("spec", {})
    found = spec.setdefault("names", {})
    if found.get("kind"):
        found.setdefault("listKind", found["kind"] + "List")
        found.setdefault("singular", found["kind"].lower())
    spec.setdefault("conversion", {"strategy": "None"})
    stored = list((result.get("status") or {}).get("storedVersions") or [])
    stored += [v["name"] for v in spec.get("versions") or [] if v.get("storage") and v.get("name") not in stored]
    if stored:
        result.setdefault("status", {})["storedVersions"] = stored
    return result


def validate_crd(crd: Crd, old: Crd | None = None) -> list[FieldError]:
    """Every reason to refuse a CRD that went through `default_crd`; empty: admitted. `old`: the stored one."""
    spec, found = crd.get("spec") or {}, []
    wanted = f"{(spec.get('names') or {}).get('plural', '')}.{spec.get('group', '')}"

    def name_check(name: str) -> list[str]:
        problems = names.dns1123_subdomain(name)
        return problems if name == wanted else [*problems, 'must be spec.names.plural+"."+spec.group']

    old_meta = None if old is None else old.get("metadata") or {}
    found += names.object_meta(crd.get("metadata") or {}, name_check=name_check, old=old_meta)
    found += _spec(spec)
    if old is not None:
        found += _immutable(spec, old)
    stored = (crd.get("status") or {}).get("storedVersions")
    declared = {version.get("name") for version in spec.get("versions") or []}
    if not stored:
        found.append(errors.invalid("status.storedVersions", None, "must have at least one stored version"))
    for i, version in enumerate(stored or []):
        if version not in declared:
            text = (
                f"missing from spec.versions; {version} was previously a storage version, and must remain in "
                f"spec.versions until a storage migration ensures no data remains persisted in {version} and removes "
                f"{version} from status.storedVersions"
            )
            found.append(errors.invalid(f"status.storedVersions[{i}]", version, text))
    return found


def _immutable(spec: dict[str, Any], old: Crd) -> Iterator[FieldError]:
    before = old.get("spec") or {}
    established = any(
        condition.get("type") == "Established" and condition.get("status") == "True"
        for condition in (old.get("status") or {}).get("conditions") or []
    )
    pairs = [("spec.group", spec.get("group"), before.get("group"))]
    new_names, old_names = spec.get("names") or {}, before.get("names") or {}
    pairs.append(("spec.names.plural", new_names.get("plural"), old_names.get("plural")))
    if established:
        pairs.append(("spec.scope", spec.get("scope"), before.get("scope")))
        pairs.append(("spec.names.kind", new_names.get("kind"), old_names.get("kind")))
    yield from (errors.invalid(path, new, "field is immutable") for path, new, was in pairs if new != was)


def _spec(spec: dict[str, Any]) -> Iterator[FieldError]:
    group = spec.get("group") or ""
    if not group:
        yield errors.required("spec.group")
    elif problems := names.dns1123_subdomain(group):
        yield errors.invalid("spec.group", group, ",".join(problems))
    elif "." not in group:
        yield errors.invalid("spec.group", group, "should be a domain with at least one dot")
    scope = spec.get("scope")
    if not scope:
        yield errors.required("spec.scope")
    elif scope not in ("Cluster", "Namespaced"):
        yield errors.not_supported("spec.scope", scope, ("Cluster", "Namespaced"))
    if spec.get("preserveUnknownFields"):
        text = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        yield errors.invalid("spec.preserveUnknownFields", True, text)
    yield from _versions(spec.get("versions") or [])
    yield from _names(spec.get("names") or {})
    if (spec.get("conversion") or {}).get("strategy", "None") != "None":
        yield errors.not_supported("spec.conversion.strategy", spec["conversion"]["strategy"], ("None",))


def _versions(versions: list[dict[str, Any]]) -> Iterator[FieldError]:
    shown = [_go_version(version) for version in versions]
    for i, version in enumerate(versions):
        if problems := names.dns1035_label(version.get("name") or ""):
            yield errors.invalid(f"spec.versions[{i}].name", version.get("name") or "", ",".join(problems))
        if not (version.get("schema") or {}).get("openAPIV3Schema"):
            yield errors.required(f"spec.versions[{i}].schema.openAPIV3Schema", "schemas are required")
        if version.get("deprecationWarning") is not None and not version.get("deprecated"):
            text = "can only be set for deprecated versions"
            yield errors.invalid(f"spec.versions[{i}].deprecationWarning", version["deprecationWarning"], text)
    if len({version.get("name") for version in versions}) != len(versions):
        yield errors.invalid("spec.versions", shown, "must contain unique version names")
    if sum(bool(version.get("storage")) for version in versions) != 1:
        yield errors.invalid("spec.versions", shown, "must have exactly one version marked as storage version")
    common = {key: _common(versions, key) for key in ("schema", "subresources", "additionalPrinterColumns")}
    for i, version in enumerate(versions):
        at = f"spec.versions[{i}]"
        if i == 0 or not common["schema"]:
            path = "spec.validation" if common["schema"] else f"{at}.schema"
            status = "status" in (version.get("subresources") or {})
            yield from validate_schema((version.get("schema") or {}).get("openAPIV3Schema"), path, status=status)
        if i == 0 or not common["subresources"]:
            path = "spec.subresources" if common["subresources"] else f"{at}.subresources"
            yield from _scale((version.get("subresources") or {}).get("scale"), f"{path}.scale")
        if i == 0 or not common["additionalPrinterColumns"]:
            path = "spec" if common["additionalPrinterColumns"] else at
            for j, column in enumerate(version.get("additionalPrinterColumns") or []):
                yield from _column(column, f"{path}.additionalPrinterColumns[{j}]")
        yield from _selectable(version, f"{at}.selectableFields")


def _go_version(version: dict[str, Any]) -> dict[str, Any]:
    """A version as the real server prints it: Go names, and what all versions have in common taken out."""
    return {
        "Name": version.get("name") or "",
        "Served": bool(version.get("served")),
        "Storage": bool(version.get("storage")),
        "Deprecated": bool(version.get("deprecated")),
        "DeprecationWarning": version.get("deprecationWarning"),
        "Schema": None,
        "Subresources": None,
        "AdditionalPrinterColumns": None,
        "SelectableFields": None,
    }


def _common(versions: list[dict[str, Any]], key: str) -> bool:
    return all(json_equal(version.get(key), versions[0].get(key)) for version in versions)


def validate_schema(schema: dict[str, Any] | None, path: str, *, status: bool) -> list[FieldError]:
    """Errors of one version's openAPIV3Schema; `path` is its parent's, `status`: the status subresource is on."""
    if not schema:
        return []
    where, found = f"{path}.openAPIV3Schema", list[FieldError]()
    if status and (beyond := sorted(set(schema) - _ROOT_KEYS)):
        text = f"only {sorted(_ROOT_KEYS)} fields are allowed at the root of the schema if the status subresource is enabled, not {beyond}"
        found.append(errors.invalid(where, "", text))
    if schema.get("nullable"):
        found.append(errors.forbidden(f"{where}.nullable", "nullable cannot be true at the root"))
    shape = structural.check(schema, where)
    found += shape
    rules = None
    if not shape:
        root = Node.parse(schema)
        rules = RuleSet(root)
        found += openapi.check_defaults(root, rules, where)
    found += openapi.check(schema, where)
    if not found and rules is not None:
        found += celcheck.check(root, rules, where)[0]
    return list(dict.fromkeys(found))


def _names(found: dict[str, Any]) -> Iterator[FieldError]:
    for key in ("plural", "singular", "kind", "listKind"):
        value = found.get(key) or ""
        if not value:
            yield errors.required(f"spec.names.{key}")
        elif problems := names.dns1035_label(value.lower() if key in ("kind", "listKind") else value):
            text = ",".join(problems)
            if key in ("kind", "listKind"):
                text = "may have mixed case, but should otherwise match: " + text
            yield errors.invalid(f"spec.names.{key}", value, text)
    for key in ("shortNames", "categories"):
        for i, value in enumerate(found.get(key) or []):
            if problems := names.dns1035_label(value):
                yield errors.invalid(f"spec.names.{key}[{i}]", value, ",".join(problems))
    if found.get("kind") and found.get("kind") == found.get("listKind"):
        yield errors.invalid("spec.names.listKind", found["kind"], "kind and listKind may not be the same")


def _json_path(path: str, where: str) -> Iterator[FieldError]:
    if not path.startswith("."):
        yield errors.invalid(where, path, "must be a simple json path starting with .")


def _column(column: dict[str, Any], path: str) -> Iterator[FieldError]:
    if not column.get("name"):
        yield errors.required(f"{path}.name")
    kinds = f"must be one of {','.join(COLUMN_TYPES)}"
    if not column.get("type"):
        yield errors.required(f"{path}.type", kinds)
    elif column["type"] not in COLUMN_TYPES:
        yield errors.invalid(f"{path}.type", column["type"], kinds)
    if column.get("format") and column["format"] not in COLUMN_FORMATS:
        yield errors.invalid(f"{path}.format", column["format"], f"must be one of {','.join(sorted(COLUMN_FORMATS))}")
    if not column.get("jsonPath"):
        yield errors.required(f"{path}.JSONPath")
    else:
        yield from _json_path(column["jsonPath"], f"{path}.JSONPath")


def _scale(scale: dict[str, Any] | None, path: str) -> Iterator[FieldError]:
    if scale is None:
        return
    for key, under in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
        value = scale.get(key) or ""
        if not value:
            yield errors.required(f"{path}.{key}")
        elif not value.startswith(under):
            yield errors.invalid(f"{path}.{key}", value, f"should be a json path under {under.rstrip('.')}")
    selector = scale.get("labelSelectorPath")
    if selector and not selector.startswith((".spec.", ".status.")):
        text = "should be a json path under either .spec or .status"
        yield errors.invalid(f"{path}.labelSelectorPath", selector, text)


def _selectable(version: dict[str, Any], path: str) -> Iterator[FieldError]:
    fields = version.get("selectableFields") or []
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    if not fields or not schema:
        return
    root, seen = Node.parse(schema), set[str]()
    for i, entry in enumerate(fields):
        where, value = f"{path}[{i}].jsonPath", entry.get("jsonPath") or ""
        if not value:
            yield errors.required(where)
            continue
        try:
            printed, node = fieldpath.resolve(value, root)
        except ValueError as problem:
            yield errors.invalid(where, value, f"is an invalid path: {problem}")
            continue
        if printed.partition(".")[0] == "metadata":
            yield errors.invalid(where, value, "must not point to fields in metadata")
        if node.type not in ("string", "boolean", "integer"):
            text = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."
            yield errors.invalid(where, value, text)
        if printed in seen:
            yield errors.duplicate(where, value)
        seen.add(printed)
    if len(seen) > MAX_SELECTABLE_FIELDS:
        yield errors.too_many(path, len(seen), MAX_SELECTABLE_FIELDS)
