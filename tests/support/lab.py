"""A cluster, a store and a namespace for end-to-end tests: the embedded ones, or those of the environment.

With KUBECONFIG set, the tests run on that cluster, where an operator must be running; the store is then the one
of AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, with the bucket SELM_E2E_BUCKET (default: selm).
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import psutil
import pyarrow.parquet as pq

BIN = Path(sys.executable).parent
CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
Json = dict[str, Any]


@dataclass
class Lab:
    """One namespace of a cluster, and its store."""

    environment: dict[str, str]
    namespace: str = field(default_factory=lambda: f"e2e-{uuid.uuid4().hex[:6]}")
    bucket: str = field(default_factory=lambda: os.environ.get("SELM_E2E_BUCKET", "selm"))
    embedded_state: Path | None = None  # the embedded cluster's state folder; None on another cluster

    def __post_init__(self) -> None:
        self.s3 = boto3.client(
            "s3",
            endpoint_url=self.environment.get("AWS_ENDPOINT_URL"),
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            region_name=self.environment.get("AWS_DEFAULT_REGION", "us-east-1"),
        )

    def create_namespace(self) -> None:
        self.kubectl("create", "namespace", self.namespace, namespaced=False)
        literals = [f"--from-literal={name}={self.environment[name]}" for name in CREDENTIALS]
        self.kubectl("create", "secret", "generic", "s3", *literals)

    def remove_namespace(self) -> None:
        self.kubectl("delete", "namespace", self.namespace, "--wait=false", namespaced=False, check=False)

    # --- kubectl ---------------------------------------------------------------------------------------------

    def kubectl_process(
        self, *args: str, namespaced: bool = True, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.kubectl_command(*args, namespaced=namespaced),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
            env=self.kubectl_environment,
        )

    def kubectl_command(self, *args: str, namespaced: bool = True) -> list[str]:
        where = ["--namespace", self.namespace] if namespaced else []
        return [str(BIN / "kubectl"), *where, *args]

    @property
    def kubectl_environment(self) -> dict[str, str]:
        return {**os.environ, **self.environment}

    def kubectl(self, *args: str, namespaced: bool = True, stdin: str | None = None, check: bool = True) -> str:
        done = self.kubectl_process(*args, namespaced=namespaced, stdin=stdin)
        assert not check or done.returncode == 0, f"kubectl {' '.join(args)}: {done.stdout}{done.stderr}"
        return done.stdout

    def apply(self, obj: Json) -> None:
        self.kubectl("apply", "-f", "-", stdin=json.dumps(obj))

    def refused(self, obj: Json) -> str:
        """What `kubectl apply` says to an object that must be refused."""
        done = self.kubectl_process("apply", "-f", "-", stdin=json.dumps(obj))
        assert done.returncode != 0, f"admitted: {done.stdout}"
        return done.stderr

    def change(self, name: str, **spec: Any) -> None:
        """Merge changes into a run's spec."""
        self.kubectl("patch", "selmrun", name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def change_refused(self, name: str, **spec: Any) -> str:
        """What the API server says to changes that it must refuse."""
        done = self.kubectl_process("patch", "selmrun", name, "--type=merge", "-p", json.dumps({"spec": spec}))
        assert done.returncode != 0, f"admitted: {done.stdout}"
        return done.stderr

    def delete_run(self, name: str) -> None:
        """Delete a run and wait until its Jobs are gone: their pods would slow down what comes next."""
        uid = self.run(name)["metadata"]["uid"]
        self.kubectl("delete", "selmrun", name, "--timeout=120s")
        self.until(f"no Job of {name} is left", lambda: not self.items("jobs", "-l", f"selm.dev/run-uid={uid}"))

    def items(self, kind: str, *selector: str) -> list[Json]:
        found: list[Json] = json.loads(self.kubectl("get", kind, *selector, "-o", "json"))["items"]
        return found

    def run(self, name: str) -> Json:
        found: Json = json.loads(self.kubectl("get", "selmrun", name, "-o", "json"))
        return found

    def jobs(self, run: Json) -> dict[str, str]:
        """The uids of a run's Jobs by name."""
        found = self.items("jobs", "-l", f"selm.dev/run-uid={run['metadata']['uid']}")
        return {job["metadata"]["name"]: job["metadata"]["uid"] for job in found}

    def pods(self, job: str) -> list[Json]:
        """A Job's pods, by completion index."""
        found = self.items("pods", "-l", f"batch.kubernetes.io/job-name={job}")
        index = "batch.kubernetes.io/job-completion-index"
        return sorted(found, key=lambda pod: int(pod["metadata"]["annotations"][index]))

    def logs(self, job: str) -> list[Json]:
        """The JSON records in the logs of all pods of a Job, those of killed pods included."""
        records = []
        for pod in self.pods(job):
            text = self.kubectl("logs", pod["metadata"]["name"], check=False)
            records += [json.loads(line) for line in text.splitlines() if line.startswith('{"selm"')]
        return records

    def start_cluster(self) -> None:
        """`selm local up`, which starts the daemons that are not running."""
        subprocess.run([BIN / "selm", "local", "up"], env={**os.environ, **self.environment}, check=True, timeout=120)

    def operator_process(self) -> psutil.Process | None:
        """The embedded cluster's operator; None where it does not run."""
        assert self.embedded_state is not None
        daemon = json.loads((self.embedded_state / "run" / "operator.json").read_text())
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(daemon["process"]["pid"])
            return process if "selm_operator" in process.cmdline() else None
        return None

    @functools.cached_property
    def operator_environment(self) -> dict[str, str]:
        """What that operator was started with; to be asked first while it runs."""
        process = self.operator_process()
        assert process is not None, "the embedded cluster's operator does not run"
        return dict(process.environ())

    def stop_cluster(self) -> None:
        """`selm local down`: daemons and pods end, the state stays."""
        subprocess.run([BIN / "selm", "local", "down"], env={**os.environ, **self.environment}, check=True, timeout=120)

    # --- waiting ---------------------------------------------------------------------------------------------

    def until(self, what: str, answer: Callable[[], Any], seconds: float = 120) -> Any:
        """Ask until the answer is true; returns it. Fails with what was waited for."""
        end = time.monotonic() + seconds
        while not (found := answer()):
            assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
            time.sleep(0.5)
        return found

    def succeeded(self, name: str, seconds: float = 600) -> Json:
        """Wait for a run's success; a run that ends otherwise fails the test with its message."""

        def ended() -> Json | None:
            run = self.run(name)
            summary = condition(run, "Succeeded")
            return run if summary.get("status") in ("True", "False") else None

        run: Json = self.until(f"run {name} ends", ended, seconds)
        assert condition(run, "Succeeded")["status"] == "True", json.dumps(run["status"]["conditions"], indent=1)
        return run

    def in_condition(self, name: str, kind: str, status: str, reason: str, seconds: float = 120) -> Json:
        """Wait until a run's condition has this status and reason; returns the condition."""

        def there() -> Json | None:
            found = condition(self.run(name), kind)
            return found if (found.get("status"), found.get("reason")) == (status, reason) else None

        found: Json = self.until(f"run {name}: {kind}={status}, reason {reason}", there, seconds)
        return found

    def in_phase(self, name: str, iteration: int, phase: str, seconds: float = 300) -> str:
        """Wait until a phase's pod runs; returns its Job's name."""

        def running() -> str | None:
            current = self.run(name).get("status", {}).get("current", {})
            if (current.get("iteration"), current.get("phase")) != (iteration, phase) or "jobName" not in current:
                return None
            pods = self.pods(current["jobName"])
            return str(current["jobName"]) if any(p["status"].get("phase") == "Running" for p in pods) else None

        job: str = self.until(f"run {name} is in {phase} of iteration {iteration}", running, seconds)
        return job

    def in_steps(self, name: str, iteration: int = 1, seconds: float = 300) -> str:
        """Wait until a Training does optimizer steps; returns its Job's name."""
        job = self.in_phase(name, iteration, "Training", seconds)
        self.until(f"{job} does steps", lambda: trained(self.logs(job)), seconds)
        return job

    # --- the store -------------------------------------------------------------------------------------------

    def upload(self, folder: Path, prefix: str) -> str:
        """Upload a folder; returns its URI."""
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            self.s3.upload_file(str(file), self.bucket, f"{prefix}/{file.relative_to(folder)}")
        return f"s3://{self.bucket}/{prefix}"

    def objects(self, prefix: str) -> Iterator[Json]:
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
            yield from page.get("Contents", [])

    def read_json(self, key: str) -> Json:
        found: Json = json.loads(self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read())
        return found

    def last_checkpoint(self, run: Json, iteration: int = 1) -> int:
        """The newest step of a Training whose checkpoint is committed."""
        keys = [o["Key"] for o in self.objects(f"{artifact_prefix(run)}/iter-{iteration}/training/checkpoints/")]
        found = [re.search(r"/checkpoints/0*(\d+)/manifest\.json$", key) for key in keys]
        return max((int(match.group(1)) for match in found if match), default=0)

    def manifest(self, run: Json, iteration: int, phase: str) -> Json:
        """The committed manifest of a phase, by the digest in the run's status."""
        digest = phase_status(run, iteration, phase)["manifestDigest"].removeprefix("sha256:")
        folder = f"{artifact_prefix(run)}/iter-{iteration}/{phase.lower()}"
        return self.read_json(f"{folder}/manifests/{digest}.json")

    def rows(self, run: Json, iteration: int, phase: str, name: str) -> list[Json]:
        """The rows of a committed phase's Parquet files of that name, of all its chunks in their order."""
        folder = f"{artifact_prefix(run)}/iter-{iteration}/{phase.lower()}"
        files = [f["path"] for f in self.manifest(run, iteration, phase)["files"] if f["name"].endswith(name)]
        bodies = [self.s3.get_object(Bucket=self.bucket, Key=f"{folder}/{path}")["Body"].read() for path in files]
        return [row for body in bodies for row in pq.read_table(io.BytesIO(body)).to_pylist()]


def artifact_prefix(run: Json) -> str:
    """The run's folder in its bucket."""
    meta = run["metadata"]
    base = run["spec"]["artifacts"]["uri"].split("/", 3)[3]
    return f"{base}/{meta['namespace']}/{meta['name']}-{meta['uid']}"


def trained(records: list[Json]) -> list[int]:
    """How many pairs a Training said to be done, in the order of its log."""
    return [record["done"] for record in records if record["selm"] == "progress" and record["unit"] == "pairs"]


def condition(run: Json, kind: str) -> Json:
    found: Json = next((c for c in run.get("status", {}).get("conditions", []) if c["type"] == kind), {})
    return found


def phase_status(run: Json, iteration: int, phase: str) -> Json:
    for entry in run["status"]["iterations"]:
        if entry["iteration"] == iteration:
            found: Json = next(p for p in entry["phases"] if p["phase"] == phase)
            return found
    raise AssertionError(f"no iteration {iteration} in {run['status'].get('iterations')}")
