"""Do the contenders compute the same thing? Log-probs, loss and gradients of the first batch, ours against the others'.

Without agreement a comparison of speed says nothing: `train.py` then stops. The policy is moved away from the reference
first: where they are equal the margin is 0 and the loss ln 2, whatever beta and the references are.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

import train_ours
import train_padded
import train_trl
from selm_runtime.train import model
from selm_runtime.train.engine import dtype_of
from selm_runtime.train.objectives import in_force, objective_of
from selm_runtime.train.packing import pack
from train_world import MAX_LENGTH, BenchPair, Measured, Settings, read_pairs

SHIFT = 0.5
"""Of each weight matrix' mean size: how far the policy is moved at random."""
LEAST_OFF_LN_2 = 1e-3
TOLERANCE = {False: 1e-4, True: 5e-2}
"""Relative, by `bf16`: what the order of sums changes over hundreds of tokens and all layers."""


def check(work: Path, settings: Settings) -> dict[str, float]:
    """Relative differences by what was compared. Raises SystemExit where one is too large."""
    first = read_pairs(work)[: settings.batch_size]
    found: dict[str, float] = {}
    for other, alpha in (("trl", 0.0), ("padded", settings.alpha)):
        sums, loss, gradients = ours(work, settings, first, alpha)
        their_sums, their_loss, their_gradients = (
            trl(work, settings) if other == "trl" else padded(work, settings, first)
        )
        found[f"{other}: log-probs"] = relative(sums, their_sums)
        found[f"{other}: loss"] = abs(loss - their_loss) / abs(their_loss)
        found[f"{other}: gradients"] = relative(
            torch.cat([gradients[name].flatten() for name in sorted(gradients)]),
            torch.cat([their_gradients[name].flatten() for name in sorted(gradients)]),
        )
        if abs(their_loss - math.log(2.0)) < LEAST_OFF_LN_2:
            raise SystemExit(f"the loss is {their_loss}: the policy is too near to its reference to compare anything")
    wrong = {what: value for what, value in found.items() if not value <= TOLERANCE[settings.bf16]}
    if wrong:
        raise SystemExit(f"the contenders do not compute the same: {wrong}, allowed is {TOLERANCE[settings.bf16]}")
    return found


def shift(policy: nn.Module) -> None:
    """Move the weights by noise that is a function of their names."""
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
            noise = torch.randn(parameter.shape, generator=generator).to(parameter)
            parameter.add_(noise * (SHIFT * parameter.abs().mean()))


def ours(
    work: Path, settings: Settings, pairs: list[BenchPair], alpha: float
) -> tuple[Tensor, float, dict[str, Tensor]]:
    """Summed log-probs [2 x pairs] (chosen, then rejected), mean loss by the product's objective, gradients by parameter."""
    config, explored = train_ours.phase_config(work, settings, alpha, work), alpha != 0.0
    policy = model.load(work / "model", dtype=dtype_of(config.training), max_length=MAX_LENGTH).to(settings.device)
    policy.train()
    numbered = train_ours.numbered(pairs, explored=explored)
    batch = pack(list(numbered.values()), explored=explored).to(torch.device(settings.device))
    with torch.no_grad():
        constants = batch.sums(policy(batch))
    shift(policy.model)
    sums = batch.sums(policy(batch))
    objective = objective_of(config)
    loss = objective.evaluate(batch.record(objective, sums, constants, None), in_force(config)).losses.mean()
    loss.backward()
    return torch.cat([sums.chosen, sums.rejected]).detach(), float(loss), dict(_gradients(policy.model))


def trl(work: Path, settings: Settings) -> tuple[Tensor, float, dict[str, Tensor]]:
    trainer = train_trl.make_trainer(work, settings, "default", Measured("check", 0))
    shift(trainer.accelerator.unwrap_model(trainer.model))
    batch = train_trl.collated(trainer, list(range(settings.batch_size)))
    loss = trainer.compute_loss(trainer.model, dict(batch))
    loss.backward()
    sums = torch.cat(trainer.compute_ref_log_probs(trainer.model, dict(batch)))
    return sums.detach(), float(loss), dict(_gradients(trainer.accelerator.unwrap_model(trainer.model)))


def padded(work: Path, settings: Settings, pairs: list[BenchPair]) -> tuple[Tensor, float, dict[str, Tensor]]:
    from transformers import AutoModelForCausalLM

    policy, reference = (
        AutoModelForCausalLM.from_pretrained(work / "model", dtype=torch.float32).to(settings.device) for _ in range(2)
    )
    shift(policy)
    policy.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    policy.train()
    total, sums = 0.0, []
    for pair in pairs:  # one by one: the same sum, without the logits of all rows at once
        loss = train_padded.losses_of(policy, reference, [pair], settings).sum() / len(pairs)
        loss.backward()
        total += float(loss)
        with torch.no_grad():
            rows = train_padded.padded([(pair.prompt, pair.chosen), (pair.prompt, pair.rejected)], settings.device)
            sums.append(train_padded.summed_log_probs(policy, *rows))
    return torch.stack(sums).T.flatten(), total, dict(_gradients(policy))


def relative(ours: Tensor, theirs: Tensor) -> float:
    """Norm of the difference over the norm."""
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm())


def _gradients(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in module.named_parameters():
        if parameter.grad is not None:
            yield name, parameter.grad.detach()


def main(work: Path, settings: Settings) -> dict[str, float]:
    found = check(work, settings)
    if dist.is_initialized():
        dist.destroy_process_group()
    return found
