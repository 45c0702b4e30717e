"""A run with all three suites through a cluster: tasks and data from the store, a judge whose key is in a Secret."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.chat_server import ChatServer, Messages
from support.e2e_runs import make_run
from support.lab import Json, Lab, condition, phase_status

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(1500)]

KEY = "sesame"
TASK = """\
task: colours
dataset_path: json
dataset_kwargs: {data_files: {test: colours.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
"""


def judge(messages: Messages) -> str:
    """A grade where one is asked for, else the first of the two outputs."""
    return "Rating: [[7]]" if "a grade from 1 to 10" in messages[-1]["content"] else "m"


@pytest.fixture(scope="module")
def server() -> Iterator[ChatServer]:
    with ChatServer(judge, key=KEY) as running:
        yield running


@pytest.fixture(scope="module")
def places(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The suites' data in the store."""
    folder: Path = tmp_path_factory.mktemp("suites")
    (folder / "tasks").mkdir()
    (folder / "tasks" / "colours.yaml").write_text(TASK)
    documents = [{"question": f"Colour {i}?", "choices": ["red", "green"], "answer": i % 2} for i in range(6)]
    (folder / "tasks" / "colours.jsonl").write_text("".join(json.dumps(each) + "\n" for each in documents))
    outputs = [{"instruction": f"Say {i}.", "output": "something"} for i in range(6)]
    (folder / "alpaca.json").write_text(json.dumps(outputs))
    questions = [{"question_id": i, "category": "writing", "turns": [f"Write {i}.", "More."]} for i in range(2)]
    (folder / "mt-bench.jsonl").write_text("".join(json.dumps(each) + "\n" for each in questions))
    return lab.upload(folder, f"inputs/{lab.namespace}/suites")


@pytest.fixture(scope="module")
def run(lab: Lab, inputs: dict[str, str], places: str, server: ChatServer) -> Json:
    lab.kubectl("create", "secret", "generic", "judge", f"--from-literal=token={KEY}")
    asked = {"endpoint": server.url, "model": "j", "apiKeySecretRef": {"name": "judge"}}
    lab.apply(
        make_run(
            "suites",
            inputs,
            training={"nodes": 1},
            schedule=[{"iteration": 1, "pairs": "Offline"}],
            evaluation={
                "selectBy": {"metric": "MTBench"},
                "lmEval": {"uri": f"{places}/tasks", "tasks": [{"name": "colours"}]},
                "alpacaEval": {"uri": f"{places}/alpaca.json", "maxTokens": 12, "judge": asked},
                "mtBench": {"uri": f"{places}/mt-bench.jsonl", "maxTokens": 12, "judge": asked},
            },
        )
    )
    return lab.succeeded("suites", 1200)


def test_each_suite_gives_its_figure_of_the_base_and_of_the_iteration(lab: Lab, run: Json) -> None:
    assert condition(run, "Succeeded")["status"] == "True"
    for iteration in (0, 1):
        shown = {each["name"]: each["value"] for each in phase_status(run, iteration, "Evaluation")["metrics"]}
        assert shown["mtBench"] == 7.0
        assert 0 <= shown["lmEval"] <= 1
        assert 0 < shown["alpacaEval"] < 1
        found = lab.manifest(run, iteration, "Evaluation")
        assert set(found["facts"]["suites"]) == {"lmEval", "alpacaEval", "mtBench"}
        names = {entry["name"] for entry in found["files"]}
        assert {f"suites/{suite}.json" for suite in ("lm-eval", "alpaca-eval", "mt-bench")} <= names
    assert run["status"]["bestIteration"] == 0  # as good as the base is not better


def test_one_engine_answers_the_held_out_prompts_and_the_suites(lab: Lab, run: Json) -> None:
    for iteration in (0, 1):
        stages = [record for record in lab.logs(f"suites-i{iteration}-eval-a1") if record["selm"] == "stage"]
        order = [stage["name"] for stage in stages]
        assert order.count("engine") == 1
        assert [stage["suite"] for stage in stages if stage["name"] == "answers"] == ["alpacaEval", "mtBench"]
        last = max(place for place, name in enumerate(order) if name == "answers")
        assert last < order.index("scores") < order.index("lm-eval") < order.index("alpaca-eval")


def test_the_data_was_brought_by_preparation_and_its_prompts_are_known(lab: Lab, run: Json) -> None:
    prepared = lab.manifest(run, 0, "Preparation")
    assert {name: its["overlap"] for name, its in prepared["facts"]["suites"].items()} == {
        "lmEval": 0,
        "alpacaEval": 0,
        "mtBench": 0,
    }
    assert KEY not in json.dumps(run)


def test_a_suite_cannot_be_taken_away_or_changed(lab: Lab, run: Json) -> None:
    said = lab.change_refused("suites", evaluation={"lmEval": None})
    assert "`evaluation.lmEval` can not be added or removed" in said
    said = lab.change_refused("suites", evaluation={"mtBench": {"maxTokens": 13}})
    assert "`evaluation.mtBench.maxTokens` is immutable" in said
