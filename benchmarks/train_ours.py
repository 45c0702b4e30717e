"""This project's trainer as a contender: its reference pass, engine and optimizer steps, on one process."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from selm_runtime.contract import ObjectiveConfig, TrainingConfig
from selm_runtime.train import batches, memory, model, ranks, reference
from selm_runtime.train.engine import Engine, dtype_of
from selm_runtime.train.model import ResponseLogProbs
from selm_runtime.train.objectives import Sums
from selm_runtime.train.packing import pack
from selm_runtime.train.pairs import Pair
from train_world import MAX_LENGTH, MAX_PROMPT_LENGTH, BenchPair, Measured, Settings, read_pairs


def run(work: Path, settings: Settings, *, alpha: float, name: str) -> Measured:
    """One epoch over the pairs; the reference pass is inside the clock."""
    training = training_config(settings, alpha)
    explored = alpha != 0.0
    pairs = numbered(read_pairs(work), explored=explored)
    tokens = {row: pair.tokens for row, pair in pairs.items()}
    schedule = batches.schedule(
        sorted(pairs), batch_size=settings.batch_size, epochs=1, seed=settings.seed, iteration=1
    )
    limit = settings.max_tokens_per_micro_batch
    plans = [batches.plan_step(rows, tokens, ranks=1, max_tokens=limit) for rows in schedule.steps]
    here = join_alone()
    policy = load(work, training)
    model.enable_checkpointing_if_needed(
        policy,
        tokens=batches.largest_micro_batch(plans, tokens),
        budget=memory.activation_budget(policy, training, here),
    )
    engine = Engine(policy.to(here.device), training)
    warm_up(engine, pairs, explored=explored)
    measured = Measured(name, len(pairs))
    with measured.clock("reference"):
        table = reference.compute(
            engine.module,
            pairs,
            schedule.rows,
            explored=explored,
            max_tokens=limit,
            ranks=here,
            between=lambda *_: None,
        )
    with measured.clock("step"):
        losses = []
        for plan in plans:
            total = torch.zeros((), device=here.device)
            for micro in plan[0]:
                batch = pack([pairs[row] for row in micro], explored=explored).to(here.device)
                values = pair_losses(batch.sums(engine(batch)), table.of(batch.rows, here.device), settings, alpha)
                engine.backward(values.sum() / settings.batch_size)
                total += values.detach().sum()
            engine.step(settings.learning_rate)
            losses.append(total / settings.batch_size)
    measured.losses = torch.stack(losses).tolist()
    measured.notes = f"micro-batches of up to {limit} tokens, {sum(len(plan[0]) for plan in plans)} in all"
    dist.destroy_process_group()
    return measured


def pair_losses(policy: Sums, constants: Sums, settings: Settings, alpha: float) -> Tensor:
    """Eq. 4.2 of arXiv 2405.19332 for each pair, written out."""
    margin = (policy.chosen - constants.chosen) - (policy.rejected - constants.rejected)
    losses = -F.logsigmoid(settings.beta * margin)
    if policy.explored is None or constants.explored is None:
        return losses
    return losses + alpha * settings.beta * (policy.explored - constants.explored)


def warm_up(engine: Engine, pairs: dict[int, Pair], *, explored: bool) -> None:
    """One forward and backward pass whose gradients are thrown away: libraries make what they make once."""
    batch = pack([pairs[0]], explored=explored).to(next(engine.module.parameters()).device)
    engine.module(batch).sum().backward()
    for parameter in engine.module.parameters():
        parameter.grad = None


def training_config(settings: Settings, alpha: float) -> TrainingConfig:
    return TrainingConfig(
        objective=ObjectiveConfig(type="SELM", alpha=alpha, beta=settings.beta),
        learning_rate=settings.learning_rate,
        lr_scheduler="Constant",
        max_grad_norm=settings.max_grad_norm,
        precision="BFloat16" if settings.bf16 else "Float32",
        batch_size=settings.batch_size,
        max_tokens_per_micro_batch=settings.max_tokens_per_micro_batch,
        max_length=MAX_LENGTH,
        max_prompt_length=MAX_PROMPT_LENGTH,
        zero_stage=1 if settings.bf16 else 0,
    )


def numbered(pairs: Sequence[BenchPair], *, explored: bool) -> dict[int, Pair]:
    return {
        row: Pair(
            row,
            tuple(pair.prompt),
            tuple(pair.chosen),
            tuple(pair.rejected),
            (tuple(pair.explored),) if explored else (),
        )
        for row, pair in enumerate(pairs)
    }


def load(work: Path, training: TrainingConfig) -> ResponseLogProbs:
    return model.load(work / "model", dtype=dtype_of(training), max_length=MAX_LENGTH)


def join_alone() -> ranks.Ranks:
    """A process group of one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
    }
    return ranks.join()
