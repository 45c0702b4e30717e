"""The pod template of a phase: the users' patches (All, then the phase's own), and over them what the operator owns."""

from __future__ import annotations

from typing import Any

from selm_operator.api.base import ApiModel
from selm_operator.api.pods import PodTemplate, Resources
from selm_operator.api.spec import SELMRunSpec
from selm_operator.constants import (
    CA_KEY,
    CA_PATH,
    CACHE_PATH,
    CONTAINER,
    ENV_CA_BUNDLE,
    ENV_CREDENTIALS,
    ENV_HF_TOKEN,
    ENV_HOME,
    ENV_MLFLOW_TOKEN,
    ENV_USER,
    ENV_WANDB_KEY,
    HOME_PATH,
    REGISTRY_KEYS,
    SHM_PATH,
    TMP_PATH,
    USER_NAME,
    VOLUME_CA,
    VOLUME_CACHE,
    VOLUME_HOME,
    VOLUME_SHM,
    VOLUME_TMP,
)
from selm_operator.settings import Settings
from selm_runtime.contract import (
    ENV_CACHE_DIR,
    ENV_PHASE_CONFIG,
    ENV_TIME_SCALE,
    ENV_WRITER_ID,
    Phase,
    PhaseConfig,
    judge_key_variable,
    suite_key_variable,
)

Json = dict[str, Any]

DEFAULT_SECRET_KEY = "token"
"""Of a reference to a Secret within a list's item, where the API stores no default."""
GRACE_SECONDS = 60
"""For phases other than Training: time to finish a chunk's upload, no more, for what is committed is not lost."""


def build_pod_template(
    spec: SELMRunSpec,
    config: PhaseConfig,
    image: str,
    labels: dict[str, str],
    subdomain: str | None,
    settings: Settings,
) -> Json:
    """The Job's `template`. The container runs `python -m selm_runtime <phase>` under the restricted Pod Security level."""
    phase = config.phase
    patches = [patch for name in ("All", phase.value) for patch in spec.pod_templates if patch.phase == name]
    volumes = _merged(patches, "volumes", "name", _own_volumes(spec, phase, patches, settings))
    container: Json = {
        "name": CONTAINER,
        "image": image,
        "command": ["python", "-m", "selm_runtime", phase.slug],
        "env": _merged(patches, "env", "name", _own_env(spec, config, settings), _default_env(settings)),
        "volumeMounts": _merged(patches, "volume_mounts", "mountPath", _own_mounts(spec, phase, settings)),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    resources = resources_of(spec, phase, settings)
    if resources:
        container["resources"] = resources
    pod: Json = {
        "restartPolicy": "Never",
        "serviceAccountName": spec.service_account_name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_seconds(spec, phase),
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}, **_group(settings)},
        "containers": [container],
        "volumes": volumes,
    }
    optional = {
        "subdomain": subdomain,
        "priorityClassName": spec.scheduling.priority_class_name,
        "imagePullSecrets": [{"name": secret.name} for secret in spec.image_pull_secrets],
        "nodeSelector": _merged_maps(patches, "node_selector"),
        "tolerations": [_plain(item) for patch in patches for item in patch.tolerations or ()],
    }
    pod |= {key: value for key, value in optional.items() if value}
    metadata: Json = {"labels": {**_merged_maps(patches, "labels"), **labels}}
    annotations = _merged_maps(patches, "annotations")
    if annotations:
        metadata["annotations"] = annotations
    return {"metadata": metadata, "spec": pod}


def _group(settings: Settings) -> Json:
    """The group that may write to claims: their file systems come owned by root, and the images' user is not root."""
    if not settings.fs_group:
        return {}
    return {"fsGroup": settings.fs_group, "fsGroupChangePolicy": "OnRootMismatch"}


def grace_seconds(spec: SELMRunSpec, phase: Phase) -> int:
    """Seconds between a pod's SIGTERM and its end: a trainer commits a checkpoint in them."""
    return spec.training.termination_grace_period_seconds if phase is Phase.TRAINING else GRACE_SECONDS


