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
from selm_runtime.train.attention import PackedLayout
from selm_runtime.train.logprobs import TiledHead, sum_by_response
from selm_runtime.train.packing import AS_THEY_ARE, PackedBatch, PackSizes, pack
from selm_runtime.train.pairs import Pair

log = logging.getLogger(__name__)

PACKING_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.bfloat16: 0.5}
"""Nats over a few tokens: far above rounding, far below what a token too many in sight does."""
PROBE = (Pair(0, (3, 5, 7), (4, 6), (8, 9, 10)), Pair(1, (11, 3), (5, 5, 6, 4), (7,)))
"""Two pairs, which `check_packing` runs together and each of their responses alone."""
PROBE_LENGTHS = (*(pair.tokens for pair in PROBE), sum(pair.tokens for pair in PROBE))
LOGIT_TRANSFORMS = ("final_logit_softcapping", "logit_scale", "logits_scaling")
"""Config fields of models whose logits are more than a linear map of the hidden state."""


class CausalLM(Protocol):
    """What is used of a transformers `PreTrainedModel` with a language-model head."""

    config: Any
    base_model: nn.Module

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

    def forward(self, batch: PackedBatch) -> Tensor:
        """Summed log-probs [R] of the batch's distinct responses, in nats: float32, or float64 for such a model."""
        output = self.causal_lm.base_model(
            input_ids=batch.input_ids,
            position_ids=batch.position_ids,
            use_cache=False,
            layout=PackedLayout(batch.segments, batch.tail),
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
    config = AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
    check_architecture(config, max_length)
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
    except (OSError, ValueError) as error:
        raise InvalidInput("ModelNotLoadable", f"spec.model: transformers cannot load it: {error}") from error
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
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Linear):
        raise InvalidInput(
            "UnsupportedModel", f"spec.model: the output head is {type(head).__name__}; training needs a linear one"
        )
    if model.base_model is model:
        raise InvalidInput("UnsupportedModel", f"spec.model: {config.model_type} has no decoder apart from its head")
    model.set_output_embeddings(TiledHead(head))
    return ResponseLogProbs(model)


def check_architecture(config: Any, max_length: int) -> None:
    """Refuse what packing or the tiled head would silently compute differently. Raises InvalidInput."""
    config = config.get_text_config()
    kind = config.model_type
    for field in LOGIT_TRANSFORMS:
        if getattr(config, field, None) not in (None, 1.0):
            raise InvalidInput(
                "UnsupportedModel",
                f"spec.model: {kind} has {field}={getattr(config, field)}; training needs logits that are a plain "
                "linear map of the last hidden state",
            )
    window = getattr(config, "sliding_window", None)
    if window is not None and getattr(config, "use_sliding_window", True) and window < max_length:
        raise InvalidInput(
            "UnsupportedModel",
            f"spec.training.maxLength: {max_length} is longer than the sliding attention window of {kind} ({window}); "
            "allowed is at most the window",
        )
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and max_length > positions:
        raise InvalidInput(
            "SequenceTooLong",
            f"spec.training.maxLength: {max_length} is more than the {positions} positions of the model",
        )
    for name in ("attention_dropout", "attn_pdrop", "resid_pdrop", "embd_pdrop", "hidden_dropout"):
        if getattr(config, name, 0.0):
            setattr(config, name, 0.0)


def check_packing(module: nn.Module, device: torch.device, sizes: PackSizes = AS_THEY_ARE) -> None:
    """Run two packed pairs and each of their responses alone; raise InvalidInput (`UnsupportedModel`) if they differ.

    A layer that mixes neighbouring tokens other than by the attention that we replace (convolution, state space, an
    implementation of its own) would let responses see each other, and train on nonsense without a word. A forward pass
    of some ten tokens, the same on every rank.
    """
    with torch.no_grad():
        packed = module(pack(PROBE, explored=False).filled(sizes).to(device))
        alone = [
            module(pack([Pair(pair.row, pair.prompt, response, response)], explored=False).filled(sizes).to(device))
            for pair in PROBE
            for response in pair.responses
        ]
    difference = float((packed - torch.cat(alone)).abs().max())
    allowed = PACKING_TOLERANCE[next(module.parameters()).dtype]
    if not difference <= allowed:
        raise InvalidInput(
            "UnsupportedModel",
            f"spec.model: its layers see across packed sequences (log-probs differ by {difference:.3g} nats, allowed "
            f"are {allowed:g}); training needs a decoder whose tokens mix by attention alone",
        )


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
