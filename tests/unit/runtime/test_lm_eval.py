"""Tasks of lm-evaluation-harness on a tiny model: figures against plain computations, what Preparation refuses."""

from __future__ import annotations

import functools
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from selm_runtime import prepare
from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.contract import LMEvalConfig, Phase
from selm_runtime.errors import InvalidInput, TemporaryFailure
from selm_runtime.evaluate import run
from selm_runtime.evaluate.selection import Standing, best_iteration
from selm_runtime.evaluate.suites.lm_eval import check_tasks, mean_figure, run_tasks
from selm_runtime.evaluate.suites.lm_eval_process import asked_texts
from selm_runtime.phase import StopFlag, open_context
from selm_runtime.reporting import Reporter
from support.phase_configs import phase_config
from support.phase_world import PhaseWorld
from support.suite_world import suite_world
from support.tiny_model import make_prefs, make_tiny_model, preference_rows

CHOICE = """\
task: colours
dataset_path: json
dataset_kwargs: {data_files: {test: data/colours.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
"""
OPEN = """\
task: echoes
dataset_path: json
dataset_kwargs: {data_files: {test: data/echoes.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 4, do_sample: false}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""
PERPLEXITY = """\
task: prose
dataset_path: json
dataset_kwargs: {data_files: {test: data/echoes.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{question}}"
metric_list:
  - {metric: word_perplexity, aggregation: weighted_perplexity, higher_is_better: false}
"""
COLOURS = [
    {"question": f"What colour is {thing}?", "choices": ["red", "green", "blue and white"], "answer": i % 3}
    for i, thing in enumerate(("grass", "the sky", "blood", "a leaf", "snow", "a rose", "the sea"))
]
ECHOES = [{"question": f"Say {word}:", "answer": word} for word in ("a", "b", "c")]


def make_tasks(folder: Path, **more: str) -> Path:
    """Three tasks with their data; `more` are further YAML files by name."""
    (folder / "data").mkdir(parents=True)
    for name, text in {"colours": CHOICE, "echoes": OPEN, "prose": PERPLEXITY, **more}.items():
        (folder / f"{name}.yaml").write_text(text)
    for name, rows in (("colours", COLOURS), ("echoes", ECHOES)):
        (folder / "data" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def config(*tasks: str | dict[str, str], **more: Any) -> LMEvalConfig:
    named = [{"name": task} if isinstance(task, str) else task for task in tasks]
    return LMEvalConfig.model_validate({"uri": "s3://b/tasks", "tasks": named, **more})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"), 5)


@functools.cache
def loaded(model: Path) -> tuple[Any, Any]:
    """Tokenizer and network, in float64."""
    return AutoTokenizer.from_pretrained(model), AutoModelForCausalLM.from_pretrained(model, dtype=torch.float64).eval()


def choice_log_prob(model: Path, prompt: str, choice: str) -> float:
    """log p(choice | prompt) by transformers alone, in float64."""
    tokenizer, network = loaded(model)
    before = tokenizer(prompt)["input_ids"]
    after = tokenizer(choice, add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        logits = network(torch.tensor([[*before, *after]])).logits[0, len(before) - 1 : -1]
    return float(torch.log_softmax(logits, -1).gather(1, torch.tensor(after)[:, None]).sum())


def test_figures_are_those_of_a_plain_computation(model: Path, tmp_path: Path) -> None:
    """Two kinds of task at once; the choice is the one with the highest log-prob, by characters for acc_norm."""
    folder = make_tasks(tmp_path / "tasks")
    wanted = config({"name": "colours", "metric": "acc_norm"}, "echoes", batchSize=3)
    found = run_tasks(
        wanted, model, folder, tmp_path, StopFlag(), device="cpu", dtype="float32", trust_remote_code=False
    )
    right: dict[str, list[bool]] = {"acc": [], "acc_norm": []}
    for row in COLOURS:
        sums = [choice_log_prob(model, str(row["question"]), f" {choice}") for choice in row["choices"]]  # type: ignore[attr-defined]
        lengths = [len(choice) for choice in row["choices"]]  # type: ignore[attr-defined]
        right["acc"].append(max(range(3), key=lambda i: sums[i]) == row["answer"])
        right["acc_norm"].append(max(range(3), key=lambda i: sums[i] / lengths[i]) == row["answer"])
    share = {name: sum(its) / len(its) for name, its in right.items()}
    colours = found["colours"]
    assert colours["figures"]["acc,none"] == pytest.approx(share["acc"])
    assert (colours["metric"], colours["filter"]) == ("acc_norm", "none")
    assert colours["value"] == pytest.approx(share["acc_norm"])
    p, n = share["acc_norm"], len(COLOURS)
    assert colours["stderr"] == pytest.approx(math.sqrt(p * (1 - p) / (n - 1)))
    assert (colours["documents"], found["echoes"]["documents"]) == (7, 3)
    assert found["echoes"]["value"] == pytest.approx(greedy_matches(model))
    assert mean_figure(found) == pytest.approx((colours["value"] + found["echoes"]["value"]) / 2)


def greedy_matches(model: Path) -> float:
    """The share of answers that greedy decoding gives, cut at the first line's end."""
    tokenizer, network = loaded(model)
    hits = 0
    for row in ECHOES:
        ids = torch.tensor([tokenizer(row["question"])["input_ids"]])
        with torch.inference_mode():
            made = network.generate(ids, max_new_tokens=4, do_sample=False)[0, ids.shape[1] :]
        hits += tokenizer.decode(made, skip_special_tokens=True).split("\n")[0] == row["answer"]
    return hits / len(ECHOES)


def test_what_a_check_says_of_tasks(tmp_path: Path) -> None:
    folder = make_tasks(tmp_path / "tasks")
    found = check_tasks(config("colours", "echoes", limit=2), folder, tmp_path, StopFlag())
    assert found["colours"] == {
        "metric": "acc",
        "documents": 2,
        "prompts": [row["question"] for row in COLOURS[:2]],
    }
    assert found["echoes"]["metric"] == "exact_match"


ASKED: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    # a document, what the task makes of it, and what training leaves out
    "the field alone": ({"q": "What is rain?", "a": "Water."}, "What is rain?", ["What is rain?"]),
    "the field with words around it": (
        {"q": " What  is rain?", "a": "Water.", "id": "r-1"},
        "Question: what is rain?\nAnswer:",
        ["Question: what is rain?\nAnswer:", " What  is rain?"],
    ),
    "a passage, and a question about it": (
        {"passage": "Rain falls.", "question": "does rain fall"},
        "Rain falls.\nQuestion: does rain fall?\nAnswer:",
        ["Rain falls.\nQuestion: does rain fall?\nAnswer:", "Rain falls.", "does rain fall"],
    ),
    "a field of a field, and choices": (
        {"question": {"stem": "Pick one:", "choices": ["red", "blue"]}, "key": "C"},
        "Pick one:\nA. red\nB. blue\nAnswer:",
        ["Pick one:\nA. red\nB. blue\nAnswer:", "Pick one:"],
    ),
    "no prompt": ({"text": "All of it.", "empty": " "}, "", ["All of it."]),
}


