"""Say what meets very many in few lines: what is wrong once, with its end, and what happens often as a count.

A full disk meets every recording at every turn, and now and then lets a small write through; an outage of the API meets
every workspace in the same second. What must never happen here: a line for each of them, an alarm that stays without
its end, or lines that are left out and not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from reconciler.telemetry.logs import Log

#: Well for so long, in seconds, before it is believed: a fault that comes and goes is one fault.
QUIET_SECONDS: Final = 3.0
#: So many lines of one word are told in full before the others of its minute are counted. An outage has three words of
#: its own, so that its worst minute, from the end of one count into the beginning of the next, has less than thirty.
TOLD_FIRST: Final = 4
COUNTED_SECONDS: Final = 60.0

_Level = Literal["info", "warning", "error"]


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


@dataclass(slots=True)
class _Minute:
    """What was said under one word since a moment."""

    began: float
    level: _Level
    told: int = 0
    more: int = 0


class Sparing:
    """Tells the first few lines of a word in full, and how many more there were in a line of that word.

    For what happens to many workspaces or recordings for one reason, and is neither a PATCH, nor drift, nor an effect.
    """

    def __init__(self, log: Log, monotonic: Callable[[], float]) -> None:
        self._log = log
        self._monotonic = monotonic
        self._minutes: dict[str, _Minute] = {}

    def say(self, level: _Level, event: str, /, **values: object) -> None:
        """Tell a line, or count it."""
        self.look()
        minute = self._minutes.setdefault(event, _Minute(self._monotonic(), level))
        if minute.told < TOLD_FIRST:
            minute.told += 1
            getattr(self._log, level)(event, **values)
        else:
            minute.more += 1

    def look(self) -> None:
        """Tell what was counted where the minute of its word is over; call it now and then."""
        now = self._monotonic()
        for event, minute in list(self._minutes.items()):
            if now - minute.began >= COUNTED_SECONDS:
                self._end(event, minute, now)

    def end(self) -> None:
        """Tell all that was counted: nothing more is going to be said."""
        now = self._monotonic()
        for event, minute in list(self._minutes.items()):
            self._end(event, minute, now)

    def _end(self, event: str, minute: _Minute, now: float) -> None:
        del self._minutes[event]
        if minute.more:
            getattr(self._log, minute.level)(event, more=minute.more, within_seconds=round(now - minute.began, 1))
