"""Engines of vLLM in one process of their own, one after the other: what a phase's process does with a model.

A process, since a test's own has the S3 server, which must answer while an engine starts.

    with engine_process() as ask:
        ask(config, ("Training", 1), cache)   the tokens, or the failure, and how the weights came
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROMPTS = [[1, 3, *range(40 + n, 52 + 2 * n), 4] for n in range(3)]
PART_BYTES = 20_000
"""So that a tiny model has parts enough to go wrong."""

Ask = Callable[..., dict[str, Any]]


@contextmanager
def engine_process(log: Path) -> Iterator[Ask]:
    """What asks the process; it ends with the block. `log` takes what it says of itself."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "support.stream_engines"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=Path(__file__).parent.parent,
        )
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(config: str, model: tuple[str, int], cache: Path) -> dict[str, Any]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps({"config": config, "model": model, "cache": str(cache)}) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            assert answer, log.read_text()[-3000:]
            answered: dict[str, Any] = json.loads(answer)
            return answered

        try:
            yield ask
        finally:
            process.stdin.close()
            process.wait(60)


def _answer(asked: dict[str, Any]) -> dict[str, Any]:
    import os

    from selm_runtime.artifacts import stream
    from selm_runtime.contract import Phase, PhaseConfig
    from selm_runtime.engine import Request
    from selm_runtime.errors import PhaseFailure
    from selm_runtime.generate.shard import engine_settings, start_engine
    from selm_runtime.generate.weights import local_model
    from selm_runtime.phase import open_context
    from selm_runtime.reporting import Reporter

    stream.PART_BYTES = PART_BYTES
    os.environ["SELM_CACHE_DIR"] = asked["cache"]
    config = PhaseConfig.model_validate_json(asked["config"])
    lines = io.StringIO()
    reporter = Reporter(config.phase, config.iteration, 0, stream=lines)
    tokens: dict[str, list[int]] = {}
    failure: list[str] = []
    try:
        with open_context(config, 0, reporter) as ctx:
            phase, iteration = asked["model"]
            model = local_model(ctx, ctx.folder.manifest(Phase(phase), iteration))
            engine = start_engine(ctx, engine_settings(ctx, model.folder, model.streamed), 2)
            for number, prompt in enumerate(PROMPTS):
                engine.submit(Request(str(number), prompt, number))
            while engine.unfinished:
                tokens |= {done.key: list(done.ids) for done in engine.step()}
            engine.close()
    except PhaseFailure as error:
        failure = [type(error).__name__, error.reason, error.message]
    except ValueError as error:
        failure = ["ValueError", "", str(error)]
    events = [json.loads(line) for line in lines.getvalue().splitlines()]
    return {"tokens": tokens, "failure": failure, "weights": [it for it in events if it["selm"] == "weights"]}


def _main() -> None:
    out, sys.stdout = sys.stdout, sys.stderr  # whatever else is printed
    for line in sys.stdin:
        out.write(json.dumps(_answer(json.loads(line))) + "\n")
        out.flush()


if __name__ == "__main__":
    _main()
