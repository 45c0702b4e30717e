"""What a shell needs to use the embedded cluster: `eval "$(selm local env)"`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping


def exports(environment: Mapping[str, str]) -> str:
    """The variables as lines that a POSIX shell evaluates."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in sorted(environment.items()))
