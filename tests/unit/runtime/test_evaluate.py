"""Evaluation of the base and two iterations: figures against plain computations, selection, retention."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.contract import Phase, ScoringConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.evaluate import engine, phase, run
from selm_runtime.evaluate.duels import duels_with_base, duels_with_previous
from selm_runtime.evaluate.history import Past
from selm_runtime.evaluate.measures import (
    HeldOutLogProbs,
    LengthBias,
    divergence,
    length_bias,
    mean_log_ratio,
    preference_accuracy,
    reward_figures,
)
from selm_runtime.evaluate.retention import models_to_remove
from selm_runtime.evaluate.texts import distinct_trigrams, form_figures, length_figures
from selm_runtime.score.interface import Comparisons, Scorable, WeightedScorer
from selm_runtime.score.scorers import Scores, score_held_out
from selm_runtime.tables import PAIRS
from support.fake_engine import FakeEngine
from support.phase_world import PhaseWorld
from support.tiny_model import make_tiny_model, preference_rows

HELD_OUT_ROWS = 6


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The base and the models of iterations 1 and 2."""
    return [make_tiny_model(tmp_path_factory.mktemp(f"model{seed}"), seed) for seed in range(3)]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SELM_CACHE_DIR", str(tmp_path / "cache"))
    # The model plays no part in what the stand-in answers: salting it by its digest makes policies differ.
    monkeypatch.setattr(engine, "start_engine", lambda _ctx, settings, _eos: _Salted(settings.model.name))


class _Salted(FakeEngine):
    def __init__(self, salt: str) -> None:
        super().__init__()
        self._salt = sum(map(ord, salt)) % 97

    def answer(self, request: object) -> list[int]:
        from selm_runtime.engine import Request

        assert isinstance(request, Request)
        return list(super().answer(Request(request.key, request.prompt_ids, request.seed + self._salt)))


def evaluate(world: PhaseWorld, iteration: int, **settings: object) -> Manifest:
    with world.context(Phase.EVALUATION, iteration, **settings) as ctx:
        run(ctx)
        manifest = ctx.folder.committed()
    return world.record(manifest)


def tables(world: PhaseWorld, iteration: int) -> dict[str, list[dict[str, object]]]:
    with world.context(Phase.EVALUATION, iteration) as ctx:
        manifest = ctx.folder.committed()
        assert manifest is not None
        names = ("responses.parquet", "rewards.parquet", "log-probs.parquet")
        return {name.split(".")[0]: ctx.folder.read_table(manifest, name).to_pylist() for name in names}


def log_prob(model: Path, prompt: list[int], response: list[int]) -> float:
    """By transformers, without packing, in float64."""
    import torch
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float64).eval()
    with torch.inference_mode():
        logits = network(torch.tensor([[*prompt, *response]])).logits[0, len(prompt) - 1 : -1]
    return float(torch.log_softmax(logits, -1).gather(1, torch.tensor(response)[:, None]).sum())


@pytest.fixture
def world(tmp_path: Path, models: list[Path]) -> PhaseWorld:
    (tmp_path / "w").mkdir()
    made = PhaseWorld(
        tmp_path / "w",
        scoring={
            "scorers": [
                {"name": "long", "rules": [{"type": "Length", "target": 9.0}]},
                {"name": "ended", "weight": 0.5, "rules": [{"type": "Format"}]},
            ]
        },
    )
    made.prepare(models[0], preference_rows(9), preference_rows(HELD_OUT_ROWS, seed=1))
    return made


def test_the_base_then_two_iterations(world: PhaseWorld, models: list[Path]) -> None:
    base = evaluate(world, 0)
    assert (base.metrics["winRateBase"], base.metrics["winRatePrevious"], base.metrics["kl"]) == (0.5, 0.5, 0.0)
    assert base.facts["bestIteration"] == 0
    assert "rewardGain" not in base.metrics
    for iteration in (1, 2):
        _commit_pairs(world, iteration)
        world.commit_model(models[iteration], iteration)
        manifest = evaluate(world, iteration)
        kept = tables(world, iteration)
        before = {0: tables(world, 0), iteration - 1: tables(world, iteration - 1)}
        _check_rewards(manifest, kept, before[0], before[iteration - 1])
        _check_log_probs(manifest, kept, before[0], models, iteration)
        assert len(manifest.metrics) <= 16
        assert (
            manifest.metrics["winRateBaseLow"] <= manifest.metrics["winRateBase"] <= manifest.metrics["winRateBaseHigh"]
        )
        _check_texts(manifest, kept)
    assert world.events("engine-call")[-1]["requests"] == HELD_OUT_ROWS


