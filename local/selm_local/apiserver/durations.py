"""Durations and ages as kubectl shows them (k8s.io/apimachinery/pkg/util/duration)."""

from __future__ import annotations

import datetime as dt

from selm_local.apiserver.storage import Object


def human_duration(seconds: float) -> str:
    """12s, 3m, 3m20s, 5h, 2d, 1y: coarser the longer it is."""
    if seconds < -1:
        return "<invalid>"
    s = max(int(seconds), 0)
    minutes, hours, days = s // 60, s // 3600, s // 86400
    if s < 120:
        return f"{s}s"
    if minutes < 10:
        return f"{minutes}m{s % 60}s" if s % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    years = days // 365
    if years < 8 and days % 365:
        return f"{years}y{days % 365}d"
    return f"{years}y"


def since(value: str | None) -> str:
    if not value:
        return "<unknown>"
    try:
        then = dt.datetime.fromisoformat(value)
    except ValueError:
        return "<unknown>"
    return human_duration((dt.datetime.now(dt.UTC) - then).total_seconds())


def age_of(obj: Object) -> str:
    return since(obj["metadata"].get("creationTimestamp"))
