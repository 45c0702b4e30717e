"""The pod's entry: brings the inputs to the node, starts its ranks, and commits what they made.

Everything that can be refused is refused here, before a process group exists; what the ranks do is in `loop.py`.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.artifacts.upload import files_below, time_scale
from selm_runtime.contract import ENV_COMPLETION_INDEX, ENV_PHASE_CONFIG, ExitCode, PhaseConfig
from selm_runtime.engine import keep_compiled, kept_name
from selm_runtime.errors import InvalidInput, PeerLost, PhaseFailure, TemporaryFailure
from selm_runtime.inputs import reference_model, starting_model
from selm_runtime.precision import inference_device
from selm_runtime.train import metrics
from selm_runtime.train.compiler import check_compile
from selm_runtime.train.data import PairCounts, bring_pairs
from selm_runtime.train.job import ENV_JOB, Outcome, TrainJob
from selm_runtime.train.objectives import needs_of
from selm_runtime.train.trackers import require_libraries

if TYPE_CHECKING:
    from selm_runtime.phase import PhaseContext

PEERS_SECONDS = 600.0
"""How long a pod waits for the master's name, and the nodes for each other."""
PEERS_END_SECONDS = 15.0
"""How long a pod that lost a peer lets that peer's pod end first: what a process takes to end, which no setting scales."""
POLL_SECONDS = 0.1
LOCALHOST = "127.0.0.1"
FAILURES: dict[int, type[PhaseFailure]] = {kind.exit_code: kind for kind in (InvalidInput, TemporaryFailure, PeerLost)}


def run(ctx: PhaseContext) -> None:
    """Train on this node and, as node 0, commit the exported model.

    Raises InvalidInput, TemporaryFailure or PeerLost as the ranks did; RuntimeError where one crashed or was killed.
    """
    job_file = ctx.scratch / "job.json"
    if ctx.config.training.compile:
        keep_compiled(ctx.cache.kept(kept_name()))  # for the ranks, by their environment
    with _agent(ctx, job_file) as agent:  # imports its libraries while the inputs are fetched
        with ctx.reporter.stage("inputs"):
            job, found = prepare(ctx)
            await_name(ctx, job)
        _write_whole(job_file, job.model_dump_json())
        try:
            outcomes = run_ranks(ctx, job, agent)
        except PeerLost:
            let_peer_end(ctx)
            raise
    if ctx.index == 0:
        with ctx.reporter.stage("commit"):
            commit(ctx, job, outcomes[0], found)


def commit(ctx: PhaseContext, job: TrainJob, outcome: Outcome, found: PairCounts) -> Manifest:
    """Commit the exported model, the tables beside it, and what rank 0 said of the training."""
    manifest = ctx.folder.commit(
        {**files_below(job.model, "model/"), **files_below(job.tables)},
        rows=outcome.facts["pairs"],
        metrics=outcome.metrics,
        facts={**outcome.facts, "truncatedPairs": found.truncated, "invertedPairs": found.inverted},
    )
    ctx.reporter.committed(metrics=metrics.told(manifest.metrics, outcome.rates))
    return manifest


def prepare(ctx: PhaseContext) -> tuple[TrainJob, PairCounts]:
    """Fetch models and pairs; returns the ranks' job and what was counted of the pairs."""
    config = ctx.config
    require_libraries(config)
    check_compile(config.training, on_gpu=inference_device().type == "cuda")
    policy = ctx.folder.manifest(*starting_model(config))
    reference = ctx.folder.manifest(*reference_model(config)) if needs_of(config).reference else policy
    # Equal weights are one model, whatever the setting is called: no second forward pass, and the anchor holds.
    same = policy.content_under("model/") == reference.content_under("model/")
    policy_folder = ctx.cache.model(policy)
    pairs = ctx.scratch / "pairs.parquet"
    found = bring_pairs(ctx.folder, policy_folder, pairs, ctx.stop.check)
    address, port = rendezvous_of(config)
    job = TrainJob(
        policy=policy_folder,
        reference=None if same else ctx.cache.model(reference),
        pairs=pairs,
        scratch=ctx.scratch,
        input_digest=ctx.folder.input_digest,
        writer=ctx.folder.writer,
        index=ctx.index,
        master_address=address,
        master_port=port,
        peers_seconds=max(1, round(PEERS_SECONDS * time_scale())),
    )
    return job, found


