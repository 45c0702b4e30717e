"""Training from the pairs to the exported policy, top to bottom, on one rank among all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from selm_runtime import faults
from selm_runtime.errors import TemporaryFailure
from selm_runtime.train import (
    batches,
    compiled,
    guard,
    lora,
    memory,
    metrics,
    model,
    probe,
    quantized,
    running,
    trackers,
)
from selm_runtime.train.checkpoint import Checkpointer, Progress, asked_to_go
from selm_runtime.train.dropout import Masks
from selm_runtime.train.engine import Engine, dtype_of
from selm_runtime.train.export import export
from selm_runtime.train.job import METRICS_FILE, REFERENCE_FILE, Outcome
from selm_runtime.train.monitor import Monitor
from selm_runtime.train.objectives import needs_of
from selm_runtime.train.pairs import PairTable, is_own
from selm_runtime.train.processes import freeze_collector
from selm_runtime.train.ranks import PATIENT, PROMPT
from selm_runtime.train.reference import ReferenceTable
from selm_runtime.train.reference_pass import ReferencePass
from selm_runtime.train.step import Steps
from selm_runtime.train.surroundings import Surroundings
from selm_runtime.train.throughput import Lengths, Shape, is_of_expert
from selm_runtime.train.tracking import EventFiles, Tracking
from selm_runtime.train.transfers import Unread


def train(here: Surroundings) -> Outcome:
    """Reference pass, optimizer steps, export; returns on every rank once the exported model is whole.

    The pod's entry commits it. Raises TemporaryFailure (`Preempted`) on all ranks once one was asked to go, with a
    checkpoint committed.
    """
    config, ranks, training = here.config, here.ranks, here.config.training
    needs = needs_of(config)
    pairs = PairTable(here.job.pairs, explored=needs.explored)
    schedule = batches.schedule(
        sorted(row for row in pairs if not is_own(row)),
        own=sorted(filter(is_own, pairs)),
        own_in_batch=batches.own_in_batch(training),
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
    rows = schedule.rows if needs.reference else []
    packing = compiled.Packing.of(training, tokens, plans, rows, ranks.size)
    checkpointer = Checkpointer(here.folder, training, ranks, here.job.scratch, here.reporter)
    with here.stage("restore"):
        restored = checkpointer.restore(here.stop)

    known, table = ReferenceTable({}), None
    if restored is not None and not restored[0].reference_is_whole:
        known, restored = restored[0].reference, None
    reference = ReferencePass(here, pairs, rows, packing, checkpointer, known)
    if restored is None and rows and here.job.reference is not None:
        table = reference.by_a_model_of_its_own(here.job.reference)
    with here.stage("load"):
        policy = here.load(here.job.policy)
    whole = sum(map(quantized.elements, policy.parameters()))
    experts = sum(quantized.elements(each) for name, each in policy.named_parameters() if is_of_expert(name))
    masks = Masks(config.seed, config.iteration)
    if training.lora is not None:
        lora.add_adapters(
            policy.model,
            policy.causal_lm.base_model,
            training.lora,
            dtype=dtype_of(training),
            seed=config.seed + config.iteration,
        )
        lora.add_dropout(policy, training.lora, masks)
        policy.eval()  # as it was loaded; what peft adds begins in training mode
    adapters = lora.size(policy) if training.lora is not None else None
    shape = Shape.of(policy.causal_lm.config, whole, experts=experts, adapters=adapters)
    model.enable_checkpointing_if_needed(
        policy,
        tokens=packing.sizes.of(batches.largest_micro_batch(plans, tokens)),
        budget=memory.activation_budget(policy, training, ranks),
    )
    if training.compile:
        compiled.prepare(here, policy.to(ranks.device), packing, masks)
    with here.stage("initialize"):
        engine = Engine(policy.to(ranks.device), training)
    here.heed_stop("the model was loaded")
    probe.check_packing(cast(model.ResponseLogProbs, engine.module), ranks.device, packing.sizes)

    if restored is None:
        progress = Progress(0, reference.by(engine.module) if table is None else table, [])
    else:
        progress, parts = restored
        if parts is not None:
            engine.load(parts)
            here.heed_stop("the checkpoint was loaded")

    monitor = _monitor(here, shape, progress, len(plans))
    freeze_collector()
    engine.module.train()  # for adapters' dropout, and transformers recomputes activations in no other mode
    observations = running.Observations(progress.history, ranks.device)
    steps = Steps(here, engine, masks, observations, pairs, packing.sizes, plans, progress.reference)
    first, unread = progress.step, Unread()
    for step in range(first, len(plans)):
        unread.add(steps.take(step))
        if step == first:
            ranks.expect(PROMPT)
        faults.reach("step-done", step + 1)

        if checkpointer.settle(wait=False):
            monitor.checkpointed()
        stop, due, look = ranks.most([here.stop.requested, checkpointer.due, ranks.is_first and unread.waits_long])
        # Read before anything is saved: no checkpoint holds a state that the guards have not seen.
        if stop or due or look or unread.many or step in (first, len(plans) - 1):
            progress, read = _read(here, unread, progress), range(progress.step, step + 1)
            lengths_read = (lengths[row] for number in read for row in schedule.steps[number])
            monitor.steps_done(read.start + 1, progress.history[read.start :], lengths_read)
        if due and not stop:
            checkpointer.begin(engine, progress)
        if stop:
            _leave(here, checkpointer, engine, progress, monitor)

    def between() -> None:
        if ranks.most([here.stop.requested])[0]:
            _leave(here, checkpointer, engine, progress, monitor)

    between()
    ranks.expect(PATIENT)
    with here.stage("export"):
        export(
            engine,
            here.job.policy,
            here.job.model,
            ranks,
            between,
            lora=training.lora,
            adapter_into=here.job.tables / "adapter",
        )
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


def _read(here: Surroundings, unread: Unread, progress: Progress) -> Progress:
    """Progress with the steps since; raises InvalidInput on all ranks alike where one of them went astray.

    Words speak of steps from 1, as the metrics do.
    """
    history = list(progress.history)
    for step, found in enumerate(unread.read(), start=progress.step + 1):
        metrics.require_finite(step, found)
        found |= metrics.estimates(found)
        history.append(found | _watched(here, step, found))
    return Progress(len(history), progress.reference, history)


def _watched(here: Surroundings, step: int, step_metrics: Mapping[str, float]) -> dict[str, float]:
    """The guard's word on a step, for its metrics and for whoever follows the log."""
    limits = here.config.training.guard
    found = guard.watch(step, step_metrics, limits)
    name = guard.watched(step_metrics)
    if name is not None and guard.is_worth_telling(step_metrics, limits) and here.ranks.is_first:
        here.reporter.event(
            "warning",
            reason="ExploredLogRatio",
            step=step,
            metric=name,
            log_ratio=step_metrics[name],
            max_log_ratio=limits.max_log_ratio,
        )
    return found


