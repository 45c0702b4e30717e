"""Request bodies: JSON or YAML to plain values, with the paths of keys that stand twice."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import yaml

from selm_local.apiserver import protobuf
from selm_local.apiserver.errors import ApiError, bad_request

YAML_TYPES = ("application/yaml", "application/apply-patch+yaml")
MAX_BODY = 3 * 1024 * 1024


class _Duplicates(Exception):
    pass


class _Pairs(list[tuple[str, Any]]):
    """An object as it was written, twice-given keys included."""


def parse(data: bytes, media_type: str, *, find_duplicates: bool) -> tuple[Any, tuple[str, ...]]:
    """The value, and the paths of duplicate keys (the last one counts, as in Go's decoder). Raises ApiError 400.

    YAML that is JSON is read as JSON: clients send their apply patches so.
    """
    if media_type == protobuf.MEDIA_TYPE:
        try:
            return protobuf.decode(data), ()
        except protobuf.MalformedProtobuf as e:
            raise bad_request(f"error decoding protobuf: {e}") from None
    if media_type in YAML_TYPES and data.lstrip()[:1] not in (b"{", b"["):
        return _parse_yaml(data)
    try:
        text = data.decode()
        if "\\ud" in text.lower():
            # A lone half of a surrogate pair is no text; Go's decoder puts the replacement character in its place.
            text = json.dumps(json.loads(text), ensure_ascii=False).encode(errors="replace").decode()
        if not find_duplicates:
            return _loads(text, None), ()
        try:
            return _loads(text, _unique), ()
        except _Duplicates:
            pairs = _loads(text, _Pairs)
            return _plain(pairs), tuple(_duplicate_paths(pairs, ""))
    except (ValueError, RecursionError) as e:
        raise _unreadable(f"json parse error: {e}", data) from None


def _unreadable(why: str, data: bytes) -> ApiError:
    shown = data[:200].decode(errors="replace")
    return bad_request(f"the object provided is unrecognized: couldn't get version/kind; {why} ({shown})")


def _loads(text: str, pairs: Callable[[list[tuple[str, Any]]], Any] | None) -> Any:
    return json.loads(text, object_pairs_hook=pairs, parse_constant=_no_constant, parse_float=_finite)


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is out of range")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Duplicates
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, _Pairs):
        return {k: _plain(v) for k, v in value}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value


def _duplicate_paths(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, inner in value:
            here = f"{path}.{key}" if path else key
            if key in seen:
                yield here
            seen.add(key)
            yield from _duplicate_paths(inner, here)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _duplicate_paths(inner, f"{path}[{i}]")


# --- YAML, read as sigs.k8s.io/yaml reads it: JSON's types only.


class _Loader(yaml.CSafeLoader):
    """YAML 1.1 without timestamps, and with `5e-7` as a number."""

    duplicates: list[str]


_Loader.yaml_implicit_resolvers = {
    first: [(tag, rx) for tag, rx in found if tag not in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:float")]
    for first, found in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^(?:[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?)$"),
    list("-+0123456789."),
)


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    loader.flatten_mapping(node)
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        name = key if isinstance(key, str) else json.dumps(key)
        if name in result:
            loader.duplicates.append(name)
        result[name] = loader.construct_object(value_node, deep=True)
    return result


def _construct_float(loader: _Loader, node: yaml.ScalarNode) -> float:
    return float(loader.construct_scalar(node))


_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)


def _parse_yaml(data: bytes) -> tuple[Any, tuple[str, ...]]:
    loader = _Loader(data)
    loader.duplicates = []
    try:
        value = loader.get_single_data()
    except (yaml.YAMLError, ValueError, TypeError) as e:
        raise bad_request(f"error decoding YAML: {e}") from None
    finally:
        loader.dispose()
    return value, tuple(loader.duplicates)
