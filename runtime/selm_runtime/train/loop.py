"""Training from the pairs to the exported policy, top to bottom, on one rank among all."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from selm_runtime import faults
from selm_runtime.artifacts.commit import PhaseFolder
from selm_runtime.contract import ObjectiveConfig, PhaseConfig
from selm_runtime.errors import TemporaryFailure
from selm_runtime.reporting import Reporter
from selm_runtime.train import anchor, batches, metrics, model, reference
from selm_runtime.train.checkpoint import Checkpointer, Progress
from selm_runtime.train.engine import Engine, dtype_of
from selm_runtime.train.export import export
from selm_runtime.train.job import METRICS_FILE, REFERENCE_FILE, Outcome, Stop, TrainJob
from selm_runtime.train.lr import learning_rate
from selm_runtime.train.monitor import Monitor
from selm_runtime.train.objectives import OBJECTIVES
from selm_runtime.train.packing import pack
from selm_runtime.train.pairs import Pair, PairTable
from selm_runtime.train.ranks import PATIENT, PROMPT, Ranks
from selm_runtime.train.reference import ReferenceTable
from selm_runtime.train.throughput import Lengths, Shape
from selm_runtime.train.tracking import EventFiles, Tracking


@dataclass(frozen=True)
class Surroundings:
    """What training needs besides its inputs; the same on every rank but for the rank itself."""

    job: TrainJob
    config: PhaseConfig
    folder: PhaseFolder
    ranks: Ranks
    reporter: Reporter
    stop: Stop


def train(here: Surroundings) -> Outcome:
    """Reference pass, optimizer steps, export; returns on every rank once the exported model is whole.

    The pod's entry commits it. Raises TemporaryFailure (`Preempted`) on all ranks once one was asked to go, with a
    checkpoint committed.
    """
    config, ranks, training = here.config, here.ranks, here.config.training
    pairs = PairTable(here.job.pairs, explored=_explores(config))
    schedule = batches.schedule(
        sorted(pairs),
        batch_size=training.batch_size,
        epochs=training.epochs,
        seed=config.seed,
        iteration=config.iteration,
    )
    lengths = {row: Lengths.of(pair) for row, pair in pairs.items()}
    tokens = {row: length.tokens for row, length in lengths.items()}
    plans = [
        batches.plan_step(rows, tokens, ranks=ranks.size, max_tokens=training.max_tokens_per_micro_batch)
        for rows in schedule.steps
    ]
    checkpointer = Checkpointer(here.folder, training, ranks, here.job.scratch, here.reporter)
    with _stage(here, "restore"):
        restored = checkpointer.restore(here.stop)

    table: ReferenceTable | None = None
    if restored is None and here.job.reference is not None:
        table = _reference_of_another_model(here, pairs, schedule.rows)
    with _stage(here, "load"):
        policy = model.load(
            here.job.policy,
            dtype=dtype_of(training),
            max_length=training.max_length,
            trust_remote_code=config.model.trust_remote_code,
        )
    shape = Shape.of(policy.causal_lm.config, sum(parameter.numel() for parameter in policy.parameters()))
    model.enable_checkpointing_if_needed(
        policy,
        tokens=batches.largest_micro_batch(plans, tokens),
        budget=model.activation_budget(ranks.device, ranks.local_size),
    )
    with _stage(here, "initialize"):
        engine = Engine(policy.to(ranks.device), training)
    _heed_stop(here, "the model was loaded")
    model.check_packing(engine.module, ranks.device)

    if restored is None:
        table = table or _reference(here, engine.module, pairs, schedule.rows)
        checkpointer.commit_reference(table)
        progress = Progress(0, table, [])
    else:
        progress, parts = restored
        if parts is not None:
            engine.load(parts)
            _heed_stop(here, "the checkpoint was loaded")

    monitor = _monitor(here, shape, progress, len(plans))
    first = progress.step
    for step in range(first, len(plans)):
        step_metrics = _optimizer_step(here, engine, step, plans[step], pairs, progress.reference, len(plans))
        step_metrics |= metrics.estimates(step_metrics)
        progress = Progress(step + 1, progress.reference, [*progress.history, step_metrics])
        metrics.require_finite(step, step_metrics)
        if step == first:
            ranks.expect(PROMPT)
        faults.reach("step-done", step + 1)
        monitor.step_done(step + 1, step_metrics, (lengths[row] for row in schedule.steps[step]))

        if checkpointer.settle(wait=False):
            monitor.checkpointed()
        stop, due = ranks.most([here.stop.requested, checkpointer.due])
        if due and not stop:
            checkpointer.begin(engine, progress)
        if stop:
            _leave(here, checkpointer, engine, progress, monitor)

    def between() -> None:
        if ranks.most([here.stop.requested])[0]:
            _leave(here, checkpointer, engine, progress, monitor)

    between()
    ranks.expect(PATIENT)
    with _stage(here, "export"):
        export(engine, here.job.policy, here.job.model, ranks, between)
    _leave_tables(here, progress)
    checkpointer.settle(wait=True)  # an upload that ended after the phase's commit would leave its files for ever
    monitor.close(done=True)
    return Outcome(
        exit_code=0,
        metrics=metrics.summary(progress.history),
        rates=monitor.rates,
        facts={
            "steps": len(schedule.steps),
            "pairs": schedule.pairs,
            "droppedPairs": schedule.dropped,
            "tokens": sum(tokens[row] for rows in schedule.steps for row in rows),
        },
    )


def _optimizer_step(
    here: Surroundings,
    engine: Engine,
    step: int,
    plan: batches.Plan,
    pairs: Mapping[int, Pair],
    table: ReferenceTable,
    steps: int,
) -> dict[str, float]:
    """One update from `batchSize` pairs over all ranks; returns the step's metrics, equal on all of them."""
    training, ranks = here.config.training, here.ranks
    objective = OBJECTIVES[training.objective.type]
    explored, settings = _explores(here.config), _objective_in_force(here.config)
    same_weights = here.job.reference is None
    mean = metrics.StepMean()
    for micro in plan[ranks.rank]:
        batch = pack([pairs[row] for row in micro], explored=explored).to(ranks.device)
        policy_sums = batch.sums(engine(batch))
        reference_sums = table.of(batch.rows, ranks.device)
        if step == 0 and same_weights:
            anchor.check(policy_sums, reference_sums, batch, settings, training.precision)
        evaluated = objective.evaluate(policy_sums, reference_sums, settings)
        # DeepSpeed averages gradients over ranks: the step's gradient is that of the mean over all its pairs.
        engine.backward(evaluated.losses.sum() * (ranks.size / training.batch_size))
        mean.add(evaluated.metrics)
    rate = learning_rate(
        step,
        steps=steps,
        peak=training.learning_rate,
        warmup_ratio=training.warmup_ratio,
        scheduler=training.lr_scheduler,
    )
    norm = engine.step(rate)
    return {**mean.over(training.batch_size, ranks), "gradNorm": norm, "learningRate": rate}


