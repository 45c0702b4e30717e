"""How an attempt ended: what the Job's condition and its pods' last words say, read in the order of their worth.

The Job's condition outlives its pods and is read first; a pod's exit code and termination message say more where they
are still there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from selm_operator.snapshot import JobView, PodView
from selm_runtime.contract import ExitCode, Phase, TerminationMessage

POLICY_RULE = re.compile(r"matching (?:FailJob|FailIndex|Count|Ignore) rule at index (\d+)")
RULE_DISRUPTION, RULE_INVALID_INPUT = 0, 1
"""The order of the rules in every Job's podFailurePolicy; `manifests.job` writes them so."""
PODS_FAILED = ("BackoffLimitExceeded", "FailedIndexes", "MaxFailedIndexesExceeded")
"""The Job controller's reasons for a Job that failed because a pod did: such a pod stays, unless somebody deletes it."""
LAST_WORDS_LIMIT = 1024


class Kind(Enum):
    """What an end means for the next attempt."""

    COMMITTED = "Committed"
    INVALID_INPUT = "InvalidInput"  # never retried
    FAILED = "Failed"  # counts, unless the attempt made progress
    TEMPORARY = "Temporary"  # the store is away: backs off, never counts
    PEER_LOST = "PeerLost"  # another rank was lost, and none says why
    DISRUPTED = "Disrupted"  # eviction, preemption, a lost node: costs nothing
    LOST = "Lost"  # the Job, or what it had to say, is gone: one attempt finds the manifest, if there is one


@dataclass(frozen=True)
class Ending:
    """The end of one attempt; `said` is the message that a committed phase is taken from."""

    kind: Kind
    message: str = ""
    exit_code: int | None = None
    said: TerminationMessage | None = None
    progress: int = 0
    """Chunks committed, or the newest checkpoint's step, as far as a pod told it."""


def ending_of(job: JobView, pods: tuple[PodView, ...]) -> Ending:
    """The end of a Job that is terminal."""
    pods = tuple(sorted(pods, key=lambda pod: pod.index))
    progress = max((progress_of(pod.said) for pod in pods if pod.said), default=0)
    said = next((pod.said for pod in pods if pod.said and pod.said.manifest), None)
    if said is not None:
        return Ending(Kind.COMMITTED, said=said, progress=progress)
    if job.complete is not None:
        return Ending(Kind.LOST, "it completed, but its pods no longer say what they committed", progress=progress)
    failed = job.failed or job.failure_target
    policy = POLICY_RULE.search(failed.message) if failed else None
    rule = int(policy.group(1)) if policy else None
    told = f"{failed.reason}: {failed.message}" if failed else "the Job failed"

    invalid = _first(pods, lambda code: code == ExitCode.INVALID_INPUT)
    if invalid is not None:
        return _by_pod(Kind.INVALID_INPUT, invalid, progress)
    if rule == RULE_INVALID_INPUT:
        return Ending(Kind.INVALID_INPUT, told, ExitCode.INVALID_INPUT, progress=progress)
    disrupted = next((pod for pod in pods if pod.disrupted), None)
    # All ranks of a training fall with the one that was disrupted; a shard that fails by itself fails by itself.
    if rule == RULE_DISRUPTION or (disrupted is not None and job.phase is Phase.TRAINING):
        return Ending(Kind.DISRUPTED, f"pod {disrupted.name} was disrupted" if disrupted else told, progress=progress)
    counting = _first(pods, lambda code: code not in (0, ExitCode.TEMPORARY, ExitCode.PEER_LOST))
    if counting is not None:
        return _by_pod(Kind.FAILED, counting, progress)
    temporary = _first(pods, lambda code: code == ExitCode.TEMPORARY)
    if temporary is not None:
        return _by_pod(Kind.TEMPORARY, temporary, progress)
    peer_lost = _first(pods, lambda code: code == ExitCode.PEER_LOST)
    if peer_lost is not None:
        return _by_pod(Kind.PEER_LOST, peer_lost, progress)
    if disrupted is not None:
        return Ending(Kind.DISRUPTED, f"pod {disrupted.name} was disrupted", progress=progress)
    if failed is not None and failed.reason in PODS_FAILED and not any(pod.phase == "Failed" for pod in pods):
        # Who deletes a pod of a training by hand ends all of it, and the pods that the Job controller ends leave no trace.
        return Ending(
            Kind.LOST, f"the pods that failed were deleted before they could say why ({told})", progress=progress
        )
    return Ending(Kind.FAILED, told, progress=progress)


def progress_of(said: TerminationMessage) -> int:
    """Committed chunks, or the newest committed checkpoint's step."""
    return max(said.chunks.done if said.chunks else 0, said.checkpoint_step or 0)


def _first(pods: tuple[PodView, ...], matches: Callable[[int], bool]) -> PodView | None:
    return next((p for p in pods if not p.disrupted and p.exit_code is not None and matches(p.exit_code)), None)


def _by_pod(kind: Kind, pod: PodView, progress: int) -> Ending:
    if pod.said is not None and pod.said.error is not None:
        words = f"{pod.said.error.reason}: {pod.said.error.message}"
    else:
        words = "" if pod.said is not None else pod.last_words
    reason = f" ({pod.ended_reason})" if pod.ended_reason and pod.ended_reason not in ("Error", "Completed") else ""
    message = f"pod {pod.name} ended with exit code {pod.exit_code}{reason}"
    if words:
        message = f"{message}: {words[-LAST_WORDS_LIMIT:]}"
    return Ending(kind, message, pod.exit_code, progress=progress)
