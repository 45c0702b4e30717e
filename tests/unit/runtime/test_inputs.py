"""What changes a phase's input digest, and what does not: one table, keyed by what is changed."""

from __future__ import annotations

from typing import Any

import pytest

from selm_runtime import inputs
from selm_runtime.artifacts.manifest import FileEntry, Manifest, content_digest, digest_of
from selm_runtime.contract import CONTRACT_VERSION, CommittedPhase, Phase, PhaseConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.inputs import input_digest, required_manifests
from support.phase_configs import merge, phase_config

REWARD_MODEL = {"scorers": [{"name": "rm", "rewardModel": {"uri": "hf://a/rm"}}]}
PREPARATION = {
    "rows/portion-0001.parquet": "1",
    "rows/portion-0002.parquet": "2",
    "rows/held-out.parquet": "3",
    "model/config.json": "4",
    "model/model.safetensors": "5",
    "model/tokenizer.json": "6",
    "scorers/rm/config.json": "7",
    "suites/lm-eval/tasks.yaml": "e",
    "suites/alpaca-eval/instructions.jsonl": "b",
    "suites/mt-bench/questions.jsonl": "a",
}


def _manifest(phase: Phase, iteration: int, files: dict[str, str], **more: Any) -> Manifest:
    entries = tuple(FileEntry(name=name, path=f"pod-x/{name}", size=1, sha256=sha * 64) for name, sha in files.items())
    return Manifest(
        phase=phase,
        iteration=iteration,
        input_digest=digest_of("x"),
        content_digest=content_digest(entries),
        rows=1,
        files=entries,
        **more,
    )


def _world(change: dict[str, dict[str, str]] | None = None) -> dict[tuple[Phase, int], Manifest]:
    """Everything committed before iteration 2's Evaluation; `change` replaces hashes of files by phase name."""
    change = change or {}

    def made(phase: Phase, iteration: int, files: dict[str, str], **more: Any) -> tuple[tuple[Phase, int], Manifest]:
        return (phase, iteration), _manifest(
            phase, iteration, {**files, **change.get(f"{phase}-{iteration}", {})}, **more
        )

    model = {"model/config.json": "4", "model/tokenizer.json": "6"}
    return dict(
        [
            made(Phase.PREPARATION, 0, PREPARATION),
            made(Phase.EVALUATION, 0, {"responses.parquet": "8"}, metrics={"meanReward": 0.1}),
            made(Phase.TRAINING, 1, {**model, "model/model.safetensors": "9"}),
            made(Phase.EVALUATION, 1, {"responses.parquet": "a"}, metrics={"meanReward": 0.2}),
            made(Phase.GENERATION, 2, {"chunks/00000/responses.parquet": "b"}),
            made(Phase.SCORING, 2, {"chunks/00000/pairs.parquet": "c"}),
            made(Phase.TRAINING, 2, {**model, "model/model.safetensors": "d"}),
        ]
    )


def _config(phase: Phase, change: dict[str, Any] | None = None) -> PhaseConfig:
    iteration = 0 if phase is Phase.PREPARATION else 2
    base = {"phase": phase, "iteration": iteration, "scoring": REWARD_MODEL}
    config = phase_config(**merge(base, change or {}))
    committed = tuple(
        CommittedPhase(phase=its, iteration=t, manifest=manifest.digest) for (its, t), manifest in _world().items()
    )
    return config.model_copy(update={"committed": committed})


def _digest(phase: Phase, change: dict[str, Any] | None = None, files: dict[str, dict[str, str]] | None = None) -> str:
    return input_digest(_config(phase, change), _world(files))


G, S, T, E = Phase.GENERATION, Phase.SCORING, Phase.TRAINING, Phase.EVALUATION
NONE: set[Phase] = set()

JUDGE = {"endpoint": "http://judge", "model": "m", "template": "s3://b/rm"}


