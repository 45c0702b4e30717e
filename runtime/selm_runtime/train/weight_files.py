"""A model's weights as safetensors files, written while they come: no more of them is held than one file's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor
from transformers.core_model_loading import WeightConverter, revert_weight_conversion

FILE_BYTES = 5_000_000_000
"""A larger weight has a file of its own."""


class WeightFiles:
    """What `save_pretrained` would write of whole weights, in the order in which they are given.

    Names and shapes are those of the architecture's published files: what loading merged is taken apart again, which
    may put its parts into other files than `save_pretrained` does. Where loading cut one weight into several, which few
    architectures need, all is held until they are together.
    """

    def __init__(self, model: Any, into: Path) -> None:
        self._model = model
        self._into = into
        self._ignored: set[str] = set(model._keys_to_ignore_on_save or ())
        self._waits = any(
            isinstance(conversion, WeightConverter) and len(conversion.target_patterns) > 1
            for conversion in getattr(model, "_weight_conversions", None) or ()
        )
        self._waiting: dict[str, Tensor] = {}
        self._open: dict[str, Tensor] = {}
        self._files: list[dict[str, int]] = []
        """By file: the bytes of each of its weights."""
        self._elements = 0

    def add(self, weights: Mapping[str, Tensor]) -> None:
        """Weights by their names in the model, each once, on the CPU; they may not be changed afterwards."""
        self._elements += sum(weight.numel() for weight in weights.values())
        kept = {name: weight for name, weight in weights.items() if name not in self._ignored}
        if self._waits:
            self._waiting |= kept
        else:
            self._put(kept)

    def close(self) -> None:
        """Write what is left, and give the files their names; an index beside them where they are several."""
        self._put(self._waiting)
        if self._open:
            self._write(self._open)
        several = len(self._files) > 1
        where: dict[str, str] = {}
        for number, sizes in enumerate(self._files):
            suffix = f"-{number + 1:05d}-of-{len(self._files):05d}" if several else ""
            name = f"model{suffix}.safetensors"
            self._part(number).rename(self._into / name)
            where |= dict.fromkeys(sizes, name)
        if several:
            total = sum(sum(sizes.values()) for sizes in self._files)
            index = {"metadata": {"total_parameters": self._elements, "total_size": total}, "weight_map": where}
            text = json.dumps(index, indent=2, sort_keys=True) + "\n"
            (self._into / "model.safetensors.index.json").write_text(text, encoding="utf-8")

    def _put(self, weights: dict[str, Tensor]) -> None:
        for name, weight in revert_weight_conversion(self._model, weights).items():
            size = weight.numel() * weight.element_size()
            if size > FILE_BYTES:
                self._write({name: weight})
                continue
            if sum(map(_bytes, self._open.values())) + size > FILE_BYTES:
                self._write(self._open)
                self._open = {}
            self._open[name] = weight

    def _write(self, weights: Mapping[str, Tensor]) -> None:
        whole = {name: weight.contiguous() for name, weight in weights.items()}
        save_file(whole, self._part(len(self._files)), metadata={"format": "pt"})
        self._files.append({name: _bytes(weight) for name, weight in weights.items()})

    def _part(self, number: int) -> Path:
        return self._into / f"part-{number}.safetensors"


def _bytes(weight: Tensor) -> int:
    return weight.numel() * weight.element_size()
