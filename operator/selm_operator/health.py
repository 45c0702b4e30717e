"""What the process knows of its own life, for the probes.

Liveness asks what a restart would repair: a look at a run that never ends, a watch that stands still. An API server that
is away is not among it: a restart would bring nothing back and lose the Lease. Readiness asks whether this process does
its work, or would do it if it held the Lease: the API server answers, the watches are open.

A probe is a function without arguments that answers None, or what is wrong. The event loop itself is probed by the
answer: the server of `http_server` runs in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

Probe = Callable[[], str | None]


@dataclass
class Health:
    """Probes by name; the parts of the operator enter theirs as they begin."""

    liveness: dict[str, Probe] = field(default_factory=dict)
    readiness: dict[str, Probe] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """Every probe's answer."""

    problems: dict[str, str | None]

    @property
    def healthy(self) -> bool:
        return not any(self.problems.values())

    def __str__(self) -> str:
        """A line a probe, in the form of the API server's own: `[+]queue ok`, `[-]queue: what is wrong`."""
        lines = (f"[-]{name}: {wrong}" if wrong else f"[+]{name} ok" for name, wrong in self.problems.items())
        return "\n".join([*lines, "ok" if self.healthy else "failed"]) + "\n"


def ask(probes: dict[str, Probe]) -> Report:
    """Asks every probe."""
    return Report({name: probe() for name, probe in probes.items()})
