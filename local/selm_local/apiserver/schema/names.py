"""The syntax of names, labels, annotations and object metadata, with Kubernetes' own messages.

Source: k8s.io/apimachinery/pkg/util/validation and pkg/api/validation/objectmeta.go. The functions on strings return
the reasons why a value is refused, empty where it is fine; `object_meta` returns field errors.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from selm_local.apiserver.schema import errors
from selm_local.apiserver.schema.errors import FieldError
from selm_local.apiserver.schema.jsonvalue import json_equal

_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN: Final = rf"{_LABEL}(\.{_LABEL})*"
_LABEL_1035: Final = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED: Final = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE: Final = f"({_QUALIFIED})?"
MAX_ANNOTATIONS: Final = 256 * 1024
"""Most bytes of all annotations of an object together, keys included."""


def _regex_error(text: str, regex: str, *examples: str) -> str:
    shown = ", ".join(f"{'' if i == 0 else ' or '}'{example}'" for i, example in enumerate(examples))
    return f"{text} (e.g. {shown}, regex used for validation is '{regex}')"


def _too_long(most: int) -> str:
    return f"must be no more than {most} bytes"


def _check(value: str, regex: str, most: int, message: str) -> list[str]:
    problems = [_too_long(most)] if len(value.encode()) > most else []
    return problems if re.fullmatch(regex, value) else [*problems, message]


def dns1123_label(value: str) -> list[str]:
    """A name that may stand in DNS: at most 63 of a-z, 0-9 and '-'."""
    text = (
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
        "and must start and end with an alphanumeric character"
    )
    return _check(value, _LABEL, 63, _regex_error(text, _LABEL, "my-name", "123-abc"))


def dns1123_subdomain(value: str) -> list[str]:
    """Labels joined by dots, at most 253 characters: the names of most objects."""
    text = (
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
        "and must start and end with an alphanumeric character"
    )
    return _check(value, _SUBDOMAIN, 253, _regex_error(text, _SUBDOMAIN, "example.com"))


def dns1035_label(value: str) -> list[str]:
    """As dns1123_label, but beginning with a letter: names of Services, plurals, versions."""
    text = (
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
        "character, and end with an alphanumeric character"
    )
    return _check(value, _LABEL_1035, 63, _regex_error(text, _LABEL_1035, "my-name", "abc-123"))


def qualified_name(value: str) -> list[str]:
    """The key of a label or annotation: `name` or `prefix/name`."""
    text = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
    examples = ("MyName", "my.name", "123-abc")
    parts = value.split("/")
    if len(parts) > 2:
        return [
            "a qualified name "
            + _regex_error(text, _QUALIFIED, *examples)
            + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        ]
    problems: list[str] = []
    if len(parts) == 2:
        if parts[0] == "":
            problems.append("prefix part must be non-empty")
        else:
            problems += ["prefix part " + problem for problem in dns1123_subdomain(parts[0])]
    name = parts[-1]
    if name == "":
        problems.append("name part must be non-empty")
    elif len(name) > 63:
        problems.append("name part " + _too_long(63))
    if not re.fullmatch(_QUALIFIED, name):
        problems.append("name part " + _regex_error(text, _QUALIFIED, *examples))
    return problems


def label_value(value: str) -> list[str]:
    """Empty, or at most 63 alphanumeric characters with '-', '_' and '.' within."""
    text = (
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
        "and must start and end with an alphanumeric character"
    )
    return _check(value, _LABEL_VALUE, 63, _regex_error(text, _LABEL_VALUE, "MyValue", "my_value", "12345"))


def label_map(value: Any, field: str) -> list[FieldError]:
    """Errors of a map of labels."""
    if value is None:
        return []
    if not isinstance(value, dict):
        return [errors.invalid(field, value, "must be a map of strings")]
    found = []
    for key, item in value.items():
        found += [errors.invalid(field, key, problem) for problem in qualified_name(key)]
        if not isinstance(item, str):
            found.append(errors.invalid(field, item, f"the value of {key} must be a string"))
        else:
            found += [errors.invalid(field, item, problem) for problem in label_value(item)]
    return found


def annotation_map(value: Any, field: str) -> list[FieldError]:
    """Errors of a map of annotations."""
    if value is None:
        return []
    if not isinstance(value, dict):
        return [errors.invalid(field, value, "must be a map of strings")]
    found = []
    size = 0
    for key, item in value.items():
        found += [errors.invalid(field, key, problem) for problem in qualified_name(key.lower())]
        if not isinstance(item, str):
            found.append(errors.invalid(field, item, f"the value of {key} must be a string"))
        else:
            size += len(key.encode()) + len(item.encode())
    if size > MAX_ANNOTATIONS:
        found.append(errors.too_long(field, MAX_ANNOTATIONS))
    return found


def finalizers(value: Any, field: str) -> list[FieldError]:
    """Errors of a list of finalizers: qualified names, or Kubernetes' own."""
    if value is not None and not isinstance(value, list):
        return [errors.invalid(field, value, "must be a list of strings")]
    found = []
    for i, name in enumerate(value or []):
        where = errors.index(field, i)
        found += [errors.invalid(where, name, problem) for problem in qualified_name(str(name))]
        if "/" not in str(name) and name not in ("orphan", "foregroundDeletion", "kubernetes"):
            found.append(
                errors.invalid(where, name, "name is neither a standard finalizer name nor is it fully qualified")
            )
    return found


