"""Strategies for SELMRuns near the edges of their schema: good specs with a few fields set, removed or bent.

Whole floats where integers belong (2.0) are left out: kubectl and our loader send an integer, and of one that comes
all the same the API server's rules cannot tell a value.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from selm_operator.api import base
from selm_operator.api.schema import Schema, run_schema
from support.selmruns import Json, cases, minimal_spec

SPEC_SCHEMA: Schema = run_schema()["properties"]["spec"]
Step = str | None
"""A property's name, or None for an entry of a list."""

ODD = st.sampled_from([None, True, False, 0, 1, -1, 1.5, "", "1", "x y", [], [None], [{}], [{"a": 1}], {}, {"a": 1}])
"""Values of every type, for places where they do not belong."""

TEXTS = {
    base.SOURCE_PATTERN: [
        "hf://a",
        "hf://a/b",
        "s3://b/k",
        "file:///f",
        "hf://",
        "s3://b",
        "file://f",
        "http://a",
        "s3://b/k\n",
    ],
    base.STORE_PATTERN: ["s3://b", "s3://b/", "s3://b/k", "file:///f", "file:///", "s3://", "s3:///k", "s3://b /k"],
    base.URL_PATTERN: ["http://a", "https://a:9000/x", "http://", "ftp://a", "http://a b", "http://ä"],
    base.SUBDOMAIN_PATTERN: ["a", "a.b-c", "9", "A", "-a", "a-", "a_b", ".", "a" * 254],
    base.LABEL_PATTERN: ["a", "a-b", "0", "a.b", "A", "-a", "a-", "a" * 64, "pairrm", "gold"],
    base.SECRET_KEY_PATTERN: ["token", "a.b_c-D", "a b", "a/b"],
    base.QUANTITY_PATTERN: ["1", "500m", "80Gi", "1e3", "+.5", "8 gigs", "1GiB", "--1", "1\n"],
}

GOOD: list[Json] = [minimal_spec(), *(case["spec"] for case in cases() if case["kind"] == "good")]


def _places(schema: Schema, path: tuple[Step, ...] = ()) -> Iterator[tuple[tuple[Step, ...], Schema]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from _places(child, (*path, name))
    if "items" in schema:
        yield from _places(schema["items"], (*path, None))


PLACES = [place for place in _places(SPEC_SCHEMA) if place[0]]


def near(schema: Schema) -> st.SearchStrategy[Any]:
    """Values at and just beyond what a node of the schema allows."""
    if schema.get("x-kubernetes-int-or-string"):
        return st.sampled_from([1, 0, 8, 1.5, True, *TEXTS[base.QUANTITY_PATTERN]])
    if "enum" in schema:
        return st.sampled_from([*schema["enum"], schema["enum"][0].lower() or "x"])
    match schema["type"]:
        case "integer":
            low, high = schema["minimum"], schema["maximum"]
            return st.sampled_from([low, low + 1, low + 2, high, low - 1, high + 1, low + 0.5])
        case "number":
            low, high = schema["minimum"], schema["maximum"]
            return st.sampled_from(
                [low, high, (low + high) / 2, low - 1, high + 1, low + 1e-9, math.nextafter(high, 9e9)]
            )
        case "string":
            return _near_text(schema)
        case "boolean":
            return st.booleans()
        case "array":
            return st.lists(near(schema["items"]), max_size=min(3, schema["maxItems"] + 1))
        case _:
            return _near_object(schema)


def _near_text(schema: Schema) -> st.SearchStrategy[str]:
    lengths = {schema.get("minLength", 0), 1, schema["maxLength"], schema["maxLength"] + 1}
    texts = ["a" * length for length in lengths] + TEXTS.get(
        schema.get("pattern", ""), ["a", "ä", "SELM_X", "RANK", "/a", "a:b"]
    )
    return st.sampled_from(texts)


def _near_object(schema: Schema) -> st.SearchStrategy[Json]:
    if "additionalProperties" in schema:
        keys = st.sampled_from(["a", "b", "cpu", "nvidia.com/gpu"])
        return st.dictionaries(keys, near(schema["additionalProperties"]), max_size=3)
    if "properties" not in schema:
        return st.dictionaries(st.sampled_from("abc"), st.sampled_from([1, "x", None, {"k": 1}, [1]]), max_size=2)
    needed = schema.get("required", [])
    properties = schema["properties"]
    optional = {name: near(child) for name, child in properties.items() if name not in needed}
    return st.fixed_dictionaries({name: near(properties[name]) for name in needed}, optional=optional)


@st.composite
def edited(draw: st.DrawFn, spec: Json, most: int = 3) -> Json:
    """The spec with up to `most` edits, each at any place of the schema."""
    spec = copy.deepcopy(spec)
    for _ in range(draw(st.integers(1, most))):
        path, schema = draw(st.sampled_from(PLACES))
        _edit(draw, spec, path, schema)
    return spec


@st.composite
def specs(draw: st.DrawFn) -> Json:
    """A good spec with a few edits."""
    return draw(edited(draw(st.sampled_from(GOOD))))


@st.composite
def changes(draw: st.DrawFn) -> tuple[Json, Json, Json | None]:
    """A good spec, what it is to become, and the status in between."""
    old = copy.deepcopy(draw(st.sampled_from(GOOD)))
    old["suspend"] = draw(st.booleans())
    status = draw(st.sampled_from([None, {}, *({"current": {"iteration": n}} for n in (0, 1, 2, 4))]))
    return old, draw(edited(old)), status


def _edit(draw: st.DrawFn, spec: Json, path: tuple[Step, ...], schema: Schema) -> None:
    holder: Any = spec
    for step, after in itertools.pairwise(path):
        if step is None:
            if not holder:
                holder.append([] if after is None else {})
            inner = holder[draw(st.integers(0, len(holder) - 1))]
        else:
            inner = holder.setdefault(step, [] if after is None else {})
        if not isinstance(inner, list if after is None else dict):
            return  # an earlier edit has put something else there
        holder = inner
    last = path[-1]
    kind = draw(st.sampled_from(["near", "near", "near", "odd", "remove", "shuffle", "unknown"]))
    value = copy.deepcopy(draw(near(schema) if kind == "near" else ODD))
    if last is None:
        _edit_entry(draw, holder, kind, value)
    elif kind == "remove":
        holder.pop(last, None)
    elif kind == "shuffle" and isinstance(holder.get(last), list):
        holder[last] = draw(st.permutations(holder[last]))
    elif kind == "unknown":
        holder[f"{last}x"] = value
    else:
        holder[last] = value


def _edit_entry(draw: st.DrawFn, entries: list[Any], kind: str, value: Any) -> None:
    if kind == "remove" and entries:
        entries.pop(draw(st.integers(0, len(entries) - 1)))
    elif kind == "shuffle" and entries:
        entries.append(copy.deepcopy(draw(st.sampled_from(entries))))
    else:
        entries.append(value)
