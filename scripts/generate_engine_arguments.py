#!/usr/bin/env python3
"""Writes the list of vLLM's engine arguments that the operator refuses by, from the vLLM that is installed."""

from __future__ import annotations

import sys
from pathlib import Path

from selm_runtime.contract_engine import ARGUMENTS_FILE, as_json, describe
from selm_runtime.engine import prepare_environment

TARGET = Path(__file__).parents[1] / "runtime" / "selm_runtime" / ARGUMENTS_FILE


def main() -> int:
    prepare_environment()
    from vllm.engine.arg_utils import EngineArgs

    text = as_json(describe(EngineArgs))
    if not TARGET.is_file() or TARGET.read_text(encoding="utf-8") != text:
        TARGET.write_text(text, encoding="utf-8")
        sys.stdout.write(f"wrote {TARGET.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
