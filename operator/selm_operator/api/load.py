"""Reads YAML as kubectl does, so that a file means the same to `selm` and to the cluster.

PyYAML reads `5e-7` as a string, `1:30` as ninety and `2026-01-01` as a date, and takes the last of two equal keys;
kubectl (sigs.k8s.io/yaml) reads a number, two strings, and refuses.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

_INT = re.compile(r"^(?:[-+]?0b[01_]+|[-+]?0o?[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+)$")
_FLOAT = re.compile(
    r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_STRING, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_REPLACED = {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp"}


class YamlError(ValueError):
    """The text is no YAML that an API server could be sent; says where."""


class _Loader(yaml.SafeLoader):
    """YAML with Kubernetes' numbers, no dates, string keys, each key once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        node.value = [(self._string_key(key), value) for key, value in node.value]
        self._refuse_repeated_keys(node)
        return super().construct_mapping(node, deep=deep)

    def _string_key(self, key: yaml.Node) -> yaml.Node:
        """JSON has string keys only: 1 becomes "1", true becomes "true"."""
        if not isinstance(key, yaml.ScalarNode) or key.tag in (_STRING, _MERGE):
            return key
        value = self.construct_object(key)
        text = str(value).lower() if isinstance(value, bool) else str(value)
        return yaml.ScalarNode(_STRING, text, key.start_mark, key.end_mark)

    def _refuse_repeated_keys(self, node: yaml.MappingNode) -> None:
        seen = set()
        for key, _ in node.value:
            if key.tag == _MERGE:
                continue
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value!r} is given twice in one mapping", key.start_mark
                )
            seen.add(key.value)


def _construct_int(_loader: _Loader, node: yaml.ScalarNode) -> int:
    text = node.value.replace("_", "").lower()
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-")
    for prefix, base in (("0b", 2), ("0o", 8), ("0x", 16)):
        if digits.startswith(prefix):
            return sign * int(digits[2:], base)
    return sign * int(digits, 8 if digits.startswith("0") and digits != "0" else 10)


def _construct_float(loader: _Loader, node: yaml.ScalarNode) -> float | int:
    """A whole number becomes an integer, as on kubectl's way through JSON."""
    value = float(yaml.SafeLoader.construct_yaml_float(loader, node))
    return int(value) if value.is_integer() and abs(value) < 1e21 else value


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REPLACED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)


def load_all_yaml(text: str) -> list[Any]:
    """Every document of the text that is not empty. Raises YamlError."""
    try:
        return [document for document in yaml.load_all(text, Loader=_Loader) if document is not None]
    except yaml.YAMLError as error:
        raise YamlError(str(error)) from error


def load_yaml(text: str) -> Any:
    """The text's one document; None where it is empty. Raises YamlError, also where there are several."""
    documents = load_all_yaml(text)
    if len(documents) > 1:
        raise YamlError(f"one YAML document is allowed; found {len(documents)}")
    return documents[0] if documents else None
