"""DeepSpeed as the trainer uses it: one engine, four ZeRO stages, nothing compiled at run time."""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from selm_runtime.contract import TrainingConfig
from selm_runtime.errors import InvalidInput

BUCKET_ELEMENTS = 50_000_000
"""Elements that are reduced or gathered at once; a buffer of this size is held (200 MB in float32)."""
LIVE_ELEMENTS = 1_000_000_000
"""Elements of gathered weights that ZeRO-3 keeps at most, to be used again soon (2 GB in bf16): DeepSpeed's default."""
FAR = 1 << 40


def dtype_of(training: TrainingConfig) -> torch.dtype:
    """The number format of weights in the forward and backward pass; the optimizer's is float32 always."""
    return torch.bfloat16 if training.precision == "BFloat16" else torch.float32


def zero_stage_of(training: TrainingConfig) -> int:
    """The ZeRO stage that is run: 1 for stage 0 in bf16.

    Without ZeRO DeepSpeed accumulates bf16 gradients in bf16 (`FP16_UnfusedOptimizer`): what is some 500 times smaller
    than their sum so far is lost, and the optimism term is.
    """
    return 1 if training.zero_stage == 0 and training.precision == "BFloat16" else training.zero_stage


def deepspeed_config(training: TrainingConfig) -> dict[str, Any]:
    """DeepSpeed's configuration (https://www.deepspeed.ai/docs/config-json/) for one optimizer step a `step()` call.

    Gradients are averaged over ranks, so a rank's loss is its sum of pair losses times ranks / batchSize. They are
    accumulated and reduced in float32: the optimism term is some thousand times smaller than the preference term.
    """
    bf16, stage = training.precision == "BFloat16", zero_stage_of(training)
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,  # nominal: micro-batches are cut by tokens
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,  # the loop calls step() once all micro-batches are through
        "gradient_clipping": 0.0 if _clips_by_itself(training) else training.max_grad_norm,
        "bf16": {"enabled": bf16},
        "communication_data_type": "fp32",
        "steps_per_print": FAR,
        "checkpoint": {"tag_validation": "Ignore"},  # each rank saves below a folder of its own
        "zero_optimization": {
            "stage": stage,
            "overlap_comm": False,
            "contiguous_gradients": True,
            "reduce_bucket_size": BUCKET_ELEMENTS,
            "allgather_bucket_size": BUCKET_ELEMENTS,
            "stage3_prefetch_bucket_size": BUCKET_ELEMENTS,
            "stage3_max_live_parameters": LIVE_ELEMENTS,
            "stage3_max_reuse_distance": LIVE_ELEMENTS,
            "stage3_param_persistence_threshold": 10_000,
        },
    }
    if stage > 0:
        config["data_types"] = {"grad_accum_dtype": "fp32"}
    config["zero_optimization"] |= _offload(training)
    # torch's AdamW steps on the host too; DeepSpeed's own would be compiled at run time.
    config["zero_force_ds_cpu_optimizer"] = False
    return config


def _offload(training: TrainingConfig) -> dict[str, Any]:
    """What lies in the host's memory instead of the device's. Raises InvalidInput where nothing is partitioned.

    The operator refuses the same combinations; a config may come from elsewhere.
    """
    offload, stage = training.offload, training.zero_stage
    for field, where, least in (("optimizer", offload.optimizer, 1), ("parameters", offload.parameters, 3)):
        if where == "CPU" and stage < least:
            raise InvalidInput(
                "InvalidConfig",
                f"spec.training.offload.{field}: found CPU with zeroStage {stage}; allowed with zeroStage {least} or more",
            )
    host = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    found = {"offload_optimizer": offload.optimizer, "offload_param": offload.parameters}
    return {name: host for name, where in found.items() if where == "CPU"}


def _clips_by_itself(training: TrainingConfig) -> bool:
    """Without ZeRO and mixed precision DeepSpeed clips, but does not tell the norm: then it is done here."""
    return training.zero_stage == 0 and training.precision == "Float32"


def optimizer_of(model: nn.Module, training: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW (torch's own kernels, nothing to compile); weight decay on matrices, not on norms and biases."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in parameters if len(shape_of(parameter)) > 1]
    plain = [parameter for parameter in parameters if len(shape_of(parameter)) <= 1]
    settings = training.optimizer
    return torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ],
        lr=training.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
        fused=True,  # one pass over memory instead of a dozen
    )


def shape_of(parameter: nn.Parameter) -> torch.Size:
    """Of the whole weight, also where this rank has a part of it only (ZeRO-3)."""
    found: torch.Size = getattr(parameter, "ds_shape", parameter.shape)
    return found


