"""How every recording stands, in memory: what the page and the metrics count, kept as records are written.

Nobody counts a hundred thousand rows for a page. Counts follow each record as it goes to the state; what is asked for
seldom, such as what is not in sync, is looked for here among small values and read from the state only where it is
shown.

What must never happen here: a recording that is counted as applied while its workspace is not answered.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Awaitable, Collection, Iterator
from datetime import datetime
from typing import Final, NamedTuple

from reconciler.model import ENDED_SHOWN, Event, Phase, Reason, Record, RecordingKey, is_ordinary_end
from reconciler.reconcile import Writer

#: Moments in the heap that are overtaken, and tolerated beside the valid ones before they are swept out.
_STALE: Final = 64


class Stand(NamedTuple):
    """How one recording stands."""

    phase: Phase
    reason: str = ""
    #: Since when it is in its phase.
    since: datetime | None = None
    #: Since when the desired status has not been seen.
    unmet_since: datetime | None = None

    @property
    def ended_by_itself(self) -> bool:
        """Whether it ended after what was desired had been seen: information, and nobody's task."""
        return self.phase is Phase.ENDED and self.reason != Reason.ENDED_BEFORE_EFFECT


#: What nearly all recordings are, as one object.
_IN_SYNC: Final = Stand(Phase.APPLIED)


class Standings:
    """How all recordings stand."""

    def __init__(self) -> None:
        self._stands: dict[RecordingKey, Stand] = {}
        self._counts: dict[str, Counter[Phase]] = {}
        #: The keys that are not in sync, so that nobody has to look for them among all; and apart from them those that
        #: ended by themselves within the hour before somebody last asked, or since.
        self._apart: set[RecordingKey] = set()
        self._ended: set[RecordingKey] = set()
        #: When desired statuses began to be unmet, the oldest first; overtaken ones are skipped when they are met.
        self._unmet: list[tuple[datetime, RecordingKey]] = []

    def __contains__(self, key: RecordingKey) -> bool:
        return key in self._stands

    def get(self, key: RecordingKey) -> Stand | None:
        """Return how a recording stands; None for one that is not ours."""
        return self._stands.get(key)

    def phase_of(self, key: RecordingKey) -> Phase | None:
        """Return the phase that a recording is in; None for one that is not ours."""
        stand = self._stands.get(key)
        return None if stand is None else stand.phase

    def note(self, key: RecordingKey, stand: Stand) -> None:
        """Take in how a recording stands now."""
        if stand.phase is Phase.APPLIED and stand.unmet_since is None:
            stand = _IN_SYNC
        before = self._stands.get(key)
        if before == stand:
            return
        self._uncount(key, before)
        self._stands[key] = stand
        counts = self._counts.get(key.workspace_id)
        if counts is None:
            counts = self._counts[key.workspace_id] = Counter()
        counts[stand.phase] += 1
        if stand.ended_by_itself:
            self._ended.add(key)
        elif stand is not _IN_SYNC:
            self._apart.add(key)
        if stand.unmet_since is not None and (before is None or before.unmet_since != stand.unmet_since):
            self._push(stand.unmet_since, key)

    def out_of_sight(self, key: RecordingKey, reason: str, now: datetime) -> None:
        """Take in that a look at a recording was not answered: one that was in sync is not known to be so."""
        if self._stands.get(key) is _IN_SYNC:
            self.note(key, Stand(Phase.BLIND, reason, now))

    def drop(self, key: RecordingKey) -> None:
        """Forget a recording that is ours no more."""
        self._uncount(key, self._stands.pop(key, None))

    def count(self, resting: Collection[str]) -> Counter[Phase]:
        """Count recordings by phase.

        Args:
            resting: workspaces that are not answered: of none of theirs is it known that it is as it was applied.
        """
        total: Counter[Phase] = Counter()
        for workspace_id, counts in self._counts.items():
            total += counts
            if workspace_id in resting and counts[Phase.APPLIED]:
                total[Phase.BLIND] += counts[Phase.APPLIED]
                total[Phase.APPLIED] -= counts[Phase.APPLIED]
        return total

    def applied_in(self, workspace_id: str) -> int:
        """Return how many recordings of a workspace were as desired when it was last answered."""
        return self._counts.get(workspace_id, Counter[Phase]())[Phase.APPLIED]

    def apart(self) -> Iterator[tuple[RecordingKey, Stand]]:
        """Yield what is not in sync, ordinary ends left out, in no order."""
        return ((key, self._stands[key]) for key in self._apart)

    def ended(self, now: datetime) -> list[tuple[RecordingKey, Stand]]:
        """Return what ended by itself within the last hour, in no order."""
        shown = [(key, self._stands[key]) for key in self._ended]
        shown = [(key, stand) for key, stand in shown if stand.since is None or now - stand.since < ENDED_SHOWN]
        self._ended = {key for key, _ in shown}
        return shown

    def in_sync_in(self, workspace_ids: Collection[str]) -> Iterator[RecordingKey]:
        """Yield what was in sync when these workspaces were last answered."""
        return (key for key, stand in self._stands.items() if stand is _IN_SYNC and key.workspace_id in workspace_ids)

    def oldest_unmet(self) -> datetime | None:
        """Return since when the oldest desired status that is not met has been so; None where all are met."""
        while self._unmet:
            since, key = self._unmet[0]
            stand = self._stands.get(key)
            if stand is not None and stand.unmet_since == since:
                return since
            heapq.heappop(self._unmet)
        return None

    def watch(self, writer: Writer) -> Writer:
        """Return a writer that does what the given one does, and whose records are taken in here."""
        return _Watched(writer, self)

    def _uncount(self, key: RecordingKey, stand: Stand | None) -> None:
        if stand is None:
            return
        self._counts[key.workspace_id][stand.phase] -= 1
        self._apart.discard(key)
        self._ended.discard(key)

    def _push(self, since: datetime, key: RecordingKey) -> None:
        heapq.heappush(self._unmet, (since, key))
        if len(self._unmet) > 2 * len(self._apart) + _STALE:
            stands = ((stand.unmet_since, key) for key, stand in self.apart())
            self._unmet = [(since, key) for since, key in stands if since is not None]
            heapq.heapify(self._unmet)


class _Watched:
    """A writer of which every record is noted as it is handed in."""

    def __init__(self, writer: Writer, standings: Standings) -> None:
        self._writer = writer
        self._standings = standings
        self.lease_valid = writer.lease_valid

    def save(self, record: Record, *events: Event) -> Awaitable[None]:
        self._standings.note(record.key, stand_of(record))
        return self._writer.save(record, *events)

    def release(self, key: RecordingKey, *events: Event) -> Awaitable[None]:
        self._standings.drop(key)
        return self._writer.release(key, *events)


def stand_of(record: Record) -> Stand:
    """Return how a recording stands by its record."""
    reason = record.reason
    if record.phase is Phase.ENDED and not is_ordinary_end(record):
        reason = Reason.ENDED_BEFORE_EFFECT.value
    return Stand(record.phase, reason, record.phase_since or record.observed_at, record.unmet_since)
