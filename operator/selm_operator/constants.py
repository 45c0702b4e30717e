"""Every name that the operator writes into the cluster or reads from it: who writes it, who reads it, how long it lives."""

from __future__ import annotations

from selm_runtime.contract import ENV_REGISTRY_CONFIG, ENV_REGISTRY_PASSWORD, ENV_REGISTRY_USERNAME, Phase

GROUP = "selm.dev"
VERSION = "v1alpha1"
KIND = "SELMRun"
PLURAL = "selmruns"
API_VERSION = f"{GROUP}/{VERSION}"

FIELD_MANAGER = "selm-operator"
"""Owner of the fields that the operator applies or writes. Read by the API server alone."""
REPORTING_CONTROLLER = "selm.dev/operator"
"""`reportingController` of the operator's events."""
LEASE_NAME = "selm-operator"
"""The coordination Lease that the active operator holds, in the operator's own namespace."""

# Labels. Written once by the manifests on a phase's Job and its pods; they live as long as these. The operator finds a
# run's Jobs and pods by them; people select by them (`kubectl logs -l selm.dev/run=...`).
LABEL_RUN = "selm.dev/run"  # the run's name: maps a Job's event to the run that it wakes
LABEL_RUN_UID = "selm.dev/run-uid"  # the run's uid: a run of the same name that is created again has another
LABEL_PHASE = "selm.dev/phase"  # the phase, spelled as in status
LABEL_ITERATION = "selm.dev/iteration"
LABEL_ATTEMPT = "selm.dev/attempt"
LABEL_CONTROL_OF = "selm.dev/control-of"
"""On a control run: the run that it is compared with. People and reports select by it."""
LABEL_NAME = "app.kubernetes.io/name"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
APP_NAME = "selm-runtime"
MANAGED_BY = "selm-operator"
LABEL_QUEUE = "kueue.x-k8s.io/queue-name"
"""Kueue's: written on the Job from `spec.scheduling.queueName`, read by Kueue. Never on the run or on pods."""

LABEL_JOB_NAME = "batch.kubernetes.io/job-name"
"""Written by the Job controller on its pods; the operator lists one Job's pods by it."""
ANNOTATION_COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"
"""Written by the Job controller on the pods of an Indexed Job: shard or node rank."""

CONTAINER = "phase"
"""Name of the one container whose termination message and exit code count."""
VOLUME_CACHE = "selm-cache"
"""The model cache: an emptyDir, unless a pod template brings a volume of this name."""
VOLUME_TMP = "selm-tmp"
VOLUME_HOME = "selm-home"
"""emptyDirs for what libraries write into /tmp and the home, for a pod's root file system is read-only. As with the cache, a
pod template's volume of the same name takes their place."""
VOLUME_SHM = "selm-shm"
VOLUME_CA = "selm-ca"
CACHE_PATH = "/var/cache/selm"
TMP_PATH = "/tmp"
HOME_PATH = "/home/selm"
"""The home of the images' user. vLLM, Triton, torch extensions and the hub's client keep their caches below it."""
SHM_PATH = "/dev/shm"
CA_PATH = "/etc/selm/ca"
CA_KEY = "ca.crt"
"""Key of the ConfigMap that `spec.artifacts.caBundleConfigMapRef` names. Written by the user."""

ENV_HOME = "HOME"
ENV_USER = "USER"
"""torch names its cache of compiled kernels by the user, and fails where the image has no name for the uid."""
USER_NAME = "selm"
ENV_WANDB_KEY = "WANDB_API_KEY"
"""From `spec.training.reportTo.wandb.apiKeySecretRef`, in Training only; Weights & Biases' client reads it."""
ENV_MLFLOW_TOKEN = "MLFLOW_TRACKING_TOKEN"
"""From `spec.training.reportTo.mlflow.tokenSecretRef`, in Training only; MLflow's client reads it."""
ENV_HF_TOKEN = "HF_TOKEN"
"""From `spec.model.tokenSecretRef` in Preparation and `spec.push.tokenSecretRef` in Push: no other phase talks to a hub."""
REGISTRY_KEYS = {
    ENV_REGISTRY_CONFIG: ".dockerconfigjson",
    ENV_REGISTRY_USERNAME: "username",
    ENV_REGISTRY_PASSWORD: "password",
}
"""Variables of Push, and the keys of the Secret that `spec.push.credentialsSecretRef` names; each may be absent."""
ENV_CA_BUNDLE = "AWS_CA_BUNDLE"
ENV_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
"""Keys of the Secret that `spec.artifacts.credentialsSecretRef` names, and the variables that they become."""

