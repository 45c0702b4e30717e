"""Services: headless ones, and those with a cluster address. An address is given out and kept; nothing routes to it.

Source: kubernetes/pkg/apis/core/v1/defaults.go, pkg/apis/core/validation, pkg/registry/core/service.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any

from selm_local.apiserver import errors as refusals
from selm_local.apiserver.kinds.builtin import BuiltIn, immutable, one_of
from selm_local.apiserver.resources import Resource
from selm_local.apiserver.schema import errors as field
from selm_local.apiserver.schema import names
from selm_local.apiserver.schema.errors import FieldError
from selm_local.apiserver.storage import Object

ADDRESSES = ipaddress.ip_network("10.96.0.0/16")
HEADLESS = "None"
PROTOCOLS = ("SCTP", "TCP", "UDP")
AFFINITY_SECONDS = 10800
_PORT_NAME = re.compile(r"(?=.*[a-z])(?!.*--)[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?")


def valid_port(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= 65535


def port_reference(path: str, value: Any) -> list[FieldError]:
    """A port by number, or by the name of a container's."""
    if isinstance(value, str):
        if _PORT_NAME.fullmatch(value):
            return []
        text = "must contain only alphanumeric characters (a-z, 0-9), and hyphens (-), one letter at least, at most 15"
        return [field.invalid(path, value, text)]
    return [] if valid_port(value) else [field.invalid(path, value, "must be between 1 and 65535, inclusive")]


class Services(BuiltIn):
    """Types other than ClusterIP would need a proxy or a resolver: 501."""

    create_on_update = True
    returns_deleted = True

    def __init__(self, resource: Resource):
        super().__init__(resource)
        # The registry sets it: all Services of the cluster.
        self.stored: Callable[[], list[Object]] = list

    def default(self, obj: Object) -> Object:
        spec = obj.setdefault("spec", {})
        kind = spec.setdefault("type", "ClusterIP")
        if kind in ("ExternalName", "LoadBalancer", "NodePort"):
            raise refusals.not_implemented(f"Services of type {kind}; ClusterIP and headless ones (clusterIP: None)")
        if spec.get("clusterIP"):
            spec.setdefault("clusterIPs", [spec["clusterIP"]])
        spec.setdefault("sessionAffinity", "None")
        if spec["sessionAffinity"] == "ClientIP":
            client = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
            client.setdefault("timeoutSeconds", AFFINITY_SECONDS)
        spec.setdefault("internalTrafficPolicy", "Cluster")
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        for port in spec.get("ports") or []:
            port.setdefault("protocol", "TCP")
            if "port" in port and port.get("targetPort") in (None, 0, ""):
                port["targetPort"] = port["port"]
        return obj

    def prepare_create(self, obj: Object) -> None:
        super().prepare_create(obj)
        spec = obj["spec"]
        if spec["type"] == "ClusterIP" and not spec.get("clusterIP") and spec.get("ports"):
            address = self._free_address(obj["metadata"].get("uid") or "")
            spec |= {"clusterIP": address, "clusterIPs": [address]}

    def prepare_update(self, obj: Object, old: Object) -> None:
        super().prepare_update(obj, old)
        spec, before = obj["spec"], old["spec"]
        if spec["type"] == before["type"] and not spec.get("clusterIP"):
            for name in ("clusterIP", "clusterIPs"):
                if name in before:
                    spec[name] = before[name]

    def initial_status(self, obj: Object) -> Object:  # noqa: ARG002 - hooks share one signature
        return {"loadBalancer": {}}

    def validate_name(self, name: str) -> list[str]:
        return names.dns1035_label(name)

    def validate(self, obj: Object, old: Object | None) -> list[FieldError]:
        spec = obj["spec"]
        found = one_of("spec.type", spec["type"], ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort"))
        if not spec.get("ports") and spec.get("clusterIP") != HEADLESS:
            found.append(field.required("spec.ports"))
        found += _ports(spec.get("ports") or [])
        found += names.label_map(spec.get("selector"), "spec.selector")
        found += one_of("spec.sessionAffinity", spec["sessionAffinity"], ("ClientIP", "None"))
        if old is not None:
            return found + immutable("spec.clusterIPs[0]", spec.get("clusterIP"), old["spec"].get("clusterIP"))
        return found + self._address_problems(spec)

    def selectable(self, name: str) -> bool:
        return super().selectable(name) or name in ("spec.clusterIP", "spec.type")

    # --- addresses

    def _used(self) -> set[str]:
        return {str(one["spec"].get("clusterIP")) for one in self.stored()}

    def _free_address(self, uid: str) -> str:
        """An address that no Service has; where the search begins follows from the uid."""
        used, count = self._used(), ADDRESSES.num_addresses - 2
        start = int(uid.replace("-", "") or "0", 16) % count
        for i in range(count):
            address = str(ADDRESSES[1 + (start + i) % count])
            if address not in used:
                return address
        raise refusals.internal("failed to allocate a serviceIP: range is full")

    def _address_problems(self, spec: Object) -> list[FieldError]:
        address = spec.get("clusterIP")
        if not address or address == HEADLESS:
            return []
        path, shown = "spec.clusterIPs", spec.get("clusterIPs")
        if shown != [address]:
            return [field.invalid(path, shown, "first value must match `clusterIP`")]
        try:
            inside = ipaddress.ip_address(address) in ADDRESSES
        except ValueError:
            text = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            return [field.invalid(f"{path}[0]", address, text)]
        if not inside:
            text = f"failed to allocate IP {address}: the provided IP is not in the valid range {ADDRESSES}"
            return [field.invalid(path, shown, text)]
        # A Service keeps its own address when it is applied anew, so only creation comes here.
        taken = address in self._used()
        text = f"failed to allocate IP {address}: provided IP is already allocated"
        return [field.invalid(path, shown, text)] if taken else []


def _ports(ports: list[Object]) -> list[FieldError]:
    found: list[FieldError] = []
    seen_names: set[str] = set()
    seen_ports: set[tuple[Any, Any]] = set()
    for i, port in enumerate(ports):
        here, name, number = f"spec.ports[{i}]", port.get("name") or "", port.get("port")
        if not name and len(ports) > 1:
            found.append(field.required(f"{here}.name"))
        if name:
            found += [field.invalid(f"{here}.name", name, text) for text in names.dns1123_label(name)]
            if name in seen_names:
                found.append(field.duplicate(f"{here}.name", name))
            seen_names.add(name)
        if not valid_port(number):
            found.append(field.invalid(f"{here}.port", number or 0, "must be between 1 and 65535, inclusive"))
        found += one_of(f"{here}.protocol", port["protocol"], PROTOCOLS)
        if port.get("targetPort") is not None:
            found += port_reference(f"{here}.targetPort", port["targetPort"])
        if (port["protocol"], number) in seen_ports:
            found.append(field.duplicate(here, {"protocol": port["protocol"], "port": number}))
        seen_ports.add((port["protocol"], number))
    return found
