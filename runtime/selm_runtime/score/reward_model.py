"""Scalar reward models: Hugging Face sequence classification, with one output or several that weights make one."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from selm_runtime.contract import ScorerModelConfig
from selm_runtime.data.templates import refusals_told
from selm_runtime.errors import InvalidInput
from selm_runtime.precision import inference_device, inference_dtype
from selm_runtime.score.interface import Scorable
from selm_runtime.score.reward_plain import PlainClassifier, no_head, not_buildable
from selm_runtime.score.reward_pooled import PooledClassifier, check_pooling

PARITY_SAMPLE = 4
"""Responses whose scores are compared at start with those of plain transformers, one sequence at a time."""
PARITY_TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2, "float16": 1e-2}
"""Of a score, relative to its size or to 1: padding, or another engine, changes the order of sums, nothing more."""


class RewardModelScorer:
    """The model's score of the conversation with the response, by the reward model's own chat template.

    - One output: that.
    - Several with `objectives`: their weighted sum (of `rewards` where the model's code gives such, as ArmoRM's).
    - The model's code combines several itself (`score`, as ArmoRM's gating), and no `objectives`: that.

    It runs in transformers, or (`engine: VLLM`) on vLLM's pooling runner: the same token ids to both.
    """

    def __init__(self, name: str, model: Path, field: str, config: ScorerModelConfig) -> None:
        """`model` is a local folder in Hugging Face layout, `field` the group's path in the spec, for errors.

        Raises InvalidInput where the model does not give a score by these rules or has no chat template.
        """
        check_reward_model(model, field, config)
        from transformers import AutoConfig, AutoTokenizer

        self._name, self._field = name, field
        self._model, self._config = model, config
        self._dtype = inference_dtype(model, on_gpu=inference_device().type == "cuda")
        trust = config.trust_remote_code
        self._tokenizer: Any = AutoTokenizer.from_pretrained(model, trust_remote_code=trust)
        declared = AutoConfig.from_pretrained(model, trust_remote_code=trust)
        self._limit: int | None = getattr(declared, "max_position_embeddings", None)
        # The pooled model starts with the first responses, after transformers' own scores of a few: the two are never
        # in memory together.
        self._runs: PlainClassifier | PooledClassifier | None = (
            self._plain() if config.engine == "Transformers" else None
        )
        self._checked = False
        self._cut = 0  # conversations longer than the model's context, of which it saw the end

    @property
    def name(self) -> str:
        return self._name

    def score(self, responses: Sequence[Scorable]) -> list[float | None]:
        """One number a response; neither their order nor what else is scored changes it beyond rounding.

        Raises InvalidInput where the chat template refuses a conversation, naming its row, and where the first
        responses' scores are not those of plain transformers.
        """
        encoded = [self._encode(response) for response in responses]
        if not encoded:
            return []
        expected = {} if self._checked else self._expected(encoded)
        if self._runs is None:
            self._runs = PooledClassifier(
                self._model, self._field, self._limit, trust_remote_code=self._config.trust_remote_code
            )
        scores = self._runs.scores(encoded)
        self._check_parity(scores, expected)
        self._checked = True
        return list(scores)

    def counts(self) -> dict[str, float]:
        cut, self._cut = self._cut, 0
        return {"cut": cut}

    def close(self) -> None:
        if self._runs is not None:
            self._runs.close()

    def _plain(self) -> PlainClassifier:
        return PlainClassifier(
            self._model,
            self._field,
            self._dtype,
            trust_remote_code=self._config.trust_remote_code,
            weights=output_weights(self._model, self._config),
        )

    def _encode(self, response: Scorable) -> list[int]:
        conversation = [*map(dict, response.messages), {"role": "assistant", "content": response.text}]
        with refusals_told(self._field, f"row {response.row}", conversation):
            ids: list[int] = self._tokenizer.apply_chat_template(conversation, tokenize=True, return_dict=False)
        if self._limit is not None and len(ids) > self._limit:
            self._cut += 1
            ids = ids[-self._limit :]
        return ids

    def _expected(self, encoded: Sequence[Sequence[int]]) -> dict[int, float]:
        """By index: the scores of a few sequences from the shortest to the longest, each alone in transformers."""
        sample = parity_sample([len(ids) for ids in encoded])
        if isinstance(self._runs, PlainClassifier):
            return {index: self._runs.alone(encoded[index]) for index in sample}
        plain = self._plain()
        try:
            return {index: plain.alone(encoded[index]) for index in sample}
        finally:
            plain.close()

    def _check_parity(self, scores: Sequence[float], expected: dict[int, float]) -> None:
        found = worst_difference(scores, expected)
        if found is None or found[0] <= PARITY_TOLERANCE[self._dtype]:
            return
        _, index = found
        ours, plain = scores[index], expected[index]
        if self._config.engine == "VLLM":
            message = (
                f"{self._field}.engine: of {len(expected)} responses the one that differs most scores {ours:.4f} by vLLM "
                f"and {plain:.4f} by transformers; allowed is a difference of {PARITY_TOLERANCE[self._dtype]:g} of the "
                "score, or of 1: leave engine at Transformers"
            )
        else:
            message = (
                f"{self._field}.uri: a response scores {ours:.4f} in a batch and {plain:.4f} alone; the model's "
                "padding token or its code reads padding as text"
            )
        raise InvalidInput("ScoresDiffer", message)


def parity_sample(lengths: Sequence[int]) -> list[int]:
    """Indexes of at most `PARITY_SAMPLE` sequences, from the shortest to the longest in even steps."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    return sorted({order[round(k * (len(order) - 1) / (PARITY_SAMPLE - 1))] for k in range(PARITY_SAMPLE)})