def resources_of(spec: SELMRunSpec, phase: Phase, settings: Settings) -> Json:
    """The container's compute resources.

    Those of Preparation and Push, which need no GPU, are the operator's setting; but a selection of rows runs the base
    model in Preparation, and the spec may give it what that takes.
    """
    selection = spec.data.selection
    if phase is Phase.PREPARATION and selection is not None and selection.resources is not None:
        return _plain(selection.resources)
    if phase in (Phase.PREPARATION, Phase.PUSH):
        return {group: dict(quantities) for group, quantities in settings.preparation_resources.items()}
    resources = resources_by_phase(spec)[phase]
    return _plain(resources) if resources else {}


def resources_by_phase(spec: SELMRunSpec) -> dict[Phase, Resources | None]:
    """What the spec gives each phase's pods."""
    return {
        Phase.GENERATION: spec.generation.resources,
        Phase.SCORING: spec.scoring.resources,
        Phase.TRAINING: spec.training.resources,
        Phase.EVALUATION: spec.evaluation.resources,
    }


def _default_env(settings: Settings) -> list[Json]:
    """Variables that a pod template may set otherwise."""
    if settings.shared_paths:
        return []
    return [{"name": ENV_HOME, "value": HOME_PATH}, {"name": ENV_USER, "value": USER_NAME}]


