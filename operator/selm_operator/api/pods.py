"""`spec.podTemplates`: a curated patch of the pods, and the compute resources that the phases share."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from selm_operator.api.base import (
    MAX_SAFE_INTEGER,
    AbsentMeans,
    AnnotationValues,
    Atomic,
    Bool,
    Default,
    Int,
    Label,
    LabelValues,
    ListMap,
    Quantities,
    Quantity,
    SpecModel,
    Subdomain,
    Text,
)

Path = Annotated[Text, Field(max_length=1024)]
Key = Annotated[Text, Field(max_length=253)]
FileMode = Annotated[Int, Field(ge=0, le=0o777)]


class Resources(SpecModel):
    """Compute resources, as in a container."""

    limits: Annotated[Quantities | None, Field(description="the limits by resource name, as quantities.")] = None
    requests: Annotated[
        Quantities | None, Field(description="the requests by resource name, as quantities."), Default("the limits")
    ] = None

    @property
    def gpus(self) -> int:
        """GPUs in the limits, of any vendor (`nvidia.com/gpu`, `amd.com/gpu`, …); 0 where there are none."""
        counts = [value for name, value in (self.limits or {}).items() if name.endswith("/gpu")]
        return sum(_count(value) for value in counts)


def _count(quantity: int | str) -> int:
    """A number of devices; the API server admits only whole ones for extended resources."""
    try:
        return math.ceil(float(quantity))
    except ValueError:
        return 0


class Toleration(SpecModel):
    """A toleration."""

    key: Annotated[Text | None, Field(max_length=316, description="the taint's key; absent: every taint.")] = None
    operator: Annotated[
        Literal["Exists", "Equal"] | None, Field(description="how the value is compared."), AbsentMeans("Equal")
    ] = None
    value: Annotated[Text | None, Field(max_length=63, description="the taint's value.")] = None
    effect: Annotated[
        Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None,
        Field(description="the taint's effect; absent: every effect."),
    ] = None
    toleration_seconds: Annotated[
        Int | None,
        Field(ge=0, le=MAX_SAFE_INTEGER, description="seconds that NoExecute is tolerated; absent: for ever."),
    ] = None


class PersistentVolumeClaimSource(SpecModel):
    """A claim in the run's namespace."""

    claim_name: Annotated[Subdomain, Field(description="the name of the claim.")]
    read_only: Annotated[Bool | None, Field(description="mounts read-only."), AbsentMeans(False)] = None


class HostPathSource(SpecModel):
    """A path on the node."""

    path: Annotated[Path, Field(description="the path on the node.")]
    type: Annotated[
        Text | None, Field(max_length=32, description="what must be there before mounting; absent: no check.")
    ] = None


class EmptyDirSource(SpecModel):
    """An empty folder that lives as long as the pod."""

    medium: Annotated[
        Literal["", "Memory"] | None, Field(description="where the folder is; empty: the node's disk."), AbsentMeans("")
    ] = None
    size_limit: Annotated[Quantity | None, Field(description="the largest size, as a quantity; absent: none.")] = None


class ConfigMapSource(SpecModel):
    """A ConfigMap as files."""

    name: Annotated[Subdomain, Field(description="the name of the ConfigMap.")]
    optional: Annotated[Bool | None, Field(description="whether it may be absent."), AbsentMeans(False)] = None
    default_mode: Annotated[FileMode | None, Field(description="the files' mode."), AbsentMeans(0o644)] = None


class SecretSource(SpecModel):
    """A Secret as files."""

    secret_name: Annotated[Subdomain, Field(description="the name of the Secret.")]
    optional: Annotated[Bool | None, Field(description="whether it may be absent."), AbsentMeans(False)] = None
    default_mode: Annotated[FileMode | None, Field(description="the files' mode."), AbsentMeans(0o644)] = None


class NfsSource(SpecModel):
    """An NFS export."""

    server: Annotated[Text, Field(max_length=253, description="the host name or address of the server.")]
    path: Annotated[Path, Field(description="the path that the server exports.")]
    read_only: Annotated[Bool | None, Field(description="mounts read-only."), AbsentMeans(False)] = None


