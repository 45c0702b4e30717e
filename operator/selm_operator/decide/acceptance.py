"""Whether the spec is obeyed. What the CRD's rules say is asked again here: they may not have been in force."""

from __future__ import annotations

from pathlib import PurePosixPath

from selm_operator.api.immutable import digest_of
from selm_operator.api.pods import Volume
from selm_operator.api.possible import impossible
from selm_operator.api.spec import SELMRunSpec
from selm_operator.api.status import FieldDigest
from selm_operator.api.support import not_yet_supported
from selm_operator.constants import Reason
from selm_operator.decide.case import Case
from selm_operator.decide.images import image_for
from selm_operator.decide.verdict import Verdict
from selm_operator.ledger import is_committed, is_stopped
from selm_runtime.contract import Phase

SHOWN_ERRORS = 8


def unreadable(case: Case) -> Verdict | None:
    """Whether the spec breaks a rule of the API."""
    errors = case.snapshot.run.spec_errors
    if case.snapshot.run.spec is not None:
        return None
    return _refused(Reason.INVALID_SPEC, "; ".join(errors[:SHOWN_ERRORS]))


def refused(case: Case) -> Verdict | None:
    """Whether the spec asks for what cannot be done here: a later version's feature, no image, no shared volume."""
    if is_finished(case):
        return None
    if changed := _changed_immutables(case):
        fields = ", ".join(f"spec.{field}" for field in changed)
        message = (
            f"{fields}: what may never change there has changed since it was accepted (status.accepted has the digests); "
            "set it back as it was, or make a new run"
        )
        return _refused(Reason.IMMUTABLE_FIELD_CHANGED, message)
    if missing := not_yet_supported(case.spec):
        return _refused(Reason.NOT_YET_SUPPORTED, "; ".join(f"{field}: {why}" for field, why in missing[:SHOWN_ERRORS]))
    if errors := impossible(case.spec):
        return _refused(Reason.INVALID_SPEC, "; ".join(str(error) for error in errors[:SHOWN_ERRORS]))
    if image_for(case.status, case.spec, case.snapshot.settings) is None:
        message = "spec.image: is absent, and the operator has no default; name the runtime's image"
        return _refused(Reason.IMAGE_MISSING, message)
    if not case.snapshot.settings.shared_paths and (phase := unmounted_phase(case.spec)) is not None:
        message = (
            f"spec.artifacts.uri: is {case.spec.artifacts.uri}, but pods of {phase} have no volume mounted at or above "
            "that path; allowed is s3://, or file:// with a lasting volume in spec.podTemplates of every phase"
        )
        return _refused(Reason.VOLUME_MISSING, message)
    recorded = case.status.engine_args_digest
    found = digest_of(case.spec.generation.engine_args)
    if recorded is not None and found != recorded and not (case.spec.suspend or case.was_suspended):
        message = (
            f"spec.generation.engineArgs: has changed (digest {found}) since it was accepted ({recorded}); "
            "it may change only while spec.suspend was true"
        )
        return _refused(Reason.IMMUTABLE_FIELD_CHANGED, message)
    return None


def is_finished(case: Case) -> bool:
    """Whether the last iteration that the spec asks for is evaluated, or the run was ended early."""
    return is_committed(case.status, (case.spec.iterations, Phase.EVALUATION)) or is_stopped(case.status, case.spec)


def with_accepted(case: Case) -> Case:
    """Records what was accepted. engineArgs may change while suspended, so their digest follows them: CEL's equality misses
    one key swapped for another. What may never change is recorded once.
    """
    recorded: dict[str, object] = {"engine_args_digest": digest_of(case.spec.generation.engine_args)}
    if case.status.accepted is None:
        digests = case.snapshot.run.immutable
        recorded["accepted"] = tuple(FieldDigest(field=field, digest=digest) for field, digest in digests.items())
    status = case.status.model_copy(update=recorded)
    return case if status == case.status else case.book(status)


def _changed_immutables(case: Case) -> list[str]:
    if case.status.accepted is None:
        return []
    found, accepted = case.snapshot.run.immutable, {entry.field: entry.digest for entry in case.status.accepted}
    return [field for field in sorted(found.keys() | accepted.keys()) if found.get(field) != accepted.get(field)]


def unmounted_phase(spec: SELMRunSpec) -> str | None:
    """The first phase whose pods would write a `file://` store into their own disk; None where all mount a volume."""
    if not spec.artifacts.uri.startswith("file://"):
        return None
    store = PurePosixPath(spec.artifacts.uri.removeprefix("file://"))
    for phase in Phase:
        if phase is Phase.PUSH and spec.push is None:
            continue
        patches = [p for p in spec.pod_templates if p.phase in ("All", phase.value)]
        lasting = {v.name for p in patches for v in p.volumes or () if _lasts(v)}
        mounts = [PurePosixPath(m.mount_path) for p in patches for m in p.volume_mounts or () if m.name in lasting]
        if not any(store.is_relative_to(mount) for mount in mounts):
            return phase.value
    return None


def _lasts(volume: Volume) -> bool:
    return any((volume.persistent_volume_claim, volume.host_path, volume.nfs))


def _refused(reason: str, message: str) -> Verdict:
    return Verdict(reason, message, succeeded=None, stalled=True, accepted=False)
