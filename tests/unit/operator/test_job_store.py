"""Jobs in memory: what the watch tells and what the API server answers, in whatever order they arrive."""

from __future__ import annotations

from typing import Any

from selm_operator.job_store import JobStore
from selm_operator.jobs import WatchedJobs
from selm_operator.kube import JOBS, RUNS, Json
from selm_operator.manifests.names import job_name
from selm_operator.snapshot import read_run
from selm_runtime.contract import Phase
from support.fake_cluster import NAMESPACE, FakeCluster
from support.run_builder import make_run

RUN = "run-uid"


def job(version: int, uid: str = "a", *, owner: str = RUN, ready: int = 0, **metadata: Any) -> Json:
    name = job_name("tiny", 0, Phase.PREPARATION, 1)
    labels = {
        "selm.dev/run": "tiny",
        "selm.dev/run-uid": RUN,
        "selm.dev/phase": "Preparation",
        "selm.dev/iteration": "0",
        "selm.dev/attempt": "1",
    }
    return {
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": uid,
            "resourceVersion": str(version),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": labels,
            "ownerReferences": [{"uid": owner, "controller": True}],
            **metadata,
        },
        "spec": {"parallelism": 1, "template": {"spec": {"containers": [{"image": "i"}]}}},
        "status": {"ready": ready},
    }


def seen(store: JobStore) -> list[tuple[str, int]]:
    return [(view.uid, view.ready) for view in store.of_run(RUN)]


def test_an_answer_that_comes_after_the_watchs_word_changes_nothing() -> None:
    store = JobStore()
    store.put(job(8, ready=1))
    store.put(job(7))
    assert seen(store) == [("a", 1)]


def test_an_answer_that_comes_after_the_end_brings_nothing_back() -> None:
    store = JobStore()
    store.put(job(7))
    store.remove(job(9))
    store.put(job(7))
    assert seen(store) == []
    assert len(store) == 0


def test_the_end_of_a_job_leaves_the_next_of_its_name() -> None:
    store = JobStore()
    store.put(job(7))
    store.put(job(10, "b"))
    store.remove(job(9))
    assert seen(store) == [("b", 0)]


def test_a_list_replaces_all_but_what_is_newer() -> None:
    store = JobStore()
    store.put(job(7))
    store.put(job(12, "b", name="made-meanwhile"))
    store.replace([], 10)
    assert seen(store) == [("b", 0)]


def test_an_answer_that_a_list_overtook_brings_nothing_back() -> None:
    store = JobStore()
    store.replace([job(5, "a")], 10)
    store.put(job(7, "b", name="made-and-gone"))
    assert seen(store) == [("a", 0)]
    store.put(job(11, "c", name="made-later"))
    assert sorted(seen(store)) == [("a", 0), ("c", 0)]


def test_a_job_of_another_owner_under_our_label_is_not_the_runs() -> None:
    store = JobStore()
    store.put(job(7, owner="somebody"))
    assert seen(store) == []


def test_a_job_without_our_label_is_not_kept() -> None:
    store = JobStore()
    store.put({"metadata": {"name": "foreign"}})
    store.remove({"metadata": {"name": "foreign"}})
    assert len(store) == 0


async def test_jobs_are_listed_while_the_watch_is_silent_or_a_post_unanswered() -> None:
    cluster, store, alive = FakeCluster(), JobStore(), [True]
    cluster.store(RUNS, NAMESPACE, make_run().obj())
    run = read_run(cluster.run("tiny"))
    stored = job(1, owner=run.uid)
    stored["metadata"]["labels"]["selm.dev/run-uid"] = run.uid
    cluster.store(JOBS, NAMESPACE, stored)
    jobs = WatchedJobs(cluster, lambda namespace: store if alive[0] else None)
    assert await jobs.of_run(run) == ()

    alive[0] = False
    assert len(await jobs.of_run(run)) == 1

    alive[0] = True
    jobs.making(stored)
    assert len(await jobs.of_run(run)) == 1
    lists = len([entry for entry in cluster.log if entry[0] == "list"])
    assert len(await jobs.of_run(run)) == 1, "what a list told is remembered"
    assert len([entry for entry in cluster.log if entry[0] == "list"]) == lists
