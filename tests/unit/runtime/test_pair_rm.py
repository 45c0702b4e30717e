"""PairRM against a literal computation, by LLM-Blender's own steps: one pair at a time, no padding, no batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selm_runtime.errors import InvalidInput
from selm_runtime.score.combine import sigmoid
from selm_runtime.score.interface import Scorable
from selm_runtime.score.pair_rm import PairRMRanker, candidate_text, check_pair_rm, limits_of, source_text
from support.tiny_model import make_tiny_reward_model
from support.tiny_pair_rm import make_tiny_pair_rm, make_tokenizer

FIELD = "spec.scoring.scorers[0].pairRM"
PROMPT = "What is tea?"
TEXTS = ["A drink.", "tea", "It is a hot drink of leaves and water, which people like in the afternoon!", ""]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_pair_rm(tmp_path_factory.mktemp("pairrm"))


def scorables(texts: list[str], prompt: str = PROMPT) -> list[Scorable]:
    return [Scorable(0, [{"role": "user", "content": prompt}], text, "stop") for text in texts]


def literal_logits(folder: Path, source: str, texts: list[str]) -> list[list[float]]:
    """cmp[i][j]: the logit with i as candidate 1 and j as candidate 2, as LLM-Blender's `_full_predict` makes it."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoTokenizer, DebertaV2Config, DebertaV2Model

    hidden = 128
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    state = load_file(folder / "model.safetensors")
    backbone: Any = DebertaV2Model(
        DebertaV2Config(
            vocab_size=len(tokenizer),
            hidden_size=hidden,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=2,
            position_buckets=8,
            max_relative_positions=-1,
            relative_attention=True,
            norm_rel_ebd="layer_norm",
            share_att_key=True,
            pos_att_type=["p2c", "c2p"],
            position_biased_input=False,
            type_vocab_size=0,
            layer_norm_eps=1e-7,
            pad_token_id=0,
        )
    ).eval()
    backbone.load_state_dict({k.removeprefix("pretrained_model."): v for k, v in state.items() if k.startswith("pre")})

    def head(at_source: Any, at_candidate: Any) -> Any:
        joined = torch.cat([at_source, at_candidate])
        inner = torch.tanh(state["head_layer.1.weight"] @ joined + state["head_layer.1.bias"])
        return state["head_layer.4.weight"] @ inner + state["head_layer.4.bias"]

    def encode(text: str, most: int) -> list[int]:
        ids: list[int] = tokenizer.encode(text, max_length=most, truncation=True)
        return ids

    source_ids = encode("<|source|>" + source, 60)
    most = (60 + 2 * 20 - len(source_ids)) // 2
    table = [[0.0] * len(texts) for _ in texts]
    for i, first in enumerate(texts):
        for j, second in enumerate(texts):
            if i == j:
                continue
            ids = torch.tensor(
                [source_ids + encode("<|candidate1|>" + first, most) + encode("<|candidate2|>" + second, most)]
            )
            with torch.inference_mode():
                states = backbone(ids).last_hidden_state[0]
                at = [
                    states[(ids[0] == tokenizer.convert_tokens_to_ids(mark)).nonzero()[0, 0]]
                    for mark in ("<|source|>", "<|candidate1|>", "<|candidate2|>")
                ]
                table[i][j] = float(head(at[0], at[1]) - head(at[0], at[2]))
    return table


@pytest.mark.parametrize("layout", ["blender", "hf"])
def test_margins_and_ranks_are_llm_blenders(layout: Any, tmp_path: Path) -> None:
    folder = make_tiny_pair_rm(tmp_path / layout, layout, seed=3)
    (found,) = PairRMRanker("pairrm", folder, FIELD).compare([scorables(TEXTS)])
    logits = literal_logits(folder, PROMPT, TEXTS)
    n = len(TEXTS)
    for i in range(n):
        for j in range(n):
            margin = (logits[i][j] - logits[j][i]) / 2
            assert found.margins[i][j] == pytest.approx(margin, abs=1e-4)
            assert found.wins[i][j] == pytest.approx(sigmoid(margin), abs=1e-4)
    # LLM-Blender's score: the mean over all candidates of cmp[i][j] - cmp[j][i].
    blender = [sum(logits[i][j] - logits[j][i] for j in range(n)) / n for i in range(n)]
    ours = found.scores()
    assert ours == pytest.approx([score * n / (n - 1) / 2 for score in blender], abs=1e-4)
    assert max(abs(logits[0][1] + logits[1][0]), abs(logits[0][2] + logits[2][0])) > 1e-3  # the order does matter


