"""The reader of the default state store: committed rows of one SQLite file, beside a writer or without one.

It waits for nobody and changes nothing: a file of an older layout, in a folder that may only be read, is read as it is.
What must never happen in this room: a row of a file that has been replaced is taken for one of the file at the path.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing, contextmanager
from datetime import datetime
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Final, Self

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
    StoreError,
    key_of_line,
)
from reconciler.state.base import EventQuery, SentPatch, Standing
from reconciler.state.sqlite import connection as files
from reconciler.state.sqlite import judgements, requests, rows, schema, selects
from reconciler.state.sqlite.lease import Clock, Holding, Lease
from reconciler.state.sqlite.size import measure

#: So many rows are asked for one by one before all are read in turn.
_SINGLY: Final = 1000


class SqliteStore:
    """Reads a state file; see `reconciler.state.base.Store`. A file that is not there yet is an empty state, unless it
    must exist."""

    def __init__(self, path: Path, *, must_exist: bool = False) -> None:
        self._path = path
        self._must_exist = must_exist
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._layout = 0
        self._note = ""
        self._identity: tuple[int, int] | None = None
        self._log: tuple[int, int] | None = None

    @property
    def note(self) -> str:
        return self._note

    def get(self, key: RecordingKey) -> Record | None:
        found = self._read(selects.one_recording, key)
        if not found:
            return None
        with self._understood():
            return rows.recording_from_row(found[0])

    def all(self) -> Iterator[Record]:
        with self._understood():
            for row in self._stream(lambda layout: (selects.all_recordings(layout), ())):
                yield rows.recording_from_row(row)

    def apart_from(self, lines: Iterable[str]) -> tuple[AbstractSet[str], list[Record]]:
        with files.explained(self._path), self._opened() as opened:
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
            with self._understood():
                return holding, [rows.recording_from_row(row) for row in found]

    def standings(self) -> Iterator[Standing]:
        with self._understood():
            for row in self._stream(lambda layout: (selects.standings(layout), ())):
                yield rows.standing_from_row(row)

    def count_last_applied(self) -> int:
        found = self._read(lambda _layout: selects.COUNT_LAST_APPLIED)
        return int(found[0][0]) if found else 0

    def last_event(self, key: RecordingKey) -> str | None:
        found = self._read(lambda _layout: selects.LAST_EVENT, key)
        return str(found[0][0]) if found else None

    def history(self, name: str | None = None, *, limit: int = 100, since: datetime | None = None) -> list[Event]:
        query = EventQuery((), since, None, limit) if name is None else EventQuery((name,), since, None, limit)
        return [line.event for line in self.events(query)]

    def events(self, query: EventQuery) -> Iterator[Line]:
        with self._understood():
            for row in self._stream(lambda layout: selects.events(query, layout)):
                yield Line(row[-1], rows.event_from_row(row))

    def writer(self) -> Seen | None:
        found = self._read(lambda _layout: selects.LEASE)
        if not found:
            return None
        held = Holding(*found[0])
        alive = not Lease("reader", 1.0, Clock()).is_free(held)
        with self._understood():
            return Seen(alive, rows.moment(held.acquired_at), held.host, held.pid, held.holder)

    def size(self, now: datetime) -> Size | None:
        with files.explained(self._path), self._opened() as opened:
            return None if opened is None else measure(self._path, opened[0], now)

    def revisions(self, identifiers: Collection[str]) -> dict[str, Revision]:
        found = (row for each in identifiers for row in self._read(selects.revision, (each,)))
        with self._understood():
            return {revision.id: revision for revision in map(rows.revision_from_row, found)}

    def in_force(self) -> InForce | None:
        found = self._read(selects.in_force)
        return InForce(found[0][0], bool(found[0][1])) if found else None

    def resting(self) -> list[Resting]:
        with self._understood():
            return [rows.resting_from_row(row) for row in self._read(selects.resting)]

    def judged(self) -> Iterator[Judged]:
        with self._understood():
            for row in self._stream(lambda layout: (selects.judged(layout), ())):
                yield judgements.judged_from_row(row)

    def refusals(self) -> list[RefusedSet]:
        with self._understood():
            return [judgements.refusal_from_row(row) for row in self._read(selects.refusals)]

    def open_requests(self, now: datetime, most: int) -> list[Request]:
        found = self._read(lambda _layout: requests.SELECT_OPEN, requests.open_between(now, most))
        with self._understood():
            return [requests.request_from_row(row) for row in found]

    def request(self, number: int) -> Request | None:
        found = self._read(lambda _layout: requests.SELECT_ONE, (number,))
        with self._understood():
            return requests.request_from_row(found[0]) if found else None

    def patches_since(self, since: datetime) -> list[SentPatch]:
        found = self._stream(lambda _layout: (selects.PATCHES, (rows.micros(since),)))
        with self._understood():
            return [rows.patch_from_row(row) for row in found]

    def close(self) -> None:
        with self._lock:
            self._let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _stream(self, asking: Callable[[int], tuple[str, rows.Row]]) -> Iterator[rows.Row]:
        # A connection of its own: on the shared one, a long read would hold up every short one, and a statement under
        # way would keep them all at its snapshot.
        with files.explained(self._path), self._opened() as opened:
            if opened is not None:
                connection, layout = opened
                yield from connection.execute(*asking(layout))

    def _read(self, asking: Callable[[int], str | None], values: Sequence[object] = ()) -> list[rows.Row]:
        # All rows at once: a statement left half-way would keep the next read from seeing newer rows.
        with self._lock:
            try:
                identity = files.identity(self._path)
                if identity != self._identity and identity is not None:
                    # The file was put in another's place: what was open is no longer the state.
                    files.check_log(self._path, self._log)
                # What has an older layout may be brought up to date at any moment, and is opened anew.
                if self._connection is None or identity != self._identity or self._layout < len(schema.MIGRATIONS):
                    self._let_go()
                    opened = self._open()
                    if opened is not None:
                        self._connection, self._layout = opened
                    self._identity = identity
                    self._log = None if self._connection is None else files.log_identity(self._path)
                statement = None if self._connection is None else asking(self._layout)
                if self._connection is None or statement is None:
                    return []
                return self._connection.execute(statement, values).fetchall()
            except (sqlite3.Error, OSError) as error:
                self._let_go()
                raise files.store_error(self._path, error) from error

    @contextmanager
    def _opened(self) -> Iterator[tuple[sqlite3.Connection, int] | None]:
        opened = self._open()
        if opened is None:
            yield None
        else:
            with closing(opened[0]):
                yield opened

    def _open(self) -> tuple[sqlite3.Connection, int] | None:
        """Open the file as it is; return a connection and the layout. None where nothing has been written yet."""
        if files.identity(self._path) is None:
            if self._must_exist:
                raise StoreError(f"{self._path} is gone: put it back, or wait until a new one has been begun")
            return None
        connection, self._note = files.open_as_it_is(self._path)
        try:
            layout = schema.layout_version(connection, self._path)
        except BaseException:
            connection.close()
            raise
        if layout == 0:
            connection.close()
            return None  # A writer is making it at this moment.
        return connection, layout

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """Turn what a row raises that no version of this program can have written, or only a newer one."""
        try:
            yield
        except (json.JSONDecodeError, TypeError, OverflowError) as error:
            raise StoreError(
                f"{self._path} is damaged: one of its records cannot be read ({type(error).__name__}); stop what writes"
                " it, move it aside with its -wal and -shm files, and put a backup in its place, or start again"
            ) from error
        except (KeyError, ValueError) as error:
            raise StoreError(
                f"{self._path} holds the word {error}, which this reconciler does not know: use a newer one"
            ) from error

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
