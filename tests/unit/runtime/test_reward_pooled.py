"""A reward model on vLLM's pooling runner, with a real engine and a tiny model: one engine serves the whole module."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from selm_runtime.contract import ScorerModelConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.score import reward_model
from selm_runtime.score.interface import Scorable
from selm_runtime.score.reward_model import (
    RewardModelScorer,
    check_reward_model,
    parity_sample,
    worst_difference,
)
from selm_runtime.score.reward_pooled import PooledClassifier, supported
from support.engine_starts import engine_starts
from support.tiny_model import MAX_POSITIONS, make_tiny_reward_model

FIELD = "spec.scoring.scorers[0].rewardModel"
PLAIN = ScorerModelConfig(uri="file:///rm")
POOLED = PLAIN.model_copy(update={"engine": "VLLM"})
LONG = "word " * MAX_POSITIONS


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_reward_model(tmp_path_factory.mktemp("reward"))


def said(text: str) -> Scorable:
    return Scorable(0, [{"role": "user", "content": "Is it?"}], text, "stop")


RESPONSES = [said(text) for text in ("yes", "", LONG, *("word " * n for n in range(1, 40)), "no")]


@pytest.fixture(scope="module")
def scorer(model: Path) -> Iterator[RewardModelScorer]:
    """Its engine has started, with the first responses."""
    with engine_starts():
        made = RewardModelScorer("rm", model, FIELD, POOLED)
        made.score(RESPONSES[:2])
    assert isinstance(made._runs, PooledClassifier)
    made.counts()
    yield made
    made.close()


def test_the_scores_are_the_logits_that_transformers_gives(scorer: RewardModelScorer, model: Path) -> None:
    """Of the same token ids, cut by the same rule: raw numbers, on both sides of 0 and beyond 1."""
    plain = RewardModelScorer("rm", model, FIELD, PLAIN)
    expected = plain.score(RESPONSES)
    assert scorer.score(RESPONSES) == pytest.approx(expected, abs=1e-4)
    assert scorer.counts() == plain.counts() == {"cut": 1}
    known = [score for score in expected if score is not None]
    assert min(known) < 0 < 1 < max(known)


def test_neither_order_nor_company_nor_what_was_scored_before_changes_a_score(scorer: RewardModelScorer) -> None:
    together = scorer.score(RESPONSES)
    assert scorer.score(RESPONSES) == together  # bit by bit: nothing of an earlier call is found in the cache
    assert scorer.score(RESPONSES[::-1]) == pytest.approx(together[::-1], abs=1e-5)
    assert scorer.score(RESPONSES[3:5]) == pytest.approx(together[3:5], abs=1e-5)
    assert scorer.score([]) == []


def test_a_model_that_vllm_cannot_pool_is_refused_by_its_small_files(scorer: RewardModelScorer, tmp_path: Path) -> None:
    from transformers import DebertaV2Config

    DebertaV2Config(
        hidden_size=32,
        num_attention_heads=2,
        num_hidden_layers=1,
        num_labels=1,
        architectures=["DebertaV2ForSequenceClassification"],
    ).save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    check_reward_model(tmp_path, FIELD, PLAIN)
    with pytest.raises(InvalidInput) as refused:
        check_reward_model(tmp_path, FIELD, POOLED)
    assert refused.value.reason == "NotPooled"
    message = str(refused.value)
    assert f"{FIELD}.engine: found VLLM for DebertaV2ForSequenceClassification" in message
    assert "allowed is Transformers, or a model of" in message
    assert "BertForSequenceClassification" in message
    assert "language models such as Llama" in message
    assert len(message) < 1500  # a termination message has 2 KiB


def test_several_outputs_stay_in_transformers(tmp_path: Path) -> None:
    several = make_tiny_reward_model(tmp_path / "several", labels=("help", "truth"))
    weighed = {"uri": "file:///rm", "engine": "VLLM", "objectives": [{"label": "help", "weight": 1}]}
    with pytest.raises(InvalidInput, match=rf"{re.escape(FIELD)}\.engine: found VLLM for a model with 2 outputs"):
        check_reward_model(several, FIELD, ScorerModelConfig.model_validate(weighed))


class Careless:
    """An engine that gives the probability instead of the logit."""

    def __init__(self, *_: object, **__: object) -> None:
        self.closed = False

    def scores(self, sequences: Sequence[Sequence[int]]) -> list[float]:
        return [0.5] * len(sequences)

    def close(self) -> None:
        self.closed = True


def test_scores_that_are_not_those_of_transformers_end_the_phase_at_its_start(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reward_model, "check_pooling", lambda *_, **__: None)
    monkeypatch.setattr(reward_model, "PooledClassifier", Careless)
    careless = RewardModelScorer("rm", model, FIELD, POOLED)
    with pytest.raises(InvalidInput) as refused:
        careless.score(RESPONSES)
    expected = RewardModelScorer("rm", model, FIELD, PLAIN).score(RESPONSES)
    sample = [score for i in parity_sample([len(r.text) for r in RESPONSES]) if (score := expected[i]) is not None]
    worst = max(sample, key=lambda plain: abs(0.5 - plain) / max(1.0, abs(plain)))
    assert refused.value.reason == "ScoresDiffer"
    assert f"{FIELD}.engine: of 4 responses the one that differs most scores 0.5000 by vLLM" in str(refused.value)
    assert f"and {worst:.4f} by transformers" in str(refused.value)


def test_the_worst_difference_is_relative_and_no_number_is_worse_than_any() -> None:
    assert worst_difference([1.0, 2.0], {}) is None
    assert worst_difference([1.0, 110.0, 0.5], {0: 1.05, 1: 100.0, 2: 0.47}) == (pytest.approx(0.1), 1)
    assert worst_difference([1.0, float("nan")], {0: 9.0, 1: 1.0}) == (float("inf"), 1)


def test_the_sample_goes_from_the_shortest_to_the_longest() -> None:
    assert parity_sample([5, 1, 9, 3, 7, 2, 8]) == [1, 2, 3, 4]
    assert parity_sample([4]) == [0]


def test_what_is_supported_is_read_from_vllms_own_list() -> None:
    known = ["LlamaForCausalLM", "Qwen3ForCausalLM", "BertForSequenceClassification", "BertModel"]
    assert supported([*known, "TransformersForSequenceClassification"]) == (
        "BertForSequenceClassification, or the ForSequenceClassification of one of its 2 language models such as Llama"
    )
