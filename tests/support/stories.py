"""What may happen to a run, as stories of a world in memory: their ends are statuses that the operator itself wrote."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from selm_operator.kube import RUNS
from support.fake_cluster import NAMESPACE
from support.operator_world import World
from support.run_builder import make_run

Story = Callable[[World], Awaitable[None]]


async def told(story: Story) -> dict[str, Any]:
    """The run after a story, as the API server has it."""
    world = World(make_run())
    await story(world)
    return await world.cluster.get(RUNS, NAMESPACE, world.name)


async def unseen(world: World) -> None:
    """Nobody has looked yet."""


async def at_work(world: World) -> None:
    await world.reach("Training")


async def between_attempts(world: World) -> None:
    await world.reach("Generation")
    world.end(1, said="boom")
    await world.settle()


async def succeeded(world: World) -> None:
    await world.finish()


async def invalid(world: World) -> None:
    await world.settle()
    world.end(64, said={"error": {"reason": "RowsInvalid", "message": "row 3 has no chosen"}})
    await world.settle()


async def out_of_attempts(world: World) -> None:
    await world.settle()
    for _ in range(3):
        world.end(1, said="boom")
        await world.settle()
        await world.after(600)


async def refused(world: World) -> None:
    world.change(artifacts={"uri": "file:///runs"})  # and no volume that holds it
    await world.settle()


async def suspended(world: World) -> None:
    await world.reach("Generation")
    name = world.job_name
    world.change(suspend=True)
    await world.settle()
    world.remove(name)
    await world.settle()


async def suspending(world: World) -> None:
    await world.reach("Generation")
    world.change(suspend=True)
    await world.settle()


async def changed(world: World) -> None:
    await world.finish()
    world.change(iterations=2)


async def changed_and_seen(world: World) -> None:
    await changed(world)
    await world.settle()


async def failed_then_suspended(world: World) -> None:
    await out_of_attempts(world)
    world.change(suspend=True)
    await world.settle()
