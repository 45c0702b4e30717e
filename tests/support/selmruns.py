"""SELMRuns for tests of the API: the table of good and bad ones, small ones, and whether an answer names a field."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

from selm_operator.api.load import load_yaml

REPOSITORY = Path(__file__).parents[2]
TABLE = REPOSITORY / "tests" / "data" / "specs.yaml"

Json = dict[str, Any]


def minimal_spec() -> Json:
    """The shortest spec that is admitted."""
    return {
        "model": {"uri": "s3://models/base"},
        "data": {"uri": "s3://data/prefs"},
        "scoring": {"scorers": [{"name": "style", "rules": [{"type": "Length", "target": 12}]}]},
        "artifacts": {"uri": "s3://selm/runs"},
    }


def run_object(spec: Any, name: str = "run", **metadata: Any) -> Json:
    """A SELMRun with that spec; None leaves the spec out."""
    run: Json = {"apiVersion": "selm.dev/v1alpha1", "kind": "SELMRun", "metadata": {"name": name, **metadata}}
    return run if spec is None else {**run, "spec": copy.deepcopy(spec)}


@functools.cache
def cases() -> list[Json]:
    """The table's cases."""
    loaded: list[Json] = load_yaml(TABLE.read_text(encoding="utf-8"))["cases"]
    return loaded


def is_beneath(field: str, expected: str) -> bool:
    """Whether a named field is the expected one or one inside it."""
    return field == expected or field.startswith((f"{expected}.", f"{expected}["))
