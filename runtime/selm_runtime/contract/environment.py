"""The environment variables of a pod, and where it leaves its last words."""

from __future__ import annotations

ENV_PHASE_CONFIG = "SELM_PHASE_CONFIG"
"""The `PhaseConfig` as JSON. Written by the operator, read by `python -m selm_runtime`."""
ENV_WRITER_ID = "SELM_WRITER_ID"
"""The pod's uid (downward API). Names the pod's own folder in the store: two pods never share one."""
ENV_CACHE_DIR = "SELM_CACHE_DIR"
"""Where model weights are cached on the node. Written by the operator, read by the runtime's cache."""
ENV_JUDGE_KEY = "SELM_JUDGE_KEY_"
"""Begins the variable with a judge's API key (`judge_key_variable`). Written by the operator, read by the scorers."""
ENV_REGISTRY_CONFIG = "SELM_REGISTRY_CONFIG"
"""A Docker configuration (JSON) with the credentials of an OCI registry. Written by the operator, read by Push."""
ENV_REGISTRY_USERNAME = "SELM_REGISTRY_USERNAME"
ENV_REGISTRY_PASSWORD = "SELM_REGISTRY_PASSWORD"
"""The same as a pair, which goes before. Written by the operator, read by Push."""
ENV_SUITE_KEY = "SELM_SUITE_KEY_"
"""Begins the variable with the API key of a suite's judge (`suite_key_variable`). Written by the operator."""
ENV_COMPLETION_INDEX = "JOB_COMPLETION_INDEX"
"""Shard (generation, scoring) or node rank (training). Written by the Job controller."""
ENV_TIME_SCALE = "SELM_TIME_SCALE"
"""Factor of every wait of operator and pods; the operator hands its own on. Tests set it below 1."""
ENV_TERMINATION_LOG = "SELM_TERMINATION_LOG"
"""Where the termination message goes; unset in clusters, where Kubernetes' default path holds."""
DEFAULT_TERMINATION_LOG = "/dev/termination-log"
TERMINATION_MESSAGE_LIMIT = 2048
"""Bytes. Kubernetes keeps 4,096 a container; half of it leaves room for sidecars of clusters."""


def judge_key_variable(scorer: str) -> str:
    """The variable with the API key of the judge of that name; names are DNS labels, so no two share one."""
    return ENV_JUDGE_KEY + scorer.upper().replace("-", "_")


def suite_key_variable(suite: str) -> str:
    """The variable with the API key of the judge of that suite, a field of `spec.evaluation` (`alpacaEval`)."""
    return ENV_SUITE_KEY + suite.upper()
