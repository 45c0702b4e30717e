"""Seeds of requests: pure, distinct, and stable over releases."""

from __future__ import annotations

from selm_runtime.generate.seeds import HELD_OUT, request_seed


def test_equal_requests_have_equal_seeds_and_different_ones_differ() -> None:
    seeds = {
        request_seed(seed, iteration, row, policy, sample, purpose)
        for seed in (0, 1)
        for iteration in (0, 1)
        for row in range(50)
        for policy in ("Current", "Reference")
        for sample in range(3)
        for purpose in ("rows", HELD_OUT)
    }
    assert len(seeds) == 2 * 2 * 50 * 2 * 3 * 2
    assert request_seed(42, 1, 7, "Current", 0) == request_seed(42, 1, 7, "Current", 0)


def test_a_seed_is_one_of_63_bits() -> None:
    seeds = [request_seed(0, 0, row, "Current", 0) for row in range(1000)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62


def test_seeds_never_change_between_releases() -> None:
    assert request_seed(42, 1, 7, "Current", 0) == 1444247105971633508
