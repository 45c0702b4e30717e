"""Selection of rows by their fit to the base model: which, how the figures come about, and what is refused."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.data.fit import Measured, fit, fittest, measured, rows_kept
from selm_runtime.errors import InvalidInput, TemporaryFailure
from selm_runtime.evaluate import forward
from support.phase_configs import phase_config
from support.prepare_world import World
from support.tiny_model import make_tiny_model, make_tiny_reward_model, preference_rows

ROWS, HELD_OUT = 45, 5  # of the 50 that the world has


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    make_tiny_model(root / "policy")
    make_tiny_reward_model(root / "reward")
    return root


@pytest.fixture
def world(tmp_path: Path, models: Path) -> World:
    return World(tmp_path, models)


def kept(world: World, manifest: Manifest) -> list[int]:
    """The rows for training, in their order over the portions."""
    names = sorted(entry.name for entry in manifest.under("rows/portion"))
    return [row for name in names for row in world.table(manifest, name)["row"].to_pylist()]


@torch.inference_mode()
def literal(model: Path, of: str) -> list[float]:
    """log pi(text | what is before it) / |text| of each row, one sequence at a time by transformers alone."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()

    def mean_log_prob(before: list[int], text: list[int]) -> float:
        logits = network(torch.tensor([[*before, *text]])).logits[0]
        log_probs = logits.log_softmax(-1)
        predicted = log_probs[len(before) - 1 : -1].gather(1, torch.tensor(text)[:, None])
        return float(predicted.double().mean())

    figures = []
    for row in preference_rows(ROWS):
        chosen: Any = row["chosen"]
        rejected: Any = row["rejected"]
        prompt = tokenizer.apply_chat_template(chosen[:1], add_generation_prompt=True, tokenize=False)
        ids = tokenizer(prompt, add_special_tokens=False).input_ids
        responses = [
            [*tokenizer(side[-1]["content"], add_special_tokens=False).input_ids, tokenizer.eos_token_id]
            for side in (chosen, rejected)
        ]
        figures.append(
            {
                "Chosen": lambda ids=ids, texts=responses: mean_log_prob(ids, texts[0]),
                "Best": lambda ids=ids, texts=responses: max(mean_log_prob(ids, text) for text in texts),
                "Prompt": lambda ids=ids: mean_log_prob(ids[:1], ids[1:]),
            }[of]()
        )
    return figures


@pytest.mark.parametrize("of", ["Chosen", "Best", "Prompt"])
def test_the_rows_are_those_of_a_literal_computation(world: World, models: Path, of: str) -> None:
    manifest = world.prepare(world.config(data={"selection": {"of": of, "keep": 0.4}}))
    expected = literal(models / "policy", of)
    table = world.table(manifest, "fit/log-probs.parquet")
    assert table["row"].to_pylist() == list(range(ROWS))
    assert table["log_prob"].to_pylist() == pytest.approx(expected, abs=1e-5)
    likeliest = sorted(range(ROWS), key=lambda row: -expected[row])[:18]
    assert kept(world, manifest) == sorted(likeliest)
    assert world.table(manifest, "rows/held-out.parquet")["row"].to_pylist() == list(range(ROWS, ROWS + HELD_OUT))
    facts = manifest.facts["selection"]
    assert {name: facts[name] for name in ("of", "keep", "rows", "kept")} == {
        "of": of,
        "keep": 0.4,
        "rows": ROWS,
        "kept": 18,
    }
    assert facts["meanLogProbKept"] == pytest.approx(sum(expected[row] for row in likeliest) / 18, abs=1e-5)
    assert facts["meanLogProbLeftOut"] < facts["meanLogProbKept"]
    assert manifest.metrics == {"rows": 18, "heldOutRows": 5, "evaluationOverlap": 0, "leftOutBySelection": 27}
    assert (manifest.rows, manifest.facts["portions"]) == (18, [9, 9])


def test_the_kept_rows_are_the_datas_own(world: World) -> None:
    """Nothing of a row but its being there depends on the selection."""
    without = world.prepare(world.config())
    whole = {
        row["row"]: row
        for name in ("portion-0001", "portion-0002")
        for row in world.table(without, f"rows/{name}.parquet").to_pylist()
    }
    assert "selection" not in without.facts
    assert "leftOutBySelection" not in without.metrics
    config = world.config(run={"uid": "2"}, data={"selection": {"keep": 0.5}})
    selected = world.prepare(config)
    rows = [
        row for entry in selected.under("rows/portion") for row in world.table(selected, entry.name, config).to_pylist()
    ]
    assert rows == [whole[row["row"]] for row in rows]
    assert len(rows) == 22


def test_another_share_asks_the_model_nothing_again(world: World) -> None:
    world.prepare(world.config(data={"selection": {"keep": 0.5}}))
    config = world.config(run={"uid": "2", "name": "other"}, data={"selection": {"keep": 0.2}})
    manifest = world.prepare(config)
    assert [event["name"] for event in world.events("stage")].count("fit") == 1
    assert [event["rows"] for event in world.events("fit-reused")] == [ROWS]
    figures = world.table(manifest, "fit/log-probs.parquet", config)["log_prob"].to_pylist()
    names = sorted(entry.name for entry in manifest.under("rows/portion"))
    rows = [row for name in names for row in world.table(manifest, name, config)["row"].to_pylist()]
    assert rows == fittest(figures, 9)
    world.prepare(world.config(run={"uid": "3"}, data={"selection": {"of": "Best", "keep": 0.5}}))
    assert [event["name"] for event in world.events("stage")].count("fit") == 2


