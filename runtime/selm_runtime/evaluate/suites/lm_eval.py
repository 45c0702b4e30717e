"""Tasks of lm-evaluation-harness: checked in Preparation, run in Evaluation, both in a process of their own."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selm_runtime.contract import LMEvalConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.phase import StopFlag

FIELD = "spec.evaluation.lmEval"
REFUSED = 64
"""Exit code of the harness' process where the tasks cannot be run; its answer then has `reason` and `message`."""
_CHILD = "selm_runtime.evaluate.suites.lm_eval_process"
_SECRETS = ("AWS_", "SELM_", "HF_")
"""Begin the names of variables that the tasks' process is not given: it may run the tasks' own code."""
_POLL_SECONDS = 0.5


def check_tasks(lm_eval: LMEvalConfig, folder: Path, scratch: Path, stop: StopFlag) -> dict[str, Any]:
    """By task: `metric`, `documents`, `prompts`. Raises InvalidInput where one cannot be run from the folder."""
    return _in_process(lm_eval, {"mode": "check"}, folder, scratch, stop)


def run_tasks(
    lm_eval: LMEvalConfig,
    model: Path,
    folder: Path,
    scratch: Path,
    stop: StopFlag,
    *,
    device: str,
    dtype: str,
    trust_remote_code: bool,
) -> dict[str, Any]:
    """By task: `metric`, `filter`, `value`, `stderr`, `documents`, `fewshot`, `version`, and all `figures`.

    `model` is a folder in Hugging Face layout. Raises TemporaryFailure when asked to go, RuntimeError where the harness
    fails.
    """
    request = {
        "mode": "run",
        "model": str(model),
        "device": device,
        "dtype": dtype,
        "batchSize": lm_eval.batch_size,
        "numFewshot": lm_eval.num_fewshot,
        "chatTemplate": lm_eval.chat_template,
        "modelCode": trust_remote_code,
        "taskCode": lm_eval.trust_remote_code,
    }
    return _in_process(lm_eval, request, folder, scratch, stop)


def mean_figure(tasks: Mapping[str, Mapping[str, Any]]) -> float:
    """The plain mean over tasks of the figures that count."""
    return math.fsum(task["value"] for task in tasks.values()) / len(tasks)


def _in_process(
    lm_eval: LMEvalConfig, request: Mapping[str, Any], folder: Path, scratch: Path, stop: StopFlag
) -> dict[str, Any]:
    work = scratch / f"lm-eval-{request['mode']}"
    work.mkdir()
    asked, answered = work / "request.json", work / "answer.json"
    tasks = [task.model_dump() for task in lm_eval.tasks]
    asked.write_text(json.dumps({**request, "tasks": tasks, "limit": lm_eval.limit}), encoding="utf-8")
    code = _wait([sys.executable, "-m", _CHILD, str(asked), str(answered)], folder, _environment(work), stop)
    if code not in (0, REFUSED):
        raise RuntimeError(f"lm-evaluation-harness ended with exit code {code}; its last lines are in the pod's log")
    answer: dict[str, Any] = json.loads(answered.read_text(encoding="utf-8"))
    if code == REFUSED:
        raise InvalidInput(answer["reason"], f"{FIELD}.tasks: {answer['message']}{_hint(lm_eval, folder)}")
    return answer


def _wait(command: Sequence[str], folder: Path, environment: Mapping[str, str], stop: StopFlag) -> int:
    # Standard output carries the pod's JSON lines: what the harness prints goes to the log beside them.
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=sys.stderr.fileno())
    try:
        while True:
            stop.check()
            try:
                return process.wait(_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                continue
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _environment(work: Path) -> dict[str, str]:
    """Nothing is looked for outside of the folder, and what the libraries keep lies in the scratch folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_SECRETS)}
    return {
        **kept,
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": str(work / "hub"),
        "HF_DATASETS_CACHE": str(work / "datasets"),
        "HF_EVALUATE_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }


def _hint(lm_eval: LMEvalConfig, folder: Path) -> str:
    """Why Python code of the tasks may be missing."""
    uses = any("!function" in path.read_text(errors="replace") for path in folder.rglob("*.yaml"))
    if not uses or lm_eval.trust_remote_code:
        return ""
    return f"; a file names Python code by !function, which needs {FIELD}.trustRemoteCode: true"
