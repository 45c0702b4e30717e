"""What holds of all objectives, and of how they are asked; each one's formula: `test_objectives_formulas.py`."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from selm_runtime.contract import OBJECTIVE_PARAMETERS, ObjectiveConfig, PhaseConfig
from selm_runtime.reporting import MOST_METRICS
from selm_runtime.train import guard, metrics
from selm_runtime.train.objectives import (
    OBJECTIVES,
    Needs,
    Record,
    Running,
    Sums,
    explored_policy,
    in_force,
    needs_of,
    settings_that_count,
)
from selm_runtime.train.objectives.selm import optimism_weight
from support.phase_configs import phase_config

PAIRS = 7
EXPLORING = ("SELM", "XPO", "VPO", "SEPOPO")
LN_2_AT_THE_REFERENCE = ("SELM", "DPO", "XPO", "VPO", "SEPOPO", "RobustDPO", "ConservativeDPO", "NSDPO")


def log_probs(seed: int, count: int = PAIRS) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return -30.0 * torch.rand(count, dtype=torch.float64, generator=generator) - 0.1


def sums(seed: int) -> Sums:
    return Sums(log_probs(seed), log_probs(seed + 1), log_probs(seed + 2))


def record(policy: Sums, reference: Sums | None = None, **more: Any) -> Record:
    counts = torch.arange(1, PAIRS + 1)
    given: dict[str, Any] = {
        "tokens": Sums(counts, counts + 2, counts + 4),
        "age": torch.zeros(PAIRS),
        "running": Running(0.0, 1.0),
        **more,
    }
    return Record(policy, reference, **given)


def settings(kind: str = "SELM", **changes: Any) -> ObjectiveConfig:
    return ObjectiveConfig.model_validate({"type": kind, "alpha": 0.3, "beta": 0.2, **changes})


def test_the_gradient_is_equation_4_3() -> None:
    """beta sigma(r_l - r_w) (grad log pi_w - grad log pi_l) for the maximised part, -alpha beta on the explored one."""
    policy, reference, config = sums(1), sums(11), settings()
    assert policy.explored is not None
    for tensor in (policy.chosen, policy.rejected, policy.explored):
        tensor.requires_grad_()
    OBJECTIVES["SELM"].evaluate(record(policy, reference), config).losses.sum().backward()
    reward_w = config.beta * (policy.chosen.detach() - reference.chosen)
    reward_l = config.beta * (policy.rejected.detach() - reference.rejected)
    push = config.beta * torch.sigmoid(reward_l - reward_w)
    torch.testing.assert_close(policy.chosen.grad, -push, rtol=0, atol=1e-12)
    torch.testing.assert_close(policy.rejected.grad, push, rtol=0, atol=1e-12)
    weight = torch.full_like(push, config.alpha * config.beta)
    torch.testing.assert_close(policy.explored.grad, weight, rtol=0, atol=1e-12)


def test_the_guard_has_a_log_ratio_of_whatever_responses_an_exploring_term_lowers() -> None:
    policy, reference = sums(1), sums(11)

    def ratios_of(config: ObjectiveConfig) -> dict[str, list[float]]:
        found = OBJECTIVES[config.type].evaluate(record(policy, reference), config).metrics
        return {name: found[name].tolist() for name in guard.WATCHED if name in found}

    rejected = {"loweredLogRatio": (policy.rejected - reference.rejected).tolist()}
    chosen = {"loweredLogRatio": (policy.chosen - reference.chosen).tolist()}
    assert ratios_of(settings("GEB")) == rejected
    assert ratios_of(settings("VPO", vpo={"sign": "Online", "calibration": "Chosen"})) == chosen
    for kind in EXPLORING:
        assert list(ratios_of(settings(kind))) == ["exploredLogRatio"]
    raises = settings("VPO", vpo={"sign": "Offline", "calibration": "Chosen"})
    for config in (settings("DPO"), settings("RPO"), settings("GEB", alpha=0.0), settings("VPO", alpha=0.0), raises):
        assert ratios_of(config) == {}


@pytest.mark.parametrize("kind", LN_2_AT_THE_REFERENCE)
def test_at_the_reference_the_preference_part_is_ln_2_and_the_exploring_part_0(kind: str) -> None:
    same = sums(3)
    result = OBJECTIVES[kind].evaluate(record(same, same), settings(kind))
    torch.testing.assert_close(result.losses, torch.full((PAIRS,), math.log(2.0), dtype=torch.float64))
    if kind in EXPLORING:
        assert torch.equal(result.metrics["optimism"], torch.zeros(PAIRS, dtype=torch.float64))


@pytest.mark.parametrize("kind", EXPLORING)
def test_without_weight_an_exploring_objective_is_dpo_to_the_bit_and_does_not_ask_for_the_explored(kind: str) -> None:
    policy, reference = sums(4), sums(14)
    pair, other = Sums(policy.chosen, policy.rejected), Sums(reference.chosen, reference.rejected)
    ours = OBJECTIVES[kind].evaluate(record(pair, other), settings(kind, alpha=0.0))
    dpo = OBJECTIVES["DPO"].evaluate(record(pair, other), settings("DPO"))
    assert torch.equal(ours.losses, dpo.losses)
    assert ours.metrics.keys() == dpo.metrics.keys()
    assert not OBJECTIVES[kind].explores(settings(kind, alpha=0.0))
    assert not OBJECTIVES["DPO"].explores(settings("DPO"))
    assert OBJECTIVES[kind].explores(settings(kind))


@pytest.mark.parametrize("kind", EXPLORING)
def test_a_missing_explored_response_is_an_error_and_not_a_term_of_0(kind: str) -> None:
    pair = Sums(log_probs(1), log_probs(2))
    with pytest.raises(ValueError, match="explored"):
        OBJECTIVES[kind].evaluate(record(pair, pair), settings(kind))


@pytest.mark.parametrize(("weighting", "expected"), [("AlphaBeta", 0.06), ("Alpha", 0.3)])
def test_the_optimism_terms_weight_is_alpha_beta_or_alpha(weighting: str, expected: float) -> None:
    assert optimism_weight(settings(optimism_weighting=weighting)) == pytest.approx(expected)


def test_gradients_add_where_the_explored_response_is_the_chosen_one() -> None:
    policy, reference, config = sums(7), sums(17), settings()
    shared, rejected = policy.chosen.requires_grad_(), policy.rejected
    OBJECTIVES["SELM"].evaluate(
        record(Sums(shared, rejected, shared), Sums(reference.chosen, reference.rejected, reference.chosen)), config
    ).losses.sum().backward()
    margin = config.beta * ((shared.detach() - reference.chosen) - (rejected - reference.rejected))
    expected = -config.beta * torch.sigmoid(-margin) + config.alpha * config.beta
    torch.testing.assert_close(shared.grad, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_an_objective_does_with_what_it_asks_for_and_reports_what_all_report(kind: str) -> None:
    """A record cut down to its declared needs gives the same loss: what is undeclared is not read."""
    objective, config = OBJECTIVES[kind], settings(kind)
    explored = objective.explores(config)
    policy, reference = sums(20), sums(30)

    def trimmed(of: Sums) -> Sums:
        return of if explored else Sums(of.chosen, of.rejected)

    whole = record(policy, reference, scores=Sums(log_probs(1), log_probs(2)))
    given = Record(
        trimmed(policy),
        trimmed(reference) if objective.needs_reference else None,
        tokens=whole.tokens if objective.needs_tokens else None,
        scores=whole.scores if objective.needs_scores else None,
        age=whole.age if objective.needs_age else None,
        running=whole.running if objective.observes else None,
    )
    ours = objective.evaluate(given, config)
    assert torch.equal(ours.losses, objective.evaluate(whole, config).losses)
    assert ours.losses.shape == (PAIRS,)
    common = {"loss", "preferenceLoss", "rewardChosen", "rewardRejected", "rewardMargin", "rewardAccuracy"}
    assert common <= ours.metrics.keys()
    assert ("exploredLogRatio" in ours.metrics) == explored
    assert torch.equal(ours.metrics["loss"], ours.losses)
    assert not any(metric.requires_grad for metric in ours.metrics.values())


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_a_loss_does_not_depend_on_the_pairs_beside_it(kind: str) -> None:
    """What makes the mean over a step independent of ranks and micro-batches."""
    config, policy, reference = settings(kind), sums(40), sums(50)
    whole = OBJECTIVES[kind].evaluate(record(policy, reference), config).losses
    counts = record(policy).tokens
    assert counts is not None

    def at(of: Sums, i: int) -> Sums:
        return Sums(*(None if t is None else t[i : i + 1] for t in (of.chosen, of.rejected, of.explored)))  # type: ignore[arg-type]

    for i in range(PAIRS):
        alone = record(at(policy, i), at(reference, i), tokens=at(counts, i), age=torch.zeros(1))
        torch.testing.assert_close(
            OBJECTIVES[kind].evaluate(alone, config).losses, whole[i : i + 1], rtol=0, atol=1e-15
        )


@pytest.mark.parametrize("kind", EXPLORING)
def test_of_several_explored_responses_the_mean_counts_and_a_pair_without_any_has_no_term(kind: str) -> None:
    config, policy, reference = settings(kind), sums(60), sums(70)
    owner = torch.tensor([0, 0, 0, 2, 2])
    policy = Sums(policy.chosen, policy.rejected, log_probs(80, 5))
    reference = Sums(reference.chosen, reference.rejected, log_probs(81, 5))
    several = OBJECTIVES[kind].evaluate(record(policy, reference, explored_of=owner), config)
    dpo = OBJECTIVES["DPO"].evaluate(record(policy, reference), settings("DPO")).losses
    singles = []
    for k in range(5):
        one = torch.full((PAIRS,), k)
        alone = record(
            Sums(policy.chosen, policy.rejected, policy.explored[one] if policy.explored is not None else None),
            Sums(
                reference.chosen,
                reference.rejected,
                reference.explored[one] if reference.explored is not None else None,
            ),
        )
        singles.append(OBJECTIVES[kind].evaluate(alone, config).metrics["optimism"][0])
    optimism = several.metrics["optimism"]
    torch.testing.assert_close(optimism[0], torch.stack(singles[:3]).mean())
    torch.testing.assert_close(optimism[2], torch.stack(singles[3:]).mean())
    assert torch.equal(several.losses[1], dpo[1])
    assert several.metrics["exploredLogRatio"].shape == (5,)


def test_sepopos_bonus_is_bounded_and_has_slope_alpha_over_4_at_equality() -> None:
    config = settings("SEPOPO")
    explored = torch.tensor([-1e3, 0.0, 1e3], dtype=torch.float64, requires_grad=True)
    flat = torch.zeros(3, dtype=torch.float64)
    result = OBJECTIVES["SEPOPO"].evaluate(Record(Sums(flat, flat, explored), Sums(flat, flat, flat)), config)
    bound = config.alpha / (2 * config.beta)
    expected = torch.tensor([-bound, 0.0, bound], dtype=torch.float64)
    torch.testing.assert_close(result.metrics["optimism"], expected)
    result.losses.sum().backward()
    assert explored.grad is not None
    assert float(explored.grad[1]) == pytest.approx(config.alpha / 4)


def test_vpo_on_the_explored_is_selm_and_offline_on_the_chosen_is_rpo() -> None:
    policy, reference = sums(90), sums(95)
    given = record(policy, reference)
    selm = OBJECTIVES["SELM"].evaluate(given, settings("SELM")).losses
    assert torch.equal(OBJECTIVES["VPO"].evaluate(given, settings("VPO")).losses, selm)
    pessimist = settings("VPO", vpo={"sign": "Offline", "calibration": "Chosen"})
    rpo = settings("RPO", rpo={"lambda": 0.3, "norm": "Sum"})
    shift = 0.3 * 0.2 * reference.chosen  # a constant of the parameters
    torch.testing.assert_close(
        OBJECTIVES["VPO"].evaluate(given, pessimist).losses, OBJECTIVES["RPO"].evaluate(given, rpo).losses + shift
    )


def test_gebs_bonus_leaves_the_datas_own_pairs_alone() -> None:
    policy, reference, config = sums(1), sums(2), settings("GEB")
    online = torch.tensor([1.0, 0.0] * 3 + [1.0])
    whole = OBJECTIVES["GEB"].evaluate(record(policy, reference), config)
    mixed = OBJECTIVES["GEB"].evaluate(record(policy, reference, online=online), config)
    torch.testing.assert_close(mixed.metrics["optimism"], whole.metrics["optimism"] * online)


# Parameters, needs, and what counts


def test_a_types_own_group_is_filled_in_so_that_equal_meanings_are_equal() -> None:
    for kind, alias in OBJECTIVE_PARAMETERS.items():
        absent, empty = settings(kind), settings(kind, **{alias: {}})
        assert absent == empty
        groups = absent.model_dump(
            by_alias=True, include={f for f in type(absent).model_fields if f.endswith(("po", "geb"))}
        )
        assert [name for name, value in groups.items() if value is not None] == [alias]


def test_a_group_of_another_type_is_refused() -> None:
    with pytest.raises(ValueError, match="simPO is given, but the objective is DPO"):
        settings("DPO", simPO={"gamma": 1.0})


def config(objective: dict[str, Any], **training: Any) -> PhaseConfig:
    policies = training.pop("policies", ["Current"])
    return phase_config(
        phase="Training",
        iteration=3,
        generation={"policies": policies},
        training={"objective": {"alpha": 0.3, "beta": 0.2, **objective}, **training},
    )


NEEDS: dict[str, tuple[dict[str, Any], dict[str, Any], Needs]] = {
    "SELM": ({"type": "SELM"}, {}, Needs(explored=True, reference=True, past=False)),
    "SELM at alpha 0": ({"type": "SELM", "alpha": 0}, {}, Needs(explored=False, reference=True, past=False)),
    "SELM offline": ({"type": "SELM"}, {"pairs": "Offline"}, Needs(explored=False, reference=True, past=False)),
    "XPO": ({"type": "XPO"}, {}, Needs(explored=True, reference=True, past=False)),
    "XPO, fixed reference": (
        {"type": "XPO"},
        {"reference": "Initial"},
        Needs(explored=True, reference=True, past=True),
    ),
    "XPO, fixed reference, offline": (
        {"type": "XPO"},
        {"reference": "Initial", "pairs": "Offline"},
        Needs(explored=False, reference=True, past=False),
    ),
    "SELM, fixed reference": ({"type": "SELM"}, {"reference": "Initial"}, Needs(True, True, False)),
    "NSDPO": ({"type": "NSDPO"}, {}, Needs(explored=False, reference=True, past=True)),
    "SimPO": ({"type": "SimPO"}, {}, Needs(explored=False, reference=False, past=False)),
    "VPO on the chosen": ({"type": "VPO", "vpo": {"calibration": "Chosen"}}, {}, Needs(False, True, False)),
}


@pytest.mark.parametrize("what", NEEDS)
def test_needs(what: str) -> None:
    objective, training, expected = NEEDS[what]
    assert needs_of(config(objective, **training)) == expected


def test_an_exploring_alpha_is_off_with_the_datas_own_pairs_and_a_regularising_one_is_not() -> None:
    chosen = {"calibration": "Chosen"}
    assert in_force(config({"type": "SELM"}, pairs="Offline")).alpha == 0.0
    assert in_force(config({"type": "GEB"}, pairs="Offline")).alpha == 0.0
    assert in_force(config({"type": "VPO"}, pairs="Offline")).alpha == 0.0
    assert in_force(config({"type": "VPO", "vpo": chosen}, pairs="Offline")).alpha == 0.3
    assert in_force(config({"type": "SELM"})).alpha == 0.3


def test_xpo_explores_the_references_responses_where_there_are_some() -> None:
    both = ["Current", "Reference"]
    assert explored_policy(config({"type": "XPO"}, policies=both)) == "Reference"
    assert explored_policy(config({"type": "XPO"})) == "Current"
    assert explored_policy(config({"type": "SELM"}, policies=both)) == "Current"
    assert explored_policy(config({"type": "DPO"}, policies=both)) is None


COUNTING: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({"type": "DPO"}, {"alpha": 0.7}, False),
    ({"type": "DPO"}, {"explored": "Mean"}, False),
    ({"type": "DPO"}, {"beta": 0.7}, True),
    ({"type": "SELM"}, {"alpha": 0.7}, True),
    ({"type": "SELM"}, {"explored": "Mean"}, True),
    ({"type": "SELM", "alpha": 0}, {"explored": "Mean"}, False),
    ({"type": "SELM", "alpha": 0}, {"optimismWeighting": "Alpha"}, False),
    ({"type": "XPO"}, {"optimismWeighting": "Alpha"}, False),
    ({"type": "SimPO"}, {"simPO": {"gamma": 0.2}}, True),
    ({"type": "SimPO"}, {"simPO": {"gamma": 1.0}}, False),
    ({"type": "GEB"}, {"geb": {"bonus": "Atanh"}}, True),
    ({"type": "AlphaDPO"}, {"alphaDPO": {"alpha": 0.5}}, True),
]


@pytest.mark.parametrize(("objective", "change", "counts"), COUNTING)
def test_what_counts_is_what_changes_the_loss(objective: dict[str, Any], change: dict[str, Any], counts: bool) -> None:
    before, after = settings_that_count(config(objective)), settings_that_count(config({**objective, **change}))
    assert (before != after) == counts


def test_what_an_objective_needs_is_known_without_torch() -> None:
    code = (
        "import sys; from selm_runtime import inputs; from selm_runtime.train.objectives import OBJECTIVES; "
        "sys.exit(len(OBJECTIVES) != 14 or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_every_objectives_last_values_have_room_in_the_status(kind: str) -> None:
    """A step's metrics are the objective's own, as the loop completes them."""
    evaluated = OBJECTIVES[kind].evaluate(record(sums(1), sums(11)), settings(kind))
    step = {name: float(values.mean()) for name, values in evaluated.metrics.items()}
    step |= {"observedMean": 0.0, "observedDeviation": 1.0, "gradNorm": 1.0, "learningRate": 1e-6}
    step |= metrics.estimates(step)
    manifest = metrics.summary([step, step])
    told = metrics.told(manifest, dict.fromkeys(("tokensPerSecond", "pairsPerSecond", "mfu", "memoryGiB"), 1.0))
    assert max(len(manifest), len(told)) <= MOST_METRICS
    explored = {"exploredLogRatioLast"} if "exploredLogRatio" in step else set()
    assert told.keys() >= {"lossLast", "rewardMarginLast", "rewardChosenLast"} | explored
    assert explored or not OBJECTIVES[kind].explores(settings(kind))
