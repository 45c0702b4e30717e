"""Scoring by chunks: scorers, their sum, pairs, and what is counted."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path

import pytest

from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.contract import Phase, RuleConfig, ScorerConfig, ScorerModelConfig, ScoringConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.score import shard
from selm_runtime.score.candidates import gather
from selm_runtime.score.interface import Scorable
from selm_runtime.score.reward_model import RewardModelScorer, check_reward_model
from selm_runtime.score.reward_plain import PlainClassifier, token_batches
from selm_runtime.score.scorers import build_scorers, check_scoring, score_held_out
from support.phase_world import PhaseWorld
from support.tiny_model import make_tiny_model, make_tiny_reward_model, preference_rows

FIELD = "spec.scoring.scorers[0].rewardModel"
PLAIN = ScorerModelConfig(uri="file:///rm")
ROWS = 10
TEXTS = ("a b c d", "a b", "")
"""Of the samples 0, 1, 2 of every row: 4, 2 and 0 words."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def reward_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_reward_model(tmp_path_factory.mktemp("reward"))


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SELM_CACHE_DIR", str(tmp_path / "cache"))


def new_world(root: Path, model: Path, **settings: object) -> PhaseWorld:
    """With a Generation of three samples a row, two chunks."""
    root.mkdir()
    world = PhaseWorld(root, **settings)  # type: ignore[arg-type]
    world.prepare(model, preference_rows(ROWS))
    world.commit_responses(TEXTS, ROWS)
    return world


def score(world: PhaseWorld, index: int = 0, **settings: object) -> None:
    with world.context(Phase.SCORING, 1, index, **settings) as ctx:
        shard.run_shard(ctx)


def scored(world: PhaseWorld) -> tuple[Manifest, list[dict[str, object]]]:
    with world.context(Phase.SCORING, 1) as ctx:
        manifest = ctx.folder.committed()
        assert manifest is not None
        names = sorted(entry.name for entry in manifest.files)
        return manifest, [row for name in names for row in ctx.folder.read_table(manifest, name).to_pylist()]


def test_without_the_offline_pair_the_samples_compete(tmp_path: Path, model: Path) -> None:
    world = new_world(tmp_path / "w", model, scoring={"pairing": {"offline": "Exclude"}})
    score(world)
    manifest, pairs = scored(world)
    assert [pair["row"] for pair in pairs] == list(range(ROWS))
    for pair in pairs:
        assert (pair["chosen_source"], pair["rejected_source"]) == ("Current:0", "Current:2")
        assert (pair["chosen_ids"], pair["rejected_ids"], pair["explored_ids"]) == ([20, 2], [22, 2], [20, 2])
        assert [candidate["score"] for candidate in pair["candidates"]] == [1.0, 0.5, 0.0]
    assert manifest.rows == ROWS
    assert manifest.metrics == {
        "pairs": 10,
        "dropped": 0,
        "tied": 0,
        "meanReward": pytest.approx(0.5),
        "generatedChosenRate": 1.0,
        "generatedRejectedRate": 1.0,
        "meanMargin": 1.0,
    }
    assert manifest.facts["sums"]["emptyCandidates"] == 10


def test_with_it_the_datas_responses_are_candidates_encoded_with_one_eos(tmp_path: Path, model: Path) -> None:
    rules = [{"type": "Regex", "pattern": "^Thank you"}, {"type": "Length", "target": 100.0}]
    world = new_world(tmp_path / "w", model, scoring={"scorers": [{"name": "thanks", "rules": rules}]})
    score(world)
    manifest, pairs = scored(world)
    for pair in pairs:
        assert (pair["chosen_source"], pair["rejected_source"]) == ("offline:chosen", "Current:2")
        assert pair["chosen_ids"][-1] == 2
        assert pair["chosen_ids"].count(2) == 1
        assert [candidate["finish_reason"] for candidate in pair["candidates"]] == ["stop"] * 3 + [None] * 2
    assert manifest.metrics["generatedChosenRate"] == 0.0
    assert manifest.metrics["generatedRejectedRate"] == 1.0


def test_any_number_of_shards_makes_the_same_phase(tmp_path: Path, model: Path) -> None:
    digests = []
    for shards in (1, 2):
        world = new_world(tmp_path / f"w{shards}", model, scoring={"shards": shards})
        for index in range(shards):
            score(world, index)
        digests.append(scored(world)[0].content_digest)
    assert digests[0] == digests[1]


def test_prompts_without_a_pair_are_dropped_and_counted(tmp_path: Path, model: Path) -> None:
    rules = [{"type": "Regex", "pattern": "nowhere"}]
    settings = {"scorers": [{"name": "none", "rules": rules}], "pairing": {"offline": "Exclude"}}
    world = new_world(tmp_path / "w", model, scoring=settings)
    score(world)
    manifest, pairs = scored(world)
    assert pairs == []
    assert (manifest.metrics["pairs"], manifest.metrics["dropped"], manifest.metrics["tied"]) == (0, 10, 10)
    assert "meanMargin" not in manifest.metrics


