"""Which image a phase runs. What is used is recorded; the first pod's digest pins it for all later phases.

A pinned image keeps the string that was asked for, `<as asked>@sha256:<digest>`: registries resolve it by the digest,
and the string tells whether the spec has changed since.
"""

from __future__ import annotations

from selm_operator.api.spec import SELMRunSpec
from selm_operator.api.status import PhaseImage, SELMRunStatus
from selm_operator.ledger import phase_name
from selm_operator.settings import Settings
from selm_operator.snapshot import PodView
from selm_runtime.contract import Phase

MAX_IMAGE = 512
"""Characters of a recorded image."""


def image_for(status: SELMRunStatus, spec: SELMRunSpec, settings: Settings) -> str | None:
    """The image of the next Job; None where neither the spec nor the operator names one.

    Without `spec.image` what was recorded stays, though the operator's own default may have changed since.
    """
    recorded = {entry.phase: entry.image for entry in status.images or ()}
    asked = spec.image or next(iter(recorded.values()), settings.runtime_image)
    if asked is None:
        return None
    same = [image for image in recorded.values() if _as_asked(image) == _as_asked(asked)]
    return next((image for image in same if "@" in image), asked)


def with_image(status: SELMRunStatus, phase: Phase, image: str) -> SELMRunStatus:
    """The status with the phase's image recorded; one that is pinned already stays so while the same is asked for."""
    name = phase_name(phase)
    recorded = next((entry.image for entry in status.images or () if entry.phase == name), None)
    if recorded is not None and "@" in recorded and recorded.partition("@")[0] == image:
        return status
    others = tuple(entry for entry in status.images or () if entry.phase != name)
    order = [p.value for p in Phase]
    images = sorted((*others, PhaseImage(phase=name, image=image)), key=lambda entry: order.index(entry.phase))
    return status.model_copy(update={"images": tuple(images)})


def pin(status: SELMRunStatus, phase: Phase, pods: tuple[PodView, ...]) -> SELMRunStatus:
    """The status with the phase's recorded image pinned to the digest that its first pod tells, if one does."""
    recorded = next((entry.image for entry in status.images or () if entry.phase == phase.value), None)
    digest = next((pod.image_digest for pod in pods if pod.image_digest), None)
    if recorded is None or digest is None or "@" in recorded or len(recorded) + len(digest) + 1 > MAX_IMAGE:
        return status
    return with_image(status, phase, f"{recorded}@{digest}")


def _as_asked(image: str) -> str:
    return image.partition("@")[0]
