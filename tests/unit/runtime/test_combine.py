"""How several scorers' verdicts become one score a candidate, and what the kinds of scorers say."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selm_runtime.contract import ScoringConfig
from selm_runtime.score.combine import Verdict, combine, mean_win_probabilities, ranks, sigmoid
from selm_runtime.score.interface import Comparisons, Scorable, WeightedScorer
from selm_runtime.score.scorers import COMBINED, counts_of, score_held_out, score_prompts


def ranker_verdict(weight: float, margins: dict[tuple[int, int], float | None], n: int = 3) -> Verdict:
    found = Comparisons.of(n, margins, sigmoid)
    return Verdict(weight, found.scores(), found)


def test_a_rankers_scores_are_mean_margins_over_the_opponents() -> None:
    found = Comparisons.of(3, {(0, 1): 2.0, (0, 2): -1.0, (1, 2): 0.5}, sigmoid)
    assert found.margins == [[0.0, 2.0, -1.0], [-2.0, 0.0, 0.5], [1.0, -0.5, 0.0]]
    assert found.scores() == [0.5, -0.75, 0.25]
    assert found.wins[0][1] == pytest.approx(1 / (1 + math.exp(-2)))
    for i in range(3):
        for j in range(3):
            first, second = found.wins[i][j], found.wins[j][i]
            assert first is not None
            assert second is not None
            assert first + second == pytest.approx(1.0)


def test_verdicts_that_are_missing_are_not_guessed() -> None:
    found = Comparisons.of(3, {(0, 1): 2.0, (0, 2): None, (1, 2): None}, sigmoid)
    assert found.scores() == [2.0, -2.0, None]
    assert Comparisons.of(1, {}, sigmoid).scores() == [0.0]


def test_scalar_scorers_are_added_by_weight() -> None:
    verdicts = [Verdict(2.0, [1.0, 0.0, None]), Verdict(-0.5, [4.0, 2.0, 0.0])]
    assert combine(verdicts, [1, 1, 1]) == [0.0, -1.0, None]


def test_a_lone_ranker_keeps_its_unit() -> None:
    assert combine([ranker_verdict(2.0, {(0, 1): 2.0, (0, 2): -1.0, (1, 2): 0.5})], [1, 1, 1]) == [1.0, -1.5, 0.5]


def test_beside_a_ranker_all_become_ranks_within_the_prompt() -> None:
    ranker = ranker_verdict(1.0, {(0, 1): 2.0, (0, 2): -1.0, (1, 2): 0.5})
    scalar = Verdict(0.5, [1000.0, 7.0, 7.0])
    assert combine([ranker, scalar], [1, 1, 1]) == [1.5, 0.125, 0.625]
    # Unlike plain sums, a scorer's scale changes nothing.
    assert combine([ranker, Verdict(0.5, [10.0, -2.0, -2.0])], [1, 1, 1]) == [1.5, 0.125, 0.625]


def test_ranks_go_from_0_to_1_and_ties_share() -> None:
    assert ranks([3.0, 1.0, 2.0]) == [1.0, 0.0, 0.5]
    assert ranks([1.0, 1.0, 2.0, None]) == [0.25, 0.25, 1.0, None]
    assert ranks([5.0]) == [0.5]
    assert ranks([None]) == [None]


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), max_size=8))
def test_laws_of_ranks(scores: Sequence[float | None]) -> None:
    found = ranks(scores)
    known = [(score, rank) for score, rank in zip(scores, found, strict=True) if score is not None and rank is not None]
    assert [score is None for score in scores] == [rank is None for rank in found]
    assert all(0.0 <= rank <= 1.0 for _, rank in known)
    assert all((a < b) == (r < s) for a, r in known for b, s in known)
    if known:
        assert sum(rank for _, rank in known) / len(known) == pytest.approx(0.5)


def test_the_length_penalty_is_taken_off_at_last() -> None:
    assert combine([Verdict(1.0, [1.0, 1.0])], [10, 30], length_penalty=0.01) == pytest.approx([0.9, 0.7])


def test_mean_probabilities_of_winning() -> None:
    scalar = Verdict(1.0, [1.0, 0.0])
    assert mean_win_probabilities([scalar], 2) == pytest.approx([sigmoid(1.0), sigmoid(-1.0)])
    ranker = ranker_verdict(3.0, {(0, 1): -2.0}, n=2)
    mixed = mean_win_probabilities([scalar, ranker], 2)
    assert mixed == pytest.approx(
        [0.25 * sigmoid(1.0) + 0.75 * sigmoid(-2.0), 0.25 * sigmoid(-1.0) + 0.75 * sigmoid(2.0)]
    )
    against = mean_win_probabilities([Verdict(-1.0, [1.0, 0.0])], 2)
    assert against == pytest.approx([sigmoid(-1.0), sigmoid(1.0)])
    assert mean_win_probabilities([Verdict(1.0, [1.0, None, 0.0])], 3) == pytest.approx(
        [sigmoid(1.0), None, sigmoid(-1.0)]
    )
    assert combine([scalar], [1, 1], rule="MaxMinProbability") == pytest.approx([sigmoid(1.0), sigmoid(-1.0)])


def test_the_mean_probability_orders_otherwise_than_the_mean_margin() -> None:
    # One crushing win and two losses: a great mean margin, a poor chance of winning.
    pairs = {(0, 1): 9.0, (0, 2): -2.0, (0, 3): -2.0, (1, 2): 0.0, (1, 3): 0.0, (2, 3): 0.0}
    verdict = ranker_verdict(1.0, dict(pairs), 4)
    margins, probabilities = combine([verdict], [1] * 4), combine([verdict], [1] * 4, rule="MaxMinProbability")
    assert margins[0] == max(score for score in margins if score is not None)
    assert probabilities[0] != max(score for score in probabilities if score is not None)


class Longer:
    """A ranker that prefers the longer text; says nothing of texts with a question mark."""

    name = "longer"

    def __init__(self) -> None:
        self.asked = 0

    def compare(self, prompts: Sequence[Sequence[Scorable]]) -> list[Comparisons]:
        found = []
        for prompt in prompts:
            margins: dict[tuple[int, int], float | None] = {}
            for i in range(len(prompt)):
                for j in range(i + 1, len(prompt)):
                    self.asked += 1
                    texts = prompt[i].text, prompt[j].text
                    margins[i, j] = None if "?" in "".join(texts) else float(len(texts[0]) - len(texts[1]))
            found.append(Comparisons.of(len(prompt), margins, sigmoid))
        return found

    def counts(self) -> dict[str, float]:
        asked, self.asked = self.asked, 0
        return {"asked": asked}

    def close(self) -> None:
        """Nothing is held."""


class Words:
    """A scalar scorer: the number of words."""

    name = "words"

    def score(self, responses: Sequence[Scorable]) -> list[float | None]:
        return [float(len(response.text.split())) for response in responses]

    def counts(self) -> dict[str, float]:
        return {}

    def close(self) -> None:
        """Nothing is held."""


def scorables(*texts: str) -> list[Scorable]:
    return [Scorable(0, [{"role": "user", "content": "?"}], text, "stop", tokens=len(text)) for text in texts]


SCORING = ScoringConfig(scorers=())


def test_equal_candidates_are_scored_once_and_get_one_score() -> None:
    ranker = Longer()
    scores = score_prompts([WeightedScorer(ranker, 1.0)], [scorables("aaa", "b", "aaa"), scorables("c")], SCORING)
    assert scores.combined == [[2.0, -2.0, 2.0], [0.0]]
    assert counts_of([WeightedScorer(ranker, 1.0)]) == {"scorer.longer.asked": 1}


def test_held_out_responses_are_ranked_against_the_bases() -> None:
    scorers = [WeightedScorer(Longer(), 1.0)]
    ours, base = scorables("aaaa", "b", "cc?"), scorables("aa", "bbb", "c")
    of_the_base, none = score_held_out(scorers, base, None, SCORING)
    assert none is None
    assert of_the_base.combined == [0.0, 0.0, 0.0]
    scores, bases = score_held_out(scorers, ours, base, SCORING)
    assert bases is not None
    assert scores.of("longer") == [2.0, -2.0, None]
    assert bases.of("longer") == [-2.0, 2.0, None]


def test_held_out_responses_of_mixed_scorers_win_by_the_weight_of_those_that_prefer_them() -> None:
    scorers = [WeightedScorer(Longer(), 1.0), WeightedScorer(Words(), 2.0)]
    ours, base = scorables("a a a", "bbbbb"), scorables("aaaaaaaa", "b b")
    assert score_held_out(scorers, base, None, SCORING)[0].of(COMBINED) == [1.5, 1.5]
    assert score_held_out(scorers, ours, base, SCORING)[0].of(COMBINED) == [2.0, 1.0]
