"""The chart on a cluster: installed by Helm, its operator held to the chart's rights through a whole run and its end.

The operator runs as the rendered Deployment says (variables, ServiceAccount, read-only root file system), behind a proxy
that writes down each request. Nothing may be refused, and every right must have been needed.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import helm_python
import pytest
import requests
import yaml

from selm_local.apiserver.access import Attributes, rule_allows
from selm_local.launch import Daemon
from selm_local.state import StateDir
from support import pod_process, stories
from support.api_recorder import ApiRecorder, Asked
from support.chart import CHART, RELEASE, Json, of_kind, one
from support.e2e_fixtures import cluster_exports
from support.e2e_runs import make_run
from support.lab import BIN, Lab, condition
from support.tiny_model import make_prefs, make_tiny_model

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(not pod_process.mounts_allowed(), reason="processes get no mounts of their own here"),
]
NAME = "held"
NAMESPACE = "chart-home"
"""The release's: another than that of the embedded cluster's own operator, whose account has rights already."""
BY_ADMISSION = ("selm.dev", "selmruns/finalizers", "update")
"""Asked by an admission plugin that is off by default, where an owner reference blocks its owner's deletion."""

IN_OTHER_STORIES = {
    ("selm.dev", "selmruns", "create"),  # spec.evaluation.control: test_evaluation.py
    ("events.k8s.io", "events", "list"),  # a quota that is used up: test_scheduling.py
    ("", "services", "delete"),  # spec.retention.ttlSecondsAfterFinished: unit/operator/test_life.py
}
"""Rights that this run has no use for; what needs them stands beside each."""


