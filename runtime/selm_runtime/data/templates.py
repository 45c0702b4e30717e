"""What is said where a model's chat template does not take a conversation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from jinja2 import TemplateError

from selm_runtime.errors import InvalidInput

Message = Mapping[str, str]

Render = Callable[[Sequence[Message], bool], str]
"""The text that a chat template makes of a conversation, with or without the beginning of the answer to it."""

_SAID = 300


def template_refused(field: str, where: str, messages: Sequence[Message], error: Exception) -> InvalidInput:
    """`field` names the model in the spec, `where` the conversation; the template's own words are in `error`."""
    roles = ", ".join(message["role"] for message in messages[:12])
    said = " ".join(str(error).split())[:_SAID]
    return InvalidInput(
        "TemplateRefused",
        f"{field}: its chat template fails on {where}, of the roles {roles}: {said or type(error).__name__}; allowed is a "
        "model whose chat template takes these roles in this order, or data without them",
    )


@contextmanager
def refusals_told(field: str, where: str, messages: Sequence[Message]) -> Iterator[None]:
    """Rendering in this block raises InvalidInput where the template refuses: it would do so in every attempt."""
    try:
        yield
    except TemplateError as error:
        raise template_refused(field, where, messages, error) from error
