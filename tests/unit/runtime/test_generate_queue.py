"""The pod's queue: every chunk is made, whoever dies, and what kills two engines is given up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from selm_runtime.generate.queue import ChunkQueue

MODELS = ("a", "b")


@given(
    st.integers(0, 6),
    st.integers(0, 6),
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["take", "done", "die"])), max_size=120),
)
def test_every_chunk_is_done_once_or_doomed(a: int, b: int, engines: int, course: list[tuple[int, str]]) -> None:
    chunks = {"a": list(range(a)), "b": list(range(100, 100 + b))}
    queue = ChunkQueue(chunks)
    models = {worker: MODELS[worker % 2] for worker in range(engines)}
    held: dict[int, list[int]] = {worker: [] for worker in models}
    done: list[int] = []
    deaths = 0

    def act(worker: int, what: str) -> None:
        nonlocal deaths
        if what == "take":
            chunk = queue.take(worker, models[worker])
            if chunk is not None:
                assert chunk in chunks[models[worker]]
                held[worker].append(chunk)
        elif what == "done" and held[worker]:
            chunk = held[worker].pop(0)
            queue.done(worker, chunk)
            done.append(chunk)
        elif what == "die":
            assert set(queue.lost(worker)) == set(held[worker])
            deaths += len(held[worker])
            held[worker].clear()

    for worker, what in course:
        if worker < engines:
            act(worker, what)
    assert len(queue.doomed()) <= deaths // 2
    for worker in models:
        act(worker, "die")
    while (model := queue.model_for([])) is not None:
        models[0] = model
        act(0, "take")
        act(0, "done")
    assert sorted(done) == sorted([*chunks["a"], *chunks["b"]])
    assert queue.waiting == 0
    assert queue.finished


def test_a_lost_chunk_waits_first_and_is_doomed_by_its_second_death() -> None:
    queue = ChunkQueue({"a": [0, 1, 2, 3]})
    assert [queue.take(0, "a"), queue.take(0, "a")] == [0, 1]
    queue.done(0, 0)
    assert queue.lost(0) == (1,)
    assert queue.doomed() == ()
    assert queue.take(1, "a") == 1
    assert queue.lost(1) == (1,)
    assert queue.doomed() == (1,)
    assert not queue.finished


def test_engines_are_spread_over_models_and_go_where_work_is_left() -> None:
    queue = ChunkQueue({"a": range(8), "b": range(8)})
    serving: list[str] = []
    for _ in range(4):
        model = queue.model_for(serving)
        assert model is not None
        serving.append(model)
    assert sorted(serving) == ["a", "a", "b", "b"]
    while queue.take(0, "a") is not None:
        pass
    assert queue.model_for(["b", "b", "b"]) == "b"
    while queue.take(0, "b") is not None:
        pass
    assert queue.model_for([]) is None
