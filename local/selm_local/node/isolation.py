"""How far this machine lets containers have name spaces of their own, found out by trying."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal

from selm_local.node import mounts

Isolation = Literal["root", "user", "none"]
"""root: mount and UTS namespaces directly. user: the same inside a user namespace. none: neither is permitted."""


def detect() -> tuple[Isolation, str]:
    """The best isolation that works here, and, for "none", why nothing better does."""
    why = []
    candidates: tuple[Isolation, ...] = ("root", "user")
    for isolation in candidates:
        if isolation == "root" and os.geteuid() != 0:
            continue
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            tried = subprocess.run(
                [sys.executable, "-m", "selm_local.node.isolation", isolation, folder],
                capture_output=True,
                text=True,
                check=False,
                cwd="/",
            )
        if tried.returncode == 0:
            return isolation, ""
        why.append(tried.stderr.strip().splitlines()[-1] if tried.stderr.strip() else f"exit code {tried.returncode}")
    return "none", "; ".join(why)


def _try(isolation: str, folder: Path) -> int:
    source = folder / "source"
    source.mkdir()
    try:
        mounts.enter_namespaces(isolation, "probe")
        mounts.apply_mounts([mounts.Mount(str(source), "/selm-probe/inner", read_only=True)], folder / "staging")
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0 if Path("/selm-probe/inner").is_dir() else 1


if __name__ == "__main__":
    sys.exit(_try(sys.argv[1], Path(sys.argv[2])))