def _check_rewards(manifest: Manifest, kept: dict, base: dict, previous: dict) -> None:  # type: ignore[type-arg]
    ours = [row["combined"] for row in kept["rewards"]]
    for row, response in zip(kept["rewards"], kept["responses"], strict=True):
        scores = dict(row["scores"])
        words = len(response["text"].split())
        assert scores["long"] == pytest.approx(max(0.0, 1 - abs(words - 9) / 9) if words else 0.0)
        assert row["combined"] == pytest.approx(scores["long"] + 0.5 * scores["ended"])
    for name, other in (("winRateBase", base), ("winRatePrevious", previous)):
        theirs = [row["combined"] for row in other["rewards"]]
        points = sum((a > b) + 0.5 * (a == b) for a, b in zip(ours, theirs, strict=True))
        assert manifest.metrics[name] == pytest.approx(points / HELD_OUT_ROWS)
    assert manifest.metrics["meanReward"] == pytest.approx(sum(ours) / len(ours))
    gain = sum(ours) - sum(row["combined"] for row in base["rewards"])
    assert manifest.metrics["rewardGain"] == pytest.approx(gain / HELD_OUT_ROWS)


def _check_texts(manifest: Manifest, kept: dict) -> None:  # type: ignore[type-arg]
    tokens = [len(row["response_ids"]) for row in kept["responses"]]
    rewards = [row["combined"] for row in kept["rewards"]]
    assert manifest.metrics["meanLength"] == pytest.approx(sum(tokens) / HELD_OUT_ROWS)
    assert manifest.facts["lengths"]["longest"] == max(tokens)
    bias = manifest.facts["scorers"]["Combined"]["length_bias"]
    expected = statistics.correlation(tokens, rewards)
    assert manifest.metrics["rewardLengthCorrelation"] == bias["correlation"] == pytest.approx(expected)
    assert bias["slope"] == pytest.approx(statistics.linear_regression(tokens, rewards).slope)
    assert manifest.facts["scorers"]["long"]["base"]["n"] == HELD_OUT_ROWS
    assert 0 <= manifest.facts["form"]["distinctTrigrams"] <= 1


def _check_log_probs(manifest: Manifest, kept: dict, base: dict, models: list[Path], iteration: int) -> None:  # type: ignore[type-arg]
    ratios = []
    right = []
    for i, held in enumerate(kept["log-probs"]):
        response = kept["responses"][i]
        ours = log_prob(models[iteration], response["prompt_ids"], response["response_ids"])
        theirs = log_prob(models[0], response["prompt_ids"], response["response_ids"])
        assert held["response"] == pytest.approx(ours, abs=1e-3)
        assert held["response_base"] == pytest.approx(theirs, abs=1e-3)
        ratios.append(held["response"] - held["response_base"])
        start = base["log-probs"][i]
        right.append(held["chosen"] - start["chosen"] > held["rejected"] - start["rejected"])
    assert manifest.metrics["kl"] == pytest.approx(sum(ratios) / HELD_OUT_ROWS)
    assert manifest.metrics["preferenceAccuracy"] == pytest.approx(sum(right) / HELD_OUT_ROWS)
    explored = [
        log_prob(models[iteration], [1, 3, row], [30 + row, 2])
        - log_prob(models[iteration - 1], [1, 3, row], [30 + row, 2])
        for row in range(8)
    ]
    assert manifest.metrics["exploredLogRatio"] == pytest.approx(sum(explored) / 8, abs=1e-3)


