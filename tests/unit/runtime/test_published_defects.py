"""What is wrong in published preference trainers and their scripts, each shown to be absent here.

a second BOS                     chat templates write one, tokenizers add another
no length limit on the explored  the published SELM trainer looks at chosen and rejected alone
EOS missing or doubled           or invented for a response that generation cut
no response left                 truncation to the prompt's end or start leaves nothing to train on
padding in the sums              log-probs of pads, or a limit that moves with the batch
precomputed reference            its third log-prob was never set: a crash, or a reference of another row
other tokens than generated      text is tokenised again between generation and training
a weight that is not in the file trains from random values without a word
another order after a resume     or on another number of ranks
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from selm_runtime.contract import TrainingConfig
from selm_runtime.data.tokens import encode_prompt, encode_response, truncate
from selm_runtime.errors import InvalidInput
from selm_runtime.train import batches, reference
from selm_runtime.train import model as models
from selm_runtime.train.data import bring_pairs
from selm_runtime.train.packing import pack
from selm_runtime.train.pairs import PairTable
from support.phase_configs import phase_config
from support.tiny_model import make_tiny_model, make_tokenizer
from support.train_pairs import make_pairs, padded_sums, response_of
from support.train_world import TrainWorld

BOS, EOS, PAD = 1, 2, 0
LLAMA_3_STYLE = (
    "{% for message in messages %}"
    "{% set text = '<|' + message['role'] + '|>' + message['content'] + '</s>' %}"
    "{% if loop.index0 == 0 %}{{ bos_token + text }}{% else %}{{ text }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""BOS before the first message, whatever its role: rendered alone, the assistant's message gets one too."""


def training(**changes: Any) -> TrainingConfig:
    return phase_config(training={"maxLength": 1024, "maxPromptLength": 512, **changes}).training


def test_a_template_and_a_tokenizer_that_both_write_bos_give_one_and_the_response_none() -> None:
    tokenizer = make_tokenizer()  # adds a BOS to any text
    tokenizer.chat_template = LLAMA_3_STYLE
    alone = tokenizer.apply_chat_template([{"role": "assistant", "content": "yes"}], tokenize=False)
    assert tokenizer(alone).input_ids.count(BOS) == 2  # what the published code trains on
    prompt = encode_prompt(tokenizer, [{"role": "user", "content": "well?"}])
    response = encode_response(tokenizer, "yes")
    assert [*prompt, *response].count(BOS) == 1
    assert prompt[0] == BOS


@pytest.mark.parametrize(("chosen", "rejected"), [(200, 150), (950, 150)])
def test_the_explored_response_is_cut_as_the_others_are_whatever_their_lengths(chosen: int, rejected: int) -> None:
    responses = [[7] * chosen, [8] * rejected, [9] * 1025]
    prompt, cut = truncate([5] * 100, responses, training())
    assert [len(response) for response in cut] == [min(chosen, 924), rejected, 924]
    assert all(len(prompt) + len(response) <= 1024 for response in cut)


@pytest.mark.parametrize("text", ["yes", "yes</s>", "yes</s></s>", ""])
def test_a_whole_response_has_one_eos_at_its_end(text: str) -> None:
    ids = encode_response(make_tokenizer(), text)
    assert ids.count(EOS) == 1
    assert ids[-1] == EOS


def test_a_response_that_was_cut_gets_no_eos() -> None:
    _, (cut,) = truncate([5], [[*[7] * 2000, EOS]], training())
    assert EOS not in cut


@pytest.mark.parametrize("truncation", ["KeepEnd", "KeepStart"])
def test_truncation_leaves_response_tokens_however_long_the_prompt(truncation: str) -> None:
    prompt, cut = truncate([5] * 5000, [[7] * 3, [8] * 5000], training(truncation=truncation))
    assert (len(prompt), [len(response) for response in cut]) == (512, [3, 512])


def test_nothing_is_padded_and_a_pairs_sums_do_not_depend_on_its_company(tiny: Path) -> None:
    pairs = make_pairs(6)
    policy = models.load(tiny, dtype=torch.float64, max_length=64)
    together = pack(pairs, explored=True)
    assert PAD not in together.input_ids
    assert together.tokens == sum(pair.tokens for pair in pairs)
    assert int(together.lengths.sum()) == len(together.targets)
    with torch.no_grad():
        sums = together.sums(policy(together))
        for place, pair in enumerate(pairs):
            own = (batch := pack([pair], explored=True)).sums(policy(batch))
            torch.testing.assert_close(own.chosen[0], sums.chosen[place], rtol=0, atol=1e-9)
            torch.testing.assert_close(own.rejected[0], sums.rejected[place], rtol=0, atol=1e-9)


