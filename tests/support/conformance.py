"""Replays exchanges that were recorded with a real Kubernetes 1.36 control plane, against any API server.

`tests/data/conformance/requests/<scenario>.yaml` says what is sent, `golden/<scenario>.json` what a real control plane
answered. A scenario is a list of steps, done in order in a namespace of its own:

    send: METHOD /path     with query, type, accept, token, and a body: `body` (JSON), `text` (as it is), or `from` (an
                           earlier answer) with `change` (a merge patch over it)
    until: /path           GET until `holds` is true of {code, body}, at most `seconds`
    watch: /path           the events while the steps of `during` are done
    kubectl: [arguments]   with stdin (an object), and tries: so often, a second apart, until it says what was recorded
    sleep: seconds
    note: expression       over the answers saved so far, by their names; `last` and `code` are the newest's

A step that bears the name `step` is compared with the recording of that name: the whole answer, or what `pick`, a
JMESPath expression, takes of it; with `compare: refused` only whether it was refused. `save` keeps an answer under a
name, for `note`, `from` and references in strings: "${name.metadata.uid}". `{ns}` is the scenario's namespace.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jmespath
import jmespath.functions
import yaml

from support.conformance_client import Answer, Client
from support.conformance_text import Difference, differences, plain, plain_text

DATA = Path(__file__).parents[1] / "data" / "conformance"
SCENARIOS = tuple(sorted(path.stem for path in (DATA / "requests").glob("*.yaml")))
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
POLL_SECONDS = 0.1
QUIET_SECONDS = 0.7
"""So long a watch is heard beyond its last expected event: what comes in excess is a difference too."""
_REFERENCE = re.compile(r"\$\{([^}]+)\}")


class _Functions(jmespath.functions.Functions):  # type: ignore[misc]
    """What the expressions of the data need beyond JMESPath's own functions."""

    @jmespath.functions.signature({"types": ["object", "null"]}, {"types": ["array"]})
    def _func_only(self, value: dict[str, Any] | None, names: list[str]) -> dict[str, Any]:
        return {name: (value or {})[name] for name in names if name in (value or {})}

    @jmespath.functions.signature({"types": ["object"]}, {"types": ["array"]})
    def _func_without(self, value: dict[str, Any], names: list[str]) -> dict[str, Any]:
        return {name: one for name, one in value.items() if name not in names}

    @jmespath.functions.signature({"types": ["string"]}, {"types": ["number"]})
    def _func_prefix(self, text: str, length: int) -> str:
        return text[:length]

    @jmespath.functions.signature({"types": ["array"]})
    def _func_all_but_last(self, values: list[Any]) -> list[Any]:
        return values[:-1]  # JMESPath's own slice leaves nulls out

    @jmespath.functions.signature({"types": ["array"]})
    def _func_sort_json(self, values: list[Any]) -> list[Any]:
        return sorted(values, key=json.dumps)


_OPTIONS = jmespath.Options(custom_functions=_Functions())


def pick(expression: str, value: Any) -> Any:
    """What a JMESPath expression of the data takes of a value."""
    return jmespath.search(expression, value, options=_OPTIONS)


@dataclass
class Outcome:
    """One step: what was sent, what a real control plane answered, what came, and where they differ."""

    scenario: str
    step: str
    sent: str
    recorded: dict[str, Any]
    came: dict[str, Any] | None
    differences: list[Difference] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Wording does not count."""
        return self.came is not None and all(one.wording for one in self.differences)

    def report(self) -> str:
        if self.came is None:
            return f"{self.scenario} / {self.step}: not reached"
        lines = [f"{self.scenario} / {self.step}", f"  sent:     {self.sent}"]
        for one in self.differences:
            lines.append(f"  at {one.path or '(the whole answer)'}{' (wording)' if one.wording else ''}")
            lines.append(f"    recorded: {json.dumps(one.recorded)[:2000]}")
            lines.append(f"    came:     {json.dumps(one.came)[:2000]}")
        return "\n".join(lines)


def load(scenario: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A scenario's steps and its recordings."""
    steps = yaml.safe_load((DATA / "requests" / f"{scenario}.yaml").read_text())
    return steps, json.loads((DATA / "golden" / f"{scenario}.json").read_text())