def owner_references(value: Any, field: str) -> list[FieldError]:
    """Errors of a list of owner references; one of them at most may be the controller."""
    if value is not None and not isinstance(value, list):
        return [errors.invalid(field, value, "must be a list of objects")]
    found = []
    controllers = []
    for i, reference in enumerate(value or []):
        where = errors.index(field, i)
        if not isinstance(reference, dict):
            found.append(errors.invalid(where, reference, "must be an object"))
            continue
        if not reference.get("apiVersion"):
            found.append(
                errors.invalid(f"{where}.apiVersion", reference.get("apiVersion") or "", "version must not be empty")
            )
        found += [
            errors.invalid(f"{where}.{key}", reference.get(key) or "", "must not be empty")
            for key in ("kind", "name", "uid")
            if not reference.get(key)
        ]
        if (reference.get("apiVersion"), reference.get("kind")) == ("v1", "Event"):
            found.append(errors.invalid(where, reference, "/v1, Kind=Event is disallowed from being an owner"))
        if reference.get("controller"):
            controllers.append(reference.get("name"))
    if len(controllers) > 1:
        text = f'Only one reference can have Controller set to true. Found "true" in references for {controllers[0]} and {controllers[1]}'
        found.append(errors.invalid(field, value, text))
    return found


NameCheck = Callable[[str], list[str]]
_IMMUTABLE: Final = ("name", "namespace", "uid", "creationTimestamp")


def object_meta(
    metadata: Any,
    *,
    name_check: NameCheck = dns1123_subdomain,
    old: dict[str, Any] | None = None,
    field: str = "metadata",
) -> list[FieldError]:
    """Errors of an object's metadata; `old` is the stored metadata on an update.

    `name_check` says the kind's syntax of names (checked on create only: a name cannot change).
    """
    if not isinstance(metadata, dict):
        return [errors.invalid(field, metadata, "must be an object")]
    found: list[FieldError] = []
    name, generate = metadata.get("name"), metadata.get("generateName")
    if generate and old is None:
        # A name is made by five more characters, so a trailing dash is fine.
        found += [errors.invalid(f"{field}.generateName", generate, p) for p in name_check(f"{generate}x")]
    if not name:
        found.append(errors.required(f"{field}.name", "name or generateName is required"))
    elif old is None:
        found += [errors.invalid(f"{field}.name", name, problem) for problem in name_check(str(name))]
    found += label_map(metadata.get("labels"), f"{field}.labels")
    found += annotation_map(metadata.get("annotations"), f"{field}.annotations")
    found += owner_references(metadata.get("ownerReferences"), f"{field}.ownerReferences")
    found += finalizers(metadata.get("finalizers"), f"{field}.finalizers")
    if old is not None:
        for key in _IMMUTABLE:
            if not json_equal(metadata.get(key), old.get(key)) and (metadata.get(key) or key == "name"):
                found.append(errors.invalid(f"{field}.{key}", metadata.get(key), "field is immutable"))
    return found
