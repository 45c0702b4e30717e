"""Scalar reward models: Hugging Face sequence classification with one label."""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selm_runtime.errors import InvalidInput
from selm_runtime.precision import inference_device, inference_dtype
from selm_runtime.score.interface import Scorable

BATCH_TOKENS = 8192
"""Tokens of a forward pass, padding included."""

log = logging.getLogger(__name__)


class RewardModelScorer:
    """The model's single logit on the conversation with the response, by the reward model's own chat template."""

    def __init__(self, name: str, model: Path, field: str, *, trust_remote_code: bool = False) -> None:
        """`model` is a local folder in Hugging Face layout, `field` the model's path in the spec, for errors.

        Raises InvalidInput where the model does not give one number a sequence or has no chat template.
        """
        check_labels(model, field)
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self._name = name
        self._device = inference_device()
        dtype = getattr(torch, inference_dtype(model, on_gpu=self._device.type == "cuda"))
        self._tokenizer: Any = AutoTokenizer.from_pretrained(model, trust_remote_code=trust_remote_code)
        if self._tokenizer.chat_template is None:
            raise InvalidInput("NoChatTemplate", f"{field}: the reward model's tokenizer has no chat template")
        loaded, info = AutoModelForSequenceClassification.from_pretrained(
            model, dtype=dtype, trust_remote_code=trust_remote_code, output_loading_info=True
        )
        if info["missing_keys"]:
            raise InvalidInput(
                "WeightsMismatch",
                f"{field}: the files lack weights of the classifier ({', '.join(sorted(info['missing_keys'])[:5])}): "
                "a language model without a trained reward head?",
            )
        self._model: Any = loaded.to(self._device).eval()
        self._pad: int | None = self._model.config.pad_token_id
        self._limit = getattr(self._model.config, "max_position_embeddings", None)
        self._cut = 0  # conversations longer than the model's context, of which it saw the end

    @property
    def name(self) -> str:
        return self._name

    def score(self, responses: Sequence[Scorable]) -> list[float | None]:
        """One logit a response. Batches are sorted by length and bounded in tokens; order does not change a score."""
        encoded = [self._encode(response) for response in responses]
        scores: list[float | None] = [None] * len(encoded)
        # Without a padding token transformers cannot tell where a sequence ends: each goes alone then.
        limit = BATCH_TOKENS if self._pad is not None else 0
        for batch in token_batches([len(ids) for ids in encoded], limit):
            for index, score in zip(batch, self._forward([encoded[i] for i in batch]), strict=True):
                scores[index] = score
        return scores

    def counts(self) -> dict[str, float]:
        cut, self._cut = self._cut, 0
        return {"cut": cut}

    def close(self) -> None:
        import torch

        self._model = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _encode(self, response: Scorable) -> list[int]:
        conversation = [*map(dict, response.messages), {"role": "assistant", "content": response.text}]
        ids: list[int] = self._tokenizer.apply_chat_template(conversation, tokenize=True, return_dict=False)
        if self._limit is not None and len(ids) > self._limit:
            self._cut += 1
            ids = ids[-self._limit :]
        return ids

    def _forward(self, batch: Sequence[Sequence[int]]) -> list[float]:
        import torch

        longest = max(map(len, batch))
        pad = 0 if self._pad is None else self._pad
        ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in batch], device=self._device)
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in batch], device=self._device)
        with torch.inference_mode():
            logits = self._model(input_ids=ids, attention_mask=mask).logits
        values: list[float] = logits[:, 0].double().tolist()
        return values


def check_labels(model: Path, field: str) -> None:
    """Raises InvalidInput unless config.json declares a sequence classifier with one label; loads no weights."""
    config = json.loads((model / "config.json").read_text())
    architectures = config.get("architectures") or []
    if not any("SequenceClassification" in str(name) for name in architectures):
        raise InvalidInput(
            "NoRewardModel",
            f"{field}: found {', '.join(map(str, architectures)) or 'no architecture'} in config.json; a model for "
            "sequence classification with one label is allowed",
        )
    labels = len(config["id2label"]) if "id2label" in config else config.get("num_labels", 2)
    if labels != 1:
        raise InvalidInput("NoRewardModel", f"{field}: the model has {labels} labels; a scalar reward has one")


def token_batches(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Indexes in batches, longest first, each of at most `max_tokens` with its padding (or of one sequence)."""
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= max_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
