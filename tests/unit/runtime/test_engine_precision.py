"""The number format that the machine and the model lead to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selm_runtime.precision import cpu_has_bf16, inference_dtype

CASES = {
    "a CPU without bf16 instructions computes in float32 whatever is stored": ("bfloat16", False, False, "float32"),
    "a CPU with them keeps bf16": ("bfloat16", False, True, "bfloat16"),
    "float32 is never narrowed": ("float32", False, True, "float32"),
    "a GPU takes the model's own": ("float16", True, False, "float16"),
    "a silent config means float32": (None, True, False, "float32"),
}


@pytest.mark.parametrize("case", CASES)
def test_inference_dtype(case: str, tmp_path: Path) -> None:
    stored, on_gpu, bf16, expected = CASES[case]
    (tmp_path / "config.json").write_text(json.dumps({"dtype": stored} if stored else {}))
    assert inference_dtype(tmp_path, on_gpu=on_gpu, bf16=bf16) == expected


def test_bf16_instructions_are_read_from_the_processors_flags() -> None:
    assert cpu_has_bf16("processor: 0\nflags\t\t: fpu avx2 avx512_bf16 sse\n")
    assert cpu_has_bf16("Features : fp asimd bf16\n")
    assert not cpu_has_bf16("flags : fpu avx2 avx512f\n")
    assert not cpu_has_bf16("")
