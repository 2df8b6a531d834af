"""What the daemon's page shows: how many recordings stand where, what needs somebody first, and what is left alone.

Plain data, of a bounded size. What must never happen here: something urgent that is cut off to show something that is
not, or a page that reads as health while nobody answers.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final

from reconciler.controller.rests import Rests
from reconciler.controller.standing import Stand, Standings
from reconciler.desired import Catalog
from reconciler.model import Phase, Record, RecordingKey, Resting, StoreError, as_seen, instant, urgency
from reconciler.state import OwnRecords

FORMAT: Final = "reconciler.daemon/v1"
#: How many recordings each list names at most; the most urgent ones.
LISTED: Final = 500
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


class Overview:
    """Renders how the recordings stand."""

    def __init__(self, catalog: Catalog, records: OwnRecords, standings: Standings, rests: Rests) -> None:
        self._catalog = catalog
        self._own = records
        self._standings = standings
        self._rests = rests

    def phases(self) -> dict[Phase, int]:
        """Count recordings by phase; those of a workspace that is not answered are `blind` where they were in sync."""
        return self._standings.count(self._blind())

    def recordings(self, now: datetime) -> tuple[dict[str, Any], StoreError | None]:
        """Return what is not in sync, what has ended, and what is left alone, each list with the most urgent first.

        Args:
            now: the time.

        Returns:
            The fields, and why records could not be read, in which case the lists are empty.
        """
        blind = self._blind()
        apart = [(self._rank(key, stand), key, stand) for key, stand in self._standings.apart()]
        unseen = sum(self._standings.applied_in(workspace_id) for workspace_id in blind)
        ended = self._standings.ended(now)
        error: StoreError | None = None
        shown: list[Record] = []
        shown_ended: list[Record] = []
        try:
            first = heapq.nsmallest(LISTED, apart, key=lambda each: each[0])
            # Last of all what was in sync when its workspace was last answered: there is only one thing to do about it.
            others = self._standings.in_sync_in(blind) if blind and len(first) < LISTED else iter(())
            keys = chain((key for _, key, _ in first), others)
            shown = [self._as_it_stands(as_seen(record, blind)) for record in self._records(keys, LISTED)]
            newest = heapq.nlargest(LISTED, ended, key=lambda each: each[1].since or _LONG_AGO)
            shown_ended = self._records((key for key, _ in newest), LISTED)
        except StoreError as unreadable:
            error = unreadable
        total = len(apart) + unseen
        return {
            "phases": {phase.value: self.phases().get(phase, 0) for phase in Phase},
            "notInSync": [self._row(record) for record in shown],
            "notInSyncTotal": total,
            "ended": [self._row(record) for record in shown_ended],
            "endedTotal": len(ended),
            "truncated": total > LISTED or len(ended) > LISTED,
            "resting": [
                {
                    "workspaceId": each.workspace_id,
                    "since": instant(each.since),
                    "cause": each.cause,
                    "reason": each.reason,
                    "blind": each.blind,
                    "recordings": self._standings.applied_in(each.workspace_id),
                }
                for each in self._rests
            ],
        }, error

    def oldest_unmet_seconds(self, now: datetime) -> float:
        """Return for how long the oldest desired status has not been seen, in seconds; 0 where all are seen."""
        since = self._standings.oldest_unmet()
        return 0.0 if since is None else max(0.0, (now - since).total_seconds())

    def _blind(self) -> dict[str, Resting]:
        return {each.workspace_id: each for each in self._rests if each.blind}

    def _rank(self, key: RecordingKey, stand: Stand) -> tuple[int, datetime]:
        document = self._catalog.desired.get(key)
        rank = urgency(stand.phase, None if document is None else document.status)
        return rank, stand.unmet_since or stand.since or _LONG_AGO

    def _records(self, keys: Iterable[RecordingKey], most: int) -> list[Record]:
        records = []
        for key in keys:
            record = self._own.get(key)
            if record is not None:
                records.append(record)
                if len(records) == most:
                    break
        return records

    def _as_it_stands(self, record: Record) -> Record:
        """Return a record as it is to be shown: of one that is out of sight the state holds what was seen last."""
        stand = self._standings.get(record.key)
        if stand is None or stand.phase is not Phase.BLIND or record.phase is not Phase.APPLIED:
            return record
        return record._replace(phase=Phase.BLIND, reason="api_away", phase_since=stand.since, error=stand.reason)

    def _row(self, record: Record) -> dict[str, Any]:
        return {
            "name": record.name,
            "workspaceId": record.key.workspace_id,
            "recordingId": record.key.recording_id,
            "desired": record.desired.value,
            "lastApplied": record.last_applied,
            "live": record.live,
            "phase": record.phase.value,
            "reason": record.reason,
            "since": _moment(record.phase_since),
            "unmetSince": _moment(record.unmet_since),
            "error": record.error,
            "file": record.file,
            "line": record.line,
        }


def _moment(at: datetime | None) -> str | None:
    return None if at is None else instant(at)
