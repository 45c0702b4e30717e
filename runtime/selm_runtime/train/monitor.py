"""What a training says of itself while it works: progress lines, TensorBoard's event files, trackers, rates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from selm_runtime.contract import PhaseConfig
from selm_runtime.reporting import Reporter
from selm_runtime.train.ranks import Ranks
from selm_runtime.train.throughput import Lengths, Meter, Shape, memory_peak, rounded
from selm_runtime.train.tracking import Tracking


class Monitor:
    """Of one attempt. Every method is called by all ranks alike; rank 0 tells."""

    def __init__(
        self,
        config: PhaseConfig,
        ranks: Ranks,
        reporter: Reporter,
        shape: Shape | None,
        *,
        steps: int,
        tracking: Tracking | None,
    ) -> None:
        """`steps`: of the whole phase. `tracking` is rank 0's."""
        self._training = config.training
        self._ranks = ranks
        self._reporter = reporter
        self._steps = steps
        self._tracking = tracking
        self._step = Meter(shape, ranks, config.training.precision)
        self._attempt = Meter(shape, ranks, config.training.precision)
        self.rates: dict[str, float] = {}
        """Over the attempt so far."""

    def steps_done(self, first: int, metrics: Sequence[Mapping[str, float]], pairs: Iterable[Lengths]) -> None:
        """Once the metrics of some optimizer steps were read, from step `first`, counted from 1.

        `pairs` are those of all ranks. The rates are over all these steps: they stand with the last one.
        """
        seen = list(pairs)
        self._step.add(seen)
        self._attempt.add(seen)
        (memory,) = self._ranks.most([memory_peak(self._ranks.device)])
        rates, self.rates = self._step.rates(memory), rounded(self._attempt.rates(memory))
        self._step.reset()
        last = first + len(metrics) - 1
        for step, own in enumerate(metrics, start=first):
            shown = {**own, **rates} if step == last else own
            if self._tracking is not None:
                self._tracking.log(step, shown)
        if self._ranks.is_first:
            size = self._training.batch_size
            self._reporter.progress(
                done=last * size,
                total=self._steps * size,
                unit="pairs",
                force=False,
                **rounded({**metrics[-1], **rates}),
            )

    def checkpointed(self) -> None:
        """The event files so far go where the checkpoint went."""
        if self._tracking is not None:
            self._tracking.upload()

    def close(self, *, done: bool) -> None:
        """The attempt ends; waits a minute at most for what is still to be written."""
        if self._tracking is not None:
            self._tracking.close(done=done)
