"""Ranks that load folders under ZeRO-3 and say what they hold: for tests of loading alone."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

from support.phase_configs import phase_config
from support.train_world import free_port

Loaded = dict[str, Any]
"""`error`: the message of a refusal; or `weights` (whole ones and buffers, by name) and `parts`, elements of the first
rank's parts."""


def load_on_ranks(folders: list[Path], into: Path, *, ranks: int = 2) -> list[Loaded]:
    """By folder, as rank 0 saw it, in float32."""
    import torch

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["support.train_preload"])
    port, path = free_port(), {"PYTHONPATH": str(Path(__file__).parents[1])}
    os.environ.setdefault("PYTHONPATH", path["PYTHONPATH"])
    processes = [context.Process(target=_rank, args=(rank, ranks, port, folders, into)) for rank in range(ranks)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(200)
    assert [process.exitcode for process in processes] == [0] * ranks
    found: list[Loaded] = torch.load(into, weights_only=False)
    return found


def _rank(rank: int, ranks: int, port: int, folders: list[Path], into: Path) -> None:
    import torch

    from selm_runtime.errors import InvalidInput
    from selm_runtime.train import model
    from selm_runtime.train.partition import Cutter
    from selm_runtime.train.ranks import join

    os.environ.update(
        OMP_NUM_THREADS="1",
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(ranks),
        LOCAL_WORLD_SIZE=str(ranks),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    here = join()
    training = phase_config(training={"zeroStage": 3, "precision": "Float32"}).training
    import deepspeed

    found: list[Loaded] = []
    for folder in folders:
        cutter = Cutter(training, here.device)
        try:
            with cutter.arriving():
                loaded = model.load(folder, dtype=torch.float32, max_length=64)
        except InvalidInput as refused:
            found.append({"error": refused.message})
            continue
        cutter.cut(loaded.parameters())
        held: Any = list(loaded.parameters())
        weights = {name: buffer.clone() for name, buffer in loaded.named_buffers()}
        assert all(parameter.numel() == 0 for parameter in held)
        parts = sum(parameter.ds_tensor.numel() for parameter in held)
        with deepspeed.zero.GatheredParameters(held):
            weights |= {name: parameter.detach().clone() for name, parameter in loaded.named_parameters()}
        found.append({"weights": weights, "parts": parts})
    if here.is_first:
        torch.save(found, into)
    here.barrier()
