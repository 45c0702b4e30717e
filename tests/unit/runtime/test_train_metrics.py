"""What a training says of itself: equal bytes for equal histories, rates, utilization, and places that may fail."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow.parquet as pq
import pytest
import torch

from selm_runtime.artifacts.file_store import FileStore
from selm_runtime.train import tracking
from selm_runtime.train.metrics import write_history
from selm_runtime.train.pairs import Pair
from selm_runtime.train.ranks import Ranks
from selm_runtime.train.throughput import Lengths, Meter, Shape, is_of_expert, peak_of, training_flops
from selm_runtime.train.tracking import ENV_TENSORBOARD_LOGDIR, EventFiles, Tracking
from support.event_files import events
from support.phase_configs import phase_config
from support.phase_folders import Pod
from support.tiny_model import make_tiny_model

CONFIG = phase_config(phase="Training", iteration=1)
HISTORY = [{"loss": 0.7, "gradNorm": 1.0}, {"loss": 0.6, "gradNorm": 2.0, "exploredLogRatio": -0.5}]


def test_the_history_is_a_table_of_steps_with_equal_bytes_for_equal_histories(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_history([dict(reversed(step.items())) if name == "other" else step for step in HISTORY], tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    table = pq.read_table(tmp_path / "one")
    assert table.column_names == ["step", "exploredLogRatio", "gradNorm", "loss"]
    assert table.to_pylist()[0] == {"step": 1, "exploredLogRatio": None, "gradNorm": 1.0, "loss": 0.7}


def test_flops_count_each_distinct_token_once() -> None:
    shape = Shape(blocks=1000, head=100, layers=2, attention_width=8)
    pair = Lengths.of(Pair(0, (1, 2, 3), (4, 5), (6,), ((4, 5),)))
    assert pair == Lengths(3, (2, 1))
    # 6 tokens, 3 of them predicted; keys seen: prompt 1+2+3, chosen 3+1 and 3+2, rejected 3+1
    expected = 6 * (1000 * 6 + 100 * 3) + 12 * 2 * 8 * (6 + 9 + 4)
    assert training_flops(shape, [pair]) == expected
    assert training_flops(shape, [pair, pair]) == 2 * expected
    frozen = Shape(blocks=1000, head=100, layers=2, attention_width=8, adapters=10)
    expected = 4 * (1000 * 6 + 100 * 3) + 6 * 10 * 6 + 12 * 2 * 8 * (6 + 9 + 4)
    assert training_flops(frozen, [pair]) == expected


def test_words_that_a_response_only_reads_are_not_predicted() -> None:
    pair = Lengths.of(Pair(0, (1, 2), (4, ~7, ~8, 5), (6,)))
    assert pair == Lengths(2, (4, 1), only_read=2)
    shape = Shape(blocks=1000, head=100, layers=0, attention_width=8)
    assert training_flops(shape, [pair]) == 6 * (1000 * 7 + 100 * 3)


def test_of_experts_those_count_that_a_token_is_sent_to() -> None:
    from transformers import AutoModelForCausalLM, MixtralConfig, Qwen2MoeConfig

    small = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "vocab_size": 40,
    }
    moe = {
        "num_experts": 6,
        "moe_intermediate_size": 8,
        "shared_expert_intermediate_size": 12,
        "num_experts_per_tok": 2,
    }
    mixtral: Any = MixtralConfig(**small, num_key_value_heads=1, num_local_experts=8, num_experts_per_tok=2)
    qwen: Any = Qwen2MoeConfig(**small, **moe, num_key_value_heads=1, decoder_sparse_step=1)
    for config, idle in (
        (mixtral, 2 * 6 * 3 * 16 * 24),
        (qwen, 2 * 4 * 3 * 16 * 8),
    ):  # layers x experts x three matrices
        with torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
        named = dict(model.named_parameters())
        whole = sum(each.numel() for each in named.values())
        experts = sum(each.numel() for name, each in named.items() if is_of_expert(name))
        shape = Shape.of(config, whole, experts=experts)
        assert shape is not None
        assert shape.blocks == whole - 2 * 40 * 16 - idle
    silent = SimpleNamespace(**small, tie_word_embeddings=False, num_experts=6)
    assert Shape.of(silent, whole, experts=experts) is None, "never a guess"


def test_the_shape_of_a_model_counts_what_is_multiplied(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(make_tiny_model(tmp_path / "m"))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    shape = Shape.of(model.config, parameters)
    assert shape is not None
    assert shape.head == model.lm_head.weight.numel()
    assert shape.blocks == parameters - model.lm_head.weight.numel() - model.model.embed_tokens.weight.numel()
    assert (shape.layers, shape.attention_width) == (2, 64)
    assert Shape.of(SimpleNamespace(vocab_size=5), 100) is None


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA GeForce RTX 5090", None),
        ("AMD Instinct MI300X", None),
    ],
)
def test_a_device_that_is_not_known_has_no_peak(name: str, peak: float | None) -> None:
    assert peak_of(name) == peak


def test_utilization_of_unknown_hardware_is_0_and_rates_are_of_the_time_since_the_last_reset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([10.0, 12.0, 13.0, 14.0])
    monkeypatch.setattr("selm_runtime.train.throughput.time", SimpleNamespace(monotonic=lambda: next(clock)))
    ranks = cast(Ranks, SimpleNamespace(device=torch.device("cpu"), size=2))
    meter = Meter(Shape(1000, 100, 2, 8), ranks, "BFloat16")
    meter.add([Lengths(3, (2, 1)), Lengths(1, (1,))])
    assert meter.rates(1.5) == {"tokensPerSecond": 4.0, "pairsPerSecond": 1.0, "mfu": 0.0, "memoryGiB": 1.5}
    meter.reset()
    assert meter.rates(1.5)["pairsPerSecond"] == 0.0


def test_utilization_is_of_all_ranks_together(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0])
    monkeypatch.setattr("selm_runtime.train.throughput.time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr("selm_runtime.train.throughput.peak_flops", lambda *_: 1e6)
    pair, shape = Lengths(3, (2, 1)), Shape(1000, 100, 2, 8)
    meter = Meter(shape, cast(Ranks, SimpleNamespace(device=torch.device("cpu"), size=4)), "BFloat16")
    meter.add([pair])
    assert meter.rates(0.0)["mfu"] == pytest.approx(training_flops(shape, [pair]) / 4e6)


class Recorder:
    def __init__(self, *, begins_empty: bool = False) -> None:
        self.begins_empty = begins_empty
        self.logged: list[tuple[int, Mapping[str, float]]] = []
        self.closed: bool | None = None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.logged.append((step, values))

    def close(self, *, done: bool) -> None:
        self.closed = done


class Broken(Recorder):
    def log(self, step: int, values: Mapping[str, float]) -> None:
        raise ConnectionError("no route")


def test_a_tracker_that_fails_keeps_neither_the_others_nor_training(caplog: pytest.LogCaptureFixture) -> None:
    good = Recorder()

    def away() -> Any:
        raise OSError("server away")

    places = Tracking([away, Broken, lambda: good])
    places.log(1, {"loss": 0.5})
    places.close(done=True)
    assert good.logged == [(1, {"loss": 0.5})]
    assert good.closed is True
    assert "server away" in caplog.text
    assert "no route" in caplog.text


def test_a_tracker_that_hangs_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SELM_TIME_SCALE", "0.002")
    monkeypatch.setattr(tracking, "MOST_WAITING", 3)
    release = threading.Event()

    def hang() -> Any:
        release.wait(60)
        return Recorder()

    places = Tracking([hang])
    for step in range(10):
        places.log(step, {})
    places.close(done=True)
    release.set()
    assert "did not take everything" in caplog.text
    assert "left out" in caplog.text


def test_event_files_reach_the_pods_folder_with_the_steps_of_earlier_attempts(tmp_path: Path) -> None:
    pod = Pod(FileStore(tmp_path / "store"), tmp_path, writer="w1", config=CONFIG)
    places = Tracking([], lambda: EventFiles(CONFIG, pod.folder, tmp_path / "scratch"))
    places.replay([{"loss": 0.75}])
    places.log(2, {"loss": 0.5})
    places.close(done=True)
    kept = tmp_path / "store" / pod.folder.place / "pod-w1" / "tensorboard"
    assert events(kept) == [(1, "train/loss", 0.75), (2, "train/loss", 0.5)]


def test_event_files_go_to_a_mounted_folder_where_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV_TENSORBOARD_LOGDIR, str(tmp_path / "volume"))
    pod = Pod(FileStore(tmp_path / "store"), tmp_path, writer="w1", config=CONFIG)
    places = Tracking([], lambda: EventFiles(CONFIG, pod.folder, tmp_path / "scratch"))
    places.log(1, {"loss": 0.5})
    places.close(done=True)
    assert events(tmp_path / "volume") == [(1, "train/loss", 0.5)]
    assert not list(pod.folder.store.list(pod.folder.place))
