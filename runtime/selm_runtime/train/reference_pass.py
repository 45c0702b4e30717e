"""The reference pass on one rank among all: by which model, and what is kept of it when it is broken off."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from selm_runtime.errors import TemporaryFailure
from selm_runtime.train import compiled, partition, probe, reference
from selm_runtime.train.checkpoint import Checkpointer
from selm_runtime.train.objectives import needs_of
from selm_runtime.train.pairs import Pair
from selm_runtime.train.reference import ReferenceTable
from selm_runtime.train.surroundings import Surroundings


@dataclass(frozen=True)
class ReferencePass:
    """The rows that want the reference's log-probs, and those that are `known` from an attempt before."""

    here: Surroundings
    pairs: Mapping[int, Pair]
    rows: Sequence[int]
    packing: compiled.Packing
    checkpointer: Checkpointer
    known: ReferenceTable

    def by(self, module: nn.Module) -> ReferenceTable:
        """By the model at hand, and committed; every rank gets the whole table, an empty one where no row wants it.

        Raises TemporaryFailure on all ranks once one was asked to go, with what was done committed.
        """
        table = self._computed(module) if self.rows else ReferenceTable({})
        self.checkpointer.commit_reference(table)
        return table

    def _computed(self, module: nn.Module) -> ReferenceTable:
        with self.here.stage("reference"):
            return reference.compute(
                module,
                self.pairs,
                self.rows,
                explored=needs_of(self.here.config).explored,
                max_tokens=self.here.config.training.max_tokens_per_micro_batch,
                ranks=self.here.ranks,
                between=self._between,
                sizes=self.packing.sizes,
                known=self.known,
            )

    def by_a_model_of_its_own(self, folder: Path) -> ReferenceTable:
        """`reference: Initial`: the base is loaded for this pass and freed before the policy is."""
        here = self.here
        base = here.load(folder).to(here.ranks.device).eval()
        if here.config.training.compile:
            compiled.prepare(here, base, self.packing, None)
        with partition.gathering(base, here.config.training) as module:
            probe.check_packing(module, here.ranks.device, self.packing.sizes)
            return self.by(module)

    def _between(self, done: int, total: int, tokens_per_second: float, so_far: Callable[[], ReferenceTable]) -> None:
        """After each round: what is done is kept as often as a checkpoint would be taken, and when the pod is to go."""
        here = self.here
        if here.ranks.is_first:
            here.reporter.progress(done=done, total=total, unit="rows", tokens_per_second=round(tokens_per_second, 1))
        stop, due = here.ranks.most([here.stop.requested, self.checkpointer.due])
        if stop or due:
            self.checkpointer.commit_reference(so_far(), whole=False)
        if stop:
            raise TemporaryFailure(
                "Preempted",
                f"the pod was asked to end while the reference pass was made; {done} of its {total} rows are kept",
            )