def replay(client: Client, scenario: str) -> list[Outcome]:
    """Do a whole scenario and compare; one outcome for each recording, in the order of the recordings."""
    steps, golden = load(scenario)
    recorded = {one["step"]: one for one in golden}
    prepare(client)
    run = Run(client, recorded, f"conf-{scenario.replace('_', '-')}-{uuid.uuid4().hex[:6]}")
    run.begin()
    try:
        run.do(steps)
    finally:
        run.end()
    outcomes = []
    for one in golden:
        sent, came = run.came.get(one["step"], ("", None))
        answer = {key: value for key, value in one.items() if key not in ("request", "kubectl")}
        found = [] if came is None else differences(answer, came)
        outcomes.append(Outcome(scenario, one["step"], sent, one, came, found))
    return outcomes


def prepare(client: Client) -> None:
    """The custom resource that the exchanges are about."""
    crd = yaml.safe_load((DATA / "crd.yaml").read_text())
    path = f"{CRDS}/{crd['metadata']['name']}"
    query = {"fieldManager": "conformance", "force": "true"}
    client.send("PATCH", path, query=query, body=crd, content_type="application/apply-patch+yaml")
    end = time.monotonic() + 30
    established = "status.conditions[?type=='Established' && status=='True'] | [0]"
    while not pick(established, client.send("GET", path).body):
        assert time.monotonic() < end, "the custom resource is not established after 30 s"
        time.sleep(POLL_SECONDS)


