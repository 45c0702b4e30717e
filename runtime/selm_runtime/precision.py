"""Which number format a phase computes in, chosen from what the machine has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

CPU_INFO = Path("/proc/cpuinfo")
BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Linux's names of bf16 arithmetic: x86 (AVX512, AMX) and 64-bit ARM."""
DTYPES = ("float32", "bfloat16", "float16")


def cpu_has_bf16(cpu_info: str | None = None) -> bool:
    """Whether the processor multiplies bf16 itself.

    Without such instructions bf16 is emulated at a fraction of float32's speed, so it is of use as a storage format
    only. `cpu_info` is the text of /proc/cpuinfo; where there is none (not Linux) the answer is False.
    """
    if cpu_info is None:
        if not CPU_INFO.exists():
            return False
        cpu_info = CPU_INFO.read_text(errors="replace")
    for line in cpu_info.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return bool(BF16_FLAGS & set(value.split()))
    return False


def stored_dtype(model: Path) -> str | None:
    """The number format that a Hugging Face model's config.json declares, or None where it is silent."""
    config = json.loads((model / "config.json").read_text())
    name = config.get("dtype") or config.get("torch_dtype")
    return name if name in DTYPES else None


def inference_dtype(model: Path, *, on_gpu: bool, bf16: bool | None = None) -> str:
    """The number format of forward passes and generation: one of `DTYPES`.

    On a GPU the model's own (float32 where its config is silent). On a CPU float32, unless the processor has bf16
    instructions and the model is stored in bf16.
    """
    stored = stored_dtype(model) or "float32"
    if on_gpu:
        return stored
    has_bf16 = cpu_has_bf16() if bf16 is None else bf16
    return "bfloat16" if has_bf16 and stored == "bfloat16" else "float32"


def inference_device() -> torch.device:
    """The first GPU if there is one, else the CPU."""
    import torch

    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
