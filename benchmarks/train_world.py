"""What all contenders of the training benchmark share: model, tokenizer, pairs, settings, clock.

Lengths are those of UltraFeedback under a Llama-type tokenizer, as lognormals: prompt median 129 (cut at 512), chosen
249, rejected 240, explored 280, responses of a pair correlated by 0.5, rows cut at 1,024. Draws come in mirrored
halves, so that few pairs have the population's mean. Token ids are uniform: what they say costs nothing.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

MAX_LENGTH = 1024
MAX_PROMPT_LENGTH = 512
EOS, UNK = 0, 1
MIDDLE = 1 / 3
"""Share of pairs whose explored response ranks between chosen and rejected; in the others it is one of the two."""

PRESETS: dict[str, dict[str, int | bool]] = {
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 512,
        "tie_word_embeddings": True,
    },
    "30m": {
        "hidden_size": 384,
        "intermediate_size": 1024,
        "num_hidden_layers": 11,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "vocab_size": 32_768,
        "tie_word_embeddings": True,
    },
    "135m": {  # the shape of SmolLM2-135M
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49_152,
        "tie_word_embeddings": True,
    },
    "1b": {  # the shape of Llama-3.2-1B
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128_256,
        "tie_word_embeddings": True,
    },
}


@dataclass(frozen=True)
class Settings:
    """Equal for every contender; written beside the model, read by each contender's process."""

    preset: str = "30m"
    pairs: int = 48
    batch_size: int = 8
    max_tokens_per_micro_batch: int = 1024
    seed: int = 7
    threads: int = 1
    device: str = "cpu"
    bf16: bool = False
    learning_rate: float = 5e-7
    beta: float = 0.01
    alpha: float = 1e-3
    max_grad_norm: float = 1.0
    zero_stage: int = 3
    """Ours alone: the others have no parts of a state to hold."""
    compile: bool = False
    """Ours alone."""

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.bf16 else torch.float32

    def write(self, work: Path) -> None:
        (work / "settings.json").write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, work: Path) -> Settings:
        return cls(**json.loads((work / "settings.json").read_text()))


@dataclass(frozen=True)
class BenchPair:
    """One prompt and its responses as token ids; responses end with EOS."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    explored: list[int]

    @property
    def distinct_tokens(self) -> int:
        """What has to be run for DPO: the prompt once, and two responses."""
        return len(self.prompt) + len(self.chosen) + len(self.rejected)


@dataclass
class Measured:
    """A contender's own account of its run, printed as one line of JSON."""

    name: str
    pairs: int
    reference_seconds: float = 0.0
    step_seconds: float = 0.0
    reference_cpu_seconds: float = 0.0
    step_cpu_seconds: float = 0.0
    peak_bytes: int = 0
    losses: list[float] = field(default_factory=list)
    notes: str = ""

    @contextmanager
    def clock(self, part: str) -> Iterator[None]:
        """Add wall and processor seconds of the block to `part` (`reference` or `step`)."""
        wall, cpu = now()
        yield
        self.add(part, wall, cpu)

    def add(self, part: str, wall: float, cpu: float) -> None:
        """Add what has passed since (`wall`, `cpu`)."""
        wall_now, cpu_now = now()
        setattr(self, f"{part}_seconds", getattr(self, f"{part}_seconds") + wall_now - wall)
        setattr(self, f"{part}_cpu_seconds", getattr(self, f"{part}_cpu_seconds") + cpu_now - cpu)

    def print(self) -> None:
        self.peak_bytes = self.peak_bytes or peak_bytes()
        print(json.dumps(asdict(self)), flush=True)


def now() -> tuple[float, float]:
    """Wall and processor seconds (all threads of this process); the device has finished what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def peak_bytes() -> int:
    """The most memory that this process held: the GPU's as allocated, else resident (VmHWM, not inherited by exec)."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def make_pairs(settings: Settings) -> list[BenchPair]:
    """The pairs of one benchmark, from the seed."""
    chance = random.Random(settings.seed)
    vocabulary = int(PRESETS[settings.preset]["vocab_size"])
    draws = [[chance.gauss(0, 1) for _ in range(5)] for _ in range(settings.pairs // 2)]
    pairs = []
    for index, (prompt_z, shared, *own) in enumerate([*draws, *[[-z for z in draw] for draw in draws]]):
        prompt = min(MAX_PROMPT_LENGTH, length(129, 0.78, prompt_z))

        def response(median: float, sigma: float, z: float, shared: float = shared, prompt: int = prompt) -> list[int]:
            tokens = length(median, sigma, math.sqrt(0.5) * (shared + z))
            return [chance.randrange(2, vocabulary) for _ in range(min(tokens, MAX_LENGTH - prompt) - 1)] + [EOS]

        chosen, rejected, explored = (
            response(median, sigma, z)
            for (median, sigma), z in zip([(249, 0.64), (240, 0.62), (280, 0.58)], own, strict=True)
        )
        place = (index * 0.618034) % 1.0  # spread evenly over the pairs
        explored = explored if place < MIDDLE else chosen if place < (1 + MIDDLE) / 2 else rejected
        pairs.append(BenchPair([chance.randrange(2, vocabulary) for _ in range(prompt)], chosen, rejected, explored))
    chance.shuffle(pairs)
    return pairs


def length(median: float, sigma: float, z: float) -> int:
    """A lognormal length at the normal deviate `z`, at least 2 tokens."""
    return max(2, round(median * math.exp(sigma * z)))


def make_model(settings: Settings, folder: Path) -> None:
    """A Llama-type model with random weights, and a tokenizer in which the text "t17 t4" is the ids 17, 4."""
    torch.manual_seed(settings.seed)
    shape = PRESETS[settings.preset]
    config = LlamaConfig(**shape, max_position_embeddings=2048, bos_token_id=None, eos_token_id=EOS, pad_token_id=EOS)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(folder)
    vocabulary = {"</s>": EOS, "<unk>": UNK} | {f"t{i}": i for i in range(2, int(shape["vocab_size"]))}
    tokenizer = Tokenizer(models.WordLevel(vocab=vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["</s>"])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="</s>",
        clean_up_tokenization_spaces=False,
    ).save_pretrained(folder)


def text(ids: list[int]) -> str:
    """Ids as the tokenizer's words, EOS left out: whoever tokenises adds it."""
    return " ".join(f"t{i}" for i in ids if i != EOS)


def prepare(settings: Settings, work: Path) -> None:
    """Write model, tokenizer, pairs and settings into `work`."""
    settings.write(work)
    make_model(settings, work / "model")
    (work / "pairs.json").write_text(json.dumps([asdict(pair) for pair in make_pairs(settings)]))


def read_pairs(work: Path) -> list[BenchPair]:
    return [BenchPair(**pair) for pair in json.loads((work / "pairs.json").read_text())]


def set_up(work: Path) -> Settings:
    """Threads and device of a contender's process."""
    settings = Settings.read(work)
    torch.set_num_threads(settings.threads)
    if settings.device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
    return settings


def body_and_head(work: Path) -> tuple[int, int]:
    """Parameters of the decoder's matrices, and of the output head."""
    config = AutoConfig.from_pretrained(work / "model")
    hidden, kv = config.hidden_size, config.num_key_value_heads * config.head_dim
    layer = 2 * hidden * hidden + 2 * hidden * kv + 3 * hidden * config.intermediate_size
    return config.num_hidden_layers * layer, hidden * config.vocab_size
