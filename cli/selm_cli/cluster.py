"""What the command line reads from a cluster: SELMRuns, their pods and the progress lines in the pods' logs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from selm_cli.errors import CliError

GROUP, VERSION, PLURAL = "selm.dev", "v1alpha1", "selmruns"
PROGRESS_TAIL_LINES = 40
"""Enough to hold a pod's last progress line between the engine's own log lines."""


@dataclass(frozen=True)
class PodProgress:
    """The last progress line of one pod, as `selm_runtime.reporting` writes it."""

    pod: str
    index: int
    phase: str  # the pod's: Pending, Running, Succeeded, Failed
    waiting: str | None
    line: dict[str, Any] = field(default_factory=dict)


class Cluster:
    """A thin reader of one cluster; every call answers within ten seconds or raises."""

    def __init__(self, kubeconfig: Path | None = None, context: str | None = None) -> None:
        try:
            api = config.new_client_from_config(str(kubeconfig) if kubeconfig else None, context=context)
        except config.ConfigException as error:
            raise CliError(f"no cluster: {error} (set KUBECONFIG, or start one with `selm local up`)") from error
        self._custom = client.CustomObjectsApi(api)
        self._core = client.CoreV1Api(api)

    def run(self, namespace: str, name: str) -> dict[str, Any]:
        """The SELMRun as stored.

        Raises:
            CliError: there is none, or the cluster does not answer.
        """
        found = self.find(namespace, name)
        if found is None:
            raise CliError(f"no SELMRun {name} in namespace {namespace}")
        return found

    def find(self, namespace: str, name: str) -> dict[str, Any] | None:
        """The SELMRun as stored, or None where there is none of that name.

        Raises:
            CliError: the cluster does not answer.
        """
        try:
            found: dict[str, Any] = self._custom.get_namespaced_custom_object(
                GROUP, VERSION, namespace, PLURAL, name, _request_timeout=10
            )
        except ApiException as error:
            if error.status == 404:
                return None
            raise CliError(f"the cluster answered {error.status}: {error.reason}") from error
        except urllib3.exceptions.HTTPError as error:
            raise CliError(f"the cluster does not answer: {error}") from error
        return found

    def progress(self, namespace: str, job: str) -> list[PodProgress]:
        """The pods of a Job by completion index, each with its last progress line; empty while there are none."""
        try:
            pods = self._core.list_namespaced_pod(
                namespace, label_selector=f"batch.kubernetes.io/job-name={job}", _request_timeout=10
            ).items
        except (ApiException, urllib3.exceptions.HTTPError):
            return []  # the view goes on with what it has; `run` says when the cluster is away
        newest = {
            int((pod.metadata.annotations or {}).get("batch.kubernetes.io/job-completion-index", 0)): pod
            for pod in sorted(pods, key=lambda pod: pod.metadata.creation_timestamp)
        }
        return [self._pod_progress(namespace, index, pod) for index, pod in sorted(newest.items())]

    def _pod_progress(self, namespace: str, index: int, pod: Any) -> PodProgress:
        statuses = pod.status.container_statuses or []
        waiting = next((s.state.waiting.reason for s in statuses if s.state and s.state.waiting), None)
        line: dict[str, Any] = {}
        if pod.status.phase != "Pending":
            try:
                log = self._core.read_namespaced_pod_log(
                    pod.metadata.name, namespace, tail_lines=PROGRESS_TAIL_LINES, _request_timeout=10
                )
                line = last_progress(log)
            except (ApiException, urllib3.exceptions.HTTPError):
                line = {}
        return PodProgress(pod.metadata.name, index, pod.status.phase, waiting, line)


def last_progress(log: str) -> dict[str, Any]:
    """The last line of a log that is a progress record; empty where there is none."""
    for line in reversed(log.splitlines()):
        if line.startswith('{"selm"'):
            try:
                record = json.loads(line)
            except ValueError:
                continue  # a line that is still being written
            if isinstance(record, dict) and record.get("selm") == "progress":
                return record
    return {}
