"""Why a patch is refused, with what the v1.Status needs."""

from __future__ import annotations

from dataclasses import dataclass, field

REJECTED = "the server rejected our request due to an error in our request"


@dataclass
class PatchError(Exception):
    """A patch that cannot be applied. `code` and `reason` are the Status', `causes` its details.causes."""

    code: int
    reason: str
    message: str
    causes: list[dict[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        return self.message


def invalid(message: str = REJECTED) -> PatchError:
    """422: what the patch wants cannot be done to this object."""
    return PatchError(422, "Invalid", message)


def bad_request(message: str) -> PatchError:
    """400: the patch itself is malformed."""
    return PatchError(400, "BadRequest", message)


class ApplyConflict(PatchError):
    """409: fields that others own would change. `conflicts`: (path, the owner as Kubernetes names it) pairs."""

    def __init__(self, conflicts: list[tuple[str, str]]) -> None:
        self.conflicts = sorted(set(conflicts))
        causes = [
            {"field": path, "message": f"conflict with {owner}", "reason": "FieldManagerConflict"}
            for path, owner in self.conflicts
        ]
        super().__init__(409, "Conflict", self._text(), causes)

    def _text(self) -> str:
        if len(self.conflicts) == 1:
            path, owner = self.conflicts[0]
            return f"Apply failed with 1 conflict: conflict with {owner}: {path}"
        lines = []
        for owner in sorted({owner for _, owner in self.conflicts}):
            lines.append(f"conflicts with {owner}:")
            lines += [f"- {path}" for path, by in self.conflicts if by == owner]
        return f"Apply failed with {len(self.conflicts)} conflicts: " + "\n".join(lines)
