"""Which pods fit on the node, and in which order they get their turn."""

from __future__ import annotations

from typing import Any

import pytest

from selm_local.controllers.scheduling import place
from selm_local.quantity import format_binary, format_milli, parse_quantity, whole

NODE = {
    "metadata": {"name": "n", "labels": {"zone": "a"}},
    "spec": {},
    "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "nvidia.com/gpu": "1", "pods": "4"}},
}


def pod(name: str, at: int = 0, status: str = "Pending", node: str = "", **requests: Any) -> dict[str, Any]:
    requests = {key.replace("gpu", "nvidia.com/gpu"): value for key, value in requests.items()}
    return {
        "metadata": {"name": name, "creationTimestamp": f"2026-01-01T00:00:{at:02}Z", "resourceVersion": str(at)},
        "spec": {
            "containers": [{"name": "c", "resources": {"requests": requests}}],
            **({"nodeName": node} if node else {}),
        },
        "status": {"phase": status},
    }


@pytest.mark.parametrize(
    ("sentence", "pods", "bound", "waiting"),
    [
        ("what fits is bound", [pod("a", cpu="500m", memory="100Mi")], ["a"], {}),
        ("the first come are the first served", [pod("b", 2, cpu=2), pod("a", 1, cpu=1)], ["a"], {"b": "1 Insufficient cpu"}),
        ("one that does not fit holds up no other", [pod("a", 1, cpu=3), pod("b", 2, cpu=1)], ["b"], {"a": "1 Insufficient cpu"}),
        ("what runs is taken off", [pod("a", node="n", status="Running", gpu=1), pod("b", gpu=1)], [], {"b": "1 Insufficient nvidia.com/gpu"}),
        ("what has ended is not", [pod("a", node="n", status="Succeeded", gpu=1), pod("b", gpu=1)], ["b"], {}),
        ("every shortage is named", [pod("a", cpu=9, memory="9Gi")], [], {"a": "1 Insufficient cpu, 1 Insufficient memory"}),
        ("an unknown resource is a shortage", [pod("a", **{"example.com/x": 1})], [], {"a": "1 Insufficient example.com/x"}),
        ("the number of pods is limited", [pod(str(i), i) for i in range(5)], ["0", "1", "2", "3"], {"4": "1 Too many pods"}),
    ],
)  # fmt: skip
def test_placement(sentence: str, pods: list[dict[str, Any]], bound: list[str], waiting: dict[str, str]) -> None:
    placement = place(pods, NODE)
    assert [one["metadata"]["name"] for one in placement.bind] == bound, sentence
    assert {
        one["metadata"]["name"]: message.partition(": ")[2].partition(". ")[0] for one, message in placement.waiting
    } == waiting


def test_priority_goes_before_age() -> None:
    late = pod("late", 9, cpu=2)
    late["spec"]["priority"] = 10
    assert [one["metadata"]["name"] for one in place([pod("early", 1, cpu=2), late], NODE).bind] == ["late"]


def test_limits_stand_in_for_requests_and_init_containers_for_their_own_time() -> None:
    one = pod("a")
    one["spec"]["containers"] = [{"name": "c", "resources": {"limits": {"cpu": "1"}}}]
    one["spec"]["initContainers"] = [{"name": "i", "resources": {"requests": {"cpu": "3"}}}]
    assert place([one], NODE).bind == ()
    one["spec"]["initContainers"][0]["resources"]["requests"]["cpu"] = "2"
    assert len(place([one], NODE).bind) == 1


def test_a_node_selector_and_a_cordon_keep_pods_away() -> None:
    one = pod("a")
    one["spec"]["nodeSelector"] = {"zone": "b"}
    assert "node affinity/selector" in place([one], NODE).waiting[0][1]
    assert "unschedulable" in place([pod("a")], {**NODE, "spec": {"unschedulable": True}}).waiting[0][1]


@pytest.mark.parametrize(
    ("text", "value"),
    [("500m", 0.5), ("8Gi", 8 * 2**30), (2, 2), ("1e3", 1000), (".5", 0.5), ("1.5k", 1500), ("-1", -1), ("100n", 1e-7)],
)
def test_quantities(text: str | int, value: float) -> None:
    assert float(parse_quantity(text)) == value


@pytest.mark.parametrize("text", ["", "one", "1.2.3", "5 Gi", "1e", "Gi"])
def test_what_is_no_quantity_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="is no quantity: allowed are"):
        parse_quantity(text)


def test_quantities_are_written_as_kubernetes_does() -> None:
    assert (whole("1500m"), format_milli(parse_quantity("1500m")), format_milli(parse_quantity(2))) == (2, "1500m", "2")
    assert (format_binary(8 << 30), format_binary(1536), format_binary(1234), format_binary(0)) == (
        "8Gi",
        "1536",
        "1234",
        "0",
    )
