"""Which GPUs of the machine belong to which pod."""

from __future__ import annotations

from selm_local.controllers.objects import Obj
from selm_local.node.sources import containers_of
from selm_local.quantity import whole

GPU = "nvidia.com/gpu"


class DevicesExhausted(Exception):
    """The scheduler promised more GPUs than are free: a pod that is ending still holds them."""


class Devices:
    """Assignment of `count` GPUs, numbered from 0, to pods by uid."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._held: dict[str, tuple[int, ...]] = {}

    def restore(self, uid: str, gpus: list[int]) -> None:
        """Take over what was assigned before this process started."""
        self._held[uid] = tuple(gpus)

    def acquire(self, uid: str, wanted: int) -> tuple[int, ...]:
        """The pod's GPUs, lowest numbers first; the same ones when asked again.

        Raises:
            DevicesExhausted: fewer are free.
        """
        if uid not in self._held:
            taken = {gpu for held in self._held.values() for gpu in held}
            free = [gpu for gpu in range(self.count) if gpu not in taken]
            if len(free) < wanted:
                raise DevicesExhausted(f"{wanted} GPUs are asked for, {len(free)} of {self.count} are free")
            self._held[uid] = tuple(free[:wanted])
        return self._held[uid]

    def release(self, uid: str) -> None:
        self._held.pop(uid, None)


def gpus_wanted(pod: Obj) -> int:
    """How many GPUs the pod asks for: the sum over containers, at least what one init container needs."""
    init = {one["name"] for one in pod["spec"].get("initContainers") or []}
    total = most = 0
    for container in containers_of(pod):
        resources = container.get("resources") or {}
        wanted = whole({**(resources.get("limits") or {}), **(resources.get("requests") or {})}.get(GPU, 0))
        if container["name"] in init:
            most = max(most, wanted)
        else:
            total += wanted
    return max(total, most)
