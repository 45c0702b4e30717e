"""Does the quickstart's gain stand over seeds that nobody picked?

    python benchmarks/quickstart_seeds.py            three runs, one after the other, on the embedded cluster
    python benchmarks/quickstart_seeds.py --seeds 5

The seeds are the API's default, 42, and then the words of SHA-256("selm quickstart"). For each seed: the mean reward of
base and iterations on the held-out prompts with its 95 % interval, the paired gain of the last iteration over the base,
and how often the policy's own responses became chosen or rejected. Needs what `make demo` prepares: a running cluster,
model and data in its store.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from selm_cli import kubectl, watch
from selm_cli.cluster import Cluster
from selm_cli.report_data import RunArtifacts, held_out, iteration_rows
from selm_cli.run_state import RunState
from selm_local import daemons
from selm_runtime.artifacts.store import open_store
from selm_runtime.contract import ArtifactsConfig, Phase

QUICKSTART = Path(__file__).parent.parent / "examples" / "quickstart.yaml"
console = Console()


def seeds(count: int) -> list[int]:
    digest = hashlib.sha256(b"selm quickstart").digest()
    return [42, *(int.from_bytes(digest[4 * i : 4 * i + 4], "big") for i in range(count - 1))]


def run_with(seed: int) -> RunState:
    """Apply the quickstart under a seed and wait for its end."""
    run: dict[str, Any] = yaml.safe_load(QUICKSTART.read_text())
    run["metadata"]["name"] = f"quickstart-{seed}"
    run["spec"]["seed"] = seed
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(run, file)
        file.flush()
        kubectl.apply(Path(file.name), daemons.kubeconfig(), "default")
    return watch.follow(Cluster(daemons.kubeconfig()), "default", run["metadata"]["name"], console)


def paired_gain(artifacts: RunArtifacts, last: int) -> tuple[float, float]:
    """Mean difference of the scores of the last iteration and the base on the same prompts, and its 95 % half-width."""
    base, end = (held_out(artifacts, t) for t in (0, last))
    gains = [end[row].reward - base[row].reward for row in base if row in end]
    return statistics.fmean(gains), 1.96 * statistics.stdev(gains) / math.sqrt(len(gains))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    count: int = parser.parse_args().seeds
    os.environ.update(daemons.store_environment())
    table = Table(title="quickstart: mean reward on held-out prompts ± 95 %, by seed")
    columns: list[str] = []
    for seed in seeds(count):
        state = run_with(seed)
        rows = iteration_rows(state)
        if not columns:
            columns = [
                "seed",
                *(row.label for row in rows),
                "paired gain",
                "own responses chosen / rejected",
                "seconds",
            ]
            for name in columns:
                table.add_column(name, justify="right")
        spec = state.spec["artifacts"]
        artifacts = RunArtifacts(open_store(ArtifactsConfig(uri=spec["uri"], endpoint=spec.get("endpoint"))), state)
        gain, half = paired_gain(artifacts, rows[-1].iteration)
        scoring = [state.phase(row.iteration, Phase.SCORING).metrics for row in rows]
        chosen = [
            f"{m['generatedChosenRate']:.2f} / {m['generatedRejectedRate']:.2f}"
            for m in scoring
            if "generatedChosenRate" in m
        ]
        seconds = sum(took for row in rows for took in row.seconds.values())
        table.add_row(
            str(seed),
            *(f"{row.metrics['meanReward']:.3f} ± {row.metrics['meanRewardCI95']:.3f}" for row in rows),
            f"{gain:+.3f} ± {half:.3f}",
            ", ".join(chosen),
            f"{seconds:.0f}",
        )
    Console(width=180).print(table)


if __name__ == "__main__":
    main()