@pytest.mark.parametrize("what", ASKED)
def test_a_documents_own_texts_are_what_it_asks(what: str) -> None:
    document, asked, texts = ASKED[what]
    assert asked_texts(document, asked) == texts


REFUSED: dict[str, tuple[list[Any], dict[str, str], str]] = {
    # what is asked of which further files, and what is said
    "a task that is not there": (["shapes"], {}, r"found 'shapes'; the folder's tasks are colours, echoes, prose"),
    "a metric that the task has not": (
        [{"name": "colours", "metric": "f1"}],
        {},
        r"found the metric 'f1'; allowed are those where higher is better: acc, acc_norm",
    ),
    "a metric where lower is better": (["prose"], {}, r"found the metric 'word_perplexity'; .*it has none"),
    "data that is not there": (
        ["lost"],
        {"lost": CHOICE.replace("colours", "lost")},
        r"task 'lost' cannot be loaded: .*lost\.jsonl",
    ),
    "data of the hub": (
        ["far"],
        {"far": CHOICE.replace("task: colours", "task: far").replace("dataset_path: json", "dataset_path: org/far")},
        r"task 'far' cannot be loaded",
    ),
    "a column that is not there": (
        ["odd"],
        {"odd": CHOICE.replace("task: colours", "task: odd").replace("{{question}}", "{{riddle.text}}")},
        r"task 'odd'.*riddle",
    ),
    "code that is not trusted": (
        ["coded"],
        {"coded": CHOICE.replace("task: colours", "task: coded") + "process_docs: !function own.keep\n"},
        r"needs spec\.evaluation\.lmEval\.trustRemoteCode: true",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_before_a_gpu_is_asked_for(what: str, tmp_path: Path) -> None:
    tasks, files, message = REFUSED[what]
    folder = make_tasks(tmp_path / "tasks", **files)
    with pytest.raises(InvalidInput, match=rf"spec\.evaluation\.lmEval\.tasks: .*{message}"):
        check_tasks(config(*tasks), folder, tmp_path, StopFlag())


def test_tasks_own_code_runs_without_the_pods_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("SELM_JUDGE_KEY_A", "hush")
    yaml = CHOICE.replace("task: colours", "task: coded") + "process_docs: !function own.keep\n"
    folder = make_tasks(tmp_path / "tasks", coded=yaml)
    (folder / "own.py").write_text(
        "import os\n\n\ndef keep(docs):\n"
        "    assert not any('hush' in value for value in os.environ.values())\n"
        "    return docs.select([1, 2])\n"
    )
    found = check_tasks(config("coded", trustRemoteCode=True), folder, tmp_path, StopFlag())
    assert found["coded"]["prompts"] == [row["question"] for row in COLOURS[1:3]]


def test_a_pod_that_is_to_end_takes_the_harness_with_it(tmp_path: Path) -> None:
    stop = StopFlag()
    stop.request()
    with pytest.raises(TemporaryFailure):
        check_tasks(config("colours"), make_tasks(tmp_path / "tasks"), tmp_path, stop)
    assert not (tmp_path / "lm-eval-check" / "answer.json").exists()


# Preparation and Evaluation


def prepared(root: Path, model: Path, worded: str | None = None, **lm_eval: Any) -> Manifest:
    """A Preparation with tasks beside it; the data's first prompt is one that a task asks, too."""
    make_tasks(root / "tasks", **({} if worded is None else {"worded": worded}))
    (root / "tasks" / "notes.md").write_text("not part of a task")
    make_prefs(root / "data" / "train.jsonl", 40)
    path = root / "data" / "train.jsonl"
    lines = path.read_text().splitlines()
    lines[0] = lines[0].replace(json.loads(lines[0])["prompt"], "what colour  is GRASS?")
    path.write_text("\n".join(lines) + "\n")
    suite = {"uri": f"file://{root}/tasks", "tasks": [{"name": "colours"}], **lm_eval}
    settings = phase_config(
        artifacts={"uri": f"file://{root}/store"},
        model={"uri": f"file://{model}"},
        data={"uri": f"file://{root}/data"},
        evaluation={"lmEval": suite},
    )
    with open_context(settings, 0, Reporter(Phase.PREPARATION, 0, 0, stream=io.StringIO())) as ctx:
        prepare.run(ctx)
        manifest = ctx.folder.committed()
    assert manifest is not None
    return manifest


def test_preparation_brings_tasks_and_leaves_their_prompts_out_of_training(tmp_path: Path, model: Path) -> None:
    manifest = prepared(tmp_path, model)
    assert [entry.name for entry in manifest.under("suites/")] == [
        "suites/lm-eval/colours.yaml",
        "suites/lm-eval/data/colours.jsonl",
        "suites/lm-eval/data/echoes.jsonl",
        "suites/lm-eval/echoes.yaml",
        "suites/lm-eval/prose.yaml",
    ]
    facts = manifest.facts["suites"]["lmEval"]
    assert facts["tasks"] == {"colours": {"metric": "acc", "documents": 7}}
    assert facts["pinned"].startswith("sha256:")
    assert (facts["overlap"], manifest.metrics["evaluationOverlap"], manifest.rows) == (1, 1, 35)


def test_a_prompt_is_found_where_the_task_puts_words_around_it(tmp_path: Path, model: Path) -> None:
    worded = CHOICE.replace("task: colours", "task: worded").replace(
        '"{{question}}"', r'"Question: {{question}}\nAnswer:"'
    )
    manifest = prepared(tmp_path, model, tasks=[{"name": "worded"}], worded=worded)
    assert manifest.facts["suites"]["lmEval"]["overlap"] == 1


def test_a_folder_without_tasks_is_refused(tmp_path: Path, model: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "readme.md").write_text("nothing")
    with pytest.raises(InvalidInput, match=r"spec\.evaluation\.lmEval\.uri: found readme\.md"):
        prepared(tmp_path, model, uri=f"file://{tmp_path}/empty")


def evaluated(world: PhaseWorld, iteration: int = 0, **settings: Mapping[str, Any]) -> Manifest:
    with world.context(Phase.EVALUATION, iteration, **settings) as ctx:
        run(ctx)
        manifest = ctx.folder.committed()
    return world.record(manifest)


class Killed(BaseException):
    """Ends an attempt where it stands."""


def killed(*_: Any, **__: Any) -> None:
    raise Killed


def test_evaluation_commits_the_figures(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the base, from what Preparation brought; the suite selects. An attempt that ends after it costs no second run of it."""
    suite = {"uri": f"file://{tmp_path}/tasks", "tasks": [{"name": "colours"}]}
    settings = {"lmEval": suite, "selectBy": {"metric": "LMEval"}}
    world = suite_world(tmp_path, monkeypatch, evaluation=settings)
    extra = {
        f"suites/lm-eval/{path.relative_to(tmp_path / 'tasks')}": path
        for path in make_tasks(tmp_path / "tasks").rglob("*")
        if path.is_file()
    }
    world.prepare(model, preference_rows(9), preference_rows(4, seed=1), files=extra)
    with monkeypatch.context() as dying:
        dying.setattr("selm_runtime.evaluate.phase.remove_models", killed)
        with pytest.raises(Killed):
            evaluated(world)
    monkeypatch.setattr("selm_runtime.evaluate.suites.run_tasks", killed)
    base = evaluated(world)
    figure = base.facts["suites"]["lmEval"]
    assert base.metrics["lmEval"] == figure["mean"] == figure["tasks"]["colours"]["value"]
    assert figure["tasks"]["colours"]["documents"] == 7
    assert base.facts["standing"]["suite"] == base.metrics["lmEval"]
    assert list(base.metrics).index("lmEval") < 16  # a status has room for so many
    with world.context(Phase.EVALUATION, 0) as ctx:
        kept = ctx.folder.fetch(base, "suites/", ctx.scratch / "kept") / "lm-eval.json"
        assert json.loads(kept.read_text())["colours"]["figures"]["acc,none"] == base.metrics["lmEval"]


def test_without_suites_an_evaluation_is_what_it_was(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = suite_world(tmp_path, monkeypatch)
    world.prepare(model, preference_rows(9), preference_rows(4, seed=1))
    base = evaluated(world)
    assert "suites" not in base.facts
    assert "suite" not in base.facts["standing"]
    assert not base.under("suites/")


def test_the_best_by_a_suite() -> None:
    from selm_runtime.contract import SelectByConfig

    by = SelectByConfig(metric="LMEval")
    standings = [Standing(t, 10, 0.0, suite=suite) for t, suite in enumerate((0.4, 0.3, 0.6, 0.6))]
    assert best_iteration(standings, by) == 2
    assert best_iteration(standings[:2], by) == 0
    assert Standing(**standings[2].as_facts()) == standings[2]
