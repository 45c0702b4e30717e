"""docs/operations.md lists what there is: reasons, settings, exit codes, fields of the log."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from selm_operator.constants import ConditionType, Reason
from selm_operator.logs import FIELDS
from selm_operator.settings import Settings, read_settings
from selm_runtime.contract import ExitCode

TEXT = (Path(__file__).parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")


def first_column(heading: str) -> list[str]:
    """The words in code of the first column of the table below a heading."""
    section = TEXT.split(f"{heading}\n", 1)[1]
    section = re.split(r"\n#+ ", section, maxsplit=1)[0]
    return re.findall(r"^\| `(\w+)`", section, re.M)


def values(holder: type) -> list[str]:
    return [value for name, value in vars(holder).items() if name.isupper()]


def test_every_reason_has_its_row_and_no_other() -> None:
    assert sorted(first_column("### Reasons")) == sorted(values(Reason))


def test_every_condition_has_its_row() -> None:
    assert first_column("## Conditions") == values(ConditionType)


def test_every_setting_has_its_row_and_no_other() -> None:
    known = set(re.findall(r"^ +(SELM_\w+)", Settings.__doc__ or "", re.M))
    assert set(first_column("### Settings")) == known


class Recorder(dict[str, str]):
    """Remembers which variables were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[str] = set()

    def get(self, key: str, default: object = None) -> object:  # type: ignore[override]
        self.asked.add(key)
        return default


def test_the_settings_that_are_read_are_those_that_are_described() -> None:
    recorder = Recorder()
    read_settings(recorder)
    assert recorder.asked == set(re.findall(r"^ +(SELM_\w+)", Settings.__doc__ or "", re.M))


@pytest.mark.parametrize("code", ExitCode)
def test_every_exit_code_has_its_row(code: ExitCode) -> None:
    assert f"\n| {int(code)} |" in TEXT


def test_the_fields_of_the_log_are_named() -> None:
    assert not [field for field in FIELDS if f"`{field}`" not in TEXT]
