"""Push after the last iteration: a phase of its own, and one whose failure fails no run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from selm_operator.kube import Json
from selm_operator.manifests.control import build_control
from selm_operator.snapshot import read_run
from support.operator_world import World
from support.run_builder import RunBuilder, make_run

TARGET = {"uri": "hf://team/aligned", "tokenSecretRef": {"name": "hub", "key": "write"}}
NO_RIGHTS = {"error": {"reason": "AccessDenied", "message": "spec.push.uri: the hub does not let the token write"}}
ONLINE = ["gen", "score", "train", "eval"]


def pushing(iterations: int = 1, **push: Any) -> RunBuilder:
    return make_run().with_iterations(iterations).with_spec(push={**TARGET, **push})


def names(*pairs: tuple[int, str]) -> list[str]:
    return [f"tiny-i{iteration}-{short}-a1" for iteration, short in pairs]


async def pushed(run: RunBuilder | None = None) -> World:
    world = World(run or pushing())
    await world.reach("Push")
    return world


async def test_the_model_is_pushed_once_after_the_last_iteration() -> None:
    world = World(pushing(2))
    made = await world.finish()
    assert made[-5:] == [*names(*((2, short) for short in ONLINE)), "tiny-i2-push-a1"]
    assert sum("push" in name for name in made) == 1
    assert world.is_("Succeeded") == ("True", "Succeeded")
    assert world.is_("Pushed") == ("True", "Pushed")
    assert "it is pushed to hf://team/aligned" in world.condition("Succeeded")["message"]
    assert world.phase(2, "Push")["state"] == "Succeeded"
    assert all(p["phase"] != "Push" for p in world.status["iterations"][1]["phases"])


async def test_a_run_that_pushes_nothing_says_nothing_of_it() -> None:
    world = World(make_run())
    assert not any("push" in name for name in await world.finish())
    assert all(c["type"] != "Pushed" for c in world.status["conditions"])


async def test_until_the_model_is_pushed_the_run_is_at_work() -> None:
    world = World(pushing())
    await world.reach("Evaluation")
    assert world.is_("Pushed") == ("Unknown", "NotYetPushed")
    world.complete()
    await world.settle()
    assert world.job_name == "tiny-i1-push-a1"
    assert (world.is_("Succeeded"), world.is_("Pushed")) == (("Unknown", "Pushing"), ("Unknown", "Pushing"))


def container_of(job: Json) -> Json:
    container: Json = job["spec"]["template"]["spec"]["containers"][0]
    return container


async def test_its_pod_needs_no_gpu_and_has_the_token_that_may_write() -> None:
    run = pushing().with_spec(
        model={"tokenSecretRef": {"name": "read-only"}}, evaluation={"resources": {"limits": {"nvidia.com/gpu": 1}}}
    )
    container = container_of((await pushed(run)).job)
    assert "nvidia.com/gpu" not in json.dumps(container.get("resources", {}))
    env = {variable["name"]: variable for variable in container["env"]}
    assert env["HF_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": "hub", "key": "write"}
    assert container["command"][-1] == "push"
    config = json.loads(env["SELM_PHASE_CONFIG"]["value"])
    assert {key: config["push"][key] for key in ("uri", "model", "private", "revision")} == {
        "uri": "hf://team/aligned",
        "model": "Best",
        "private": True,
        "revision": "main",
    }
    assert {"training", "scoring", "iterations"} <= config["push"]["recipe"].keys()


async def test_the_credentials_of_a_registry_may_be_of_either_kind() -> None:
    world = World(
        make_run()
        .with_iterations(1)
        .with_spec(
            push={
                "uri": "oci://registry.example:5000/team/aligned:v1",
                "credentialsSecretRef": {"name": "registry"},
                "plainHTTP": True,
            }
        )
    )
    await world.reach("Push")
    env = {variable["name"]: variable for variable in container_of(world.job)["env"]}
    found = {
        name: env[f"SELM_REGISTRY_{name}"]["valueFrom"]["secretKeyRef"] for name in ("CONFIG", "USERNAME", "PASSWORD")
    }
    assert {name: (ref["name"], ref["key"], ref["optional"]) for name, ref in found.items()} == {
        "CONFIG": ("registry", ".dockerconfigjson", True),
        "USERNAME": ("registry", "username", True),
        "PASSWORD": ("registry", "password", True),
    }
    push = json.loads(env["SELM_PHASE_CONFIG"]["value"])["push"]
    assert (push["uri"], push["plainHTTP"]) == ("oci://registry.example:5000/team/aligned:v1", True)


async def test_no_other_phase_is_told_of_the_push_or_has_its_token() -> None:
    world = World(pushing())
    container = container_of(await world.reach("Training"))
    assert "push" not in json.loads(container["env"][0]["value"])
    assert not any(variable["name"] == "HF_TOKEN" for variable in container["env"])


async def test_a_push_that_is_refused_fails_no_run_and_a_condition_tells() -> None:
    world = await pushed()
    world.end(64, said=NO_RIGHTS)
    await world.settle()
    assert not world.active_jobs()
    assert world.is_("Succeeded") == ("True", "Succeeded")
    assert world.is_("Stalled")[0] == "False"
    assert world.is_("Pushed") == ("False", "InvalidInput")
    for type_ in ("Pushed", "Succeeded"):
        assert "the hub does not let the token write" in world.condition(type_)["message"]
    assert ("Warning", "AttemptFailed") in world.events()


async def test_a_push_that_crashes_is_tried_again_and_then_given_up() -> None:
    world = await pushed(pushing().with_retry(maxAttempts=2))
    world.end(1)
    await world.settle()
    await world.after(10)
    assert world.job_name == "tiny-i1-push-a2"
    world.end(1)
    await world.settle()
    assert (world.is_("Succeeded")[0], world.is_("Pushed")) == ("True", ("False", "AttemptsExhausted"))


async def test_a_hub_that_is_away_is_waited_for() -> None:
    world = await pushed()
    world.end(75, said={"error": {"reason": "HubUnavailable", "message": "the hub answers 503"}})
    await world.settle()
    assert (world.is_("Succeeded"), world.is_("Pushed")[0]) == (("Unknown", "BackOff"), "Unknown")
    await world.after(10)
    assert world.job_name == "tiny-i1-push-a2"


async def test_a_refused_push_is_repaired_by_suspend_and_resume() -> None:
    world = await pushed()
    world.end(64, said=NO_RIGHTS)
    await world.settle()
    world.change(suspend=True, push={"uri": "hf://team/other"})
    await world.settle()
    world.change(suspend=False)
    await world.settle()
    assert world.job_name == "tiny-i1-push-a2"
    assert (world.is_("Succeeded")[0], world.is_("Pushed")) == ("True", ("Unknown", "Pushing"))
    assert json.loads(container_of(world.job)["env"][0]["value"])["push"]["uri"] == "hf://team/other"
    world.complete()
    await world.settle()
    assert (world.is_("Succeeded")[0], world.is_("Pushed")) == ("True", ("True", "Pushed"))


@pytest.mark.parametrize("refused", [True, False], ids=["after a refused push", "after a push"])
async def test_more_iterations_go_on_and_end_with_a_push_of_their_own(refused: bool) -> None:
    world = await pushed()
    if refused:
        world.end(64, said=NO_RIGHTS)
    else:
        world.complete()
    await world.settle()
    world.change(iterations=2)
    assert await world.finish() == [*names(*((2, short) for short in ONLINE)), "tiny-i2-push-a1"]
    assert (world.is_("Succeeded")[0], world.is_("Pushed")) == ("True", ("True", "Pushed"))


async def test_a_push_asked_for_after_the_end_leaves_the_run_succeeded() -> None:
    world = World(make_run())
    await world.finish()
    world.change(push=TARGET)
    await world.settle()
    assert world.job_name == "tiny-i1-push-a1"
    assert (world.is_("Succeeded")[0], world.is_("Pushed")) == ("True", ("Unknown", "Pushing"))
    world.end(64, said=NO_RIGHTS)
    await world.settle()
    assert (world.is_("Succeeded")[0], world.is_("Pushed")) == ("True", ("False", "InvalidInput"))


async def test_a_control_run_pushes_nothing() -> None:
    view = read_run(pushing().with_spec(evaluation={"control": True}).obj())
    assert view.spec is not None
    assert "push" not in build_control(view, view.spec)["spec"]


async def test_suspended_before_its_end_the_push_waits() -> None:
    world = World(pushing())
    await world.reach("Evaluation")
    world.change(suspend=True)
    world.complete()
    await world.settle()
    assert not world.active_jobs()
    world.change(suspend=False)
    await world.settle()
    assert world.job_name == "tiny-i1-push-a1"
