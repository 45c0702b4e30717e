"""Generated files are current, and the generator says when they are not."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from selm_operator.api.crd import crd_yaml, custom_resource_definition
from selm_operator.api.generate import generated_files, main, stale_files
from support.selmruns import REPOSITORY


def test_generated_files_are_current() -> None:
    assert stale_files(REPOSITORY) == []


def test_the_yaml_says_what_the_models_say() -> None:
    assert yaml.safe_load(crd_yaml()) == custom_resource_definition()


def test_check_fails_until_files_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", "--root", str(tmp_path)]) == 1
    assert "crds/selmruns.selm.dev.yaml is not current" in capsys.readouterr().err
    assert main(["--root", str(tmp_path)]) == 0
    assert main(["--check", "--root", str(tmp_path)]) == 0
    (tmp_path / "docs" / "reference.md").write_text("older", encoding="utf-8")
    assert stale_files(tmp_path) == ["docs/reference.md"]


def test_generation_is_deterministic() -> None:
    assert generated_files() == generated_files()
