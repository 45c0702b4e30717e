"""Scalar reward models: Hugging Face sequence classification, with one output or several that weights make one."""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from selm_runtime.contract import ScorerModelConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.precision import inference_device, inference_dtype
from selm_runtime.score.interface import Scorable

BATCH_TOKENS = 8192
"""Tokens of a forward pass, padding included."""
PARITY_SAMPLE = 4
"""Responses whose scores are compared at start with those of plain transformers, one sequence at a time."""
PARITY_TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2, "float16": 1e-2}
"""Of a score, relative to its size or to 1: padding changes the order of sums, nothing more."""

_log = logging.getLogger(__name__)


class RewardModelScorer:
    """The model's score of the conversation with the response, by the reward model's own chat template.

    - One output: that.
    - Several with `objectives`: their weighted sum (of `rewards` where the model's code gives such, as ArmoRM's).
    - The model's code combines several itself (`score`, as ArmoRM's gating), and no `objectives`: that.
    """

    def __init__(self, name: str, model: Path, field: str, config: ScorerModelConfig) -> None:
        """`model` is a local folder in Hugging Face layout, `field` the group's path in the spec, for errors.

        Raises InvalidInput where the model does not give a score by these rules or has no chat template.
        """
        check_reward_model(model, field, config)
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self._name, self._field = name, field
        self._device = inference_device()
        self._dtype = inference_dtype(model, on_gpu=self._device.type == "cuda")
        self._tokenizer: Any = AutoTokenizer.from_pretrained(model, trust_remote_code=config.trust_remote_code)
        loaded, info = AutoModelForSequenceClassification.from_pretrained(
            model,
            dtype=getattr(torch, self._dtype),
            trust_remote_code=config.trust_remote_code,
            output_loading_info=True,
        )
        if info["missing_keys"]:
            raise InvalidInput(
                "WeightsMismatch",
                f"{field}.uri: the files lack weights of the classifier ({', '.join(sorted(info['missing_keys'])[:5])}): "
                "a language model without a trained reward head?",
            )
        self._model: Any = loaded.to(self._device).eval()
        self._pad: int | None = self._model.config.pad_token_id
        self._limit = getattr(self._model.config, "max_position_embeddings", None)
        self._weights = output_weights(model, config)
        self._read: Callable[[Any], Any] = self._weighted if self._weights is not None else _only_output
        self._checked = False
        self._cut = 0  # conversations longer than the model's context, of which it saw the end

    @property
    def name(self) -> str:
        return self._name

    def score(self, responses: Sequence[Scorable]) -> list[float | None]:
        """One number a response. Batches are sorted by length and bounded in tokens; order does not change a score.

        Raises InvalidInput where the first batches' scores are not those of plain transformers.
        """
        encoded = [self._encode(response) for response in responses]
        scores: list[float | None] = [None] * len(encoded)
        # Without a padding token transformers cannot tell where a sequence ends: each goes alone then.
        limit = BATCH_TOKENS if self._pad is not None else 0
        for batch in token_batches([len(ids) for ids in encoded], limit):
            for index, score in zip(batch, self._forward([encoded[i] for i in batch]), strict=True):
                scores[index] = score
        if not self._checked and responses:
            self._check_parity(encoded, scores)
            self._checked = True
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
            values: list[float] = self._read(self._model(input_ids=ids, attention_mask=mask)).double().tolist()
        return values

    def _weighted(self, output: Any) -> Any:
        import torch

        found = getattr(output, "rewards", None)
        outputs = output.logits if found is None else found
        return outputs.double() @ torch.tensor(self._weights, dtype=torch.double, device=outputs.device)

    def _check_parity(self, encoded: Sequence[Sequence[int]], scores: Sequence[float | None]) -> None:
        """Some of the batched scores against the model run as its users run it: one sequence, no padding, no mask."""
        import torch

        order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
        sample = {order[round(k * (len(order) - 1) / (PARITY_SAMPLE - 1))] for k in range(PARITY_SAMPLE)}
        for index in sorted(sample):
            with torch.inference_mode():
                plain = float(self._read(self._model(torch.tensor([encoded[index]], device=self._device)))[0])
            ours = scores[index]
            assert ours is not None
            if abs(ours - plain) > PARITY_TOLERANCE[self._dtype] * max(1.0, abs(plain)):
                raise InvalidInput(
                    "ScoresDiffer",
                    f"{self._field}.uri: a response scores {ours:.4f} in a batch and {plain:.4f} alone; the model's "
                    "padding token or its code reads padding as text",
                )


def _only_output(output: Any) -> Any:
    """The model's own combination where its code gives one, else its only logit."""
    own = getattr(output, "score", None)
    return output.logits[:, 0] if own is None else own.reshape(-1)


def output_weights(model: Path, config: ScorerModelConfig) -> list[float] | None:
    """The weights of the model's outputs in order, 0 for those not named; None where no objectives are declared."""
    if config.objectives is None:
        return None
    weights = {objective.label: objective.weight for objective in config.objectives}
    return [weights.get(label, 0.0) for label in labels_of(_config(model))]


def check_reward_model(model: Path, field: str, config: ScorerModelConfig) -> None:
    """Raises InvalidInput unless the small files are those of a model that gives a score; loads no weights.

    `field` is the group's path in the spec.
    """
    declared = _config(model)
    architectures = [str(name) for name in declared.get("architectures") or ()]
    own_code = config.trust_remote_code and "AutoModelForSequenceClassification" in (declared.get("auto_map") or {})
    if not own_code and not any("SequenceClassification" in name for name in architectures):
        raise InvalidInput(
            "NoRewardModel",
            f"{field}.uri: found {', '.join(architectures) or 'no architecture'} in config.json; allowed is a model for "
            "sequence classification, or one whose own code is one and is allowed by trustRemoteCode",
        )
    labels = labels_of(declared)
    for i, objective in enumerate(config.objectives or ()):
        if objective.label not in labels:
            raise InvalidInput(
                "NoSuchObjective",
                f"{field}.objectives[{i}].label: found {objective.label!r}; the model has: {', '.join(labels)}",
            )
    if config.objectives is None and len(labels) != 1 and not own_code:
        raise InvalidInput(
            "NoRewardModel",
            f"{field}.objectives: found none, and the model has {len(labels)} outputs ({', '.join(labels[:8])}); "
            "allowed is a weight for each one that counts",
        )
    if not has_chat_template(model):
        raise InvalidInput("NoChatTemplate", f"{field}.uri: the reward model's tokenizer has no chat template")


def labels_of(config: dict[str, Any]) -> list[str]:
    """The names of the outputs in order, from a model's config.json; transformers gives two where it is silent."""
    named = config.get("id2label")
    if named:
        return [str(named[key]) for key in sorted(named, key=int)]
    return [f"LABEL_{i}" for i in range(int(config.get("num_labels", 2)))]


def has_chat_template(model: Path) -> bool:
    """Whether the folder's tokenizer has one, in either of its two places."""
    if (model / "chat_template.jinja").exists():
        return True
    path = model / "tokenizer_config.json"
    return path.exists() and bool(json.loads(path.read_text()).get("chat_template"))


def _config(model: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((model / "config.json").read_text())
    return config


def token_batches(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Indexes in batches, longest first, each of at most `max_tokens` with its padding (or of one sequence)."""
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= max_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
