"""The trained policy as a model folder that transformers and vLLM load: one copy of the weights, and the tokenizer.

Weights leave in the number format that they were trained in: float32 for `Float32`, because rounding to bf16 would
undo most of what an iteration at small learning rates changed, bf16 for `BFloat16`, which is what the forward pass
used and what the next iteration's reference must equal. Nothing depends on the base's own format.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

from torch import Tensor, nn

from selm_runtime.contract import LoraConfig
from selm_runtime.train import lora as adapters
from selm_runtime.train import quantized
from selm_runtime.train.engine import Engine
from selm_runtime.train.model import ResponseLogProbs
from selm_runtime.train.ranks import Ranks

GATHER_ELEMENTS = 200_000_000
"""Parameters gathered at once under ZeRO-3 (0.8 GB in float32)."""
WEIGHT_FILES = ("*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json", "*.pt", "*.gguf")
SHARD_SIZE = "5GB"


def export(
    engine: Engine,
    base: Path,
    into: Path,
    ranks: Ranks,
    between: Callable[[], None],
    *,
    lora: LoraConfig | None,
    adapter_into: Path,
) -> None:
    """Write the policy to `into` on rank 0; every rank takes part.

    `base` is the folder that the policy was loaded from: its tokenizer and generation settings are carried over as
    they are. `between()` is called by every rank alike while weights are gathered, and raises where the pod is to go.
    With `lora` the adapters are merged into the weights, since the next phases load a whole model; with its export
    `Adapter` they are written to `adapter_into` as well, which fits the model in `base`.
    """
    policy = cast(ResponseLogProbs, engine.module)
    weights = _whole_weights(engine, policy.model, ranks, between)
    if ranks.is_first:
        into.mkdir(parents=True)
        if lora is not None:
            if lora.export == "Adapter":
                adapters.save_adapter(weights, policy.causal_lm.base_model, lora, adapter_into)
            weights = adapters.merged(weights, lora)
            quantized.as_whole(policy.causal_lm)
        config = policy.causal_lm.config
        config.use_cache = True
        policy.causal_lm.save_pretrained(into, state_dict=dict(weights), max_shard_size=SHARD_SIZE)
        _carry_over(base, into)
    ranks.barrier()


def _whole_weights(engine: Engine, model: nn.Module, ranks: Ranks, between: Callable[[], None]) -> Mapping[str, Tensor]:
    """Every parameter once (tied ones under their first name) and the persistent buffers; empty but on rank 0."""
    weights: dict[str, Tensor] = {}
    for group in _groups(model):
        with engine.gathered([parameter for _, parameter in group]):
            if ranks.is_first:
                for name, parameter in group:
                    whole = quantized.whole(parameter).cpu()
                    weights[name] = whole.clone() if engine.partitioned else whole
        between()
    if ranks.is_first:
        persistent = set(model.state_dict())
        weights |= {name: buffer.detach().cpu() for name, buffer in model.named_buffers() if name in persistent}
    return weights


def _groups(model: nn.Module) -> list[list[tuple[str, nn.Parameter]]]:
    groups: list[list[tuple[str, nn.Parameter]]] = [[]]
    held = 0
    for name, parameter in model.named_parameters():
        elements = getattr(parameter, "ds_numel", parameter.numel())
        if groups[-1] and held + elements > GATHER_ELEMENTS:
            groups.append([])
            held = 0
        groups[-1].append((name, parameter))
        held += elements
    return groups


def _carry_over(base: Path, into: Path) -> None:
    """Tokenizer, chat template and generation settings, byte for byte as the base has them."""
    skipped = {path for pattern in WEIGHT_FILES for path in base.glob(pattern)}
    for path in sorted(base.iterdir()):
        if path.is_file() and path not in skipped and path.name != "config.json" and path.name[0] != ".":
            shutil.copyfile(path, into / path.name)
