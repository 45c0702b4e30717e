"""The trained policy as a model folder that transformers and vLLM load: one copy of the weights, and the tokenizer.

Weights leave in the number format that they were trained in: float32 for `Float32`, because rounding to bf16 would
undo most of what an iteration at small learning rates changed, bf16 for `BFloat16`, which is what the forward pass
used and what the next iteration's reference must equal. Nothing depends on the base's own format.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import cast

from torch import Tensor, nn
from transformers.core_model_loading import dot_natural_key

from selm_runtime.contract import LoraConfig
from selm_runtime.train import lora as adapters
from selm_runtime.train import quantized
from selm_runtime.train.engine import Engine
from selm_runtime.train.model import ResponseLogProbs
from selm_runtime.train.ranks import Ranks
from selm_runtime.train.weight_files import WeightFiles

GATHER_ELEMENTS = 200_000_000
"""Parameters gathered at once under ZeRO-3 (0.8 GB in float32)."""
WEIGHT_FILES = ("*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json", "*.pt", "*.gguf")


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
    Rank 0 holds no more of the policy than a group of weights and a file that is not written yet. With `lora` the
    adapters are merged into the weights, since the next phases load a whole model; with its export `Adapter` they are
    written to `adapter_into` as well, which fits the model in `base`.
    """
    policy = cast(ResponseLogProbs, engine.module)
    files: WeightFiles | None = None
    if ranks.is_first:
        into.mkdir(parents=True)
        quantized.as_whole(policy.causal_lm)
        policy.causal_lm.config.use_cache = True
        policy.causal_lm.save_pretrained(into, state_dict={})  # all but the weights
        files = WeightFiles(policy.causal_lm, into)
    own: dict[str, Tensor] = {}
    for group in _groups(policy.model):
        with engine.gathered([parameter for _, parameter in group]):
            if files is not None:
                weights = {name: _whole(engine, parameter) for name, parameter in group}
                if lora is not None:
                    own |= {name: weight for name, weight in weights.items() if adapters.is_adapter(name)}
                    weights = adapters.merged(weights, lora)
                files.add(weights)
                del weights
        between()
    if files is not None:
        persistent = set(policy.model.state_dict())
        files.add({name: item.detach().cpu() for name, item in policy.model.named_buffers() if name in persistent})
        files.close()
        if lora is not None and lora.export == "Adapter":
            adapters.save_adapter(own, policy.causal_lm.base_model, lora, adapter_into)
        _carry_over(base, into)
    ranks.barrier()


def _whole(engine: Engine, parameter: nn.Parameter) -> Tensor:
    """A gathered weight on the CPU, that stays when it is cut again."""
    whole = quantized.whole(parameter).cpu()
    return whole.clone() if engine.partitioned else whole


def _groups(model: nn.Module) -> list[list[tuple[str, nn.Parameter]]]:
    """Every parameter once (tied ones under their first name), in the order of the files; a module's adapter beside it."""
    groups: list[list[tuple[str, nn.Parameter]]] = [[]]
    held, last = 0, ""
    named = [(adapters.merged_name(name), name, parameter) for name, parameter in model.named_parameters()]
    for whole, name, parameter in sorted(named, key=lambda item: (dot_natural_key(item[0]), item[1])):
        elements = getattr(parameter, "ds_numel", parameter.numel())
        if groups[-1] and whole != last and held + elements > GATHER_ELEMENTS:
            groups.append([])
            held = 0
        groups[-1].append((name, parameter))
        held, last = held + elements, whole
    return groups


def _carry_over(base: Path, into: Path) -> None:
    """Tokenizer, chat template and generation settings, byte for byte as the base has them."""
    skipped = {path for pattern in WEIGHT_FILES for path in base.glob(pattern)}
    for path in sorted(base.iterdir()):
        if path.is_file() and path not in skipped and path.name != "config.json" and path.name[0] != ".":
            shutil.copyfile(path, into / path.name)
