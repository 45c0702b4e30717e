"""The header of a safetensors file: which tensors it holds, and where.

The format (https://huggingface.co/docs/safetensors): eight bytes of the header's length, little-endian; the header, JSON
of each tensor's type, shape and place behind the header; then the tensors, without a gap. safetensors itself opens files
alone, so a file that comes in parts is read by this.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LENGTH_BYTES = 8
MOST_HEADER_BYTES = 100_000_000
"""As safetensors itself has it."""
ITEM_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E4M3FNUZ": 1,
    "F8_E5M2": 1,
    "F8_E5M2FNUZ": 1,
    "C64": 8,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U64": 8,
    "U32": 4,
    "U16": 2,
    "U8": 1,
    "BOOL": 1,
}
"""Bytes of an element, by the names of the format. Types of less than a byte are not among them."""


class BadHeader(ValueError):
    """The bytes are no header of a safetensors file of that size."""


class UnknownType(ValueError):
    """A tensor of a type that `ITEM_BYTES` does not know."""


@dataclass(frozen=True)
class TensorPlace:
    """One tensor: its bytes follow those of the tensor before."""

    name: str
    dtype: str
    """A key of `ITEM_BYTES`."""
    shape: tuple[int, ...]
    size: int
    """Bytes."""


def header_end(beginning: bytes | bytearray, file_size: int) -> int:
    """Where the header ends, from a file's first eight bytes or more. Raises BadHeader."""
    length = int.from_bytes(beginning[:LENGTH_BYTES], "little")
    if len(beginning) < LENGTH_BYTES or length > min(MOST_HEADER_BYTES, file_size - LENGTH_BYTES):
        raise BadHeader(f"a file of {file_size} bytes announces a header of {length}")
    return LENGTH_BYTES + length


def tensor_places(beginning: bytes | bytearray, file_size: int) -> tuple[TensorPlace, ...]:
    """The tensors in the order of their bytes; `beginning` holds the whole header at least.

    Raises BadHeader unless they cover the file to its last byte; UnknownType.
    """
    end = header_end(beginning, file_size)
    try:
        header = json.loads(bytes(beginning[LENGTH_BYTES:end]))
        described = {name: its for name, its in header.items() if name != "__metadata__"}
        found = [(*_range(its), name, its) for name, its in described.items()]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadHeader(f"the header cannot be read: {error!r}") from error
    places, done = [], 0
    for start, stop, name, its in sorted(found, key=lambda tensor: tensor[:2]):
        if start != done or stop < start:
            raise BadHeader(f"the tensor {name!r} is at {start} to {stop}, the one before ends at {done}")
        places.append(_place(name, its, stop - start))
        done = stop
    if end + done != file_size:
        raise BadHeader(f"the tensors end at {end + done}, the file has {file_size} bytes")
    return tuple(places)


def _range(described: Mapping[str, Any]) -> tuple[int, int]:
    start, stop = described["data_offsets"]
    return int(start), int(stop)


def _place(name: str, described: Mapping[str, Any], size: int) -> TensorPlace:
    dtype, shape = described.get("dtype"), described.get("shape")
    if not isinstance(dtype, str) or not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise BadHeader(f"the tensor {name!r} has the type {dtype!r} and the shape {shape!r}")
    if dtype not in ITEM_BYTES:
        raise UnknownType(f"the tensor {name!r} is of the type {dtype}")
    if math.prod(shape) * ITEM_BYTES[dtype] != size:
        raise BadHeader(f"the tensor {name!r}, {dtype} of the shape {shape}, has {size} bytes")
    return TensorPlace(name, dtype, tuple(shape), size)
