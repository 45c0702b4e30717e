"""What an API server answers with the generated CRD, asked of the embedded one's own admission."""

from __future__ import annotations

import copy
import functools

from selm_local.apiserver.schema import CustomSchema, admit
from selm_local.apiserver.schema import FieldError as CrdError
from selm_operator.api.crd import custom_resource_definition
from support.selmruns import Json


@functools.cache
def crd_schema() -> CustomSchema:
    """The generated CRD's schema, compiled."""
    return CustomSchema.of_crd(custom_resource_definition(), "v1alpha1")


def crd_answer(new: Json, old: Json | None = None) -> tuple[Json | None, list[CrdError]]:
    """What an API server with our CRD stores, and why it refuses; `old` is stored, its status included."""
    return admit(crd_schema(), copy.deepcopy(new), copy.deepcopy(old), strict=True)
