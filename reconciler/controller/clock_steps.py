"""Notice when the clock on the wall was set, or the machine slept: times before and after are not of one clock.

What must never happen here: a small correction, as NTP makes them all the time, that is told as a step.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from reconciler.model import Clock


class ClockSteps:
    """Notices that the clock on the wall was set, or that the machine slept: what its monotonic clock has not seen."""

    #: What is corrected in smaller steps, as NTP does, makes no evidence doubtful.
    _LEAST: Final = timedelta(seconds=5)

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._looked_at = clock.now()
        self._monotonic = clock.monotonic()

    def look(self) -> tuple[datetime, datetime] | None:
        """Return what the clock would show had it gone on since the last look, and what it shows; None where alike."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        expected = self._looked_at + timedelta(seconds=monotonic - self._monotonic)
        self._looked_at, self._monotonic = now, monotonic
        return (expected, now) if abs(now - expected) > self._LEAST else None
