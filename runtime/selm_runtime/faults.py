"""Faults on request: a test names a point, and the process that reaches it is killed there.

`TEST_FAULT` holds comma-separated entries `<Phase>:<point>:<n>[:index=<i>][:iteration=<t>]`. The process
that reaches `point` for the n-th time of that phase (and completion index, and iteration, where given)
receives SIGKILL from itself, in the Job's first attempt only, so that the next attempt shows the recovery.
Unset, as outside of tests, nothing happens.

Points: `chunk-committed` (n: chunks this pod committed), `step-done` (n: optimizer steps, from 1),
`reference-done`, `checkpoint-committed` (n: checkpoints this pod committed), `before-commit`, `engine-chunk-done` (n: chunks
that this pod handed to engine processes; the one that has the n-th dies before it sends it back).
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

from selm_runtime.contract import ENV_COMPLETION_INDEX, ENV_PHASE_CONFIG, Phase, PhaseConfig
from selm_runtime.errors import InvalidInput

ENV_TEST_FAULT = "TEST_FAULT"
POINTS = (
    "chunk-committed",
    "step-done",
    "reference-done",
    "checkpoint-committed",
    "before-commit",
    "engine-chunk-done",
)


@dataclass(frozen=True)
class Fault:
    """One entry of `TEST_FAULT`; None matches every index or iteration."""

    phase: Phase
    point: str
    n: int
    index: int | None = None
    iteration: int | None = None

    def matches(self, config: PhaseConfig, index: int, point: str, n: int) -> bool:
        """Whether a process of this config and completion index dies at this point."""
        return (
            config.attempt == 1
            and (self.phase, self.point, self.n) == (config.phase, point, n)
            and self.index in (None, index)
            and self.iteration in (None, config.iteration)
        )


def parse(text: str) -> tuple[Fault, ...]:
    """Parse the value of `TEST_FAULT`. Raises InvalidInput naming the entry that cannot be read."""
    return tuple(_parse_entry(entry.strip()) for entry in text.split(",") if entry.strip())


def _parse_entry(entry: str) -> Fault:
    parts = entry.split(":")
    allowed = f"<Phase>:<point>:<n>[:index=<i>][:iteration=<t>] with a point of {', '.join(POINTS)}"
    try:
        phase, point, n, *rest = parts
        options = {key: int(value) for key, value in (option.split("=") for option in rest)}
        if point not in POINTS or not options.keys() <= {"index", "iteration"}:
            raise ValueError(point)
        return Fault(Phase(phase), point, int(n), options.get("index"), options.get("iteration"))
    except ValueError as error:
        raise InvalidInput("BadFault", f"{ENV_TEST_FAULT}: found {entry!r}, allowed is {allowed}") from error


def reach(point: str, n: int = 1) -> None:
    """Die here by SIGKILL if `TEST_FAULT` says so; also in worker processes, by the environment they inherit."""
    text = os.environ.get(ENV_TEST_FAULT)
    if not text:
        return
    config = PhaseConfig.model_validate_json(os.environ[ENV_PHASE_CONFIG])
    index = int(os.environ.get(ENV_COMPLETION_INDEX) or 0)
    if any(fault.matches(config, index, point, n) for fault in parse(text)):
        os.kill(os.getpid(), signal.SIGKILL)
