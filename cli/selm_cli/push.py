"""`selm push NAME URI`: a run's model with its card to a hub's repository, a folder in a store or an OCI registry."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from selm_cli.cluster import Cluster
from selm_cli.errors import CliError
from selm_cli.run_state import PHASES, RunState
from selm_runtime.contract import ENV_REGISTRY_CONFIG, ArtifactsConfig, Phase, PushConfig, RunRef

Choice = Literal["best", "final"]


def push(
    run: RunState,
    uri: str,
    console: Console,
    *,
    which: Choice = "best",
    private: bool = True,
    revision: str = "main",
    plain_http: bool = False,
) -> None:
    """Download and verify the model, write its card, push both, and say where they are. Again: changes nothing.

    Raises:
        CliError: nothing to push, a target that cannot be reached or may not be written to, a store that is away.
    """
    # boto3 and the hub's client take a second to import: only this verb pays for them.
    from selm_cli.report_data import RunArtifacts
    from selm_runtime.artifacts.store import NotFound, open_store
    from selm_runtime.errors import InvalidInput, TemporaryFailure
    from selm_runtime.push.card import CardFacts, model_card, pushed_model
    from selm_runtime.push.destination import push_folder
    from selm_runtime.push.place import OCI
    from selm_runtime.push.targets import check_target

    artifacts_spec = run.spec["artifacts"]
    artifacts = ArtifactsConfig(
        uri=artifacts_spec["uri"], endpoint=artifacts_spec.get("endpoint"), region=artifacts_spec.get("region")
    )
    iteration = chosen(run, which)
    try:
        check_target(uri, "URI")
        reader = RunArtifacts(open_store(artifacts), run)
        found = {(phase, t): reader.manifest(t, phase) for t in range(run.iterations + 1) for phase in PHASES}
        facts = CardFacts(
            RunRef(namespace=run.namespace, name=run.name, uid=run.uid),
            run.spec,
            iteration,
            run.best_iteration,
            {where: manifest for where, manifest in found.items() if manifest is not None},
        )
        model = pushed_model(facts)
        with tempfile.TemporaryDirectory(prefix="selm-push-") as scratch:
            folder = Path(scratch)
            if reader.download(model.iteration, model.phase, "model/", folder) is None:
                raise CliError(f"{model.phase} of iteration {iteration} has no model")
            (folder / "README.md").write_text(model_card(facts), encoding="utf-8")
            done = push_folder(
                folder,
                PushConfig(uri=uri, private=private, revision=revision, plain_http=plain_http),
                facts,
                field="URI",
                artifacts=artifacts,
                environment=registry_environment(os.environ) if uri.startswith(OCI) else os.environ,
            )
    except NotFound as error:
        raise CliError(
            f"the model of iteration {iteration} is not in the store any more (spec.retention): {error}"
        ) from error
    except (InvalidInput, TemporaryFailure) as error:
        raise CliError(str(error)) from error
    state = "pushed to" if done.changed else "is already at"
    at = f" at {done.revision}" if done.revision else ""
    console.print(f"iteration {iteration} {state} {done.uri}{at}", highlight=False, soft_wrap=True)


def registry_environment(environment: Mapping[str, str]) -> Mapping[str, str]:
    """The environment with the Docker configuration of whoever pushes, where there is one."""
    folder = Path(environment.get("DOCKER_CONFIG") or Path.home() / ".docker")
    file = folder / "config.json"
    return {ENV_REGISTRY_CONFIG: file.read_text(encoding="utf-8"), **environment} if file.is_file() else environment


def chosen(run: RunState, which: Choice) -> int:
    """The iteration whose model is pushed; CliError where there is none yet, or none that beat the base."""
    trained = [t for t in range(1, run.iterations + 1) if run.phase(t, Phase.TRAINING).state == "Succeeded"]
    if not trained:
        raise CliError(f"SELMRun {run.namespace}/{run.name} has no trained model yet: {run.message}")
    if which == "final":
        return trained[-1]
    if run.best_iteration is None:
        raise CliError(f"SELMRun {run.namespace}/{run.name} has no evaluated iteration yet: {run.message}")
    if run.best_iteration == 0:
        raise CliError("no iteration was better than the base; --which final pushes the last one all the same")
    return run.best_iteration


def command(
    name: Annotated[str, typer.Argument(help="the SELMRun's name")],
    uri: Annotated[
        str, typer.Argument(help="hf://owner/name, s3://bucket/path, file:///path or oci://registry/name:tag")
    ],
    namespace: Annotated[str, typer.Option("--namespace", "-n")] = "default",
    which: Annotated[Choice, typer.Option(help="the iteration that evaluation picks, or the last one")] = "best",
    private: Annotated[bool, typer.Option("--private/--public", help="of a repository of the hub")] = True,
    revision: Annotated[str, typer.Option(help="the branch of a repository of the hub")] = "main",
    plain_http: Annotated[bool, typer.Option("--plain-http", help="an OCI registry is spoken to without TLS")] = False,
    kubeconfig: Annotated[Path | None, typer.Option(help="default: KUBECONFIG, else ~/.kube/config")] = None,
) -> None:
    """Push a run's model with a card of its recipe, data, metrics and digests. Reads AWS_* and, by the target, HF_TOKEN, SELM_REGISTRY_USERNAME and SELM_REGISTRY_PASSWORD or Docker's config.json."""
    run = RunState.of(Cluster(kubeconfig).run(namespace, name))
    push(run, uri, Console(), which=which, private=private, revision=revision, plain_http=plain_http)
