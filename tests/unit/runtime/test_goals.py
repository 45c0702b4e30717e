"""Reward-augmented data: what prompts ask for, and the two pairs of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selm_runtime.contract import DataConfig, PhaseConfig
from selm_runtime.data.goals import asked_prompt, asking_for, score_of
from selm_runtime.data.tokens import encode_prompt, load_tokenizer
from selm_runtime.errors import InvalidInput
from selm_runtime.generate.encode import encode_rows
from selm_runtime.prepare.checks import check_score_columns
from selm_runtime.tables import PROMPTS
from selm_runtime.train.data import PairCounts, bring_pairs
from selm_runtime.train.pairs import Pair, PairTable, reversed_id
from support.phase_configs import phase_config
from support.train_world import TrainWorld

TALK = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "One."},
    {"role": "user", "content": "Two?"},
]
AUGMENTED = {"transform": "RewardAugmented", "rewardAugmented": {"goal": 10}}


def test_the_last_user_is_made_to_ask_for_the_score() -> None:
    asked = asking_for(7.25, TALK)
    assert asked[:-1] == TALK[:-1]
    assert asked[-1] == {"role": "user", "content": "Two?\n\nGive a response that scores 7.25."}
    assert TALK[-1]["content"] == "Two?"
    assert asking_for(0.123456, TALK)[-1]["content"].endswith("scores 0.123.")


def test_generation_and_evaluation_ask_for_the_goal_and_only_where_there_is_one(tmp_path: Path) -> None:
    world = TrainWorld(tmp_path, pairs=2)
    tokenizer = load_tokenizer(world.folder / "base")
    rows = [{"row": 3, "prompt": TALK[-1:]}]
    plain, asked = (phase_config(data=data) for data in ({}, AUGMENTED))
    assert asked_prompt(plain.data, TALK) == TALK
    (ours,) = encode_rows(tokenizer, rows, plain)
    (goal,) = encode_rows(tokenizer, rows, asked)
    assert list(ours.ids) == encode_prompt(tokenizer, TALK[-1:])
    assert list(goal.ids) == encode_prompt(tokenizer, asking_for(10.0, TALK[-1:]))


@pytest.mark.parametrize(("columns", "expected"), [({"s": "7.5"}, 7.5), ({"s": "good"}, None), ({}, None)])
def test_a_score_is_the_columns_number(columns: dict[str, str], expected: float | None) -> None:
    assert score_of(columns, "s") == expected


def test_a_goal_is_given_exactly_where_something_asks_for_it() -> None:
    for data in ({"transform": "RewardAugmented"}, {"rewardAugmented": {"goal": 1}}):
        with pytest.raises(ValueError, match="rewardAugmented"):
            DataConfig.model_validate({"uri": "file:///data", "portions": 1, **data})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> TrainWorld:
    """The data's own pairs have scores: falling, equal for row 4, and inverted for row 5."""
    made = TrainWorld(tmp_path_factory.mktemp("world"))
    path = made.folder / "rows.parquet"
    rows = pq.read_table(path).to_pylist()
    for row in rows:
        better = {4: 2, 5: 1}.get(row["row"], 8)
        row["columns"] = [("score_chosen", str(better)), ("score_rejected", "2")]
    pq.write_table(pa.Table.from_pylist(rows, PROMPTS), path)
    return made


def config(world: TrainWorld, name: str, **training: Any) -> PhaseConfig:
    plain = world.config(name, objective={"type": "DPO", "alpha": 0.0, "beta": 0.1}, maxPromptLength=60, **training)
    data = plain.data.model_dump(by_alias=True) | AUGMENTED
    return plain.model_copy(update={"data": DataConfig.model_validate(data)})


def load(world: TrainWorld, config: PhaseConfig, into: Path) -> tuple[list[Pair], PairCounts]:
    counts = bring_pairs(world.phase_folder(config), world.folder / "base", into / "pairs.parquet")
    return list(PairTable(into / "pairs.parquet", explored=True).values()), counts


def test_each_pair_becomes_two_the_second_reversed_under_the_lower_score(world: TrainWorld, tmp_path: Path) -> None:
    pairs, counts = load(world, config(world, "online"), tmp_path)
    assert counts.pairs == len(pairs) == 36
    plain = {}
    bring_pairs(world.phase_folder(world.config("online")), world.folder / "base", tmp_path / "plain.parquet")
    plain = PairTable(tmp_path / "plain.parquet", explored=False)
    tokenizer = load_tokenizer(world.folder / "base")
    for first, second in zip(pairs[::2], pairs[1::2], strict=True):
        original = plain[first.row]
        assert (first.chosen, first.rejected) == (original.chosen, original.rejected)
        assert (second.chosen, second.rejected) == (original.rejected, original.chosen)
        assert second.row == reversed_id(first.row)
        messages = [{"role": "user", "content": f"Question {first.row}?"}]
        for pair, score in ((first, 1.0), (second, 0.0)):
            assert list(pair.prompt) == encode_prompt(tokenizer, asking_for(score, messages))[-60:]


def test_the_datas_own_pairs_take_their_scores_from_columns_and_inverted_ones_are_counted(
    world: TrainWorld, tmp_path: Path
) -> None:
    pairs, counts = load(world, config(world, "offline", pairs="Offline"), tmp_path)
    assert counts.inverted == 2
    assert len(pairs) == 2 * (18 - 2)
    assert not {4, 5} & {pair.row for pair in pairs}
    assert [(pair.chosen_score, pair.rejected_score) for pair in pairs[:2]] == [(8.0, 2.0), (2.0, 8.0)]


def test_a_column_without_scores_is_named_with_its_row(tmp_path: Path) -> None:
    bare = TrainWorld(tmp_path / "bare")
    with pytest.raises(InvalidInput, match=r"spec\.data\.rewardAugmented: row 0 has no number in score_chosen"):
        load(bare, config(bare, "offline", pairs="Offline"), tmp_path)


def test_preparation_refuses_own_pairs_without_columns_of_scores() -> None:
    def check(columns: set[str], **change: Any) -> None:
        check_score_columns(phase_config(data=AUGMENTED, **change), columns)

    both = {"score_chosen", "score_rejected"}
    check(both, offlineIterations=[1])
    check(set())
    for change in ({"offlineIterations": [1]}, {"training": {"offlineShare": 0.5}}, {"training": {"pairs": "Offline"}}):
        with pytest.raises(InvalidInput, match=r"rejectedScoreColumn: found 'score_rejected'.*there are: score_chosen"):
            check({"score_chosen"}, **change)
    check_score_columns(phase_config(offlineIterations=[1]), set())


def test_a_share_of_the_datas_own_pairs_is_refused_where_none_is_left(tmp_path: Path) -> None:
    inverted = TrainWorld(tmp_path / "inverted")
    path = inverted.folder / "rows.parquet"
    rows = pq.read_table(path).to_pylist()
    for row in rows:
        row["columns"] = [("score_chosen", "1"), ("score_rejected", "2")]
    pq.write_table(pa.Table.from_pylist(rows, PROMPTS), path)
    with pytest.raises(InvalidInput, match=r"offlineShare: found 0\.5, but none .* is left in iteration 1 \(18 pairs"):
        load(inverted, config(inverted, "mixed", offlineShare=0.5), tmp_path)
