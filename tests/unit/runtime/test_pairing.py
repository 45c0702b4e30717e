"""Pairing rules: which candidates become a pair, which prompts have none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selm_runtime.contract import PairingConfig
from selm_runtime.score.pairing import Candidate, Choice, Draw, NoPair, choose, explored_first
from selm_runtime.score.pairs import seeded_draws


def candidates(**scores: float | None) -> list[Candidate]:
    """Candidates by name (c0 is Current:0, r0 Reference:0, good and bad the data's), with token ids of their own."""
    sources = {"good": "offline:chosen", "bad": "offline:rejected"}
    policies = {"c": "Current", "r": "Reference"}
    return [
        Candidate(
            sources[name] if name in sources else f"{policies[name[0]]}:{name[1:]}", (i, 2), f"text {i}", None, score
        )
        for i, (name, score) in enumerate(scores.items())
    ]


def first(_: int) -> int:
    return 0


def best_worst(given: list[Candidate], min_margin: float = 0.0) -> Choice:
    return choose(given, PairingConfig(min_margin=min_margin), first)


def by(rule: str, given: list[Candidate], draw: Draw = first, **settings: object) -> Choice:
    return choose(given, PairingConfig.model_validate({"rule": rule, **settings}), draw)


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


BY_RULE: dict[str, tuple[str, list[Candidate], tuple[str, str]]] = {
    "the best against the second": ("MaxMax", candidates(c0=0.2, c1=0.9, c2=0.4), ("Current:1", "Current:2")),
    "of several second the first": ("MaxMax", candidates(c0=0.4, c1=0.9, c2=0.4), ("Current:1", "Current:0")),
    "the best against a random other": ("MaxRandom", candidates(c0=0.2, c1=0.9, c2=0.4), ("Current:1", "Current:0")),
    "the best against the next lower score, where two are best": (
        "MaxMax",
        candidates(c0=1.0, c1=1.0, c2=0.0, c3=0.5),
        ("Current:0", "Current:3"),
    ),
    "the best against a random worse one, where two are best": (
        "MaxRandom",
        candidates(c0=1.0, c1=1.0, c2=0.0),
        ("Current:0", "Current:2"),
    ),
    "the likeliest winner against the likeliest loser": (
        "MaxMinProbability",
        candidates(c0=0.2, c1=0.9, good=0.4),
        ("Current:1", "Current:0"),
    ),
    "the policies' first samples, whatever the data's are worth": (
        "TwoPolicy",
        candidates(c0=0.5, r0=0.4, good=0.9, bad=0.0),
        ("Current:0", "Reference:0"),
    ),
    "the reference wins": ("TwoPolicy", candidates(c0=0.3, r0=0.4), ("Reference:0", "Current:0")),
    "of several samples the two furthest apart": (
        "TwoPolicy",
        candidates(c0=0.5, c1=0.9, r0=0.1, r1=0.6),
        ("Current:1", "Reference:0"),
    ),
    "not two of one policy, though they lie further apart": (
        "TwoPolicy",
        candidates(c0=0.0, c1=1.0, r0=0.6),
        ("Reference:0", "Current:0"),
    ),
}


@pytest.mark.parametrize("case", BY_RULE)
def test_the_other_rules(case: str) -> None:
    rule, given, expected = BY_RULE[case]
    assert sources(by(rule, given)) == expected


def test_the_random_other_is_any_other_by_the_runs_seed() -> None:
    given = candidates(c0=0.2, c1=0.9, c2=0.4, good=0.8)
    draws = seeded_draws(42, 1)
    rejected = [sources(by("MaxRandom", given, draws(row)))[1] for row in range(200)]
    assert rejected == [sources(by("MaxRandom", given, seeded_draws(42, 1)(row)))[1] for row in range(200)]
    assert {rejected.count(source) > 40 for source in set(rejected)} == {True}
    assert set(rejected) == {"Current:0", "Current:2", "offline:chosen"}
    for other in (seeded_draws(43, 1), seeded_draws(42, 2)):
        assert rejected != [sources(by("MaxRandom", given, other(row)))[1] for row in range(200)]


def test_the_random_worse_one_is_any_of_those_and_the_tie_is_counted() -> None:
    given = candidates(c0=1.0, c1=0.0, c2=1.0, c3=0.5)
    drawn = [by("MaxRandom", given, seeded_draws(42, 1)(row)) for row in range(100)]
    assert {sources(choice) for choice in drawn} == {("Current:0", "Current:1"), ("Current:0", "Current:3")}
    assert all(choice.tied_best for choice in drawn)


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=2, max_size=6), st.integers(0, 10**6))
def test_no_rule_but_that_of_two_policies_ties_where_a_worse_one_exists(scores: list[float], chance: int) -> None:
    given_ones = candidates(**{f"c{i}": score for i, score in enumerate(scores)})
    for rule in ("BestWorst", "MaxMax", "MaxRandom", "MaxMinProbability"):
        choice = by(rule, given_ones, lambda n: chance % n)
        assert (choice.no_pair is NoPair.TIED) == (len(set(scores)) == 1)
        if choice.chosen is not None:
            assert choice.chosen is given_ones[scores.index(max(scores))]


