"""Whether a model's packed forward pass is what transformers computes: tried with a few tokens before it is relied upon.

Config fields tell some of it (`architecture.py`). What no list of fields would hold is tried: once by shapes alone,
without a weight, before a GPU is asked for, and once with the weights, before the first step.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.initialization import meta_device_safe_creation_ops

from selm_runtime.errors import InvalidInput
from selm_runtime.train import attention
from selm_runtime.train.architecture import MISFITS, fitting, misfit, not_loadable
from selm_runtime.train.dropout import SharedDropout
from selm_runtime.train.model import ResponseLogProbs, config_of, for_packing
from selm_runtime.train.packing import AS_THEY_ARE, PackedBatch, PackSizes, pack
from selm_runtime.train.pairs import Pair

log = logging.getLogger(__name__)

META = torch.device("meta")
PACKING_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.bfloat16: 0.5, torch.float16: 0.5}
"""Nats over a few tokens: far above rounding, far below what a token too many in sight does."""
STOCK_TOLERANCE = {**PACKING_TOLERANCE, torch.bfloat16: 4.0, torch.float16: 4.0}
"""The same for other kernels, which round elsewhere in 16 bits: a router may send a token to another expert."""
PROBE = (Pair(0, (3, 5, 7), (4, 6), (8, 9, 10)), Pair(1, (11, 3), (5, 5, 6, 4), (7,)))
"""Two pairs, which `check_packing` runs together and each of their responses alone."""
PROBE_LENGTHS = (*(pair.tokens for pair in PROBE), sum(pair.tokens for pair in PROBE))


def check_packing(module: ResponseLogProbs, device: torch.device, sizes: PackSizes = AS_THEY_ARE) -> None:
    """Raise InvalidInput (`UnsupportedModel`) unless two packed pairs give what each of their responses gives alone.

    And `DamagedModel` where it gives no numbers.

    Alone by the same kernels: a layer that mixes neighbouring tokens other than by the attention that we replace
    (convolution, state space, an implementation of its own) would let responses see each other. Alone by transformers'
    own attention and head: what ours leave out (a mask, a bias, a cap) would be trained on without a word. And in
    training mode: noise in the layers would make policy and reference differ. Some ten tokens; the same on every rank.
    Leaves the module in evaluation mode.
    """
    alone = [
        pack([Pair(pair.row, pair.prompt, response, response)], explored=False)
        for pair in PROBE
        for response in pair.responses
    ]
    kind = module.causal_lm.config.get_text_config().model_type
    with torch.no_grad(), fitting(kind):
        packed = module.eval()(pack(PROBE, explored=False).filled(sizes).to(device))
        ours = torch.cat([module(each.filled(sizes).to(device)) for each in alone])
        with _without_graphs():
            _train_but_for_adapters(module)
            trained = torch.cat([module(each.filled(sizes).to(device)) for each in alone])
            module.eval()
            with _stock_attention(module):
                stock = torch.cat([module(each.to(device), stock=True) for each in alone])
    if not bool(ours.isfinite().all()):
        raise InvalidInput("DamagedModel", "spec.model: it gives log-probabilities that are no numbers")
    dtype = next(module.parameters()).dtype
    _require_equal(
        packed,
        ours,
        PACKING_TOLERANCE[dtype],
        "its layers see across packed sequences",
        "a decoder whose tokens mix by attention alone",
    )
    _require_equal(
        trained, ours, PACKING_TOLERANCE[dtype], "its layers compute otherwise in training", "layers without noise"
    )
    _require_equal(
        stock,
        ours,
        STOCK_TOLERANCE[dtype],
        f"{kind} has more to it than causal attention and a linear head",
        "a decoder of these",
    )


def by_shapes(folder: Path, *, max_length: int, trust_remote_code: bool = False) -> ResponseLogProbs | None:
    """The model of a folder's config.json without its weights, after a packed pass of `max_length` tokens by shapes alone.

    Raises InvalidInput where it cannot be trained packed as far as that tells. What depends on values (a router's
    choice of experts) cannot be tried so: then `check_packing` has the last word, as it has on every value. None where the
    model cannot even be made without values.
    """
    config = config_of(folder, max_length=max_length, trust_remote_code=trust_remote_code)
    kind = config.get_text_config().model_type
    model = _without_weights(config, trust_remote_code=trust_remote_code)
    if model is None:
        return None
    policy = for_packing(model).eval()
    one, half = (5,), (6,) * max(1, (max_length - 1) // 2)
    longest, alone = Pair(0, one, (5,) * (max_length - 1), half), Pair(0, one, half, half)
    batch, plain = (pack([pair], explored=False).to(META) for pair in (longest, alone))
    try:
        with torch.no_grad():
            policy(batch)
    except (RuntimeError, *MISFITS) as error:
        # What lacks a value says so by RuntimeError, in whatever form; a false refusal would be worse than a late one.
        if not isinstance(error, RuntimeError) and _runs_stock(policy, plain):
            raise misfit(kind, error) from error
        log.info("%s cannot be tried by shapes alone: %s: %s", kind, type(error).__name__, error)
    return policy


def _without_weights(config: Any, *, trust_remote_code: bool) -> Any:
    """The model with our attention; None where its code wants values while it is made. Raises InvalidInput for a misfit."""

    def made(attention_name: str) -> Any:
        with META, meta_device_safe_creation_ops():
            return AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
                config, dtype=torch.bfloat16, attn_implementation=attention_name, trust_remote_code=trust_remote_code
            )

    kind = config.get_text_config().model_type
    try:
        return made(attention.NAME)
    except (ImportError, NameError) as error:
        raise not_loadable(error) from error
    except (RuntimeError, *MISFITS) as error:
        log.info("%s cannot be made without weights: %s: %s", kind, type(error).__name__, error)
        try:
            made("eager")
        except (RuntimeError, *MISFITS):
            return None
        raise misfit(kind, error) from error


def _runs_stock(policy: ResponseLogProbs, plain: PackedBatch) -> bool:
    try:
        with torch.no_grad(), _stock_attention(policy):
            policy(plain, stock=True)
    except (RuntimeError, *MISFITS) as error:
        log.info("nor can it without packing: %s: %s", type(error).__name__, error)
        return False
    return True


def _require_equal(found: Tensor, expected: Tensor, allowed: float, what: str, needed: str) -> None:
    difference = float((found - expected).abs().max())
    if not difference <= allowed:
        raise InvalidInput(
            "UnsupportedModel",
            f"spec.model: {what} (log-probs differ by {difference:.3g} nats, allowed are {allowed:g}); training needs {needed}",
        )


def _train_but_for_adapters(module: nn.Module) -> None:
    """Adapters' dropout draws for micro-batches of a step, and is meant."""
    module.train()
    for each in module.modules():
        if isinstance(each, SharedDropout):
            each.eval()


@contextmanager
def _stock_attention(module: ResponseLogProbs) -> Iterator[None]:
    """The block runs transformers' plainest attention: the one that every architecture has whole.

    By the configs, which layers read at each call: `set_attn_implementation` leaves out models whose code it does not know.
    """
    configs = {id(each.config): each.config for each in module.modules() if isinstance(each, PreTrainedModel)}
    before = [(config, config._attn_implementation) for config in configs.values()]
    for config, name in before:
        if name == attention.NAME:
            config._attn_implementation = "eager"
    try:
        yield
    finally:
        for config, name in before:  # a model's before those of its parts, which it sets, too
            config._attn_implementation = name


def _without_graphs() -> Any:
    """The block runs layers as they are written, compiled or not: graphs are made for packs in the steps' own modes."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and to import it takes seconds
        return nullcontext()
    return torch.compiler.set_stance("force_eager")
