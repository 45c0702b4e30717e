"""The table of specs, asked of an API server that runs: created, changed, refused over HTTP."""

from __future__ import annotations

import json
from typing import Any

from support.conformance_client import Answer, Client
from support.selmruns import Json, is_beneath, run_object

GROUP = "/apis/selm.dev/v1alpha1"
CONFLICTS = 20
"""Times that a change is tried beside an operator that writes its status."""


class SpecsClient:
    """Asks one server in one namespace, which must have the CRD."""

    def __init__(self, client: Client, namespace: str):
        self._client = client
        self._runs = f"{GROUP}/namespaces/{namespace}/selmruns"

    def ask(self, case: Json, name: str) -> list[str]:
        """How the server's answer to a case of the table departs from what must be answered; empty: it does not.

        name: of the object, where the case gives none of its own.
        """
        metadata = {"name": name, **case.get("metadata", {})}
        if case["kind"] == "transition":
            return self._change(case, metadata)
        answer = self._send("POST", self._runs, run_object(case.get("spec"), **metadata))
        if case["expect"] != "admitted":
            return _refusal_problems(case, answer)
        if not answer.ok:
            return [f"refused: {answer.body}"]
        self._forget(metadata["name"])
        return [
            f"{path} is stored as {_at(answer.body, path)!r}, must be {value!r}"
            for path, value in case.get("stored", {}).items()
            if _at(answer.body, path) != value
        ]

    def _change(self, case: Json, metadata: Json) -> list[str]:
        made = self._send("POST", self._runs, run_object(case["old"], **metadata))
        if not made.ok:
            return [f"the old object is refused: {made.body}"]
        path = f"{self._runs}/{metadata['name']}"
        for _ in range(CONFLICTS):
            answer = self._put(path, case, metadata)
            if answer.code != 409:  # else an operator wrote its status between
                break
        self._forget(metadata["name"])
        if case["expect"] == "admitted":
            return [] if answer.ok else [f"the change is refused: {answer.body}"]
        return _refusal_problems(case, answer)

    def _put(self, path: str, case: Json, metadata: Json) -> Answer:
        """The change, made at once after the status that it is judged by; or the answer that came before it."""
        before = self._send("GET", path, None)
        if before.ok and case.get("status"):
            before = self._send("PUT", f"{path}/status", {**before.body, "status": case["status"]})
        if not before.ok:
            return before
        version = before.body["metadata"]["resourceVersion"]
        return self._send("PUT", path, run_object(case["new"], **metadata, resourceVersion=version))

    def _send(self, method: str, path: str, body: Any) -> Answer:
        return self._client.send(method, path, query={"fieldValidation": "Strict"}, body=body)

    def _forget(self, name: str) -> None:
        self._client.send("DELETE", f"{self._runs}/{name}")


def _refusal_problems(case: Json, answer: Answer) -> list[str]:
    wanted = case["expect"]["field"]
    if answer.ok:
        return [f"admitted, must be refused at {wanted}"]
    if answer.code == 400:  # strict decoding has no causes: the message names the field
        return [] if wanted in json.dumps(answer.body) else [f"{wanted} is not named: {answer.body.get('message')}"]
    if answer.code != 422:
        return [f"answered {answer.code}, must be 422 or 400: {answer.body}"]
    named = [cause.get("field", "") for cause in (answer.body.get("details") or {}).get("causes") or []]
    return [] if any(is_beneath(one, wanted) for one in named) else [f"names {named}, must name {wanted}"]


def _at(obj: Any, path: str) -> Any:
    for part in path.replace("[", ".").replace("]", "").split("."):
        if obj is None:
            return None
        obj = obj[int(part)] if isinstance(obj, list) else obj.get(part)
    return obj
