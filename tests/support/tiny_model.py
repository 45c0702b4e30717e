"""Models and data that tests make in seconds from a seed: Llama-type, with a tokenizer of their own.

make_tiny_model(path, seed)            a causal language model in Hugging Face layout, loadable by vLLM
make_tiny_reward_model(path, seed)     sequence classification with one label, same tokenizer
make_prefs(path, rows, seed)           preference rows as JSONL in the UltraFeedback-binarized format
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>")
MAX_POSITIONS = 512
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

_TOPICS = ("rain", "bread", "trains", "stars", "cats", "tea", "maps", "music", "rivers", "chess")
_ASKS = ("Tell me about {}.", "Why do people like {}?", "Give me one fact about {}.", "Describe {} briefly.")


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level, 262 tokens: the special ones, then one a byte. The tokenizer itself adds a BOS, as Llama's does."""
    vocabulary = {token: index for index, token in enumerate(SPECIAL_TOKENS)}
    for character in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[character] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", vocabulary["<s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        model_max_length=MAX_POSITIONS,
        chat_template=CHAT_TEMPLATE,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )


def _config(tokenizer: PreTrainedTokenizerFast, **more: object) -> LlamaConfig:
    settings: dict[str, object] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": MAX_POSITIONS,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "initializer_range": 0.2,  # wide enough that seeds differ in what they generate
        "dtype": "float32",
    }
    return LlamaConfig(**{**settings, **more})


def make_tiny_model(path: Path | str, seed: int = 0, **sizes: int) -> Path:
    """Write a causal language model (hidden 64, 2 layers, float32, or other `sizes`) with its tokenizer."""
    import torch

    folder, tokenizer = Path(path), make_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(_config(tokenizer, **sizes))
    model.to(torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_tiny_reward_model(path: Path | str, seed: int = 0, labels: tuple[str, ...] = ("LABEL_0",)) -> Path:
    """Write a sequence-classification model, with one label (a scalar reward) unless told; returns the folder."""
    import torch

    folder, tokenizer = Path(path), make_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForSequenceClassification(_config(tokenizer, id2label=dict(enumerate(labels))))
    model.to(torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def preference_rows(rows: int, seed: int = 0) -> list[dict[str, object]]:
    """UltraFeedback-binarized rows: prompt, and chosen and rejected as message lists; one scalar column `topic`."""
    chance = random.Random(seed)
    made = []
    for index in range(rows):
        topic = chance.choice(_TOPICS)
        prompt = f"{chance.choice(_ASKS).format(topic)} ({index})"
        ask = {"role": "user", "content": prompt}
        good = f"Thank you for asking about {topic}."
        bad = " ".join(chance.choice(_TOPICS) for _ in range(6))
        made.append(
            {
                "prompt": prompt,
                "chosen": [ask, {"role": "assistant", "content": good}],
                "rejected": [ask, {"role": "assistant", "content": bad}],
                "topic": topic,
            }
        )
    return made


def make_prefs(path: Path | str, rows: int, seed: int = 0) -> Path:
    """Write `preference_rows` as JSONL; returns the file."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in preference_rows(rows, seed)))
    return file
