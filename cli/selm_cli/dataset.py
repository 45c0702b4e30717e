"""`selm dataset NAME`: the pairs of a run's iterations as Parquet files that people and other trainers read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from selm_cli.cluster import Cluster
from selm_cli.errors import CliError
from selm_cli.run_state import RunState
from selm_runtime.contract import ArtifactsConfig, Phase

PAIRS_FILE = "/pairs.parquet"


def write(run: RunState, into: Path, console: Console, *, iteration: int | None = None) -> list[Path]:
    """Write `iteration-<t>.parquet` for each iteration whose pairs are committed, or for the one that is asked for.

    Raises:
        CliError: no pairs yet, or the store does not answer.
    """
    from selm_cli.report_data import RunArtifacts, selection_words
    from selm_runtime.artifacts.store import NotFound, open_store
    from selm_runtime.data.published import write_published
    from selm_runtime.errors import InvalidInput, TemporaryFailure

    asked = [iteration] if iteration is not None else range(1, run.iterations + 1)
    there = [t for t in asked if run.phase(t, Phase.SCORING).state in ("Succeeded", "Skipped")]
    if not there:
        what = f"iteration {iteration} has" if iteration is not None else "its iterations have"
        raise CliError(f"SELMRun {run.namespace}/{run.name}: {what} no pairs yet: {run.message}")
    spec = run.spec["artifacts"]
    into.mkdir(parents=True, exist_ok=True)
    written = []
    try:
        store = open_store(ArtifactsConfig(uri=spec["uri"], endpoint=spec.get("endpoint"), region=spec.get("region")))
        artifacts = RunArtifacts(store, run)
        if (selected := selection_words(artifacts)) is not None:
            console.print(selected, highlight=False, soft_wrap=True)
        for t in there:
            path = into / f"iteration-{t}.parquet"
            count = write_published(path, _pairs(artifacts, run, t))
            console.print(f"{path}  {count} pairs", highlight=False, soft_wrap=True)
            written.append(path)
    except (InvalidInput, TemporaryFailure, NotFound) as error:
        raise CliError(f"the store at {spec['uri']} could not be read: {error}") from error
    return written


def _pairs(artifacts: Any, run: RunState, iteration: int) -> Iterable[Mapping[str, Any]]:
    from selm_runtime.data.published import offline_rows, scored_rows

    portions = int(run.spec.get("data", {}).get("portions") or run.iterations)
    portion = f"rows/portion-{(iteration - 1) % portions + 1:04d}.parquet"
    rows = artifacts.rows(0, Phase.PREPARATION, portion)
    scoring = artifacts.manifest(iteration, Phase.SCORING)
    if scoring is None:
        yield from offline_rows(iteration, rows)
        return
    prompts = {row["row"]: row["prompt"] for row in rows}
    for name in sorted(entry.name for entry in scoring.files if entry.name.endswith(PAIRS_FILE)):
        yield from scored_rows(iteration, prompts, artifacts.rows(iteration, Phase.SCORING, name))


def command(
    name: Annotated[str, typer.Argument(help="the SELMRun's name")],
    namespace: Annotated[str, typer.Option("--namespace", "-n")] = "default",
    out: Annotated[Path, typer.Option(help="where iteration-<t>.parquet goes")] = Path("selm-dataset"),
    iteration: Annotated[int | None, typer.Option(help="one iteration alone")] = None,
    kubeconfig: Annotated[Path | None, typer.Option(help="default: KUBECONFIG, else ~/.kube/config")] = None,
) -> None:
    """Write the pairs that a run trained on as Parquet: prompt, chosen, rejected, explored, scores. Reads AWS_*."""
    write(RunState.of(Cluster(kubeconfig).run(namespace, name)), out, Console(), iteration=iteration)
