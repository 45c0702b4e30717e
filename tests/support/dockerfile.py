"""The Dockerfile as data: its stages, and what they would run."""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from support.selmruns import REPOSITORY

DOCKERFILE = REPOSITORY / "Dockerfile"


@dataclass
class Stage:
    """One `FROM ... AS name`, with its instructions as (keyword, rest of the line)."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, keyword: str) -> list[str]:
        return [rest for word, rest in self.steps if word == keyword]


def stages(text: str) -> dict[str, Stage]:
    """The stages by name, in their order. Continued lines are joined, arguments before FROM filled in."""
    joined = re.sub(r"\\\n(?:\s*#[^\n]*\n)*", " ", re.sub(r"(?m)^\s*#.*\n", "", text))
    arguments: dict[str, str] = {}
    found: dict[str, Stage] = {}
    for line in (line.strip() for line in joined.splitlines()):
        if not line:
            continue
        word, _, rest = line.partition(" ")
        match word:
            case "ARG" if not found:
                name, _, value = rest.partition("=")
                arguments[name] = value
            case "FROM":
                base, _, name = re.sub(r"\$\{(\w+)\}", lambda m: arguments[m[1]], rest).partition(" AS ")
                found[name] = stage = Stage(name, base)
            case _:
                stage.steps.append((word, " ".join(rest.split())))
    return found


def assignments(text: str) -> dict[str, str]:
    """The variables of an ENV instruction."""
    return dict(word.split("=", 1) for word in shlex.split(text))


class Prefix:
    """A folder in the place of an image's root: COPY, ENV and RUN of stages are carried out below it."""

    def __init__(self, root: Path, given: dict[str, str]) -> None:
        self.root = root
        self.environment = dict(given)
        self.work = root

    def inside(self, text: str) -> str:
        """A command or value with the image's folders put below the prefix."""
        return re.sub(r"(?<![\w.])/(opt|src|tmp)\b", lambda m: f"{self.root}/{m[1]}", text)

    def build(self, name: str) -> None:
        """Carries a stage out, after the stages that it begins with; fails with what a command said."""
        known = stages(DOCKERFILE.read_text(encoding="utf-8"))
        if (stage := known[name]).base in known:
            self.build(stage.base)
        for word, rest in stage.steps:
            match word:
                case "ENV":
                    for variable, value in assignments(rest).items():
                        value = value.replace("$PATH", self.environment["PATH"])
                        self.environment.setdefault(variable, "")
                        if variable != "UV_TORCH_BACKEND" or "UV_FIND_LINKS" not in self.environment:
                            self.environment[variable] = self.inside(value)
                case "WORKDIR":
                    self.work = Path(self.inside(rest))
                    self.work.mkdir(parents=True, exist_ok=True)
                case "COPY":
                    self.copy(rest)
                case "RUN":
                    self.run(self.inside(rest))

    def copy(self, rest: str) -> None:
        *sources, target = rest.split()
        for source in sources:
            to = self.work / target
            if source.endswith("/"):
                to.mkdir(parents=True, exist_ok=True)
                subprocess.run(["cp", "-r", f"{REPOSITORY / source}/.", to], check=True)
            else:
                to = to / Path(source).name if target.endswith("/") else to
                to.parent.mkdir(parents=True, exist_ok=True)
                subprocess.run(["cp", REPOSITORY / source, to], check=True)

    def run(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-ec", command],
            cwd=self.work,
            env={name: value for name, value in self.environment.items() if value},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        return done.stdout