def judge(change: dict[str, Any]) -> dict[str, Any]:
    """A judge in the reward model's place, with a change."""
    return {"scoring": {"scorers": [{"name": "rm", "judge": {**JUDGE, **change}}]}}


ALPACA = {"uri": "s3://b/alpaca.json", "judge": {"endpoint": "http://judge", "model": "m"}}
TASKS = {"uri": "s3://b/tasks", "tasks": [{"name": "colours"}]}

CONFIG_CHANGES: dict[str, tuple[dict[str, Any], set[Phase]]] = {
    # what is changed: (the change, the phases after Preparation whose digest changes)
    "the run's name and uid": ({"run": {"name": "other", "uid": "9"}}, NONE),
    "the attempt": ({"attempt": 3}, NONE),
    "the number of iterations": ({"iterations": 9}, NONE),
    "the place of the artifacts": ({"artifacts": {"uri": "s3://b/x", "endpoint": "https://e", "region": "r"}}, NONE),
    "reuse": ({"artifacts": {"reuse": "None"}}, NONE),
    "retention": ({"retention": "KeepBest"}, NONE),
    "the model's declared revision (its content is what counts)": ({"model": {"revision": "v2"}}, NONE),
    "the data's declared place": ({"data": {"uri": "s3://other/data"}}, NONE),
    "the selection of rows (the rows are what counts)": ({"data": {"selection": {"keep": 0.5}}}, NONE),
    "shards": ({"generation": {"shards": 4}, "scoring": {"shards": 3}}, NONE),
    "engines of a pod": ({"generation": {"enginesPerPod": 2}}, NONE),
    "the way of the weights": ({"generation": {"weights": "Stream"}}, NONE),
    "tensor parallelism": ({"generation": {"tensorParallelSize": 2}}, NONE),
    "nodes, ranks and ZeRO stage": ({"training": {"nodes": 2, "ranksPerNode": 2, "zeroStage": 2}}, NONE),
    "micro-batches": ({"training": {"maxTokensPerMicroBatch": 99}}, NONE),
    "checkpoints": ({"training": {"checkpoint": {"intervalSeconds": 1, "keep": 9}}}, NONE),
    "the rendezvous": ({"training": {"rendezvous": {"masterAddress": "a", "masterPort": 1}}}, NONE),
    "which iterations are offline": ({"offlineIterations": [1]}, NONE),
    "the seed": ({"seed": 43}, {G, S, T, E}),
    "the contract's version": ({"contractVersion": CONTRACT_VERSION + 1}, {G, S, T, E}),
    "temperature": ({"generation": {"temperature": 0.9}}, {G, E}),
    "topP": ({"generation": {"topP": 0.9}}, {G, E}),
    "maxTokens": ({"generation": {"maxTokens": 17}}, {G, E}),
    "samplesPerPrompt": ({"generation": {"samplesPerPrompt": 3}}, {G}),
    "engineArgs": ({"generation": {"engineArgs": {"dtype": "float32"}}}, {G, E}),
    "reproducible": ({"generation": {"reproducible": False}}, {G}),
    "policies": ({"generation": {"policies": ["Current", "Reference"]}}, {G}),
    "alpha": ({"training": {"objective": {"alpha": 0.1}}}, {T}),
    "beta": ({"training": {"objective": {"beta": 0.2}}}, {T}),
    "the objective's type": ({"training": {"objective": {"type": "DPO"}}}, {T}),
    "optimismWeighting": ({"training": {"objective": {"optimismWeighting": "Alpha"}}}, {T}),
    "explored": ({"training": {"objective": {"explored": "Mean"}}}, {T}),
    "the guard": ({"training": {"guard": {"maxLogRatio": 5}}}, NONE),
    "offloading": ({"training": {"offload": {"optimizer": "CPU"}}}, NONE),
    "trackers": ({"training": {"reportTo": {"wandb": {"project": "p"}}}}, NONE),
    "adapters": ({"training": {"lora": {}}}, {T}),
    "compiled layers": ({"training": {"compile": True}}, {T}),
    "offlineShare": ({"training": {"offlineShare": 0.5}}, {T}),
    "the data's transform": (
        {"data": {"transform": "RewardAugmented", "rewardAugmented": {"goal": 10}}},
        {G, T, E},
    ),
    "learningRate": ({"training": {"learningRate": 2e-4}}, {T}),
    "lrScheduler": ({"training": {"lrScheduler": "Linear"}}, {T}),
    "warmupRatio": ({"training": {"warmupRatio": 0.2}}, {T}),
    "the optimizer": ({"training": {"optimizer": {"weightDecay": 0.1}}}, {T}),
    "maxGradNorm": ({"training": {"maxGradNorm": 2.0}}, {T}),
    "batchSize": ({"training": {"batchSize": 8}}, {T}),
    "epochs": ({"training": {"epochs": 2}}, {T}),
    "precision": ({"training": {"precision": "Float32"}}, {T, E}),
    "pairs": ({"training": {"pairs": "Offline"}}, {T}),
    "reference": ({"training": {"reference": "Initial"}}, {T, E}),
    "maxLength": ({"training": {"maxLength": 120}}, {S, T, E}),
    "maxPromptLength": ({"training": {"maxPromptLength": 90}}, {G, S, T, E}),
    "truncation": ({"training": {"truncation": "KeepStart"}}, {G, S, T, E}),
    "a scorer's weight": (
        {"scoring": {"scorers": [{"name": "rm", "weight": 2.0, "rewardModel": {"uri": "hf://a/rm"}}]}},
        {S, E},
    ),
    "a reward model's declared place": (
        {"scoring": {"scorers": [{"name": "rm", "rewardModel": {"uri": "s3://elsewhere/rm"}}]}},
        NONE,
    ),
    "the weights of a reward model's outputs": (
        {
            "scoring": {
                "scorers": [
                    {"name": "rm", "rewardModel": {"uri": "hf://a/rm", "objectives": [{"label": "x", "weight": 1}]}}
                ]
            }
        },
        {S, E},
    ),
    "who runs a reward model": (
        {"scoring": {"scorers": [{"name": "rm", "rewardModel": {"uri": "hf://a/rm", "engine": "VLLM"}}]}},
        {S, E},
    ),
    "who runs it by default": (
        {"scoring": {"scorers": [{"name": "rm", "rewardModel": {"uri": "hf://a/rm", "engine": "Transformers"}}]}},
        NONE,
    ),
    "a rule": (
        {"scoring": {"scorers": [{"name": "rm", "rules": [{"type": "Length", "target": 3}]}]}},
        {S, E},
    ),
    "pairing": ({"scoring": {"pairing": {"minMargin": 0.5}}}, {S}),
    "the pairing rule": ({"scoring": {"pairing": {"rule": "MaxMax"}}}, {S}),
    "length control": ({"scoring": {"pairing": {"lengthControl": 0.1}}}, {S}),
    "what becomes of empty responses": ({"scoring": {"pairing": {"empty": "RejectOnly"}}}, {S}),
    "what becomes of truncated responses": ({"scoring": {"pairing": {"truncated": "Exclude"}}}, {S}),
    "the length penalty": ({"scoring": {"lengthPenalty": 0.1}}, {S, E}),
    "selectBy": ({"evaluation": {"selectBy": {"metric": "MeanReward"}}}, {E}),
    "tasks of lm-evaluation-harness": ({"evaluation": {"lmEval": TASKS}}, {E}),
    "AlpacaEval": ({"evaluation": {"alpacaEval": ALPACA}}, {E}),
    "MT-Bench": ({"evaluation": {"mtBench": ALPACA}}, {E}),
}

