"""PairRM (Jiang et al. 2023, LLM-Blender, 2306.02561): a DeBERTa-v3 that reads a prompt and two responses at once.

Read in plain transformers, from either layout of the checkpoint: llm-blender/PairRM, whose config.json is the
ranker's own (`ranker_type: pairranker`), and llm-blender/PairRM-hf, whose config.json is transformers'. The input is

    [CLS] <|source|> prompt [SEP] [CLS] <|candidate1|> response [SEP] [CLS] <|candidate2|> response [SEP]

and the logit is h(source, candidate1) − h(source, candidate2), where h is a head on the last hidden states at the
three marks. It depends on the order, so both orders run: the margin of i over j is (logit(i, j) − logit(j, i)) / 2.
LLM-Blender ranks by the mean of the same differences (`max_logits`), twice as large and over itself, too.

**Limits**: the prompt has at most 1,224 tokens, each response 412 and half of what the prompt leaves of its own; what
is beyond is cut off at the end, not seen, and counted (`cut`, `cutPrompts`).
"""

from __future__ import annotations

import gc
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selm_runtime.errors import InvalidInput
from selm_runtime.precision import inference_device
from selm_runtime.score.combine import sigmoid
from selm_runtime.score.interface import Comparisons, Message, Scorable
from selm_runtime.score.pair_rm_network import load_network
from selm_runtime.score.reward_plain import BATCH_TOKENS, token_batches

SOURCE_TOKENS, CANDIDATE_TOKENS = 1224, 412
"""PairRM's own; a checkpoint's config.json may say otherwise (`source_maxlength`, `candidate_maxlength`)."""
SOURCE, FIRST, SECOND, EITHER = "<|source|>", "<|candidate1|>", "<|candidate2|>", "<|candidate|>"
MARKS = (SOURCE, FIRST, SECOND, EITHER)
"""In the order in which LLM-Blender adds them to the tokenizer."""
CONVERSATION = "Finish the following coversation in each i-th turn by filling in <Response i> with your response."
"""How LLM-Blender introduces a conversation of several turns, spelled as in what the model was trained on."""


class PairRMRanker:
    """A pairwise ranker; float32, for near responses' order not to hang on rounding."""

    def __init__(self, name: str, model: Path, field: str) -> None:
        """`model` is a local folder with the checkpoint, `field` the group's path in the spec, for errors.

        Raises InvalidInput where it is no PairRM.
        """
        check_pair_rm(model, field)
        from transformers import AutoTokenizer

        self._name = name
        self._device = inference_device()
        self._tokenizer: Any = AutoTokenizer.from_pretrained(model)
        missing = [mark for mark in MARKS if mark not in self._tokenizer.get_vocab()]
        self._tokenizer.add_tokens(missing)
        ids: Any = self._tokenizer.convert_tokens_to_ids(list(MARKS))
        self._marks: dict[str, int] = dict(zip(MARKS, ids, strict=True))
        self._limits = limits_of(_config(model))
        self._network = load_network(model, _config(model), field).to(self._device).eval()
        self._counts = {"cut": 0, "cutPrompts": 0}

    @property
    def name(self) -> str:
        return self._name

    def compare(self, prompts: Sequence[Sequence[Scorable]]) -> list[Comparisons]:
        """Both orders of every pair of a prompt's responses, batched by length over all prompts."""
        places = [
            (p, i, j)
            for p, prompt in enumerate(prompts)
            for i in range(len(prompt))
            for j in range(len(prompt))
            if i != j
        ]
        encoded = [self._encode(prompt) for prompt in prompts]
        inputs = [encoded[p].pair(i, j) for p, i, j in places]
        logits = dict(zip(places, self._logits(inputs), strict=True))
        return [
            Comparisons.of(
                len(prompt),
                {
                    (i, j): (logits[p, i, j] - logits[p, j, i]) / 2
                    for i in range(len(prompt))
                    for j in range(i + 1, len(prompt))
                },
                sigmoid,
            )
            for p, prompt in enumerate(prompts)
        ]

    def counts(self) -> dict[str, float]:
        counts: dict[str, float] = dict(self._counts)
        self._counts = dict.fromkeys(self._counts, 0)
        return counts

    def close(self) -> None:
        import torch

        self._network = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _encode(self, prompt: Sequence[Scorable]) -> _Encoded:
        if not prompt:
            return _Encoded([], [], [])
        messages = prompt[0].messages
        most_source, most_candidate = self._limits
        source, cut = self._ids(SOURCE + self._plain(source_text(messages)), most_source)
        self._counts["cutPrompts"] += cut
        most = most_candidate + (most_source - len(source)) // 2
        first, second = [], []
        for scorable in prompt:
            text = self._plain(candidate_text(messages, scorable.text))
            ids, cut = self._ids(EITHER + text, most)
            self._counts["cut"] += cut
            first.append([self._marks[FIRST] if token == self._marks[EITHER] else token for token in ids])
            second.append([self._marks[SECOND] if token == self._marks[EITHER] else token for token in ids])
        return _Encoded(source, first, second)

    def _plain(self, text: str) -> str:
        """Without what the model would read as structure."""
        for token in (self._tokenizer.sep_token, self._tokenizer.cls_token, *MARKS):
            text = text.replace(token, " ")
        return text

    def _ids(self, text: str, most: int) -> tuple[list[int], bool]:
        """[CLS] text [SEP], and whether the text's end was cut off for it."""
        ids: list[int] = self._tokenizer(text)["input_ids"]
        return (ids, False) if len(ids) <= most else ([*ids[: most - 1], ids[-1]], True)

    def _logits(self, inputs: Sequence[Sequence[int]]) -> list[float]:
        import torch

        logits = [0.0] * len(inputs)
        pad = int(self._tokenizer.pad_token_id)
        for batch in token_batches([len(ids) for ids in inputs], BATCH_TOKENS):
            longest = len(inputs[batch[0]])
            ids = torch.tensor([[*inputs[i], *[pad] * (longest - len(inputs[i]))] for i in batch], device=self._device)
            mask = torch.tensor(
                [[1] * len(inputs[i]) + [0] * (longest - len(inputs[i])) for i in batch], device=self._device
            )
            with torch.inference_mode():
                found = self._network(ids, mask, *(self._marks[mark] for mark in (SOURCE, FIRST, SECOND)))
            for index, logit in zip(batch, found.double().tolist(), strict=True):
                logits[index] = logit
        return logits


