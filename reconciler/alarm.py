"""Say once that something is wrong, and once that it is well again, however often it is met meanwhile.

A full disk meets every recording at every turn, and now and then lets a small write through. What must never happen
here: a line for each of them, or an alarm that stays without its end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from reconciler.logs import Log

#: Well for so long, in seconds, before it is believed: a fault that comes and goes is one fault.
QUIET_SECONDS: Final = 3.0


class Alarm:
    """One thing that can be wrong, with the two words for it in the log."""

    def __init__(self, log: Log, wrong: str, well: str, monotonic: Callable[[], float]) -> None:
        self._log = log
        self._wrong = wrong
        self._well = well
        self._monotonic = monotonic
        #: When it was last met, and when first; None while all is well.
        self._last: float | None = None
        self._first = 0.0

    @property
    def raised(self) -> bool:
        """Whether it was said to be wrong and not yet to be well."""
        return self._last is not None

    def met(self, error: Exception) -> None:
        """Note that it is wrong now; say so when it was not before."""
        now = self._monotonic()
        if self._last is None:
            self._first = now
            self._log.error(self._wrong, error=str(error))
        self._last = now

    def look(self) -> None:
        """Say that it is well again once it has not been met for `QUIET_SECONDS`; call it now and then."""
        now = self._monotonic()
        if self._last is not None and now - self._last >= QUIET_SECONDS:
            self._log.info(self._well, after_seconds=round(self._last - self._first, 1))
            self._last = None
