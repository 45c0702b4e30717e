"""Lengths and form of the held-out responses: pure functions over their texts, token ids and finish reasons."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

LIST = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+\S", re.MULTILINE)
HEADING = re.compile(r"^#{1,6}\s+\S", re.MULTILINE)
CODE = re.compile(r"^\s*```", re.MULTILINE)
BOLD = re.compile(r"\*\*[^*\n]+\*\*")
FORMS = {"list": LIST, "heading": HEADING, "code": CODE, "bold": BOLD}
"""Marks of Markdown, which judges are known to like: the share of responses that have each is reported."""


def length_figures(tokens: Sequence[int], texts: Sequence[str]) -> dict[str, float]:
    """Tokens (the end of sequence included) as mean, median, 95 % point and longest; words as a mean."""
    lengths = np.asarray(tokens, dtype=np.float64)
    return {
        "mean": float(lengths.mean()),
        "median": float(np.median(lengths)),
        "p95": float(np.percentile(lengths, 95)),
        "longest": float(lengths.max()),
        "meanWords": sum(len(text.split()) for text in texts) / len(texts),
    }


def form_figures(texts: Sequence[str], finish_reasons: Sequence[str]) -> dict[str, Any]:
    """Shares of responses, 0 to 1: ended by themselves, cut, empty, equal to another prompt's, and by marks of Markdown;
    and the mean share of distinct word trigrams, which falls where a policy repeats itself."""
    n = len(texts)
    often = {text for text, count in Counter(text.strip() for text in texts).items() if count > 1 and text}
    return {
        "finishedRate": sum(reason == "stop" for reason in finish_reasons) / n,
        "truncatedRate": sum(reason == "length" for reason in finish_reasons) / n,
        "emptyRate": sum(not text.strip() for text in texts) / n,
        "duplicateRate": sum(text.strip() in often for text in texts) / n,
        "distinctTrigrams": sum(map(distinct_trigrams, texts)) / n,
        **{f"{name}Rate": sum(bool(form.search(text)) for text in texts) / n for name, form in FORMS.items()},
    }


def distinct_trigrams(text: str) -> float:
    """Distinct word trigrams by all of them; 1 for a text of fewer than three words."""
    words = text.split()
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    return len(set(trigrams)) / len(trigrams) if trigrams else 1.0
