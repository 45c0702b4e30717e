"""Reward-augmented data (arXiv 2410.08067): prompts that ask for a score, and two pairs of each.

Training makes of a pair (x, y_w, y_l) with scores s_w > s_l the pair (x + s_w, y_w, y_l) and, reversed, the pair
(x + s_l, y_l, y_w): the policy learns what a response of either score looks like, and not only to avoid the worse one.
Generation and evaluation ask for the goal, the top of the scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from selm_runtime.contract import DataConfig
from selm_runtime.data.templates import Message


def asking_for(score: float, messages: Sequence[Message]) -> list[Message]:
    """The conversation with its last user's message asking for a score.

    At the message's end, so that a prompt cut with KeepEnd keeps it, and in the user's turn, since not every chat
    template has a system's.
    """
    last = max((i for i, message in enumerate(messages) if message["role"] == "user"), default=len(messages) - 1)
    asked = dict(messages[last])
    asked["content"] = f"{asked['content']}\n\nGive a response that scores {score:.3g}."
    return [*messages[:last], asked, *messages[last + 1 :]]


def asked_prompt(data: DataConfig, messages: Sequence[Message]) -> Sequence[Message]:
    """The conversation as generation and evaluation ask it: for the goal where the data are reward-augmented."""
    if data.reward_augmented is None:
        return messages
    return asking_for(data.reward_augmented.goal, messages)


def score_of(columns: Mapping[str, str], name: str) -> float | None:
    """The number in a row's column; None where there is none."""
    try:
        return float(columns[name])
    except (KeyError, ValueError):
        return None
