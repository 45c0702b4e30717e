"""The next attempt: what must be out of its way, and the Job that it is."""

from __future__ import annotations

from selm_operator.constants import RUNNING_REASON, Reason
from selm_operator.decide.attempts import title
from selm_operator.decide.case import Case
from selm_operator.decide.images import image_for
from selm_operator.decide.progress import running_message, started
from selm_operator.decide.verdict import Verdict
from selm_operator.decision import Action, Announcement, ApplyService, CreateJob
from selm_operator.manifests.job import build_job, pods_of_phase
from selm_operator.manifests.names import service_name
from selm_operator.manifests.service import build_service
from selm_operator.phase_config import Attempt
from selm_runtime.contract import Phase


def written_first(case: Case) -> Verdict | None:
    """Whether this pass entered something in the book: it is written before a Job is made that follows from it."""
    position = case.position
    if not case.booked or position is None:
        return None
    return Verdict(Reason.STARTING, f"{title(position)} is about to start", requeue_after=0.0)


def obstacle(case: Case) -> Verdict | None:
    """Whether the API server answered this pass's effect with a refusal."""
    found = case.snapshot.obstacle
    if found is None:
        return None
    if found.kind == "JobNameTaken":
        return Verdict(Reason.WAITING_FOR_OLD_JOB, found.message, requeue_after=case.waits.poll_old_job)
    return Verdict(Reason.JOB_REFUSED, found.message, stalled=True, requeue_after=case.waits.refused)


def foreign_service(case: Case) -> Verdict | None:
    """Whether another owner's Service has the name of the run's: an apply would take it over."""
    service, position = case.snapshot.service, case.position
    if service is None or service.ours or position is None or position[1] is not Phase.TRAINING:
        return None
    message = f"Service {service.name} belongs to another owner; it must be gone before Training can start"
    return Verdict(Reason.WAITING_FOR_OLD_SERVICE, message, requeue_after=case.waits.poll_old_job)


def next_attempt(case: Case) -> tuple[Case, Verdict]:
    """The Job of the next attempt, and the status that is written once it is made."""
    position = case.position
    assert position is not None
    iteration, phase = position
    image = image_for(case.status, case.spec, case.snapshot.settings)
    assert image is not None  # a run without one is not accepted
    attempt = Attempt(iteration, phase, case.attempt + 1)
    manifest = build_job(case.snapshot.run, case.spec, case.status, attempt, image, case.snapshot.settings)
    actions: tuple[Action, ...] = (CreateJob(manifest),)
    if phase is Phase.TRAINING and (case.snapshot.service is None or not case.snapshot.service.ours):
        actions = (ApplyService(build_service(case.snapshot.run, service_name(case.snapshot.run.name))), *actions)
    name = manifest["metadata"]["name"]
    status = started(case, position, name, attempt.number, pods_of_phase(case.spec, phase), image)
    event = Announcement(
        "Normal",
        Reason.PHASE_STARTED,
        f"{title(position)}, attempt {attempt.number}: Job {name}",
    )
    verdict = Verdict(
        RUNNING_REASON[phase], running_message(position, attempt.number, status), actions=actions, events=(event,)
    )
    return case.book(status), verdict
