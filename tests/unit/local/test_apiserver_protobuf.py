"""Bodies in protobuf: what kubectl sends must be what JSON would have said."""

from __future__ import annotations

import struct

import pytest

from selm_local.apiserver.builtin import definition_name
from selm_local.apiserver.protobuf import MalformedProtobuf, decode
from selm_local.apiserver.protobuf.fields import TABLE
from selm_local.apiserver.resources import BUILT_IN, CRDS


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def chunk(field: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(data)) + data


def envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    meta = chunk(1, api_version) + chunk(2, kind)
    return b"k8s\x00" + chunk(1, meta) + chunk(2, raw) + chunk(3, "") + chunk(4, "")


def test_a_config_map() -> None:
    meta = chunk(1, "a") + chunk(2, "") + number(7, 0) + chunk(8, b"") + chunk(11, chunk(1, "k") + chunk(2, "v"))
    raw = chunk(1, meta) + chunk(2, chunk(1, "x") + chunk(2, "1")) + chunk(3, chunk(1, "b") + chunk(2, b"\x00\x01"))
    assert decode(envelope("v1", "ConfigMap", raw)) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "labels": {"k": "v"}},
        "data": {"x": "1"},
        "binaryData": {"b": "AAE="},
    }


def test_a_zero_that_means_something_stays() -> None:
    job = decode(envelope("batch/v1", "Job", chunk(2, number(1, 0) + number(7, 0) + number(10, 0))))
    assert job["spec"] == {"parallelism": 0, "backoffLimit": 0, "suspend": False}


def test_inlined_lists_times_and_quantities() -> None:
    secret_key = chunk(1, chunk(1, "s")) + chunk(2, "key")
    env = chunk(1, "A") + chunk(3, chunk(4, secret_key))
    limits = chunk(1, chunk(1, "cpu") + chunk(2, chunk(1, "500m")))
    container = chunk(1, "m") + chunk(3, "sh") + chunk(3, "-c") + chunk(7, env) + chunk(8, limits)
    volume = chunk(1, "v") + chunk(2, chunk(2, b""))
    pod = chunk(1, chunk(9, number(1, 1767225600))) + chunk(2, chunk(1, volume) + chunk(2, container) + number(4, -1))
    found = decode(envelope("v1", "Pod", pod))
    assert found["metadata"] == {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    assert found["spec"]["volumes"] == [{"name": "v", "emptyDir": {}}]
    assert found["spec"]["terminationGracePeriodSeconds"] == -1
    assert found["spec"]["containers"] == [
        {
            "name": "m",
            "command": ["sh", "-c"],
            "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}}],
            "resources": {"limits": {"cpu": "500m"}},
        }
    ]


def test_a_port_by_number_or_by_name() -> None:
    def service(target: bytes) -> object:
        port = number(3, 80) + chunk(4, target)
        return decode(envelope("v1", "Service", chunk(2, chunk(1, port))))["spec"]["ports"][0]["targetPort"]

    assert service(number(1, 0) + number(2, 8080) + chunk(3, "")) == 8080
    assert service(number(1, 1) + number(2, 0) + chunk(3, "web")) == "web"


def test_delete_options_belong_to_every_group() -> None:
    found = decode(envelope("batch/v1", "DeleteOptions", number(1, 0) + chunk(4, "Foreground")))
    assert (found["gracePeriodSeconds"], found["propagationPolicy"]) == (0, "Foreground")


@pytest.mark.parametrize(
    ("what", "data", "said"),
    [
        ("JSON", b"{}", "does not begin"),
        ("an unknown kind", envelope("v1", "Nothing", b""), "send JSON"),
        ("cut short", envelope("v1", "ConfigMap", chunk(1, chunk(1, "abc")))[:-8], "ends within"),
        ("an endless number", b"k8s\x00" + b"\xff" * 11, "does not end"),
        ("a group", b"k8s\x00" + varint(1 << 3 | 3), "unknown wire type 3"),
        ("a number for a string", envelope("v1", "ConfigMap", chunk(1, number(1, 5))), "a number stands"),
        ("text that is none", envelope("v1", "ConfigMap", chunk(1, chunk(1, b"\xff"))), "not UTF-8"),
    ],
)
def test_what_cannot_be_read_says_why(what: str, data: bytes, said: str) -> None:
    with pytest.raises(MalformedProtobuf, match=said):
        decode(data)


def test_fixed_width_fields_of_unknown_numbers_are_skipped() -> None:
    raw = (
        varint(99 << 3 | 1)
        + struct.pack("<d", 1.0)
        + varint(98 << 3 | 5)
        + struct.pack("<f", 1.0)
        + chunk(2, chunk(1, "x") + chunk(2, "1"))
    )
    assert decode(envelope("v1", "ConfigMap", raw))["data"] == {"x": "1"}


def test_every_kind_that_is_served_can_be_sent_as_protobuf() -> None:
    known = {line.split(" ", 1)[0] for line in TABLE.splitlines()}
    for resource in BUILT_IN:
        name = definition_name(resource.group, resource.version, resource.kind)
        assert name is not None
        if resource != CRDS:  # clients of CustomResourceDefinitions send JSON
            assert name.replace("io.k8s.api.", "a/") in known, name
