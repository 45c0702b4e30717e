"""Whatever the rows and lengths: every pair of a step is run once, by one rank, within the token limit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from selm_runtime.train.batches import plan_step, schedule

ROWS = st.lists(st.integers(0, 10_000), unique=True, min_size=1, max_size=60)


@given(rows=ROWS, batch=st.integers(1, 8), epochs=st.integers(1, 3), seed=st.integers(0, 99), shuffled=st.randoms())
def test_each_epoch_uses_every_row_at_most_once_and_drops_less_than_a_batch(
    rows: list[int], batch: int, epochs: int, seed: int, shuffled: object
) -> None:
    made = schedule(rows, batch_size=batch, epochs=epochs, seed=seed, iteration=1)
    per_epoch = len(rows) // batch
    assert len(made.steps) == per_epoch * epochs
    for epoch in range(epochs):
        used = [row for step in made.steps[epoch * per_epoch : (epoch + 1) * per_epoch] for row in step]
        assert len(used) == len(set(used)) == per_epoch * batch
        assert set(used) <= set(rows)
    assert made.dropped == epochs * (len(rows) % batch)
    again = sorted(rows, key=lambda row: hash((row, str(shuffled))))
    assert schedule(again, batch_size=batch, epochs=epochs, seed=seed, iteration=1) == made


@given(data=st.data(), ranks=st.integers(1, 5), each=st.integers(1, 8), limit=st.integers(1, 200))
def test_a_plan_runs_each_row_once_and_keeps_the_limit_and_equal_counts(
    data: st.DataObject, ranks: int, each: int, limit: int
) -> None:
    rows = list(range(ranks * each))
    tokens = {row: data.draw(st.integers(1, 150)) for row in rows}
    plan = plan_step(rows, tokens, ranks=ranks, max_tokens=limit)
    assert len(plan) == ranks
    assert sorted(row for share in plan for micro in share for row in micro) == rows
    assert len({len(share) for share in plan}) == 1
    for share in plan:
        assert len([row for micro in share for row in micro]) == each
        for micro in share:
            assert micro
            assert len(micro) == 1 or sum(tokens[row] for row in micro) <= limit
