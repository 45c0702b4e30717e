"""`selm watch NAME`: live progress of a run until it ends."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from selm_cli.cluster import Cluster
from selm_cli.errors import CliError
from selm_cli.run_state import RunState
from selm_cli.view import render

POLL_SECONDS = 1.0


def follow(cluster: Cluster, namespace: str, name: str, console: Console) -> RunState:
    """Show a run until it ends, and return its last state.

    Where the output is no terminal, a line is printed whenever what the run does changes.

    Raises:
        CliError: the run was deleted, or the cluster went away for good.
        KeyboardInterrupt: the user stopped watching; the run is untouched.
    """
    if not console.is_terminal:
        return _follow_in_lines(cluster, namespace, name, console)
    with Live(console=console, refresh_per_second=4, transient=False) as live:
        while True:
            run = RunState.of(cluster.run(namespace, name))
            job = run.current.get("jobName")
            pods = cluster.progress(namespace, job) if job and not run.finished else []
            live.update(render(run, pods, datetime.now(UTC)))
            if run.finished:
                return run
            time.sleep(POLL_SECONDS)


def _follow_in_lines(cluster: Cluster, namespace: str, name: str, console: Console) -> RunState:
    said = ""
    while True:
        run = RunState.of(cluster.run(namespace, name))
        now = f"iteration {run.current.get('iteration', 0)} {run.current.get('phase', '')}: {run.message}"
        if now != said:
            console.print(f"{datetime.now(UTC):%H:%M:%S} {now}", highlight=False, soft_wrap=True)
            said = now
        if run.finished:
            return run
        time.sleep(POLL_SECONDS)


def command(
    name: Annotated[str, typer.Argument(help="the SELMRun's name")],
    namespace: Annotated[str, typer.Option("--namespace", "-n")] = "default",
    kubeconfig: Annotated[Path | None, typer.Option(help="default: KUBECONFIG, else ~/.kube/config")] = None,
) -> None:
    """Show a run's progress until it ends. Exit code 1 if the run failed."""
    console = Console()
    try:
        run = follow(Cluster(kubeconfig), namespace, name, console)
    except KeyboardInterrupt:
        console.print(f"The run goes on in the cluster. See it again: selm watch {name} -n {namespace}")
        raise typer.Exit(130) from None
    if not run.succeeded:
        raise CliError(f"SELMRun {namespace}/{name} did not succeed: {run.message}")
