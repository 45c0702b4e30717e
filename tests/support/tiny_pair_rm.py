"""A tiny PairRM with random weights, in the two layouts of its checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from transformers import DebertaV2Config, DebertaV2Model, DebertaV2Tokenizer

HIDDEN = 128
MARKS = ("<|source|>", "<|candidate1|>", "<|candidate2|>", "<|candidate|>")
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;?!<>|/()'-\n"


def make_tokenizer(marks: tuple[str, ...] = MARKS) -> DebertaV2Tokenizer:
    """A letter a token, as SentencePiece would have it; the marks added as LLM-Blender adds them."""
    special = [(token, 0.0) for token in ("[PAD]", "[CLS]", "[SEP]", "[UNK]")]
    tokenizer = DebertaV2Tokenizer(vocab=[*special, ("▁", -1.0), *((c, -2.0) for c in _LETTERS)], unk_id=3)
    tokenizer.add_tokens(list(marks))
    return tokenizer


def make_tiny_pair_rm(path: Path, layout: Literal["blender", "hf"] = "blender", seed: int = 0) -> Path:
    """Write weights, tokenizer and config.json of the layout; prompts of 60 tokens, responses of 20. The folder."""
    import torch
    from safetensors.torch import save_file

    tokenizer = make_tokenizer()
    backbone = DebertaV2Config(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
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
        initializer_range=0.3,  # wide enough that responses differ
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DebertaV2Model(backbone)
        head = torch.nn.Sequential(
            torch.nn.Identity(),
            torch.nn.Linear(2 * HIDDEN, HIDDEN),
            torch.nn.Tanh(),
            torch.nn.Identity(),
            torch.nn.Linear(HIDDEN, 1),
        )
    state: dict[str, Any] = {f"pretrained_model.{name}": tensor for name, tensor in model.state_dict().items()}
    state |= {f"head_layer.{name}": tensor for name, tensor in head.state_dict().items()}
    path.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.clone().contiguous() for name, tensor in state.items()}, path / "model.safetensors")
    tokenizer.save_pretrained(path)
    limits = {"source_maxlength": 60, "candidate_maxlength": 20}
    config: dict[str, Any] = {
        "ranker_type": "pairranker",
        "model_type": "deberta",
        "model_name": "microsoft/deberta-v3-large",
        "n_tasks": 1,
        **limits,
    }
    if layout == "hf":
        config = {**backbone.to_dict(), "architectures": ["DebertaV2PairRM"], "n_tasks": 1, "drop_out": 0.05, **limits}
    (path / "config.json").write_text(json.dumps(config))
    return path
