"""What `selm watch` draws. Pure: state and progress in, a rich renderable out."""

from __future__ import annotations

from datetime import datetime

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from selm_cli.cluster import PodProgress
from selm_cli.run_state import PHASES, PhaseState, RunState

STYLE = {"Succeeded": "green", "Running": "bold yellow", "Failed": "bold red", "Skipped": "dim", "Pending": "dim"}
MARK = {"Succeeded": "✓", "Running": "▶", "Failed": "✗", "Skipped": "–", "Pending": "·"}
RATES = (("tokensPerSecond", "tokens/s"), ("pairsPerSecond", "pairs/s"), ("reward", "reward"), ("loss", "loss"))


def render(run: RunState, pods: list[PodProgress], now: datetime) -> RenderableType:
    """Iterations × phases, then the running phase's pods, then what the run waits for."""
    return Panel(
        Group(grid(run, now), shards(run, pods), Text(run.message, style=_message_style(run))),
        title=f"SELMRun {run.namespace}/{run.name}",
        title_align="left",
    )


def grid(run: RunState, now: datetime) -> Table:
    """One row an iteration, one column a phase: a mark, and the seconds."""
    table = Table(box=None, padding=(0, 2))
    table.add_column("iteration", justify="right")
    for phase in PHASES:
        table.add_column(phase.value)
    table.add_column("reward", justify="right")
    table.add_column("win rate", justify="right")
    for t in range(run.iterations + 1):
        states = [run.phase(t, phase) if run.has_phase(t, phase) else None for phase in PHASES]
        metrics = run.phase(t, PHASES[-1]).metrics
        table.add_row(
            "base" if t == 0 else str(t),
            *[_cell(state, now) if state else Text() for state in states],
            _number(metrics.get("meanReward")),
            _number(metrics.get("winRateBase")),
        )
    return table


def shards(run: RunState, pods: list[PodProgress]) -> RenderableType:
    """A progress bar for each pod of the running phase, with its rates."""
    if not pods or run.finished:
        return Text()
    table = Table.grid(padding=(0, 2))
    label = "rank" if run.current.get("phase") == "Training" else "shard"
    for pod in pods:
        line = pod.line
        done, total = int(line.get("done", 0)), int(line.get("total", 0))
        rates = "  ".join(f"{name} {line[key]:.4g}" for key, name in RATES if isinstance(line.get(key), int | float))
        table.add_row(
            Text(f"{label} {pod.index}", style="bold"),
            ProgressBar(total=max(total, 1), completed=done, width=30) if total else Text(pod.waiting or pod.phase),
            Text(f"{done}/{total} {line.get('unit', '')}" if total else ""),
            Text(rates, style="cyan"),
        )
    shard_state = run.current.get("shards")
    if shard_state:
        table.add_row(Text("shards", style="bold"), Text(f"{shard_state['done']} of {shard_state['total']} done"))
    return table


def _cell(state: PhaseState, now: datetime) -> Text:
    seconds = state.seconds(now)
    again = f" (attempt {state.attempts})" if state.attempts > 1 else ""
    text = MARK[state.state] + (f" {seconds:.0f} s" if seconds is not None else "") + again
    return Text(text, style=STYLE[state.state])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _message_style(run: RunState) -> str:
    return "bold red" if run.failed else "bold green" if run.succeeded else "yellow"
