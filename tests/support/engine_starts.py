"""An engine of vLLM in the tests' own process, where other modules may run an S3 server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

HIDDEN = ("flask", "flask_cors", "werkzeug", "moto", "selm_local", "support")


@contextmanager
def engine_starts() -> Iterator[None]:
    """Hide imported packages while vLLM looks at every global of every module: Flask's refuse to be looked at."""
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] in HIDDEN}
    try:
        yield
    finally:
        sys.modules.update(hidden)