def test_a_pod_that_is_asked_to_go_leaves_nothing_and_the_next_one_chooses_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = world.config(
        artifacts={"reuse": "None"}, training={"maxTokensPerMicroBatch": 256}, data={"selection": {"keep": 0.5}}
    )
    packed = []

    def pack_once(*arguments: Any, **options: Any) -> Any:
        packed.append(1)
        if len(packed) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return pack(*arguments, **options)

    pack = forward.pack
    monkeypatch.setattr(forward, "pack", pack_once)
    with pytest.raises(TemporaryFailure, match="asked to end"):
        world.prepare(config, writer="w1")
    assert len(packed) == 3
    assert not list((world.root / "store").rglob("manifest.json"))
    after = world.prepare(config, writer="w2")
    undisturbed = world.prepare(config.model_copy(update={"run": config.run.model_copy(update={"uid": "9"})}))
    assert after.content_digest == undisturbed.content_digest
    assert after.facts == undisturbed.facts


def test_prompts_alone_are_selected_by_the_prompt(world: World) -> None:
    shutil.rmtree(world.root / "data")
    prompts = [{"prompt": row["prompt"]} for row in preference_rows(50)]
    (world.root / "data").mkdir()
    pq.write_table(pa.Table.from_pylist(prompts), world.root / "data" / "train.parquet")
    settings: dict[str, Any] = {
        "scoring": {"pairing": {"offline": "Exclude"}},
        "evaluation": {"selectBy": {"metric": "WinRate"}},
    }
    manifest = world.prepare(world.config(data={"selection": {"of": "Prompt", "keep": 0.3}}, **settings))
    assert manifest.rows == 13
    with pytest.raises(
        InvalidInput, match=r"spec\.data\.selection\.of: found Chosen, but the data .* allowed is Prompt"
    ):
        world.prepare(world.config(run={"uid": "2"}, data={"selection": {"keep": 0.3}}, **settings))


def test_too_few_rows_are_refused_before_the_model_is_fetched(world: World) -> None:
    shutil.rmtree(world.root / "model")
    (world.root / "model").mkdir()
    shutil.copy(Path(__file__), world.root / "model" / "config.json")  # no model: whoever reads it fails otherwise
    with pytest.raises(InvalidInput, match=r"batchSize: found 4, allowed is at most 2.*selection\.keep leaves out 41"):
        world.prepare(world.config(data={"selection": {"keep": 0.1}}))


def test_a_model_that_gives_no_numbers_is_refused(world: World) -> None:
    weights = world.root / "model" / "model.safetensors"
    tensors = load_file(weights)
    tensors["model.norm.weight"] = torch.full_like(tensors["model.norm.weight"], float("nan"))
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(InvalidInput, match=r"spec\.model: it gives log-probabilities that are no numbers"):
        world.prepare(world.config(data={"selection": {"keep": 0.5}}))
    assert not list((world.root / "store").rglob("manifest.json"))


def test_long_rows_are_measured_as_training_cuts_them(models: Path, tmp_path: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(models / "policy")
    row = {
        "row": 0,
        "prompt": [{"role": "user", "content": "p" * 300}],
        "chosen": "c" * 300,
        "rejected": "r",
        "chosen_turns": None,
        "rejected_turns": None,
    }
    training = phase_config().training
    text = measured(tokenizer, row, "Best", training)
    assert len(text.context) == training.max_prompt_length
    assert [len(ids) for ids in text.texts] == [training.max_length - training.max_prompt_length, 2]
    prompt = measured(tokenizer, row, "Prompt", training)
    assert (len(prompt.context), len(prompt.texts[0])) == (1, training.max_prompt_length - 1)


def test_a_prompt_of_one_token_is_named() -> None:
    class OneToken:
        bos_token_id = None

        def apply_chat_template(self, *_: Any, **__: Any) -> str:
            return "x"

        def __call__(self, *_: Any, **__: Any) -> Any:
            return type("Ids", (), {"input_ids": [7]})

    row = {"row": 12, "prompt": [{"role": "user", "content": "x"}]}
    with pytest.raises(InvalidInput, match="row 12: found a prompt of one token"):
        measured(OneToken(), row, "Prompt", phase_config().training)  # type: ignore[arg-type]


def test_what_others_said_is_neither_summed_nor_counted() -> None:
    assert fit(Measured([1], [[5, 6, ~7, ~8, 9]]), [-6.0]) == -2.0
    assert fit(Measured([1], [[5, 6], [5, 6, 7, 8]]), [-4.0, -6.0]) == -1.5


def test_no_number_is_not_taken_for_the_less_likely_one() -> None:
    figures = [fit(Measured([1], [[5], [6]]), sums) for sums in ([-1.0, float("nan")], [float("nan"), -1.0])]
    for figure in figures:
        with pytest.raises(InvalidInput, match="no numbers"):
            fittest([-2.0, figure], 1)


@given(st.lists(st.sampled_from([-3.0, -2.0, -1.0, float("-inf")]), min_size=1, max_size=30), st.floats(0.01, 1.0))
def test_the_likeliest_are_kept_in_order_of_equals_the_earlier(log_probs: list[float], keep: float) -> None:
    count = rows_kept(len(log_probs), keep)
    places = fittest(log_probs, count)
    assert len(places) == count >= 1
    assert places == sorted(set(places))
    out = [place for place in range(len(log_probs)) if place not in places]
    for inside in places:
        for outside in out:
            assert (log_probs[inside], -inside) > (log_probs[outside], -outside)


@pytest.mark.parametrize(
    ("rows", "keep", "count"), [(100, 0.29, 29), (10, 0.3, 3), (45, 0.5, 22), (7, 1.0, 7), (3, 0.1, 1), (0, 0.5, 0)]
)
def test_a_share_is_the_decimal_number_that_was_written(rows: int, keep: float, count: int) -> None:
    assert rows_kept(rows, keep) == count
