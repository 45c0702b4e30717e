"""Variants about what runs: pods, Jobs, Deployments, and what limits them."""

from __future__ import annotations

from typing import Any

from support.variant_table import (
    DEPLOYMENTS,
    INVALID,
    JOBS,
    MERGE,
    PODS,
    STRATEGIC,
    Variant,
    container,
    deployment,
    job,
    named,
    pod,
    with_,
)

NEVER = {"restartPolicy": "Never"}
RULE = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [3]}}
QUOTAS = "/api/v1/NS/resourcequotas"
BUDGETS = "/apis/policy/v1/NS/poddisruptionbudgets"
NETWORK = "/apis/networking.k8s.io/v1/NS/networkpolicies"
EVENTS = "/api/v1/NS/events"


def refused_pod(what: str, *fields: str, **spec: Any) -> Variant:
    return Variant(what, f"POST {PODS}", pod("p", **spec), fields=fields, **INVALID)


def refused_job(what: str, *fields: str, template: Any = None, **spec: Any) -> Variant:
    return Variant(what, f"POST {JOBS}", job("j", template, **spec), fields=fields, **INVALID)


def indexed(**spec: Any) -> dict[str, Any]:
    return {"completionMode": "Indexed", "completions": 3, "parallelism": 3, **spec}


PODS_REFUSED = [
    refused_pod("no containers", "spec.containers", containers=[]),
    refused_pod("no image", "spec.containers[0].image", containers=[{"name": "a"}]),
    refused_pod("twice the same name", "spec.containers[1].name", containers=[container(), container()]),
    refused_pod("an upper case name", "spec.containers[0].name", containers=[container(name="A")]),
    refused_pod("an unknown restart policy", "spec.restartPolicy", restartPolicy="Sometimes"),
    refused_pod(
        "a mount of no volume",
        "spec.containers[0].volumeMounts[0].name",
        containers=[container(volumeMounts=[{"name": "v", "mountPath": "/v"}])],
    ),
    refused_pod(
        "two mounts at one path",
        "spec.containers[0].volumeMounts[1].mountPath",
        volumes=[{"name": "v", "emptyDir": {}}],
        containers=[container(volumeMounts=[{"name": "v", "mountPath": "/v"}] * 2)],
    ),
    refused_pod("two volumes of one name", "spec.volumes[1].name", volumes=[{"name": "v"}, {"name": "v"}]),
    refused_pod(
        "a request above its limit",
        "spec.containers[0].resources.requests",
        containers=[container(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}})],
    ),
    refused_pod(
        "half a GPU",
        "spec.containers[0].resources.limits[nvidia.com/gpu]",
        "spec.containers[0].resources.requests[nvidia.com/gpu]",
        containers=[container(resources={"limits": {"nvidia.com/gpu": "500m"}})],
    ),
    refused_pod(
        "a GPU requested without a limit",
        "spec.containers[0].resources.limits",
        containers=[container(resources={"requests": {"nvidia.com/gpu": 1}})],
    ),
    refused_pod(
        "an unknown resource",
        "spec.containers[0].resources.limits[gpus]",
        "spec.containers[0].resources.requests[gpus]",
        containers=[container(resources={"limits": {"gpus": 1}})],
    ),
    refused_pod(
        "a value and a source",
        "spec.containers[0].env[0].valueFrom",
        containers=[
            container(env=[{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}])
        ],
    ),
    refused_pod(
        "a field that is none",
        "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath",
        containers=[container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.nothing"}}}])],
    ),
    refused_pod(
        "a port name too long",
        "spec.containers[0].ports[0].name",
        containers=[container(ports=[{"containerPort": 80, "name": "a" * 16}])],
    ),
    refused_pod(
        "two ports of one name",
        "spec.containers[0].ports[1].name",
        containers=[container(ports=[{"containerPort": 80, "name": "a"}, {"containerPort": 81, "name": "a"}])],
    ),
    refused_pod(
        "a probe without a handler",
        "spec.containers[0].livenessProbe",
        containers=[container(livenessProbe={"periodSeconds": 1})],
    ),
    refused_pod(
        "a probe with two",
        "spec.containers[0].livenessProbe.tcpSocket",
        containers=[container(livenessProbe={"httpGet": {"port": 80}, "tcpSocket": {"port": 80}})],
    ),
    refused_pod(
        "a liveness that must succeed twice",
        "spec.containers[0].livenessProbe.successThreshold",
        containers=[container(livenessProbe={"httpGet": {"port": 80}, "successThreshold": 2})],
    ),
    refused_pod(
        "an Always that is no hook",
        "spec.initContainers[0].livenessProbe",
        initContainers=[{"name": "i", "image": "b:1", "livenessProbe": {"httpGet": {"port": 80}}}],
    ),
    refused_pod("a hostname with a dot", "spec.hostname", hostname="a.b"),
    refused_pod("a negative deadline", "spec.activeDeadlineSeconds", activeDeadlineSeconds=0),
    refused_pod("a toleration's operator", "spec.tolerations[0].operator", tolerations=[{"operator": "Maybe"}]),
    refused_pod("a toleration without a key must exist", "spec.tolerations[0].operator", tolerations=[{"value": "a"}]),
    refused_pod("a node selector's key", "spec.nodeSelector", nodeSelector={"a b": "c"}),
    refused_pod("a security context's user", "spec.securityContext.runAsUser", securityContext={"runAsUser": -1}),
    refused_pod(
        "a seccomp profile's type",
        "spec.securityContext.seccompProfile.type",
        securityContext={"seccompProfile": {"type": "Nope"}},
    ),
    refused_pod(
        "privileged without escalation",
        "spec.containers[0].securityContext",
        containers=[container(securityContext={"privileged": True, "allowPrivilegeEscalation": False})],
    ),
    Variant(
        "a pod",
        f"POST {PODS}",
        pod("ok"),
        code=201,
        find={
            "status.phase": "Pending",
            "status.qosClass": "BestEffort",
            "spec.serviceAccountName": "default",
            "spec.priority": 0,
            "spec.restartPolicy": "Always",
            "metadata.generation": 1,
        },
    ),
    Variant(
        "its image may change",
        f"PATCH {PODS}/ok",
        {"spec": {"containers": [{"name": "main", "image": "busybox:2"}]}},
        type=STRATEGIC,
        find={"spec.containers[0].image": "busybox:2", "metadata.generation": 2},
    ),
    Variant(
        "its command may not",
        f"PATCH {PODS}/ok",
        {"spec": {"containers": [{"name": "main", "command": ["x"]}]}},
        type=STRATEGIC,
        fields=("spec",),
        **INVALID,
    ),
    Variant(
        "quantities are written in one way",
        f"POST {PODS}",
        pod("q", containers=[container(resources={"limits": {"cpu": "1000m", "memory": "1024Mi"}})]),
        code=201,
        find={
            "spec.containers[0].resources": {
                "limits": {"cpu": "1", "memory": "1Gi"},
                "requests": {"cpu": "1", "memory": "1Gi"},
            },
            "status.qosClass": "Guaranteed",
        },
    ),
    Variant(
        "latest is always pulled",
        f"POST {PODS}",
        pod("l", containers=[container(image="busybox")]),
        code=201,
        find={"spec.containers[0].imagePullPolicy": "Always"},
    ),
    Variant(
        "eviction of a pod",
        f"POST {PODS}/l/eviction",
        {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "l"}},
        code=201,
        find={"status": "Success"},
    ),
    Variant(
        "pods by phase and node",
        f"GET {PODS}",
        query={"fieldSelector": "status.phase=Pending,spec.nodeName="},
        find={"items[].metadata.name": ["ok", "q"]},
    ),
    Variant("an absent class", f"POST {PODS}", pod("c", priorityClassName="absent"), code=403, reason="Forbidden"),
]