@dataclass
class Installed:
    """An embedded cluster with the chart on it, by Helm, and nobody who reconciles yet."""

    lab: Lab
    helm: helm_python.Config
    objects: list[Json]
    recorder: ApiRecorder
    folder: Path
    values: Json
    asked: list[Asked] = field(default_factory=list)

    @contextlib.contextmanager
    def operator(self) -> Iterator[subprocess.Popen[bytes]]:
        """The Deployment's container, as its pod would run it."""
        deployment = one(self.objects, "Deployment")
        pod = deployment["spec"]["template"]["spec"]
        token = self.lab.kubectl(
            "create", "token", pod["serviceAccountName"], "-n", NAMESPACE, "--duration=1h", namespaced=False
        )
        assert self.lab.embedded_state is not None
        with pod_process.operator(
            self.folder,
            pod_process.environment(pod, NAMESPACE),
            namespace=NAMESPACE,
            token=token.strip(),
            authority=StateDir(self.lab.embedded_state).tls / "ca.crt",
            port=self.recorder.port,
        ) as process:
            yield process

    def log(self) -> str:
        return (self.folder / "operator.log").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    state = StateDir(tmp_path_factory.mktemp("selm"))
    own = {**os.environ, "SELM_LOCAL_DIR": str(state.root), "OMP_NUM_THREADS": "1"}
    subprocess.run([BIN / "selm", "local", "up"], env=own, check=True, timeout=120)
    try:
        Daemon(state, "operator").stop()  # the chart's operator takes its place
        lab = Lab({**cluster_exports(own), "SELM_LOCAL_DIR": str(state.root)}, embedded_state=state.root)
        lab.create_namespace()
        lab.kubectl("delete", "customresourcedefinition", "selmruns.selm.dev", namespaced=False)
        values = {
            "watchNamespaces": [lab.namespace],
            "operator": {"httpPort": free_port()},
            "metrics": {"enabled": True},
            "networkPolicy": {"enabled": True},
            "replicaCount": 0,  # at first the test runs the operator itself, behind its proxy
            # The embedded cluster's pods share the machine's paths.
            "extraEnv": [{"name": "SELM_SHARED_PATHS", "value": "true"}],
        }
        helm = helm_python.Config(kubeconfig_path=state.kubeconfig, namespace=NAMESPACE)
        release = helm.install(CHART, RELEASE, values, namespace=NAMESPACE, create_namespace=True)
        objects = [obj for obj in yaml.load_all(release["manifest"], Loader=yaml.CSafeLoader) if obj]
        server = yaml.safe_load(state.kubeconfig.read_text(encoding="utf-8"))["clusters"][0]["cluster"]["server"]
        recorder = ApiRecorder(server, state.tls / "ca.crt", state.tls / "server.crt", state.tls / "server.key")
        with recorder.running():
            yield Installed(lab, helm, objects, recorder, tmp_path_factory.mktemp("operator"), values)
    finally:
        subprocess.run([BIN / "selm", "local", "down"], env=own, check=True, timeout=120)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def tiny(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A model and preference rows in this cluster's store; where artifacts go."""
    lab, folder = installed.lab, tmp_path_factory.mktemp("inputs")
    make_tiny_model(folder / "model", seed=1)
    (folder / "data").mkdir()
    make_prefs(folder / "data" / "train.jsonl", rows=48, seed=3)
    make_prefs(folder / "data" / "test.jsonl", rows=8, seed=5)
    uris = {name: lab.upload(folder / name, f"inputs/{name}") for name in ("model", "data")}
    return {**uris, "artifacts": f"s3://{lab.bucket}/artifacts"}


def test_helm_installed_what_it_rendered(installed: Installed) -> None:
    kinds = {obj["kind"] for obj in installed.objects}
    assert {"CustomResourceDefinition", "Deployment", "Role", "Service", "NetworkPolicy"} <= kinds
    for obj in installed.objects:
        where = ["-n", obj["metadata"]["namespace"]] if "namespace" in obj["metadata"] else []
        found = json.loads(
            installed.lab.kubectl(
                "get",
                f"{obj['kind'].lower()}.{group(obj)}",
                obj["metadata"]["name"],
                *where,
                "-o",
                "json",
                namespaced=False,
            )
        )
        assert found["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"
    assert installed.helm.status(RELEASE)["status"] == "deployed"


def group(obj: Json) -> str:
    return str(obj["apiVersion"]).rpartition("/")[0]


def test_a_whole_run_needs_every_right_and_no_other(installed: Installed, tiny: dict[str, str]) -> None:
    lab = installed.lab
    name_taken = foreign_job(f"{NAME}-i0-prep-a1")
    lab.apply(name_taken)
    lab.apply(make_run(NAME, tiny))
    with installed.operator() as process:
        http = f"http://127.0.0.1:{installed.values['operator']['httpPort']}"
        lab.until("the operator is ready", lambda: answers(f"{http}/readyz"), 60)
        assert answers(f"{http}/healthz")
        assert "selm_operator" in requests.get(f"{http}/metrics", timeout=5).text
        # A name that another Job has: the operator looks at whose it is.
        lab.in_condition(NAME, "Succeeded", "Unknown", "WaitingForOldJob")
        lab.kubectl("delete", "job", name_taken["metadata"]["name"])
        # A Job that is taken away: the run is suspended, and goes on.
        lab.in_phase(NAME, 1, "Generation")
        lab.kubectl("patch", "selmrun", NAME, "--type=merge", "-p", '{"spec":{"suspend":true}}')
        lab.in_condition(NAME, "Suspended", "True", "Suspended")
        lab.kubectl("patch", "selmrun", NAME, "--type=merge", "-p", '{"spec":{"suspend":false}}')
        run = lab.succeeded(NAME, seconds=900)
        lab.kubectl("delete", "selmrun", NAME, "--timeout=120s")
        lab.until("the run's Jobs are gone", lambda: not lab.items("jobs"), 120)
        assert process.poll() is None
    assert condition(run, "Succeeded")["status"] == "True"
    assert process.returncode == 0, installed.log()

    refused = [asked for asked in installed.recorder.asked if asked.status in (401, 403)]
    assert refused == [], installed.log()
    unused = rights(installed) - set(used(installed)) - IN_OTHER_STORIES
    assert unused == {BY_ADMISSION}, f"rights that a whole run did not need: {unused}"
    assert "Traceback" not in installed.log()


def test_the_right_that_admission_asks_for_is_needed() -> None:
    """It goes when no Job blocks its owner's deletion any more."""
    golden = Path(__file__).parents[1] / "unit" / "operator" / "golden" / "small-preparation.yaml"
    job = yaml.safe_load(golden.read_text(encoding="utf-8"))
    assert [owner["blockOwnerDeletion"] for owner in job["metadata"]["ownerReferences"]] == [True]


def test_upgraded_by_helm_the_deployment_rolls_out(installed: Installed) -> None:
    """Its pod starts with the chart's command and account, and its probes are answered."""
    installed.helm.upgrade(CHART, RELEASE, installed.values | {"replicaCount": 1}, namespace=NAMESPACE)
    where = ["-n", NAMESPACE, "deployment/" + RELEASE]
    installed.lab.kubectl("rollout", "status", *where, "--timeout=120s", namespaced=False)
    installed.helm.upgrade(CHART, RELEASE, installed.values, namespace=NAMESPACE)
    installed.lab.kubectl("wait", "--for=delete", "pods", "--all", "-n", NAMESPACE, "--timeout=60s", namespaced=False)


def test_uninstalled_by_helm_the_kind_and_its_runs_stay(installed: Installed, tiny: dict[str, str]) -> None:
    lab = installed.lab
    lab.apply(make_run("kept", tiny))
    uid = lab.run("kept")["metadata"]["uid"]
    installed.helm.uninstall(RELEASE)
    assert lab.run("kept")["metadata"]["uid"] == uid
    gone = lab.kubectl_process("get", "deployment", RELEASE, "-n", NAMESPACE, namespaced=False)
    assert "NotFound" in gone.stderr
    # An operator that is installed later takes both over.
    installed.helm.install(CHART, RELEASE, installed.values, namespace=NAMESPACE)
    assert lab.run("kept")["metadata"]["uid"] == uid
    crd = json.loads(lab.kubectl("get", "crd", "selmruns.selm.dev", "-o", "json", namespaced=False))
    assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def foreign_job(name: str) -> Json:
    container = {"name": "main", "image": "none", "command": ["sleep", "1"]}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"suspend": True, "template": template},
    }


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


