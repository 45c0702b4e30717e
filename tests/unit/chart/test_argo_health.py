"""Argo CD's health check of docs/gitops.md, by a real Lua, on statuses that the operator itself wrote."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import pytest
import yaml
from lupa.lua51 import LuaRuntime  # the version of Argo CD's interpreter

from selm_operator.kube import RUNS
from support.fake_cluster import NAMESPACE
from support.operator_world import World
from support.run_builder import make_run
from support.selmruns import REPOSITORY

Json = dict[str, object]
KEY = "resource.customizations.health.selm.dev_SELMRun"


def health_check() -> str:
    """The Lua of the manual."""
    text = (REPOSITORY / "docs" / "gitops.md").read_text(encoding="utf-8")
    blocks = [yaml.safe_load_all(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    (lua,) = [doc["data"][KEY] for block in blocks for doc in block if doc["kind"] == "ConfigMap"]
    return str(lua)


def health_of(run: Json) -> tuple[str, str]:
    """Status and message; `obj` is all that a script of Argo CD has."""
    lua = LuaRuntime(register_eval=False)
    lua.globals()["obj"] = lua.table_from(run, recursive=True)
    found = lua.execute(health_check())
    return found["status"], found["message"]


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
    world.change(training={"lora": {}})
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


CASES: list[tuple[Callable[[World], Awaitable[None]], str, str]] = [
    (unseen, "Progressing", "the operator has not looked at it yet"),
    (at_work, "Progressing", "Training: "),
    (between_attempts, "Progressing", "BackOff: "),
    (succeeded, "Healthy", "Succeeded: "),
    (invalid, "Degraded", "InvalidInput: "),
    (out_of_attempts, "Degraded", "AttemptsExhausted: "),
    (refused, "Degraded", "NotYetSupported: "),
    (suspended, "Suspended", "Suspended: "),
    (suspending, "Progressing", "Suspending: "),
    (changed, "Progressing", "the operator has not looked at the last change yet"),
    (changed_and_seen, "Progressing", "Generating: "),
    (failed_then_suspended, "Suspended", "Suspended: "),
]


@pytest.mark.parametrize(("story", "status", "message"), CASES, ids=[case[0].__name__ for case in CASES])
async def test_health_by_what_the_operator_wrote(
    story: Callable[[World], Awaitable[None]], status: str, message: str
) -> None:
    world = World(make_run())
    await story(world)
    found = health_of(await world.cluster.get(RUNS, NAMESPACE, world.name))
    assert found[0] == status, found
    assert found[1].startswith(message), found


def test_a_status_without_conditions_is_no_error() -> None:
    run: Json = {"metadata": {"generation": 1}, "status": {"observedGeneration": 1, "conditions": []}}
    assert health_of(run)[0] == "Progressing"
