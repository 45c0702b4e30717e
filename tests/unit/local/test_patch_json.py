"""JSON merge patches and JSON patches."""

import copy

import pytest

from selm_local.apiserver.patch import PatchError, json_patch, merge_patch

# The examples of RFC 7386, appendix A.
RFC_7386 = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), RFC_7386)
def test_merge_patch(target, patch, result):
    before = copy.deepcopy((target, patch))
    assert merge_patch(target, patch) == result
    assert (target, patch) == before


def test_a_json_patch_runs_in_order_and_leaves_its_target():
    target = {"a": 1, "l": ["x"], "labels": {"a/b": "c"}}
    patch = [
        {"op": "test", "path": "/a", "value": 1.0},
        {"op": "replace", "path": "/a", "value": 2},
        {"op": "add", "path": "/l/-", "value": "y"},
        {"op": "remove", "path": "/labels/a~1b"},
        {"op": "copy", "from": "/a", "path": "/b"},
        {"op": "move", "from": "/b", "path": "/c"},
    ]
    assert json_patch(target, patch) == {"a": 2, "l": ["x", "y"], "labels": {}, "c": 2}
    assert target == {"a": 1, "l": ["x"], "labels": {"a/b": "c"}}


REFUSED = [
    ("a test that fails", [{"op": "test", "path": "/a", "value": 2}], 422),
    ("a test of true against one", [{"op": "test", "path": "/a", "value": True}], 422),
    ("a test of what is not there", [{"op": "test", "path": "/z", "value": 2}], 422),
    ("removing what is not there", [{"op": "remove", "path": "/z"}], 422),
    ("replacing what is not there", [{"op": "replace", "path": "/z", "value": 1}], 422),
    ("adding beneath what is not there", [{"op": "add", "path": "/z/y", "value": 1}], 422),
    ("an index beyond the list", [{"op": "add", "path": "/l/7", "value": 1}], 422),
    ("no list", {"op": "add"}, 400),
    ("an unknown operation", [{"op": "frobnicate", "path": "/a"}], 400),
    ("an operation without path", [{"op": "add", "value": 1}], 400),
    ("an operation without value", [{"op": "add", "path": "/a"}], 400),
    ("a test without value", [{"op": "test", "path": "/a"}], 400),
    ("too many operations", [{"op": "test", "path": "/a", "value": 1}] * 10_001, 413),
]


@pytest.mark.parametrize(("patch", "code"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED])
def test_a_json_patch_is_refused_whole(patch, code):
    target = {"a": 1, "l": []}
    with pytest.raises(PatchError) as refusal:
        json_patch(target, [{"op": "add", "path": "/new", "value": 1}, *patch] if isinstance(patch, list) else patch)
    assert refusal.value.code == code
    assert target == {"a": 1, "l": []}
