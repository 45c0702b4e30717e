"""PodDisruptionBudgets and NetworkPolicies: accepted by Kubernetes' rules. Who obeys them is said in the documentation.

Source: kubernetes/pkg/apis/policy/validation, pkg/apis/networking/{v1/defaults.go,validation}.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from selm_local.apiserver.kinds.apps import validate_portion
from selm_local.apiserver.kinds.builtin import BuiltIn, one_of
from selm_local.apiserver.kinds.selectors import label_selector
from selm_local.apiserver.kinds.services import PROTOCOLS, port_reference
from selm_local.apiserver.schema import errors as field
from selm_local.apiserver.schema.errors import FieldError
from selm_local.apiserver.storage import Object


class PodDisruptionBudgets(BuiltIn):
    def initial_status(self, obj: Object) -> Object:  # noqa: ARG002 - hooks share one signature
        return {"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0}

    def validate(self, obj: Object, old: Object | None) -> list[FieldError]:  # noqa: ARG002
        spec = obj.get("spec") or {}
        found: list[FieldError] = []
        least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
        if least is not None and most is not None:
            text = "minAvailable and maxUnavailable cannot be both set"
            found.append(field.invalid("spec", spec, text))
        for name, value in (("minAvailable", least), ("maxUnavailable", most)):
            if value is None:
                continue
            problems = validate_portion(f"spec.{name}", value)
            if not problems and isinstance(value, str) and int(value[:-1]) > 100:
                problems = [field.invalid(f"spec.{name}", value, "must not be greater than 100%")]
            found += problems
        allowed = ("AlwaysAllow", "IfHealthyBudget")
        found += one_of("spec.unhealthyPodEvictionPolicy", spec.get("unhealthyPodEvictionPolicy"), allowed)
        return found + label_selector(spec.get("selector"), "spec.selector")


class NetworkPolicies(BuiltIn):
    def default(self, obj: Object) -> Object:
        spec = obj.setdefault("spec", {})
        if not spec.get("policyTypes"):
            spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
        for rule in [*(spec.get("ingress") or []), *(spec.get("egress") or [])]:
            for port in rule.get("ports") or []:
                port.setdefault("protocol", "TCP")
        return obj

    def prepare_create(self, obj: Object) -> None:
        super().prepare_create(obj)
        obj["metadata"]["generation"] = 1

    def validate(self, obj: Object, old: Object | None) -> list[FieldError]:  # noqa: ARG002
        spec = obj["spec"]
        found = label_selector(spec.get("podSelector") or {}, "spec.podSelector")
        for kind, peers in (("ingress", "from"), ("egress", "to")):
            for i, rule in enumerate(spec.get(kind) or []):
                here = f"spec.{kind}[{i}]"
                for j, port in enumerate(rule.get("ports") or []):
                    found += _port(port, f"{here}.ports[{j}]")
                for j, peer in enumerate(rule.get(peers) or []):
                    found += _peer(peer, f"{here}.{peers}[{j}]")
        types = spec["policyTypes"]
        if len(types) > 2:
            text = "may not specify more than two policyTypes"
            found.append(field.invalid("spec.policyTypes", types, text))
        else:
            for i, one in enumerate(types):
                found += one_of(f"spec.policyTypes[{i}]", one, ("Egress", "Ingress"))
        return found


def _port(port: Object, path: str) -> list[FieldError]:
    found = one_of(f"{path}.protocol", port["protocol"], PROTOCOLS)
    number, end = port.get("port"), port.get("endPort")
    if number is None:
        return found + (
            [field.required(f"{path}.port", "must be specified when `endPort` is specified")] if end else []
        )
    found += port_reference(f"{path}.port", number)
    if end is not None and isinstance(number, str):
        found.append(field.invalid(f"{path}.endPort", end, "may not be specified when `port` is non-numeric"))
    elif end is not None and not number <= end <= 65535:
        found.append(field.invalid(f"{path}.endPort", end, "must be greater than or equal to `port`"))
    return found


def _peer(peer: Object, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    for name in ("podSelector", "namespaceSelector"):
        if name in peer:
            found += label_selector(peer[name], f"{path}.{name}")
    block = peer.get("ipBlock")
    if not any(name in peer for name in ("podSelector", "namespaceSelector", "ipBlock")):
        found.append(field.required(path, "must specify a peer"))
    elif block is not None and len([n for n in ("podSelector", "namespaceSelector", "ipBlock") if n in peer]) > 1:
        found.append(field.forbidden(path, "may not specify both ipBlock and another peer"))
    if block is not None:
        found += _block(block, f"{path}.ipBlock")
    return found


def _network(text: Any) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(str(text), strict=False) if "/" in str(text) else None
    except ValueError:
        return None


def _block(block: Object, path: str) -> list[FieldError]:
    if not block.get("cidr"):
        return [field.required(f"{path}.cidr")]
    outer = _network(block["cidr"])
    text = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
    if outer is None:
        return [field.invalid(f"{path}.cidr", block["cidr"], text)]
    found: list[FieldError] = []
    for i, one in enumerate(block.get("except") or []):
        inner, here = _network(one), f"{path}.except[{i}]"
        if inner is None:
            found.append(field.invalid(here, one, text))
        elif inner.version != outer.version or not inner.subnet_of(outer) or inner == outer:  # type: ignore[arg-type]
            found.append(field.invalid(here, one, f"must be a strict subset of `cidr`: {block['cidr']}"))
    return found
