"""Rules of the whole object, whose answer needs its name or its status; see `rules.py`."""

from __future__ import annotations

from typing import Any

from selm_operator.api.equality import same_group
from selm_operator.api.rule import BaseRule, ChangeRule, Rule, Run
from selm_operator.api.spec import ScheduleEntry

NAME_PATTERN = "^[a-z]([-a-z0-9]*[a-z0-9])?$"
MAX_NAME = 40
"""Leaves room for what is appended: Job, Service and pod names have at most 63 characters."""

CONTROL_SUFFIX = "-control"
"""Of the name of the run that `evaluation.control` asks for."""
MAX_NAME_WITH_CONTROL = MAX_NAME - len(CONTROL_SUFFIX)


def _valid_name(run: Run) -> bool:
    head, rest = run.name[:1], run.name[1:]
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789-")
    return len(run.name) <= MAX_NAME and "a" <= head <= "z" and set(rest) <= allowed and not run.name.endswith("-")


def _schedule_change_is_ahead(new: Run, old: Run) -> bool:
    """Entries may change for iterations not yet begun, and for the one at work while suspended."""
    if old.status is None or old.status.current is None:
        return True
    at_work, suspended = old.status.current.iteration, old.spec.suspend

    def open_to_change(entry: ScheduleEntry) -> bool:
        return entry.iteration > at_work or (suspended and entry.iteration == at_work)

    after = all(
        open_to_change(entry) or any(same_group(entry, was) for was in old.spec.schedule) for entry in new.spec.schedule
    )
    kept = {entry.iteration for entry in new.spec.schedule}
    return after and all(open_to_change(was) or was.iteration in kept for was in old.spec.schedule)


RUN_RULES: tuple[BaseRule[Any], ...] = (
    Rule[Run](
        on=Run,
        cel=f"size(self.metadata.name) <= {MAX_NAME} && self.metadata.name.matches('{NAME_PATTERN}')",
        message=f"`metadata.name` must match {NAME_PATTERN} and have at most {MAX_NAME} characters",
        at=".metadata.name",
        holds=_valid_name,
    ),
    Rule[Run](
        on=Run,
        cel=f"!self.spec.evaluation.control || size(self.metadata.name) <= {MAX_NAME_WITH_CONTROL}",
        message=(
            f"`spec.evaluation.control` may be true only where `metadata.name` has at most {MAX_NAME_WITH_CONTROL} "
            f"characters: the control run's is that with {CONTROL_SUFFIX}"
        ),
        at=".spec.evaluation.control",
        holds=lambda run: not run.spec.evaluation.control or len(run.name) <= MAX_NAME_WITH_CONTROL,
    ),
    ChangeRule[Run](
        on=Run,
        cel=(
            "has(oldSelf.status) && has(oldSelf.status.current) ? "
            "self.spec.schedule.all(e, e.iteration > oldSelf.status.current.iteration || "
            "(oldSelf.spec.suspend && e.iteration == oldSelf.status.current.iteration) || "
            "oldSelf.spec.schedule.exists(o, o == e)) && "
            "oldSelf.spec.schedule.all(o, o.iteration > oldSelf.status.current.iteration || "
            "(oldSelf.spec.suspend && o.iteration == oldSelf.status.current.iteration) || "
            "self.spec.schedule.exists(e, e.iteration == o.iteration)) : true"
        ),
        message=(
            "`spec.schedule[]` may change only for iterations after `status.current.iteration`, "
            "and for that one while `suspend` was true"
        ),
        at=".spec.schedule",
        reason="FieldValueForbidden",
        holds=_schedule_change_is_ahead,
    ),
)
