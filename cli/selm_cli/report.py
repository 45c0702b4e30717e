"""`selm report NAME`: a run's table, two samples, a plot, an HTML page and the aligned model on disk."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import jinja2
import typer
from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from selm_cli.cluster import Cluster
from selm_cli.errors import CliError
from selm_cli.run_state import PHASES, RunState
from selm_runtime.contract import ArtifactsConfig, Phase

if TYPE_CHECKING:
    from selm_cli.report_arms import Arm, Arms
    from selm_cli.report_data import IterationRow

SAMPLES_SHOWN = 2
SVG_COLUMNS = 88
SAMPLES_IN_HTML = 8


def write(run: RunState, into: Path, console: Console, *, download_model: bool = True, arm: Arm | None = None) -> None:
    """Print the report of a run and write `report.html`, `report.png`, `report.svg` and `model/` into a folder.

    `arm` is the control run, which is shown beside it.

    Raises:
        CliError: no iteration is evaluated yet, or the store does not answer.
    """
    # matplotlib, pyarrow and boto3 take a second to import: only this verb pays for them.
    from selm_cli import plot, report_arms, report_data
    from selm_runtime.artifacts.store import open_store
    from selm_runtime.errors import InvalidInput, TemporaryFailure

    rows = report_data.iteration_rows(run)
    if not rows:
        raise CliError(f"SELMRun {run.namespace}/{run.name} has no evaluated iteration yet: {run.message}")
    best = run.best_iteration if run.best_iteration is not None else rows[-1].iteration
    into.mkdir(parents=True, exist_ok=True)
    spec = run.spec["artifacts"]
    try:
        store = open_store(ArtifactsConfig(uri=spec["uri"], endpoint=spec.get("endpoint"), region=spec.get("region")))
        artifacts = report_data.RunArtifacts(store, run)
        rows = report_data.with_facts(artifacts, rows)
        arms = report_arms.compare(store, run, rows, arm) if arm is not None else None
        selection = report_data.selection_words(artifacts)
        samples = report_data.samples(artifacts, best, SAMPLES_IN_HTML)
        model = None
        if download_model:
            phase = Phase.TRAINING if best > 0 else Phase.PREPARATION
            model = artifacts.download(best, phase, "model/", into / "model")
    except (InvalidInput, TemporaryFailure) as error:
        raise CliError(f"the store at {spec['uri']} could not be read: {error}") from error
    report = report_data.Report(run, rows, samples, best, run.status.get("modelURI", ""), model, arms, selection)
    picture = plot.draw(report, into / "report.png")
    page = into / "report.html"
    page.write_text(html(report, picture), encoding="utf-8")
    show(report, console)
    recorder = Console(record=True, width=SVG_COLUMNS, file=io.StringIO())
    show(report, recorder)
    recorder.save_svg(str(into / "report.svg"), title=f"selm report {run.name}")
    console.print(
        f"plot    {picture}\nreport  {page}\nmodel   {model or report.model_uri}", highlight=False, soft_wrap=True
    )


def show(report: object, console: Console) -> None:
    """Print the table and two samples."""
    from selm_cli.report_data import Report

    assert isinstance(report, Report)
    console.print(table(report))
    if report.selection is not None:
        console.print(report.selection, highlight=False)
    if report.arms is not None:
        console.print(arms_table(report.arms) if report.arms.rows else _escape(report.arms.missing or ""))
    if any(row.facts for row in report.rows):
        console.print(responses_table(report))
    if any(suite_cells(row) for row in report.rows):
        console.print(suites_table(report))
    if any(row.training for row in report.rows):
        console.print(training_table(report))
    for sample in report.samples[:SAMPLES_SHOWN]:
        console.print(
            Panel(
                f"[bold]before[/] {_reward(sample.reward_before)}\n{_escape(sample.before)}\n\n"
                f"[bold]after[/] {_reward(sample.reward_after)}\n{_escape(sample.after)}",
                title=_escape(sample.prompt),
                title_align="left",
            )
        )


SECONDS_COLUMNS = {
    Phase.PREPARATION: "prep",
    Phase.GENERATION: "gen",
    Phase.SCORING: "score",
    Phase.TRAINING: "train",
    Phase.EVALUATION: "eval",
}
"""Short, so that the table fits into 80 columns."""


def _table(title: str, caption: str) -> Table:
    return Table(
        title=title,
        caption=caption,
        title_justify="left",
        caption_justify="left",
        padding=(0, 1, 0, 0),
        box=box.SIMPLE_HEAD,
    )


def table(report: object) -> Table:
    """Base and iterations: reward with its interval, win rate, preference accuracy, KL, seconds a phase."""
    from selm_cli.report_data import Report

    assert isinstance(report, Report)
    out = _table(
        f"{report.run.namespace}/{report.run.name}: {report.wall_seconds:.0f} s in all; ◀ selected",
        "win: win rate against the base; pref: preference accuracy; KL to the start; then seconds a phase",
    )
    for name in ("", "reward ± 95 %", "win", "pref", "KL", *SECONDS_COLUMNS.values()):
        out.add_column(name, justify="right" if name else "left", no_wrap=True)
    for row in report.rows:
        m: Mapping[str, float] = row.metrics
        out.add_row(
            row.label + (" ◀" if row.iteration == report.best else ""),
            f"{m['meanReward']:.3f} ± {m.get('meanRewardCI95', 0.0):.3f}" if "meanReward" in m else "",
            _cell(m.get("winRateBase"), ".2f"),
            _cell(m.get("preferenceAccuracy"), ".2f"),
            _cell(m.get("kl"), ".1f"),
            *(_cell(row.seconds.get(phase), ".0f") for phase in SECONDS_COLUMNS),
        )
    return out


ON_RESPONSES = (
    "Held-out responses. win, prev: win rate against the base and against the iteration before, with 95 % bootstrap "
    "intervals over prompts. tokens: mean length. length r: correlation of reward and length, slope: reward for 100 more "
    "tokens; gain =len: gain over the base at equal length. Where rewards grow and this does not, responses only grew longer."
)
"""Read beside every table of the responses' figures."""


