"""`python -m selm_operator.api.generate [--check] [--root DIR]`: writes what is generated from the models.

With `--check` nothing is written; the exit status is 1 where a file is not current, and says which.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from selm_operator.api.crd import crd_yaml
from selm_operator.api.docs import reference

CRD_FILE = "crds/selmruns.selm.dev.yaml"
REFERENCE_FILE = "docs/reference.md"


def generated_files() -> dict[str, str]:
    """Every generated file: its path in the repository and its text."""
    return {CRD_FILE: crd_yaml(), REFERENCE_FILE: reference()}


def stale_files(root: Path) -> list[str]:
    """The generated files whose text on disk is not what the models say."""
    return [
        path
        for path, text in generated_files().items()
        if not (root / path).is_file() or (root / path).read_text(encoding="utf-8") != text
    ]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m selm_operator.api.generate", description="Writes generated files.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file is not current")
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the repository (default: the working directory)")
    options = parser.parse_args(argv)
    stale = stale_files(options.root)
    if options.check:
        for path in stale:
            sys.stderr.write(f"{path} is not current: run `make generate` and commit the result\n")
        return 1 if stale else 0
    for path in stale:
        target = options.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(generated_files()[path], encoding="utf-8")
        sys.stdout.write(f"wrote {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
