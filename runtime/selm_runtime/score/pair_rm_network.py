"""PairRM's network: a DeBERTa-v3 and a head on its hidden states, from either layout of the checkpoint (`pair_rm`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from selm_runtime.errors import InvalidInput
from selm_runtime.score.reward_plain import not_buildable

HEAD_WIDTH = 64
"""Hidden dimensions of an attention head, the same in every size of DeBERTa-v3."""


def check_pair_rm_weights(config: Mapping[str, Any], names: Collection[str], field: str) -> None:
    """Raises InvalidInput unless the weights (`names` are theirs) are those of a backbone with PairRM's head, no more, no less.

    By names and config.json alone: sizes that do not fit show when the weights are loaded. Imports torch.
    """
    import torch

    with torch.device("meta"):
        # Names say how many layers there are; sizes stand for any.
        network = make_network(config, dict.fromkeys(names, (HEAD_WIDTH, HEAD_WIDTH)), field)
    expected = set(network.state_dict())
    missing, unknown = expected - set(names), {name for name in names if not _is_buffer(name)} - expected
    if missing or unknown:
        what = [
            f"{word} {', '.join(sorted(some)[:5])}"
            for word, some in (("lack", missing), ("also have", unknown))
            if some
        ]
        raise InvalidInput("WeightsMismatch", f"{field}.uri: the weights are not PairRM's: they {' and '.join(what)}")


def load_network(model: Path, config: Mapping[str, Any], field: str) -> Any:
    """The network with the checkpoint's weights. Raises InvalidInput where they are not PairRM's."""
    from safetensors.torch import load_file

    state: dict[str, Any] = {}
    for path in sorted(model.glob("*.safetensors")):
        state |= {name: tensor.float() for name, tensor in load_file(path).items() if not _is_buffer(name)}
    network = make_network(config, {name: tuple(tensor.shape) for name, tensor in state.items()}, field)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise InvalidInput("WeightsMismatch", f"{field}.uri: the weights are not PairRM's: {error}") from error
    return network


def _is_buffer(name: str) -> bool:
    """Positions, which older transformers wrote beside the weights."""
    return name.endswith("position_ids")


def make_network(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], field: str) -> Any:
    """Backbone and head with the names and sizes of the checkpoint's weights (`shapes`) and its config.json.

    Raises InvalidInput where the weights are no DeBERTa-v3's, or config.json is not of one that can be built.
    """
    import torch
    from transformers import DebertaV2Config, DebertaV2Model

    settings = backbone_settings(shapes, field) if config.get("ranker_type") == "pairranker" else config

    class PairRM(torch.nn.Module):
        """The backbone and the head; parameters are named as in the checkpoint."""

        def __init__(self) -> None:
            super().__init__()
            backbone = DebertaV2Config(**settings)
            self.pretrained_model = DebertaV2Model(backbone)  # type: ignore[no-untyped-call]
            width = backbone.hidden_size
            # Dropout does nothing here, but keeps the layers' numbers, which are the parameters' names.
            self.head_layer = torch.nn.Sequential(
                torch.nn.Dropout(0.0),
                torch.nn.Linear(2 * width, width),
                torch.nn.Tanh(),
                torch.nn.Dropout(0.0),
                torch.nn.Linear(width, int(config.get("n_tasks") or 1)),
            )

        def forward(self, ids: Any, mask: Any, source: int, first: int, second: int) -> Any:
            hidden = self.pretrained_model(input_ids=ids, attention_mask=mask).last_hidden_state
            at_source, at_first, at_second = (hidden[ids == mark] for mark in (source, first, second))
            left = self.head_layer(torch.cat([at_source, at_first], dim=-1))
            right = self.head_layer(torch.cat([at_source, at_second], dim=-1))
            return (left - right).mean(dim=-1)

    with not_buildable(f"{field}.uri"):
        return PairRM()


def backbone_settings(shapes: Mapping[str, tuple[int, ...]], field: str) -> dict[str, Any]:
    """The DeBERTa-v3 that the weights are of: sizes from their shapes, the rest as in every published one.

    The ranker's own config.json names its backbone (microsoft/deberta-v3-large) and says nothing of its sizes.
    """
    prefix = "pretrained_model."
    try:
        vocabulary, hidden = shapes[f"{prefix}embeddings.word_embeddings.weight"]
        intermediate = shapes[f"{prefix}encoder.layer.0.intermediate.dense.weight"][0]
        buckets = shapes[f"{prefix}encoder.rel_embeddings.weight"][0] // 2
    except KeyError as error:
        raise InvalidInput(
            "WeightsMismatch", f"{field}.uri: the weights are no DeBERTa-v3's: {error} is missing"
        ) from error
    layers = {name.split(".")[3] for name in shapes if name.startswith(f"{prefix}encoder.layer.")}
    return {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": len(layers),
        "num_attention_heads": max(1, hidden // HEAD_WIDTH),
        "position_buckets": buckets,
        "max_position_embeddings": 512,
        "max_relative_positions": -1,
        "relative_attention": True,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "type_vocab_size": 0,
        "layer_norm_eps": 1e-7,
        "pad_token_id": 0,
    }
