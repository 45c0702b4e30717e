"""Gradient norms after many unequal micro-batches, by ZeRO stage, in a process of its own.

`python -m support.accumulation Float32|BFloat16 FILE` (FILE: where its one rank meets itself) prints a JSON object: stage -> norm of one gradient of 1 and 64 of a
thousandth on each of 64 weights. In exact arithmetic it is 8 x 1.064.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from selm_runtime.contract import TrainingConfig
from support.train_world import training_settings

MICRO_BATCHES = 64
SMALL = 1e-3


class Weighted(nn.Module):
    """Loss = factor x the sum of 64 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(8, 8))

    def forward(self, factor: Tensor) -> Tensor:
        return (self.weight * factor.to(self.weight)).sum()


def norm_at(stage: int, precision: str) -> float:
    from selm_runtime.train.engine import Engine

    training = TrainingConfig.model_validate(training_settings(precision=precision, zeroStage=stage, maxGradNorm=0))
    model = Weighted()
    engine = Engine(model.bfloat16() if precision == "BFloat16" else model, training)
    for factor in (1.0, *[SMALL] * MICRO_BATCHES):
        engine.backward(engine(torch.tensor(factor)).float())
    return float(engine.step(0.0))


def main(precision: str, rendezvous: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=0, world_size=1)
    found = {str(stage): norm_at(stage, precision) for stage in range(4)}
    dist.destroy_process_group()
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
