"""The manual's helm commands, carried out by a real Helm engine; what they apply and name is there."""

from __future__ import annotations

import re
import shlex
from functools import reduce
from itertools import pairwise

import helm_python
import pytest

from support.chart import Json, of_kind, render
from support.selmruns import REPOSITORY

DOCUMENTS = ("README.md", "docs/install.md", "charts/selm-operator/README.md")


def commands(program: str) -> list[list[str]]:
    """The words of each command of a program in the manual's console blocks."""
    found = []
    for document in DOCUMENTS:
        text = (REPOSITORY / document).read_text(encoding="utf-8")
        for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            found += [shlex.split(line, comments=True) for line in lines if line.startswith(f"{program} ")]
    return found


def values_of(words: list[str]) -> Json:
    """What the command's `--set` say, by Helm's own parser."""
    given = [after for word, after in pairwise(words) if word == "--set"]
    return reduce(merged, map(helm_python.parse_set_string, given), {})


def merged(base: Json, more: Json) -> Json:
    both = {key: merged(base[key], value) for key, value in more.items() if isinstance(base.get(key), dict)}
    return {**base, **more, **both}


INSTALLS = [words for words in commands("helm") if words[1] in ("install", "upgrade")]


@pytest.mark.parametrize("words", INSTALLS, ids=" ".join)
def test_what_the_manual_installs_can_be_installed(words: list[str]) -> None:
    release, chart = words[2:4]
    assert chart == "charts/selm-operator"
    namespace = words[words.index("--namespace") + 1]
    objects = render(values_of(words), release=release, namespace=namespace)
    assert of_kind(objects, "Deployment")[0]["metadata"]["namespace"] == namespace


def test_there_are_commands_to_try() -> None:
    assert len(INSTALLS) >= 5


def test_the_table_of_settings_names_values_that_the_chart_has() -> None:
    text = (REPOSITORY / "docs" / "install.md").read_text(encoding="utf-8")
    settings = re.findall(r"(?m)^\| [^|]+ \| `([^`]+)`", text)
    assert len(settings) >= 6
    for setting in settings:
        render(helm_python.parse_set_string(setting))


def test_the_namespaced_installation_leaves_nothing_at_cluster_scope() -> None:
    (words,) = [words for words in INSTALLS if "rbac.aggregateToUserRoles=false" in words]
    assert [obj for obj in render(values_of(words)) if "namespace" not in obj["metadata"]] == []


def test_files_that_commands_name_are_there() -> None:
    for words in commands("kubectl"):
        for flag, file in pairwise(words):
            assert flag != "-f" or (REPOSITORY / file).is_file(), file
