"""Spec and schedule become what the pods read."""

from __future__ import annotations

from selm_operator.api.base import ApiModel
from selm_operator.api.data import DataSpec
from selm_operator.api.objective import ObjectiveSpec
from selm_operator.api.phases import GenerationSpec
from selm_operator.api.scoring import PairingSpec, Scorer, ScoringSpec
from selm_operator.api.spec import ArtifactsSpec, ModelSpec
from selm_operator.api.training import CheckpointSpec, OptimizerSpec, TrainingSpec
from selm_operator.phase_config import Attempt, phase_config
from selm_operator.snapshot import read_run
from selm_runtime import contract
from selm_runtime.contract import Phase, PhaseConfig
from support.run_builder import RunBuilder, make_run


def config_of(run: RunBuilder, iteration: int, phase: Phase, attempt: int = 1) -> PhaseConfig:
    view = read_run(run.obj())
    assert view.spec is not None, view.spec_errors
    return phase_config(view, view.spec, view.status, Attempt(iteration, phase, attempt))


def test_the_schedule_is_in_force_in_its_iteration_alone() -> None:
    run = make_run().with_iterations(3).scheduled(2, alpha=0.5, beta=0.2, learningRate=1e-4, temperature=0.7)
    run.scheduled(3, samplesPerPrompt=4, temperature=0.9)
    one, two, three = (config_of(run, t, Phase.GENERATION) for t in (1, 2, 3))
    assert (one.training.objective.alpha, one.training.learning_rate, one.generation.temperature) == (0.001, 5e-7, 0.0)
    assert (two.training.objective.alpha, two.training.objective.beta) == (0.5, 0.2)
    assert (two.training.learning_rate, two.generation.temperature) == (1e-4, 0.7)
    assert (three.generation.samples_per_prompt, three.training.objective.alpha) == (4, 0.001)


def test_a_spec_that_says_nothing_of_sampling_takes_one_greedy_response_as_the_published_code() -> None:
    """SamplingParams(temperature=0, top_p=1.0, max_tokens=1024) and n=1 there: the first sample is the greedy one."""
    generation = config_of(make_run(), 1, Phase.GENERATION).generation
    assert (generation.temperature, generation.top_p) == (0.0, 1.0)
    assert (generation.samples_per_prompt, generation.max_tokens) == (1, 1024)
    assert (generation.policies, generation.reproducible) == (("Current",), True)


def test_evaluation_samples_by_the_unscheduled_settings() -> None:
    run = make_run().scheduled(1, temperature=0.7, samplesPerPrompt=4)
    generation = config_of(run, 1, Phase.EVALUATION).generation
    assert (generation.temperature, generation.samples_per_prompt) == (0.0, 1)


def test_offline_pairs_switch_the_exploring_term_off_whatever_alpha_says() -> None:
    run = make_run().scheduled(1, pairs="Offline", alpha=0.5)
    training = config_of(run, 1, Phase.TRAINING).training
    assert (training.pairs, training.objective.alpha) == ("Offline", 0.0)
    assert config_of(run, 0, Phase.PREPARATION).offline_iterations == (1,)


def test_dpo_is_the_objective_without_its_exploring_term() -> None:
    run = make_run().with_spec(training={"objective": {"type": "DPO", "alpha": 0.5}})
    assert config_of(run, 1, Phase.TRAINING).training.objective.alpha == 0.0


def test_an_objectives_own_parameters_are_projected_and_filled_in() -> None:
    given = make_run().with_spec(training={"objective": {"type": "SimPO", "simPO": {"gamma": 0.3}}})
    assert config_of(given, 1, Phase.TRAINING).training.objective.sim_po == contract.SimPOConfig(gamma=0.3)
    left_out = make_run().with_spec(training={"objective": {"type": "SimPO"}})
    assert config_of(left_out, 1, Phase.TRAINING).training.objective.sim_po == contract.SimPOConfig()