class Alone:
    """The only rank of a test that has no process group."""

    device = torch.device("cpu")
    rank, size = 0, 1

    def gather(self, value: Any) -> list[Any]:
        return [value]


def test_precomputed_references_have_all_three_roles_of_the_right_rows(tiny: Path) -> None:
    from transformers import AutoModelForCausalLM

    pairs = {pair.row: pair for pair in make_pairs(6)}
    policy = models.load(tiny, dtype=torch.float32, max_length=64)
    alone: Any = Alone()
    table = reference.compute(
        policy, pairs, sorted(pairs), explored=True, max_tokens=60, ranks=alone, between=lambda *_: None
    )
    rows = [4, 0, 3]
    found = table.of(rows, torch.device("cpu"))
    plain = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    with torch.no_grad():
        for role in ("chosen", "rejected", "explored"):
            own: Tensor = getattr(found, role)
            expected = padded_sums(plain, [(pairs[row].prompt, response_of(pairs[row], role)) for row in rows])
            torch.testing.assert_close(own, expected, rtol=1e-5, atol=1e-4)


def test_training_takes_the_token_ids_that_generation_made(tmp_path: Path) -> None:
    world = TrainWorld(tmp_path)
    config = world.config()
    bring_pairs(world.phase_folder(config), world.folder / "base", tmp_path / "brought.parquet")
    trained = PairTable(tmp_path / "brought.parquet", explored=True)
    tokenizer, changed = make_tokenizer(), 0
    for part in sorted(tmp_path.glob("pairs-*.parquet")):
        for made in pq.read_table(part).to_pylist():
            pair = trained[made["row"]]
            for role in ("prompt", "chosen", "rejected", "explored"):
                assert list(response_of(pair, role)) == made[f"{role}_ids"]
            text = tokenizer.decode(made["chosen_ids"], skip_special_tokens=True)
            changed += encode_response(tokenizer, text) != made["chosen_ids"]
    assert changed  # ids that do not survive a way through text: the test can fail


@pytest.mark.parametrize(
    "lost", ["model.layers.1.mlp.up_proj.weight", "model.norm.weight", "model.layers.0.self_attn.q_proj.weight"]
)
def test_a_weight_that_the_files_lack_is_named_and_refused(lost: str, tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path)
    file = next(folder.glob("*.safetensors"))
    weights = load_file(file)
    weights.pop(lost)
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(InvalidInput, match=lost.replace(".", r"\.")):
        models.load(folder, dtype=torch.float32, max_length=64)


def test_a_weight_of_another_shape_or_too_many_is_refused(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path)
    file = next(folder.glob("*.safetensors"))
    weights = load_file(file)
    save_file({**weights, "model.layers.7.mlp.up_proj.weight": torch.zeros(2, 2)}, file, metadata={"format": "pt"})
    with pytest.raises(InvalidInput, match=r"layers\.7"):
        models.load(folder, dtype=torch.float32, max_length=64)
    save_file({**weights, "model.norm.weight": torch.zeros(3)}, file, metadata={"format": "pt"})
    with pytest.raises(InvalidInput, match=r"model\.norm\.weight"):
        models.load(folder, dtype=torch.float32, max_length=64)


def test_the_steps_after_a_resume_are_those_of_an_undisturbed_run_on_any_ranks() -> None:
    rows = list(range(0, 400, 3))
    shuffled = random.Random(1).sample(rows, len(rows))
    settings: dict[str, Any] = {"batch_size": 8, "epochs": 2, "seed": 42, "iteration": 3}
    whole = batches.schedule(rows, **settings).steps
    assert batches.schedule(shuffled, **settings).steps == whole  # what the file's order was does not matter
    assert len({row for step in whole[:16] for row in step}) == 128  # an epoch repeats nothing
    assert whole[:16] != whole[16:]
    tokens = {row: 10 + row % 90 for row in rows}
    for step in whole:
        for ranks in (1, 2, 4):
            plan = batches.plan_step(step, tokens, ranks=ranks, max_tokens=100)
            assert sorted(row for share in plan for micro in share for row in micro) == sorted(step)