class Run:
    """The steps of one scenario in one namespace. came: what each named step sent and got, normalised."""

    def __init__(self, client: Client, recorded: dict[str, dict[str, Any]], namespace: str):
        self._client = client
        self._recorded = recorded
        self._ns = namespace
        self._saved: dict[str, Any] = {"ns": namespace}
        self.came: dict[str, tuple[str, dict[str, Any]]] = {}

    def begin(self) -> None:
        self._client.send("POST", "/api/v1/namespaces", body={"metadata": {"name": self._ns}})
        samples = f"/apis/conformance.selm.dev/v1alpha1/namespaces/{self._ns}/samples"
        self._until({"until": samples, "holds": "code == `200`", "seconds": 20})

    def end(self) -> None:
        self._client.send("DELETE", f"/api/v1/namespaces/{self._ns}")

    def do(self, steps: list[dict[str, Any]]) -> None:
        for step in steps:
            self._one(step)

    def _one(self, step: dict[str, Any]) -> None:
        if "send" in step:
            self._send(step)
        elif "until" in step:
            self._until(step)
        elif "watch" in step:
            self._watch(step)
        elif "kubectl" in step:
            self._kubectl(step)
        elif "sleep" in step:
            time.sleep(step["sleep"])
        else:
            expression = self._filled(step["note"])
            self._keep(step["step"], expression, {"value": self._plain(pick(expression, self._saved))})

    # --- the kinds of steps

    def _send(self, step: dict[str, Any]) -> None:
        method, path = self._filled(step["send"]).split(" ", 1)
        answer = self._client.send(
            method,
            path,
            query=self._filled(step.get("query")),
            body=self._body(step),
            content_type=step.get("type", "application/json"),
            accept=step.get("accept", "application/json"),
            token=self._filled(step.get("token", "")),
        )
        self._save(step, answer.body, answer.code)
        if "step" in step:
            self._keep(step["step"], step["send"], self._record(step, answer))

    def _record(self, step: dict[str, Any], answer: Answer) -> dict[str, Any]:
        body = pick(self._filled(step["pick"]), answer.body) if answer.ok and "pick" in step else answer.body
        record: dict[str, Any] = {"step": step["step"]}
        if step.get("compare") == "refused":
            record |= {"refused": not answer.ok, "soft": [answer.code, self._plain(body)]}
        else:
            record |= {"status": answer.code, "body": self._plain(body)}
        if answer.warning:
            record["warning"] = plain_text(answer.warning, self._ns)
        return record

    def _until(self, step: dict[str, Any]) -> None:
        end = time.monotonic() + step.get("seconds", 60)
        path, query = self._filled(step["until"]), self._filled(step.get("query"))
        while True:
            answer = self._client.send("GET", path, query=query)
            if pick(step["holds"], {"code": answer.code, "body": answer.body}) or time.monotonic() > end:
                break
            time.sleep(POLL_SECONDS)
        self._save(step, answer.body, answer.code)

    def _watch(self, step: dict[str, Any]) -> None:
        """Events are heard until as many came as were recorded, and a little longer; at most `seconds`."""
        expected = len(self._recorded[step["step"]]["value"]) if "step" in step else None
        events: list[Any] = []
        opened, enough = threading.Event(), threading.Event()

        def listen() -> None:
            path, query = self._filled(step["watch"]), self._filled(step.get("query", {}))
            for event in self._client.watch(path, query, step["seconds"], opened.set):
                if event["type"] == "BOOKMARK" and not event["object"]["metadata"].get("annotations"):
                    continue  # these may come at any time
                events.append([event["type"], pick(step["pick"], event["object"])])
                if expected is not None and len(events) >= expected:
                    enough.set()

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        opened.wait(10)
        self.do(step.get("during", []))
        if expected:
            enough.wait(step["seconds"])
            listener.join(QUIET_SECONDS)
        else:
            listener.join(step["seconds"] + 5)
        found = list(events)
        self._save(step, found)
        if "step" in step:
            self._keep(step["step"], f"watch {step['watch']}", {"value": self._plain(found)})

    def _kubectl(self, step: dict[str, Any]) -> None:
        arguments = [str(self._filled(one)) for one in step["kubectl"]]
        stdin = yaml.safe_dump(self._filled(step["stdin"])) if "stdin" in step else None
        recorded = self._recorded.get(step["step"], {})

        def as_recorded(done: subprocess.CompletedProcess[str]) -> bool:
            return done.returncode == 0 and plain_text(done.stdout, self._ns) == recorded.get("out")

        done = self._client.kubectl(self._ns, arguments, stdin, step.get("tries", 1), as_recorded)
        out = "soft" if "soft" in recorded else "out"
        record = {
            "exit": done.returncode,
            out: plain_text(done.stdout, self._ns),
            "err": plain_text(done.stderr, self._ns),
        }
        self._keep(step["step"], "kubectl " + " ".join(arguments), record)

    # --- references, bodies, records

    def _body(self, step: dict[str, Any]) -> Any:
        if "text" in step:
            return self._filled(step["text"])
        if "from" in step:
            return _merged(self._saved[step["from"]], self._filled(step.get("change", {})))
        return self._filled(step.get("body"))

    def _filled(self, value: Any) -> Any:
        """The value with its references replaced by what they name."""
        if isinstance(value, dict):
            return {key: self._filled(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self._filled(one) for one in value]
        if not isinstance(value, str):
            return value
        return _REFERENCE.sub(lambda found: str(pick(found[1], self._saved)), value.replace("{ns}", self._ns))

    def _save(self, step: dict[str, Any], value: Any, code: int = 0) -> None:
        self._saved |= {"last": value, "code": code}
        if "save" in step:
            self._saved[step["save"]] = value

    def _plain(self, value: Any) -> Any:
        return plain(value, self._ns)

    def _keep(self, name: str, sent: str, record: dict[str, Any]) -> None:
        self.came[name] = (sent, {"step": name, **record})


def _merged(value: Any, change: Any) -> Any:
    """RFC 7386."""
    if not isinstance(change, dict):
        return change
    result = dict(value) if isinstance(value, dict) else {}
    for key, one in change.items():
        if one is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), one)
    return result


def count(outcomes: list[Outcome]) -> str:
    """The line of a summary: how many steps of how many agree."""
    return f"{sum(one.agrees for one in outcomes)} of {len(outcomes)} steps agree"


def disagreeing(outcomes: list[Outcome]) -> Iterator[Outcome]:
    return (one for one in outcomes if not one.agrees)
