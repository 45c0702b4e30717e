"""How long does an engine take from the pod's first line to its first token, and what do kept kernels and weights spare?

    python benchmarks/startup.py                 CPU: a 135 M model in float32 (0.54 GB), two rounds

Ways, each in a process of its own, all of them in turn in every round, on the same committed model in an S3 server on
this machine (moto, in a process of its own):

    first    the first pod of a node: empty cache, weights fetched and verified, all kernels compiled
    fetched  kernels kept by an earlier pod, weights fetched and verified (another iteration's model)
    held     kernels and weights kept by an earlier pod
    streamed kernels kept, `generation.weights: Stream`: the engine reads its tensors from the store, nothing on a disk

Parts: imports (from the process's start to an open phase), weights (`local_model`: fetch and verify, or headers), engine
(vLLM's start: load, compile, warm up), first token (one request). Wall seconds, processor seconds of all threads in
brackets: on a shared machine read the latter. Figures are medians over rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import generate
import train_world
from selm_runtime.contract import PhaseConfig

WAYS = ("first", "fetched", "held", "streamed")
PARTS = ("imports", "weights", "engine", "first token")
BUCKET = "bench"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_EC2_METADATA_DISABLED": "true"}


@dataclass
class Measured:
    """A start's own account of itself."""

    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    disk_bytes: int = 0
    """Of weights that lie in the node's cache afterwards."""

    def mark(self, part: str, since: tuple[float, float]) -> tuple[float, float]:
        """The part has ended; returns when."""
        now = time.monotonic(), time.process_time()
        self.seconds[part], self.cpu_seconds[part] = now[0] - since[0], now[1] - since[1]
        return now

    @property
    def whole(self) -> float:
        return sum(self.seconds.values())

    @property
    def cpu_whole(self) -> float:
        return sum(self.cpu_seconds.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=("30m", "135m", "1b"), default="135m")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--json", type=Path, help="where to write every measurement")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        print(json.dumps(asdict(begin(given.way, given.work))))
        return
    options = generate.Options(given.preset, prompts=1, samples=1, max_tokens=1, mean_tokens=40, max_num_seqs=None)
    with tempfile.TemporaryDirectory(prefix="selm-bench-") as folder, s3_server() as endpoint:
        work = Path(folder)
        generate.prepare(options, work)
        commit(options, work, endpoint)
        weights = sum(path.stat().st_size for path in (work / "model").glob("*.safetensors"))
        print(f"{given.preset}, {weights / 1e9:.2f} GB of weights; {os.cpu_count()} processors", flush=True)
        runs: dict[str, list[Measured]] = {way: [] for way in given.only}
        if "first" not in given.only:
            start("first", work)  # not counted: makes what the others find
        for number in range(given.rounds):
            for way in given.only:
                measured = start(way, work)
                runs[way].append(measured)
                print(f"round {number + 1} {way}: {words(measured)}; load {os.getloadavg()[0]:.1f}", flush=True)
        if given.json:
            given.json.write_text(json.dumps({way: [asdict(run) for run in its] for way, its in runs.items()}))
        report(runs)


