"""Property names as CEL identifiers.

Source: k8s.io/apiserver/pkg/cel/escaping.go: a name that is a CEL keyword becomes `__name__`; in others `__`, `.`, `-`
and `/` become `__underscores__`, `__dot__`, `__dash__` and `__slash__`. Names with any other character are inaccessible.
"""

from __future__ import annotations

import functools
import re
from typing import Final

_RESERVED: Final = frozenset(
    (
        *("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if"),
        *("import", "let", "loop", "package", "namespace", "return", "var", "void", "while"),
    )
)
_ESCAPES: Final = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_NAME: Final = re.compile(r"[A-Za-z_.\-/][A-Za-z0-9_.\-/]*")


@functools.lru_cache(maxsize=4096)
def escape(name: str) -> str | None:
    """The identifier for property `name`, or None where it has none."""
    if not _NAME.fullmatch(name):
        return None
    if name in _RESERVED:
        return f"__{name}__"
    return re.sub(r"__|[.\-/]", lambda match: _ESCAPES[match[0]], name)
