"""A reward model in transformers: batches that are sorted by length and bounded in tokens, or one sequence at a time."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selm_runtime.errors import InvalidInput, PhaseFailure
from selm_runtime.precision import inference_device

BATCH_TOKENS = 8192
"""Tokens of a forward pass, padding included."""


class PlainClassifier:
    """A model for sequence classification, whose outputs are read as one number a sequence."""

    def __init__(
        self, model: Path, field: str, dtype: str, *, trust_remote_code: bool, weights: Sequence[float] | None
    ) -> None:
        """`field` is the group's path in the spec; `weights` are those of the outputs, None for the model's own number.

        Raises InvalidInput where the files lack weights of the classifier.
        """
        import torch
        from transformers import AutoModelForSequenceClassification

        self._device = inference_device()
        loaded, info = AutoModelForSequenceClassification.from_pretrained(
            model,
            dtype=getattr(torch, dtype),
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
        )
        if info["missing_keys"]:
            raise no_head(field, info["missing_keys"])
        self.model: Any = loaded.to(self._device).eval()
        self._pad: int | None = self.model.config.pad_token_id
        self._weights = weights
        self._read: Callable[[Any], Any] = _only_output if weights is None else self._weighted

    def scores(self, sequences: Sequence[Sequence[int]]) -> list[float]:
        """One number a sequence of token ids, in order, by padded batches."""
        scores = [0.0] * len(sequences)
        # Without a padding token transformers cannot tell where a sequence ends: each goes alone then.
        limit = BATCH_TOKENS if self._pad is not None else 0
        for batch in token_batches([len(ids) for ids in sequences], limit):
            for index, score in zip(batch, self._forward([sequences[i] for i in batch]), strict=True):
                scores[index] = score
        return scores

    def alone(self, sequence: Sequence[int]) -> float:
        """The number of one sequence as the model's users run it: no padding, no mask."""
        import torch

        with torch.inference_mode():
            return float(self._read(self.model(torch.tensor([list(sequence)], device=self._device)))[0])

    def close(self) -> None:
        import torch

        self.model = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _forward(self, batch: Sequence[Sequence[int]]) -> list[float]:
        import torch

        longest = max(map(len, batch))
        pad = 0 if self._pad is None else self._pad
        ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in batch], device=self._device)
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in batch], device=self._device)
        with torch.inference_mode():
            values: list[float] = self._read(self.model(input_ids=ids, attention_mask=mask)).double().tolist()
        return values

    def _weighted(self, output: Any) -> Any:
        import torch

        found = getattr(output, "rewards", None)
        outputs = output.logits if found is None else found
        return outputs.double() @ torch.tensor(self._weights, dtype=torch.double, device=outputs.device)


def no_head(field: str, missing: Iterable[str]) -> InvalidInput:
    """What is said of a classifier whose files lack these weights."""
    return InvalidInput(
        "WeightsMismatch",
        f"{field}.uri: the files lack weights of the classifier ({', '.join(sorted(missing)[:5])}): "
        "a language model without a trained reward head?",
    )


@contextmanager
def not_buildable(field: str) -> Iterator[None]:
    """Whatever a model's configuration or own code raises while the model is built is its fault: InvalidInput."""
    try:
        yield
    except (PhaseFailure, MemoryError):
        raise
    except Exception as error:  # the model's own code may raise anything
        raise InvalidInput(
            "ModelNotLoadable", f"{field}: the model cannot be built from its files: {type(error).__name__}: {error}"
        ) from error


def _only_output(output: Any) -> Any:
    """The model's own combination where its code gives one, else its only logit."""
    own = getattr(output, "score", None)
    return output.logits[:, 0] if own is None else own.reshape(-1)


def token_batches(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Indexes in batches, longest first, each of at most `max_tokens` with its padding (or of one sequence)."""
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= max_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
