"""Moments: where the time comes from, and how one is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Clock:
    """Where time and chance come from: aware UTC now, monotonic seconds, and a float from 0 up to 1."""

    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    random: Callable[[], float]


def instant(moment: datetime) -> str:
    """Return a moment as RFC 3339 in UTC with milliseconds, the form Bird's samples have."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
