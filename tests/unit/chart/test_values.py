"""Values: bad ones are refused with a clear word, every one is described, has a schema and reaches an object."""

from __future__ import annotations

import copy
import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import helm_python
import pytest
import yaml

from selm_operator.settings import Settings
from support.chart import CHART, Json, render, render_texts
from support.selmruns import REPOSITORY

SCHEMA: Json = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
VALUES: Json = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))

REFUSED = [
    ({"replicas": 2}, "additional properties 'replicas' not allowed"),
    ({"image": {"tga": "1"}}, "at '/image': additional properties 'tga' not allowed"),
    ({"metrics": {"serviceMonitor": {"intervall": "1m"}}}, "additional properties 'intervall' not allowed"),
    ({"replicaCount": "two"}, "at '/replicaCount': got string, want integer"),
    ({"image": {"pullPolicy": "Sometimes"}}, "'Always', 'IfNotPresent', 'Never'"),
    ({"image": {"digest": "sha256:12"}}, "at '/image/digest'"),
    ({"image": {"registry": "https://registry.example.org"}}, "at '/image/registry'"),
    ({"image": {"repository": ""}}, "at '/image/repository'"),
    ({"operator": {"logFormat": "xml"}}, "at '/operator/logFormat': value must be one of 'json', 'text'"),
    ({"operator": {"workers": 0}}, "at '/operator/workers'"),
    ({"operator": {"httpPort": 80}}, "at '/operator/httpPort'"),
    ({"watchNamespaces": "team-a"}, "at '/watchNamespaces': got string, want array"),
    ({"watchNamespaces": ["Team_A"]}, "at '/watchNamespaces/0'"),
    ({"runtime": {"preparationResources": {"limits": {"memory": "lots"}}}}, "at '/runtime/preparationResources/limits"),
    ({"resources": {"limit": {}}}, "at '/resources': additional properties 'limit' not allowed"),
    ({"crds": {"enabled": "false"}}, "at '/crds/enabled': got string, want boolean"),
    ({"podLabels": {"a": "not a label"}}, "at '/podLabels/a'"),
    ({"podDisruptionBudget": {"maxUnavailable": 0}}, "at '/podDisruptionBudget/maxUnavailable'"),
    ({"extraEnv": [{"value": "1"}]}, "at '/extraEnv/0': missing property 'name'"),
    (
        {"extraEnv": [{"name": "SELM_WORKERS", "value": "1"}]},
        "SELM_WORKERS is set by the chart itself, from operator.work",
    ),
    ({"serviceAccount": {"create": False}}, "the name of an existing ServiceAccount is needed"),
    (
        {"metrics": {"enabled": False, "serviceMonitor": {"enabled": True}}},
        "a ServiceMonitor needs the Service of metrics.enabled=true",
    ),
]


@pytest.mark.parametrize(("values", "told"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_bad_values_are_refused_with_their_place(values: Json, told: str) -> None:
    with pytest.raises(helm_python.HelmError) as refusal:
        render(values)
    assert told in str(refusal.value)


def test_as_a_dependency_it_takes_helms_own_global() -> None:
    assert render({"global": {"region": "eu"}}) == render()


def test_defaults_pass_their_own_schema() -> None:
    with helm_python.Chart.load(CHART) as chart:
        chart.validate_schema(VALUES)


def test_the_preparations_default_is_the_operators() -> None:
    assert VALUES["runtime"]["preparationResources"] == Settings().preparation_resources


# --- every value


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_chart", REPOSITORY / "scripts" / "generate_chart.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def paths() -> list[str]:
    node = yaml.compose((CHART / "values.yaml").read_text(encoding="utf-8"))
    return [path for path, _, _ in generator().leaves(node, SCHEMA, SCHEMA)]


def test_generated_files_are_current(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = generator().main
    assert main(["--check", "--root", str(REPOSITORY)]) == 0
    for folder in ("crds", "charts"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder)
    changed = tmp_path / "charts" / "selm-operator" / "values.yaml"
    changed.write_text(changed.read_text(encoding="utf-8").replace("replicaCount: 1", "replicaCount: 3"), "utf-8")
    assert main(["--check", "--root", str(tmp_path)]) == 1
    assert "charts/selm-operator/README.md is not current" in capsys.readouterr().err
    assert main(["--root", str(tmp_path)]) == 0
    assert main(["--check", "--root", str(tmp_path)]) == 0


def test_every_value_is_described() -> None:
    table = [line for line in (CHART / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    rows = {line.split("`")[1]: line.rstrip(" |").rsplit("|", 1)[1].strip() for line in table}
    assert sorted(rows) == sorted(paths())
    assert [path for path, text in rows.items() if not text] == []


def test_every_value_of_the_schema_has_a_default() -> None:
    def walk(part: Json, default: Any, path: str) -> None:
        for key, sub in part.get("properties", {}).items():
            if path + key in ("global", "resources.claims"):
                continue
            assert key in default, f"{path}{key} has no default in values.yaml"
            if path + key not in ("resources", "runtime.preparationResources"):
                walk(generator().resolved(sub, SCHEMA), default[key], f"{path}{key}.")

    walk(SCHEMA, VALUES, "")


OTHER: dict[str, Any] = {
    "nameOverride": "other",
    "replicaCount": 3,
    "crds.keep": False,
    "image.pullPolicy": "Always",
    "operator.logFormat": "text",
    "operator.workers": 7,
    "operator.httpPort": 9999,
    "terminationGracePeriodSeconds": 99,
    "metrics.serviceMonitor.interval": "61s",
    "metrics.serviceMonitor.scrapeTimeout": "7s",
    "image.digest": "sha256:" + "1" * 64,
    "runtime.image.digest": "sha256:" + "1" * 64,
    "podDisruptionBudget.maxUnavailable": "20%",
    "networkPolicy.apiServerPorts": [8443],
    "imagePullSecrets": [{"name": "other"}],
    "watchNamespaces": ["other"],
    "extraEnv": [{"name": "OTHER", "value": "1"}],
    "tolerations": [{"operator": "Exists"}],
    "runtime.preparationResources": {"limits": {"memory": "99Gi"}},
    "resources": {"limits": {"memory": "99Gi"}},
    "podSecurityContext": {"fsGroup": 7},
    "securityContext": {"privileged": True},
}


@pytest.mark.parametrize("path", paths())
def test_every_value_has_an_effect(path: str) -> None:
    """A value that no template reads would be a promise that nobody keeps."""
    base = VALUES | {"replicaCount": 2}
    base |= copy.deepcopy({name: VALUES[name] for name in ("metrics", "networkPolicy", "serviceAccount")})
    base["metrics"]["serviceMonitor"]["enabled"] = True
    base["networkPolicy"]["enabled"] = True
    changed = copy.deepcopy(base)
    *parents, leaf = path.split(".")
    group = changed
    for name in parents:
        group = group[name]
    before = group[leaf]
    if path in OTHER:
        group[leaf] = OTHER[path]
    elif isinstance(before, bool):
        group[leaf] = not before
        if path in ("metrics.enabled", "serviceAccount.create"):  # each with what it needs
            changed["metrics"]["serviceMonitor"]["enabled"] = False
            changed["serviceAccount"]["name"] = "other"
    elif isinstance(before, str):
        group[leaf] = "other"
    else:
        group[leaf] = {"other": "other"} if isinstance(before, dict) else [{"other": "other"}]
    assert render_texts(changed) != render_texts(base)