def test_scorers_are_added_by_their_weights(reward_model: Path) -> None:
    scoring = ScoringConfig(
        scorers=(
            ScorerConfig(name="short", weight=2.0, rules=(RuleConfig(type="Length", target=1.0),)),
            ScorerConfig(name="model", weight=-0.5, reward_model={"uri": "file:///rm"}),  # type: ignore[arg-type]
        )
    )
    scorers = build_scorers(scoring, lambda name: reward_model)
    scores, _ = score_held_out(scorers, [conversation("yes"), conversation("yes yes")], None, scoring)
    assert scores.by_scorer["short"] == [1.0, 0.0]
    for combined, short, model in zip(scores.combined, scores.of("short"), scores.of("model"), strict=True):
        assert short is not None
        assert model is not None
        assert combined == pytest.approx(2.0 * short - 0.5 * model)


def test_rules_are_checked_against_the_data_before_anything_runs() -> None:
    asks_for_topic = RuleConfig(type="Regex", column="topic")
    scoring = ScoringConfig(scorers=(ScorerConfig(name="first", rules=(RuleConfig(type="Format"), asks_for_topic)),))
    check_scoring(scoring, {"topic", "source"})
    with pytest.raises(InvalidInput, match=r"spec\.scoring\.scorers\[0\]\.rules\[1\]\.column: the data has no column"):
        check_scoring(scoring, {"source"})
    broken = ScoringConfig(scorers=(ScorerConfig(name="first", rules=(RuleConfig(type="Regex", pattern="("),)),))
    with pytest.raises(InvalidInput, match=r"scorers\[0\]\.rules\[0\]\.pattern"):
        check_scoring(broken, set())


def conversation(text: str) -> Scorable:
    return Scorable(0, [{"role": "user", "content": "Is it?"}], text, "stop")