NONE_BY_RULE: dict[str, tuple[str, list[Candidate], dict[str, object], NoPair]] = {
    "all are best": ("MaxMax", candidates(c0=0.9, c1=0.9, c2=0.9), {}, NoPair.TIED),
    "all others are best, too": ("MaxRandom", candidates(c0=0.9, c1=0.9), {}, NoPair.TIED),
    "the next lower score is too near": (
        "MaxMax",
        candidates(c0=0.9, c1=0.9, c2=0.8, c3=0.1),
        {"minMargin": 0.2},
        NoPair.BELOW_MARGIN,
    ),
    "no response of the reference": ("TwoPolicy", candidates(c0=0.9, c1=0.4, good=0.1), {}, NoPair.SINGLE_CANDIDATE),
    "both policies say the same": (
        "TwoPolicy",
        [Candidate(f"{policy}:0", (5, 2), "a", "stop", 0.4) for policy in ("Current", "Reference")],
        {},
        NoPair.SINGLE_CANDIDATE,
    ),
    "the second is too near": ("MaxMax", candidates(c0=0.9, c1=0.8, c2=0.1), {"minMargin": 0.2}, NoPair.BELOW_MARGIN),
    "no verdict on all but one": ("BestWorst", candidates(c0=0.9, c1=None, c2=None), {}, NoPair.UNSCORED),
    "no verdict on the reference's": ("TwoPolicy", candidates(c0=0.9, c1=0.2, r0=None), {}, NoPair.UNSCORED),
}


@pytest.mark.parametrize("case", NONE_BY_RULE)
def test_prompts_without_a_pair_by_the_other_rules(case: str) -> None:
    rule, given, settings, reason = NONE_BY_RULE[case]
    assert by(rule, given, **settings).no_pair is reason


def test_what_has_no_score_takes_no_part() -> None:
    assert sources(best_worst(candidates(c0=None, c1=0.4, c2=0.1))) == ("Current:1", "Current:2")


def treated(empty: float, cut: float, plain: float) -> list[Candidate]:
    return [
        Candidate("Current:0", (1,), " \n", "stop", empty),
        Candidate("Current:1", (2, 2), "cut off in the mid", "length", cut),
        Candidate("Current:2", (3, 2), "fine", "stop", plain),
    ]


TREATMENTS: dict[str, tuple[list[Candidate], dict[str, object], tuple[str, str]]] = {
    "like others": (treated(0.9, 0.5, 0.1), {}, ("Current:0", "Current:2")),
    "an empty one is never chosen": (treated(0.9, 0.5, 0.1), {"empty": "RejectOnly"}, ("Current:1", "Current:2")),
    "an empty one is rejected": (treated(0.1, 0.5, 0.9), {"empty": "RejectOnly"}, ("Current:2", "Current:0")),
    "an empty one is left out": (treated(0.1, 0.5, 0.9), {"empty": "Exclude"}, ("Current:2", "Current:1")),
    "a cut one is never chosen": (treated(0.1, 0.9, 0.5), {"truncated": "RejectOnly"}, ("Current:2", "Current:0")),
    "a cut one is left out": (treated(0.9, 0.1, 0.5), {"truncated": "Exclude"}, ("Current:0", "Current:2")),
}


@pytest.mark.parametrize("case", TREATMENTS)
def test_empty_and_truncated_responses(case: str) -> None:
    given, settings, expected = TREATMENTS[case]
    assert sources(by("BestWorst", given, **settings)) == expected


@pytest.mark.parametrize("rule", ["BestWorst", "MaxMax", "MaxRandom", "MaxMinProbability"])
def test_an_empty_response_that_outscores_what_may_be_chosen_is_not_rejected_for_it(rule: str) -> None:
    given = treated(0.9, 0.8, 0.1)
    assert by(rule, given, empty="RejectOnly", truncated="RejectOnly").no_pair is NoPair.NONE_TO_CHOOSE
    assert by(rule, given, empty="Exclude", truncated="Exclude").no_pair is NoPair.SINGLE_CANDIDATE