CONTENT_CHANGES: dict[str, tuple[dict[str, dict[str, str]], set[Phase]]] = {
    "the rows of the iteration's portion": ({"Preparation-0": {"rows/portion-0002.parquet": "f"}}, {G, S}),
    "the rows of another portion": ({"Preparation-0": {"rows/portion-0001.parquet": "f"}}, NONE),
    "the held-out rows": ({"Preparation-0": {"rows/held-out.parquet": "f"}}, {E}),
    "the base's weights": ({"Preparation-0": {"model/model.safetensors": "f"}}, {E}),
    "the policy's weights": ({"Training-1": {"model/model.safetensors": "f"}}, {G, T}),
    "the policy's tokenizer": ({"Training-1": {"model/tokenizer.json": "f"}}, {G, S, T}),
    "a reward model's content": ({"Preparation-0": {"scorers/rm/config.json": "f"}}, {S, E}),
    "the responses": ({"Generation-2": {"chunks/00000/responses.parquet": "f"}}, {S}),
    "the pairs": ({"Scoring-2": {"chunks/00000/pairs.parquet": "f"}}, {T, E}),
    "the trained model": ({"Training-2": {"model/model.safetensors": "f"}}, {E}),
    "an earlier evaluation": ({"Evaluation-1": {"responses.parquet": "f"}}, {E}),
}


