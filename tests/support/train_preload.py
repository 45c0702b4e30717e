"""Imported once by the server that forks test ranks."""

from __future__ import annotations

from selm_runtime.train import worker
from selm_runtime.train.engine import prepare_deepspeed

prepare_deepspeed()
__all__ = ["worker"]
