"""What of an answer may differ from run to run, and how two answers are compared."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_UID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# Applied in this order; what each stands for is what a recording holds in its place.
_VOLATILE: tuple[tuple[re.Pattern[str], str], ...] = (
    (_UID, "<uid>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "<time>"),
    (re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d+ \w+ \d{4} [\d:]+ [+-]\d{4}"), "<time>"),
    (re.compile(r"\b(\d+d)?(\d+h)?(\d+m)?\d+(\.\d+)?s\b|<unknown>"), "<age>"),
    (re.compile(r'("?resourceVersion"?[:=] ?"?)\d+'), r"\1<rv>"),
    (re.compile(r"((?:one|seq|bad|job\w*|work\w*)(?:-\d+)?)-[a-z0-9]{5}\b"), r"\1-<rand>"),
    (re.compile(r"https://[\d.]+:\d+"), "<server>"),
    (re.compile(r"(Resource ?Version:? +|record \()\d+"), r"\1<rv>"),
    (re.compile(r"/tmp/(LIVE|MERGED)-\d+"), r"<tmp>/\1"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ [+-]\d{4}"), "<time>"),
)
_NOT_COMPARED = frozenset({"soft", "err", "warning"})
# A real server's remark beside the true causes.
REMARK = "some validation rules were not checked"


def plain_text(text: str, namespace: str) -> str:
    """The text without uids, times, ages, versions, random suffixes and runs of blanks."""
    text = text.replace(namespace, "<ns>")
    for pattern, stands in _VOLATILE:
        text = pattern.sub(stands, text)
    return "\n".join(re.sub(r" {2,}", "  ", line).rstrip() for line in text.splitlines())


def plain(value: Any, namespace: str, key: str = "") -> Any:
    """The JSON value with all that is volatile put aside; `key` is the name of the field that holds it."""
    if isinstance(value, dict):
        return {k: plain(v, namespace, k) for k, v in sorted(value.items()) if k != "selfLink"}
    if isinstance(value, list):
        return [plain(one, namespace, key) for one in value]
    if key == "resourceVersion":
        return "<rv>" if value else value
    if key == "continue":
        return "<continue>"
    return plain_text(value, namespace) if isinstance(value, str) else value


@dataclass(frozen=True)
class Difference:
    """Where an answer departs from the recording. In wording only: messages of errors and kubectl's prose."""

    path: str
    recorded: Any
    came: Any
    wording: bool = False


def differences(recorded: Any, came: Any, path: str = "") -> list[Difference]:
    """All places where two normalised records differ."""
    if isinstance(recorded, dict) and isinstance(came, dict):
        if recorded.get("kind") == "Status" and recorded.get("status") == "Failure":
            return _of_errors(recorded, came, path)
        found: list[Difference] = []
        for key in sorted({*recorded, *came}):
            here = f"{path}.{key}"
            if key in _NOT_COMPARED:
                if recorded.get(key) != came.get(key):
                    found.append(Difference(here, recorded.get(key), came.get(key), wording=True))
            elif key not in came or key not in recorded:
                found.append(Difference(here, recorded.get(key, "<absent>"), came.get(key, "<absent>")))
            else:
                found += differences(recorded[key], came[key], here)
        return found
    if isinstance(recorded, list) and isinstance(came, list) and len(recorded) == len(came):
        pairs = enumerate(zip(recorded, came, strict=True))
        return [one for i, (r, c) in pairs for one in differences(r, c, f"{path}[{i}]")]
    return [] if recorded == came else [Difference(path, recorded, came)]


def _of_errors(recorded: dict[str, Any], came: dict[str, Any], path: str) -> list[Difference]:
    """Errors agree by code, reason and the causes' fields; how they are worded may differ."""
    if _essence(recorded) != _essence(came):
        return [Difference(path, recorded, came)]
    if recorded.get("message") == came.get("message"):
        return []
    return [Difference(f"{path}.message", recorded.get("message"), came.get("message"), wording=True)]


def _essence(status: dict[str, Any]) -> tuple[Any, Any, list[tuple[str, str]]]:
    causes = (status.get("details") or {}).get("causes") or []
    fields = sorted((c.get("field", ""), c.get("reason", "")) for c in causes if REMARK not in c.get("message", ""))
    return status.get("code"), status.get("reason"), fields