def _commit_pairs(
    world: PhaseWorld, iteration: int, answers: Mapping[str, list[int]] | None = None, **settings: Any
) -> None:
    """A Scoring of the iteration, eight pairs in two chunks; `answers` are each row's candidates by their source."""
    with world.context(Phase.GENERATION, iteration, **settings) as ctx:
        for chunk in range(ctx.folder.total_chunks()):
            ctx.folder.commit_chunk(chunk, {}, rows=0)
        world.record(ctx.folder.compose(ctx.folder.total_chunks()))
    with world.context(Phase.SCORING, iteration, **settings) as ctx:
        for chunk, rows in ((0, range(5)), (1, range(5, 8))):
            records = [
                {
                    "row": row,
                    "prompt_ids": [1, 3, row],
                    **{
                        f"{role}_ids": answers["Current:0"] if answers else [30 + row, 2]
                        for role in ("chosen", "explored")
                    },
                    "rejected_ids": [9, 2],
                    **{f"{role}_source": "Current:0" for role in ("chosen", "rejected", "explored")},
                    "chosen_score": 1.0,
                    "rejected_score": 0.0,
                    "candidates": [
                        {"source": source, "ids": ids, "text": "", "finish_reason": "stop", "score": 0.0}
                        for source, ids in (answers or {}).items()
                    ],
                }
                for row in rows
            ]
            path = ctx.scratch / "pairs.parquet"
            pq.write_table(pa.Table.from_pylist(records, schema=PAIRS), path)
            ctx.folder.commit_chunk(chunk, {"pairs.parquet": path}, rows=len(records))
        world.record(ctx.folder.compose(2))


def test_an_offline_iteration_has_no_explored_log_ratio(world: PhaseWorld, models: list[Path]) -> None:
    evaluate(world, 0)
    world.commit_model(models[1], 1)
    assert "exploredLogRatio" not in evaluate(world, 1).metrics


def test_the_selected_scorer_decides_the_figures(world: PhaseWorld) -> None:
    base = evaluate(world, 0, evaluation={"selectBy": {"metric": "MeanReward", "scorer": "ended"}})
    assert base.metrics["meanReward"] == base.metrics["finishedRate"]
    assert base.facts["selectedScorer"] == "ended"


def test_held_out_rows_without_offline_pairs_have_no_accuracy(tmp_path: Path, models: list[Path]) -> None:
    (tmp_path / "plain").mkdir()
    world = PhaseWorld(tmp_path / "plain")
    rows = [{"prompt": row["prompt"], "topic": row["topic"]} for row in preference_rows(4)]
    world.prepare(models[0], rows, rows)
    base = evaluate(world, 0)
    assert "preferenceAccuracy" not in base.metrics
    assert base.facts["preferenceRows"] == 0
    world.commit_model(models[1], 1)
    with pytest.raises(InvalidInput, match=r"spec\.evaluation\.selectBy\.metric"):
        evaluate(world, 1, evaluation={"selectBy": {"metric": "PreferenceAccuracy"}})


