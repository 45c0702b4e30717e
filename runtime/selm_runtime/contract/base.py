"""What every part of the contract is made of: its version, the phases, the exit codes, the models' base."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

CONTRACT_VERSION = 2
"""Part of every input digest: raised when the meaning of a phase's output changes."""


class Phase(StrEnum):
    """One step of an iteration, spelled alike in spec, status, metrics and logs."""

    PREPARATION = "Preparation"
    GENERATION = "Generation"
    SCORING = "Scoring"
    TRAINING = "Training"
    EVALUATION = "Evaluation"
    PUSH = "Push"  # after the last iteration, where `spec.push` is given

    @property
    def slug(self) -> str:
        """The value in lower case: the runtime's sub-command and the folder in the store."""
        return self.value.lower()


class ExitCode(IntEnum):
    """What a phase's process ends with. Written by the runtime, read by the operator."""

    DONE = 0
    INVALID_INPUT = 64  # bad input or config: never retried, the message reaches the condition
    TEMPORARY = 75  # store away, preempted: retried with back-off, never counted
    PEER_LOST = 76  # another rank is gone: by itself not counted


class ContractModel(BaseModel):
    """camelCase on the wire, snake_case in Python, nothing unknown, nothing mutable."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
