"""Whether an image has what `spec.training.compile` needs at run time; imports nothing heavy, for Preparation asks it, too."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from importlib import metadata

from selm_runtime.contract import TrainingConfig
from selm_runtime.errors import InvalidInput

FIELD = "spec.training.compile"
C, CPP = ("CC", ("gcc", "clang", "cc")), ("CXX", ("g++",))
"""The variable that names a compiler, and what is looked for without it: by Triton and by inductor."""


def check_compile(training: TrainingConfig, *, on_gpu: bool) -> None:
    """Raises InvalidInput where layers are to be compiled and cannot be: by the ZeRO stage, or by the image (`NoCompiler`).

    On a GPU Triton links a launcher for each kernel by a C compiler; on a CPU inductor writes C++.
    """
    if not training.compile:
        return
    if training.zero_stage > 2:  # the operator refuses it; a config may come from elsewhere
        raise InvalidInput(
            "InvalidConfig",
            f"{FIELD}: found true with zeroStage {training.zero_stage}; allowed with zeroStage up to 2",
        )
    variable, names = C if on_gpu else CPP
    given = os.environ.get(variable)
    looked_for: Collection[str] = (given,) if given else names
    if not any(shutil.which(name) for name in looked_for):
        raise InvalidInput(
            "NoCompiler",
            f"{FIELD}: found true, but the image has no {'C' if on_gpu else 'C++'} compiler (looked for "
            f"{', '.join(looked_for)}; {variable} names another one); allowed is false without it",
        )


def made_for_gpus() -> bool:
    """Whether this image is for GPUs: it has Triton, which torch's wheels for CPUs do not come with."""
    try:
        metadata.version("triton")
    except metadata.PackageNotFoundError:
        return False
    return True
