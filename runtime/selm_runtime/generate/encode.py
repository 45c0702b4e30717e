"""Between messages and token ids: the prompt's side and the response's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from selm_runtime.contract import PhaseConfig
from selm_runtime.data.goals import asked_prompt
from selm_runtime.data.tokens import Tokenizer, encode_prompt, truncate_prompt
from selm_runtime.generate.requests import Prompt
from selm_runtime.generate.responses import ChunkResponses


def encode_rows(tokenizer: Tokenizer, rows: Sequence[Mapping[str, Any]], config: PhaseConfig) -> list[Prompt]:
    """Rows of a PROMPTS table as prompts, cut as Training cuts them: the policy is asked what it is trained on.

    Raises InvalidInput naming the row where the chat template refuses it.
    """

    def prompt(row: Mapping[str, Any]) -> Prompt:
        whole = encode_prompt(tokenizer, asked_prompt(config.data, row["prompt"]), f"row {row['row']}")
        ids = truncate_prompt(whole, config.training)
        return Prompt(row["row"], tuple(ids), cut=len(ids) < len(whole))

    return [prompt(row) for row in rows]


def decode(tokenizer: Tokenizer, responses: ChunkResponses) -> list[str]:
    """The responses' texts without special tokens, in the plan's order."""
    return list(tokenizer.batch_decode([list(done.ids) for done in responses.completions], skip_special_tokens=True))
