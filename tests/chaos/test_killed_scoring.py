"""Scoring shards are killed while they ask a judge: what was committed or answered is not asked for again."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from selm_runtime.artifacts.chunks import chunk_ranges, chunks_of_shard
from support.chat_server import ChatServer, Messages
from support.e2e_runs import make_run, with_fault
from support.lab import Json, Lab, phase_status

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

NAME = "killed-scoring"
SHARDS, CONCURRENCY = 2, 2
HELD_SECONDS = 240  # less than a client waits for an answer
ANSWERS = re.compile(r"--- Answer A ---\n(.*)\n\n--- Answer B ---\n(.*)\n\n--- End of the answers ---", re.DOTALL)


class Judge:
    """A function of the question, with a verdict of every kind and some answers that hold none.

    Once told of a prompt, it keeps whoever asks about that prompt waiting, until it may go on.
    """

    def __init__(self) -> None:
        self.asked, self.may_answer = threading.Event(), threading.Event()
        self.held: str | None = None

    def __call__(self, messages: Messages) -> str:
        question = messages[-1]["content"]
        if self.held is not None and self.held in question:
            self.asked.set()
            self.may_answer.wait(HELD_SECONDS)
        found = ANSWERS.search(question)
        assert found is not None
        first, second = map(number, found.groups())
        if (first + second) % 11 == 0:
            return "I cannot say."
        return "[[C]]" if first % 7 == second % 7 else "[[A]]" if first < second else "[[B]]"


def number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge()


@pytest.fixture(scope="module")
def server(judge: Judge) -> Iterator[ChatServer]:
    with ChatServer(judge) as running:
        yield running
        judge.may_answer.set()


def judged(name: str, inputs: dict[str, str], server: ChatServer, min_margin: float) -> Json:
    asked = {"endpoint": server.url, "model": "m", "concurrency": CONCURRENCY}
    scoring = {
        "scorers": [
            {"name": "judge", "weight": 0.7, "judge": asked},
            {"name": "rules", "weight": 0.3, "rules": [{"type": "Length", "target": 4}]},
        ],
        "shards": SHARDS,
        "pairing": {"minMargin": min_margin},
    }
    return make_run(name, inputs, scoring=scoring, training={"nodes": 1}, evaluation={"selectBy": {"scorer": "rules"}})


def questions(server: ChatServer) -> Counter[str]:
    """How often each question was asked."""
    return Counter(body["messages"][-1]["content"] for body in list(server.seen))


@pytest.fixture(scope="module")
def scored(lab: Lab, inputs: dict[str, str], judge: Judge, server: ChatServer) -> Iterator[Json]:
    """The run at the end of its Scoring: one shard died with its first chunk committed, then again amid its last one."""
    lab.apply(with_fault(judged(NAME, inputs, server, 0.0), "Scoring:chunk-committed:1:index=0"))
    lab.until("Preparation is committed", lambda: ended(lab, NAME, 0, "Preparation"), 300)
    rows = lab.rows(lab.run(NAME), 0, "Preparation", "portion-0001.parquet")
    ranges = chunk_ranges(len(rows))
    last = chunks_of_shard(len(ranges), 0, SHARDS)[-1]
    assert last > 0, "the shard has one chunk only"
    judge.held = rows[ranges[last][len(ranges[last]) // 2]]["prompt"][-1]["content"]
    lab.until("the shard asks about its last chunk", judge.asked.is_set, 600)
    job = f"{NAME}-i1-score-a2"
    pod = next(pod for pod in lab.pods(job) if pod["status"].get("phase") == "Running")  # by index, so the first is 0's
    lab.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")
    judge.may_answer.set()
    lab.until("Scoring is committed", lambda: ended(lab, NAME, 1, "Scoring"), 300)
    run = lab.run(NAME)
    yield run
    lab.delete_run(NAME)


def test_no_answer_that_was_kept_is_asked_for_again(lab: Lab, scored: Json, judge: Judge, server: ChatServer) -> None:
    assert phase_status(scored, 1, "Scoring")["attempts"] == 3
    sums = lab.manifest(scored, 1, "Scoring")["facts"]["sums"]
    asked = questions(server)
    again = {question: n for question, n in asked.items() if n > 1}
    assert judge.held is not None
    assert 0 < sum(n - 1 for n in again.values()) <= CONCURRENCY, "more than what was in flight when the pod died"
    assert all(judge.held in question for question in again)
    assert sums["scorer.judge.asked"] > 100
    assert 0 < sums["scorer.judge.missingPairs"] < sums["scorer.judge.asked"] / 4


def test_an_undisturbed_run_comes_to_the_same_scores_for_nothing(
    lab: Lab, inputs: dict[str, str], scored: Json, server: ChatServer
) -> None:
    """A margin that no pair has makes another input digest: the run scores anew, by the answers that were kept."""
    before = questions(server)
    lab.apply(judged("scored-at-once", inputs, server, 1e-12))
    lab.until("Scoring is committed", lambda: ended(lab, "scored-at-once", 1, "Scoring"), 300)
    run = lab.run("scored-at-once")
    assert phase_status(run, 1, "Scoring")["attempts"] == 1
    mine, theirs = (lab.manifest(one, 1, "Scoring") for one in (scored, run))
    assert mine["inputDigest"] != theirs["inputDigest"]
    assert mine["contentDigest"] == theirs["contentDigest"]
    assert mine["facts"]["sums"] == theirs["facts"]["sums"]
    assert questions(server) == before
    lab.delete_run("scored-at-once")


def ended(lab: Lab, name: str, iteration: int, phase: str) -> bool:
    """Whether the phase is committed, as the status tells it."""
    run = lab.run(name)
    entries = [entry for entry in run.get("status", {}).get("iterations", []) if entry["iteration"] == iteration]
    return any(p["phase"] == phase and p["state"] == "Succeeded" for entry in entries for p in entry["phases"])
