"""The frozen weights in four bits (QLoRA, arXiv 2305.14314; by bitsandbytes), and the whole weights that they stand for.

The policy that is trained is the rounded base with its adapter, and that is what leaves: merged weights are those of the
rounded base. Nothing here trains the four-bit weights themselves.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from selm_runtime.contract import LoraConfig
from selm_runtime.errors import InvalidInput

if TYPE_CHECKING:  # Preparation checks settings without torch
    import torch
    from torch import Tensor, nn

LIBRARY = "bitsandbytes"


def is_quantized(lora: LoraConfig | None) -> bool:
    """Whether the frozen weights are to be held in four bits."""
    return lora is not None and lora.quantization != "None"


def check_quantization(lora: LoraConfig, zero_stage: int) -> None:
    """Raises InvalidInput where four-bit weights were asked for and cannot be: by the image or the ZeRO stage."""
    if not is_quantized(lora):
        return
    found = f"spec.training.lora.quantization: found {lora.quantization}"
    if zero_stage > 2:  # ZeRO-3 cuts weights by elements; a block of four-bit ones has its scale elsewhere
        raise InvalidInput("UnsupportedLora", f"{found} with zeroStage {zero_stage}; allowed is a zeroStage up to 2")
    if importlib.util.find_spec(LIBRARY) is None:
        raise InvalidInput(
            "MissingLibrary",
            f"{found}, for which the image has no Python package {LIBRARY}; allowed is None without it",
        )


def loading_options(lora: LoraConfig | None, dtype: torch.dtype, device: torch.device) -> Mapping[str, Any]:
    """What `from_pretrained` is told besides: nothing, or to round each weight as it arrives on the device.

    NF4 with quantized scales, as published; products are made in `dtype`.
    """
    if not is_quantized(lora):
        return {}
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": config, "device_map": {"": device}}


def multiply_alike_everywhere(model: nn.Module) -> None:
    """Keep bitsandbytes from a second layout of the weights, whose products it makes in bf16 for inference alone.

    It rewrites them so at the first evaluation on a CPU with AVX512-BF16: reference and policy would then be told
    apart by rounding, and the same run would give other numbers on another CPU.
    """
    module: Any
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def whole(parameter: nn.Parameter) -> Tensor:
    """A parameter's values, unpacked where they are in four bits; without gradient."""
    state = getattr(parameter, "quant_state", None)
    if state is None:
        return parameter.detach()
    from bitsandbytes.functional import dequantize_4bit

    values: Tensor = dequantize_4bit(parameter.data, state)
    return values


def elements(parameter: nn.Parameter) -> int:
    """Of the weight that a parameter stands for: two of them share a byte in four bits, and ZeRO-3 leaves a part here."""
    state = getattr(parameter, "quant_state", None)
    if state is not None:
        return int(state.shape.numel())
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def as_whole(model: Any) -> None:
    """Let `save_pretrained` write the whole weights that it is given, and no word of the rounding."""
    if getattr(model, "hf_quantizer", None) is not None:
        model.hf_quantizer = None
        del model.config.quantization_config