@contextmanager
def s3_server() -> Iterator[str]:
    """moto's server on a free port; the endpoint. Its bucket is empty, the environment has its keys."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ.update(CREDENTIALS)
    os.environ.pop("AWS_ENDPOINT_URL", None)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            import boto3
            from botocore.config import Config

            endpoint = f"http://127.0.0.1:{port}"
            retries = Config(retries={"max_attempts": 20, "mode": "standard"})
            boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", config=retries).create_bucket(
                Bucket=BUCKET
            )
            yield endpoint
        finally:
            server.terminate()


def commit(options: generate.Options, work: Path, endpoint: str) -> None:
    """A Preparation with the model in the store, and the configs of both ways of taking the weights beside it."""
    from selm_runtime.contract import CommittedPhase, Phase
    from selm_runtime.phase import open_context
    from selm_runtime.reporting import Reporter

    made = generate.phase_config(options, work, reproducible=False)
    artifacts = {"uri": f"s3://{BUCKET}/runs", "endpoint": endpoint, "region": "us-east-1", "reuse": "None"}

    def config(phase: Phase, committed: tuple[CommittedPhase, ...], weights: str) -> str:
        found = json.loads(made(phase, committed).model_dump_json(by_alias=True))
        found["artifacts"] |= artifacts
        found["generation"] |= {"weights": weights}
        return json.dumps(found)

    preparation = _read(config(Phase.PREPARATION, (), "Cache"))
    with open_context(preparation, 0, Reporter(Phase.PREPARATION, 0, 0, stream=sys.stderr)) as ctx:
        manifest = ctx.folder.commit(generate.preparation_files(work, ctx.scratch), rows=1)
    committed = (CommittedPhase(iteration=0, phase=Phase.PREPARATION, manifest=manifest.digest),)
    for weights in ("Cache", "Stream"):
        (work / f"{weights}.json").write_text(config(Phase.GENERATION, committed, weights))


def start(way: str, work: Path) -> Measured:
    """One start in a process of its own, its part of the cache made as `way` says."""
    cache = work / "cache"
    for folder in cache.iterdir() if cache.exists() else ():
        if way == "first" or (way in ("fetched", "streamed") and not folder.name.startswith("kept-")):
            shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
    environment = {**os.environ, "SELM_CACHE_DIR": str(cache), "STARTED": str(time.monotonic())}
    command = [sys.executable, __file__, "--way", way, "--work", str(work)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{way} failed with {done.returncode}:\n{done.stderr[-4000:]}")
    return Measured(**json.loads(done.stdout.strip().splitlines()[-1]))


def begin(way: str, work: Path) -> Measured:
    """In the process of a start: what Generation does before its second token."""
    measured = Measured()
    config = _read((work / ("Stream.json" if way == "streamed" else "Cache.json")).read_text())
    from selm_runtime.contract import Phase
    from selm_runtime.engine import Request
    from selm_runtime.generate.shard import engine_settings, start_engine
    from selm_runtime.generate.weights import local_model
    from selm_runtime.phase import open_context
    from selm_runtime.reporting import Reporter

    with open_context(config, 0, Reporter(config.phase, config.iteration, 0, stream=sys.stderr)) as ctx:
        at = measured.mark("imports", (float(os.environ["STARTED"]), 0.0))
        model = local_model(ctx, ctx.folder.manifest(Phase.PREPARATION, 0))
        if (model.streamed is not None) != (way == "streamed"):
            raise RuntimeError(f"the weights of {way} came another way")
        at = measured.mark("weights", at)
        engine = start_engine(ctx, engine_settings(ctx, model.folder, model.streamed), train_world.EOS)
        at = measured.mark("engine", at)
        engine.submit(Request("0", [2, 3, 4], 0))
        while engine.unfinished:
            engine.step()
        measured.mark("first token", at)
        engine.close()
    cache = Path(os.environ["SELM_CACHE_DIR"])
    measured.disk_bytes = sum(path.stat().st_size for path in cache.rglob("*.safetensors"))
    return measured


def _read(config: str) -> PhaseConfig:
    return PhaseConfig.model_validate_json(config)


def words(run: Measured) -> str:
    parts = ", ".join(f"{part} {run.seconds[part]:.1f} s ({run.cpu_seconds[part]:.1f})" for part in PARTS)
    return f"{run.whole:.1f} s ({run.cpu_whole:.1f}): {parts}; {run.disk_bytes / 1e9:.2f} GB of weights on the disk"


def report(runs: dict[str, list[Measured]]) -> None:
    """Medians, and the ratios that the documentation quotes."""
    wall = {way: statistics.median(run.whole for run in its) for way, its in runs.items()}
    cpu = {way: statistics.median(run.cpu_whole for run in its) for way, its in runs.items()}
    print(f"\n{'':10}{'seconds':>10}{'processor':>11}" + "".join(f"{part:>14}" for part in PARTS))
    for way, its in runs.items():
        medians = (statistics.median(run.seconds[part] for run in its) for part in PARTS)
        print(f"{way:10}{wall[way]:10.1f}{cpu[way]:11.1f}" + "".join(f"{median:14.1f}" for median in medians))
    for one, other, what in (
        ("first", "held", "what kept kernels and weights spare a later pod"),
        ("fetched", "held", "what fetching the weights costs"),
        ("streamed", "fetched", "streamed against fetched"),
    ):
        if one in wall and other in wall:
            print(f"{what}: {wall[one] / wall[other]:.2f}x, in processor time {cpu[one] / cpu[other]:.2f}x")


if __name__ == "__main__":
    main()
