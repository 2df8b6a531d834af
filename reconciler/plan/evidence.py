"""What the looks prove: in which stretches of time a recording was seen in which status, and where nobody can say.

A look shows one moment. Two looks that agree, with none between them that differs, bound a stretch: the recording was
seen so from the first to the last, by every look in between. From there to the next look that differs it is unknown
when the change happened. Pure. What must never happen in this room: a moment is claimed that no two looks enclose.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from reconciler.model import Event

#: Events that tell of a look that found the wanted status.
_FOUND: Final = frozenset({"applied", "in_sync"})
#: Events that tell of a look that found another one.
_DIFFERENT: Final = frozenset({"drift_detected", "ended"})
#: Events after which nobody looked until another event says what was seen.
_BLIND: Final = frozenset({"blind", "suspended", "released"})
#: The event about no recording that tells that the clock was set: from what it would have shown to what it showed.
CLOCK_STEPPED: Final = "clock_stepped"
#: Within so much time a step is noticed: looks that were made meanwhile had the new clock already.
_NOTICED: Final = timedelta(seconds=5)
#: The event of the first look after a time in which nobody looked.
_SEEN_AGAIN: Final = "seen_again"
#: The same of a process that looks once and ends: until an event says otherwise, the looks after it are as far apart.
_SEEN_ONCE: Final = "seen_once"


class Look(NamedTuple):
    """What was seen at a moment; None for the moment from which on nobody could look."""

    at: datetime
    status: str | None


class Stretch(NamedTuple):
    """A part of the time, and what the recording was seen to be in all of it; None where the looks do not say."""

    status: str | None
    start: datetime
    end: datetime


def what_happened(event: Event) -> tuple[str | None, str | None]:
    """Return from which status to which one an event tells that the recording went.

    Earlier versions wrote into reports what was seen and what was wanted; nothing of the kind had happened.
    """
    if event.event in _DIFFERENT and not (event.reason or event.by_kind or event.last_seen):
        return None, event.from_status
    return event.from_status, event.to_status


def looks_of(event: Event) -> list[Look]:
    """Return the looks that an event tells of, in order."""
    found = []
    if event.last_seen is not None and event.last_seen_at is not None:
        found.append(Look(event.last_seen_at, event.last_seen))
    back = event.event in (_SEEN_AGAIN, _SEEN_ONCE)
    if back:
        # Just before it, and not at the look before: an event is later than the look that it tells of.
        found.append(Look(event.at - timedelta(microseconds=1), None))
    if event.event in _FOUND or event.event in _DIFFERENT or back:
        seen = what_happened(event)[1]
        if seen is not None:
            found.append(Look(event.at, seen))
    if event.event in _BLIND or event.event == _SEEN_ONCE:
        found.append(Look(event.at, None))
    return found


def step_of(event: Event) -> tuple[datetime, datetime] | None:
    """Return from when to when the times are doubtful, since the clock was set; None where the event is another."""
    if event.event != CLOCK_STEPPED or event.from_status is None or event.to_status is None:
        return None
    first, last = sorted(map(datetime.fromisoformat, (event.from_status, event.to_status)))
    return first - _NOTICED, last


def apart_from_steps(looks: Iterable[Look], steps: Iterable[tuple[datetime, datetime]]) -> list[Look]:
    """Return looks of which no two enclose a time that a step of the clock makes doubtful.

    A step forward leaves out a time of which nobody can say what was true in it. A step back lives through one twice,
    and a look from within does not say in which of the two it was.
    """
    kept = list(looks)
    for first, last in steps:
        kept = [look for look in kept if not first < look.at < last]
        kept.append(Look(first, None))
    return kept


def stretches(looks: Iterable[Look], since: datetime, until: datetime) -> list[Stretch]:
    """Return what is known of a time from its beginning to its end, without a break.

    Args:
        looks: in any order, from before, within and after that time.
        since: where it begins.
        until: where it ends.

    Returns:
        Stretches that follow one another; neighbours differ. None at all where the time is empty.
    """
    if since >= until:
        return []
    found: list[Stretch] = []
    at = since
    for run in _runs(looks):
        start, end = max(run.start, since), min(run.end, until)
        if run.end < since or run.start > until:
            continue
        if start > at:
            found.append(Stretch(None, at, start))
        found.append(Stretch(run.status, start, end))
        at = end
    if at < until:
        found.append(Stretch(None, at, until))
    return found


def moment(looks: Iterable[Look], at: datetime) -> tuple[Stretch | None, Look | None, Look | None]:
    """Return what is known of one moment.

    Returns:
        The stretch that encloses it, whole, or None; then the last look before it and the first one after it.
    """
    ordered = _ordered(looks)
    before = next((look for look in reversed(ordered) if look.at <= at and look.status is not None), None)
    after = next((look for look in ordered if look.at > at and look.status is not None), None)
    enclosing = next((run for run in _runs(ordered) if run.start <= at <= run.end), None)
    return enclosing, before, after


def _ordered(looks: Iterable[Look]) -> list[Look]:
    # What was seen at the moment from which on nobody looked was seen before that.
    return sorted(looks, key=lambda look: (look.at, look.status is None))


def _runs(looks: Iterable[Look]) -> list[Stretch]:
    """Return the longest stretches whose looks agree; a single look is one of no length."""
    runs: list[Stretch] = []
    open_run = False
    for look in _ordered(looks):
        if look.status is None:
            open_run = False
        elif open_run and runs[-1].status == look.status:
            runs[-1] = runs[-1]._replace(end=look.at)
        else:
            runs.append(Stretch(look.status, look.at, look.at))
            open_run = True
    return runs
