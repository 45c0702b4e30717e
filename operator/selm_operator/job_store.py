"""The runs' Jobs from memory, as the watch told them: a list a pass would have the API server read past every Job there is.

A label selector is no index: an API server answers a list of one run's five Jobs by looking at all Jobs of the namespace.
What is kept is the `JobView` alone, a thousandth of the object's work to parse and a tenth of its size.

Reading from memory is safe for two reasons. Only this process makes and deletes the runs' Jobs, and what it made is
entered when the API server answers, not when the watch tells: a pass sees all that earlier passes did (where the answer
was lost, the next pass lists). What others do (a
Job ends, is deleted, a stale leader makes one) is seen as late as by a list that was answered a moment earlier, and the
watch wakes the run when it comes; the 409 of a name that is taken and the status' resourceVersion fence the rest.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from selm_operator.constants import LABEL_RUN_UID
from selm_operator.kube import Json, owner_uid
from selm_operator.snapshot import JobView, read_job

TOMBSTONES = 10_000
"""Jobs remembered as gone, so that an answer that overtook the watch's DELETED does not bring one back."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A Job in one version. `view` is None where its labels are nobody's; it is kept so that a newer one replaces it."""

    version: int
    uid: str
    owner: str | None
    view: JobView | None


class JobStore:
    """Jobs by their run's uid (the label's), then by name. Filled by one watch and by what this process makes."""

    def __init__(self) -> None:
        self._runs: dict[str, dict[str, Entry]] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._listed = 0  # the version of the last list

    def __len__(self) -> int:
        return sum(len(jobs) for jobs in self._runs.values())

    def of_run(self, uid: str) -> tuple[JobView, ...]:
        """The Jobs that the run controls, by name."""
        jobs = self._runs.get(uid, {})
        return tuple(entry.view for _, entry in sorted(jobs.items()) if entry.view is not None and entry.owner == uid)

    def put(self, job: Json) -> None:
        """A Job as the watch or the API server's answer has it; an older version than the known one changes nothing."""
        metadata = job["metadata"]
        run = (metadata.get("labels") or {}).get(LABEL_RUN_UID)
        if run is None or metadata["uid"] in self._gone:
            return
        uid, version = metadata["uid"], int(metadata["resourceVersion"])
        known = self._runs.get(run, {}).get(metadata["name"])
        # What is not newer than a list that lacks it is gone: an answer that was overtaken by a relist.
        newest = known.version if known is not None else self._listed
        if version > newest:
            self._runs.setdefault(run, {})[metadata["name"]] = Entry(version, uid, owner_uid(job), read_job(job))

    def remove(self, job: Json) -> None:
        """A Job is gone. Another of its name may be there already."""
        metadata = job["metadata"]
        run = (metadata.get("labels") or {}).get(LABEL_RUN_UID)
        if run is None:
            return
        self._gone[metadata["uid"]] = None
        if len(self._gone) > TOMBSTONES:
            self._gone.popitem(last=False)
        jobs = self._runs.get(run, {})
        known = jobs.get(metadata["name"])
        if known is not None and known.uid == metadata["uid"]:
            del jobs[metadata["name"]]
            if not jobs:
                del self._runs[run]

    def replace(self, jobs: list[Json], version: int) -> None:
        """All Jobs as listed at `version`; what was made after the list was taken stays."""
        newer = {
            run: {name: entry for name, entry in known.items() if entry.version > version}
            for run, known in self._runs.items()
        }
        self._runs = {run: entries for run, entries in newer.items() if entries}
        self._listed = 0
        for job in jobs:
            self.put(job)
        self._listed = version