@pytest.mark.parametrize(
    ("retention", "kept"), [("KeepAll", [1, 2, 3]), ("KeepBest", "best and newest"), ("KeepLast", [3])]
)
def test_retention_removes_models_and_nothing_else(
    world: PhaseWorld, models: list[Path], retention: str, kept: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = [held(row, -1.0, -2.0) for row in range(HELD_OUT_ROWS)]
    monkeypatch.setattr(phase, "measure_log_probs", lambda *_: (measured, None))
    evaluate(world, 0)
    for iteration in (1, 2, 3):
        world.commit_model(models[iteration % 3], iteration)
        manifest = evaluate(world, iteration, retention=retention)
    best = manifest.facts["bestIteration"]
    expected = sorted({best, 3} - {0}) if kept == "best and newest" else kept
    there = sorted(
        int(path.parts[-5].removeprefix("iter-"))
        for path in world.root.glob("store/default/tiny-u1/iter-*/training/pod-*/model/config.json")
    )
    assert there == expected
    assert list(world.root.glob("store/default/tiny-u1/iter-0/preparation/pod-*/model/config.json"))
    assert len(list(world.root.glob("store/default/tiny-u1/iter-*/training/manifest.json"))) == 3


REMOVED = {
    "KeepAll removes nothing": ("KeepAll", 4, 2, []),
    "KeepBest keeps the best and the newest": ("KeepBest", 4, 2, [1, 3]),
    "KeepBest without a best keeps the newest and the base": ("KeepBest", 3, 0, [1, 2]),
    "KeepLast keeps the newest": ("KeepLast", 3, 1, [1, 2]),
    "the first iteration removes nothing": ("KeepLast", 1, 0, []),
    "nor does the base": ("KeepBest", 0, 0, []),
}


@pytest.mark.parametrize("case", REMOVED)
def test_which_models_go(case: str) -> None:
    retention, iteration, best, expected = REMOVED[case]
    assert models_to_remove(retention, iteration, best) == expected  # type: ignore[arg-type]


def held(
    row: int, chosen: float | None, rejected: float | None, response: float = -1.0, base: float = -3.0
) -> HeldOutLogProbs:
    return HeldOutLogProbs(row, response, base, 4, chosen, rejected)


def test_preference_accuracy_of_the_base_and_of_an_iteration() -> None:
    base = [held(0, -5.0, -9.0), held(1, -9.0, -5.0), held(2, -5.0, -5.0), held(3, None, None)]
    assert preference_accuracy(base, None) == pytest.approx(1.5 / 3)
    policy = [held(0, -6.0, -8.0), held(1, -8.0, -5.0), held(2, -5.0, -5.0), held(3, None, None)]
    assert preference_accuracy(policy, {h.row: h for h in base}) == pytest.approx(1.5 / 3)
    assert preference_accuracy([held(3, None, None)], None) is None


def test_divergence_by_response_and_by_token() -> None:
    assert divergence([held(0, None, None), held(1, None, None, response=-2.0)]) == (1.5, 3.0 / 8)


def test_mean_log_ratio_takes_the_same_rows() -> None:
    assert mean_log_ratio({1: [-1.0], 2: [-2.0]}, {1: [-2.0], 2: [-2.5], 9: [0.0]}) == pytest.approx(0.75)
    assert mean_log_ratio({1: [-1.0], 2: [-2.0, -4.0]}, {1: [-2.0], 2: [-2.5, -2.5]}) == pytest.approx(0.25)
    assert mean_log_ratio({}, {}) is None
    with pytest.raises(KeyError):
        mean_log_ratio({1: [-1.0]}, {})


def test_the_base_against_itself() -> None:
    figures = reward_figures([0.1, 0.4], None, None, None)
    assert (figures.gain, figures.win_rate_base, figures.win_rate_previous) == (0.0, 0.5, 0.5)
    assert math.isclose(figures.mean_reward, 0.25)


def test_length_bias_and_the_gain_that_length_does_not_explain() -> None:
    bias = length_bias([1.0, 2.0, 3.0, None], [10, 20, 30, 99], None)
    assert (bias.correlation, bias.gain_at_equal_length) == (1.0, None)
    assert bias.slope == pytest.approx(0.1)
    # Every gain is 0.5 and 0.1 more for each token more than the base's response has.
    base, tokens, ours = [0.0, 1.0, 2.0], [10, 10, 10], [12, 14, 10]
    gains = [0.5 + 0.1 * (length - 10) for length in ours]
    found = length_bias([b + g for b, g in zip(base, gains, strict=True)], ours, (base, tokens))
    assert found.gain_at_equal_length == pytest.approx(0.5)
    assert length_bias([1.0, 1.0, 1.0], [1, 2, 3], None) == LengthBias(None, None, None)


def test_lengths_and_form_of_known_texts() -> None:
    texts = ["a b c a b c a b c", "", "# Title\n- one\n- two", "```python\nx\n```", "# Title\n- one\n- two"]
    form = form_figures(texts, ["stop", "stop", "length", "stop", "length"])
    assert (form["finishedRate"], form["truncatedRate"], form["emptyRate"]) == (0.6, 0.4, 0.2)
    assert form["duplicateRate"] == 0.4
    assert (form["listRate"], form["headingRate"], form["codeRate"], form["boldRate"]) == (0.4, 0.4, 0.2, 0.0)
    assert distinct_trigrams(texts[0]) == pytest.approx(3 / 7)
    lengths = length_figures([1, 2, 3, 4, 10], texts)
    assert (lengths["mean"], lengths["median"], lengths["longest"]) == (4.0, 3.0, 10.0)


class _Likes:
    """A ranker that knows which of two texts is better by their last letter alone."""

    name = "likes"

    def compare(self, prompts: Sequence[Sequence[Scorable]]) -> list[Comparisons]:
        def margins(prompt: Sequence[Scorable]) -> dict[tuple[int, int], float | None]:
            pairs = [(i, j) for i in range(len(prompt)) for j in range(i + 1, len(prompt))]
            return {(i, j): float(ord(prompt[i].text[-1]) - ord(prompt[j].text[-1])) for i, j in pairs}

        return [Comparisons.of(len(prompt), margins(prompt), lambda m: 1.0 if m > 0 else 0.0) for prompt in prompts]

    def counts(self) -> dict[str, float]:
        return {}

    def close(self) -> None:
        return None


def _said(*texts: str) -> list[Scorable]:
    return [Scorable(row, [], text, "stop", {}, 3) for row, text in enumerate(texts)]


def test_a_ranker_is_asked_about_the_two_iterations_responses() -> None:
    ranker, scoring = [WeightedScorer(_Likes(), 1.0)], ScoringConfig(scorers=())
    ours, previous = _said("b", "c", "d"), _said("a", "d", "d")
    # What both kept are margins over unlike base responses: by them alone the first would have lost.
    past = Past(previous_rewards={"likes": [5.0, 1.0, 1.0], "Combined": [5.0, 1.0, 1.0]})
    scores = Scores({"likes": [1.0, 2.0, 3.0]}, [1.0, 2.0, 3.0])
    duels = duels_with_previous(ranker, scores, ours, previous, past, scoring, {})
    assert reward_figures([1.0, 2.0, 3.0], None, None, duels["likes"]).win_rate_previous == pytest.approx(0.5)
    assert [a > b for a, b in zip(*duels["likes"], strict=True)] == [True, False, False]  # type: ignore[operator]
    assert duels_with_previous(ranker, scores, ours, None, Past(), scoring, {}) == {}


def test_against_the_base_a_length_penalty_weighs_as_it_does_in_a_pair() -> None:
    """One point better and four tokens longer at 0.6 a token: the pair says it wins, two kept margins said it lost."""
    ranker, scoring = [WeightedScorer(_Likes(), 1.0)], ScoringConfig(scorers=(), length_penalty=0.6)
    ours = [Scorable(0, [], "long b", "stop", {}, 5)]
    base = [Scorable(0, [], "a", "stop", {}, 2)]
    kept, _ = score_held_out(ranker, base, None, scoring)
    past = Past(base_rewards={"likes": kept.of("likes"), "Combined": kept.combined}, previous_rewards={})
    scores, bases = score_held_out(ranker, ours, base, scoring)
    assert (scores.combined, kept.combined) == ([pytest.approx(1.0 - 3.0)], [pytest.approx(-1.2)])
    duels = duels_with_base(scores, bases, past)
    assert duels["Combined"] == ([pytest.approx(-2.0)], [pytest.approx(-2.2)])
    figures = reward_figures(scores.combined, past.base_scores("Combined"), duels["Combined"], None)
    assert figures.win_rate_base == 1.0
    # In the first iteration the one before is the base.
    assert duels_with_previous(ranker, scores, ours, None, past, scoring, duels) is duels


def test_a_scalar_scores_base_is_what_its_own_evaluation_kept() -> None:
    past = Past(base_rewards={"long": [0.5], "Combined": [0.5]}, previous_rewards={})
    scores = Scores({"long": [0.25]}, [0.25])
    assert duels_with_base(scores, None, past) == {name: ([0.25], [0.5]) for name in ("Combined", "long")}
    assert duels_with_base(scores, None, Past()) == {}


@pytest.mark.parametrize(
    ("objective", "policies", "taken"),
    [
        pytest.param({"type": "SELM"}, ["Current"], ["Current:0"], id="the first"),
        pytest.param(
            {"type": "SELM", "explored": "Mean"},
            ["Current"],
            [f"Current:{k}" for k in range(4)],
            id="all, over passages",
        ),
        pytest.param({"type": "XPO"}, ["Current", "Reference"], ["Reference:0"], id="the reference's"),
        pytest.param({"type": "SELM", "alpha": 0.0}, ["Current"], ["Current:0"], id="what would be, at alpha 0"),
    ],
)
def test_the_explored_log_ratio_is_of_the_responses_that_training_explores(
    objective: dict[str, object], policies: list[str], taken: list[str], world: PhaseWorld, models: list[Path]
) -> None:
    settings = {
        "training": {"objective": {"alpha": 0.1, "beta": 0.1, **objective}},
        "generation": {"samplesPerPrompt": 4, "policies": policies},
    }
    evaluate(world, 0, **settings)
    answers = {f"{policy}:{k}": [30 + 4 * p + k, 2] for p, policy in enumerate(policies) for k in range(4)}
    _commit_pairs(world, 1, answers, **settings)
    world.commit_model(models[1], 1)
    expected = [
        log_prob(models[1], [1, 3, row], answers[source]) - log_prob(models[0], [1, 3, row], answers[source])
        for row in range(8)
        for source in taken
    ]
    assert evaluate(world, 1, **settings).metrics["exploredLogRatio"] == pytest.approx(
        sum(expected) / len(expected), abs=1e-4
    )