def test_a_reward_models_scores_are_those_of_transformers(reward_model: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    texts = ["yes", "a longer answer than that", "no", "x" * 60]
    scorer = RewardModelScorer("rm", reward_model, FIELD, PLAIN)
    found = scorer.score([conversation(text) for text in texts])
    tokenizer = AutoTokenizer.from_pretrained(reward_model)
    plain = AutoModelForSequenceClassification.from_pretrained(reward_model).eval()
    for text, value in zip(texts, found, strict=True):
        messages = [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": text}]
        ids = tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=False)
        with torch.inference_mode():
            assert value == pytest.approx(float(plain(ids).logits[0, 0]), abs=1e-5)
    assert scorer.score([conversation(text) for text in texts[::-1]]) == pytest.approx(found[::-1], abs=1e-6)


def test_a_conversation_that_the_reward_models_template_refuses_is_named(reward_model: Path, tmp_path: Path) -> None:
    deaf = with_config(reward_model, tmp_path / "deaf")
    (deaf / "chat_template.jinja").write_text("{{ raise_exception('System role not supported') }}")
    scorer = RewardModelScorer("rm", deaf, FIELD, PLAIN)
    with pytest.raises(
        InvalidInput, match=rf"{re.escape(FIELD)}: its chat template fails on row 0, .*: System role not"
    ):
        scorer.score([conversation("yes")])


def with_config(model: Path, folder: Path, **changes: object) -> Path:
    """The model's folder with another config.json."""
    shutil.copytree(model, folder)
    config = json.loads((model / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return folder


def objectives(**weights: float) -> ScorerModelConfig:
    listed = tuple({"label": label, "weight": weight} for label, weight in weights.items())
    return ScorerModelConfig.model_validate({"uri": "file:///rm", "objectives": listed})


def test_a_model_that_is_no_scalar_reward_model_is_refused(model: Path, reward_model: Path, tmp_path: Path) -> None:
    here = re.escape(FIELD)
    with pytest.raises(InvalidInput, match=rf"{here}\.uri: found LlamaForCausalLM in config\.json"):
        check_reward_model(model, FIELD, PLAIN)
    two = with_config(reward_model, tmp_path / "two", id2label={"0": "a", "1": "b"})
    with pytest.raises(InvalidInput, match=rf"{here}\.objectives: found none, and the model has 2 outputs \(a, b\)"):
        check_reward_model(two, FIELD, PLAIN)
    check_reward_model(two, FIELD, objectives(b=1.0))
    with pytest.raises(InvalidInput, match=rf"{here}\.objectives\[1\]\.label: found 'c'; the model has: a, b"):
        check_reward_model(two, FIELD, objectives(a=1.0, c=1.0))
    mute = with_config(reward_model, tmp_path / "mute")
    (mute / "chat_template.jinja").unlink()
    with pytest.raises(InvalidInput, match=rf"{here}\.uri: .* no chat template"):
        check_reward_model(mute, FIELD, PLAIN)


def test_several_outputs_are_added_by_declared_weights(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    several = make_tiny_reward_model(tmp_path / "several", labels=("help", "truth", "length"))
    scorer = RewardModelScorer("rm", several, FIELD, objectives(help=0.5, length=-2.0))
    texts = ["yes", "a longer answer than that", "no"]
    found = scorer.score([conversation(text) for text in texts])
    tokenizer = AutoTokenizer.from_pretrained(several)
    plain = AutoModelForSequenceClassification.from_pretrained(several).eval()
    for text, value in zip(texts, found, strict=True):
        messages = [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": text}]
        ids = tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=False)
        with torch.inference_mode():
            logits = plain(ids).logits[0]
        assert value == pytest.approx(float(0.5 * logits[0] - 2.0 * logits[2]), abs=1e-5)


OWN_CODE = """
import torch
from dataclasses import dataclass
from transformers import LlamaForSequenceClassification
from transformers.utils import ModelOutput

@dataclass
class Output(ModelOutput):
    rewards: torch.Tensor = None
    gating: torch.Tensor = None
    score: torch.Tensor = None
    logits: torch.Tensor = None

class Gated(LlamaForSequenceClassification):
    def forward(self, input_ids=None, attention_mask=None, **more):
        rewards = super().forward(input_ids=input_ids, attention_mask=attention_mask).logits
        gating = torch.softmax(rewards, dim=-1)
        score = (gating * rewards).sum(dim=-1)
        return Output(rewards=rewards, gating=gating, score=score, logits=score)
"""


def test_a_models_own_code_may_combine_its_outputs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    several = make_tiny_reward_model(tmp_path / "several", labels=("help", "truth", "length"))
    gated = with_config(
        several,
        tmp_path / "gated",
        architectures=["Gated"],
        auto_map={"AutoModelForSequenceClassification": "gated.Gated"},
    )
    (gated / "gated.py").write_text(OWN_CODE)
    with pytest.raises(InvalidInput, match="allowed by trustRemoteCode"):
        check_reward_model(gated, FIELD, PLAIN)
    trusted = PLAIN.model_copy(update={"trust_remote_code": True})
    by_itself = RewardModelScorer("rm", gated, FIELD, trusted)
    by_weights = RewardModelScorer(
        "rm", gated, FIELD, objectives(truth=3.0).model_copy(update={"trust_remote_code": True})
    )
    plain = [
        RewardModelScorer("rm", several, FIELD, objectives(**{label: 1.0})) for label in ("help", "truth", "length")
    ]
    said = [conversation("yes"), conversation("a longer one")]
    outputs = [scorer.score(said) for scorer in plain]
    assert by_weights.score(said) == pytest.approx([3.0 * value for value in outputs[1] if value is not None], abs=1e-5)
    for i, score in enumerate(by_itself.score(said)):
        its = [column[i] or 0.0 for column in outputs]
        total = sum(math.exp(value) for value in its)
        assert score == pytest.approx(sum(math.exp(value) / total * value for value in its), abs=1e-5)


def test_a_model_that_reads_padding_as_text_is_refused_at_start(
    reward_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = RewardModelScorer("rm", reward_model, FIELD, PLAIN)
    assert isinstance(scorer._runs, PlainClassifier)
    honest = scorer._runs.model

    def careless(input_ids: object, attention_mask: object = None) -> object:
        return honest(input_ids=input_ids, attention_mask=None if attention_mask is None else attention_mask * 0 + 1)

    honest.config.pad_token_id = 999  # so that the head reads the last position, whatever stands there
    monkeypatch.setattr(scorer._runs, "model", careless)
    with pytest.raises(InvalidInput, match=r"rewardModel\.uri: a response scores .* in a batch and .* alone"):
        scorer.score([conversation("yes"), conversation("a longer answer than that"), conversation("no")])


def test_batches_are_bounded_in_tokens_and_hold_everything() -> None:
    lengths = [5, 100, 7, 8, 3, 300]
    batches = token_batches(lengths, 24)
    assert sorted(index for batch in batches for index in batch) == list(range(6))
    assert batches[:2] == [[5], [1]]
    assert all(len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= 24 for batch in batches)
    assert token_batches(lengths, 0) == [[5], [1], [3], [2], [0], [4]]


def test_a_row_without_a_response_is_an_error() -> None:
    row = {"row": 3, "prompt": [], "chosen": None, "rejected": None, "columns": []}
    with pytest.raises(ValueError, match="row 3 has no generated response"):
        gather(row, [], None)