def worst_difference(scores: Sequence[float], expected: dict[int, float]) -> tuple[float, int] | None:
    """The largest difference, relative to the expected score or to 1, and its index; a score that is no number is the
    worst. None where nothing is expected."""
    differences = [
        (abs(scores[index] - plain) / max(1.0, abs(plain)), index) for index, plain in sorted(expected.items())
    ]
    return max(((float("inf") if d != d else d, index) for d, index in differences), default=None)


def output_weights(model: Path, config: ScorerModelConfig) -> list[float] | None:
    """The weights of the model's outputs in order, 0 for those not named; None where no objectives are declared."""
    if config.objectives is None:
        return None
    weights = {objective.label: objective.weight for objective in config.objectives}
    return [weights.get(label, 0.0) for label in labels_of(_config(model))]


def check_reward_model(model: Path, field: str, config: ScorerModelConfig) -> None:
    """Raises InvalidInput unless the small files are those of a model that gives a score; loads no weights.

    `field` is the group's path in the spec. Imports vLLM where that is to run the model.
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
    if config.engine == "VLLM":
        if len(labels) != 1 or config.objectives is not None:
            raise InvalidInput(
                "NotPooled",
                f"{field}.engine: found VLLM for a model with {len(labels)} outputs ({', '.join(labels[:8])}); allowed is "
                "Transformers, which weighs them or leaves them to the model's code",
            )
        check_pooling(model, field, trust_remote_code=config.trust_remote_code)


def check_head(model: Path, names: Collection[str], field: str, *, trust_remote_code: bool) -> None:
    """Raises InvalidInput unless the weights (`names` are theirs) have all that the architecture puts above its body.

    By config.json and the model's own code alone: it is made without memory for its weights. Imports torch.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    with torch.device("meta"), not_buildable(f"{field}.uri"):
        config = AutoConfig.from_pretrained(model, trust_remote_code=trust_remote_code)
        network: Any = AutoModelForSequenceClassification.from_config(  # type: ignore[no-untyped-call]
            config, trust_remote_code=trust_remote_code
        )
    head = [name for name in network.state_dict() if not name.startswith(f"{network.base_model_prefix}.")]
    missing = [name for name in head if name not in names]
    if missing:
        raise no_head(field, missing)


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
