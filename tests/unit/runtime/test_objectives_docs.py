"""The manual's table of objectives says what the registry says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from selm_runtime.contract import OBJECTIVE_PARAMETERS, ObjectiveConfig
from selm_runtime.train.objectives import OBJECTIVES

PAGE = (Path(__file__).parents[3] / "docs" / "objectives.md").read_text(encoding="utf-8")


def rows() -> dict[str, dict[str, str]]:
    """The table by type; a pipe within a cell is escaped."""
    lines = [line for line in PAGE.splitlines() if line.startswith("|")]
    head, _, *body = ([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines)
    return {cells[0].strip("`"): dict(zip(head, cells, strict=True)) for cells in body}


def test_every_objective_has_one_row_and_every_row_an_objective() -> None:
    assert set(rows()) == set(OBJECTIVES)
    assert len(rows()) == len([line for line in PAGE.splitlines() if line.startswith("| `")])


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_a_row_names_needs_and_parameters(kind: str) -> None:
    row, objective = rows()[kind], OBJECTIVES[kind]
    config = ObjectiveConfig.model_validate({"type": kind, "alpha": 0.1, "beta": 0.1})
    needs = row["Needs"]
    assert ("no reference" not in needs and "reference" in needs) == objective.needs_reference
    assert ("explored" in needs) == objective.explores(config)
    assert ("token counts" in needs) == objective.needs_tokens
    assert ("all iterations" in needs) == objective.needs_age
    assert ("running figures" in needs) == (objective.observes is not None)
    told = set(re.findall(r"`([^`]+)`", row["Parameters"]))
    names = {"optimism_weighting": "optimismWeighting"}
    expected = {names.get(name, name) for name in objective.reads}
    group = OBJECTIVE_PARAMETERS.get(kind)
    if group:
        fields = next(v for k, v in config if v is not None and (type(config).model_fields[k].alias or k) == group)
        expected |= {f"{group}.{field.alias or name}" for name, field in type(fields).model_fields.items()}
    assert told == expected


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_a_row_names_its_source_and_the_module_names_the_same(kind: str) -> None:
    sources = re.findall(r"\[(\d{4}\.\d{5})\]\(https://arxiv\.org/abs/\1\)", rows()[kind]["Source"])
    assert sources or "](https://" in rows()[kind]["Source"]
    module = OBJECTIVES[kind].evaluate.__module__
    words = __import__(module, fromlist=["__doc__"]).__doc__ or ""
    assert [source for source in sources if source not in words] == []
