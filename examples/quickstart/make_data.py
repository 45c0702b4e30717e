"""Writes the quickstart's preference data: train.jsonl and test.jsonl beside this file.

UltraFeedback-binarized format: `prompt`, `chosen` and `rejected` as message lists, and a `topic` column for the
reward. The good responses are short, friendly and about the topic; the bad ones go on and on, in one of several ways.
Wording, order and length vary, so that there is no single template to copy. The output is the same on every machine.

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
DRONES = (
    "The subject of {topic} has fascinated people for centuries and plays an important role in many different cultures around the world.",
    "When it comes to {topic}, there are many different factors to consider, and each of them is important in its own way.",
    "A unique and complex subject with a rich history, {topic} can be seen from many different perspectives and angles.",
    "It is important to note that {topic} can vary greatly, depending on the context and on a wide range of other things.",
    "In conclusion, the world of {topic} is a testament to the power of the human spirit, and there is always more to explore.",
)


def pick(options: Sequence[str], *key: object) -> str:
    """One of the options, decided by the key alone."""
    digest = hashlib.sha256(json.dumps(key).encode()).digest()
    return options[int.from_bytes(digest[:4], "big") % len(options)]


def lower_first(fact: str) -> str:
    """The fact as the second half of a sentence."""
    return fact[0].lower() + fact[1:]


def good(topic: str, facts: Sequence[str], ask: str) -> str:
    """Friendly, short, about the topic."""
    fact = pick(facts, "fact", topic, ask)
    return pick(FRIENDLY, "friendly", topic, ask).format(Fact=fact, fact=lower_first(fact))


def bad(topic: str, facts: Sequence[str], others: Sequence[str], ask: str) -> str:
    """Fails in one way, and does not know when to stop: droning, wandering off, repeating itself, never ending."""
    fact = pick(facts, "bad fact", topic, ask)
    other = pick(others, "other", topic, ask)
    third = pick(others, "third", topic, ask)
    drone, second = (pick(DRONES, key, topic, ask).format(topic=topic) for key in ("drone", "second drone"))
    ways = (
        f"{drone} {second}",
        f"{good(topic, facts, ask)} {drone} They are also known for",
        f"{fact}. {drone} {other}, and",
        f"Well, first of all {lower_first(fact)}, and then again {lower_first(other)}, and besides one could add that "
        f"{lower_first(third)}, and so on, and",
        f"{fact}. {fact}. {fact}. {fact}.",
        f"{other}. {third}. {second}",
        f"Here are some points:\n\n1. {other}.\n2. {third}.\n3. {fact}.\n4.",
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