@dataclass(frozen=True)
class _Encoded:
    """A prompt, and its responses as first and as second candidates."""

    source: list[int]
    first: list[list[int]]
    second: list[list[int]]

    def pair(self, i: int, j: int) -> list[int]:
        return [*self.source, *self.first[i], *self.second[j]]


def source_text(messages: Sequence[Message]) -> str:
    """The prompt as LLM-Blender writes it: the text of one turn, or a conversation with places for responses.

    A system message goes before it, as LLM-Blender's instructions do.
    """
    system = "\n".join(message["content"] for message in messages if message["role"] == "system")
    turns = [message for message in messages if message["role"] != "system"]
    asked = [message["content"] for message in turns if message["role"] == "user"]
    if len(turns) == 1 and asked:
        text = asked[0]
    elif _alternates(turns):
        lines = [f"USER: {content}\nAssistant: <Response {i}>" for i, content in enumerate(asked, start=1)]
        text = CONVERSATION + "\n".join(lines)
    else:
        text = "\n".join(f"{message['role'].upper()}: {message['content']}" for message in turns)
    return f"{system}\n{text}" if system else text


def candidate_text(messages: Sequence[Message], response: str) -> str:
    """The response, with the assistant's earlier turns before it where the prompt has several turns."""
    turns = [message for message in messages if message["role"] != "system"]
    if len(turns) == 1 or not _alternates(turns):
        return response
    said = [message["content"] for message in turns if message["role"] == "assistant"]
    return "\n".join(f"<Response {i}>: {content}" for i, content in enumerate([*said, response], start=1))


def _alternates(turns: Sequence[Message]) -> bool:
    roles = [message["role"] for message in turns]
    return len(roles) % 2 == 1 and roles == ["user" if i % 2 == 0 else "assistant" for i in range(len(roles))]


def limits_of(config: Mapping[str, Any]) -> tuple[int, int]:
    """Tokens of the prompt and of a response."""
    return (
        int(config.get("source_maxlength") or SOURCE_TOKENS),
        int(config.get("candidate_maxlength") or CANDIDATE_TOKENS),
    )


def check_pair_rm(model: Path, field: str) -> None:
    """Raises InvalidInput unless the small files are those of a PairRM with its tokenizer; loads no weights."""
    config = _config(model)
    architectures = [str(name) for name in config.get("architectures") or ()]
    if config.get("ranker_type") != "pairranker" and not any("PairRM" in name for name in architectures):
        found = f"ranker_type {config['ranker_type']}" if "ranker_type" in config else ", ".join(architectures)
        raise InvalidInput(
            "NoPairRM",
            f"{field}.uri: found {found or 'no architecture'} in config.json; allowed is a checkpoint in the layout of "
            "llm-blender/PairRM or llm-blender/PairRM-hf; a scalar reward model goes under rewardModel",
        )
    backbone = str(config.get("model_type", ""))
    if not backbone.startswith("deberta"):
        raise InvalidInput("NoPairRM", f"{field}.uri: found model_type {backbone!r}; allowed is a DeBERTa-v3 backbone")
    if not any((model / name).exists() for name in ("tokenizer.json", "spm.model")):
        raise InvalidInput(
            "NoTokenizer",
            f"{field}.uri: found no tokenizer.json or spm.model beside the weights; one of them is needed",
        )


def _config(model: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((model / "config.json").read_text())
    return config