PHASE_SHORT: dict[Phase, str] = {
    Phase.PREPARATION: "prep",
    Phase.GENERATION: "gen",
    Phase.SCORING: "score",
    Phase.TRAINING: "train",
    Phase.EVALUATION: "eval",
    Phase.PUSH: "push",
}
"""The phase in a Job's name, short enough for a pod's host name of 63 characters."""

MASTER_PORTS = range(20000, 30000)
"""Below the ephemeral ports and the node ports of common clusters."""


class ConditionType:
    """Types of a SELMRun's conditions. Written by the operator, read by people, kubectl wait, kstatus and Argo CD."""

    ACCEPTED = "Accepted"
    SUCCEEDED = "Succeeded"
    SUSPENDED = "Suspended"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    PUSHED = "Pushed"
    CONTROL_CREATED = "ControlCreated"  # only where evaluation.control asks for one


class Reason:
    """Reasons of conditions and events: what is done or waited for, CamelCase. The operator never branches on one."""

    ACCEPTED = "Accepted"
    INVALID_SPEC = "InvalidSpec"
    NOT_YET_SUPPORTED = "NotYetSupported"
    IMAGE_MISSING = "ImageMissing"
    VOLUME_MISSING = "VolumeMissing"
    IMMUTABLE_FIELD_CHANGED = "ImmutableFieldChanged"

    STARTING = "Starting"  # the next Job is about to be made
    PREPARING = "Preparing"
    GENERATING = "Generating"
    SCORING = "Scoring"
    TRAINING = "Training"
    EVALUATING = "Evaluating"
    PUSHING = "Pushing"
    PUSHED = "Pushed"
    NOT_YET_PUSHED = "NotYetPushed"
    PENDING = "Pending"  # pods exist and do not run
    PENDING_TOO_LONG = "PendingTooLong"
    NO_PROGRESS = "NoProgress"  # pods run, and nothing that can be seen from here moves
    QUEUED = "Queued"  # the queue holds the Job suspended
    BACK_OFF = "BackOff"
    WAITING_FOR_OLD_JOB = "WaitingForOldJob"
    WAITING_FOR_OLD_SERVICE = "WaitingForOldService"
    JOB_REFUSED = "JobRefused"
    SUSPENDING = "Suspending"
    SUSPENDED = "Suspended"
    NOT_SUSPENDED = "NotSuspended"

    SUCCEEDED = "Succeeded"
    STOPPED_EARLY = "StoppedEarly"  # by evaluation.stopWhen
    INVALID_INPUT = "InvalidInput"
    ATTEMPTS_EXHAUSTED = "AttemptsExhausted"
    TEMPORARY_DEADLINE_EXCEEDED = "TemporaryDeadlineExceeded"
    NOT_STALLED = "NotStalled"

    CONTROL_CREATED = "ControlCreated"
    CONTROL_NAME_TAKEN = "ControlNameTaken"
    CONTROL_REFUSED = "ControlRefused"
    CONTROL_WAITING = "ControlWaiting"  # until iteration 1 is scored

    # events alone
    PHASE_STARTED = "PhaseStarted"
    PHASE_SUCCEEDED = "PhaseSucceeded"
    ATTEMPT_FAILED = "AttemptFailed"
    JOB_STRAY = "StrayJobDeleted"
    RESUMED = "Resumed"
    SCHEDULE_WITHOUT_EFFECT = "ScheduleWithoutEffect"


RUNNING_REASON: dict[Phase, str] = {
    Phase.PREPARATION: Reason.PREPARING,
    Phase.GENERATION: Reason.GENERATING,
    Phase.SCORING: Reason.SCORING,
    Phase.TRAINING: Reason.TRAINING,
    Phase.EVALUATION: Reason.EVALUATING,
    Phase.PUSH: Reason.PUSHING,
}
