"""Committing beside the engine's work: nothing whole is lost, nothing that fails is hidden."""

from __future__ import annotations

import threading

import pytest

from selm_runtime.errors import TemporaryFailure
from selm_runtime.generate.commits import MOST_WAITING, Commits
from selm_runtime.generate.requests import ChunkPlan
from selm_runtime.generate.responses import ChunkResponses


def whole(chunk: int) -> ChunkResponses:
    return ChunkResponses(ChunkPlan(chunk, (), 1), ())


@pytest.mark.parametrize("ahead", [False, True])
def test_all_chunks_are_committed_in_order(ahead: bool) -> None:
    done: list[int] = []
    with Commits(lambda responses: done.append(responses.plan.chunk), ahead=ahead) as commits:
        for chunk in range(6):
            commits.commit(whole(chunk))
    assert done == list(range(6))


def test_a_chunk_is_committed_before_the_next_is_begun_unless_ahead() -> None:
    done: list[int] = []
    with Commits(lambda responses: done.append(responses.plan.chunk), ahead=False) as commits:
        commits.commit(whole(0))
        assert done == [0]


def test_the_engine_goes_on_until_too_many_wait() -> None:
    may_go = threading.Event()
    done: list[int] = []

    def commit(responses: ChunkResponses) -> None:
        assert may_go.wait(60)
        done.append(responses.plan.chunk)

    with Commits(commit, ahead=True) as commits:
        for chunk in range(MOST_WAITING):
            commits.commit(whole(chunk))
        assert done == []
        may_go.set()
        commits.commit(whole(MOST_WAITING))
        assert done[0] == 0
    assert done == list(range(MOST_WAITING + 1))


@pytest.mark.parametrize("ahead", [False, True])
def test_what_a_commit_raises_ends_the_phase(ahead: bool) -> None:
    def commit(_: ChunkResponses) -> None:
        raise TemporaryFailure("StoreUnavailable", "away")

    with pytest.raises(TemporaryFailure, match="away"), Commits(commit, ahead=ahead) as commits:
        commits.commit(whole(0))


def test_what_is_whole_is_committed_where_the_engine_fails() -> None:
    done: list[int] = []

    def phase() -> None:
        with Commits(lambda responses: done.append(responses.plan.chunk), ahead=True) as commits:
            commits.commit(whole(0))
            commits.commit(whole(1))
            raise RuntimeError("the engine")

    with pytest.raises(RuntimeError, match="the engine"):
        phase()
    assert done == [0, 1]
