"""What the API has room for and this build does not do yet. Shrinks as issues build it.

Such a field is admitted by the CRD, so that no schema changes when it is built, and refused by the operator
(`Accepted`=False, reason `NotYetSupported`), so that it is never silently ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from selm_operator.api.spec import SELMRunSpec


class NotYetSupported(NamedTuple):
    """A field whose behaviour is not built, and why it is refused."""

    field: str
    why: str


TABLE: tuple[tuple[str, str, Callable[[SELMRunSpec], str | None]], ...] = ()
"""Field, words for the reference, and the check, which says why it is refused. Empty: all that the API has is built."""


def unbuilt() -> list[str]:
    """What is not built, in words for the reference."""
    return [words for _, words, _ in TABLE]


def not_yet_supported(spec: SELMRunSpec) -> list[NotYetSupported]:
    """The fields that ask for what is not built, each with why; empty: all is supported."""
    return [NotYetSupported(field, why) for field, _, check in TABLE if (why := check(spec))]