def rights(installed: Installed) -> set[tuple[str, str, str]]:
    """(group, resource, verb) of everything that the roles of the installed chart allow its ServiceAccount."""
    rules: list[Any] = [rule for role in of_kind(installed.objects, "Role") for rule in role["rules"]]
    return {(g, r, v) for rule in rules for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"]}


def used(installed: Installed) -> Iterator[tuple[str, str, str]]:
    """(group, resource, verb) of what was asked and granted; an apply that created needed both rights."""
    rules = [rule for role in of_kind(installed.objects, "Role") for rule in role["rules"]]
    for asked in installed.recorder.asked:
        verbs = [asked.what.verb, "create"] if (asked.what.verb, asked.status) == ("patch", 201) else [asked.what.verb]
        for verb in verbs:
            what = Attributes(verb, asked.what.group, asked.what.resource, asked.what.namespace, asked.what.name)
            if any(rule_allows(rule, what) for rule in rules):
                yield (what.group, what.resource, what.verb)


# --- kstatus itself, by Helm's `--wait`; Flux waits by the same library


WAIT = 45


@pytest.mark.parametrize(
    ("story", "end"),
    [(stories.succeeded, "deployed"), (stories.invalid, "status: Failed"), (stories.at_work, "status: InProgress")],
)
def test_helm_waits_for_a_run_by_the_conditions_that_the_operator_writes(
    installed: Installed, tmp_path: Path, story: stories.Story, end: str
) -> None:
    lab, name = installed.lab, f"kstatus-{story.__name__.replace('_', '-')}"
    world = asyncio.run(stories.told(story))
    run = make_run(name, dict.fromkeys(("model", "data", "artifacts"), "s3://selm/nothing"))
    write_chart(tmp_path / "runs", run)
    helm = helm_python.Config(kubeconfig_path=lab.environment["KUBECONFIG"], namespace=lab.namespace)
    with concurrent.futures.ThreadPoolExecutor() as threads:
        begun = time.monotonic()
        waiting = threads.submit(
            helm.install, tmp_path / "runs", name, wait="watcher", timeout=WAIT, namespace=lab.namespace
        )
        lab.until("Helm made the run", lambda: lab.kubectl("get", "selmrun", name, "-o", "name", check=False))
        status = {"status": {key: world["status"][key] for key in ("conditions", "observedGeneration")}}
        lab.kubectl("patch", "selmrun", name, "--subresource=status", "--type=merge", "-p", json.dumps(status))
        if story is stories.succeeded:
            assert waiting.result(60)["status"] == "deployed"
            return
        with pytest.raises(helm_python.HelmError, match=end):
            waiting.result(60)
    # A run that failed is not waited for until the end.
    assert (time.monotonic() - begun < WAIT) == (story is stories.invalid)


def write_chart(folder: Path, run: Json) -> None:
    """A chart that holds a run."""
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text("{apiVersion: v2, name: runs, version: 0.1.0}")
    (folder / "templates" / "run.yaml").write_text(yaml.safe_dump(run))