@pytest.mark.parametrize("what", CONFIG_CHANGES)
@pytest.mark.parametrize("phase", [G, S, T, E])
def test_config_changes(phase: Phase, what: str) -> None:
    change, changed = CONFIG_CHANGES[what]
    assert (_digest(phase) != _digest(phase, change)) == (phase in changed), what


EXECUTION = {"scoring": {"scorers": [{"name": "rm", "execution": {"timeoutSeconds": 5}}]}}
SCORER_CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], set[Phase]]] = {
    # what is changed: (before, after, the phases whose digest changes)
    "a judge's limits": (judge({}), judge({"concurrency": 2, "requestsPerMinute": 9, "tokenBudget": 5}), NONE),
    "the declared place of a judge's template": (judge({}), judge({"template": "s3://b/other"}), NONE),
    "a judge's own template for the built-in one": (judge({}), judge({"template": None}), {S, E}),
    "a judge's endpoint": (judge({}), judge({"endpoint": "http://other"}), {S, E}),
    "a judge's model": (judge({}), judge({"model": "other"}), {S, E}),
    "a judge's mode": (judge({}), judge({"mode": "Grade"}), {S, E}),
    "a judge's pattern": (judge({}), judge({"verdictPattern": "(A|B)"}), {S, E}),
    "a judge's temperature": (judge({}), judge({"temperature": 1.0}), {S, E}),
    "a judge's tokens": (judge({}), judge({"maxTokens": 9}), {S, E}),
    "tests' time": (EXECUTION, {"scoring": {"scorers": [{"name": "rm", "execution": {}}]}}, {S, E}),
    "a ranker for a reward model": (
        {},
        {"scoring": {"scorers": [{"name": "rm", "pairRM": {"uri": "hf://a/rm"}}]}},
        {S, E},
    ),
}


@pytest.mark.parametrize("what", SCORER_CHANGES)
@pytest.mark.parametrize("phase", [G, S, T, E])
def test_scorers_changes(phase: Phase, what: str) -> None:
    before, after, changed = SCORER_CHANGES[what]
    assert (_digest(phase, before) != _digest(phase, after)) == (phase in changed), what


@pytest.mark.parametrize("phase", [S, E])
def test_a_judge_of_our_own_counts_by_its_weights(phase: Phase) -> None:
    def digest(policy: str, changed: str) -> str:
        own = {"scoring": {"scorers": [{"name": "rm", "judge": {"policy": policy}}]}}
        return _digest(phase, own, {changed: {"model/model.safetensors": "f"}} if changed else None)

    def matters(policy: str, whose: str) -> bool:
        return digest(policy, whose) != digest(policy, "")

    # Evaluation depends on the base for other reasons, too, and is judged by it alone.
    assert matters("Base", "Preparation-0")
    assert not matters("Base", "Training-1")
    assert matters("Current", "Training-1") == (phase is S)


