"""Preparation: what it commits, what it refuses and how it says so."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from unittest.mock import MagicMock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selm_runtime.errors import InvalidInput, TemporaryFailure
from selm_runtime.prepare.checks import DataFacts, check_data
from selm_runtime.prepare.models import check_config, wanted_files
from selm_runtime.prepare.sources import HubSource, hub_errors, hub_repository
from selm_runtime.prepare.tokenizer import check_dialogue
from selm_runtime.tables import PROMPTS
from support.phase_configs import phase_config
from support.prepare_world import World
from support.tiny_model import make_prefs, make_tiny_model, make_tiny_reward_model, preference_rows
from support.tiny_pair_rm import make_tiny_pair_rm


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    make_tiny_model(root / "policy")
    make_tiny_reward_model(root / "reward")
    return root


@pytest.fixture
def world(tmp_path: Path, models: Path) -> World:
    return World(tmp_path, models)


def make_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _reward(world: World) -> dict[str, Any]:
    return {"scorers": [{"name": "rm", "rewardModel": {"uri": f"file://{world.root}/reward"}}]}


# What it commits


def test_rows_model_and_pins(world: World) -> None:
    manifest = world.prepare(world.config(scoring=_reward(world)))
    names = [entry.name for entry in manifest.files]
    assert names == sorted(names)
    assert {name for name in names if name.startswith("rows/")} == {
        "rows/portion-0001.parquet",
        "rows/portion-0002.parquet",
        "rows/held-out.parquet",
    }
    assert {name for name in names if name.startswith("model/")} >= {"model/config.json", "model/model.safetensors"}
    assert "scorers/rm/model.safetensors" in names
    facts = manifest.facts
    assert facts["portions"] == [22, 23]
    assert (facts["heldOutRows"], facts["hasOfflinePairs"], facts["heldOutHasPairs"]) == (5, True, True)
    assert facts["data"]["format"] == "UltraFeedback"
    assert facts["model"]["pinned"] == manifest.content_under("model/")
    assert facts["scorers"]["rm"]["pinned"] == manifest.content_under("scorers/rm/")
    assert manifest.rows == 45


def test_the_rows_are_the_datas_in_order_the_last_held_out(world: World) -> None:
    manifest = world.prepare()
    one, two, held_out = (
        world.table(manifest, f"rows/{name}.parquet") for name in ("portion-0001", "portion-0002", "held-out")
    )
    assert one.schema.equals(PROMPTS)
    rows = [row for table in (one, two, held_out) for row in table.to_pylist()]
    assert [row["row"] for row in rows] == list(range(50))
    source = preference_rows(50)
    assert [row["prompt"][0]["content"] for row in rows] == [row["prompt"] for row in source]
    assert [dict(row["columns"])["topic"] for row in rows] == [row["topic"] for row in source]
    assert [entry.rows for entry in manifest.under("rows/portion")] == [22, 23]


def test_a_held_out_split_leaves_the_training_rows_whole(world: World) -> None:
    make_prefs(world.root / "data" / "test.jsonl", 30, seed=1)
    config = world.config(data={"heldOut": {"split": "test", "limit": 7}})
    manifest = world.prepare(config)
    assert manifest.facts["portions"] == [25, 25]
    assert world.table(manifest, "rows/held-out.parquet")["row"].to_pylist() == list(range(50, 57))


def test_one_file_parquet_and_prompts_alone(world: World) -> None:
    prompts = [{"prompt": row["prompt"], "topic": row["topic"]} for row in preference_rows(20)]
    pq.write_table(pa.Table.from_pylist(prompts), world.root / "prompts.parquet")
    manifest = world.prepare(
        world.config(data={"uri": f"file://{world.root}/prompts.parquet"}, scoring={"pairing": {"offline": "Exclude"}})
    )
    assert manifest.facts["data"]["format"] == "Prompts"
    assert not manifest.facts["hasOfflinePairs"]
    assert world.table(manifest, "rows/portion-0001.parquet")["chosen"].null_count == 9


def _saved(rows: list[dict[str, Any]]) -> Any:
    import datasets

    return datasets.Dataset.from_list(rows)


def test_a_dataset_saved_to_disk_by_splits_and_alone(world: World) -> None:
    import datasets

    train, test = preference_rows(40), preference_rows(6, seed=7)
    saved = datasets.DatasetDict(train_prefs=_saved(train), test_prefs=_saved(test))
    saved.save_to_disk(world.root / "saved", num_shards={"train_prefs": 3, "test_prefs": 1})
    change = {"split": "train_prefs", "heldOut": {"split": "test_prefs"}}
    config = world.config(data={"uri": f"file://{world.root}/saved", **change})
    manifest = world.prepare(config)
    parts = [world.table(manifest, f"rows/portion-000{n}.parquet", config).to_pylist() for n in (1, 2)]
    assert [row["prompt"][0]["content"] for part in parts for row in part] == [row["prompt"] for row in train]
    assert manifest.facts["heldOutRows"] == 6

    _saved(train).save_to_disk(world.root / "alone")
    alone = world.prepare(world.config(data={"uri": f"file://{world.root}/alone"}, run={"uid": "0002"}), writer="w2")
    assert alone.facts["portions"] == [18, 18]


def test_what_map_leaves_in_a_saved_datasets_folder_is_no_data(world: World) -> None:
    import datasets

    _saved(preference_rows(40)).save_to_disk(world.root / "alone")
    datasets.load_from_disk(str(world.root / "alone")).map(lambda row: {"topic": row["topic"].upper()})
    assert list((world.root / "alone").glob("cache-*.arrow"))
    manifest = world.prepare(world.config(data={"uri": f"file://{world.root}/alone"}))
    assert manifest.facts["portions"] == [18, 18]
    rows = world.table(manifest, "rows/portion-0001.parquet").to_pylist()
    assert not any(dict(row["columns"])["topic"].isupper() for row in rows)


def test_an_error_names_file_row_and_column(world: World) -> None:
    rows = preference_rows(20)
    broken = [*rows[:3], {key: value for key, value in rows[3].items() if key != "rejected"}]
    for number, part in enumerate((rows, broken)):
        text = "".join(json.dumps(row) + "\n" for row in part)
        (world.root / "parts").mkdir(exist_ok=True)
        (world.root / "parts" / f"train-{number}.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    with pytest.raises(InvalidInput, match=r"row 23 of split 'train' in train-1\.jsonl\.gz, its row 3 .*'rejected'"):
        world.prepare(world.config(data={"uri": f"file://{world.root}/parts"}))


def test_prompts_that_are_evaluated_on_are_not_trained_on(world: World) -> None:
    rows = preference_rows(50)
    test = preference_rows(6, seed=7)
    for mine, of_test in ((3, 0), (40, 4)):
        words = str(test[of_test]["prompt"]).upper().replace(" ", "  \n")
        rows[mine] = {"prompt": words, "chosen": "yes", "rejected": "no"}
    make_rows(world.root / "data" / "train.jsonl", rows)
    make_rows(world.root / "data" / "test.jsonl", test)
    manifest = world.prepare(world.config(data={"heldOut": {"split": "test"}}))
    tables = [world.table(manifest, f"rows/portion-000{n}.parquet") for n in (1, 2)]
    kept = [row for table in tables for row in table["row"].to_pylist()]
    assert kept == [row for row in range(50) if row not in (3, 40)]
    assert manifest.facts["evaluationOverlap"] == manifest.metrics["evaluationOverlap"] == 2
    assert (manifest.facts["portions"], manifest.rows, manifest.metrics["rows"]) == ([24, 24], 48, 48)


def _talk(*roles: str) -> list[dict[str, str]]:
    return [{"role": role, "content": f"{role} says {number}"} for number, role in enumerate(roles)]


def test_rows_of_several_turns_are_rendered_by_the_models_template(world: World) -> None:
    trajectory = _talk("assistant", "tool", "assistant")
    rows = [{"prompt": f"Question {n}?", "chosen": trajectory, "rejected": _talk("assistant")} for n in range(30)]
    make_rows(world.root / "data" / "train.jsonl", rows)
    config = world.config(scoring={"pairing": {"offline": "Exclude"}})
    manifest = world.prepare(config)
    assert manifest.facts["data"]["format"] == "MultiTurn"
    stored = world.table(manifest, "rows/portion-0001.parquet").to_pylist()
    assert stored[0]["chosen_turns"] == trajectory[:2]
    template = (world.root / "model" / "chat_template.jinja").read_text()
    deaf = template.replace(
        "{% for message in messages %}", "{% for message in messages if message['role'] != 'tool' %}"
    )
    (world.root / "model" / "chat_template.jinja").write_text(deaf)
    with pytest.raises(InvalidInput, match=r"spec\.data: row 0, chosen: turn 1 \(tool\) is not in the template"):
        world.prepare(world.config(scoring={"pairing": {"offline": "Exclude"}}, run={"uid": "0002"}), writer="w2")


def test_the_last_rows_are_held_out_before_their_prompts_are_looked_for(world: World) -> None:
    rows = preference_rows(50)
    rows[0] = {**rows[49]}
    make_rows(world.root / "data" / "train.jsonl", rows)
    manifest = world.prepare()
    assert (manifest.facts["heldOutRows"], manifest.facts["evaluationOverlap"], manifest.rows) == (5, 1, 44)
    assert world.table(manifest, "rows/held-out.parquet")["row"].to_pylist() == list(range(45, 50))


def test_data_that_is_all_evaluated_on_is_refused(world: World) -> None:
    make_rows(world.root / "data" / "test.jsonl", preference_rows(50))
    with pytest.raises(InvalidInput, match=r"0 rows for training \(50 more have prompts of the held-out rows"):
        world.prepare(world.config(data={"heldOut": {"split": "test"}}))


def test_two_runs_of_the_same_have_the_same_content(world: World) -> None:
    one = world.prepare()
    two = world.prepare(world.config(run={"uid": "0002"}, artifacts={"reuse": "None"}), writer="w2")
    assert one.content_digest == two.content_digest
    assert one.facts == two.facts


def test_a_later_run_copies_the_import(world: World) -> None:
    one = world.prepare(world.config(scoring=_reward(world)))
    assert world.events("import-reused") == []
    two = world.prepare(world.config(run={"uid": "0002"}, scoring=_reward(world)), writer="w2")
    assert [event["field"] for event in world.events("import-reused")] == [
        "spec.model",
        "spec.scoring.scorers[0].rewardModel",
    ]
    assert two.content_digest == one.content_digest
    assert {entry.path.split("/")[0] for entry in two.files} == {"pod-w2"}


def test_a_model_that_changed_is_imported_anew(world: World) -> None:
    one = world.prepare()
    (world.root / "model" / "generation_config.json").write_text('{"max_length": 9}')
    two = world.prepare(world.config(run={"uid": "0002"}), writer="w2")
    assert world.events("import-reused") == []
    assert two.facts["model"]["pinned"] != one.facts["model"]["pinned"]


def test_without_reuse_nothing_is_looked_for(world: World) -> None:
    world.prepare(world.config(artifacts={"reuse": "None"}))
    world.prepare(world.config(run={"uid": "0002"}, artifacts={"reuse": "None"}), writer="w2")
    assert world.events("import-reused") == []
    assert not (world.root / "store" / "team" / "by-input").exists()


def test_what_is_no_part_of_a_model_stays_where_it_is(world: World) -> None:
    for name in ("README.md", "pytorch_model.bin", "modeling_own.py", "training_args.bin", "onnx/model.onnx"):
        (world.root / "model" / name).parent.mkdir(exist_ok=True)
        (world.root / "model" / name).write_text("x")
    names = [entry.name for entry in world.prepare().under("model/")]
    assert set(names) == {
        "model/chat_template.jinja",
        "model/config.json",
        "model/generation_config.json",
        "model/model.safetensors",
        "model/tokenizer.json",
        "model/tokenizer_config.json",
    }


def test_the_probe_leaves_nothing(world: World) -> None:
    world.prepare()
    assert not list((world.root / "store").rglob("probe"))


# What it refuses


def _edit_config(world: World, **change: Any) -> None:
    path = world.root / "model" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


def _remove(*names: str) -> Callable[[World], dict[str, Any]]:
    def change(world: World) -> dict[str, Any]:
        for name in names:
            (world.root / "model" / name).unlink()
        return {}

    return change


def _pickled(world: World) -> dict[str, Any]:
    (world.root / "model" / "model.safetensors").rename(world.root / "model" / "pytorch_model.bin")
    return {}


def _truncated(world: World) -> dict[str, Any]:
    path = world.root / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    return {}


def _index(world: World) -> dict[str, Any]:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (world.root / "model" / "model.safetensors.index.json").write_text(json.dumps(index))
    return {}


def _classifier(world: World) -> dict[str, Any]:
    _edit_config(world, architectures=["LlamaForSequenceClassification"])
    return {}


def _own_code(world: World) -> dict[str, Any]:
    _edit_config(world, model_type="own", auto_map={"AutoModelForCausalLM": "modeling_own.Own"})
    return {}


def _bad_template(world: World) -> dict[str, Any]:
    (world.root / "model" / "chat_template.jinja").write_text("{{ raise_exception('only one turn') }}")
    return {}


def _no_eos(world: World) -> dict[str, Any]:
    path = world.root / "model" / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token": None}))
    return {}


def _other_vocabulary(world: World) -> dict[str, Any]:
    _edit_config(world, vocab_size=10)
    return {}


def _two_labels(world: World) -> dict[str, Any]:
    path = world.root / "reward" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "id2label": {"0": "a", "1": "b"}}))
    return {"scoring": _reward(world)}


def _headless(world: World) -> dict[str, Any]:
    from safetensors.numpy import load_file, save_file

    path = world.root / "reward" / "model.safetensors"
    weights = load_file(path)
    del weights["score.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    return {"scoring": _reward(world)}


def _headless_index(world: World) -> dict[str, Any]:
    change = _headless(world)
    index = {"weight_map": {"model.norm.weight": "model.safetensors"}}
    (world.root / "reward" / "model.safetensors.index.json").write_text(json.dumps(index))
    return change


def _headless_ranker(layout: Literal["blender", "hf"]) -> Callable[[World], dict[str, Any]]:
    def change(world: World) -> dict[str, Any]:
        from safetensors.numpy import load_file, save_file

        folder = make_tiny_pair_rm(world.root / "ranker", layout)
        weights = load_file(folder / "model.safetensors")
        del weights["head_layer.4.bias"]
        weights["classifier.weight"] = weights["head_layer.4.weight"]
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return {"scoring": {"scorers": [{"name": "rm", "pairRM": {"uri": f"file://{folder}"}}]}}

    return change


def _code_that_fails(world: World) -> dict[str, Any]:
    """A reward model whose own code is there, and raises when the network is built."""
    folder = world.root / "reward"
    (folder / "modeling_own.py").write_text(
        "from transformers import LlamaForSequenceClassification\n\n\n"
        "class Own(LlamaForSequenceClassification):\n"
        "    def __init__(self, config):\n"
        "        raise AttributeError('config has no gating_temperature')\n"
    )
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForSequenceClassification": "modeling_own.Own"}
    (folder / "config.json").write_text(json.dumps(config))
    scoring = _reward(world)
    scoring["scorers"][0]["rewardModel"]["trustRemoteCode"] = True
    return {"scoring": scoring}


def _policy_as_reward(world: World) -> dict[str, Any]:
    return {"scoring": {"scorers": [{"name": "rm", "rewardModel": {"uri": f"file://{world.root}/model"}}]}}


def _reward_as_ranker(world: World) -> dict[str, Any]:
    return {"scoring": {"scorers": [{"name": "rm", "pairRM": {"uri": f"file://{world.root}/reward"}}]}}


def _rows(world: World, rows: list[dict[str, Any]], split: str = "train") -> dict[str, Any]:
    (world.root / "data" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {}


def _one_bad_row(world: World) -> dict[str, Any]:
    rows = preference_rows(50)
    del rows[31]["rejected"]
    return _rows(world, rows)


def _prompts_only(**change: Any) -> Callable[[World], dict[str, Any]]:
    def make(world: World) -> dict[str, Any]:
        _rows(world, [{"prompt": row["prompt"]} for row in preference_rows(50)])
        return change

    return make


def _held_out_without_pairs(world: World) -> dict[str, Any]:
    _rows(world, [{"prompt": "Hi", "chosen": "a", "rejected": "b"}] * 40)
    return {"evaluation": {"selectBy": {"metric": "PreferenceAccuracy"}}}


def _data(**change: Any) -> Callable[[World], dict[str, Any]]:
    return lambda world: {"data": change}


def _no_system(world: World, model: str) -> None:
    """A chat template that refuses a system message, in its own words."""
    path = world.root / model / "chat_template.jinja"
    refusal = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    path.write_text(refusal + path.read_text())


def _one_system_row(world: World, split: str = "train", number: int = 31) -> None:
    rows = preference_rows(50, seed=len(split))
    system = {"role": "system", "content": "Be kind."}
    for side in ("chosen", "rejected"):
        rows[number][side] = [system, *rows[number][side]]  # type: ignore[misc]
    _rows(world, rows, split)


def _system_refused(world: World) -> dict[str, Any]:
    _no_system(world, "model")
    _one_system_row(world)
    return {}


def _system_refused_held_out(world: World) -> dict[str, Any]:
    _no_system(world, "model")
    _one_system_row(world, "test", 4)
    return {"data": {"heldOut": {"split": "test"}}}


def _system_refused_by_the_reward_model(world: World) -> dict[str, Any]:
    _no_system(world, "reward")
    _one_system_row(world)
    return {"scoring": _reward(world)}


def _no_number(world: World) -> dict[str, Any]:
    rows = [{**row, "words": "12"} for row in preference_rows(50)]
    rows[47]["words"] = "a dozen"
    _rows(world, rows)
    return {"scoring": {"scorers": [{"name": "r", "rules": [{"type": "Length", "column": "words"}]}]}}


def _no_score(world: World) -> dict[str, Any]:
    rows = [{**row, "good": "8", "bad": "3"} for row in preference_rows(50)]
    rows[7]["bad"] = "poor"
    _rows(world, rows)
    augmented = {"chosenScoreColumn": "good", "rejectedScoreColumn": "bad", "goal": 10}
    data = {"transform": "RewardAugmented", "rewardAugmented": augmented}
    return {"data": data, "offlineIterations": [1]}


EXCLUDE = {"scoring": {"pairing": {"offline": "Exclude"}}}

REFUSED: dict[str, tuple[Callable[[World], dict[str, Any]], str, str]] = {
    # what: (what is changed on disk and in the config, the reason, the message)
    "no model": (
        lambda world: {"model": {"uri": f"file://{world.root}/nowhere"}},
        "ModelNotFound",
        r"spec\.model\.uri: found nothing at file://.*/nowhere; allowed is a model in Hugging Face layout",
    ),
    "a folder without config.json": (_remove("config.json"), "ModelNotFound", r"spec\.model\.uri: found chat_template"),
    "pickled weights": (_pickled, "ModelNotSafetensors", r"spec\.model\.uri: found pytorch_model\.bin"),
    "no weights": (_remove("model.safetensors"), "ModelNotSafetensors", "found no weights"),
    "weights cut short": (_truncated, "DamagedModel", r"model\.safetensors is not whole safetensors"),
    "an index that names what is not there": (
        _index,
        "DamagedModel",
        r"names model-2\.safetensors, which is not there",
    ),
    "a classifier for a policy": (
        _classifier,
        "WrongModel",
        r"found LlamaForSequenceClassification .* allowed is …ForCausalLM",
    ),
    "a model with code of its own": (_own_code, "RemoteCode", r"spec\.model\.trustRemoteCode: found false"),
    "no chat template": (_remove("chat_template.jinja"), "NoChatTemplate", "no chat template; allowed is a chat model"),
    "a chat template that fails": (_bad_template, "NoChatTemplate", "fails on a user's message: only one turn"),
    "a row with a role that the chat template refuses": (
        _system_refused,
        "TemplateRefused",
        r"spec\.model: its chat template fails on row 31, of the roles system, user: System role not supported; allowed .*; "
        r"row 31 is row 31 of split 'train' in train\.jsonl, its row 31$",
    ),
    "a held-out row with such a role": (
        _system_refused_held_out,
        "TemplateRefused",
        r"fails on row 54, .*: System role not supported; .*; row 54 is row 4 of split 'test' in test\.jsonl, its row 4$",
    ),
    "a row with a role that the reward model's template refuses": (
        _system_refused_by_the_reward_model,
        "TemplateRefused",
        r"spec\.scoring\.scorers\[0\]\.rewardModel: its chat template fails on row 31, of the roles system, user, assistant: "
        r"System role not supported",
    ),
    "a number in a row's column that is none": (
        _no_number,
        "InvalidRow",
        r"spec\.scoring\.scorers\[0\]\.rules\[0\]\.column: row 47 has 'a dozen' in column 'words'; a number .*; row 47 is "
        r"row 47 of split 'train' in train\.jsonl",
    ),
    "a score of a row's own pair that is no number": (
        _no_score,
        "NoScores",
        r"spec\.data\.rewardAugmented\.rejectedScoreColumn: row 7 has 'poor' in column 'bad'; a number is allowed; row 7 is ",
    ),
    "no EOS token": (_no_eos, "InvalidTokenizer", "no EOS token"),
    "a tokenizer of another model": (_other_vocabulary, "InvalidTokenizer", "the model knows 10"),
    "no tokenizer": (
        _remove("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
        "InvalidTokenizer",
        "cannot be loaded",
    ),
    "a model too short for maxLength": (
        lambda world: {"training": {"maxLength": 4096}},
        "TooLong",
        r"spec\.training\.maxLength: found 4096, allowed is at most the model's 512",
    ),
    "a model too short for the prompt and the response": (
        lambda world: {"generation": {"maxTokens": 500}},
        "TooLong",
        r"spec\.generation\.maxTokens: found 500 beside spec\.training\.maxPromptLength 96",
    ),
    "a reward model with two labels": (
        _two_labels,
        "NoRewardModel",
        r"spec\.scoring\.scorers\[0\]\.rewardModel\.objectives: found none, and the model has 2 outputs \(a, b\)",
    ),
    "a reward model without its head": (
        _headless,
        "WeightsMismatch",
        r"spec\.scoring\.scorers\[0\]\.rewardModel\.uri: the files lack weights of the classifier \(score\.weight\)",
    ),
    "a reward model in parts without its head": (
        _headless_index,
        "WeightsMismatch",
        r"rewardModel\.uri: the files lack weights of the classifier \(score\.weight\)",
    ),
    "a ranker with another head": (
        _headless_ranker("blender"),
        "WeightsMismatch",
        r"spec\.scoring\.scorers\[0\]\.pairRM\.uri: the weights are not PairRM's: they lack head_layer\.4\.bias and also have "
        r"classifier\.weight",
    ),
    "a ranker in transformers' layout with another head": (
        _headless_ranker("hf"),
        "WeightsMismatch",
        r"pairRM\.uri: the weights are not PairRM's: they lack head_layer\.4\.bias",
    ),
    "a reward model whose own code fails": (
        _code_that_fails,
        "ModelNotLoadable",
        r"spec\.scoring\.scorers\[0\]\.rewardModel\.uri: the model cannot be built from its files: AttributeError: config has "
        r"no gating_temperature",
    ),
    "a policy for a reward model": (
        _policy_as_reward,
        "NoRewardModel",
        r"spec\.scoring\.scorers\[0\]\.rewardModel\.uri: found LlamaForCausalLM",
    ),
    "a reward model for a ranker": (
        _reward_as_ranker,
        "NoPairRM",
        r"spec\.scoring\.scorers\[0\]\.pairRM\.uri: found LlamaForSequenceClassification",
    ),
    "no data": (
        _data(uri="file:///nowhere/at/all"),
        "DataNotFound",
        r"spec\.data\.uri: there is no folder with files at",
    ),
    "no such file": (_data(uri="file:///nowhere.jsonl"), "DataNotFound", r"spec\.data\.uri: there is no file at"),
    "no such split": (
        _data(split="train_prefs"),
        "SplitNotFound",
        r"spec\.data\.split: found 'train_prefs', but .* holds train\.jsonl; allowed is a split with train_prefs\.parquet",
    ),
    "no such held-out split": (
        _data(heldOut={"split": "test"}),
        "SplitNotFound",
        r"spec\.data\.heldOut\.split: found 'test'",
    ),
    "the training split held out": (_data(heldOut={"split": "train"}), "InvalidSplit", r"the split that is trained on"),
    "a held-out split without rows": (
        lambda world: {**_rows(world, [], "test"), "data": {"heldOut": {"split": "test"}}},
        "NoHeldOutRows",
        r"spec\.data\.heldOut\.split: split 'test' has no row",
    ),
    "a row without a needed field": (
        _one_bad_row,
        "InvalidData",
        r"spec\.data: row 31 of split 'train' in train\.jsonl, its row 31 \(format UltraFeedback\): field 'rejected': found no such column, allowed is "
        r"a text or a list of messages; the row has columns prompt, chosen, topic",
    ),
    "columns that no format has": (
        lambda world: _rows(world, [{"text": "x"}] * 20),
        "InvalidData",
        r"spec\.data\.format: row 0 of split 'train': .*found columns text",
    ),
    "a column mapped to nothing": (
        _data(columns={"chosen": "good"}),
        "InvalidData",
        r"found columns prompt, chosen, rejected, topic, allowed is 'prompt', 'good' and 'rejected'",
    ),
    "too few rows to hold any out": (
        lambda world: _rows(world, preference_rows(9)),
        "NoHeldOutRows",
        r"spec\.data\.heldOut: found none, .*at least 10 rows",
    ),
    "an empty split": (lambda world: _rows(world, []), "NoHeldOutRows", r"spec\.data\.heldOut"),
    "more portions than rows": (
        _data(portions=46),
        "TooFewRows",
        r"spec\.data\.portions: found 46, but the split has 45",
    ),
    "more shards than prompts": (
        lambda world: {"generation": {"shards": 23}},
        "TooManyShards",
        r"spec\.generation\.shards: found 23, allowed is at most 22, the prompts of the smallest portion",
    ),
    "more scoring shards than prompts": (
        lambda world: {"scoring": {"shards": 23}},
        "TooManyShards",
        r"spec\.scoring\.shards: found 23, allowed is at most 22",
    ),
    "fewer pairs than a batch": (
        lambda world: {"training": {"batchSize": 23}},
        "TooFewPairs",
        r"spec\.training\.batchSize: found 23, allowed is at most 22",
    ),
    "the offline pair without offline pairs": (
        _prompts_only(),
        "NoOfflinePairs",
        r"spec\.scoring\.pairing\.offline: found Include, but the data \(format Prompts\)",
    ),
    "an offline iteration without offline pairs": (
        _prompts_only(offlineIterations=[1], **EXCLUDE),
        "NoOfflinePairs",
        r"spec\.schedule: found pairs Offline, but the data \(format Prompts\)",
    ),
    "preference accuracy without offline pairs": (
        _prompts_only(evaluation={"selectBy": {"metric": "PreferenceAccuracy"}}, **EXCLUDE),
        "NoOfflinePairs",
        r"spec\.evaluation\.selectBy\.metric: found PreferenceAccuracy",
    ),
    "adapters of modules that the model has not": (
        lambda world: {"training": {"lora": {"targetModules": ["q_proj", "wqkv"]}}},
        "UnsupportedLora",
        r"spec\.training\.lora\.targetModules: found wqkv; allowed are names of linear modules .*: down_proj, ",
    ),
    "a URI of another kind": (
        lambda world: {"model": {"uri": "https://x/y"}},
        "InvalidURI",
        r"spec\.model\.uri: found 'https://x/y', allowed are",
    ),
    "an engine argument that vLLM does not have": (
        lambda _: {"generation": {"engineArgs": {"max_seqs": 4}}},
        "EngineArgUnknown",
        r"spec\.generation\.engineArgs\.max_seqs: vLLM has no such engine argument; near to it: max_num_seqs",
    ),
    "an engine argument of another type": (
        lambda _: {"generation": {"engineArgs": {"enforce_eager": "yes"}}},
        "EngineArgInvalid",
        r'engineArgs\.enforce_eager: found "yes", allowed is true or false',
    ),
    "quantised weights that are not declared": (
        lambda world: _edit_config(world, quantization_config={"quant_method": "gptq", "bits": 4}) or {},
        "QuantizedModel",
        r"spec\.model\.uri: found weights quantised by 'gptq'.*engineArgs\.quantization: gptq",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(world: World, what: str) -> None:
    change, reason, message = REFUSED[what]
    config = world.config(**change(world))
    with pytest.raises(InvalidInput, match=message) as caught:
        world.prepare(config)
    assert caught.value.reason == reason
    assert not list((world.root / "store").rglob("manifest.json"))


def test_offline_runs_need_no_shards(world: World) -> None:
    world.prepare(world.config(iterations=2, offlineIterations=[1, 2], generation={"shards": 40}))


def test_a_template_that_takes_one_turn_is_refused_for_mt_bench() -> None:
    def render(messages: Sequence[Mapping[str, str]], generation: bool) -> str:
        if len(messages) > 1:
            raise ValueError("one turn")
        return "text"

    with pytest.raises(
        InvalidInput, match=r"the second turn of spec\.evaluation\.mtBench, .*user, assistant, user: one"
    ):
        check_dialogue(render)


# Pure parts


FACTS = DataFacts(portions=[8, 9], held_out=3, has_pairs=True, held_out_has_pairs=True, format="UltraFeedback")


def test_what_fits_is_not_refused() -> None:
    check_data(phase_config(generation={"shards": 8}, scoring={"shards": 8}, training={"batchSize": 8}), FACTS)


SIZES: dict[str, tuple[list[str], bool, list[str] | None]] = {
    "a whole model": (
        ["config.json", "model.safetensors", "tokenizer.json"],
        False,
        ["config.json", "tokenizer.json", "model.safetensors"],
    ),
    "a model in parts": (
        ["config.json", "model-1.safetensors", "model-2.safetensors", "model.safetensors.index.json"],
        False,
        ["config.json", "model.safetensors.index.json", "model-1.safetensors", "model-2.safetensors"],
    ),
    "parts without an index": (["config.json", "model-1.safetensors"], False, None),
    "code that is trusted": (
        ["config.json", "m.py", "model.safetensors"],
        True,
        ["config.json", "m.py", "model.safetensors"],
    ),
    "code that is not": (["config.json", "m.py", "model.safetensors"], False, ["config.json", "model.safetensors"]),
    "weights beside pickled ones": (
        ["config.json", "a.bin", "model.safetensors"],
        False,
        ["config.json", "model.safetensors"],
    ),
    "an adapter beside the weights": (
        ["adapter_model.safetensors", "config.json", "model.safetensors"],
        False,
        ["config.json", "model.safetensors"],
    ),
}


@pytest.mark.parametrize("what", SIZES)
def test_which_files_make_a_model(what: str) -> None:
    there, trust, wanted = SIZES[what]
    sizes = dict.fromkeys(there, 1)
    if wanted is None:
        with pytest.raises(InvalidInput, match=r"allowed are model\.safetensors or"):
            wanted_files(sizes, "spec.model", "uri", trust_remote_code=trust)
    else:
        assert wanted_files(sizes, "spec.model", "uri", trust_remote_code=trust) == wanted


def test_a_known_model_type_needs_no_code_though_it_brings_some() -> None:
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "auto_map": {"AutoModel": "x.Y"}}
    check_config(config, "spec.model", "CausalLM", trust_remote_code=False)
    check_config({**config, "model_type": "own"}, "spec.model", "CausalLM", trust_remote_code=True)


# The hub


@pytest.mark.parametrize(
    ("uri", "kind", "repository"),
    [("hf://a/b", "model", "a/b"), ("hf://gpt2", "model", "gpt2"), ("hf://datasets/a/b", "dataset", "a/b")],
)
def test_repositories(uri: str, kind: str, repository: str) -> None:
    assert hub_repository(uri, kind, "spec.model.uri") == repository


@pytest.mark.parametrize("uri", ["hf://", "hf://a/b/c"])
def test_other_hub_uris_are_refused(uri: str) -> None:
    with pytest.raises(InvalidInput, match=r"spec\.data\.uri: found 'hf://.*', allowed is hf://<owner>/<name>"):
        hub_repository(uri, "dataset", "spec.data.uri")


def _hub_error(name: str, status: int) -> Exception:
    from huggingface_hub import errors

    error: Exception = getattr(errors, name)("by the test", response=MagicMock(status_code=status, headers={}))
    return error


@pytest.mark.parametrize(
    ("name", "status", "kind", "message"),
    [
        ("RepositoryNotFoundError", 404, InvalidInput, r"spec\.model\.uri: hf://a/b is not on the hub"),
        ("GatedRepoError", 403, InvalidInput, r"spec\.model\.tokenSecretRef"),
        ("RevisionNotFoundError", 404, InvalidInput, r"spec\.model\.revision: found 'v9'"),
        ("HfHubHTTPError", 401, InvalidInput, r"the hub refuses hf://a/b \(401\)"),
        ("HfHubHTTPError", 503, TemporaryFailure, r"the hub answers 503"),
        ("HfHubHTTPError", 429, TemporaryFailure, r"the hub answers 429"),
    ],
)
def test_what_the_hub_answers(name: str, status: int, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message), hub_errors("hf://a/b", "v9", "spec.model"):
        raise _hub_error(name, status)


def test_a_hub_that_is_away_is_temporary() -> None:
    with pytest.raises(TemporaryFailure, match="the hub does not answer"), hub_errors("hf://a/b", "v9", "spec.model"):
        raise ConnectionError("no route")


def test_a_hub_repository_is_pinned_to_its_commit() -> None:
    source = HubSource("a/b", "model", "c0ffee", {"config.json": 1}, "spec.model")
    assert source.pinned == "c0ffee"
    assert source.identity(["x"]) == HubSource("a/b", "model", "c0ffee", {}, "spec.scoring").identity(["x"])
    assert source.identity(["x"]) != HubSource("a/b", "model", "beef", {}, "spec.model").identity(["x"])


def test_an_image_that_cannot_compile_layers_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(world.root))
    with pytest.raises(InvalidInput, match=r"training\.compile: found true, but the image has no C") as caught:
        world.prepare(world.config(training={"compile": True, "zeroStage": 2}))
    assert caught.value.reason == "NoCompiler"
