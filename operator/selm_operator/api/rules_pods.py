"""Rules about what pods are given: volumes and environment; see `rules.py`."""

from __future__ import annotations

from typing import Any

from selm_operator.api.pods import EnvVar, EnvVarSource, Volume
from selm_operator.api.rule import BaseRule, Rule, exactly_one_of, present

RESERVED_ENV_PREFIX = "SELM_"
RESERVED_ENV = ("JOB_COMPLETION_INDEX", "MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK")

POD_RULES: tuple[BaseRule[Any], ...] = (
    Rule[Volume](
        on=Volume,
        cel=exactly_one_of("persistentVolumeClaim", "hostPath", "emptyDir", "configMap", "secret", "nfs"),
        message=(
            "`volumes[]` must have exactly one of `persistentVolumeClaim`, `hostPath`, `emptyDir`, `configMap`, "
            "`secret`, `nfs`"
        ),
        holds=lambda v: (
            present(v.persistent_volume_claim, v.host_path, v.empty_dir, v.config_map, v.secret, v.nfs) == 1
        ),
    ),
    Rule[EnvVar](
        on=EnvVar,
        cel="!(has(self.value) && has(self.valueFrom))",
        message="`env[]` must not have both `value` and `valueFrom`",
        holds=lambda env: env.value is None or env.value_from is None,
    ),
    Rule[EnvVar](
        on=EnvVar,
        field="name",
        cel=(
            f"!self.startsWith('{RESERVED_ENV_PREFIX}') && "
            f"!(self in [{', '.join(repr(name) for name in RESERVED_ENV)}])"
        ),
        message=(f"`name` must not be one that the operator sets: {RESERVED_ENV_PREFIX}*, {', '.join(RESERVED_ENV)}"),
        reason="FieldValueForbidden",
        holds=lambda env: not env.name.startswith(RESERVED_ENV_PREFIX) and env.name not in RESERVED_ENV,
    ),
    Rule[EnvVarSource](
        on=EnvVarSource,
        cel=exactly_one_of("secretKeyRef", "configMapKeyRef", "fieldRef"),
        message="`valueFrom` must have exactly one of `secretKeyRef`, `configMapKeyRef`, `fieldRef`",
        holds=lambda source: present(source.secret_key_ref, source.config_map_key_ref, source.field_ref) == 1,
    ),
)
