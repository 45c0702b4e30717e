"""The first-step anchor: where policy and reference are the same weights, the first step must say so.

At step 0 the preference loss is then ln 2 and the optimism term 0, whatever the data. A deviation means that the two
forward passes are not the same function (another number format, other truncation, other weights), and every later
figure would be wrong without notice.
"""

from __future__ import annotations

import math

from torch import Tensor

from selm_runtime.errors import InvalidInput
from selm_runtime.train.objectives import Sums
from selm_runtime.train.objectives.base import log_sigmoid
from selm_runtime.train.packing import PackedBatch
from selm_runtime.train.pairs import row_of

TOLERANCE_PER_TOKEN = {"Float32": 1e-5, "BFloat16": 1e-2}
"""Nats a response token, by `spec.training.precision`."""


def check(policy: Sums, reference: Sums, batch: PackedBatch, precision: str) -> None:
    """Raise InvalidInput (`FirstStepAnchor`) naming the row that deviates most, if any deviates too much."""
    tolerance = TOLERANCE_PER_TOKEN[precision]
    roles: list[tuple[str, Tensor | None, Tensor | None, Tensor | None]] = [
        ("chosen", policy.chosen, reference.chosen, batch.chosen),
        ("rejected", policy.rejected, reference.rejected, batch.rejected),
        ("explored", policy.explored, reference.explored, batch.explored),
    ]
    for role, own, other, response in roles:
        if own is None or other is None or response is None or not len(response):
            continue
        per_token = (own.detach() - other).abs() / batch.lengths[response]
        worst = int(per_token.argmax())
        if not per_token[worst] <= tolerance:  # NaN fails too
            pair = int(batch.explored_of[worst]) if role == "explored" and batch.explored_of is not None else worst
            margin = ((policy.chosen - policy.rejected) - (reference.chosen - reference.rejected)).detach()
            raise InvalidInput(
                "FirstStepAnchor",
                f"policy and reference are the same weights, but at step 0 the {role} response of row "
                f"{row_of(batch.rows[pair])} differs by {float(per_token[worst]):.3g} nats a token (allowed: "
                f"{tolerance:g} in {precision}); the batch's preference loss at beta 1 is "
                f"{float(-log_sigmoid(margin).mean()):.6f}, expected ln 2 = {math.log(2.0):.6f}",
            )