def test_vpo_on_the_chosen_keeps_its_weight_with_the_datas_own_pairs() -> None:
    def alpha(**vpo: str) -> float:
        objective = {"type": "VPO", "alpha": 0.5, "vpo": vpo}
        run = make_run().with_spec(training={"objective": objective}).scheduled(1, pairs="Offline")
        return config_of(run, 1, Phase.TRAINING).training.objective.alpha

    assert alpha(calibration="Chosen") == 0.5
    assert alpha() == 0.0


def test_portions_are_the_iterations_where_none_are_given() -> None:
    run = make_run().with_iterations(3)
    del run.spec["data"]["portions"]
    assert config_of(run, 0, Phase.PREPARATION).data.portions == 3
    assert config_of(make_run().with_iterations(2), 0, Phase.PREPARATION).data.portions == 3


def test_ranks_are_the_gpus_of_a_node_else_one() -> None:
    assert config_of(make_run().with_nodes(2, gpus=8), 1, Phase.TRAINING).training.ranks_per_node == 8
    assert config_of(make_run().with_nodes(2), 1, Phase.TRAINING).training.ranks_per_node == 1


def test_engines_of_a_generating_pod_are_those_that_its_gpus_hold() -> None:
    limits = {"resources": {"limits": {"nvidia.com/gpu": 8}}}
    generation = {"tensorParallelSize": 2, "policies": ["Reference", "Current"], **limits}
    config = config_of(make_run().with_spec(generation=generation), 1, Phase.GENERATION).generation
    assert config.engines_per_pod == 4
    assert config.policies == ("Current", "Reference")
    assert config_of(make_run(), 1, Phase.GENERATION).generation.engines_per_pod == 1


def test_a_push_reaches_no_phase_before_it() -> None:
    run, pushing = make_run(), make_run().with_spec(push={"uri": "s3://models/aligned", "model": "Final"})
    for phase in Phase:
        same = config_of(run, 1, phase) == config_of(pushing, 1, phase)
        assert same is (phase is not Phase.PUSH), phase


def test_the_rendezvous_is_pod_0_of_the_attempt_with_a_port_of_its_own() -> None:
    first, second = (config_of(make_run(), 1, Phase.TRAINING, n).training.rendezvous for n in (1, 2))
    assert first is not None
    assert second is not None
    assert first.master_address == "tiny-i1-train-a1-0.tiny-train"
    assert second.master_address == "tiny-i1-train-a2-0.tiny-train"
    assert first.master_port != second.master_port
    assert 20000 <= first.master_port < 30000
    assert config_of(make_run(), 1, Phase.GENERATION).training.rendezvous is None


def test_absent_fields_of_scorers_mean_the_contracts_defaults() -> None:
    scorer = config_of(make_run(), 1, Phase.SCORING).scoring.scorers[0]
    assert scorer.weight == 1.0
    assert scorer.rules is not None
    assert (scorer.rules[0].type, scorer.rules[0].weight, scorer.rules[0].target) == ("Length", 1.0, 20)


PAIRS: list[tuple[type[contract.ContractModel], type[ApiModel]]] = [
    (contract.ArtifactsConfig, ArtifactsSpec),
    (contract.ModelConfig, ModelSpec),
    (contract.DataConfig, DataSpec),
    (contract.GenerationConfig, GenerationSpec),
    (contract.ScoringConfig, ScoringSpec),
    (contract.ScorerConfig, Scorer),
    (contract.PairingConfig, PairingSpec),
    (contract.TrainingConfig, TrainingSpec),
    (contract.ObjectiveConfig, ObjectiveSpec),
    (contract.OptimizerConfig, OptimizerSpec),
    (contract.CheckpointConfig, CheckpointSpec),
]
RESOLVED = {"pairs", "rendezvous"}
"""Fields of the contract that the operator makes, and the spec does not have."""


def test_every_field_of_the_contract_is_one_of_the_spec_or_is_resolved() -> None:
    for target, source in PAIRS:
        assert set(target.model_fields) - RESOLVED <= set(source.model_fields), target.__name__