@pytest.mark.parametrize("what", CONTENT_CHANGES)
@pytest.mark.parametrize("phase", [G, S, T, E])
def test_content_changes(phase: Phase, what: str) -> None:
    change, changed = CONTENT_CHANGES[what]
    assert (_digest(phase) != _digest(phase, files=change)) == (phase in changed), what


@pytest.mark.parametrize(
    ("change", "changes"),
    [
        ({"model": {"uri": "hf://a/b"}}, True),
        ({"model": {"revision": "v2"}}, True),
        ({"data": {"split": "other"}}, True),
        ({"data": {"portions": 3}}, True),
        ({"data": {"heldOut": {"split": "test"}}}, True),
        ({"scoring": {"scorers": [{"name": "rm", "rewardModel": {"uri": "hf://a/other"}}]}}, True),
        ({"training": {"learningRate": 1.0}}, False),
        ({"generation": {"temperature": 1.0}}, False),
        ({"run": {"uid": "9"}}, False),
        ({"seed": 43}, False),
        ({"evaluation": {"lmEval": TASKS}}, True),
        ({"evaluation": {"alpacaEval": ALPACA}}, True),
        ({"evaluation": {"mtBench": ALPACA}}, True),
    ],
)
def test_preparations_digest_covers_what_is_declared(change: dict[str, Any], changes: bool) -> None:
    assert (_digest(Phase.PREPARATION) != _digest(Phase.PREPARATION, change)) == changes


def test_a_spec_without_a_selection_has_the_digest_that_it_had_before_there_were_selections() -> None:
    before = "sha256:bca9d54b4f29400fd00133273d235554434b5f5ecb2d3a70373aeab57ff109e2"
    assert input_digest(phase_config(), {}) == before
    one, other = ({"data": {"selection": {"keep": keep}}} for keep in (0.5, 0.25))
    assert len({before, input_digest(phase_config(**one), {}), input_digest(phase_config(**other), {})}) == 3


def test_places_do_not_count() -> None:
    moved = {
        key: manifest.model_copy(
            update={
                "files": tuple(entry.model_copy(update={"path": f"pod-y/{entry.name}"}) for entry in manifest.files)
            }
        )
        for key, manifest in _world().items()
    }
    for phase in (G, S, T, E):
        assert input_digest(_config(phase), moved) == _digest(phase)


def test_the_same_portion_and_policy_in_another_iteration_is_another_input() -> None:
    world = _world()
    world[Phase.TRAINING, 3] = world[Phase.TRAINING, 1].model_copy(update={"iteration": 3})
    later = _config(G, {"iteration": 4})
    assert input_digest(later, world) != _digest(G)


XPO = {"type": "XPO"}
SIMPO = {"type": "SimPO"}
OBJECTIVE_CHANGES: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    # settings of Training, what is changed of them, and whether its digest changes
    ({"objective": {"type": "DPO"}}, {"objective": {"alpha": 0.9}}, False),
    ({"objective": {"type": "DPO"}}, {"objective": {"beta": 0.9}}, True),
    ({"objective": SIMPO}, {"objective": {"simPO": {"gamma": 0.9}}}, True),
    ({"objective": SIMPO}, {"objective": {"simPO": {"gamma": 1.0}}}, False),
    ({"objective": SIMPO}, {"reference": "Initial"}, False),
    ({"pairs": "Offline", "objective": {"type": "SELM"}}, {"objective": {"alpha": 0.9}}, False),
    ({"pairs": "Offline", "objective": {"type": "SELM"}}, {"offlineShare": 0.5}, False),
]


@pytest.mark.parametrize(("base", "change", "changes"), OBJECTIVE_CHANGES)
def test_what_changes_a_training_by_its_objective(base: dict[str, Any], change: dict[str, Any], changes: bool) -> None:
    def digest(training: dict[str, Any]) -> str:
        return input_digest(_config(T, {"iteration": 2, "training": training}), _world())

    assert (digest(base) != digest(merge(base, change))) == changes


