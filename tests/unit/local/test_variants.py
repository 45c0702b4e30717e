"""Exchanges beside the recorded ones, on other kinds and in corners: see `support.variant_table`."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from support import variant_access, variant_table, variant_workloads
from support.conformance_client import Client
from support.served import served_api

GROUPS = {**variant_table.GROUPS, **variant_workloads.GROUPS, **variant_access.GROUPS}
NAMESPACE_SECONDS = 10


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with served_api() as made:
        yield made


@pytest.mark.parametrize("group", GROUPS)
def test_variants_are_answered_as_kubernetes_does(client: Client, group: str, subtests: pytest.Subtests) -> None:
    namespace = f"v-{group}"
    path = f"/api/v1/namespaces/{namespace}"
    assert client.send("POST", "/api/v1/namespaces", body={"metadata": {"name": namespace}}).ok
    end = time.monotonic() + NAMESPACE_SECONDS
    while not client.send("GET", f"{path}/serviceaccounts/default").ok:
        assert time.monotonic() < end, "the namespace has no default account"
        time.sleep(0.02)
    for variant in GROUPS[group]:
        with subtests.test(what=variant.what):
            assert variant.problems(client, namespace) == [], variant.request
