"""Summed response log-probs by a model that is loaded for it: the training's own packing and kernels, no gradient."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from selm_runtime.contract import PhaseConfig
from selm_runtime.precision import inference_device, inference_dtype
from selm_runtime.train.batches import micro_batches
from selm_runtime.train.model import ResponseLogProbs, load
from selm_runtime.train.packing import pack
from selm_runtime.train.pairs import Pair, Tokens
from selm_runtime.train.probe import check_packing


@dataclass(frozen=True)
class Passage:
    """A prompt and the responses whose log-probs are wanted; the prompt is run once for all of them."""

    row: int
    prompt: Tokens
    responses: tuple[Tokens, ...]


MOST_RESPONSES = 3
"""Of a passage: the roles that the trainer's packing has."""
LogProbSums = dict[int, tuple[float, ...]]
"""By row: one sum a response, in nats, in the passage's order."""


class LoadedModel:
    """A model on the first GPU, or the CPU, for forward passes alone.

    Raises InvalidInput for a model that cannot be run packed, or not at `max_length` tokens.
    """

    def __init__(self, model: Path, config: PhaseConfig, *, max_length: int) -> None:
        self._device = inference_device()
        dtype: torch.dtype = getattr(torch, inference_dtype(model, on_gpu=self._device.type == "cuda"))
        network = load(model, dtype=dtype, max_length=max_length, trust_remote_code=config.model.trust_remote_code)
        self._network: ResponseLogProbs | None = network.to(self._device).eval()
        check_packing(self._network, self._device)
        self._budget = config.training.max_tokens_per_micro_batch

    @torch.inference_mode()
    def sums(self, passages: Sequence[Passage], between: Callable[[int], None]) -> LogProbSums:
        """Summed log-probs by row; rows are distinct, a passage has one to three responses.

        `between(n)` is called after each micro-batch with how many passages were in it: it may report, or raise to stop.
        """
        if self._network is None:
            raise ValueError("the model was freed")
        by_row = {passage.row: _as_pair(passage) for passage in passages}
        sums: LogProbSums = {}
        tokens = {row: pair.tokens for row, pair in by_row.items()}
        (batches,) = micro_batches([sorted(by_row)], tokens, self._budget)
        for rows in batches:
            batch = pack([by_row[row] for row in rows], explored=True).to(self._device)
            found = batch.sums(self._network(batch).double().cpu())
            assert found.explored is not None
            for i, row in enumerate(rows):
                sums[row] = (float(found.chosen[i]), float(found.rejected[i]), float(found.explored[i]))
            between(len(rows))
        return {passage.row: sums[passage.row][: len(passage.responses)] for passage in passages}

    def free(self) -> None:
        """Give its memory back, for the next model."""
        self._network = None
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


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
    everything = [passage for group in passages for passage in group]
    if not everything:
        return [{} for _ in passages]
    longest = max(len(passage.prompt) + max(map(len, passage.responses)) for passage in everything)
    loaded = LoadedModel(model, config, max_length=longest)
    done = 0

    def count(rows: int) -> None:
        nonlocal done
        done += rows
        between(done, len(everything))

    results = [loaded.sums(group, count) if group else {} for group in passages]
    loaded.free()
    return results


def _as_pair(passage: Passage) -> Pair:
    """The trainer's packing takes three roles; absent ones repeat the last response, which is run once all the same."""
    if not 1 <= len(passage.responses) <= MOST_RESPONSES:
        raise ValueError(f"row {passage.row}: {len(passage.responses)} responses; one to three are allowed")
    first, second, third = (*passage.responses, *[passage.responses[-1]] * 2)[:3]
    return Pair(passage.row, passage.prompt, chosen=first, rejected=second, explored=(third,))