def test_trainings_that_take_all_iterations_pairs_depend_on_them() -> None:
    first = {"Scoring-1": {"chunks/00000/pairs.parquet": "f"}}
    for objective, depends in (({"type": "SELM"}, False), ({"type": "NSDPO"}, True)):
        digests = []
        for change in ({}, first):
            world = _world(change)
            pairs = change.get("Scoring-1", {"chunks/00000/pairs.parquet": "e"})
            world[S, 1] = _manifest(S, 1, pairs)
            digests.append(input_digest(_config(T, {"training": {"objective": objective}}), world))
        assert (digests[0] != digests[1]) == depends


def test_the_rows_count_where_some_of_a_batch_are_the_datas_own() -> None:
    changed = {"Preparation-0": {"rows/portion-0002.parquet": "f"}}
    mixed = {"training": {"offlineShare": 0.5}}
    assert _digest(T, mixed) != _digest(T, mixed, changed)
    assert _digest(T) == _digest(T, None, changed)


REQUIRED = {
    "the first generation": (G, 1, {}, {(Phase.PREPARATION, 0)}),
    "a later generation": (G, 2, {}, {(Phase.PREPARATION, 0), (T, 1)}),
    "scoring": (S, 2, {}, {(Phase.PREPARATION, 0), (T, 1), (G, 2)}),
    "training": (T, 2, {}, {(Phase.PREPARATION, 0), (T, 1), (S, 2)}),
    "training against the base": (
        T,
        2,
        {"training": {"reference": "Initial"}},
        {(Phase.PREPARATION, 0), (T, 1), (S, 2)},
    ),
    "training without a reference": (
        T,
        2,
        {"training": {"objective": SIMPO}},
        {(Phase.PREPARATION, 0), (T, 1), (S, 2)},
    ),
    "training on all iterations' pairs": (
        T,
        3,
        {"training": {"objective": XPO, "reference": "Initial"}},
        {(Phase.PREPARATION, 0), (T, 2), (S, 1), (S, 2), (S, 3)},
    ),
    "training on all iterations' pairs, the first of them the data's": (
        T,
        3,
        {"training": {"objective": {"type": "NSDPO"}}, "offlineIterations": [1]},
        {(Phase.PREPARATION, 0), (T, 2), (S, 2), (S, 3)},
    ),
    "offline training": (T, 1, {"training": {"pairs": "Offline"}}, {(Phase.PREPARATION, 0)}),
    "the base's evaluation": (E, 0, {}, {(Phase.PREPARATION, 0)}),
    "an evaluation": (E, 2, {}, {(Phase.PREPARATION, 0), (T, 2), (E, 0), (E, 1), (S, 2)}),
    "the evaluation of an offline iteration": (E, 1, {}, {(Phase.PREPARATION, 0), (T, 1), (E, 0)}),
}


@pytest.mark.parametrize("what", REQUIRED)
def test_what_a_phase_is_made_from(what: str) -> None:
    phase, iteration, change, needed = REQUIRED[what]
    config = _config(phase, {**change, "iteration": iteration})
    assert set(required_manifests(config)) == needed


def test_a_missing_manifest_is_named() -> None:
    world = _world()
    del world[Phase.GENERATION, 2]
    with pytest.raises(InvalidInput, match="Scoring of iteration 2 needs Generation of iteration 2"):
        input_digest(_config(S), world)


SUITE_CHANGES = {
    # what is changed: (the change of lmEval, whether Evaluation's digest changes)
    "the place (its content is what counts)": ({"uri": "s3://elsewhere/tasks", "revision": "v2"}, False),
    "the batch": ({"batchSize": 2}, False),
    "a task": ({"tasks": [{"name": "shapes"}]}, True),
    "a task's metric": ({"tasks": [{"name": "colours", "metric": "acc_norm"}]}, True),
    "examples": ({"numFewshot": 3}, True),
    "documents": ({"limit": 10}, True),
    "the chat template": ({"chatTemplate": True}, True),
}


