"""`selm local`: the embedded single-machine cluster, its S3 and the operator."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console

from selm_cli import kubectl, local_env, report, watch
from selm_cli.cluster import Cluster
from selm_cli.errors import CliError
from selm_operator.api.load import load_all_yaml

app = typer.Typer(
    help="The same SELMRuns on one machine: an embedded cluster, its S3 and the operator.", no_args_is_help=True
)


@app.command()
def up(
    cpus: Annotated[int | None, typer.Option(help="the node's cores; default: the machine's")] = None,
    memory: Annotated[str | None, typer.Option(help="the node's memory, as a quantity; default: the machine's")] = None,
    gpus: Annotated[int, typer.Option(help="the node's nvidia.com/gpu")] = 0,
) -> None:
    """Start the cluster, its S3 and the operator, or go on with what is there."""
    from selm_local import daemons

    try:
        status = daemons.up(cpus=cpus, memory=memory, gpus=gpus)
    except daemons.LocalError as error:
        raise CliError(str(error)) from error
    Console().print(str(status), highlight=False)


@app.command()
def down(
    delete: Annotated[bool, typer.Option(help="remove the state too: objects, artifacts, logs")] = False,
) -> None:
    """Stop everything; the state stays, so that `up` goes on where it stopped."""
    from selm_local import daemons

    daemons.down(delete_state=delete)


@app.command()
def status() -> None:
    """What runs, and where its state, logs and kubeconfig are."""
    from selm_local import daemons

    Console().print(str(daemons.status()), highlight=False)


@app.command()
def env() -> None:
    """Print KUBECONFIG and the store's variables for a shell: eval "$(selm local env)"."""
    from selm_local import daemons

    try:
        environment = {"KUBECONFIG": str(daemons.kubeconfig()), **daemons.store_environment()}
    except daemons.LocalError as error:
        raise CliError(str(error)) from error
    typer.echo(local_env.exports(environment))


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="a SELMRun as YAML", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option(help="where report.html, report.png and model/ go")] = Path("selm-report"),
    namespace: Annotated[str, typer.Option("--namespace", "-n")] = "default",
) -> None:
    """Apply a SELMRun to the embedded cluster, show its progress, and write its report.

    Ctrl-C leaves the run as it is; the same command goes on with it.
    """
    # pyarrow takes a second to import: only a run that was followed to its end pays for it.
    from selm_cli import report_arms
    from selm_local import daemons

    console = Console()
    name = run_name(file)
    try:
        daemons.up()
        console.print(kubectl.apply(file, daemons.kubeconfig(), namespace), highlight=False)
        cluster = Cluster(daemons.kubeconfig())
        state = watch.follow(cluster, namespace, name, console)
        if not state.succeeded:
            raise CliError(
                f"SELMRun {namespace}/{name} did not succeed: {state.message}\n"
                f"KUBECONFIG={daemons.kubeconfig()} kubectl describe selmrun {name} says more"
            )
        os.environ.update(daemons.store_environment())
        report.write(state, out, console, arm=report_arms.find_arm(cluster, state))
    except daemons.LocalError as error:
        raise CliError(str(error)) from error
    except KeyboardInterrupt:
        console.print(
            f"The run goes on in the background. See it again: selm local run {file}\n"
            "Stop the cluster and keep its state: selm local down"
        )
        raise typer.Exit(130) from None


def run_name(file: Path) -> str:
    """The name of the one SELMRun in a YAML file.

    Raises:
        CliError: the file is no YAML or holds no SELMRun, or more than one.
    """
    try:
        documents = [d for d in load_all_yaml(file.read_text(encoding="utf-8")) if d]
    except (yaml.YAMLError, ValueError) as error:
        raise CliError(f"{file} is no YAML: {error}") from error
    names = [d["metadata"]["name"] for d in documents if isinstance(d, dict) and d.get("kind") == "SELMRun"]
    if len(names) != 1:
        raise CliError(f"{file} holds {len(names)} SELMRuns; exactly one is allowed")
    return str(names[0])
