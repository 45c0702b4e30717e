"""BestWorst: which candidates become a pair, which prompts have none."""

from __future__ import annotations

import pytest

from selm_runtime.score.pairing import Candidate, Choice, NoPair, best_worst, explored_first


def candidates(**scores: float) -> list[Candidate]:
    """Candidates by name (c0 is Current:0, good and bad the data's), with token ids of their own."""
    sources = {"good": "offline:chosen", "bad": "offline:rejected"}
    return [
        Candidate(sources.get(name, f"Current:{name[1:]}"), (i, 2), f"text {i}", None, score)
        for i, (name, score) in enumerate(scores.items())
    ]


def sources(choice: Choice) -> tuple[str, str]:
    assert choice.chosen is not None
    assert choice.rejected is not None
    return choice.chosen.source, choice.rejected.source


PAIRS = {
    "the paper's three: the policy's response in the middle": (
        candidates(c0=0.5, good=0.9, bad=0.1),
        ("offline:chosen", "offline:rejected"),
    ),
    "the policy's response wins": (candidates(c0=0.95, good=0.9, bad=0.1), ("Current:0", "offline:rejected")),
    "the policy's response loses": (candidates(c0=0.0, good=0.9, bad=0.1), ("offline:chosen", "Current:0")),
    "the data's order counts for nothing": (
        candidates(c0=0.5, good=0.1, bad=0.9),
        ("offline:rejected", "offline:chosen"),
    ),
    "samples alone": (candidates(c0=0.2, c1=0.9, c2=0.4), ("Current:1", "Current:0")),
    "of several best the first is chosen": (candidates(c0=0.9, c1=0.9, c2=0.4), ("Current:0", "Current:2")),
    "of several worst the last is rejected": (candidates(c0=0.2, c1=0.9, c2=0.2), ("Current:1", "Current:2")),
    "negative scores": (candidates(c0=-3.0, c1=-1.0), ("Current:1", "Current:0")),
}


@pytest.mark.parametrize("case", PAIRS)
def test_best_is_chosen_worst_rejected(case: str) -> None:
    given, expected = PAIRS[case]
    assert sources(best_worst(given)) == expected


def test_ties_that_the_order_decided_are_told() -> None:
    assert best_worst(candidates(c0=0.9, c1=0.9, c2=0.4)).tied_best
    assert best_worst(candidates(c0=0.2, c1=0.9, c2=0.2)).tied_worst
    plain = best_worst(candidates(c0=0.2, c1=0.9))
    assert not plain.tied_best
    assert not plain.tied_worst


NO_PAIRS = {
    "all scores equal": (candidates(c0=0.5, c1=0.5), 0.0, NoPair.TIED),
    "one candidate": (candidates(c0=0.5), 0.0, NoPair.SINGLE_CANDIDATE),
    "too small a difference": (candidates(c0=0.5, c1=0.6), 0.2, NoPair.BELOW_MARGIN),
}


@pytest.mark.parametrize("case", NO_PAIRS)
def test_prompts_without_a_pair(case: str) -> None:
    given, min_margin, reason = NO_PAIRS[case]
    choice = best_worst(given, min_margin)
    assert choice.no_pair is reason
    assert choice.chosen is None
    with pytest.raises(ValueError, match="no margin"):
        _ = choice.margin


def test_a_difference_of_exactly_the_margin_makes_a_pair() -> None:
    assert best_worst(candidates(c0=0.5, c1=0.75), 0.25).margin == 0.25


def test_identical_candidates_count_once_and_the_first_stays() -> None:
    same = [
        Candidate("Current:0", (5, 2), "a", "stop", 0.9),
        Candidate("Current:1", (5, 2), "a", "stop", 0.9),
        Candidate("offline:chosen", (5, 2), "a", None, 0.9),
        Candidate("offline:rejected", (6, 2), "b", None, 0.1),
    ]
    choice = best_worst(same)
    assert sources(choice) == ("Current:0", "offline:rejected")
    assert choice.identical == 2
    assert not choice.tied_best
    assert best_worst(same[:3]) == Choice(no_pair=NoPair.SINGLE_CANDIDATE, identical=2)


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="Current:1 has the score nan"):
        best_worst(candidates(c0=0.5, c1=float("nan")))


def test_the_explored_response_is_the_first_sample() -> None:
    given = candidates(c0=0.5, c1=0.6, good=0.9)
    assert explored_first(given[::-1]) is given[0]
    with pytest.raises(ValueError, match="no candidate Current:0"):
        explored_first(given[1:])
