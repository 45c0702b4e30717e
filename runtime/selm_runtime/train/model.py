"""The model as the trainer sees it: token ids in, summed log-probabilities of each response out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from selm_runtime.errors import InvalidInput
from selm_runtime.train import attention, quantized
from selm_runtime.train.architecture import (
    MISFITS,
    NOT_LOADABLE,
    check_architecture,
    fitting,
    not_loadable,
    silence,
)
from selm_runtime.train.attention import PackedLayout
from selm_runtime.train.logprobs import TiledHead, sum_by_response
from selm_runtime.train.packing import PackedBatch

log = logging.getLogger(__name__)


class CausalLM(Protocol):
    """What is used of a transformers `PreTrainedModel` with a language-model head."""

    config: Any
    base_model: nn.Module

    def __call__(self, *, input_ids: Tensor, attention_mask: Tensor, use_cache: bool) -> Any: ...
    def get_output_embeddings(self) -> nn.Module: ...
    def set_output_embeddings(self, module: nn.Module) -> None: ...
    def gradient_checkpointing_enable(self, **options: Any) -> None: ...
    def save_pretrained(self, path: Path, **options: Any) -> None: ...


class ResponseLogProbs(nn.Module):
    """A causal language model whose forward pass answers summed response log-probs and nothing larger.

    One call of the model a micro-batch, whatever is in it: under ZeRO-3 every rank gathers each layer equally often.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @property
    def causal_lm(self) -> CausalLM:
        return cast(CausalLM, self.model)

    def forward(self, batch: PackedBatch, stock: bool = False) -> Tensor:
        """Summed log-probs [R] of the batch's distinct responses, in nats: float32, or float64 for such a model.

        `stock`: of the one response of a batch by the model's own forward pass, head included, as transformers runs it
        with the attention that it is set to.
        """
        if stock:
            ids = batch.input_ids
            whole = self.causal_lm(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
            logits = whole.logits[0, batch.predicts]
            every = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
            return sum_by_response(every.gather(1, batch.targets[:, None])[:, 0], batch.response_of, 1)
        layout = PackedLayout(batch.segments, batch.tail)
        output = self.causal_lm.base_model(
            input_ids=batch.input_ids, position_ids=batch.position_ids, use_cache=False, layout=layout
        )
        if not layout.attended:
            raise InvalidInput(
                "UnsupportedModel",
                f"spec.model: {self.causal_lm.config.get_text_config().model_type} has attention of its own; training needs "
                "a decoder that calls it by transformers' AttentionInterface",
            )
        hidden = output.last_hidden_state[0, batch.predicts]
        log_probs = self.causal_lm.get_output_embeddings()(hidden, batch.targets)
        return sum_by_response(log_probs, batch.response_of, len(batch.lengths))


def load(
    path: Path,
    *,
    dtype: torch.dtype,
    max_length: int,
    trust_remote_code: bool = False,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> ResponseLogProbs:
    """Load a Hugging Face causal language model from a local folder for packed training; `options` are those of `from_pretrained`.

    Raises InvalidInput if weights are missing, left over or of another shape (training from random weights would go
    unnoticed), or if the architecture cannot run packed without changing its output.
    """
    config = config_of(path, max_length=max_length, trust_remote_code=trust_remote_code)
    with fitting(config.get_text_config().model_type):
        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                path,
                config=config,
                dtype=dtype,
                attn_implementation=attention.NAME,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are named and refused below, not trained from random values
                trust_remote_code=trust_remote_code,
                **options,
            )
        except NOT_LOADABLE as error:
            raise not_loadable(error) from error
    model, info = loaded
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[problem]:
            names = ", ".join(sorted(str(key) for key in info[problem])[:5])
            raise InvalidInput(
                "WeightsMismatch",
                f"spec.model: {len(info[problem])} {problem.replace('_', ' ')} between config.json and the weights "
                f"({names}); every weight of the architecture must be in the files, and no other",
            )
    quantized.multiply_alike_everywhere(model)
    return for_packing(model)


def config_of(path: Path, *, max_length: int, trust_remote_code: bool) -> Any:
    """The configuration of a model folder, checked for packed training and without dropout. Raises InvalidInput."""
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
    except (*NOT_LOADABLE, *MISFITS) as error:
        raise not_loadable(error) from error
    check_architecture(config, max_length)
    silence(config)
    return config


def for_packing(model: Any) -> ResponseLogProbs:
    """Give a causal language model, loaded with our attention, the tiled head, and take its dropout.

    Raises InvalidInput where its head is none that can be replaced.
    """
    kind = model.config.get_text_config().model_type
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Linear):
        raise InvalidInput(
            "UnsupportedModel", f"spec.model: the output head is {type(head).__name__}; training needs a linear one"
        )
    if model.base_model is model:
        raise InvalidInput("UnsupportedModel", f"spec.model: {kind} has no decoder apart from its head")
    model.set_output_embeddings(TiledHead(head))
    return ResponseLogProbs(model)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """The block runs in evaluation mode, without dropout; then all modules train again."""
    module.eval()
    try:
        yield
    finally:
        module.train()


def enable_checkpointing_if_needed(model: ResponseLogProbs, tokens: int, budget: int) -> bool:
    """Recompute activations in the backward pass where those of `tokens` tokens would not fit into `budget` bytes.

    Costs a third more time and changes no result. Returns whether it is on.
    """
    needed = tokens * activation_bytes_per_token(model.causal_lm.config.get_text_config(), _width(model))
    if needed <= budget:
        return False
    log.info("activations would take %.1f GB of %.1f GB: recomputing them", needed / 1e9, budget / 1e9)
    model.causal_lm.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return True


def activation_bytes_per_token(config: Any, width: int) -> int:
    """What a dense Llama-type block keeps for its backward pass: about 16 hidden and 5 intermediate vectors a layer."""
    hidden = config.hidden_size
    intermediate = getattr(config, "intermediate_size", None) or 4 * hidden
    return int(config.num_hidden_layers * (16 * hidden + 5 * intermediate) * width)


def _width(model: nn.Module) -> int:
    return next(model.parameters()).element_size()