def _leave(
    here: Surroundings, checkpointer: Checkpointer, engine: Engine, progress: Progress, monitor: Monitor
) -> None:
    """Commit what there is and end, on all ranks alike."""
    here.ranks.expect(PATIENT)
    checkpointer.begin(engine, progress)
    checkpointer.settle(wait=True)
    monitor.close(done=False)
    raise TemporaryFailure("Preempted", asked_to_go(checkpointer.committed, progress.step))


def _leave_tables(here: Surroundings, progress: Progress) -> None:
    """What goes into the manifest beside the model. The reference's log-probs spare Evaluation a pass of its own."""
    if not here.ranks.is_first:
        return
    here.job.tables.mkdir(parents=True, exist_ok=True)
    metrics.write_history(progress.history, here.job.tables / METRICS_FILE)
    if progress.reference.sums:
        progress.reference.write(here.job.tables / REFERENCE_FILE)


def _monitor(here: Surroundings, shape: Shape | None, progress: Progress, steps: int) -> Monitor:
    """Rank 0 writes to trackers and TensorBoard's event files, which begin with the steps of earlier attempts."""
    tracking = None
    if here.ranks.is_first:
        tracking = Tracking(
            trackers.openers(here.config, here.folder, here.job.scratch),
            lambda: EventFiles(here.config, here.folder, here.job.scratch),
        )
        tracking.replay(progress.history)
    return Monitor(here.config, here.ranks, here.reporter, shape, steps=steps, tracking=tracking)
