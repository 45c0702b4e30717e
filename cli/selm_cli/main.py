"""The command line's entry: registers the verbs and turns known errors into one clear line."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from selm_cli import dataset, local, push, report, watch
from selm_cli.errors import CliError

app = typer.Typer(
    name="selm",
    help="Self-Exploring Language Models on Kubernetes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(local.app, name="local")
app.command("watch")(watch.command)
app.command("report")(report.command)
app.command("push")(push.command)
app.command("dataset")(dataset.command)


def main() -> None:
    """Run `selm`. Exit codes: 0 done, 1 the run failed or something is missing, 2 wrong usage, 130 interrupted."""
    try:
        app()
    except CliError as error:
        Console(stderr=True).print(f"[bold red]selm:[/] {error}", highlight=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
