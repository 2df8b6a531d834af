"""What is read of a state file, by what it is read for; see the protocols in `reconciler.state.base`.

What must never happen here: a row that this program does not understand is passed over in silence.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from collections.abc import Set as AbstractSet
from datetime import datetime
from itertools import chain
from typing import Final

from reconciler.model import (
    Event,
    InForce,
    Judged,
    Line,
    Record,
    RecordingKey,
    RefusedSet,
    Request,
    Resting,
    Revision,
    Seen,
    Size,
    key_of_line,
)
from reconciler.state import rows
from reconciler.state.base import EventQuery, SentPatch, Standing
from reconciler.state.sqlite import connection as files
from reconciler.state.sqlite import judgements, requests, selects
from reconciler.state.sqlite.lease import Lease, LeaseClock, LeaseRow
from reconciler.state.sqlite.reading import Reading
from reconciler.state.sqlite.size import measure

#: So many rows are asked for one by one before all are read in turn.
_SINGLY: Final = 1000


class SqliteRecords(Reading):
    """See `reconciler.state.base.Records`."""

    def get(self, key: RecordingKey) -> Record | None:
        found = self.read(selects.one_recording, key)
        if not found:
            return None
        with self.understood():
            return rows.recording_from_row(found[0])

    def all(self) -> Iterator[Record]:
        with self.understood():
            for row in self.stream(lambda layout: (selects.all_recordings(layout), ())):
                yield rows.recording_from_row(row)

    def apart_from(self, lines: Iterable[str]) -> tuple[AbstractSet[str], list[Record]]:
        with files.explained(self.path), self.opened() as opened:
            if opened is None:
                return frozenset(), []
            connection, layout = opened
            connection.execute("BEGIN")  # what follows sees the same rows
            at_rest = {line for (line,) in connection.execute(selects.LINES)}
            others = at_rest.difference(lines)
            holding = at_rest - others if others else at_rest
            found: Iterable[rows.Row]
            if len(others) > _SINGLY:
                everything = connection.execute(selects.all_recordings(layout))
                found = (row for row in everything if rows.line_of(row) not in holding)
            else:
                one = selects.one_recording(layout)
                single = (connection.execute(one, key_of_line(line)).fetchone() for line in others)
                found = chain(single, connection.execute(selects.on_the_way(layout)))
            with self.understood():
                return holding, [rows.recording_from_row(row) for row in found]

    def standings(self) -> Iterator[Standing]:
        with self.understood():
            for row in self.stream(lambda layout: (selects.standings(layout), ())):
                yield rows.standing_from_row(row)

    def count_last_applied(self) -> int:
        found = self.read(lambda _layout: selects.COUNT_LAST_APPLIED)
        return int(found[0][0]) if found else 0


class SqliteLog(Reading):
    """See `reconciler.state.base.Log`."""

    def last_event(self, key: RecordingKey) -> str | None:
        found = self.read(lambda _layout: selects.LAST_EVENT, key)
        return str(found[0][0]) if found else None

    def history(self, name: str | None = None, *, limit: int = 100, since: datetime | None = None) -> list[Event]:
        query = EventQuery((), since, None, limit) if name is None else EventQuery((name,), since, None, limit)
        return [line.event for line in self.events(query)]

    def events(self, query: EventQuery) -> Iterator[Line]:
        with self.understood():
            for row in self.stream(lambda layout: selects.events(query, layout)):
                yield Line(row[-1], rows.event_from_row(row))

    def revisions(self, identifiers: Collection[str]) -> dict[str, Revision]:
        found = (row for each in identifiers for row in self.read(selects.revision, (each,)))
        with self.understood():
            return {revision.id: revision for revision in map(rows.revision_from_row, found)}


class SqliteLedger(Reading):
    """See `reconciler.state.base.Ledger`."""

    def patches_since(self, since: datetime) -> list[SentPatch]:
        found = self.stream(lambda _layout: (selects.PATCHES, (rows.micros(since),)))
        with self.understood():
            return [rows.patch_from_row(row) for row in found]

    def judged(self) -> Iterator[Judged]:
        with self.understood():
            for row in self.stream(lambda layout: (selects.judged(layout), ())):
                yield judgements.judged_from_row(row)

    def refusals(self) -> list[RefusedSet]:
        with self.understood():
            return [judgements.refusal_from_row(row) for row in self.read(selects.refusals)]


class SqliteRequests(Reading):
    """See `reconciler.state.base.Requests`."""

    def open_requests(self, now: datetime, most: int) -> list[Request]:
        found = self.read(lambda _layout: requests.SELECT_OPEN, requests.open_between(now, most))
        with self.understood():
            return [requests.request_from_row(row) for row in found]

    def request(self, number: int) -> Request | None:
        found = self.read(lambda _layout: requests.SELECT_ONE, (number,))
        with self.understood():
            return requests.request_from_row(found[0]) if found else None


class SqliteCondition(Reading):
    """See `reconciler.state.base.Condition`."""

    def writer(self) -> Seen | None:
        found = self.read(lambda _layout: selects.LEASE)
        if not found:
            return None
        held = LeaseRow(*found[0])
        alive = not Lease("reader", 1.0, LeaseClock()).is_free(held)
        with self.understood():
            return Seen(alive, rows.moment(held.acquired_at), held.host, held.pid, held.holder)

    def size(self, now: datetime) -> Size | None:
        with files.explained(self.path), self.opened() as opened:
            return None if opened is None else measure(self.path, opened[0], now)

    def in_force(self) -> InForce | None:
        found = self.read(selects.in_force)
        return InForce(found[0][0], bool(found[0][1])) if found else None

    def resting(self) -> list[Resting]:
        with self.understood():
            return [rows.resting_from_row(row) for row in self.read(selects.resting)]


class SqliteStore(SqliteRecords, SqliteLog, SqliteLedger, SqliteRequests, SqliteCondition):
    """All that is read of a state file; see `reconciler.state.base.Store`."""
