"""What is counted: each end once and only when it is written, by run while the run lives, and as documented."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import Metric

from selm_operator.decide.endings import Kind
from selm_operator.kube import RUNS, ApiError, Resource
from selm_operator.metrics import REGISTRY
from selm_operator.queue import Gone
from support.fake_cluster import NAMESPACE
from support.operator_world import World
from support.run_builder import make_run

DOCUMENT = Path(__file__).parents[3] / "docs" / "metrics.md"
OF_THE_CLIENT = ("process_", "python_")


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def attempts(phase: str, reason: str) -> float:
    return value("selm_attempts_total", phase=phase, reason=reason)


def gpu_seconds(run: str, phase: str, outcome: str) -> float:
    return value("selm_gpu_seconds_total", namespace=NAMESPACE, run=run, phase=phase, outcome=outcome)


async def test_attempts_and_gpu_seconds_are_counted_by_how_they_ended() -> None:
    world = World(make_run("counted").with_nodes(1, gpus=8))
    before = {reason: attempts("Training", reason) for reason in ("Failed", "Committed", "Suspended")}
    name = (await world.reach("Training"))["metadata"]["name"]
    for said in ({}, {"checkpointStep": 5}):
        world.cluster.sleep(100)
        world.end(137, said=said)
        await world.settle()
        await world.after(600)
    world.cluster.sleep(50)
    world.change(suspend=True)
    await world.settle()
    world.remove(name.replace("-a1", "-a3"))
    await world.settle()
    world.change(suspend=False)
    await world.settle()
    world.complete()
    await world.settle()
    assert attempts("Training", "Failed") - before["Failed"] == 2
    assert attempts("Training", "Suspended") - before["Suspended"] == 1
    assert attempts("Training", "Committed") - before["Committed"] == 1
    assert gpu_seconds("counted", "Training", "Wasted") == 8 * 100
    assert gpu_seconds("counted", "Training", "Kept") == 8 * 100 + 8 * 50
    assert gpu_seconds("counted", "Training", "Committed") == 8 * 60
    assert world.phase(1, "Training")["gpuSeconds"] == 8 * (100 + 100 + 50 + 60)


async def test_a_phase_that_commits_while_it_is_stopped_counts_no_second_twice() -> None:
    world = World(make_run("stopped").with_nodes(1, gpus=4))
    name = (await world.reach("Training"))["metadata"]["name"]
    world.cluster.sleep(30)
    world.change(suspend=True)
    await world.settle()
    assert world.phase(1, "Training")["gpuSeconds"] == 4 * 30
    await world.after(5)
    assert world.phase(1, "Training")["gpuSeconds"] == 4 * 30
    world.cluster.end_job(name, {0: (0, {"manifest": "sha256:" + "a" * 64})})
    await world.settle()
    assert world.phase(1, "Training")["gpuSeconds"] == 4 * 35
    assert "accountedTime" not in world.current


async def test_a_status_write_that_is_lost_counts_nothing() -> None:
    world = World(make_run("lost"))
    await world.settle()
    world.complete()
    before = attempts("Preparation", "Committed")

    def conflict(when: str, verb: str, resource: Resource, name: str) -> None:
        if (when, verb, resource) == ("before", "replace", RUNS):
            raise ApiError(409, "Conflict", "modified")

    world.cluster.fault = conflict
    await world.reconciler((NAMESPACE, "lost"))
    assert attempts("Preparation", "Committed") == before
    world.cluster.fault = lambda *_: None
    await world.settle()
    assert attempts("Preparation", "Committed") == before + 1


async def test_runs_are_counted_by_phase_and_reason_and_a_run_that_is_gone_leaves_nothing() -> None:
    world = World(make_run("leaves").with_nodes(1, gpus=1))
    await world.reach("Evaluation")
    here = {"phase": "Evaluation", "reason": "Evaluating"}
    assert value("selm_runs", **here) >= 1
    before = value("selm_runs", **here)
    assert gpu_seconds("leaves", "Training", "Committed") > 0
    world.cluster.remove(RUNS, NAMESPACE, "leaves")
    assert isinstance(await world.settle(), Gone)
    assert value("selm_runs", **here) == before - 1
    assert not [s for family in REGISTRY.collect() for s in family.samples if s.labels.get("run") == "leaves"]


async def test_the_time_to_the_next_job_is_taken_from_the_end_of_the_one_before() -> None:
    world = World(make_run("next"))
    await world.settle()
    count, total = value("selm_operator_next_job_seconds_count"), value("selm_operator_next_job_seconds_sum")
    world.complete()
    await world.after(7)
    assert value("selm_operator_next_job_seconds_count") == count + 1
    assert value("selm_operator_next_job_seconds_sum") == total + 7
    world.end(1)
    await world.after(0)
    await world.after(600)
    assert value("selm_operator_next_job_seconds_count") == count + 1, "a retry has something to wait for"


def documented() -> dict[str, tuple[str, tuple[str, ...], str]]:
    rows = re.findall(r"^\| `(selm_\w+)` \| (\w+) \| (.*?) ?\| (.+) \|$", DOCUMENT.read_text(encoding="utf-8"), re.M)
    return {name: (kind, tuple(re.findall(r"`(\w+)`", labels)), words) for name, kind, labels, words in rows}


def exposed_name(metric: Metric) -> str:
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


def test_the_reference_has_every_metric_with_its_type_labels_and_words() -> None:
    ours = {exposed_name(m): m for m in REGISTRY.collect() if not m.name.startswith(OF_THE_CLIENT)}
    table = documented()
    assert set(table) == set(ours)
    for name, metric in ours.items():
        kind, labels, words = table[name]
        assert (kind, words) == (metric.type, metric.documentation), name
        for sample in metric.samples:
            assert set(labels) == set(sample.labels) - {"le"}, name


def test_the_reference_has_every_way_that_an_attempt_ends() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert not [kind.value for kind in Kind if f"| `{kind.value}` |" not in text]


def test_names_keep_to_the_conventions() -> None:
    for metric in REGISTRY.collect():
        if metric.name.startswith("selm_"):
            assert metric.type != "counter" or exposed_name(metric).endswith("_total")
            assert metric.type != "histogram" or metric.name.endswith("_seconds")