@pytest.mark.parametrize("what", SUITE_CHANGES)
def test_what_decides_a_suites_figures(what: str) -> None:
    change, changes = SUITE_CHANGES[what]
    before = _digest(E, {"evaluation": {"lmEval": TASKS}})
    assert (before != _digest(E, {"evaluation": {"lmEval": {**TASKS, **change}}})) == changes


@pytest.mark.parametrize(
    ("change", "changes"),
    [
        ({"uri": "s3://elsewhere/alpaca.json"}, False),
        ({"maxTokens": 64}, True),
        ({"judge": {**ALPACA["judge"], "model": "other"}}, True),  # type: ignore[dict-item]
        ({"judge": {**ALPACA["judge"], "concurrency": 2, "tokenBudget": 9}}, False),  # type: ignore[dict-item]
    ],
)
@pytest.mark.parametrize("suite", ["alpacaEval", "mtBench"])
def test_what_decides_a_judged_suites_figures(suite: str, change: dict[str, Any], changes: bool) -> None:
    before = _digest(E, {"evaluation": {suite: ALPACA}})
    assert (before != _digest(E, {"evaluation": {suite: {**ALPACA, **change}}})) == changes


def test_the_suites_content_counts_only_where_the_suite_is_run() -> None:
    other = {"Preparation-0": {"suites/lm-eval/tasks.yaml": "f"}}
    with_suite = {"evaluation": {"lmEval": TASKS}}
    assert _digest(E, with_suite) != _digest(E, with_suite, files=other)
    assert _digest(E) == _digest(E, files=other)


RECORDED = {
    # of the base config, before there were suites, pushes to registries and engines of reward models
    Phase.PREPARATION: "042d56453a1a29c916b5d2b97f2af332d1445949fbc091bb8e21d415c1f7ed3a",
    G: "6d72e4275330b03bbc829e892c6e893e9fc18119bfb657bc7b1b346ae45a3c52",
    S: "096591b3cdab29bfb6aaae4a7efc503aea24c21720c461876bb0004dfe07cfcb",
    T: "973b1ace133e2bf0ea84fa7187e53fc7ff7b8c1e6e43430e670406fbcef0ac08",
    E: "5bf6de1d48eebda85ebf9747727425bf0e984a0b307c965b57192dabf3310ab9",
}


@pytest.mark.parametrize("phase", RECORDED)
def test_what_a_spec_does_not_use_leaves_its_digests_as_they_were(phase: Phase) -> None:
    """Else what namespaces have committed would be computed anew. A new contract version or figure changes them rightly."""
    assert _digest(phase) == f"sha256:{RECORDED[phase]}"


@pytest.mark.parametrize("phase", [S, E])
def test_scores_of_an_earlier_sandbox_are_not_taken_over(phase: Phase, monkeypatch: pytest.MonkeyPatch) -> None:
    now, without = _digest(phase, EXECUTION), _digest(phase)
    monkeypatch.setattr(inputs, "EXECUTION_VERSION", inputs.EXECUTION_VERSION - 1)
    assert _digest(phase, EXECUTION) != now
    assert _digest(phase) == without


@pytest.mark.parametrize("rule", ["BestWorst", "MaxMax", "MaxRandom", "MaxMinProbability", "TwoPolicy"])
def test_pairs_of_other_ties_are_not_taken_over(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    change = {"scoring": {"pairing": {"rule": rule}}, "generation": {"policies": ["Current", "Reference"]}}
    now = _digest(S, change)
    monkeypatch.setattr(inputs, "WORSE_ONLY", frozenset())
    assert (_digest(S, change) != now) == (rule in ("MaxMax", "MaxRandom"))
