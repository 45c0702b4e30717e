"""The processes of one training attempt: how they meet, agree and notice that one is gone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from selm_runtime.artifacts.upload import time_scale
from selm_runtime.errors import PeerLost

T = TypeVar("T")

TO_MEET = timedelta(minutes=10)
"""All nodes have met already when ranks start: who is this late is gone."""
PATIENT = timedelta(minutes=30)
"""Until the first step is done, and while files are written: ranks differ by much in what they wait for, rank 0 for the
store up to 10 minutes and as long as its client is patient with one that is silent."""
PROMPT = timedelta(minutes=5)
"""Between steps every rank does the same work, and none waits for the store: who is this late is gone."""

_LOSS_SIGNS = (
    "gloo/",
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "NCCL",
    "Timed out waiting",
    "failed to recv",
    "TCPStore",
)
"""How torch's back ends word a lost peer: gloo raises plain RuntimeErrors, so the text is all there is."""


@dataclass(frozen=True)
class Ranks:
    """This process among `size`. `control` carries small CPU messages beside the device's own communication."""

    rank: int
    size: int
    local_rank: int
    local_size: int
    device: torch.device
    control: dist.ProcessGroup

    @property
    def is_first(self) -> bool:
        """Rank 0 of all nodes: the one that reports and commits."""
        return self.rank == 0

    @property
    def is_first_of_node(self) -> bool:
        return self.local_rank == 0

    def most(self, values: Sequence[float]) -> list[float]:
        """The largest of each value over all ranks, the same answer on each: how ranks agree on flags."""
        return self._reduce(values, dist.ReduceOp.MAX)

    def total(self, values: Sequence[float]) -> list[float]:
        """The sum of each value over all ranks, in float64."""
        return self._reduce(values, dist.ReduceOp.SUM)

    def total_on_device(self, values: Tensor) -> Tensor:
        """The element-wise sum over all ranks, on the device and by its own communication."""
        summed = values.clone()
        dist.all_reduce(summed)
        return summed

    def gather(self, value: T) -> list[T]:
        """Every rank's value, in rank order, on every rank."""
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.control)
        return values

    def from_first(self, value: T | None) -> T | None:
        """Rank 0's value on every rank."""
        values = [value]
        dist.broadcast_object_list(values, src=0, group=self.control)
        return values[0]

    def barrier(self) -> None:
        """Return on each rank once all have come here."""
        dist.barrier(group=self.control)

    def expect(self, patience: timedelta) -> None:
        """Set how long collectives wait for the others, from here on; to be called by all ranks alike."""
        self.barrier()
        _set_timeout(patience)

    def _reduce(self, values: Sequence[float], operation: Any) -> list[float]:
        tensor = torch.tensor(list(values), dtype=torch.float64)
        dist.all_reduce(tensor, op=operation, group=self.control)
        result: list[float] = tensor.tolist()
        return result


def join() -> Ranks:
    """Meet the other ranks at the address that torchrun put into the environment. Raises PeerLost on time-out."""
    local_rank = int(os.environ["LOCAL_RANK"])
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda", local_rank) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    to_meet = TO_MEET * time_scale()
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=to_meet)
    control = dist.new_group(backend="gloo", timeout=to_meet)
    _set_timeout(PATIENT)
    return Ranks(
        rank=dist.get_rank(),
        size=dist.get_world_size(),
        local_rank=local_rank,
        local_size=int(os.environ["LOCAL_WORLD_SIZE"]),
        device=device,
        control=control,
    )


def _set_timeout(patience: timedelta) -> None:
    """Of every group that this process is in: DeepSpeed makes groups of its own, which would wait for half an hour."""
    for group in list(dist.distributed_c10d._world.pg_map):
        dist.distributed_c10d._set_pg_timeout(patience * time_scale(), group)


@contextmanager
def loss_of_peers() -> Iterator[None]:
    """Turn a communication error, whatever the back end calls it, into PeerLost."""
    try:
        yield
    except RuntimeError as error:
        if is_peer_loss(error):
            raise PeerLost("PeerLost", f"another rank is gone: {str(error).splitlines()[0][:300]}") from error
        raise


def is_peer_loss(error: RuntimeError) -> bool:
    """Whether an error means that another rank can no longer be reached."""
    return isinstance(error, dist.DistError) or any(sign in str(error) for sign in _LOSS_SIGNS)
