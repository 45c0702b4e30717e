"""Summed response log-probs by a model that is loaded for it: the training's own packing and kernels, no gradient."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from selm_runtime.contract import PhaseConfig
from selm_runtime.precision import inference_device, inference_dtype
from selm_runtime.train.batches import micro_batches
from selm_runtime.train.model import load
from selm_runtime.train.packing import pack
from selm_runtime.train.pairs import Pair, Tokens


@dataclass(frozen=True)
class Passage:
    """A prompt and the responses whose log-probs are wanted; the prompt is run once for all of them."""

    row: int
    prompt: Tokens
    responses: tuple[Tokens, ...]


LogProbSums = dict[int, tuple[float, ...]]
"""By row: one sum a response, in nats, in the passage's order."""


def log_prob_sums(
    model: Path,
    passages: Sequence[Sequence[Passage]],
    config: PhaseConfig,
    between: Callable[[int, int], None],
) -> list[LogProbSums]:
    """Loads the model once, runs every group of passages, and frees it.

    Rows are distinct within a group; a passage has one to three responses. `between(done, total)` is called after
    each micro-batch with counts of passages: it may report, or raise to stop. Raises InvalidInput for a model that
    cannot be run packed.
    """
    device = inference_device()
    dtype: torch.dtype = getattr(torch, inference_dtype(model, on_gpu=device.type == "cuda"))
    pairs = [[_as_pair(passage) for passage in group] for group in passages]
    everything = [pair for group in pairs for pair in group]
    if not everything:
        return [{} for _ in passages]
    longest = max(len(pair.prompt) + max(map(len, pair.responses)) for pair in everything)
    network = load(model, dtype=dtype, max_length=longest, trust_remote_code=config.model.trust_remote_code)
    network.to(device).eval()
    results: list[LogProbSums] = []
    done = 0
    with torch.inference_mode():
        for group, wanted in zip(pairs, passages, strict=True):
            by_row = {pair.row: pair for pair in group}
            sums: LogProbSums = {}
            tokens = {row: pair.tokens for row, pair in by_row.items()}
            (batches,) = micro_batches([sorted(by_row)], tokens, config.training.max_tokens_per_micro_batch)
            for rows in batches:
                batch = pack([by_row[row] for row in rows], explored=True).to(device)
                found = batch.sums(network(batch).double().cpu())
                assert found.explored is not None
                for i, row in enumerate(rows):
                    sums[row] = (float(found.chosen[i]), float(found.rejected[i]), float(found.explored[i]))
                done += len(rows)
                between(done, len(everything))
            results.append({passage.row: sums[passage.row][: len(passage.responses)] for passage in wanted})
    del network
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return results


def first_sums(sums: Mapping[int, tuple[float, ...]]) -> dict[int, float]:
    """The first response's sum by row."""
    return {row: values[0] for row, values in sums.items()}


def _as_pair(passage: Passage) -> Pair:
    """The trainer's packing takes three roles; absent ones repeat the last response, which is run once all the same."""
    if not 1 <= len(passage.responses) <= 3:
        raise ValueError(f"row {passage.row}: {len(passage.responses)} responses; one to three are allowed")
    first, second, third = (*passage.responses, *[passage.responses[-1]] * 2)[:3]
    return Pair(passage.row, passage.prompt, chosen=first, rejected=second, explored=(third,))
