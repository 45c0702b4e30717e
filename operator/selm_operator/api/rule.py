"""What a rule is: the CEL text that the API server evaluates beside the Python function that answers the same.

Both stand in one object, so that nobody changes one without seeing the other; the tests hold them to equal answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from selm_operator.api.base import ApiModel
from selm_operator.api.spec import SELMRunSpec
from selm_operator.api.status import SELMRunStatus

INVALID = "FieldValueInvalid"
FORBIDDEN = "FieldValueForbidden"
RuleReason = Literal["FieldValueInvalid", "FieldValueForbidden"]

Group = TypeVar("Group", bound=ApiModel)


class Run(ApiModel):
    """The whole object as far as rules look: its name, spec and status."""

    name: str
    spec: SELMRunSpec
    status: SELMRunStatus | None = None


@dataclass(frozen=True, kw_only=True)
class BaseRule(Generic[Group]):
    """What rules of state and rules of change have in common."""

    on: type[Group]
    """The group that the Python function takes."""
    cel: str
    message: str
    field: str | None = None
    """The field of that group whose schema node carries the CEL text; None: the group's own node."""
    at: str = ""
    """`fieldPath`: where beneath that node the API server reports the refusal, with its leading dot."""
    reason: RuleReason = "FieldValueInvalid"

    @property
    def path(self) -> str:
        """Where the refusal is reported, relative to the group, with its leading dot."""
        return (f".{self.field}" if self.field else "") + self.at

    def to_crd(self) -> dict[str, Any]:
        """The entry of `x-kubernetes-validations`."""
        entry = {"rule": self.cel, "message": self.message}
        if self.at:
            entry["fieldPath"] = self.at
        if self.reason != INVALID:
            entry["reason"] = self.reason
        return entry


@dataclass(frozen=True, kw_only=True)
class Rule(BaseRule[Group]):
    """What must hold of every object."""

    holds: Callable[[Group], bool]


@dataclass(frozen=True, kw_only=True)
class ChangeRule(BaseRule[Group]):
    """What must hold of every change; asked only where the group is there before and after."""

    holds: Callable[[Group, Group], bool]
    """Takes the group as it is to be, then as it was."""


def exactly_one_of(*aliases: str) -> str:
    """CEL: of these fields of `self` exactly one is there."""
    return f"[{', '.join(f'has(self.{alias})' for alias in aliases)}].filter(x, x).size() == 1"


def present(*values: object) -> int:
    """How many are not None."""
    return sum(value is not None for value in values)
