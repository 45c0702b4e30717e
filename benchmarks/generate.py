"""What does a shard of Generation cost beside the raw vLLM engine on the same prompts?

    python benchmarks/generate.py                                   CPU: a 30 M model, 96 prompts, 2 samples each
    python benchmarks/generate.py --preset 1b --prompts 8192 --samples 1 --max-tokens 1024 --mean-tokens 350   # one GPU

Contenders, each in a process of its own, all of them in turn in every round, with the same model, engine arguments,
prompts as token ids, and seeds:

    raw            vllm.LLM, one call over all prompts
    ahead          a shard with `reproducible: false`: fetch, tokenise, generate, decode, write Parquet, commit
    reproducible   the same with `reproducible: true`: a chunk at a time from a cold prefix cache
    raw-invariant, ahead-invariant   the same two under VLLM_BATCH_INVARIANT=1, where vLLM offers it (NVIDIA GPUs)

Steady: response tokens a second from the first request to the last response (raw) or to the phase's commit (a shard).
End to end: from before the import of vLLM to the end of the process, the engine's start and its clearing up included. In
processor time: the steady part's tokens for each second that all threads of the process worked, which does not know of
waiting; on a shared machine read this one. Random weights stop nowhere by themselves, so the generation config names as
many end-of-sequence tokens as make responses `--mean-tokens` long on average, geometrically distributed. Every round
begins with another contender. Figures are medians over rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import train_world

CONTENDERS = ("raw", "ahead", "reproducible", "raw-invariant", "ahead-invariant")
CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
GOAL = 0.95
"""Of the raw engine's throughput, with `reproducible: false`."""


@dataclass(frozen=True)
class Options:
    """Equal for every contender; written beside the model."""

    preset: str
    prompts: int
    samples: int
    max_tokens: int
    mean_tokens: int
    max_num_seqs: int | None
    seed: int = 7

    @property
    def engine_args(self) -> dict[str, Any]:
        return {} if self.max_num_seqs is None else {"max_num_seqs": self.max_num_seqs}


@dataclass(frozen=True)
class Span:
    """What a contender says of its own run. Times by the machine's monotonic clock, which its parent has, too."""

    tokens: int
    began: float
    steady_seconds: float
    steady_cpu_seconds: float


