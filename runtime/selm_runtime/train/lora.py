"""Low-rank adapters (arXiv 2106.09685, by peft) in place of training all weights, and their way back into the model.

A new adapter's B is zero: before the first step the adapted policy is the base to the bit, so that the reference pass
and the first-step anchor hold as they are. The next iteration starts from the merged weights, with a new adapter.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from selm_runtime.contract import LoraConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.train.dropout import Masks, SharedDropout

ADAPTER = "default"
"""peft's name for the only adapter."""
_BASE, _A, _B = ".base_layer.weight", f".lora_A.{ADAPTER}.weight", f".lora_B.{ADAPTER}.weight"


def add_adapters(model: nn.Module, decoder: nn.Module, lora: LoraConfig, *, dtype: torch.dtype, seed: int) -> None:
    """Give the decoder's linear layers adapters of `dtype` and freeze all else; equal seeds give equal adapters.

    Their dropout is `add_dropout`'s. Raises InvalidInput where a target module is not there or not linear.
    """
    check_targets(decoder, lora)
    import peft

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(_peft_config(decoder, lora.model_copy(update={"dropout": 0.0})), model, ADAPTER)
    for name, parameter in model.named_parameters():
        own = is_adapter(name)
        parameter.requires_grad_(own)
        if own:  # peft makes them in float32; DeepSpeed keeps float32 masters of whatever the pass runs in
            parameter.data = parameter.data.to(dtype)


def add_dropout(model: nn.Module, lora: LoraConfig, masks: Masks) -> None:
    """Put `masks` before each adapter of an adapted model; nothing where `dropout` is 0."""
    if not lora.dropout:
        return
    for name, module in model.named_modules():
        before = getattr(module, "lora_dropout", None)
        if isinstance(before, nn.ModuleDict) and ADAPTER in before:
            before[ADAPTER] = SharedDropout(masks, name, lora.dropout)


def is_adapter(name: str) -> bool:
    """Whether a parameter of an adapted model, by its name, belongs to the adapters."""
    return ".lora_" in name


def size(model: nn.Module) -> int:
    """Parameters of the adapters."""
    return sum(parameter.numel() for name, parameter in model.named_parameters() if is_adapter(name))


def check_targets(decoder: nn.Module, lora: LoraConfig) -> None:
    """Raises InvalidInput unless each of `targetModules` names linear modules of the decoder, and there are any."""
    paths = [f".{name}" for name, module in decoder.named_modules() if isinstance(module, nn.Linear)]
    unknown = [name for name in lora.target_modules if not any(path.endswith(f".{name}") for path in paths)]
    if unknown or not paths:
        raise InvalidInput(
            "UnsupportedLora",
            f"spec.training.lora.targetModules: found {', '.join(unknown) or 'none'}; allowed are names of linear modules "
            f"of the decoder, of which there are: {', '.join(linear_names(decoder)) or 'none'}",
        )


def linear_names(decoder: nn.Module) -> list[str]:
    """The last parts of the names of the decoder's linear modules, with or without adapters."""
    found = {
        name.removesuffix(".base_layer").rsplit(".", 1)[-1]
        for name, module in decoder.named_modules()
        if isinstance(module, nn.Linear) and not is_adapter(name)
    }
    return sorted(found)


def _peft_config(decoder: nn.Module, lora: LoraConfig) -> Any:
    import peft

    settings: dict[str, Any] = {
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": list(lora.target_modules) or linear_names(decoder),
        "task_type": "CAUSAL_LM",
    }
    return peft.LoraConfig(**settings)


def merged_name(name: str) -> str:
    """The base's name of the weight that a parameter of an adapted model is, or belongs to."""
    for part in (_BASE, _A, _B):
        if name.endswith(part):
            return f"{name.removesuffix(part)}.weight"
    return name.replace(".base_layer.", ".")


def merged(weights: Mapping[str, Tensor], lora: LoraConfig) -> dict[str, Tensor]:
    """Whole weights by their names in the base: W + alpha / rank B A, added in float32 and rounded once.

    `weights` are those of an adapted model. Without adapters in it, they come back as they are.
    """
    found: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if name.endswith(_BASE):
            module = name.removesuffix(_BASE)
            low = weights[module + _B].float() @ weights[module + _A].float()
            found[f"{module}.weight"] = (weight.float() + lora.alpha / lora.rank * low).to(weight.dtype)
        elif not is_adapter(name):
            found[merged_name(name)] = weight
    return found


def save_adapter(weights: Mapping[str, Tensor], decoder: nn.Module, lora: LoraConfig, into: Path) -> None:
    """Write the adapter alone as peft and vLLM load it, beside the model that the iteration began with."""
    from safetensors.torch import save_file

    into.mkdir(parents=True)
    config = _peft_config(decoder, lora)
    config.inference_mode = True
    config.save_pretrained(into)
    own = {
        f"base_model.model.{name.replace(f'.{ADAPTER}.', '.')}": weight.contiguous()
        for name, weight in weights.items()
        if is_adapter(name)
    }
    save_file(own, into / "adapter_model.safetensors", metadata={"format": "pt"})
