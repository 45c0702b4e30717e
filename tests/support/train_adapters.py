"""Policies with adapters."""

from __future__ import annotations

from pathlib import Path

import torch

from selm_runtime.contract import LoraConfig
from selm_runtime.train import lora
from selm_runtime.train import model as models
from selm_runtime.train.model import ResponseLogProbs

SETTINGS = LoraConfig(rank=4, alpha=8.0)


def adapted(tiny: Path, settings: LoraConfig = SETTINGS, *, seed: int = 3) -> ResponseLogProbs:
    """The model with new adapters."""
    policy = models.load(tiny, dtype=torch.float32, max_length=64)
    lora.add_adapters(policy.model, policy.causal_lm.base_model, settings, dtype=torch.float32, seed=seed)
    return policy


def trained(policy: ResponseLogProbs) -> ResponseLogProbs:
    """As after some steps: B is no longer zero."""
    generator = torch.Generator().manual_seed(5)
    for name, parameter in policy.named_parameters():
        if ".lora_B." in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    return policy