def _reference(here: Surroundings, module: nn.Module, pairs: Mapping[int, Pair], rows: Sequence[int]) -> ReferenceTable:
    """The reference pass with whatever model is at hand; every rank gets the whole table."""

    def between(done: int, total: int, tokens_per_second: float) -> None:
        if here.ranks.is_first:
            here.reporter.progress(done=done, total=total, unit="rows", tokens_per_second=round(tokens_per_second, 1))
        _heed_stop(here, "the reference pass was made")

    with _stage(here, "reference"):
        return reference.compute(
            module,
            pairs,
            rows,
            explored=_explores(here.config),
            max_tokens=here.config.training.max_tokens_per_micro_batch,
            ranks=here.ranks,
            between=between,
        )


def _reference_of_another_model(here: Surroundings, pairs: Mapping[int, Pair], rows: Sequence[int]) -> ReferenceTable:
    """`reference: Initial`: the base is loaded for this pass and freed before the policy is."""
    training = here.config.training
    assert here.job.reference is not None
    initial = model.load(
        here.job.reference,
        dtype=dtype_of(training),
        max_length=training.max_length,
        trust_remote_code=here.config.model.trust_remote_code,
    )
    module = initial.to(here.ranks.device).eval()
    model.check_packing(module, here.ranks.device)
    return _reference(here, module, pairs, rows)


def _objective_in_force(config: PhaseConfig) -> ObjectiveConfig:
    """With the data's own pairs nothing was explored: the exploring term is off, whatever alpha says."""
    objective = config.training.objective
    return objective if config.training.pairs == "Online" else objective.model_copy(update={"alpha": 0.0})


def _explores(config: PhaseConfig) -> bool:
    objective = _objective_in_force(config)
    return OBJECTIVES[objective.type].needs_explored(objective)


def _heed_stop(here: Surroundings, while_: str) -> None:
    """Raise TemporaryFailure on every rank once one was asked to go: where there is nothing new to save."""
    if here.ranks.most([here.stop.requested])[0]:
        raise TemporaryFailure("Preempted", f"the pod was asked to end while {while_}; what is committed is kept")


def _leave(
    here: Surroundings, checkpointer: Checkpointer, engine: Engine, progress: Progress, monitor: Monitor
) -> None:
    """Commit what there is and end, on all ranks alike."""
    here.ranks.expect(PATIENT)
    checkpointer.begin(engine, progress)
    checkpointer.settle(wait=True)
    monitor.close(done=False)
    raise TemporaryFailure(
        "Preempted", f"the pod was asked to end; the checkpoint at step {progress.step} is what the next attempt takes"
    )


def _leave_tables(here: Surroundings, progress: Progress) -> None:
    """What goes into the manifest beside the model. The reference's log-probs spare Evaluation a pass of its own."""
    if not here.ranks.is_first:
        return
    here.job.tables.mkdir(parents=True)
    metrics.write_history(progress.history, here.job.tables / METRICS_FILE)
    if progress.reference.sums:
        progress.reference.write(here.job.tables / REFERENCE_FILE)


def _monitor(here: Surroundings, shape: Shape | None, progress: Progress, steps: int) -> Monitor:
    """Rank 0 writes TensorBoard's event files, those of this attempt beginning with the steps of earlier ones."""
    tracking = None
    if here.ranks.is_first:
        tracking = Tracking([], lambda: EventFiles(here.config, here.folder, here.job.scratch))
        tracking.replay(progress.history)
    return Monitor(here.config, here.ranks, here.reporter, shape, steps=steps, tracking=tracking)


@contextmanager
def _stage(here: Surroundings, name: str) -> Iterator[None]:
    """Report on rank 0 how many seconds a stage took."""
    started = time.monotonic()
    yield
    if here.ranks.is_first:
        here.reporter.event("stage", name=name, seconds=round(time.monotonic() - started, 3))
