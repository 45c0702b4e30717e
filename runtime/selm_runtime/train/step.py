"""One optimizer step: every rank's micro-batches, their losses and gradients, one update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from selm_runtime.train import anchor, batches, metrics, model, running
from selm_runtime.train.dropout import Masks
from selm_runtime.train.engine import Engine
from selm_runtime.train.lr import learning_rate
from selm_runtime.train.objectives import Record, Running, Sums, in_force, needs_of, objective_of
from selm_runtime.train.packing import PackedBatch, PackSizes, pack
from selm_runtime.train.pairs import Pair
from selm_runtime.train.reference import ReferenceTable
from selm_runtime.train.surroundings import Surroundings
from selm_runtime.train.transfers import StepFigures


@dataclass(frozen=True)
class Steps:
    """What all optimizer steps of an attempt share."""

    here: Surroundings
    engine: Engine
    masks: Masks
    observations: running.Observations
    pairs: Mapping[int, Pair]
    sizes: PackSizes
    plans: Sequence[batches.Plan]
    """The steps' micro-batches, for every rank."""
    reference: ReferenceTable

    def take(self, step: int) -> StepFigures:
        """One update from `batchSize` pairs over all ranks; returns the step's metrics, equal on all of them.

        But for the anchor of step 0 the host reads nothing of the device.
        """
        training, ranks, plan = self.here.config.training, self.here.ranks, self.plans[step]
        objective, settings = objective_of(self.here.config), in_force(self.here.config)
        observed = self._observe(plan) if objective.observes is not None else None
        mean = metrics.StepMean()
        for micro in plan[ranks.rank]:
            batch = self._packed(micro)
            self.masks.of(step, batch)
            policy = batch.sums(self.engine(batch))
            record = self._record(batch, policy, observed.figures if observed else None)
            if step == 0 and self.here.job.reference is None and record.reference is not None:
                anchor.check(policy, record.reference, batch, training.precision)
            evaluated = objective.evaluate(record, settings)
            # DeepSpeed averages gradients over ranks: the step's gradient is that of the mean over all its pairs.
            self.engine.backward(evaluated.losses.sum() * (ranks.size / training.batch_size))
            mean.add(evaluated.metrics)
        rate = learning_rate(
            step,
            steps=len(self.plans),
            peak=training.learning_rate,
            warmup_ratio=training.warmup_ratio,
            scheduler=training.lr_scheduler,
        )
        norm = self.engine.step(rate)
        seen = observed.metrics if observed else {}
        return mean.over(ranks, **seen, gradNorm=norm, learningRate=rate)

    def _observe(self, plan: batches.Plan) -> running.Observed:
        """The objective's figures of the whole step and the whole network: they come before its first loss."""
        ranks, observes = self.here.ranks, objective_of(self.here.config).observes
        assert observes is not None
        with torch.no_grad(), model.evaluating(self.engine.module):
            values = [
                observes(self._record(batch, batch.sums(self.engine.module(batch))))
                for batch in map(self._packed, plan[ranks.rank])
            ]
        return self.observations.observe(torch.cat(values), ranks)

    def _packed(self, rows: Sequence[int]) -> PackedBatch:
        batch = pack([self.pairs[row] for row in rows], explored=needs_of(self.here.config).explored)
        return batch.filled(self.sizes).to(self.here.ranks.device)

    def _record(self, batch: PackedBatch, policy: Sums, figures: Running | None = None) -> Record:
        config = self.here.config
        constants = self.reference.of(batch.rows, self.here.ranks.device) if needs_of(config).reference else None
        return batch.record(objective_of(config), policy, constants, figures)
