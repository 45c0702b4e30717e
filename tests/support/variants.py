"""Exchanges of our own, beside the recorded ones: how the Kubernetes API answers, by its documentation and source.

A variant is one request and what must come: a code; with a refusal its reason and the fields of its causes; with
success what a JMESPath expression must find in the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from support.conformance import pick
from support.conformance_client import Answer, Client
from support.conformance_text import REMARK

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True)
class Variant:
    """`NS` in the path stands for the namespace. find: expression → value, of a successful answer.

    user: who is impersonated; empty: the client's own.
    """

    what: str
    request: str
    body: Any = None
    code: int = 200
    reason: str = ""
    fields: tuple[str, ...] = ()
    find: dict[str, Any] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    type: str = "application/json"
    accept: str = "application/json"
    user: str = ""

    def problems(self, client: Client, namespace: str) -> list[str]:
        """How the answer departs from what must come."""
        method, path = self.request.split(" ", 1)
        path = path.replace("NS", f"namespaces/{namespace}")
        answer = client.send(
            method,
            path,
            query=self.query,
            body=self.body,
            content_type=self.type,
            accept=self.accept,
            headers={"Impersonate-User": self.user} if self.user else {},
        )
        if answer.code != self.code:
            return [f"answered {answer.code}, must be {self.code}: {_told(answer)}"]
        if self.code >= 400:
            return self._of_refusal(answer)
        found = {expression: pick(expression, answer.body) for expression in self.find}
        return [
            f"{key} is {found[key]!r}, must be {value!r}" for key, value in self.find.items() if found[key] != value
        ]

    def _of_refusal(self, answer: Answer) -> list[str]:
        status = answer.body if isinstance(answer.body, dict) else {}
        causes = (status.get("details") or {}).get("causes") or []
        named = [cause.get("field", "") for cause in causes if REMARK not in cause.get("message", "")]
        problems = []
        if self.reason and status.get("reason") != self.reason:
            problems.append(f"reason {status.get('reason')!r}, must be {self.reason!r}: {_told(answer)}")
        if self.fields and sorted(set(named)) != sorted(self.fields):
            problems.append(f"names {sorted(set(named))}, must name {sorted(self.fields)}: {_told(answer)}")
        return problems


def _told(answer: Answer) -> str:
    return str(answer.body.get("message") if isinstance(answer.body, dict) else answer.body)[:400]
