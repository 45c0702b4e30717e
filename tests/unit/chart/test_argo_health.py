"""Argo CD's health check of docs/gitops.md, by a real Lua, on statuses that the operator itself wrote."""

from __future__ import annotations

import re

import pytest
import yaml
from lupa.lua51 import LuaRuntime  # the version of Argo CD's interpreter

from support import stories
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


CASES: list[tuple[stories.Story, str, str]] = [
    (stories.unseen, "Progressing", "the operator has not looked at it yet"),
    (stories.at_work, "Progressing", "Training: "),
    (stories.between_attempts, "Progressing", "BackOff: "),
    (stories.succeeded, "Healthy", "Succeeded: "),
    (stories.invalid, "Degraded", "InvalidInput: "),
    (stories.out_of_attempts, "Degraded", "AttemptsExhausted: "),
    (stories.refused, "Degraded", "VolumeMissing: "),
    (stories.suspended, "Suspended", "Suspended: "),
    (stories.suspending, "Progressing", "Suspending: "),
    (stories.changed, "Progressing", "the operator has not looked at the last change yet"),
    (stories.changed_and_seen, "Progressing", "Generating: "),
    (stories.failed_then_suspended, "Suspended", "Suspended: "),
]


@pytest.mark.parametrize(("story", "status", "message"), CASES, ids=[case[0].__name__ for case in CASES])
async def test_health_by_what_the_operator_wrote(story: stories.Story, status: str, message: str) -> None:
    found = health_of(await stories.told(story))
    assert found[0] == status, found
    assert found[1].startswith(message), found


def test_a_status_without_conditions_is_no_error() -> None:
    run: Json = {"metadata": {"generation": 1}, "status": {"observedGeneration": 1, "conditions": []}}
    assert health_of(run)[0] == "Progressing"