def rendezvous_of(config: PhaseConfig) -> tuple[str, int]:
    """Where the ranks meet: pod 0's name and the operator's port, or a free local port where there is one node."""
    if config.training.nodes == 1:
        with socket.socket() as free:
            free.bind((LOCALHOST, 0))
            port: int = free.getsockname()[1]
        return LOCALHOST, port
    rendezvous = config.training.rendezvous
    if rendezvous is None:
        raise InvalidInput(
            "InvalidConfig", f"training.rendezvous is absent; {config.training.nodes} nodes need one to meet"
        )
    return rendezvous.master_address, rendezvous.master_port


def run_ranks(ctx: PhaseContext, job: TrainJob, agent: subprocess.Popen[bytes]) -> list[Outcome]:
    """Wait for this node's ranks; their outcomes, by local rank.

    SIGTERM reaches the ranks as a file, which they look at together at each step boundary. While the nodes still wait
    for each other there is nobody to agree with: then the pod just goes.
    """
    while agent.poll() is None:
        if ctx.stop.requested:
            job.stop_file.touch()
            if not job.started_file.exists():
                ctx.stop.check()
        time.sleep(POLL_SECONDS)
    outcomes = [outcome_of(job, rank) for rank in range(ctx.config.training.ranks_per_node)]
    raise_for(agent.returncode, outcomes)
    return [outcome for outcome in outcomes if outcome is not None]


def let_peer_end(ctx: PhaseContext) -> None:
    """Wait a little, so that the Job sees first the pod that knows why the training ends.

    A rank's connections break before its pod has ended. Were this pod's 76 the first end of the Job, the Job controller
    would end the other pod and remove it, and with it the exit code that counts. Once the Job has failed this pod is
    asked to go, and the wait is over.
    """
    deadline = time.monotonic() + (PEERS_END_SECONDS if ctx.config.training.nodes > 1 else 0.0)
    while not ctx.stop.requested and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def await_name(ctx: PhaseContext, job: TrainJob) -> None:
    """Wait until the master's name resolves: the Service answers for pod 0 some seconds after it was created."""
    deadline = time.monotonic() + job.peers_seconds
    while True:
        ctx.stop.check()
        try:
            socket.getaddrinfo(job.master_address, job.master_port, proto=socket.IPPROTO_TCP)
            return
        except OSError as error:
            if time.monotonic() >= deadline:
                raise PeerLost(
                    "PeerLost",
                    f"the name of rank 0's pod, {job.master_address}, did not resolve in {job.peers_seconds} s: {error}",
                ) from error
        time.sleep(POLL_SECONDS)


def raise_for(code: int, outcomes: Sequence[Outcome | None]) -> None:
    """Return if every rank of the node ended well, else raise what the pod ends with.

    `code` is the agent's: which of the ranks' ends counts, where several failed at once. The words come from a rank
    that ended with it; one that was killed left none.
    """
    there = [outcome for outcome in outcomes if outcome is not None]
    if code == ExitCode.DONE and len(there) == len(outcomes):
        return
    error = next((outcome.error for outcome in there if outcome.exit_code == code and outcome.error), None)
    kind = FAILURES.get(code)
    if kind is not None:
        raise kind(error.reason, error.message) if error else kind(kind.__name__, "no rank of this node said why")
    said = error.message if error else "it was killed, and left no word"
    raise RuntimeError(f"a rank of this node failed (torchrun's agent ended with {code}): {said}")


@contextmanager
def _agent(ctx: PhaseContext, job_file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """torchrun's agent as a process that does not outlive this block; its ranks end with it."""
    environment = {
        "THP_MEM_ALLOC_ENABLE": "1",  # torch takes huge pages for large tensors: a fraction of the page faults
        **os.environ,
        ENV_JOB: str(job_file),
        ENV_PHASE_CONFIG: ctx.config.model_dump_json(by_alias=True),
        ENV_COMPLETION_INDEX: str(ctx.index),
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # asks the driver without initialising it: CUDA does not survive a fork
    }
    agent = subprocess.Popen([sys.executable, "-m", "selm_runtime.train", str(os.getpid())], env=environment)
    try:
        yield agent
    finally:
        if agent.poll() is None:
            agent.kill()
        agent.wait()


def outcome_of(job: TrainJob, local_rank: int) -> Outcome | None:
    """How a rank of this node said it ended; None where it was killed."""
    file = job.outcome_file(local_rank)
    return Outcome.model_validate_json(file.read_text()) if file.exists() else None


def _write_whole(file: Path, text: str) -> None:
    part = file.with_suffix(".part")
    part.write_text(text)
    part.replace(file)