def sized(*sizes_and_scores: tuple[int, float]) -> list[Candidate]:
    return [
        Candidate(f"Current:{i}", (i, *[7] * (size - 1)), "x", "stop", score)
        for i, (size, score) in enumerate(sizes_and_scores)
    ]


def test_length_control_chooses_the_shortest_of_the_good_and_rejects_the_longest_of_the_bad() -> None:
    given = sized((90, 1.0), (20, 0.95), (10, 0.8), (15, 0.02), (70, 0.09), (5, 0.0))
    assert sources(by("BestWorst", given)) == ("Current:0", "Current:5")
    assert sources(by("BestWorst", given, lengthControl=0.1)) == ("Current:1", "Current:4")
    assert sources(by("BestWorst", given, lengthControl=0.25)) == ("Current:2", "Current:4")
    assert sources(by("BestWorst", given, lengthControl=0.0)) == ("Current:0", "Current:5")


SCORES = st.one_of(st.none(), st.sampled_from([-1.0, 0.0, 0.5, 0.5000001, 1.0]), st.floats(-10, 10))


@st.composite
def any_candidates(draw: st.DrawFn) -> list[Candidate]:
    sources = [
        "Current:0",
        "Current:1",
        "Current:2",
        "Reference:0",
        "Reference:1",
        "offline:chosen",
        "offline:rejected",
    ]
    there = draw(
        st.lists(st.sampled_from(sources), unique=True, min_size=1).map(lambda s: sorted(s, key=sources.index))
    )
    made: dict[tuple[int, ...], Candidate] = {}
    for source in there:
        ids = tuple(draw(st.lists(st.integers(0, 2), min_size=1, max_size=3)))
        text, reason = draw(st.sampled_from(["", "a", "b c"])), draw(st.sampled_from(["stop", "length"]))
        fresh = Candidate(source, ids, text, reason, draw(SCORES))
        same = made.setdefault(ids, fresh)  # equal tokens are equal responses: one text, one score
        made[(*ids, len(made), 9)] = Candidate(source, ids, same.text, same.finish_reason, same.score)
    return [candidate for key, candidate in made.items() if key[-1] == 9]


PAIRINGS = st.builds(
    PairingConfig,
    rule=st.sampled_from(["BestWorst", "MaxMax", "MaxRandom", "MaxMinProbability", "TwoPolicy"]),
    min_margin=st.sampled_from([0.0, 0.25]),
    length_control=st.sampled_from([None, 0.0, 0.2, 0.49]),
    empty=st.sampled_from(["Candidate", "RejectOnly", "Exclude"]),
    truncated=st.sampled_from(["Candidate", "RejectOnly", "Exclude"]),
)


@given(any_candidates(), PAIRINGS, st.integers(0, 10**6))
def test_laws_of_every_rule(candidates: list[Candidate], pairing: PairingConfig, chance: int) -> None:
    choice = choose(candidates, pairing, lambda n: chance % n)
    assert (choice.no_pair is None) == (choice.chosen is not None) == (choice.rejected is not None)
    if choice.chosen is None or choice.rejected is None:
        return
    assert choice.chosen in candidates
    assert choice.rejected in candidates
    assert choice.chosen.ids != choice.rejected.ids
    assert choice.margin > 0
    assert choice.margin >= pairing.min_margin
    for candidate, forbidden in ((choice.chosen, {"RejectOnly", "Exclude"}), (choice.rejected, {"Exclude"})):
        assert not (candidate.empty and pairing.empty in forbidden)
        assert not (candidate.truncated and pairing.truncated in forbidden)
    if pairing.rule == "TwoPolicy":
        assert {choice.chosen.policy, choice.rejected.policy} == {"Current", "Reference"}


@given(any_candidates())
def test_the_best_and_the_worst_are_the_extremes(candidates: list[Candidate]) -> None:
    known = [candidate.known_score for candidate in candidates if candidate.score is not None]
    choice = choose(candidates, PairingConfig(), first)
    if choice.no_pair is None:
        assert (choice.chosen and choice.chosen.score, choice.rejected and choice.rejected.score) == (
            max(known),
            min(known),
        )
    else:
        assert len(set(known)) < 2 or len({candidate.ids for candidate in candidates}) < 2