JOBS_REFUSED = [
    refused_job(
        "no restart policy is Always", "spec.template.spec.restartPolicy", template={"restartPolicy": "Always"}
    ),
    refused_job("a negative parallelism", "spec.parallelism", parallelism=-1),
    refused_job("an unknown mode", "spec.completionMode", completionMode="Other"),
    refused_job("Indexed counts", "spec.completions", completionMode="Indexed", parallelism=2),
    refused_job("a limit per index needs indexes", "spec.backoffLimitPerIndex", backoffLimitPerIndex=1),
    refused_job("failed indexes need a limit", "spec.backoffLimitPerIndex", **indexed(maxFailedIndexes=1)),
    refused_job(
        "more failed indexes than indexes",
        "spec.maxFailedIndexes",
        **indexed(backoffLimitPerIndex=1, maxFailedIndexes=4),
    ),
    refused_job(
        "FailIndex needs a limit per index",
        "spec.podFailurePolicy.rules[0].action",
        **indexed(podFailurePolicy={"rules": [{**RULE, "action": "FailIndex"}]}),
    ),
    refused_job(
        "zero is no failure",
        "spec.podFailurePolicy.rules[0].onExitCodes.values[0]",
        podFailurePolicy={"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [0]}}]},
    ),
    refused_job(
        "codes in order",
        "spec.podFailurePolicy.rules[0].onExitCodes.values",
        podFailurePolicy={"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [3, 2]}}]},
    ),
    refused_job(
        "codes once",
        "spec.podFailurePolicy.rules[0].onExitCodes.values[1]",
        podFailurePolicy={"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [3, 3]}}]},
    ),
    refused_job(
        "a container that is there",
        "spec.podFailurePolicy.rules[0].onExitCodes.containerName",
        podFailurePolicy={
            "rules": [{"action": "FailJob", "onExitCodes": {"containerName": "x", "operator": "In", "values": [3]}}]
        },
    ),
    refused_job(
        "one kind of rule",
        "spec.podFailurePolicy.rules[0]",
        podFailurePolicy={"rules": [{**RULE, "onPodConditions": [{"type": "A", "status": "True"}]}]},
    ),
    refused_job(
        "some kind of rule", "spec.podFailurePolicy.rules[0]", podFailurePolicy={"rules": [{"action": "Ignore"}]}
    ),
    refused_job(
        "an unknown action",
        "spec.podFailurePolicy.rules[0].action",
        podFailurePolicy={"rules": [{**RULE, "action": "Explode"}]},
    ),
    refused_job(
        "a success policy needs indexes", "spec.successPolicy", successPolicy={"rules": [{"succeededCount": 1}]}
    ),
    refused_job("a success policy has rules", "spec.successPolicy.rules", **indexed(successPolicy={"rules": []})),
    refused_job(
        "more successes than indexes",
        "spec.successPolicy.rules[0].succeededCount",
        **indexed(successPolicy={"rules": [{"succeededCount": 4}]}),
    ),
    refused_job(
        "indexes beyond the last",
        "spec.successPolicy.rules[0].succeededIndexes",
        **indexed(successPolicy={"rules": [{"succeededIndexes": "0-3"}]}),
    ),
    refused_job("managed by a domain", "spec.managedBy", managedBy="me"),
    refused_job("a replacement policy that is none", "spec.podReplacementPolicy", podReplacementPolicy="Never"),
    refused_job(
        "a manual selector must match",
        "spec.template.metadata.labels",
        manualSelector=True,
        selector={"matchLabels": {"a": "b"}},
    ),
    Variant(
        "a Job's defaults",
        f"POST {JOBS}",
        job("j"),
        code=201,
        find={
            "spec.{p: parallelism, c: completions, b: backoffLimit, m: completionMode, r: podReplacementPolicy, s: manualSelector}": {
                "p": 1,
                "c": 1,
                "b": 6,
                "m": "NonIndexed",
                "r": "TerminatingOrFailed",
                "s": False,
            },
            "metadata.generation": 1,
            "status": {},
            "sort(keys(spec.template.metadata.labels))": [
                "batch.kubernetes.io/controller-uid",
                "batch.kubernetes.io/job-name",
                "controller-uid",
                "job-name",
            ],
        },
    ),
    Variant(
        "its fields by their maker",
        f"GET {JOBS}/j",
        find={
            'sort(keys(metadata.managedFields[0].fieldsV1."f:spec"))': [
                "f:backoffLimit",
                "f:completionMode",
                "f:completions",
                "f:manualSelector",
                "f:parallelism",
                "f:podReplacementPolicy",
                "f:suspend",
                "f:template",
            ]
        },
    ),
    Variant(
        "parallelism may change",
        f"PATCH {JOBS}/j",
        {"spec": {"parallelism": 2}},
        type=MERGE,
        find={"spec.parallelism": 2, "metadata.generation": 2},
    ),
    Variant(
        "completions may not",
        f"PATCH {JOBS}/j",
        {"spec": {"completions": 2}},
        type=MERGE,
        fields=("spec.completions",),
        **INVALID,
    ),
    Variant(
        "nor the mode",
        f"PATCH {JOBS}/j",
        {"spec": {"completionMode": "Indexed"}},
        type=MERGE,
        fields=("spec.completionMode",),
        **INVALID,
    ),
    Variant(
        "a suspended Job's place may",
        f"PATCH {JOBS}/j",
        {"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}},
        type=MERGE,
        find={"spec.template.spec.nodeSelector": {"a": "b"}},
    ),
    Variant(
        "its image may not",
        f"PATCH {JOBS}/j",
        {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "busybox:2"}]}}}},
        type=STRATEGIC,
        fields=("spec.template",),
        **INVALID,
    ),
    Variant("an elastic Indexed Job", f"POST {JOBS}", job("e", **indexed()), code=201),
    Variant(
        "grows in tandem",
        f"PATCH {JOBS}/e",
        {"spec": {"completions": 5, "parallelism": 5}},
        type=MERGE,
        find={"spec.completions": 5},
    ),
    Variant(
        "and not alone",
        f"PATCH {JOBS}/e",
        {"spec": {"completions": 6}},
        type=MERGE,
        fields=("spec.completions",),
        **INVALID,
    ),
    Variant(
        "a policy's default replacement",
        f"POST {JOBS}",
        job("f", podFailurePolicy={"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]}),
        code=201,
        find={
            "spec.podReplacementPolicy": "Failed",
            "spec.podFailurePolicy.rules[0].onPodConditions[0].status": "True",
        },
    ),
    Variant(
        "Jobs by success", f"GET {JOBS}", query={"fieldSelector": "status.successful=0"}, find={"length(items)": 3}
    ),
    Variant(
        "a status that contradicts itself",
        f"PATCH {JOBS}/j/status",
        {"status": {"conditions": [{"type": t, "status": "True"} for t in ("Complete", "Failed")]}},
        type=MERGE,
        **INVALID,
    ),
    Variant(
        "a negative count of failures",
        f"PATCH {JOBS}/j/status",
        {"status": {"failed": -1}},
        type=MERGE,
        fields=("status.failed",),
        **INVALID,
    ),
    Variant(
        "completion needs a start",
        f"PATCH {JOBS}/j/status",
        {"status": {"completionTime": "2026-01-01T00:00:00Z"}},
        type=MERGE,
        **INVALID,
    ),
]

OTHERS = [
    Variant(
        "a Deployment's selector must match",
        f"POST {DEPLOYMENTS}",
        with_(deployment("d"), "spec.selector", {"matchLabels": {"x": "y"}}),
        fields=("spec.template.metadata.labels",),
        **INVALID,
    ),
    Variant(
        "and be there", f"POST {DEPLOYMENTS}", deployment("d", selector=None), fields=("spec.selector",), **INVALID
    ),
    Variant(
        "its pods never end",
        f"POST {DEPLOYMENTS}",
        with_(deployment("d"), "spec.template.spec", {**deployment("d")["spec"]["template"]["spec"], **NEVER}),
        fields=("spec.template.spec.restartPolicy",),
        **INVALID,
    ),
    Variant(
        "no progress at all",
        f"POST {DEPLOYMENTS}",
        deployment("d", strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}),
        fields=("spec.strategy.rollingUpdate.maxUnavailable",),
        **INVALID,
    ),
    Variant(
        "a percentage",
        f"POST {DEPLOYMENTS}",
        deployment("d", strategy={"rollingUpdate": {"maxSurge": "many"}}),
        fields=("spec.strategy.rollingUpdate.maxSurge",),
        **INVALID,
    ),
    Variant(
        "a budget has one bound",
        f"POST {BUDGETS}",
        named("b", spec={"minAvailable": 1, "maxUnavailable": 1}),
        fields=("spec",),
        **INVALID,
    ),
    Variant(
        "a budget",
        f"POST {BUDGETS}",
        named("b", spec={"minAvailable": "50%", "selector": {"matchLabels": {"a": "b"}}}),
        code=201,
        find={"metadata.generation": 1, "spec.minAvailable": "50%"},
    ),
    Variant(
        "a budget's selector",
        f"POST {BUDGETS}",
        named("c", spec={"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
        fields=("spec.selector.matchExpressions[0].values",),
        **INVALID,
    ),
    Variant(
        "a network policy's types",
        f"POST {NETWORK}",
        named("n", spec={"podSelector": {}, "egress": [{"ports": [{"port": 443}]}]}),
        code=201,
        find={"spec.policyTypes": ["Ingress", "Egress"], "spec.egress[0].ports[0].protocol": "TCP"},
    ),
    Variant(
        "a block",
        f"POST {NETWORK}",
        named(
            "m",
            spec={
                "podSelector": {},
                "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}]}],
            },
        ),
        fields=("spec.ingress[0].from[0].ipBlock.except[0]",),
        **INVALID,
    ),
    Variant(
        "a quota",
        f"POST {QUOTAS}",
        named("q", spec={"hard": {"count/jobs.batch": "1", "requests.nvidia.com/gpu": "2", "pods": "1"}}),
        code=201,
    ),
    Variant("one Job", f"POST {JOBS}", job("one"), code=201),
    Variant("is enough", f"POST {JOBS}", job("two"), code=403, reason="Forbidden"),
    Variant(
        "GPUs count",
        f"POST {PODS}",
        pod("g", containers=[container(resources={"limits": {"nvidia.com/gpu": 3}})]),
        code=403,
        reason="Forbidden",
    ),
    Variant("pods count", f"POST {PODS}", pod("a"), code=201),
    Variant("so many", f"POST {PODS}", pod("b"), code=403, reason="Forbidden"),
    Variant(
        "an unknown quota",
        f"POST {QUOTAS}",
        named("r", spec={"hard": {"things": "1"}}),
        fields=("spec.hard[things]",),
        **INVALID,
    ),
    Variant(
        "an event about another namespace",
        f"POST {EVENTS}",
        named("e", involvedObject={"kind": "Pod", "name": "a", "namespace": "elsewhere"}),
        fields=("involvedObject.namespace",),
        **INVALID,
    ),
    Variant(
        "a class's name is not the system's",
        "POST /apis/scheduling.k8s.io/v1/priorityclasses",
        named("system-mine", value=1),
        fields=("metadata.name",),
        **INVALID,
    ),
    Variant(
        "a class above all",
        "POST /apis/scheduling.k8s.io/v1/priorityclasses",
        named("huge", value=2000000000),
        fields=("value",),
        **INVALID,
    ),
]
GROUPS = {"pods": PODS_REFUSED, "jobs": JOBS_REFUSED, "others": OTHERS}