def response_cells(row: IterationRow) -> dict[str, str]:
    """One iteration's figures of win rates, length and form, by their headings; empty where it has none."""
    its = row.facts.get("scorers", {}).get(row.facts.get("selectedScorer"), {})
    bias, form, lengths = its.get("length_bias"), row.facts.get("form"), row.facts.get("lengths")
    if bias is None or form is None or lengths is None:
        return {}
    slope = bias["slope"]
    return {
        "win": _interval(its["base"]) if row.iteration else "",
        "prev": _interval(its["previous"]) if row.iteration else "",
        "tokens": _cell(lengths["mean"], ".0f"),
        "length r": _cell(bias["correlation"], "+.2f"),
        "slope": _cell(None if slope is None else 100 * slope, "+.3f"),
        "gain =len": _cell(bias["gain_at_equal_length"], "+.3f"),
        "cut": _cell(form["truncatedRate"], ".2f"),
        "empty": _cell(form["emptyRate"], ".2f"),
    }


ON_SUITES = (
    "Suites of spec.evaluation. lm-eval: mean over its tasks, then each task's figure ± its standard error. AlpacaEval: "
    "win rate against the baseline's outputs, at equal lengths and as judged. "
    "MT-Bench: mean rating, 1 to 10, then by turn."
)
"""Read beside every table of suites."""


def suite_cells(row: IterationRow) -> dict[str, str]:
    """One iteration's figures of the suites, by their headings; empty where none was run."""
    suites = row.facts.get("suites", {})
    cells: dict[str, str] = {}
    if "lmEval" in suites:
        cells["lm-eval"] = _cell(suites["lmEval"]["mean"], ".3f")
        for name, task in suites["lmEval"]["tasks"].items():
            cells[name] = _with_error(task["value"], task["stderr"])
    if "alpacaEval" in suites:
        its = suites["alpacaEval"]
        cells["AlpacaEval, equal lengths"] = _cell(its["lengthControlledWinRate"], ".3f")
        cells["AlpacaEval, as judged"] = f"{its['winRate']:.3f} [{its['winRateLow']:.3f}, {its['winRateHigh']:.3f}]"
    if "mtBench" in suites:
        its = suites["mtBench"]
        cells["MT-Bench"] = _cell(its["mean"], ".2f")
        for turn, mean in enumerate(its["turns"], start=1):
            cells[f"MT-Bench, turn {turn}"] = _cell(mean, ".2f")
    return cells


def _with_error(value: float, error: float | None) -> str:
    return f"{value:.3f}" if error is None else f"{value:.3f} ± {error:.3f}"


def suites_table(report: object) -> Table:
    """A figure a line, an iteration a column: tasks may be many."""
    from selm_cli.report_data import Report

    assert isinstance(report, Report)
    out = _table("suites", ON_SUITES)
    cells = {row.label: found for row in report.rows if (found := suite_cells(row))}
    out.add_column("", no_wrap=True)
    for label in cells:
        out.add_column(label, justify="right", no_wrap=True)
    for heading in next(iter(cells.values()), {}):
        out.add_row(_escape(heading), *(found.get(heading, "") for found in cells.values()))
    return out


