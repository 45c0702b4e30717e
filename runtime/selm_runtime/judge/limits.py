"""How fast and how much may be asked: pure of any client, safe to use from several threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from selm_runtime.errors import InvalidInput


class RateLimit:
    """Requests evenly spread over time: `per_minute` of them at most; None: no limit."""

    def __init__(self, per_minute: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._spacing = 0.0 if per_minute is None else 60.0 / per_minute
        self._clock = clock
        self._next = clock()
        self._lock = threading.Lock()

    def wait_seconds(self) -> float:
        """Takes the next place in the line and says how long to wait for it."""
        with self._lock:
            now = self._clock()
            mine = max(now, self._next)
            self._next = mine + self._spacing
            return mine - now


class TokenBudget:
    """Tokens that replies may take, prompt and completion together; None: no cap.

    What a reply took counts whether it was paid for now or lies in the cache, so that a restart changes nothing.
    """

    def __init__(self, tokens: int | None, field: str, spent: int = 0) -> None:
        self._tokens = tokens
        self._field = field
        self._spent = spent
        self._lock = threading.Lock()

    @property
    def spent(self) -> int:
        return self._spent

    def check(self) -> None:
        """Raises InvalidInput once the budget is used up: call it before something is asked."""
        if self._tokens is not None and self._spent >= self._tokens:
            raise InvalidInput(
                "BudgetExhausted",
                f"{self._field}: {self._spent} tokens of {self._tokens} are used up, and there is more to judge; what was "
                "answered is kept: a higher budget goes on from there",
            )

    def spend(self, tokens: int | None) -> None:
        """Counts a reply. Raises InvalidInput where there is a cap and the endpoint does not say what it took."""
        if tokens is None:
            if self._tokens is not None:
                raise InvalidInput(
                    "NoUsage",
                    f"{self._field}: the endpoint reports no token usage, so no budget can be kept; leave it out",
                )
            return
        with self._lock:
            self._spent += tokens
