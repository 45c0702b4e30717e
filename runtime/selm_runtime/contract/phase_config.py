"""The config of one phase: what the operator writes into a Job, and the pod reads."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field

from selm_runtime.contract.base import CONTRACT_VERSION, ContractModel, Digest, Phase
from selm_runtime.contract.evaluation import EvaluationConfig, PushConfig
from selm_runtime.contract.sampling import GenerationConfig
from selm_runtime.contract.scoring import ScoringConfig
from selm_runtime.contract.sources import ArtifactsConfig, DataConfig, ModelConfig
from selm_runtime.contract.training import TrainingConfig

ADDED: tuple[tuple[str, str, object], ...] = (("training", "compile", False),)
"""Settings that came later: group, name, and the value without effect, with which the operator leaves them out.

A run keeps the image that it began with when the operator is upgraded, and an image refuses a setting that it does not
know. So whoever adds a setting adds it here, and it reaches an older image only where somebody asks for it.
"""


class RunRef(ContractModel):
    namespace: str
    name: str
    uid: str


class CommittedPhase(ContractModel):
    """A phase of this run that is committed: the address of its manifest."""

    iteration: int
    phase: Phase
    manifest: Digest


class PhaseConfig(ContractModel):
    """All that a pod of one phase needs to know; the credentials come by the environment."""

    contract_version: int = CONTRACT_VERSION
    run: RunRef
    phase: Phase
    iteration: int = Field(ge=0)  # 0: Preparation and the base's Evaluation
    attempt: int = Field(ge=1)
    iterations: int
    seed: int
    artifacts: ArtifactsConfig
    committed: tuple[CommittedPhase, ...] = ()
    model: ModelConfig
    data: DataConfig
    generation: GenerationConfig
    """In Evaluation: the unscheduled sampling settings; else the iteration's."""
    scoring: ScoringConfig
    training: TrainingConfig
    evaluation: EvaluationConfig = EvaluationConfig()
    retention: Literal["KeepAll", "KeepBest", "KeepLast"] = "KeepAll"
    push: PushConfig | None = None
    offline_iterations: tuple[int, ...] = ()
    """Iterations whose `pairs` is Offline by the schedule, so that Preparation can refuse data without pairs."""

    def for_pod(self) -> str:
        """As JSON for `ENV_PHASE_CONFIG`; what is in `ADDED` only where it is used."""
        said: dict[str, Any] = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        for group, name, unused in ADDED:
            if said[group].get(name) == unused:
                del said[group][name]
        return json.dumps(said, separators=(",", ":"))

    def manifest_of(self, phase: Phase, iteration: int) -> str | None:
        """The digest of a committed phase's manifest, or None where it was skipped or not yet done."""
        for done in self.committed:
            if (done.phase, done.iteration) == (phase, iteration):
                return done.manifest
        return None
