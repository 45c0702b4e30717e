"""Ending all containers of a node whose agent does not run, as a node that shuts down does.

The agent that runs next finds the mark and fails the pods with reason Terminated and the condition DisruptionTarget
(kubelet's graceful node shutdown): a disruption, not a failure of the program.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from selm_local.node.runs import PodFolder
from selm_local.state import StateDir, read_json, utc_now, write_json

GRACE_LIMIT = 30.0
POLL_SECONDS = 0.05


def end_pods(state: StateDir) -> None:
    """Ask every running container to end, kill what is left after its grace period, and mark their pods."""
    folders = [PodFolder(path) for path in state.pods.iterdir() if path.is_dir()]
    if folders:
        with ThreadPoolExecutor(max_workers=min(len(folders), 32)) as pool:
            list(pool.map(_end, folders))


def _end(folder: PodFolder) -> None:
    live = [run for run in folder.runs() if run.supervised() or run.state().phase == "running"]
    if live:
        write_json(folder.shutdown, {"at": utc_now()})
        grace = min(float((read_json(folder.root / "pod.json") or {}).get("graceSeconds", GRACE_LIMIT)), GRACE_LIMIT)
        for run in live:
            run.stop(grace)
        end = time.monotonic() + grace + 2
        while any(run.supervised() for run in live) and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
    folder.kill(lambda: time.sleep(POLL_SECONDS))