def _own_env(spec: SELMRunSpec, config: PhaseConfig, settings: Settings) -> list[Json]:
    env: list[Json] = [
        {"name": ENV_PHASE_CONFIG, "value": config.for_pod()},
        {"name": ENV_WRITER_ID, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.uid"}}},
        {"name": ENV_CACHE_DIR, "value": CACHE_PATH},
    ]
    if settings.time_scale != 1.0:
        env.append({"name": ENV_TIME_SCALE, "value": f"{settings.time_scale:g}"})
    credentials, token = spec.artifacts.credentials_secret_ref, spec.model.token_secret_ref
    if credentials is not None:
        env += [_from_secret(name, credentials.name, name) for name in ENV_CREDENTIALS]
    if spec.artifacts.ca_bundle_config_map_ref is not None:
        env.append({"name": ENV_CA_BUNDLE, "value": f"{CA_PATH}/{CA_KEY}"})
    if config.phase is Phase.PUSH:
        token = spec.push.token_secret_ref if spec.push is not None else None
    if token is not None and config.phase in (Phase.PREPARATION, Phase.PUSH):
        env.append(_from_secret(ENV_HF_TOKEN, token.name, token.key))
    if config.phase is Phase.PUSH:
        env += _registry_credentials(spec)
    if config.phase in (Phase.PREPARATION, Phase.SCORING, Phase.EVALUATION):
        env += _judge_keys(spec)
    if config.phase in (Phase.PREPARATION, Phase.EVALUATION):
        env += _suite_keys(spec)
    if config.phase is Phase.TRAINING:
        env += _tracker_keys(spec)
    return env


def _registry_credentials(spec: SELMRunSpec) -> list[Json]:
    """Of an OCI registry; Secrets of either kind serve, so that no single key has to be there."""
    if spec.push is None or spec.push.credentials_secret_ref is None:
        return []
    return [
        {
            "name": variable,
            "valueFrom": {
                "secretKeyRef": {"name": spec.push.credentials_secret_ref.name, "key": key, "optional": True}
            },
        }
        for variable, key in REGISTRY_KEYS.items()
    ]


def _tracker_keys(spec: SELMRunSpec) -> list[Json]:
    """What the trackers' client libraries read; a pod template may set the same variables where no Secret is named."""
    report_to = spec.training.report_to
    if report_to is None:
        return []
    keys = {
        ENV_WANDB_KEY: report_to.wandb.api_key_secret_ref if report_to.wandb else None,
        ENV_MLFLOW_TOKEN: report_to.mlflow.token_secret_ref if report_to.mlflow else None,
    }
    return [_from_secret(variable, ref.name, ref.key) for variable, ref in keys.items() if ref is not None]


def _judge_keys(spec: SELMRunSpec) -> list[Json]:
    """Preparation asks the judges whether they answer; Scoring and Evaluation let them judge."""
    keys = {scorer.name: scorer.judge.api_key_secret_ref for scorer in spec.scoring.scorers if scorer.judge is not None}
    return [
        _from_secret(judge_key_variable(name), key.name, key.key or DEFAULT_SECRET_KEY)
        for name, key in keys.items()
        if key is not None
    ]


def _suite_keys(spec: SELMRunSpec) -> list[Json]:
    """Preparation asks the suites' judges whether they answer; Evaluation lets them judge."""
    suites = {"alpacaEval": spec.evaluation.alpaca_eval, "mtBench": spec.evaluation.mt_bench}
    keys = {name: suite.judge.api_key_secret_ref for name, suite in suites.items() if suite is not None}
    return [_from_secret(suite_key_variable(name), key.name, key.key) for name, key in keys.items() if key is not None]


def _from_secret(variable: str, secret: str, key: str) -> Json:
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def _own_folders(settings: Settings) -> dict[str, str]:
    """Volumes of the operator that a pod template may replace by its own, and where they are mounted.

    Where all pods see the machine's own paths (SELM_SHARED_PATHS), /tmp and the home are the machine's: models, data and
    the store may lie there, and an empty folder in their place would hide them.
    """
    scratch = {} if settings.shared_paths else {VOLUME_TMP: TMP_PATH, VOLUME_HOME: HOME_PATH}
    return {VOLUME_CACHE: CACHE_PATH, **scratch}


def _own_volumes(spec: SELMRunSpec, phase: Phase, patches: list[PodTemplate], settings: Settings) -> list[Json]:
    theirs = {volume.name for patch in patches for volume in patch.volumes or ()}
    volumes: list[Json] = [{"name": n, "emptyDir": {}} for n in _own_folders(settings) if n not in theirs]
    if _needs_shm(spec, phase):
        volumes.append({"name": VOLUME_SHM, "emptyDir": {"medium": "Memory"}})
    bundle = spec.artifacts.ca_bundle_config_map_ref
    if bundle is not None:
        items = [{"key": CA_KEY, "path": CA_KEY}]
        volumes.append({"name": VOLUME_CA, "configMap": {"name": bundle.name, "items": items}})
    return volumes


def _own_mounts(spec: SELMRunSpec, phase: Phase, settings: Settings) -> list[Json]:
    mounts: list[Json] = [{"name": name, "mountPath": path} for name, path in _own_folders(settings).items()]
    if _needs_shm(spec, phase):
        mounts.append({"name": VOLUME_SHM, "mountPath": SHM_PATH})
    if spec.artifacts.ca_bundle_config_map_ref is not None:
        mounts.append({"name": VOLUME_CA, "mountPath": CA_PATH, "readOnly": True})
    return mounts


def _needs_shm(spec: SELMRunSpec, phase: Phase) -> bool:
    """Processes of one pod (ranks, tensor-parallel engines) talk through shared memory; a container's default is 64 MiB."""
    resources = resources_by_phase(spec).get(phase)
    spans = phase in (Phase.GENERATION, Phase.EVALUATION) and spec.generation.tensor_parallel_size > 1
    return phase is Phase.TRAINING or spans or (resources is not None and resources.gpus > 1)


def _merged(
    patches: list[PodTemplate], field: str, key: str, own: list[Json], defaults: list[Json] | None = None
) -> list[Json]:
    """Lists of named entries, merged by key: a later patch wins, the operator's own entries win over all."""
    entries: dict[str, Json] = {}
    for patch in patches:
        for item in getattr(patch, field) or ():
            plain = _plain(item)
            entries[plain[key]] = plain
    entries |= {item[key]: item for item in own}
    for item in defaults or ():
        entries.setdefault(item[key], item)
    return list(entries.values())


def _merged_maps(patches: list[PodTemplate], field: str) -> dict[str, str]:
    return {key: value for patch in patches for key, value in (getattr(patch, field) or {}).items()}


def _plain(model: ApiModel) -> Json:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)
