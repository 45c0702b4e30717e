"""Which architectures can be trained packed, as far as config.json tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from selm_runtime.errors import InvalidInput

LOGIT_TRANSFORMS = ("final_logit_softcapping", "logit_scale", "logits_scaling")
"""Config fields of models whose logits are more than a linear map of the hidden state."""
CAUSAL_ATTENTION = frozenset({"full_attention", "sliding_attention"})
"""Kinds of layers (`layer_types` of a config) in which a token sees those before it, within a window that is checked."""
DROPOUT = ("dropout", "pdrop", "layerdrop")
"""Parts of the names of config fields that make a network in training another one at each pass."""
JITTER = "jitter"
"""Part of the names of those that make a router's choice so; what else a model makes of them is its own matter (PhiMoE)."""

MISFITS = (TypeError, AttributeError, KeyError, ValueError, IndexError, AssertionError, NotImplementedError)
"""What a model's code raises that does not go together with the attention that we give it."""
NOT_LOADABLE = (OSError, ValueError, ImportError, NameError)
"""What transformers and a model's own code raise where a file is wrong, or a package or a name is not there."""


def check_architecture(config: Any, max_length: int) -> None:
    """Refuse what packing or the tiled head would silently compute differently. Raises InvalidInput.

    `config`: a transformers `PretrainedConfig`.
    """
    config = config.get_text_config()
    kind = config.model_type
    for field in LOGIT_TRANSFORMS:
        if getattr(config, field, None) not in (None, 1.0):
            raise InvalidInput(
                "UnsupportedModel",
                f"spec.model: {kind} has {field}={getattr(config, field)}; training needs logits that are a plain "
                "linear map of the last hidden state",
            )
    others = sorted({str(each) for each in getattr(config, "layer_types", None) or ()} - CAUSAL_ATTENTION)
    if others:
        raise InvalidInput(
            "UnsupportedModel",
            f"spec.model: {kind} has layers of {', '.join(others)}; training needs a decoder whose tokens mix by causal "
            "attention alone",
        )
    for name in (name for name in vars(config) if JITTER in name and _is_on(config, name)):
        raise InvalidInput(
            "UnsupportedModel",
            f"spec.model: {kind} has {name}={getattr(config, name)}; training needs a router without noise: policy and "
            "reference are to be the same network",
        )
    window = getattr(config, "sliding_window", None)
    if window is not None and getattr(config, "use_sliding_window", True) and window < max_length:
        raise beyond_window(window, max_length, kind)
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and max_length > positions:
        raise InvalidInput(
            "SequenceTooLong",
            f"spec.training.maxLength: {max_length} is more than the {positions} positions of the model",
        )
    for rotary in _rotaries(config):
        reach = rotary.get("original_max_position_embeddings", positions)
        if rotary.get("rope_type") == "longrope" and reach is not None and max_length > reach:
            raise InvalidInput(
                "UnsupportedModel",
                f"spec.training.maxLength: found {max_length}, allowed with {kind} are at most {reach}: beyond them its "
                "rotary embedding (longrope) depends on the longest sequence that is run beside a response",
            )


def beyond_window(window: int, tokens: int, kind: str) -> InvalidInput:
    """Sequences of `tokens` tokens for a model some of whose layers see the last `window` alone."""
    return InvalidInput(
        "UnsupportedModel",
        f"spec.training.maxLength: {tokens} is longer than the sliding attention window of {kind} ({window}); "
        "allowed is at most the window",
    )


def misfit(kind: str, error: Exception) -> InvalidInput:
    """A model whose code raises one of `MISFITS`."""
    return InvalidInput(
        "UnsupportedModel",
        f"spec.model: {kind} cannot be run packed ({type(error).__name__}: {error}); training needs a decoder that calls "
        "attention by transformers' AttentionInterface and hands on what it is called with",
    )


def not_loadable(error: Exception) -> InvalidInput:
    """A model whose configuration or code raises one of `NOT_LOADABLE`."""
    return InvalidInput("ModelNotLoadable", f"spec.model: transformers cannot load it: {type(error).__name__}: {error}")


@contextmanager
def fitting(kind: str) -> Iterator[None]:
    """The block makes or runs a model of this kind; InvalidInput where its code is a misfit."""
    try:
        yield
    except MISFITS as error:
        raise misfit(kind, error) from error


def silence(config: Any) -> None:
    """Set dropout to 0, which would make reference and policy other networks at each pass."""
    config = config.get_text_config()
    for name in list(vars(config)):
        if any(part in name for part in DROPOUT) and _is_on(config, name):
            setattr(config, name, 0.0)


def _is_on(config: Any, name: str) -> bool:
    value = getattr(config, name)
    return isinstance(value, float) and value != 0.0


def _rotaries(config: Any) -> Iterator[Mapping[str, Any]]:
    """The settings of rotary embeddings: one for all layers, or one for each kind of layer."""
    found = getattr(config, "rope_parameters", None) or {}
    if "rope_type" in found:
        yield found
    else:
        yield from (each for each in found.values() if isinstance(each, Mapping))
