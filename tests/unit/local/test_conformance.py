"""Exchanges recorded with a real control plane, and the table of specs, replayed against the embedded API server.

What needs a node (pods, Jobs) or kubectl is in `tests/e2e/test_conformance.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from support.conformance import CRDS, SCENARIOS, load, replay
from support.conformance_client import Client
from support.selmruns import REPOSITORY, cases
from support.served import served_api
from support.specs_replay import SpecsClient

NEED_A_NODE = frozenset({"jobs", "kubectl", "pods"})


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with served_api() as made:
        yield made


@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name not in NEED_A_NODE])
def test_a_recorded_scenario_is_answered_alike(client: Client, scenario: str, subtests: pytest.Subtests) -> None:
    outcomes = replay(client, scenario)
    assert len(outcomes) == len(load(scenario)[1])
    for outcome in outcomes:
        with subtests.test(step=outcome.step):
            assert outcome.agrees, outcome.report()


def test_the_recordings_are_whole() -> None:
    counts = {scenario: len(load(scenario)[1]) for scenario in SCENARIOS}
    assert (len(counts), sum(counts.values())) == (13, 289)
    for scenario in SCENARIOS:
        steps, golden = load(scenario)
        assert [one["step"] for one in golden] == [one["step"] for one in steps if "step" in one]


@pytest.fixture(scope="module")
def specs(client: Client) -> SpecsClient:
    crd = yaml.safe_load((REPOSITORY / "crds" / "selmruns.selm.dev.yaml").read_text())
    assert client.send("POST", CRDS, body=crd).code == 201
    assert client.send("POST", "/api/v1/namespaces", body={"metadata": {"name": "specs"}}).code == 201
    return SpecsClient(client, "specs")


@pytest.mark.parametrize("number", range(len(cases())), ids=[case["name"] for case in cases()])
def test_a_running_server_answers_the_table_of_specs(specs: SpecsClient, number: int) -> None:
    assert specs.ask(cases()[number], f"case-{number}") == []
