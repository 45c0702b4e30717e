"""The chart through a real Helm engine, and the rules of the Pod Security level `restricted`."""

from __future__ import annotations

import copy
import functools
import json
from typing import Any

import helm_python
import kubernetes_validate.utils
import yaml

from support.selmruns import REPOSITORY

CHART = REPOSITORY / "charts" / "selm-operator"
RELEASE, NAMESPACE = "selm-operator", "selm-system"
Json = dict[str, Any]

VALUE_SETS: dict[str, Json] = {
    "default": {},
    "namespaced": {"watchNamespaces": ["team-a", "team-b", "team-a"]},
    "crds off": {"crds": {"enabled": False}},
    "crds not kept": {"crds": {"keep": False, "annotations": {"example.org/owner": "platform"}}},
    "rights and account from elsewhere": {
        "rbac": {"create": False, "aggregateToUserRoles": False},
        "serviceAccount": {"create": False, "name": "made-by-platform"},
    },
    "everything": {
        "fullnameOverride": "alignment",
        "commonLabels": {"team": "alignment", "app.kubernetes.io/name": "must-not-win"},
        "replicaCount": 2,
        "image": {"registry": "registry.example.org:5000", "digest": "sha256:" + "0" * 64, "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "regcred"}],
        "watchNamespaces": ["team-a"],
        "runtime": {
            "image": {"registry": "registry.example.org", "repository": "llm/selm-runtime", "tag": "cuda"},
            "preparationResources": {"requests": {"cpu": 2}, "limits": {"memory": "32Gi"}},
        },
        "operator": {"workers": 4, "logFormat": "text", "httpPort": 9090},
        "serviceAccount": {"annotations": {"example.org/role": "selm"}},
        "podDisruptionBudget": {"maxUnavailable": "50%"},
        "resources": {"requests": {"cpu": "250m"}, "limits": {"cpu": 1, "memory": "1Gi"}},
        "podAnnotations": {"example.org/scrape": "true"},
        "podLabels": {"tier": "control", "app.kubernetes.io/instance": "must-not-win"},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "control", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"tier": "control"}}}
                ]
            }
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"tier": "control"}},
            }
        ],
        "priorityClassName": "system-cluster-critical",
        "terminationGracePeriodSeconds": 60,
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example.org:3128"}],
        "metrics": {
            "annotations": {"example.org/scrape": "true"},
            "serviceMonitor": {
                "enabled": True,
                "labels": {"release": "prometheus"},
                "metricRelabelings": [{"action": "labeldrop", "regex": "pod"}],
            },
        },
        "networkPolicy": {
            "enabled": True,
            "apiServerPeers": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
            "metricsPeers": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        },
    },
}
"""Values that users set, by what they want."""


def render(values: Json | None = None, *, release: str = RELEASE, namespace: str = NAMESPACE) -> list[Json]:
    """The objects of a release. Raises helm_python.HelmError with Helm's own message."""
    return copy.deepcopy(_objects(json.dumps(values or {}), release, namespace))


@functools.cache
def _objects(values: str, release: str, namespace: str) -> list[Json]:
    documents = [text for path, text in render_texts(json.loads(values), release, namespace) if path.endswith(".yaml")]
    # The pure Python loader would take half a second for each CRD.
    return [obj for text in documents for obj in yaml.load_all(text, Loader=yaml.CSafeLoader) if obj]


def render_texts(values: Json, release: str = RELEASE, namespace: str = NAMESPACE) -> list[tuple[str, str]]:
    """(path of a template, what Helm made of it)."""
    with helm_python.Chart.load(CHART) as chart:
        return sorted(chart.render(values, name=release, namespace=namespace).items())


def notes(values: Json | None = None) -> str:
    """What Helm says after an installation."""
    return next(text for path, text in render_texts(values or {}) if path.endswith("NOTES.txt"))


def validate(obj: Json, version: str) -> None:
    """Holds an object to the published schemas of a Kubernetes version, strictly. Raises ValidationError."""
    _validate(json.dumps(obj), version)


@functools.cache
def _validate(obj: str, version: str) -> None:
    kubernetes_validate.validate(json.loads(obj), version, strict=True)


# The library reads its megabytes of schemas anew for each object.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)


def of_kind(objects: list[Json], kind: str) -> list[Json]:
    return [obj for obj in objects if obj["kind"] == kind]


def one(objects: list[Json], kind: str) -> Json:
    """The only object of a kind."""
    (found,) = of_kind(objects, kind)
    return found


def restricted_violations(pod: Json) -> list[str]:
    """What of a pod's spec the Pod Security level `restricted` refuses (kubernetes.io/docs/concepts/security/
    pod-security-standards), user namespaces and Windows apart."""
    found = [f"{name} is set" for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    for volume in pod.get("volumes") or ():
        found += [f"volume {volume['name']} is a {kind}" for kind in volume.keys() - {"name"} - allowed]
    of_pod = pod.get("securityContext") or {}
    for container in [*pod["containers"], *(pod.get("initContainers") or ())]:
        own = container.get("securityContext") or {}
        name = container["name"]
        if own.get("privileged") or own.get("allowPrivilegeEscalation") is not False:
            found.append(f"{name}: privileges may be gained")
        if (own.get("runAsNonRoot", of_pod.get("runAsNonRoot"))) is not True:
            found.append(f"{name}: may run as root")
        if own.get("runAsUser", of_pod.get("runAsUser")) == 0:
            found.append(f"{name}: runs as root")
        capabilities = own.get("capabilities") or {}
        if capabilities.get("drop") != ["ALL"] or set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}:
            found.append(f"{name}: keeps capabilities")
        profile = (own.get("seccompProfile") or of_pod.get("seccompProfile") or {}).get("type")
        if profile not in ("RuntimeDefault", "Localhost"):
            found.append(f"{name}: seccomp profile {profile}")
        found += [
            f"{name}: host port {port['hostPort']}" for port in container.get("ports") or () if "hostPort" in port
        ]
    return found