class Volume(SpecModel):
    """A volume: a name and exactly one source."""

    name: Annotated[
        Label, Field(description="the name of the volume; selm-cache, selm-tmp and selm-home replace the pod's own.")
    ]
    persistent_volume_claim: Annotated[
        PersistentVolumeClaimSource | None, Field(description="a claim in the run's namespace.")
    ] = None
    host_path: Annotated[HostPathSource | None, Field(description="a path on the node.")] = None
    empty_dir: Annotated[EmptyDirSource | None, Field(description="a folder that lives as long as the pod.")] = None
    config_map: Annotated[ConfigMapSource | None, Field(description="a ConfigMap as files.")] = None
    secret: Annotated[SecretSource | None, Field(description="a Secret as files.")] = None
    nfs: Annotated[NfsSource | None, Field(description="an NFS export.")] = None


class VolumeMount(SpecModel):
    """A mount of a volume in the main container."""

    name: Annotated[Label, Field(description="the name of the volume.")]
    mount_path: Annotated[
        Text, Field(max_length=1024, pattern="^/[^:]*$", description="the absolute path in the container.")
    ]
    sub_path: Annotated[Path | None, Field(description="the path in the volume; absent: its root.")] = None
    read_only: Annotated[Bool | None, Field(description="mounts read-only."), AbsentMeans(False)] = None


class SecretKeySelector(SpecModel):
    """A key of a Secret."""

    name: Annotated[Subdomain, Field(description="the name of the Secret.")]
    key: Annotated[Key, Field(description="the key in it.")]
    optional: Annotated[Bool | None, Field(description="whether it may be absent."), AbsentMeans(False)] = None


class ConfigMapKeySelector(SpecModel):
    """A key of a ConfigMap."""

    name: Annotated[Subdomain, Field(description="the name of the ConfigMap.")]
    key: Annotated[Key, Field(description="the key in it.")]
    optional: Annotated[Bool | None, Field(description="whether it may be absent."), AbsentMeans(False)] = None


class ObjectFieldSelector(SpecModel):
    """A field of the pod."""

    field_path: Annotated[Text, Field(max_length=253, description="the path of the field in the pod.")]
    api_version: Annotated[
        Text | None, Field(max_length=16, description="the version that the path is in."), AbsentMeans("v1")
    ] = None


class EnvVarSource(SpecModel):
    """The source of a variable's value: exactly one."""

    secret_key_ref: Annotated[SecretKeySelector | None, Field(description="a key of a Secret.")] = None
    config_map_key_ref: Annotated[ConfigMapKeySelector | None, Field(description="a key of a ConfigMap.")] = None
    field_ref: Annotated[ObjectFieldSelector | None, Field(description="a field of the pod.")] = None


class EnvVar(SpecModel):
    """An environment variable."""

    name: Annotated[
        Text,
        Field(
            max_length=253,
            pattern=r"^[-._a-zA-Z][-._a-zA-Z0-9]*$",
            description="the name of the variable; names that the operator sets are refused.",
        ),
    ]
    value: Annotated[Text | None, Field(max_length=4096, description="the value of the variable.")] = None
    value_from: Annotated[EnvVarSource | None, Field(description="the source of the value.")] = None


class PodTemplate(SpecModel):
    """A curated patch of one phase's pods."""

    phase: Annotated[
        Literal["All", "Preparation", "Generation", "Scoring", "Training", "Evaluation", "Push"],
        Field(description="the phase whose pods are patched; All is applied first, then the phase's own."),
    ]
    node_selector: Annotated[LabelValues | None, Field(description="the labels that a node must have.")] = None
    tolerations: Annotated[
        tuple[Toleration, ...] | None, Field(max_length=32, description="the tolerations, appended."), Atomic()
    ] = None
    labels: Annotated[LabelValues | None, Field(description="the labels of the pods, added by key.")] = None
    annotations: Annotated[AnnotationValues | None, Field(description="the annotations of the pods, added by key.")] = (
        None
    )
    volumes: Annotated[
        tuple[Volume, ...] | None, Field(max_length=32, description="the volumes, added by name."), ListMap("name")
    ] = None
    volume_mounts: Annotated[
        tuple[VolumeMount, ...] | None,
        Field(max_length=32, description="the mounts of the main container, added by path."),
        ListMap("mountPath"),
    ] = None
    env: Annotated[
        tuple[EnvVar, ...] | None,
        Field(max_length=64, description="the environment variables of the main container, added by name."),
        ListMap("name"),
    ] = None
