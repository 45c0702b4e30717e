"""One micro-batch as one unpadded sequence: each prompt once, followed by its distinct responses.

    tokens     p0 p1 p2 | c0 c1 | r0 r1 r2 | p0' p1' | ...
    positions   0  1  2 |  3  4 |  3  4  5 |  0   1  | ...

Every response continues its own prompt and sees neither the other responses nor other pairs (`attention.py`). The
first token of each response is predicted by the prompt's last token, whose hidden state therefore serves once for each. The output head runs on the positions that predict a response token in the loss and on no others: a tool's or user's
words in a response of several turns are read, not predicted.

A pack may be filled up with a tail that belongs to no pair. Attention gives it zeros, and nothing reads what the layers
make of them, so no gradient comes from it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from selm_runtime.data.turns import in_loss, token_id
from selm_runtime.train.objectives import Objective, Record, Running, Sums
from selm_runtime.train.pairs import Pair
from selm_runtime.train.transfers import to_device


@dataclass(frozen=True)
class PackSizes:
    """The lengths that packs are filled up to: multiples of `step` tokens; 1 leaves every pack as it is."""

    step: int = 1

    def of(self, tokens: int) -> int:
        """The length of a pack of so many tokens."""
        return -(-tokens // self.step) * self.step


AS_THEY_ARE = PackSizes()


@dataclass(frozen=True)
class Segment:
    """One pair's stretch of the packed sequence: lengths of the prompt and of each response, in order."""

    start: int
    prompt: int
    responses: tuple[int, ...]

    @property
    def length(self) -> int:
        return self.prompt + sum(self.responses)


@dataclass(frozen=True)
class PackedBatch:
    """A micro-batch of n pairs with R distinct responses and N response tokens in a sequence of T tokens.

    Behind the last segment there may be a tail.
    """

    rows: tuple[int, ...]  # [n]
    segments: tuple[Segment, ...]  # [n]
    input_ids: Tensor  # [1, T] int64
    position_ids: Tensor  # [1, T] int64
    predicts: Tensor  # [N] int64: the position whose hidden state predicts the token
    targets: Tensor  # [N] int64: the token
    response_of: Tensor  # [N] int64: which response the token belongs to
    lengths: Tensor  # [R] int64: response tokens in the loss
    chosen: Tensor  # [n] int64: index of the pair's response in [0, R)
    rejected: Tensor  # [n] int64
    explored: Tensor | None  # [m] int64, pair by pair
    explored_of: Tensor | None  # [m] int64: index of the pair in [0, n); None where every pair has exactly one
    scores: Tensor  # [2, n] float64: of chosen and rejected, NaN where there is none
    age: Tensor  # [n] float32
    online: Tensor  # [n] float32: 1 or 0

    @property
    def tokens(self) -> int:
        """T: with the tail."""
        return int(self.input_ids.shape[1])

    @property
    def tail(self) -> int:
        """Tokens behind the last segment."""
        return self.tokens - sum(segment.length for segment in self.segments)

    def filled(self, sizes: PackSizes) -> PackedBatch:
        """The same batch with a tail that makes its length one of `sizes`."""
        more = sizes.of(self.tokens) - self.tokens
        if not more:
            return self
        ids, positions = (F.pad(each, (0, more)) for each in (self.input_ids, self.position_ids))
        return replace(self, input_ids=ids, position_ids=positions)

    def sums(self, log_probs: Tensor) -> Sums:
        """Distribute summed log-probs [R] of the distinct responses to the roles that they play."""
        return Sums(
            chosen=log_probs[self.chosen],
            rejected=log_probs[self.rejected],
            explored=None if self.explored is None else log_probs[self.explored],
        )

    def record(self, objective: Objective, policy: Sums, reference: Sums | None, running: Running | None) -> Record:
        """What the objective asked for, and no more."""
        return Record(
            policy=policy,
            reference=reference,
            explored_of=self.explored_of,
            tokens=self.sums(self.lengths) if objective.needs_tokens else None,
            scores=Sums(self.scores[0], self.scores[1]) if objective.needs_scores else None,
            age=self.age if objective.needs_age else None,
            online=self.online,
            running=running,
        )

    def to(self, device: torch.device) -> PackedBatch:
        """The same batch with its tensors on `device`, for which the host does not wait."""
        moved: dict[str, Any] = {
            name: to_device(value, device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


def pack(pairs: Sequence[Pair], *, explored: bool) -> PackedBatch:
    """Lay pairs out in one sequence. Without `explored` that response is not in it at all.

    Raises ValueError for a pair without prompt tokens or with an empty response: nothing would predict, or be predicted.
    """
    ids: list[int] = []
    positions: list[int] = []
    predicts: list[int] = []
    targets: list[int] = []
    response_of: list[int] = []
    lengths: list[int] = []
    segments: list[Segment] = []
    roles: dict[str, list[int]] = {"chosen": [], "rejected": [], "explored": []}
    explored_of: list[int] = []
    for place, pair in enumerate(pairs if explored else [pair.without_explored() for pair in pairs]):
        responses = pair.responses
        if not pair.prompt or not all(responses):
            raise ValueError(f"row {pair.row}: the prompt and every response need at least one token")
        segments.append(Segment(len(ids), len(pair.prompt), tuple(len(response) for response in responses)))
        ids += pair.prompt
        positions += range(len(pair.prompt))
        last_prompt = len(ids) - 1
        index_of = {response: len(lengths) + i for i, response in enumerate(responses)}
        for response in responses:
            before = [last_prompt, *range(len(ids), len(ids) + len(response) - 1)]
            own = [place for place, token in enumerate(response) if in_loss(token)]
            if not own:
                raise ValueError(f"row {pair.row}: a response has no token in the loss")
            predicts += [before[place] for place in own]
            targets += [response[place] for place in own]
            response_of += [index_of[response]] * len(own)
            lengths.append(len(own))
            ids += map(token_id, response)
            positions += range(len(pair.prompt), len(pair.prompt) + len(response))
        roles["chosen"].append(index_of[pair.chosen])
        roles["rejected"].append(index_of[pair.rejected])
        if explored and pair.online and not pair.explored:
            raise ValueError(f"row {pair.row}: the objective acts on the explored response, and there is none")
        roles["explored"] += [index_of[response] for response in pair.explored]
        explored_of += [place] * len(pair.explored)
    return PackedBatch(
        rows=tuple(pair.row for pair in pairs),
        segments=tuple(segments),
        input_ids=torch.tensor([ids]),
        position_ids=torch.tensor([positions]),
        predicts=torch.tensor(predicts),
        targets=torch.tensor(targets),
        response_of=torch.tensor(response_of),
        lengths=torch.tensor(lengths),
        chosen=torch.tensor(roles["chosen"]),
        rejected=torch.tensor(roles["rejected"]),
        explored=torch.tensor(roles["explored"], dtype=torch.int64) if explored else None,
        explored_of=torch.tensor(explored_of, dtype=torch.int64)
        if explored and explored_of != list(range(len(pairs)))
        else None,
        scores=torch.tensor(
            [[_number(pair.chosen_score) for pair in pairs], [_number(pair.rejected_score) for pair in pairs]],
            dtype=torch.float64,
        ),
        age=torch.tensor([float(pair.age) for pair in pairs]),
        online=torch.tensor([float(pair.online) for pair in pairs]),
    )


def _number(score: float | None) -> float:
    return math.nan if score is None else score
