"""Seeds of single requests: pure functions, so that no order, shard or attempt changes what is sampled."""

from __future__ import annotations

import hashlib
import json

HELD_OUT = "held-out"
ROWS = "rows"


def request_seed(run_seed: int, iteration: int, row: int, policy: str, sample: int, purpose: str = ROWS) -> int:
    """The seed of one response's sampling, in [0, 2^63).

    `purpose` keeps the data's rows and the held-out rows, which are counted apart, from sharing seeds. Held-out
    responses are asked for with iteration 0 whatever the iteration: every policy then meets the same random numbers,
    which makes comparisons between them less noisy.
    """
    key = json.dumps([purpose, run_seed, iteration, row, policy, sample]).encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> 1