def _interval(rate: Mapping[str, float]) -> str:
    return f"{rate['rate']:.2f} [{rate['low']:.2f}, {rate['high']:.2f}]"


def responses_table(report: object) -> Table:
    """An iteration a line: win rates with their intervals, lengths, length bias and form."""
    from selm_cli.report_data import Report

    assert isinstance(report, Report)
    out = _table("responses", ON_RESPONSES)
    cells = {row.label: found for row in report.rows if (found := response_cells(row))}
    out.add_column("", no_wrap=True)
    for heading in next(iter(cells.values()), {}):
        out.add_column(heading, justify="right", no_wrap=heading not in ("win", "prev"))
    for label, found in cells.items():
        out.add_row(label, *map(_escape, found.values()))
    return out


def arms_table(arms: Arms) -> Table:
    """An iteration a line: the run's figures, the control's, and their difference."""
    from selm_cli.report_arms import ON_ARMS, arm_cells

    out = _table(f"beside {arms.name}", ON_ARMS)
    out.add_column("", no_wrap=True)
    for heading in arm_cells(arms.rows[0]):
        out.add_column(heading, justify="right")
    for row in arms.rows:
        out.add_row(f"iteration {row.iteration}", *map(_escape, arm_cells(row).values()))
    return out


TRAINING_COLUMNS = {
    "loss": "loss",
    "rewardChosen": "chosen",
    "rewardRejected": "rejected",
    "rewardMargin": "margin",
    "rewardAccuracy": "accuracy",
    "exploredLogRatio": "explored",
}
"""Metrics of Training and the headings that a report gives them."""
ON_TRAINING = (
    "Means over each training's steps. chosen, rejected: implicit rewards, β (log π − log π_ref). A falling chosen "
    "reward is no fault by itself: the loss only asks that the chosen stays above the rejected, and both may fall while "
    "the margin grows. It is one where the margin shrinks, or where rewards on held-out prompts fall too. "
    "explored: log π − log π_ref of the explored responses, in nats; the exploring term lowers it."
)
"""Read beside every table of training metrics."""


def training_table(report: object) -> Table:
    """An iteration a line: loss, implicit rewards and the explored log-ratio, with what falling rewards mean."""
    from selm_cli.report_data import Report

    assert isinstance(report, Report)
    out = _table("training", ON_TRAINING)
    for name in ("", *TRAINING_COLUMNS.values()):
        out.add_column(name, justify="right" if name else "left", no_wrap=True)
    for row in report.rows:
        if row.training:
            out.add_row(row.label, *(_cell(row.training.get(name), ".3f") for name in TRAINING_COLUMNS))
    return out


def html(report: object, picture: Path) -> str:
    """The report as one HTML page; the plot lies beside it."""
    from selm_cli.report_arms import ON_ARMS, arm_cells
    from selm_cli.report_data import Report

    assert isinstance(report, Report)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("selm_cli", "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("report.html.j2").render(
        report=report,
        phases=PHASES,
        picture=picture.name,
        training_columns=TRAINING_COLUMNS,
        on_training=ON_TRAINING,
        response_cells=response_cells,
        on_responses=ON_RESPONSES,
        suites={row.label: found for row in report.rows if (found := suite_cells(row))},
        on_suites=ON_SUITES,
        arm_cells=arm_cells,
        on_arms=ON_ARMS,
    )


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _reward(value: float) -> str:
    return f"(reward {value:.2f})"


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def command(
    name: Annotated[str, typer.Argument(help="the SELMRun's name")],
    namespace: Annotated[str, typer.Option("--namespace", "-n")] = "default",
    out: Annotated[Path, typer.Option(help="where report.html, report.png and model/ go")] = Path("selm-report"),
    model: Annotated[bool, typer.Option(help="download the aligned model too")] = True,
    kubeconfig: Annotated[Path | None, typer.Option(help="default: KUBECONFIG, else ~/.kube/config")] = None,
) -> None:
    """Print a run's results and write plot, HTML page and model. Reads the store with AWS_* from the environment."""
    from selm_cli.report_arms import find_arm

    cluster = Cluster(kubeconfig)
    run = RunState.of(cluster.run(namespace, name))
    write(run, out, Console(), download_model=model, arm=find_arm(cluster, run))
