"""Part of the contract: what `spec.generation.engineArgs` may hold, as the operator, Preparation and the engine see it.

`engine_arguments.json` beside this module is vLLM's own list, written by `scripts/generate_engine_arguments.py` from the
release that the images carry: the operator, which has no vLLM, refuses by it before any Job. Preparation and the engine
ask the vLLM that they have. Imports nothing but the standard library.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import json
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

FIELD = "spec.generation.engineArgs"

RESERVED = {
    "model": "spec.model",
    "tokenizer": "spec.model",
    "revision": "spec.model.revision",
    "code_revision": "spec.model.revision",
    "tokenizer_revision": "spec.model.revision",
    "hf_token": "spec.model.tokenSecretRef",
    "trust_remote_code": "spec.model.trustRemoteCode",
    "tensor_parallel_size": "spec.generation.tensorParallelSize",
    "data_parallel_size": "spec.generation.shards and spec.generation.enginesPerPod",
    "pipeline_parallel_size": "spec.generation.tensorParallelSize: an engine spans the GPUs of one pod",
    "nnodes": "the runtime: an engine is in one pod",
    "node_rank": "the runtime: an engine is in one pod",
    "max_num_queued_reqs": "the runtime: it hands requests over as the engine takes them",
    "max_num_queued_tokens": "the runtime: it hands requests over as the engine takes them",
    "max_model_len": "spec.training.maxPromptLength and spec.generation.maxTokens",
    "seed": "spec.seed",
    "skip_tokenizer_init": "the runtime: token ids go in and come out",
    "generation_config": "the runtime: sampling is declared in spec.generation",
    "override_generation_config": "the runtime: sampling is declared in spec.generation",
    "runner": "the runtime: the engine generates",
    "convert": "the runtime: the engine generates",
    "disable_log_stats": "the runtime: it reports progress itself",
    "scheduling_policy": "the runtime: requests are served in their order",
    "logits_processors": "nothing: classes are not named in a spec",
    "worker_cls": "nothing: classes are not named in a spec",
    "worker_extension_cls": "nothing: classes are not named in a spec",
    "scheduler_cls": "nothing: classes are not named in a spec",
}
"""Engine arguments that a spec must not set, and what decides them."""


class Argument(NamedTuple):
    """What one engine argument takes: JSON types (`any` for what cannot be told) and, beside them, single values."""

    types: tuple[str, ...]
    values: tuple[str | int, ...] = ()

    def takes(self, value: Any) -> bool:
        """Whether a value as read from JSON is of one of the types or is one of the values."""
        if "any" in self.types or _json_type(value) in self.types:
            return True
        if _json_type(value) == "integer" and "number" in self.types:
            return True
        return any(type(value) is type(allowed) and value == allowed for allowed in self.values)

    @property
    def words(self) -> str:
        """What is allowed, for messages."""
        return " or ".join([*(repr(value) for value in self.values), *(_WORDS[name] for name in self.types)])


class Problem(NamedTuple):
    """An argument that is refused: its key, a CamelCase reason, and a message that names the field."""

    key: str
    reason: str
    message: str


def problems(arguments: Mapping[str, Any], known: Mapping[str, Argument] | None) -> list[Problem]:
    """Each argument that is reserved, that vLLM does not have, or whose value is of another type than vLLM's.

    `known` None: the release is not known, and only reserved arguments are refused.
    """
    found = []
    for key, value in arguments.items():
        at = f"{FIELD}.{key}"
        if key in RESERVED:
            found.append(Problem(key, "EngineArgReserved", f"{at}: this argument is decided by {RESERVED[key]}"))
        elif known is None:
            continue
        elif key.startswith("_") or key not in known:
            close = difflib.get_close_matches(key.replace("-", "_"), [k for k in known if k not in RESERVED], n=3)
            hint = f"; near to it: {', '.join(close)}" if close else ""
            found.append(Problem(key, "EngineArgUnknown", f"{at}: vLLM has no such engine argument{hint}"))
        elif not known[key].takes(value):
            found.append(
                Problem(key, "EngineArgInvalid", f"{at}: found {_shown(value)}, allowed is {known[key].words}")
            )
    return found


@cache
def shipped_arguments() -> Mapping[str, Argument]:
    """The checked-in list: of the vLLM release that the project's images carry."""
    text = resources.files(__package__).joinpath(ARGUMENTS_FILE).read_text(encoding="utf-8")
    return {
        name: Argument(tuple(described["types"]), tuple(described.get("values", ())))
        for name, described in json.loads(text).items()
    }


ARGUMENTS_FILE = "engine_arguments.json"


def describe(engine_args: type) -> dict[str, Argument]:
    """The fields of vLLM's `EngineArgs` (or any dataclass) with what they take; those that begin with `_` are left out."""
    hints = typing.get_type_hints(engine_args, localns=_Names(vars(sys.modules[engine_args.__module__])))
    return {
        field.name: _argument(hints[field.name])
        for field in dataclasses.fields(engine_args)
        if not field.name.startswith("_")
    }


def as_json(known: Mapping[str, Argument]) -> str:
    """The text of the checked-in list: one argument a line."""
    lines = (
        f"  {json.dumps(name)}: "
        + json.dumps({"types": argument.types, **({"values": argument.values} if argument.values else {})})
        for name, argument in sorted(known.items())
    )
    return "{\n" + ",\n".join(lines) + "\n}\n"


_LONGEST_SHOWN = 80
_WORDS = {
    "boolean": "true or false",
    "integer": "an integer",
    "number": "a number",
    "string": "a string",
    "array": "a list",
    "object": "an object",
    "null": "null",
    "any": "anything",
}
_JSON_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "boolean"),  # before int, of which it is a subclass
    (int, "integer"),
    (float, "number"),
    (str, "string"),
    (dict, "object"),
    (list, "array"),
    (tuple, "array"),
    (set, "array"),
)


class _Names(dict[str, Any]):
    """A module's names; one that is imported for type checkers alone stands for anything."""

    def __missing__(self, name: str) -> Any:
        builtin = vars(sys.modules["builtins"]).get(name)
        return Any if builtin is None else builtin


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _json_type(value: Any) -> str:
    return "null" if value is None else next((name for kind, name in _JSON_TYPES if type(value) is kind), "any")


def _argument(hint: Any) -> Argument:
    kinds: set[str] = set()
    values: list[str | int] = []
    for part in _parts(hint):
        origin = typing.get_origin(part) or part
        if origin is typing.Literal:
            values += [value for value in typing.get_args(part) if value is not None]
            kinds |= {"null"} if None in typing.get_args(part) else set()
        else:
            kinds.add(_kind(origin))
    if len(kinds) > 1:
        kinds.discard("any")  # a class or a function beside what JSON can say
    return Argument(
        tuple(name for name in _WORDS if name in kinds),
        tuple(value for value in values if _json_type(value) not in kinds),
    )


def _parts(hint: Any) -> Sequence[Any]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [inner for part in typing.get_args(hint) for inner in _parts(part)]
    if typing.get_origin(hint) is typing.Annotated:
        return _parts(typing.get_args(hint)[0])
    return [hint]


def _kind(origin: Any) -> str:
    if origin is types.NoneType:
        return "null"
    if not isinstance(origin, type):
        return "any"
    if issubclass(origin, enum.Enum):
        return "integer" if issubclass(origin, int) else "string"
    for kind, name in _JSON_TYPES:
        if issubclass(origin, kind):
            return name
    return "object" if dataclasses.is_dataclass(origin) else "any"
