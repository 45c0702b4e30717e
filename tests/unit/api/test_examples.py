"""Every example is a SELMRun that this build admits and runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from selm_operator.api.load import load_yaml
from selm_operator.api.possible import impossible
from selm_operator.api.spec import SELMRunSpec
from selm_operator.api.support import not_yet_supported
from selm_operator.api.validate import validate_spec
from support.crd_answers import crd_answer
from support.selmruns import REPOSITORY

EXAMPLES = sorted((REPOSITORY / "examples").glob("*.yaml"))


def test_the_examples_are_there() -> None:
    assert {"zephyr-7b.yaml", "llama-3-8b.yaml", "llama-3-70b.yaml", "alpha-zero.yaml"} <= {e.name for e in EXAMPLES}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example_is_admitted_and_supported(example: Path) -> None:
    run = load_yaml(example.read_text(encoding="utf-8"))
    assert validate_spec(run) == []
    assert crd_answer(run)[1] == []
    spec = SELMRunSpec.model_validate(run["spec"])
    assert not_yet_supported(spec) == []
    assert impossible(spec) == []


def test_the_control_arm_differs_from_the_zephyr_run_in_alpha_alone() -> None:
    treated, control = (
        SELMRunSpec.model_validate(load_yaml((REPOSITORY / "examples" / name).read_text(encoding="utf-8"))["spec"])
        for name in ("zephyr-7b.yaml", "alpha-zero.yaml")
    )
    assert control.training.objective.alpha == 0
    objective = control.training.objective.model_copy(update={"alpha": treated.training.objective.alpha})
    restored = control.model_copy(update={"training": control.training.model_copy(update={"objective": objective})})
    assert restored == treated
