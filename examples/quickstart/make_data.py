"""Writes the quickstart's preference data: train.jsonl and test.jsonl beside this file.

UltraFeedback-binarized format: `prompt`, `chosen` and `rejected` as message lists, and a `topic` column for the
reward. The good responses are short, friendly and about the topic; the bad ones fail in one of several ways. Wording,
order and length vary, so that there is no single template to copy. The output is the same on every machine.

    python examples/quickstart/make_data.py
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from topics import TEST, TRAIN

FOLDER = Path(__file__).parent
TRAIN_ASKS = (
    "Tell me about {}.",
    "What is interesting about {}?",
    "Why do people like {}?",
    "Give me one fact about {}.",
    "What should I know about {}?",
    "Describe {} for a child.",
)
TEST_ASKS = (
    "Tell me something about {}.",
    "What is special about {}?",
    "Why should I care about {}?",
    "Explain {} to a friend.",
)
FRIENDLY = (
    "Happy to help: {fact}.",
    "Thank you for asking. {Fact}.",
    "{Fact}, and I hope you enjoy that.",
    "Good question, thank you! {Fact}.",
    "{Fact}. I hope this helps.",
    "Glad you ask: {fact}.",
    "{Fact}. Enjoy!",
    "I am happy to tell you that {fact}.",
)
RUDE = (
    "I do not know and I do not care.",
    "That is a silly thing to ask about.",
    "Look it up yourself.",
    "No.",
    "Who needs that? Ask me something else.",
)


def pick(options: Sequence[str], *key: object) -> str:
    """One of the options, decided by the key alone."""
    digest = hashlib.sha256(json.dumps(key).encode()).digest()
    return options[int.from_bytes(digest[:4], "big") % len(options)]


def lower_first(fact: str, topic: str) -> str:
    """The fact as the second half of a sentence."""
    return fact[0].lower() + fact[1:] if not fact.startswith("I ") else fact


def good(topic: str, facts: Sequence[str], ask: str) -> str:
    """Friendly, short, about the topic."""
    fact = pick(facts, "fact", topic, ask)
    return pick(FRIENDLY, "friendly", topic, ask).format(Fact=fact, fact=lower_first(fact, topic))


def bad(topic: str, facts: Sequence[str], others: Sequence[str], ask: str) -> str:
    """Fails in one way: rude, about something else, endless, repeating itself, or careless."""
    fact = pick(facts, "bad fact", topic, ask)
    other = pick(others, "other", topic, ask)
    third = pick(others, "third", topic, ask)
    ways = (
        pick(RUDE, "rude", topic, ask),
        f"{other}. {third}.",
        f"Well, there is a lot to say here, and first of all {lower_first(fact, topic)}, and then again "
        f"{lower_first(other, topic)}, and besides one could add that {lower_first(third, topic)}, and so on, and",
        f"{fact}. {fact}. {fact}.",
        f"{topic} {topic} {topic}, what else",
        f"1. {other}\n2. {third}\n3. {fact}\n4.",
    )
    return pick(ways, "way", topic, ask)


def rows(topics: dict[str, tuple[str, str, str]], asks: Sequence[str]) -> list[dict[str, object]]:
    """Every topic with every question, in an order that mixes the topics."""
    made: list[tuple[str, dict[str, object]]] = []
    for topic, facts in topics.items():
        others = [fact for other, its in topics.items() if other != topic for fact in its]
        for ask in asks:
            question = {"role": "user", "content": ask.format(topic)}
            made.append(
                (
                    hashlib.sha256(json.dumps([topic, ask]).encode()).hexdigest(),
                    {
                        "prompt": question["content"],
                        "chosen": [question, {"role": "assistant", "content": good(topic, facts, ask)}],
                        "rejected": [question, {"role": "assistant", "content": bad(topic, facts, others, ask)}],
                        "topic": topic,
                    },
                )
            )
    return [row for _, row in sorted(made, key=lambda item: item[0])]


def write(path: Path, made: Sequence[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made))


if __name__ == "__main__":
    write(FOLDER / "train.jsonl", rows(TRAIN, TRAIN_ASKS))
    write(FOLDER / "test.jsonl", rows(TEST, TEST_ASKS))
