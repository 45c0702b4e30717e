"""Server-side apply: who owns what, conflicts, and what goes when it is no longer applied."""

import copy

import pytest

from selm_local.apiserver.patch import (
    ApplyConflict,
    FieldRequest,
    PatchError,
    apply,
    merge_type,
    merge_type_of,
    reset_fields,
    settle,
)
from selm_local.apiserver.schema import CustomSchema

SCHEMA = CustomSchema(
    {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "i": {"type": "integer"},
                    "j": {"type": "integer", "default": 7},
                    "group": {"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}}},
                    "atomic": {"type": "array", "items": {"type": "integer"}},
                    "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                    "entries": {"type": "object", "additionalProperties": {"type": "string"}},
                    "items": {
                        "type": "array",
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["name"],
                        "items": {
                            "type": "object",
                            "required": ["name"],
                            "properties": {
                                "name": {"type": "string"},
                                "v": {"type": "integer"},
                                "w": {"type": "integer"},
                            },
                        },
                    },
                },
            },
            "status": {"type": "object", "properties": {"n": {"type": "integer"}}},
        },
    }
)
CUSTOM = merge_type_of(SCHEMA)


def obj(**spec):
    return {"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "a", "namespace": "n"}, "spec": spec}


def request(manager, operation="Apply", time="2026-01-01T00:00:00Z", subresource=""):
    reset = reset_fields(subresource, status_subresource=True)
    return FieldRequest(manager, operation, "g/v1", time, subresource, reset)


def by(live, manager, force=False, time="2026-01-01T00:00:00Z", **spec):
    return apply(live, obj(**spec), request(manager, time=time), CUSTOM, force=force)


def put(live, manager, time="2026-01-01T00:00:00Z", **spec):
    new = {**copy.deepcopy(live), "spec": spec} if live else obj(**spec)
    return settle(live, new, request(manager, "Update", time), CUSTOM)


def owned(of, manager, operation="Apply"):
    entries = of["metadata"].get("managedFields", [])
    found = [e["fieldsV1"] for e in entries if (e["manager"], e["operation"]) == (manager, operation)]
    assert len(found) <= 1
    return found[0] if found else None


def test_what_is_applied_is_owned_leaf_by_leaf():
    made = by(
        None, "alice", i=1, group={"x": 1}, atomic=[1], set=["a"], entries={"k": "v"}, items=[{"name": "b", "v": 1}]
    )
    assert owned(made, "alice") == {
        "f:spec": {
            "f:i": {},
            "f:group": {"f:x": {}},
            "f:atomic": {},
            "f:set": {'v:"a"': {}},
            "f:entries": {"f:k": {}},
            "f:items": {'k:{"name":"b"}': {".": {}, "f:name": {}, "f:v": {}}},
        }
    }
    entry = made["metadata"]["managedFields"][0]
    assert {k: entry[k] for k in ("apiVersion", "fieldsType", "time")} == {
        "apiVersion": "g/v1",
        "fieldsType": "FieldsV1",
        "time": "2026-01-01T00:00:00Z",
    }


def test_defaults_are_owned_by_nobody():
    live = SCHEMA.default(by(None, "alice", i=1))
    assert live["spec"] == {"i": 1, "j": 7}
    assert by(live, "bob", j=8)["spec"] == {"i": 1, "j": 8}


def test_applying_the_same_again_changes_nothing():
    live = SCHEMA.default(by(None, "alice", i=1, items=[{"name": "b"}]))
    assert by(live, "alice", i=1, items=[{"name": "b"}], time="2027-01-01T00:00:00Z") == live


def test_a_field_of_another_is_a_conflict_until_forced():
    live = by(None, "alice", i=1, items=[{"name": "b", "v": 1}])
    with pytest.raises(ApplyConflict) as conflict:
        by(live, "bob", i=2, items=[{"name": "b", "v": 2}])
    assert conflict.value.conflicts == [(".spec.i", '"alice"'), ('.spec.items[name="b"].v', '"alice"')]
    assert (
        str(conflict.value)
        == 'Apply failed with 2 conflicts: conflicts with "alice":\n- .spec.i\n- .spec.items[name="b"].v'
    )
    assert conflict.value.causes[0] == {
        "field": ".spec.i",
        "message": 'conflict with "alice"',
        "reason": "FieldManagerConflict",
    }
    forced = by(live, "bob", force=True, i=2, items=[{"name": "b", "v": 2}])
    assert forced["spec"] == {"i": 2, "items": [{"name": "b", "v": 2}]}
    assert owned(forced, "alice") == {"f:spec": {"f:items": {'k:{"name":"b"}': {".": {}, "f:name": {}}}}}


def test_one_conflict_is_told_in_one_line():
    live = put(None, "kubectl", i=1)
    with pytest.raises(ApplyConflict) as conflict:
        by(live, "bob", i=2)
    assert str(conflict.value) == (
        'Apply failed with 1 conflict: conflict with "kubectl" using g/v1 at 2026-01-01T00:00:00Z: .spec.i'
    )


def test_the_same_value_is_owned_together_and_stays_until_the_last_lets_go():
    both = by(by(None, "alice", i=1, j=1), "bob", i=1)
    assert owned(both, "alice") == {"f:spec": {"f:i": {}, "f:j": {}}}
    without_alice = by(both, "alice", j=1)
    assert without_alice["spec"] == {"i": 1, "j": 1}
    assert "i" not in by(without_alice, "bob")["spec"]


GOING = [
    ("a field", {"i": 1, "j": 2}, {"j": 2}, {"j": 2}),
    ("a group with all it had", {"i": 1, "group": {"x": 1}}, {"i": 1}, {"i": 1}),
    ("one field of a group", {"group": {"x": 1, "y": 2}}, {"group": {"y": 2}}, {"group": {"y": 2}}),
    (
        "an item of a map",
        {"items": [{"name": "a"}, {"name": "b"}]},
        {"items": [{"name": "b"}]},
        {"items": [{"name": "b"}]},
    ),
    ("an item of a set", {"set": ["a", "b"]}, {"set": ["b"]}, {"set": ["b"]}),
    ("an entry", {"entries": {"a": "1", "b": "2"}}, {"entries": {"b": "2"}}, {"entries": {"b": "2"}}),
    ("an atomic list as one", {"atomic": [1, 2]}, {"atomic": [2]}, {"atomic": [2]}),
]


@pytest.mark.parametrize(("first", "then", "left"), [c[1:] for c in GOING], ids=[c[0] for c in GOING])
def test_what_is_no_longer_applied_goes(first, then, left):
    assert by(by(None, "alice", **first), "alice", **then)["spec"] == left


def test_what_another_owns_stays_when_its_parent_is_let_go():
    live = by(by(None, "alice", group={"x": 1}), "bob", group={"y": 2})
    assert by(live, "alice", i=1)["spec"] == {"group": {"y": 2}, "i": 1}


def test_an_item_goes_with_the_defaults_beneath_it():
    live = by(None, "alice", items=[{"name": "a", "v": 1}])
    live["spec"]["items"][0]["w"] = 9  # filled in by the server
    assert "items" not in by(live, "alice", i=1)["spec"]


def test_items_keep_the_applied_order_and_others_their_place():
    live = put(None, "maker", items=[{"name": n} for n in "xab"])
    merged = by(live, "alice", items=[{"name": "b"}, {"name": "a"}, {"name": "c"}])
    assert [item["name"] for item in merged["spec"]["items"]] == ["x", "b", "a", "c"]


def test_an_update_takes_what_it_changes_and_nothing_else():
    live = by(None, "alice", i=1, group={"x": 1})
    updated = put(live, "bob", i=2, group={"x": 1}, j=3)
    assert owned(updated, "alice") == {"f:spec": {"f:group": {"f:x": {}}}}
    assert owned(updated, "bob", "Update") == {"f:spec": {"f:i": {}, "f:j": {}}}
    with pytest.raises(ApplyConflict):
        by(updated, "alice", i=1, group={"x": 1})


def test_a_create_owns_objects_too():
    made = put(None, "maker", group={"x": 1}, items=[{"name": "a"}])
    assert owned(made, "maker", "Update") == {
        "f:spec": {
            ".": {},
            "f:group": {".": {}, "f:x": {}},
            "f:items": {".": {}, 'k:{"name":"a"}': {".": {}, "f:name": {}}},
        }
    }


def test_an_update_of_nothing_keeps_all_entries():
    live = by(put(None, "maker", i=1), "alice", j=2)
    assert put(live, "bob", time="2027-01-01T00:00:00Z", **live["spec"]) == live


def test_removed_fields_are_nobodys():
    live = put(put(None, "maker", i=1, j=2), "bob", i=1)
    assert owned(live, "maker", "Update") == {"f:spec": {".": {}, "f:i": {}}}
    assert owned(live, "bob", "Update") is None


def test_status_is_owned_apart():
    live = by(None, "alice", i=1)
    given = {"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "a"}, "status": {"n": 1}}
    live = apply(live, given, request("alice", subresource="status"), CUSTOM)
    entries = [(e["manager"], e.get("subresource", ""), e["fieldsV1"]) for e in live["metadata"]["managedFields"]]
    assert entries == [("alice", "", {"f:spec": {"f:i": {}}}), ("alice", "status", {"f:status": {"f:n": {}}})]
    assert by(live, "alice", i=2)["status"] == {"n": 1}
    through_main = apply(None, given, request("bob"), CUSTOM)
    assert owned(through_main, "bob") is None


def test_what_was_there_before_the_first_apply_is_defended():
    live = obj(i=1)
    with pytest.raises(ApplyConflict, match="before-first-apply"):
        by(live, "alice", i=2)
    assert put(live, "bob", i=2)["metadata"].get("managedFields") is None


def test_owners_can_be_forgotten():
    live = by(None, "alice", i=1)
    new = {**live, "metadata": {**live["metadata"], "managedFields": [{}]}}
    assert "managedFields" not in settle(live, new, request("bob", "Update"), CUSTOM)["metadata"]


REFUSED = [
    ("an undeclared field", obj(nonsense=1), 500, ".spec.nonsense: field not declared in schema"),
    ("one key twice", obj(items=[{"name": "a"}, {"name": "a"}]), 500, "duplicate entries"),
    ("an item without key", obj(items=[{"v": 1}]), 500, "omits all key fields"),
    ("one value twice", obj(set=["a", "a"]), 500, "duplicate entries"),
    (
        "managedFields",
        {**obj(), "metadata": {"name": "a", "managedFields": []}},
        400,
        "metadata.managedFields must be nil",
    ),
    ("no object", "x", 400, "must be an object"),
]


@pytest.mark.parametrize(("given", "code", "said"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED])
def test_an_apply_is_refused(given, code, said):
    with pytest.raises(PatchError) as refusal:
        apply(None, given, request("alice"), CUSTOM)
    assert refusal.value.code == code
    assert said in str(refusal.value)


def test_built_in_kinds_merge_by_their_table():
    service = merge_type(("", "v1", "Service"))
    ask = lambda who: FieldRequest(who, "Apply", "v1", "2026-01-01T00:00:00Z")  # noqa: E731
    base = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "labels": {"a": "1"}}}
    live = apply(None, {**base, "spec": {"ports": [{"port": 1}], "selector": {"x": "y"}}}, ask("alice"), service)
    assert owned(live, "alice") == {
        "f:metadata": {"f:labels": {"f:a": {}}},
        "f:spec": {"f:ports": {'k:{"port":1,"protocol":"TCP"}': {".": {}, "f:port": {}}}, "f:selector": {}},
    }
    other = apply(live, {**base, "spec": {"ports": [{"port": 1, "protocol": "UDP"}]}}, ask("bob"), service)
    assert other["spec"]["ports"] == [{"port": 1}, {"port": 1, "protocol": "UDP"}]


def test_a_built_in_kind_refuses_what_it_does_not_have():
    ask = FieldRequest("alice", "Apply", "batch/v1", "2026-01-01T00:00:00Z")
    given = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "j"},
        "spec": {"template": {"spec": {"contaners": []}}},
    }
    with pytest.raises(PatchError, match=r"\.spec\.template\.spec\.contaners: field not declared in schema"):
        apply(None, given, ask, merge_type(("batch", "v1", "Job")))


def test_a_kind_that_is_none_of_kubernetes():
    with pytest.raises(KeyError, match=r"example\.com/v1/Thing"):
        merge_type(("example.com", "v1", "Thing"))


def test_old_updates_become_one_entry():
    live = obj()
    live = settle(None, {**live, "spec": {"entries": {"k": "0"}}}, request("m00", "Update"), CUSTOM)
    for n in range(1, 15):
        entries = {**live["spec"]["entries"], f"k{n}": "x"}
        live = put(live, f"m{n:02}", time=f"2026-01-{n + 1:02}T00:00:00Z", entries=entries)
    managers = [e["manager"] for e in live["metadata"]["managedFields"]]
    assert len(managers) == 10
    assert "ancient-changes" in managers
    assert "f:k" in str(owned(live, "ancient-changes", "Update"))
