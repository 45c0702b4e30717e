"""The ways a phase may end other than well; each maps to one exit code of the contract."""

from __future__ import annotations

from selm_runtime.contract import ExitCode


class PhaseFailure(Exception):
    """Ends the phase with `exit_code`; `reason` (CamelCase) and `message` reach the termination message.

    The message names the field, what was found and what is allowed, so that a person can act on it.
    """

    exit_code: ExitCode

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class InvalidInput(PhaseFailure):
    """Input or configuration that no retry can help (exit code 64)."""

    exit_code = ExitCode.INVALID_INPUT


class TemporaryFailure(PhaseFailure):
    """Something outside is away or asked the pod to go; the same input works later (exit code 75)."""

    exit_code = ExitCode.TEMPORARY


class PeerLost(PhaseFailure):
    """Another rank of the same training attempt is gone (exit code 76)."""

    exit_code = ExitCode.PEER_LOST


STORE_UNAVAILABLE = "StoreUnavailable"
"""The reason of a TemporaryFailure that waiting may mend within the same process."""
