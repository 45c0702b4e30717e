"""How many bytes are left for activations, by what else lies in a rank's memory."""

from __future__ import annotations

from typing import Any

import pytest

from selm_runtime.train.memory import left_over, state_bytes
from support.phase_configs import phase_config

B = 10**9
LLAMA_8B, LLAMA_70B = 8 * B, 70 * B
BUFFERS = 3 * B
"""More than all buffers of a fixed size take."""


def held(elements: int, ranks: int, *, trained: int | None = None, has_host: bool = True, **training: Any) -> int:
    settings = phase_config(training={"precision": "BFloat16", **training}).training
    return state_bytes(2 * elements, elements if trained is None else trained, settings, ranks=ranks, has_host=has_host)


@pytest.mark.parametrize(
    ("stage", "bytes_a_parameter"),
    [
        (0, 2 + 6 + 12 / 8),  # run as stage 1
        (1, 2 + 6 + 12 / 8),  # weights; gradients in bf16 and accumulated in float32; float32 weights and two moments
        (2, 2 + 4 / 8 + 12 / 8),
        (3, (2 + 4 + 12) / 8),
    ],
)
def test_each_stage_cuts_one_thing_more(stage: int, bytes_a_parameter: float) -> None:
    found = held(LLAMA_8B, 8, zeroStage=stage) - LLAMA_8B * bytes_a_parameter
    assert 0 < found < BUFFERS


def test_float32_without_zero_has_no_second_copy() -> None:
    settings = phase_config(training={"precision": "Float32", "zeroStage": 0}).training
    found = state_bytes(4 * LLAMA_8B, LLAMA_8B, settings, ranks=8, has_host=True)
    assert 0 < found - LLAMA_8B * 16 < BUFFERS


def test_what_is_offloaded_is_elsewhere_unless_the_device_is_the_host() -> None:
    offload = {"optimizer": "CPU", "parameters": "CPU"}
    assert held(LLAMA_70B, 8, zeroStage=3, offload=offload) < BUFFERS
    assert held(LLAMA_70B, 8, zeroStage=3, offload={"optimizer": "CPU"}) > LLAMA_70B * 2 / 8
    here = held(LLAMA_70B, 8, zeroStage=3, offload=offload, has_host=False)
    assert here == held(LLAMA_70B, 8, zeroStage=3)


def test_frozen_weights_have_neither_gradient_nor_optimizer() -> None:
    adapters = held(LLAMA_8B, 8, trained=B // 50, zeroStage=2, lora={"rank": 16, "alpha": 32.0})
    assert 0 < adapters - LLAMA_8B * 2 < BUFFERS


def test_where_a_70b_leaves_room_on_80_gb() -> None:
    gpu = 80 * B
    assert left_over(gpu, held(LLAMA_70B, 16, zeroStage=3)) == 0  # 18 bytes a parameter are 79 GB each
    assert left_over(gpu, held(LLAMA_70B, 32, zeroStage=3)) > 25 * B
    assert left_over(gpu, held(LLAMA_70B, 16, zeroStage=3, offload={"optimizer": "CPU"})) > 50 * B
    assert left_over(gpu, held(LLAMA_70B, 32, zeroStage=2)) == 0
