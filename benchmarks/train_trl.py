"""TRL's DPOTrainer as a contender, through its public interface: at its defaults and at its best settings.

`default`    what `DPOConfig()` gives: 8 pairs at once, activation checkpointing, a second model as the reference
`grouped`    references precomputed, batches grouped by length, no checkpointing
`split`      references precomputed, one pair at a time with accumulated gradients, no checkpointing: the least padding
             that TRL can be given
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer

from train_world import MAX_LENGTH, BenchPair, Measured, Settings, now, read_pairs, text

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "grouped": {
        "precompute_ref_log_probs": True,
        "gradient_checkpointing": False,
        "train_sampling_strategy": "group_by_length",
        "remove_unused_columns": False,  # else the lengths are dropped before the sampler reads them
    },
    "split": {
        "precompute_ref_log_probs": True,
        "precompute_ref_batch_size": 1,
        "gradient_checkpointing": False,
        "per_device_train_batch_size": 1,
    },
}


class Timed(DPOTrainer):
    """Takes the time of the precomputation that the constructor does."""

    measured: Measured

    def _precompute_ref_logps(self, *args: Any, **kwargs: Any) -> Any:
        with self.measured.clock("reference"):
            return super()._precompute_ref_logps(*args, **kwargs)


class Clock(TrainerCallback):
    """From the beginning of the first step to the end of the last: data loading included, saving not."""

    def __init__(self, measured: Measured) -> None:
        self.measured = measured

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.started = now()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.ended = now()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self.measured.step_seconds = self.ended[0] - self.started[0]
        self.measured.step_cpu_seconds = self.ended[1] - self.started[1]


def run(work: Path, settings: Settings, *, variant: str, name: str) -> Measured:
    """One epoch over the pairs; the reference's forward passes are inside the clock wherever they happen."""
    measured = Measured(name, settings.pairs)
    trainer = make_trainer(work, settings, variant, measured)
    warm_up(trainer)
    trainer.add_callback(Clock(measured))
    trainer.train()
    measured.losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    measured.notes = ", ".join(f"{key}={value}" for key, value in VARIANTS[variant].items()) or "DPOConfig()"
    return measured


def make_trainer(work: Path, settings: Settings, variant: str, measured: Measured) -> DPOTrainer:
    """The trainer with its data tokenised; the constructor precomputes references where it is told to."""
    Timed.measured = measured
    arguments: dict[str, Any] = {
        "output_dir": str(work / "trl"),
        "per_device_train_batch_size": settings.batch_size,
        "num_train_epochs": 1,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "constant",
        "max_grad_norm": settings.max_grad_norm,
        "beta": settings.beta,
        "max_length": MAX_LENGTH,
        "bf16": settings.bf16,
        "use_cpu": settings.device == "cpu",
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "seed": settings.seed,
        **VARIANTS[variant],
    }
    # As many pairs an optimizer step, whatever is run at once.
    arguments["gradient_accumulation_steps"] = settings.batch_size // arguments["per_device_train_batch_size"]
    return Timed(
        model=AutoModelForCausalLM.from_pretrained(work / "model", dtype=torch.float32),
        args=DPOConfig(**arguments),
        train_dataset=Dataset.from_list([as_text(pair) for pair in read_pairs(work)]),
        processing_class=AutoTokenizer.from_pretrained(work / "model"),
    )


def as_text(pair: BenchPair) -> dict[str, Any]:
    """TRL tokenises prompt + response itself and adds EOS."""
    return {
        "prompt": text(pair.prompt),
        "chosen": " " + text(pair.chosen),
        "rejected": " " + text(pair.rejected),
        "length": len(pair.prompt) + max(len(pair.chosen), len(pair.rejected)),
    }


def collated(trainer: DPOTrainer, rows: list[int]) -> dict[str, torch.Tensor]:
    batch: dict[str, torch.Tensor] = trainer.data_collator([trainer.train_dataset[row] for row in rows])
    return {name: value.to(trainer.accelerator.device) for name, value in batch.items()}


def warm_up(trainer: DPOTrainer) -> None:
    """One forward and backward pass whose gradients are thrown away: libraries make what they make once."""
    trainer.compute_loss(trainer.model, collated(trainer, [0])).backward()
    trainer.model.zero_grad(set_to_none=True)
    trainer._metrics["train"].clear()
