"""Whole trainings of a tiny model by real ranks under DeepSpeed, held against a trainer of a few plain lines."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from selm_runtime.contract import PhaseConfig
from selm_runtime.train.batches import schedule
from selm_runtime.train.data import bring_pairs
from selm_runtime.train.job import METRICS_FILE, REFERENCE_FILE
from selm_runtime.train.lr import learning_rate
from selm_runtime.train.pairs import PairTable
from support.event_files import events
from support.plain_training import plain_losses, plain_sum
from support.rank_patches import ending_after_one_step
from support.train_ranks import Ended, train
from support.train_world import TrainWorld

EXACT = {"checkpoint": {"intervalSeconds": 0, "keep": 2}}
"""A checkpoint at every step that no upload stands in the way of."""


@pytest.fixture(scope="module")
def undisturbed(world: TrainWorld) -> dict[int, Ended]:
    """By ZeRO stage: four steps of four pairs on two ranks."""
    return {stage: train(world, world.config(f"undisturbed-{stage}", zeroStage=stage)) for stage in (2, 3)}


def plain_training(world: TrainWorld, config: PhaseConfig, policy_at: Path, reference_at: Path) -> torch.nn.Module:
    """Eq. 4.2 on plain transformers and torch.optim, one sequence at a time: shares only order and rate with ours."""
    training, objective = config.training, config.training.objective
    file = world.folder / "plain.parquet"
    bring_pairs(world.phase_folder(config), world.folder / "base", file)
    pairs = PairTable(file, explored=True)
    policy = AutoModelForCausalLM.from_pretrained(policy_at, dtype=torch.float32)
    reference = AutoModelForCausalLM.from_pretrained(reference_at, dtype=torch.float32)
    optimizer = torch.optim.AdamW(policy.parameters(), weight_decay=0.0)
    steps = schedule(
        sorted(pairs), batch_size=training.batch_size, epochs=1, seed=config.seed, iteration=config.iteration
    )
    for number, step in enumerate(steps.steps):
        optimizer.zero_grad()
        losses = plain_losses(policy, reference, [pairs[row] for row in step], objective)
        torch.stack(losses).mean().backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), training.max_grad_norm)
        optimizer.param_groups[0]["lr"] = learning_rate(
            number, steps=len(steps.steps), peak=training.learning_rate, warmup_ratio=0.1, scheduler="Cosine"
        )
        optimizer.step()
    return policy


def assert_same_update(trained: Path, expected: torch.nn.Module, start: Path) -> None:
    """The update agrees to a thousandth of its own size (Adam divides by gradients, and so magnifies their rounding)."""
    ours = AutoModelForCausalLM.from_pretrained(trained, dtype=torch.float32).state_dict()
    base = AutoModelForCausalLM.from_pretrained(start, dtype=torch.float32).state_dict()
    moved = difference = 0.0
    for name, value in expected.state_dict().items():
        moved += float((value - base[name]).double().square().sum())
        difference += float((value - ours[name]).double().square().sum())
    assert moved > 0
    assert math.sqrt(difference / moved) < 1e-3


@pytest.mark.parametrize("stage", [2, 3])
def test_two_ranks_train_as_a_plain_trainer_does(
    stage: int, world: TrainWorld, undisturbed: dict[int, Ended], tmp_path: Path
) -> None:
    ended = undisturbed[stage]
    assert ended.codes == [0, 0]
    assert ended.manifest is not None
    config = world.config(f"undisturbed-{stage}", zeroStage=stage)
    base = world.folder / "base"
    trained = world.model(config, tmp_path / "model")
    assert_same_update(trained, plain_training(world, config, base, base), base)
    assert ended.manifest.rows == 16
    assert ended.manifest.facts == {
        "steps": 4,
        "pairs": 16,
        "droppedPairs": 2,
        "truncatedPairs": 0,
        "invertedPairs": 0,
        "tokens": ended.manifest.facts["tokens"],
    }
    assert world.stored(config, "checkpoints/") == []


def test_tables_beside_the_model_hold_every_step_and_the_reference_and_rates_stay_out_of_them(
    world: TrainWorld, undisturbed: dict[int, Ended]
) -> None:
    config = world.config("undisturbed-2", zeroStage=2)
    manifest, outcome = undisturbed[2].manifest, undisturbed[2].outcomes[0]
    assert manifest is not None
    assert outcome is not None
    folder = world.phase_folder(config)
    steps = folder.read_table(manifest, METRICS_FILE).to_pylist()
    assert [step["step"] for step in steps] == [1, 2, 3, 4]
    assert sum(step["loss"] for step in steps) / 4 == pytest.approx(manifest.metrics["loss"])
    assert steps[-1]["klReference"] == -steps[-1]["exploredLogRatio"]
    reference = folder.read_table(manifest, REFERENCE_FILE).to_pylist()
    assert len(reference) == 16  # the two pairs of the dropped batch were not run
    assert all(row["explored"] is not None for row in reference)
    assert set(outcome.rates) == {"tokensPerSecond", "pairsPerSecond", "mfu", "memoryGiB"}
    assert outcome.rates["pairsPerSecond"] > 0
    assert outcome.rates["mfu"] == 0.0  # a CPU's peak is not known
    assert not set(outcome.rates) & {*steps[0], *manifest.metrics}
    assert len([key for key in world.stored(config) if "/tensorboard/events.out.tfevents." in key]) == 1


STEP_METRICS = {
    *("loss", "preferenceLoss", "optimism"),
    *("rewardChosen", "rewardRejected", "rewardMargin", "rewardAccuracy"),
    *("logProbChosen", "logProbRejected", "logProbExplored", "exploredLogRatio", "klReference", "klPairs"),
    *("gradNorm", "learningRate"),
}
RATES = {"tokensPerSecond", "pairsPerSecond", "mfu", "memoryGiB"}


def test_every_metric_is_in_the_table_and_the_trackers_have_the_rates_too(
    world: TrainWorld, undisturbed: dict[int, Ended], tmp_path: Path
) -> None:
    config = world.config("undisturbed-2", zeroStage=2)
    folder, manifest = world.phase_folder(config), undisturbed[2].manifest
    assert manifest is not None
    steps = folder.read_table(manifest, METRICS_FILE).to_pylist()
    assert len(steps) == 4
    for step in steps:
        assert {name for name, value in step.items() if value is not None} >= {"step", *STEP_METRICS}
        assert step["loss"] == pytest.approx(step["preferenceLoss"] + step["optimism"], abs=1e-6)
        assert step["rewardMargin"] == pytest.approx(step["rewardChosen"] - step["rewardRejected"], abs=1e-6)
    (key,) = (key for key in world.stored(config) if "/tensorboard/events.out.tfevents." in key)
    folder.store.download(f"{folder.place}/{key}", tmp_path / Path(key).name)
    seen = events(tmp_path)
    for number in (1, 2, 3, 4):
        assert {name for at, name, _ in seen if at == number} >= {f"train/{name}" for name in STEP_METRICS}
    assert {name for at, name, _ in seen if at == 4} >= {f"train/{name}" for name in RATES}
    assert {value for _, name, value in seen if name == "train/mfu"} == {0.0}  # a CPU's peak is not known


def test_the_exported_folder_is_a_whole_model_with_its_tokenizer(
    world: TrainWorld, undisturbed: dict[int, Ended], tmp_path: Path
) -> None:
    trained = world.model(world.config("undisturbed-3", zeroStage=3), tmp_path / "model")
    model, info = AutoModelForCausalLM.from_pretrained(trained, output_loading_info=True)
    assert model.dtype == torch.float32
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert AutoTokenizer.from_pretrained(trained).chat_template
    base = world.folder / "base"
    assert (trained / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()
    assert {path.name for path in trained.iterdir()} == {path.name for path in base.iterdir()}


def test_the_first_step_starts_at_ln_2_and_optimism_0(world: TrainWorld) -> None:
    ended = train(world, world.config("one-step", batchSize=18))
    assert ended.manifest is not None
    assert ended.manifest.metrics["loss"] == pytest.approx(math.log(2.0), abs=1e-5)
    assert ended.manifest.metrics["exploredLogRatio"] == pytest.approx(0.0, abs=1e-4)


def test_equal_seeds_give_equal_weights_and_selm_at_alpha_0_is_dpo(world: TrainWorld) -> None:
    dpo = {"type": "DPO", "alpha": 0.0, "beta": 0.1}
    one = train(world, world.config("dpo", objective=dpo))
    other = train(world, world.config("alpha-0", objective={**dpo, "type": "SELM"}))
    assert one.weights == other.weights
    assert one.manifest is not None
    assert "exploredLogRatio" not in one.manifest.metrics


def test_the_loss_does_not_depend_on_ranks_and_micro_batches(world: TrainWorld, undisturbed: dict[int, Ended]) -> None:
    attempts = [
        undisturbed[2],
        undisturbed[3],
        train(world, world.config("one-rank"), ranks=1),
        train(world, world.config("small-micro-batches", maxTokensPerMicroBatch=1)),
        train(world, world.config("small-micro-batches-3", maxTokensPerMicroBatch=1, zeroStage=3)),
        train(world, world.config("stage-0", zeroStage=0)),
    ]
    for ended in attempts:
        assert ended.manifest is not None, ended.outcomes
    expected = undisturbed[2].manifest
    assert expected is not None
    for ended in attempts[1:]:
        assert ended.manifest is not None
        for name, tolerance in (("loss", 1e-6), ("lossLast", 1e-6), ("exploredLogRatio", 2e-5)):
            assert ended.manifest.metrics[name] == pytest.approx(expected.metrics[name], abs=tolerance), name


@pytest.mark.parametrize("stage", [pytest.param(2, marks=pytest.mark.long), 3])
def test_a_training_that_is_asked_to_go_resumes_to_the_same_weights(
    stage: int, world: TrainWorld, undisturbed: dict[int, Ended]
) -> None:
    name = f"asked-to-go-{stage}"
    first = train(world, world.config(name, zeroStage=stage), stop_after=2)
    assert first.codes == [75, 75]
    assert first.manifest is None
    config = world.config(name, zeroStage=stage, attempt=2)
    assert any(key.startswith("checkpoints/00000002/manifest") for key in world.stored(config, "checkpoints/"))
    second = train(world, config)
    assert second.weights == undisturbed[stage].weights
    assert second.manifest is not None
    assert undisturbed[stage].manifest is not None
    assert second.manifest.metrics == undisturbed[stage].manifest.metrics
    assert world.stored(config, "checkpoints/") == []


@pytest.mark.parametrize("step", [1, pytest.param(3, marks=pytest.mark.long)])
def test_when_a_rank_is_killed_none_finishes_alone_and_the_next_attempt_ends_with_the_same_weights(
    step: int, world: TrainWorld, undisturbed: dict[int, Ended]
) -> None:
    name = f"killed-{step}"
    first = train(world, world.config(name, **EXACT), fault=f"Training:step-done:{step}")
    assert first.codes == [76, -9]
    assert first.manifest is None
    second = train(world, world.config(name, attempt=2, **EXACT), fault=f"Training:step-done:{step}")
    assert second.codes == [0, 0]
    assert second.weights == undisturbed[2].weights


def test_a_rank_that_stands_still_is_noticed_within_the_short_patience(world: TrainWorld) -> None:
    ended = train(world, world.config("hung"), hang_after=2, SELM_TIME_SCALE="0.02")
    prompt, patient = 300 * 0.02, 1800 * 0.02
    assert ended.codes == [76, -9], ended.outcomes
    assert ended.manifest is None
    assert ended.seconds_after_hang is not None
    assert prompt / 2 < ended.seconds_after_hang < (prompt + patient) / 2


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="one epoch"),
        pytest.param(
            {"iteration": 2, "reference": "Initial", "epochs": 2, "offlineShare": 0.5, "batchSize": 6},
            id="two epochs, half of a batch the data's own pairs, the base as reference",
            marks=pytest.mark.long,
        ),
        pytest.param(
            {"objective": {"type": "AlphaDPO", "alpha": 0.1, "beta": 0.1}},
            id="running statistics",
            marks=pytest.mark.long,
        ),
    ],
)
def test_stopped_after_every_single_step_the_training_ends_as_if_undisturbed(
    settings: dict[str, Any], world: TrainWorld, request: pytest.FixtureRequest
) -> None:
    name = f"piecemeal-{len(request.node.callspec.id)}"
    whole = train(world, world.config(f"{name}-whole", **settings), ranks=1)
    assert whole.manifest is not None, whole.outcomes
    steps = whole.manifest.facts["steps"]
    assert steps > 3
    for attempt in range(1, steps):
        stopped = train(world, world.config(name, attempt=attempt, **settings), ranks=1, stop_after=attempt)
        assert stopped.codes == [75], stopped.outcomes
    last = train(world, world.config(name, attempt=steps, **settings), ranks=1)
    assert last.manifest is not None
    assert last.manifest.content_digest == whole.manifest.content_digest  # weights, reference, every step's metrics
    assert last.manifest.metrics == whole.manifest.metrics


@pytest.mark.long
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_killed_after_every_single_step_two_ranks_end_as_if_undisturbed(stage: int, world: TrainWorld) -> None:
    whole = train(world, world.config(f"whole-{stage}", zeroStage=stage, **EXACT))
    assert whole.manifest is not None
    for attempt in range(1, 5):
        config = world.config(f"killed-piecemeal-{stage}", attempt=attempt, zeroStage=stage, **EXACT)
        ended = train(world, config, kill_after=attempt)
        assert ended.codes == [76, -9], ended.outcomes
    last = train(world, world.config(f"killed-piecemeal-{stage}", attempt=5, zeroStage=stage, **EXACT))
    assert last.manifest is not None
    assert last.manifest.content_digest == whole.manifest.content_digest


def test_a_request_to_go_during_the_reference_pass_is_obeyed_there_and_its_rows_are_kept(world: TrainWorld) -> None:
    settings = {**EXACT, "maxTokensPerMicroBatch": 40}
    whole = train(world, world.config("late", **settings))
    assert whole.manifest is not None
    rounds = []
    for attempt in range(1, 4):
        ended = train(world, world.config("early", attempt=attempt, **settings), stop_in_reference=True)
        assert ended.codes == [75, 75]
        assert ended.outcomes[0] is not None
        assert ended.outcomes[0].error is not None
        said = re.search(r"reference pass was made; (\d+) of its (\d+) rows are kept", ended.outcomes[0].error.message)
        assert said is not None, ended.outcomes[0].error.message
        rounds.append(tuple(map(int, said.groups())))
    assert 0 < rounds[0][0] < rounds[1][0] < rounds[2][0] < rounds[2][1]
    last = train(world, world.config("early", attempt=4, **settings))
    assert last.manifest is not None
    assert last.manifest.content_digest == whole.manifest.content_digest


@pytest.mark.long
def test_another_zero_stage_begins_anew_and_is_not_confused_by_the_old_checkpoints(
    world: TrainWorld, undisturbed: dict[int, Ended]
) -> None:
    assert train(world, world.config("reshaped"), stop_after=3).codes == [75, 75]
    assert train(world, world.config("reshaped", attempt=2, zeroStage=3)).weights == undisturbed[3].weights


def test_the_initial_reference_is_the_base_and_the_policy_the_last_iterations(
    world: TrainWorld, tmp_path: Path
) -> None:
    config = world.config("initial", iteration=2, reference="Initial", learningRate=1e-4)
    ended = train(world, config)
    assert ended.codes == [0, 0]
    start, base = world.folder / "trained", world.folder / "base"
    trained = world.model(config, tmp_path / "model")
    assert_same_update(trained, plain_training(world, config, start, base), start)


@pytest.mark.parametrize("stage", [2, *(pytest.param(stage, marks=pytest.mark.long) for stage in (0, 1, 3))])
def test_bf16_trains_from_the_anchor_and_exports_bf16(stage: int, world: TrainWorld, tmp_path: Path) -> None:
    config = world.config(f"bf16-{stage}", precision="BFloat16", zeroStage=stage)
    ended = train(world, config)
    assert ended.codes == [0, 0], ended.outcomes
    model = AutoModelForCausalLM.from_pretrained(world.model(config, tmp_path / "model"))
    assert model.dtype == torch.bfloat16


def test_updates_below_bf16s_resolution_add_up(world: TrainWorld, tmp_path: Path) -> None:
    """From 2^-5 to 2^-4 bf16 has steps of 2.4e-4: an update of 5e-5 is lost at once where weights are kept in bf16."""
    settings = {"learningRate": 5e-5, "lrScheduler": "Constant", "warmupRatio": 0.0, "epochs": 9, "maxGradNorm": 0}
    config = world.config("masters", precision="BFloat16", **settings)
    ended = train(world, config, ranks=1)
    assert ended.manifest is not None, ended.outcomes
    assert ended.manifest.facts["steps"] == 36
    trained, base = (
        AutoModelForCausalLM.from_pretrained(at, dtype=torch.bfloat16).state_dict()
        for at in (world.model(config, tmp_path / "model"), world.folder / "base")
    )
    moved = coarse = 0
    for name, before in base.items():
        there = (before.abs() >= 2**-5) & (before.abs() < 2**-4)
        coarse += int(there.sum())
        moved += int((trained[name] != before)[there].sum())
    assert coarse > 1000
    assert moved > coarse / 4, f"{moved} of {coarse}"


def explored_log_ratio(trained: Path, reference: Path, pairs: PairTable) -> float:
    """Mean log pi - log pi_ref of the explored responses, by plain transformers."""
    ours, theirs = (AutoModelForCausalLM.from_pretrained(at, dtype=torch.float32) for at in (trained, reference))
    with torch.no_grad():
        ratios = [
            plain_sum(ours, pair, response) - plain_sum(theirs, pair, response)
            for pair in pairs.values()
            for response in pair.explored
        ]
    return float(torch.stack(ratios).mean())


def test_the_explored_responses_fall_as_alpha_grows(world: TrainWorld, tmp_path: Path) -> None:
    def config(alpha: float) -> PhaseConfig:
        return world.config(f"alpha-{alpha}", objective={"type": "SELM", "alpha": alpha, "beta": 0.1})

    base = world.folder / "base"
    bring_pairs(world.phase_folder(config(0.1)), base, tmp_path / "pairs.parquet")  # at 0 none would be brought
    pairs = PairTable(tmp_path / "pairs.parquet", explored=True)
    ratios = []
    for alpha in (0.0, 0.1, 0.3, 3.0):
        assert train(world, config(alpha), ranks=1).codes == [0]
        ratios.append(explored_log_ratio(world.model(config(alpha), tmp_path / str(alpha)), base, pairs))
    assert ratios == sorted(ratios, reverse=True)
    assert len(set(ratios)) == 4
    assert ratios[-1] < ratios[0] - 1.0


@pytest.mark.long
@pytest.mark.parametrize("stage", [2, 3])
def test_four_ranks_train_as_one_does(stage: int, world: TrainWorld, tmp_path: Path) -> None:
    settings = {"zeroStage": stage, "batchSize": 8, "learningRate": 1e-4}
    configs = {ranks: world.config(f"{ranks}-of-stage-{stage}", **settings) for ranks in (1, 4)}
    ended = {ranks: train(world, config, ranks=ranks) for ranks, config in configs.items()}
    assert ended[4].codes == [0] * 4
    one, four = (ended[ranks].manifest for ranks in (1, 4))
    assert one is not None
    assert four is not None
    for name in ("loss", "lossLast", "exploredLogRatio", "rewardMargin"):
        assert four.metrics[name] == pytest.approx(one.metrics[name], abs=1e-6), name
    models = {ranks: world.model(config, tmp_path / str(ranks)) for ranks, config in configs.items()}
    alone = AutoModelForCausalLM.from_pretrained(models[1], dtype=torch.float32)
    assert_same_update(models[4], alone, world.folder / "base")


@pytest.mark.long
def test_with_zero_3_two_ranks_share_weights_and_optimizer(tmp_path: Path) -> None:
    # 38 M parameters, 760 MB with their optimizer: large against what every rank holds whatever its share.
    sizes = {"hidden_size": 640, "intermediate_size": 2560, "num_hidden_layers": 6}
    large = TrainWorld(tmp_path / "large", pairs=4, sizes=sizes)
    held = {}
    for ranks in (1, 2):
        ended = train(large, large.config(f"on-{ranks}", zeroStage=3), ranks=ranks, patched=ending_after_one_step)
        assert ended.codes == [0] * ranks, ended.outcomes
        assert len(ended.held_bytes) == ranks
        held[ranks] = max(ended.held_bytes)
    assert held[2] < 0.6 * held[1], held


def test_offline_pairs_switch_the_exploring_term_off(world: TrainWorld) -> None:
    ended = train(world, world.config("offline", pairs="Offline"))
    assert ended.manifest is not None, ended.outcomes
    assert "exploredLogRatio" not in ended.manifest.metrics
    assert ended.manifest.metrics["rewardAccuracy"] > 0


# Objectives beside SELM


def objective(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "alpha": 0.3, "beta": 0.1, **more}


def assert_same_figures(one: Ended, other: Ended, *names: str) -> None:
    assert one.manifest is not None, one.outcomes
    assert other.manifest is not None, other.outcomes
    for name in ("loss", "lossLast", *names):
        assert one.manifest.metrics[name] == pytest.approx(other.manifest.metrics[name], abs=2e-6), name


def test_an_objective_without_a_reference_does_not_depend_on_it(world: TrainWorld) -> None:
    settings = {"objective": objective("SimPO"), "iteration": 2, "batchSize": 8}
    previous = train(world, world.config("simpo-previous", **settings))
    initial = train(world, world.config("simpo-initial", reference="Initial", **settings))
    assert previous.manifest is not None, previous.outcomes
    assert previous.weights == initial.weights


def test_running_figures_do_not_depend_on_ranks_and_micro_batches(world: TrainWorld) -> None:
    settings = {"objective": objective("AlphaDPO"), "batchSize": 6, "learningRate": 1e-4}
    two = train(world, world.config("alpha-two", **settings))
    one = train(world, world.config("alpha-one", maxTokensPerMicroBatch=1, **settings), ranks=1)
    assert_same_figures(one, two, "rewardMargin")


@pytest.mark.long
def test_running_figures_outlive_a_resume(world: TrainWorld) -> None:
    settings = {"objective": objective("AlphaDPO")}
    undisturbed = train(world, world.config("alpha-undisturbed", **settings))
    assert train(world, world.config("alpha-resumed", **settings), stop_after=2).codes == [75, 75]
    assert train(world, world.config("alpha-resumed", attempt=2, **settings)).weights == undisturbed.weights


def test_a_share_of_own_pairs_trains_alike_on_any_number_of_ranks(world: TrainWorld) -> None:
    settings = {"objective": objective("XPO"), "offlineShare": 0.5, "batchSize": 6, "learningRate": 1e-4}
    two = train(world, world.config("hybrid-two", **settings))
    one = train(world, world.config("hybrid-one", **settings), ranks=1)
    assert_same_figures(one, two, "exploredLogRatio")
    assert two.manifest is not None
    assert two.manifest.facts["steps"] == 6  # 18 pairs of the iteration, three of them in a batch


def test_several_explored_responses_train_alike_on_any_number_of_ranks(world: TrainWorld) -> None:
    settings = {"objective": objective("SEPOPO", explored="Mean"), "batchSize": 6, "learningRate": 1e-4}
    two = train(world, world.config("mean-two", **settings))
    one = train(world, world.config("mean-one", maxTokensPerMicroBatch=1, **settings), ranks=1)
    assert_same_figures(one, two, "exploredLogRatio")


def test_all_iterations_pairs_are_trained_on(world: TrainWorld) -> None:
    ended = train(world, world.config("all-iterations", iteration=2, objective=objective("NSDPO"), batchSize=12))
    assert ended.manifest is not None, ended.outcomes
    assert ended.manifest.facts["pairs"] == 36


def test_the_guard_ends_a_training_that_runs_away_on_all_ranks(world: TrainWorld) -> None:
    runaway = {"type": "SELM", "alpha": 1000.0, "beta": 1.0}
    config = world.config("runaway", objective=runaway, learningRate=1e-2, guard={"maxLogRatio": 1.0})
    ended = train(world, config)
    assert ended.codes == [64, 64]
    assert ended.manifest is None
    for outcome in ended.outcomes:
        assert outcome is not None
        assert outcome.error is not None
        assert outcome.error.reason == "ExploredLogRatio"
        assert "spec.training.guard.maxLogRatio allows 1" in outcome.error.message
