"""Which chunks Generation has, and whose model makes each: pure functions of the config and the number of rows.

With one policy chunk c is the c-th range of the rows. With two, the first half of the chunks are the current policy's and
the second half the reference's, over the same ranges: a chunk is one model's work, so a kill never costs both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selm_runtime.artifacts.chunks import chunk_ranges
from selm_runtime.contract import Phase, PhaseConfig
from selm_runtime.inputs import reference_model, starting_model

Holder = tuple[Phase, int]
"""The phase, and its iteration, that committed a model."""


@dataclass(frozen=True)
class Unit:
    """One chunk: whose responses, to which of the iteration's rows."""

    chunk: int
    policy: str
    rows: range


def units(rows: int, policies: Sequence[str]) -> list[Unit]:
    """All chunks of an iteration with that many rows, by their numbers."""
    ranges = chunk_ranges(rows)
    return [
        Unit(half * len(ranges) + place, policy, its_rows)
        for half, policy in enumerate(policies)
        for place, its_rows in enumerate(ranges)
    ]


def response_chunks(place: int, ranges: int, policies: Sequence[str]) -> list[int]:
    """The chunks with the responses to the `place`-th of the rows' `ranges`: one a policy."""
    return [half * ranges + place for half in range(len(policies))]


def holder(config: PhaseConfig, policy: str) -> Holder:
    """Who holds a policy's model in this iteration; the reference may be the current policy itself."""
    return reference_model(config) if policy == "Reference" else starting_model(config)
