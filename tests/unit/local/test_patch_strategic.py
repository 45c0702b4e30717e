"""Strategic merge patches of built-in kinds."""

import copy

import pytest

from selm_local.apiserver.patch import PatchError, strategic_merge_patch

POD, SERVICE, NODE, CONFIG = ("", "v1", "Pod"), ("", "v1", "Service"), ("", "v1", "Node"), ("", "v1", "ConfigMap")
JOB = ("batch", "v1", "Job")


def pod(*containers, **spec):
    return {"spec": {"containers": list(containers), **spec}}


A = {"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]}
B = {"name": "b", "image": "1"}

CASES = [
    ("a container is known by its name", POD, pod(A, B), pod({"name": "b", "image": "2"}), pod(A, {"name": "b", "image": "2"})),
    ("a new container is appended", POD, pod(B), pod({"name": "c"}), pod(B, {"name": "c"})),
    (
        "variables merge by name within a container",
        POD,
        pod(A),
        pod({"name": "a", "env": [{"name": "Y", "value": "9"}, {"name": "Z", "value": "3"}]}),
        pod({**A, "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "9"}, {"name": "Z", "value": "3"}]}),
    ),
    ("a container is deleted", POD, pod(A, B), pod({"name": "a", "$patch": "delete"}), pod(B)),
    ("a list is replaced", POD, pod(A, B), pod({"$patch": "replace"}, {"name": "c"}), pod({"name": "c"})),
    ("an object is replaced", POD, {"spec": {"securityContext": {"runAsUser": 1}}}, {"spec": {"securityContext": {"$patch": "replace", "runAsGroup": 2}}}, {"spec": {"securityContext": {"runAsGroup": 2}}}),
    ("an object is deleted", POD, {"spec": {"securityContext": {"runAsUser": 1}, "x": 1}}, {"spec": {"securityContext": {"$patch": "delete"}}}, {"spec": {"x": 1}}),
    ("a field is removed by null", POD, pod(A), {"spec": {"containers": [{"name": "a", "env": None}]}}, pod({"name": "a", "image": "1"})),
    ("tolerations are one value", POD, {"spec": {"tolerations": [{"key": "a"}]}}, {"spec": {"tolerations": [{"key": "b"}]}}, {"spec": {"tolerations": [{"key": "b"}]}}),
    ("commands are one value", POD, pod({"name": "a", "command": ["x", "y"]}), pod({"name": "a", "command": ["z"]}), pod({"name": "a", "command": ["z"]})),
    ("a volume's kind is exchanged", POD, {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}, {"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "secret"], "secret": {"secretName": "s"}}]}}, {"spec": {"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}}),
    ("a Job's template is a pod's", JOB, {"spec": {"template": pod(A)}}, {"spec": {"template": pod({"name": "a", "image": "2"})}}, {"spec": {"template": pod({**A, "image": "2"})}}),
    ("a service's ports are known by number", SERVICE, {"spec": {"ports": [{"port": 1, "name": "x"}, {"port": 2}]}}, {"spec": {"ports": [{"port": 1, "name": "y"}]}}, {"spec": {"ports": [{"port": 1, "name": "y"}, {"port": 2}]}}),
    ("conditions are known by type", NODE, {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}, {"status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "X", "status": "True"}]}}, {"status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "X", "status": "True"}]}}),
    ("owners are known by uid", CONFIG, {"metadata": {"ownerReferences": [{"uid": "1", "name": "a"}]}}, {"metadata": {"ownerReferences": [{"uid": "2", "name": "b"}]}}, {"metadata": {"ownerReferences": [{"uid": "1", "name": "a"}, {"uid": "2", "name": "b"}]}}),
    ("finalizers gain", CONFIG, {"metadata": {"finalizers": ["a"]}}, {"metadata": {"finalizers": ["a", "b"]}}, {"metadata": {"finalizers": ["a", "b"]}}),
    ("finalizers are deleted by value", CONFIG, {"metadata": {"finalizers": ["a", "b"]}}, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}, {"metadata": {"finalizers": ["b"]}}),
    ("data is a map", CONFIG, {"data": {"a": "1", "b": "2"}}, {"data": {"b": None, "c": "3"}}, {"data": {"a": "1", "c": "3"}}),
    (
        "an order that kubectl asks for",
        POD,
        pod(A, B),
        {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "b", "image": "2"}]}},
        pod({"name": "b", "image": "2"}, A),
    ),
    (
        "what the order does not name keeps its place before what it preceded",
        POD,
        pod({"name": "injected"}, A, B),
        {"spec": {"$setElementOrder/containers": [{"name": "a"}, {"name": "b"}], "containers": [{"name": "a", "image": "2"}]}},
        pod({"name": "injected"}, {**A, "image": "2"}, B),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("gvk", "target", "patch", "result"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_strategic_merge(gvk, target, patch, result):
    before = copy.deepcopy((target, patch))
    assert strategic_merge_patch(target, patch, gvk) == result
    assert (target, patch) == before


BAD = [
    ("no object", ["x"], 400),
    ("an unknown directive", {"spec": {"$patch": "frobnicate"}}, 500),
    ("an item without its key", pod({"image": "2"}), 500),
    ("keys to retain that lack what is set", {"spec": {"$retainKeys": ["a"], "b": 1}}, 400),
]


@pytest.mark.parametrize(("patch", "code"), [c[1:] for c in BAD], ids=[c[0] for c in BAD])
def test_a_bad_patch(patch, code):
    with pytest.raises(PatchError) as refusal:
        strategic_merge_patch(pod(A), patch, POD)
    assert refusal.value.code == code