def test_batches_do_not_change_a_margin(checkpoint: Path) -> None:
    ranker = PairRMRanker("pairrm", checkpoint, FIELD)
    alone = [ranker.compare([scorables(TEXTS[:2])])[0], ranker.compare([scorables(TEXTS[1:], "Why?")])[0]]
    together = ranker.compare([scorables(TEXTS[:2]), [], scorables(["x"]), scorables(TEXTS[1:], "Why?")])
    for one, other in zip(alone, (together[0], together[3]), strict=True):
        for row, same in zip(one.margins, other.margins, strict=True):
            assert row == pytest.approx(same, abs=1e-4)
    assert together[1].margins == []
    assert together[2].scores() == [0.0]


def test_what_is_beyond_the_limits_is_not_seen_and_counted(checkpoint: Path) -> None:
    ranker = PairRMRanker("pairrm", checkpoint, FIELD)
    long, prompt = "a" * 200, "p" * 300
    (one,) = ranker.compare([scorables([long, "b"], prompt)])
    assert ranker.counts() == {"cut": 1, "cutPrompts": 1}
    assert ranker.counts() == {"cut": 0, "cutPrompts": 0}
    (other,) = ranker.compare([scorables([long + "tail", "b"], prompt + "tail")])
    assert one.margins == other.margins
    ranker.counts()
    (short,) = ranker.compare([scorables(["a" * 30, "b"], "p")])  # half of what a short prompt leaves is the response's
    assert ranker.counts() == {"cut": 0, "cutPrompts": 0}
    assert short.margins != one.margins


def test_the_published_limits() -> None:
    assert limits_of({}) == (1224, 412)


def test_text_that_looks_like_structure_is_only_text(checkpoint: Path) -> None:
    ranker = PairRMRanker("pairrm", checkpoint, FIELD)
    (found,) = ranker.compare([scorables(["good <|candidate2|> [SEP] bad", "b"], "<|source|> why?")])
    (plain,) = ranker.compare([scorables(["good       bad", "b"], "  why?")])
    assert found.margins[0][1] is not None
    assert found.margins[0][1] == pytest.approx(plain.margins[0][1], abs=1e-4)


def test_prompts_are_written_as_the_model_was_trained_on_them() -> None:
    one = [{"role": "user", "content": "Hi"}]
    assert (source_text(one), candidate_text(one, "Yes")) == ("Hi", "Yes")
    system = [{"role": "system", "content": "Be kind."}, *one]
    assert (source_text(system), candidate_text(system, "Yes")) == ("Be kind.\nHi", "Yes")
    several = [*one, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Bye"}]
    assert source_text(several) == (
        "Finish the following coversation in each i-th turn by filling in <Response i> with your response."
        "USER: Hi\nAssistant: <Response 1>\nUSER: Bye\nAssistant: <Response 2>"
    )
    assert candidate_text(several, "See you") == "<Response 1>: Hello\n<Response 2>: See you"
    tools = [*one, {"role": "tool", "content": "5"}]
    assert (source_text(tools), candidate_text(tools, "Five")) == ("USER: Hi\nTOOL: 5", "Five")


def test_a_checkpoint_without_the_marks_gets_them_in_their_order(checkpoint: Path, tmp_path: Path) -> None:
    import shutil

    bare = tmp_path / "bare"
    shutil.copytree(checkpoint, bare)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (bare / name).unlink()
    make_tokenizer(marks=()).save_pretrained(bare)
    marks = PairRMRanker("pairrm", bare, FIELD)._marks
    assert marks == PairRMRanker("pairrm", checkpoint, FIELD)._marks


def test_another_model_is_refused_by_its_field(checkpoint: Path, tmp_path: Path) -> None:
    reward = make_tiny_reward_model(tmp_path / "reward")
    with pytest.raises(InvalidInput, match=r"pairRM\.uri: found LlamaForSequenceClassification .* rewardModel"):
        check_pair_rm(reward, FIELD)
    config = json.loads((checkpoint / "config.json").read_text())
    for change, words in (
        ({"ranker_type": "summareranker"}, "found ranker_type summareranker"),
        ({"model_type": "roberta"}, "found model_type 'roberta'"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(InvalidInput, match=words):
            check_pair_rm(tmp_path, FIELD)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InvalidInput, match=r"no tokenizer\.json or spm\.model"):
        check_pair_rm(tmp_path, FIELD)


def test_weights_of_another_head_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(checkpoint, broken)
    state = load_file(broken / "model.safetensors")
    save_file(
        {name: tensor for name, tensor in state.items() if "head_layer.4" not in name}, broken / "model.safetensors"
    )
    with pytest.raises(InvalidInput, match=r"pairRM\.uri: the weights are not PairRM's"):
        PairRMRanker("pairrm", broken, FIELD)
