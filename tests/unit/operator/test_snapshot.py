"""Reading a run: what is remembered from pass to pass is never an older spec's."""

from __future__ import annotations

from selm_operator.snapshot import read_run
from support.run_builder import make_run


def stored(iterations: int) -> dict[str, object]:
    obj = make_run().with_iterations(iterations).obj()
    obj["metadata"] |= {"namespace": "default", "uid": "u", "generation": 1}
    return obj


def test_a_changed_spec_is_read_anew_whatever_its_generation_says() -> None:
    first, second = read_run(stored(2)), read_run(stored(3))
    assert first.spec is not None
    assert second.spec is not None
    assert (first.spec.iterations, second.spec.iterations) == (2, 3)


def test_the_same_spec_is_read_once() -> None:
    assert read_run(stored(2)).spec is read_run(stored(2)).spec


def test_what_is_wrong_is_remembered_too_and_forgotten_with_its_cause() -> None:
    for _ in range(2):
        broken = read_run(stored(0))
        assert broken.spec is None
        assert "iterations" in broken.spec_errors[0]
    assert read_run(stored(1)).spec_errors == ()


def test_a_name_that_is_refused_is_not_taken_for_another_runs() -> None:
    fine, refused = stored(2), stored(2)
    refused["metadata"] = {**make_run().obj()["metadata"], "namespace": "default", "uid": "v", "name": "no.dots"}
    assert read_run(fine).spec is not None
    assert read_run(refused).spec is None
