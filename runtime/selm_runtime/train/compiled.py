"""The decoder's layers compiled by torch.compile (`spec.training.compile`), for packs of a few lengths.

Each layer is compiled in place, for fixed shapes; attention, and the masks of adapters' dropout, stay outside of the
graphs. Packs are filled up to one of at most `SIZES` lengths, and each rank meets all of them, forward and backward,
before it does anything together with the others: compiling takes minutes, and a collective waits no longer than its
time-out. The reference pass, policy and probes run through the same layers.

Not under ZeRO-3, whose hooks are around every module of a layer and break its graph at each of them.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from selm_runtime.contract import TrainingConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.train import attention, probe, reference
from selm_runtime.train.batches import Plan
from selm_runtime.train.compiler import FIELD
from selm_runtime.train.dropout import Masks
from selm_runtime.train.model import ResponseLogProbs
from selm_runtime.train.packing import AS_THEY_ARE, PackedBatch, PackSizes, pack
from selm_runtime.train.pairs import Pair
from selm_runtime.train.surroundings import Surroundings

log = logging.getLogger(__name__)

SIZES = 8
"""Lengths of packs at most: a tail is an eighth of the longest at most, and each length is compiled for."""
ALIGNED = 8
"""Lengths are multiples of it, as kernels like them."""
MOST_GRAPHS = 16 * SIZES
"""Of one piece of code: with and without gradients, for inputs with and without, and each kind of layer."""
OPTIONS = {
    "deterministic": True,  # kernels are not chosen by measuring, which would differ from attempt to attempt
    "emulate_precision_casts": True,  # rounds where the plain layer does, so with gradients as without
}
"""Inductor's settings."""


@dataclass(frozen=True)
class Packing:
    """The sizes of a training's packs, and the lengths that it meets on any rank, its reference pass and probe included."""

    sizes: PackSizes
    lengths: tuple[int, ...] = ()

    @classmethod
    def of(
        cls, training: TrainingConfig, tokens: Mapping[int, int], plans: Sequence[Plan], rows: Sequence[int], ranks: int
    ) -> Packing:
        """A function of the pairs, the ranks and `maxTokensPerMicroBatch` alone: the same in every attempt.

        `tokens`: of each pair; `plans`: of the optimizer steps; `rows`: those of the reference pass. Packs stay as they are
        where nothing is compiled.
        """
        if not training.compile:
            return cls(AS_THEY_ARE)
        limit = training.max_tokens_per_micro_batch
        longest = max(limit, *tokens.values())
        sizes = PackSizes(-(-longest // (SIZES * ALIGNED)) * ALIGNED)
        whole = [*plans, reference.plan_of(rows, tokens, ranks=ranks, max_tokens=limit)] if rows else plans
        packs = (sum(tokens[row] for row in micro) for plan in whole for share in plan for micro in share)
        return cls(sizes, tuple(sorted({sizes.of(length) for length in (*probe.PROBE_LENGTHS, *packs)})))


def prepare(here: Surroundings, policy: ResponseLogProbs, packing: Packing, masks: Masks | None) -> None:
    """`compile_layers` on each rank by itself and in its own time; they wait for each other after it alone."""
    with here.stage("compile"):
        compile_layers(policy, packing.lengths, masks=masks, stop=lambda: here.stop.requested)
    here.heed_stop("the decoder's layers were compiled")


def compile_layers(
    policy: ResponseLogProbs,
    lengths: Sequence[int],
    *,
    masks: Masks | None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Compile the decoder's layers and run packs of all `lengths` through them; nothing else of the model changes.

    To be called before DeepSpeed takes the model: gradients are made here and thrown away. `masks`: of the adapters'
    dropout; None where no gradient will be asked for. `stop` is asked between lengths and ends the passes early.
    Raises InvalidInput (`UnsupportedModel`) where the layers cannot be told, or compile anew for other tokens of a length
    that they have met: each step would compile.
    """
    import torch._dynamo.utils as dynamo  # the whole compiler: more seconds than a small training takes

    layers = decoder_layers(policy)
    attention.keep_out_of_graphs()
    if masks is not None:
        masks.keep_out_of_graphs()
    for layer in layers:
        layer.compile(dynamic=False, recompile_limit=MOST_GRAPHS, options=OPTIONS)
    device, graphs = next(policy.parameters()).device, dynamo.counters["stats"]
    vocabulary = policy.causal_lm.config.get_text_config().vocab_size
    # The longest first: what memory does not suffice for is known at once.
    for length in sorted(lengths, reverse=True):
        if stop():
            return
        _run(policy, _pack(length, 256, vocabulary).to(device), masks)
        met = graphs["unique_graphs"]
        _run(policy, _pack(length, 40, vocabulary).to(device), masks)
        if graphs["unique_graphs"] != met:
            kind = policy.causal_lm.config.get_text_config().model_type
            raise InvalidInput(
                "UnsupportedModel",
                f"{FIELD}: found true, but the layers of {kind} compile anew for other tokens in a pack of the same "
                "length; allowed is false",
            )
    log.info("compiled %d graphs for packs of %s tokens", graphs["unique_graphs"], list(lengths))


def decoder_layers(policy: ResponseLogProbs) -> list[nn.Module]:
    """The modules that transformers recomputes activations of: the decoder's layers, outermost ones alone.

    Raises InvalidInput where there are none.
    """
    found: list[tuple[str, nn.Module]] = []
    for name, module in policy.named_modules():
        if isinstance(module, GradientCheckpointingLayer) and not any(
            name.startswith(f"{outer}.") for outer, _ in found
        ):
            found.append((name, module))
    if not found:
        kind = policy.causal_lm.config.get_text_config().model_type
        raise InvalidInput(
            "UnsupportedModel",
            f"{FIELD}: found true, but {kind} has no layers of transformers' own kind (GradientCheckpointingLayer) to "
            "compile; allowed is false",
        )
    return [module for _, module in found]


def _pack(length: int, pair_tokens: int, vocabulary: int) -> PackedBatch:
    """A pack of `length` tokens drawn at random: pairs of `pair_tokens` tokens, or fewer where it is shorter, and a tail."""
    chance = random.Random(pair_tokens)
    each = max(4, min(pair_tokens, length))

    def drawn(count: int) -> tuple[int, ...]:
        return tuple(chance.randrange(vocabulary) for _ in range(count))

    pairs = [Pair(row, drawn(each - 3), drawn(1), drawn(2)) for row in range(max(1, length // each))]
    return pack(pairs, explored=False).filled(PackSizes(length))


def _run(policy: ResponseLogProbs, batch: PackedBatch, masks: Masks | None) -> None:
    """As the reference pass and as an optimizer step would, leaving nothing behind but what was compiled."""
    with torch.no_grad():
        policy.eval()(batch)
    if masks is None:
        return
    masks.of(0, batch)
    policy.train()(batch).sum().backward()
    for parameter in policy.parameters():
        parameter.grad = None
    policy.eval()
