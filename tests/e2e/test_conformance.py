"""Exchanges recorded with a real control plane, replayed through a cluster with a node: pods, Jobs, kubectl.

On the embedded cluster the other scenarios are unit tests; on the cluster of KUBECONFIG all of them run here.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from support.conformance import SCENARIOS, load, replay
from support.conformance_client import Client
from support.lab import Lab
from support.selmruns import cases
from support.specs_replay import SpecsClient

pytestmark = pytest.mark.e2e
HERE = SCENARIOS if "KUBECONFIG" in os.environ else ("jobs", "kubectl", "pods")


@pytest.fixture(scope="module")
def client(lab: Lab) -> Client:
    return Client.of_kubeconfig(Path(lab.environment["KUBECONFIG"]))


@pytest.mark.parametrize("scenario", HERE)
def test_a_recorded_scenario_is_answered_alike(client: Client, scenario: str, subtests: pytest.Subtests) -> None:
    outcomes = replay(client, scenario)
    assert len(outcomes) == len(load(scenario)[1])
    for outcome in outcomes:
        with subtests.test(step=outcome.step):
            assert outcome.agrees, outcome.report()


def test_the_cluster_answers_the_table_of_specs(client: Client, subtests: pytest.Subtests) -> None:
    # In a namespace of its own, suspended by nobody: the operator may see these runs, and they are gone at once.
    namespace = f"specs-{uuid.uuid4().hex[:6]}"
    assert client.send("POST", "/api/v1/namespaces", body={"metadata": {"name": namespace}}).ok
    try:
        for number, case in enumerate(cases()):
            with subtests.test(case=case["name"]):
                assert SpecsClient(client, namespace).ask(case, f"case-{number}") == []
    finally:
        client.send("DELETE", f"/api/v1/namespaces/{namespace}")