def prepare_deepspeed() -> Any:
    """Import DeepSpeed, its log on stderr, its just-in-time compiled shared-memory collectives off.

    The latter need a C++ compiler at run time; gloo does the same work without one.
    """
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed
    from deepspeed.ops import __compatible_ops__
    from deepspeed.utils import logger

    __compatible_ops__["deepspeed_shm_comm"] = False
    _import_muon_uncompiled()
    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(sys.stderr)
    logger.setLevel(logging.WARNING)
    return deepspeed


def _import_muon_uncompiled() -> None:
    """Import the one optimizer of DeepSpeed's that is decorated with torch.compile, undecorated.

    DeepSpeed imports it whatever optimizer is used, and the decorator imports the whole compiler: more seconds than a
    small training takes.
    """

    def undecorated(function: Callable[..., Any] | None = None, **_: Any) -> Any:
        return function if function is not None else undecorated

    compiled = torch.compile
    torch.compile = undecorated  # type: ignore[assignment]
    try:
        import deepspeed.runtime.zero.muon.muon_optimizer  # noqa: F401 - for what it leaves in sys.modules
    finally:
        torch.compile = compiled


def _keep_trained(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    """Leave nothing in a state dict but what is trained: frozen weights, and what four-bit ones have beside them, go."""
    trained = {f"{prefix}{name}" for name, parameter in module.named_parameters() if parameter.requires_grad}
    for key in state.keys() - trained:
        del state[key]


class Engine:
    """What the loop needs of DeepSpeed, and no more: forward, backward, step, gather, save, load."""

    def __init__(self, model: nn.Module, training: TrainingConfig) -> None:
        self._deepspeed = prepare_deepspeed()
        self._training = training
        self._frozen = training.lora is not None
        self._norm: Tensor | None = None
        if self._frozen:
            model.register_state_dict_post_hook(_keep_trained)  # type: ignore[no-untyped-call]
        optimizer = optimizer_of(model, training)
        if _clips_by_itself(training):
            optimizer.register_step_pre_hook(self._clip)
        self._engine: Any = self._deepspeed.initialize(
            model=model,
            optimizer=optimizer,
            config=deepspeed_config(training),
            dist_init_required=False,
        )[0]

    @property
    def module(self) -> nn.Module:
        module: nn.Module = self._engine.module
        return module

    @property
    def partitioned(self) -> bool:
        """Whether each rank holds a part of every weight only (ZeRO-3)."""
        return self._training.zero_stage == 3

    def __call__(self, batch: Any) -> Tensor:
        output: Tensor = self._engine(batch)
        return output

    def backward(self, loss: Tensor) -> None:
        """Accumulate a micro-batch's gradients; `loss` is this rank's share times the number of ranks."""
        self._engine.backward(loss)

    def step(self, learning_rate: float) -> Tensor | float:
        """Reduce, clip, update; returns the gradient's norm before clipping, over all ranks: where DeepSpeed left it.

        Infinite where DeepSpeed found a gradient that is no number, and left the weights as they were.
        """
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rate
        self._engine.step()
        norm: Tensor | float | None
        norm = self._norm if _clips_by_itself(self._training) else self._engine.get_global_grad_norm()
        if norm is None:
            raise RuntimeError("the optimizer step left no gradient norm")
        return norm

    def _clip(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        limit = self._training.max_grad_norm or math.inf  # 0 does not clip
        self._norm = nn.utils.clip_grad_norm_(parameters, limit)

    def gathered(self, parameters: list[nn.Parameter]) -> Any:
        """Context in which whole weights are there on every rank; to be entered by all ranks alike."""
        return self._deepspeed.zero.GatheredParameters(parameters, enabled=self.partitioned)

    def save(self, folder: Path) -> None:
        """Write this rank's part of weights and optimizer into `folder`, its own; to be called by all ranks.

        With adapters, of the weights only theirs: the frozen ones are the model's own, which every attempt has loaded.
        """
        self._engine.save_checkpoint(
            str(folder.parent), tag=folder.name, save_latest=False, exclude_frozen_parameters=self._frozen
        )

    def load(self, folder: Path) -> None:
        """Take weights and optimizer from `folder`. Raises RuntimeError if DeepSpeed finds no checkpoint there."""
        path, _ = self._engine.load_checkpoint(str(folder.parent), tag=folder.name, load_module_strict=not self._frozen)
        if path is None:
            raise RuntimeError(f"DeepSpeed found no checkpoint of this rank in {folder}")
