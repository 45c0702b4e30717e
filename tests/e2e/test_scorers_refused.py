"""Scorers that cannot be: each ends with a condition that names the field, before anything is trained."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.chat_server import ChatServer, Messages
from support.e2e_runs import make_run
from support.lab import Json, Lab, condition
from support.tiny_model import make_tiny_reward_model

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

KEY = "sesame"
EASY = ("What is 2 + 2?", "Name a colour.", "Say hello.")
AWAY = "judge-away"


def nonsense(messages: Messages) -> str:
    return "As a language model I like both."


def sane_about_easy_questions(messages: Messages) -> str:
    """A verdict on what Preparation tries a judge with, and on nothing else."""
    asked = messages[-1]["content"]
    return "[[A]]" if any(question in asked for question in EASY) else nonsense(messages)


@pytest.fixture(scope="module")
def babbler() -> Iterator[ChatServer]:
    with ChatServer(nonsense, key=KEY) as server:
        yield server


@pytest.fixture(scope="module")
def places(
    lab: Lab, inputs: dict[str, str], babbler: ChatServer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """What cases name by a word in capitals, and the run that takes longest on its way."""
    folder: Path = tmp_path_factory.mktemp("refused")
    make_tiny_reward_model(folder / "two-labels", labels=("help", "truth"))
    several = lab.upload(folder / "two-labels", f"inputs/{lab.namespace}/two-labels")
    lab.kubectl("create", "secret", "generic", "right-key", f"--from-literal=token={KEY}")
    lab.kubectl("create", "secret", "generic", "wrong-key", "--from-literal=token=mellon")
    nobody = f"http://127.0.0.1:{unused_port()}/v1"
    judge = {"name": "j", "judge": {"endpoint": nobody, "model": "m"}}
    lab.apply(make_scored(AWAY, inputs, judge, retry={"temporaryDeadlineSeconds": 1}))
    return {"SEVERAL": several, "SCALAR": inputs["reward"], "POLICY": inputs["model"], "BABBLER": babbler.url} | {
        "NOBODY": nobody
    }


RULES: Json = {"name": "rules", "rules": [{"type": "Length", "target": 4}]}
BABBLING = {"endpoint": "BABBLER", "model": "m"}
REFUSED: list[tuple[str, Json, tuple[str, ...]]] = [
    (
        "two-outputs",
        {"rewardModel": {"uri": "SEVERAL"}},
        ("spec.scoring.scorers[1].rewardModel.objectives", "2 outputs", "help, truth"),
    ),
    (
        "no-such-output",
        {"rewardModel": {"uri": "SEVERAL", "objectives": [{"label": "charm", "weight": 1}]}},
        ("spec.scoring.scorers[1].rewardModel.objectives[0].label", "charm", "help, truth"),
    ),
    (
        "scalar-as-ranker",
        {"pairRM": {"uri": "SCALAR"}},
        ("spec.scoring.scorers[1].pairRM.uri", "LlamaForSequenceClassification", "rewardModel"),
    ),
    (
        "judge-key-wrong",
        {"judge": {**BABBLING, "apiKeySecretRef": {"name": "wrong-key"}}},
        ("spec.scoring.scorers[1].judge.apiKeySecretRef", "401"),
    ),
    (
        "judge-nonsense",
        {"judge": {**BABBLING, "apiKeySecretRef": {"name": "right-key"}}},
        ("spec.scoring.scorers[1].judge", "verdict", "I like both"),
    ),
]


@pytest.mark.parametrize(("name", "scorer", "words"), REFUSED, ids=[case[0] for case in REFUSED])
def test_preparation_refuses_the_scorer(
    lab: Lab, inputs: dict[str, str], places: dict[str, str], name: str, scorer: Json, words: tuple[str, ...]
) -> None:
    text = json.dumps({"name": "s", **scorer})
    for word, place in places.items():
        text = text.replace(json.dumps(word), json.dumps(place))
    lab.apply(make_scored(name, inputs, json.loads(text)))
    found = lab.in_condition(name, "Succeeded", "False", "InvalidInput", 120)
    assert [word for word in words if word not in found["message"]] == [], found["message"]
    run = lab.run(name)
    assert condition(run, "Stalled")["status"] == "True"
    assert KEY not in json.dumps(run)
    assert list(lab.jobs(run)) == [f"{name}-i0-prep-a1"]


def test_an_endpoint_that_does_not_answer_is_waited_for_then_stalls_the_run(
    lab: Lab, inputs: dict[str, str], places: dict[str, str]
) -> None:
    found = lab.in_condition(AWAY, "Stalled", "True", "TemporaryDeadlineExceeded", 400)
    assert "spec.scoring.scorers[1].judge.endpoint" in found["message"]
    assert places["NOBODY"] in found["message"]
    run = lab.run(AWAY)
    assert condition(run, "Succeeded")["status"] == "Unknown"
    assert "countedFailures" not in run["status"]["current"]
    assert all(job.startswith(f"{AWAY}-i0-prep-") for job in lab.jobs(run))
    lab.delete_run(AWAY)


@pytest.mark.long
def test_a_judge_that_turns_to_nonsense_ends_scoring_and_nothing_is_trained(lab: Lab, inputs: dict[str, str]) -> None:
    with ChatServer(sane_about_easy_questions) as server:
        judge = {"name": "j", "judge": {"endpoint": server.url, "model": "m"}}
        lab.apply(make_scored("judge-turns", inputs, judge))
        found = lab.in_condition("judge-turns", "Succeeded", "False", "InvalidInput", 600)
    assert "spec.scoring.scorers[1].judge: none of" in found["message"]
    assert "I like both" in found["message"]
    jobs = lab.jobs(lab.run("judge-turns"))
    assert "judge-turns-i1-score-a1" in jobs
    assert not [job for job in jobs if "-train-" in job]


def make_scored(name: str, inputs: dict[str, str], scorer: Json, **changes: Json) -> Json:
    """A run with a scorer beside rules, which choose the best iteration."""
    chosen = {"selectBy": {"scorer": RULES["name"]}}
    return make_run(name, inputs, scoring={"scorers": [RULES, scorer]}, evaluation=chosen, **changes)


def unused_port() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