@dataclass(frozen=True)
class Measured:
    """One contender's run."""

    tokens: int
    steady_seconds: float
    whole_seconds: float
    steady_cpu_seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=sorted(train_world.PRESETS), default="30m")
    parser.add_argument("--prompts", type=int, default=96)
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--mean-tokens", type=int, default=40, help="of a response, were it not cut at --max-tokens")
    parser.add_argument("--max-num-seqs", type=int, help="requests in flight; default: the engine's")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--json", type=Path, help="where to write every measurement")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contender:
        options = Options(**json.loads((given.work / "options.json").read_text()))
        print(json.dumps(asdict(contend(given.contender, options, given.work))))
        return
    options = Options(
        given.preset, given.prompts, given.samples, given.max_tokens, given.mean_tokens, given.max_num_seqs
    )
    import torch

    contenders = [name for name in given.only if torch.cuda.is_available() or not name.endswith("invariant")]
    with tempfile.TemporaryDirectory(prefix="selm-bench-") as folder:
        work = Path(folder)
        prepare(options, work)
        print(describe(options, torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"), flush=True)
        # Not counted: who is first pays for cold files and kernels, and the first shard for the node's cache.
        for name in {"raw", contenders[-1]}:
            start(name, work)
        runs: dict[str, list[Measured]] = {name: [] for name in contenders}
        for number in range(given.rounds):
            turn = number % len(contenders)
            for name in contenders[turn:] + contenders[:turn]:
                measured = start(name, work)
                runs[name].append(measured)
                print(f"round {number + 1} {name}: {words(measured)}, load {os.getloadavg()[0]:.1f}", flush=True)
        if given.json:
            found = {name: [asdict(run) for run in its] for name, its in runs.items()}
            given.json.write_text(json.dumps({"options": asdict(options), "runs": found}, indent=1))
        report(runs)


def prepare(options: Options, work: Path) -> None:
    """A model with its stop tokens, the prompts, and a committed Preparation that holds both."""
    model = work / "model"
    train_world.make_model(train_world.Settings(preset=options.preset, seed=options.seed), model)
    vocabulary = int(train_world.PRESETS[options.preset]["vocab_size"])
    stops = list(range(vocabulary - max(1, round(vocabulary / options.mean_tokens)), vocabulary))
    (model / "generation_config.json").write_text(json.dumps({"eos_token_id": [train_world.EOS, *stops]}))
    tokenizer = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps({**tokenizer, "chat_template": CHAT_TEMPLATE}))
    chance = random.Random(options.seed)
    lengths = [
        min(train_world.MAX_PROMPT_LENGTH, train_world.length(129, 0.78, chance.gauss(0, 1)))
        for _ in range(options.prompts)
    ]
    prompts = [[chance.randrange(2, vocabulary - len(stops)) for _ in range(length)] for length in lengths]
    (work / "prompts.json").write_text(json.dumps(prompts))
    (work / "options.json").write_text(json.dumps(asdict(options)))


def start(name: str, work: Path) -> Measured:
    """Run a contender's process; what it printed last."""
    environment = {**os.environ, "TQDM_DISABLE": "1", "SELM_CACHE_DIR": str(work / "cache")}
    # Compiled kernels are kept for the raw engine, too: its start-up is compared, not its luck.
    environment |= {"VLLM_CACHE_ROOT": str(work / "kept")} if name.startswith("raw") else {}
    environment |= {"VLLM_BATCH_INVARIANT": "1"} if name.endswith("invariant") else {}
    command = [sys.executable, __file__, "--contender", name, "--work", str(work)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    ended = time.monotonic()
    if done.returncode:
        raise SystemExit(f"{name} failed with {done.returncode}:\n{done.stderr[-4000:]}")
    span = Span(**json.loads(done.stdout.strip().splitlines()[-1]))
    return Measured(span.tokens, span.steady_seconds, ended - span.began, span.steady_cpu_seconds)


def contend(name: str, options: Options, work: Path) -> Span:
    """In the contender's own process."""
    if name.startswith("raw"):
        return raw(options, work)
    return ours(options, work, reproducible=name == "reproducible")


def raw(options: Options, work: Path) -> Span:
    """The engine alone, as vLLM's own offline benchmark drives it."""
    began = time.monotonic()
    from selm_runtime.engine import EngineSettings, default_arguments, prepare_environment, stop_token_ids
    from selm_runtime.generate.seeds import request_seed

    prepare_environment()
    from vllm import LLM, SamplingParams

    model = work / "model"
    settings = EngineSettings(model, train_world.MAX_PROMPT_LENGTH, options.max_tokens)
    engine = LLM(**{**default_arguments(settings), **options.engine_args})
    stops = list(stop_token_ids(model, train_world.EOS))
    requests = [
        (
            {"prompt_token_ids": ids},
            SamplingParams(
                temperature=1.0,
                max_tokens=options.max_tokens,
                stop_token_ids=stops,
                seed=request_seed(options.seed, 1, row, "Current", sample),
                detokenize=False,
            ),
        )
        for row, ids in enumerate(json.loads((work / "prompts.json").read_text()))
        for sample in range(options.samples)
    ]
    ready, worked = time.monotonic(), time.process_time()
    outputs = engine.generate([prompt for prompt, _ in requests], [params for _, params in requests], use_tqdm=False)
    ended, worked = time.monotonic(), time.process_time() - worked
    return Span(sum(len(output.outputs[0].token_ids) for output in outputs), began, ended - ready, worked)


def ours(options: Options, work: Path, *, reproducible: bool) -> Span:
    """A whole shard over a store of files, as a pod runs it."""
    from selm_runtime.contract import CommittedPhase, Phase
    from selm_runtime.phase import open_context
    from selm_runtime.reporting import Reporter

    class TimedReporter(Reporter):
        """Remembers when the first request was handed over and when the phase was committed, in seconds and processor's."""

        first_call = (0.0, 0.0)
        done = (0.0, 0.0)

        def event(self, kind: str, **facts: Any) -> None:
            if kind == "engine-call" and not self.first_call[0]:
                self.first_call = time.monotonic(), time.process_time()
            super().event(kind, **facts)

        def committed(self, *, manifest: str | None = None, **facts: Any) -> None:
            if manifest is not None:
                self.done = time.monotonic(), time.process_time()
            super().committed(manifest=manifest, **facts)

    with tempfile.TemporaryDirectory(dir=work) as store:
        config = phase_config(options, Path(store), reproducible=reproducible)
        preparation = config(Phase.PREPARATION, ())
        with open_context(preparation, 0, Reporter(Phase.PREPARATION, 0, 0, stream=sys.stderr)) as ctx:
            prepared = ctx.folder.commit(preparation_files(work, ctx.scratch), rows=options.prompts)
        committed = (CommittedPhase(iteration=0, phase=Phase.PREPARATION, manifest=prepared.digest),)
        began = time.monotonic()
        reporter = TimedReporter(Phase.GENERATION, 1, 0, stream=sys.stderr)
        with open_context(config(Phase.GENERATION, committed), 0, reporter) as ctx:
            from selm_runtime.generate import run

            run(ctx)
            manifest = ctx.folder.committed()
    if manifest is None:
        raise RuntimeError("the shard ended without a whole phase")
    seconds, worked = (after - before for after, before in zip(reporter.done, reporter.first_call, strict=True))
    return Span(int(manifest.metrics["tokens"]), began, seconds, worked)


def phase_config(options: Options, store: Path, *, reproducible: bool) -> Callable[..., Any]:
    """Configs of the phases that the benchmark runs."""
    from selm_runtime.contract import PhaseConfig

    def config(phase: str, committed: tuple[Any, ...]) -> PhaseConfig:
        return PhaseConfig.model_validate(
            {
                "run": {"namespace": "bench", "name": "bench", "uid": "1"},
                "phase": phase,
                "iteration": 1 if committed else 0,
                "attempt": 1,
                "iterations": 1,
                "seed": options.seed,
                "artifacts": {"uri": f"file://{store}", "reuse": "None"},
                "committed": [done.model_dump() for done in committed],
                "model": {"uri": "file:///model"},
                "data": {"uri": "file:///data", "portions": 1},
                "generation": {
                    "temperature": 1.0,
                    "topP": 1.0,
                    "maxTokens": options.max_tokens,
                    "samplesPerPrompt": options.samples,
                    "reproducible": reproducible,
                    "engineArgs": options.engine_args,
                },
                "scoring": {"scorers": [{"name": "length", "rules": [{"type": "Length", "target": 20}]}]},
                "training": {
                    "objective": {"type": "SELM", "alpha": 0.001, "beta": 0.01},
                    "learningRate": 5e-7,
                    "batchSize": 8,
                    "maxTokensPerMicroBatch": 1024,
                    "maxLength": train_world.MAX_LENGTH,
                    "maxPromptLength": train_world.MAX_PROMPT_LENGTH,
                },
            }
        )

    return config


def preparation_files(work: Path, scratch: Path) -> dict[str, Path]:
    """What Preparation commits: the model, and the prompts as rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from selm_runtime.tables import PROMPTS

    rows = [
        {
            "row": row,
            "prompt": [{"role": "user", "content": train_world.text(ids)}],
            "chosen": None,
            "rejected": None,
            "columns": [],
        }
        for row, ids in enumerate(json.loads((work / "prompts.json").read_text()))
    ]
    path = scratch / "portion.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=PROMPTS), path)
    model = {f"model/{file.name}": file for file in (work / "model").iterdir()}
    return {**model, "rows/portion-0001.parquet": path, "rows/held-out.parquet": path}


def describe(options: Options, device: str) -> str:
    from selm_runtime.artifacts.chunks import chunk_ranges

    chunks = chunk_ranges(options.prompts)
    return (
        f"{options.preset} on {device}; {options.prompts} prompts x {options.samples} samples in {len(chunks)} chunks of "
        f"{len(chunks[0]) * options.samples} requests, at most {options.max_num_seqs or 'the engine’s default of'} in "
        f"flight; responses of {options.mean_tokens} tokens on average, cut at {options.max_tokens}"
    )


def words(run: Measured) -> str:
    return (
        f"{run.tokens} tokens, {run.tokens / run.steady_cpu_seconds:.1f} a processor second, steady {run.tokens / run.steady_seconds:.1f} tokens/s ({run.steady_seconds:.1f} s), "
        f"end to end {run.tokens / run.whole_seconds:.1f} tokens/s ({run.whole_seconds:.1f} s)"
    )


def report(runs: dict[str, list[Measured]]) -> None:
    """Medians, and the ratios that the documentation quotes."""
    steady = {name: statistics.median(r.tokens / r.steady_seconds for r in its) for name, its in runs.items()}
    cpu = {name: statistics.median(r.tokens / r.steady_cpu_seconds for r in its) for name, its in runs.items()}
    whole = {name: statistics.median(r.tokens / r.whole_seconds for r in its) for name, its in runs.items()}
    for ours, other, what in (
        ("ahead", "raw", f"reproducible: false against the raw engine (goal: at least {GOAL:.0%})"),
        ("reproducible", "ahead", "what reproducible: true leaves of it"),
        ("raw-invariant", "raw", "what the batch-invariant mode leaves of the raw engine"),
        ("ahead-invariant", "ahead", "what it leaves of reproducible: false"),
    ):
        if ours in runs and other in runs:
            print(
                f"{what}: {steady[ours] / steady[other]:.1%} steady, {whole[ours] / whole[other]:.1%} end to end, "
                f"{cpu[ours] / cpu[other]:.1%} in processor time"
            )
    if not any(name.endswith("invariant") for name in runs):
        print("the batch-invariant mode: not measured, vLLM offers it on NVIDIA GPUs alone")


if __name__ == "__main__":
    main()
