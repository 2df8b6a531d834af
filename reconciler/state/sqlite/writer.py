"""The writer of a state file: what is handed in becomes rows, and a batch of rows one commit.

What must never happen here: a value that cannot be stored takes down the writes that share its commit, or a commit
counts that no other process could read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain
from types import TracebackType
from typing import Final, Self

from reconciler.model import (
    Desired,
    Event,
    InForce,
    Judgements,
    Record,
    RecordingKey,
    Request,
    Resting,
    Revision,
    StoreError,
)
from reconciler.state import rows
from reconciler.state.batches import Batches
from reconciler.state.memory import Memory
from reconciler.state.receipts import Receipt
from reconciler.state.sqlite import judgements as said
from reconciler.state.sqlite import requests, schema, selects, statements
from reconciler.state.sqlite.held import HeldFile
from reconciler.state.sqlite.reader import SqliteStore
from reconciler.state.sqlite.reading import not_understood
from reconciler.state.sqlite.retention import Pruning

#: What SQLite or its Python module raises for a value that cannot be stored: the fault of one write, not of the file.
_VALUE_FAULTS: Final = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    UnicodeError,
)


@dataclass(slots=True)
class _Write:
    """What was handed in together: at most one row or one key to delete, and events."""

    receipt: Receipt
    #: That of the held file when it was handed in.
    epoch: int
    key: RecordingKey | None
    #: None with a key: the key's row goes.
    row: rows.Row | None
    events: list[rows.Row]
    #: What is known of commits: statements with their values.
    facts: Sequence[tuple[str, rows.Row]]


class _Commits:
    """Commits batches to the file; see `reconciler.state.batches.Committer`."""

    def __init__(self, held: HeldFile, pruning: Pruning, store: SqliteStore) -> None:
        self._held = held
        self._pruning = pruning
        self._store = store
        #: The records in memory, once they are served from there; those of which state; and keys of which a commit
        #: failed, so that nobody knows what the file holds of them.
        self.own: Memory | None = None
        self._own_epoch = held.epoch
        self._doubtful: set[RecordingKey] = set()

    def commit(self, batch: list[_Write]) -> Mapping[Receipt, StoreError]:
        try:
            with self._held.opened() as connection:
                self._refresh(connection)
                faults = self._overtaken(batch)
                batch = [write for write in batch if write.receipt not in faults]
                try:
                    with self._held.transaction(connection):
                        _put(connection, batch)
                except _VALUE_FAULTS:
                    faults |= self._commit_singly(connection, batch)
                # A commit into a file that was damaged meanwhile succeeds, since this connection believes the pages
                # that it has in memory. Another one has to read them.
                self._store.count_last_applied()
        except BaseException:
            self._doubtful.update(write.key for write in batch if write.key is not None)
            raise
        if self.own is not None:
            for write in batch:
                if write.key is not None and write.receipt not in faults:
                    self.own.put(write.key, write.row)
        return faults

    def _overtaken(self, batch: list[_Write]) -> dict[Receipt, StoreError]:
        """Refuse records that were handed in before this process went on with another file.

        They continue what the former file said, and would stand in this one as if it had been said here.
        """
        return {
            write.receipt: StoreError(
                f"{self._held.path} was replaced while a record waited to be written: it is decided upon anew"
            )
            for write in batch
            if write.key is not None and write.epoch != self._held.epoch
        }

    def _refresh(self, connection: sqlite3.Connection) -> None:
        """Read again what the memory may no longer have as the file has it."""
        if self.own is not None and self._own_epoch != self._held.epoch:
            layout = len(schema.MIGRATIONS)
            self.own.load(connection.execute(selects.all_recordings(layout)), {})
        elif self.own is not None:
            for key in self._doubtful:
                self.own.put(key, connection.execute(selects.one_recording(len(schema.MIGRATIONS)), key).fetchone())
        self._own_epoch = self._held.epoch
        self._doubtful.clear()

    def failed(self, error: StoreError) -> None:
        self._held.failed(error)

    def due(self) -> bool:
        return self._held.lease.due_seconds() == 0

    def idle_seconds(self) -> float | None:
        idle = self._held.idle_seconds()
        return idle if idle is None or not self._held.is_well else self._pruning.within(idle)

    def tend(self, batch: list[_Write]) -> None:
        self._pruning.count(sum(len(write.events) for write in batch))
        if self._held.is_well and self._pruning.due():
            with self._held.opened() as connection, self._held.transaction(connection):
                self._pruning.prune(connection)

    def end(self) -> None:
        self._held.end()

    def _commit_singly(self, connection: sqlite3.Connection, batch: list[_Write]) -> dict[Receipt, StoreError]:
        faults: dict[Receipt, StoreError] = {}
        with self._held.transaction(connection):
            for write in batch:
                connection.execute("SAVEPOINT one")
                try:
                    _put(connection, [write])
                except _VALUE_FAULTS as error:
                    connection.execute("ROLLBACK TO one")
                    faults[write.receipt] = StoreError(f"a value cannot be stored in {self._held.path}: {error}")
                connection.execute("RELEASE one")
        return faults


class SqliteWriter:
    """Writes a state file and holds its state lease; see `reconciler.state.base.Writer`."""

    def __init__(self, held: HeldFile, pruning: Pruning) -> None:
        self._held = held
        self._store = SqliteStore(held.path, must_exist=True)
        self._commits = _Commits(held, pruning, self._store)
        self._batches = Batches(str(held.path), self._commits)

    @property
    def error(self) -> StoreError | None:
        return self._batches.error

    @property
    def commits(self) -> int:
        return self._held.commits

    def load(self, declared: Mapping[RecordingKey, Desired]) -> Memory:
        own = Memory(self._store, partial(not_understood, self._held.path))
        own.load(self._store.stream(lambda layout: (selects.all_recordings(layout), ())), declared)
        self._commits.own = own
        return own

    def save(self, record: Record, *events: Event) -> Receipt:
        return self._hand_in(record.key, rows.recording_row(record), events)

    def release(self, key: RecordingKey, *events: Event) -> Receipt:
        return self._hand_in(key, None, events)

    def append(self, *events: Event) -> Receipt:
        return self._hand_in(None, None, events)

    def describe(self, *revisions: Revision, in_force: InForce | None = None) -> Receipt:
        facts: list[tuple[str, rows.Row]] = [(statements.PUT_REVISION, rows.revision_row(each)) for each in revisions]
        if in_force is not None:
            facts.append((statements.PUT_IN_FORCE, in_force))
        return self._hand_in(None, None, (), facts)

    def rest(self, workspace_id: str, resting: Resting | None) -> Receipt:
        fact = (
            (statements.DELETE_RESTING, (workspace_id,))
            if resting is None
            else (statements.PUT_RESTING, rows.resting_row(resting))
        )
        return self._hand_in(None, None, (), [fact])

    def judge(self, judgements: Judgements, *events: Event) -> Receipt:
        return self._hand_in(None, None, events, tuple(said.statements(judgements)))

    def take(self, request: Request, now: datetime) -> Receipt:
        return self._hand_in(None, None, (), (requests.taking(request, now),))

    def answer(self, request: Request, outcome: str, answer: str, *events: Event) -> Receipt:
        return self._hand_in(None, None, events, (requests.answering(request, outcome, answer),))

    def forget_requests(self, now: datetime) -> Receipt:
        return self._hand_in(None, None, (), (requests.forgetting(now),))

    def lease_valid(self) -> bool:
        return self._held.lease.valid()

    def close(self) -> None:
        self._batches.close()
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _hand_in(
        self,
        key: RecordingKey | None,
        row: rows.Row | None,
        events: Sequence[Event],
        facts: Sequence[tuple[str, rows.Row]] = (),
    ) -> Receipt:
        receipt = self._batches.receipt()
        return self._batches.hand_in(
            _Write(receipt, self._held.epoch, key, row, [rows.event_row(event) for event in events], facts)
        )


def _put(connection: sqlite3.Connection, batch: list[_Write]) -> None:
    # Of several writes of one key the last one stands, so rows may go in whatever order is cheapest.
    last = {write.key: write.row for write in batch if write.key is not None}
    saved = [row for row in last.values() if row is not None]
    released = [key for key, row in last.items() if row is None]
    events = [event for write in batch for event in write.events]
    for write in batch:
        for fact in write.facts:
            connection.execute(*fact)
    for statement, values in chain(statements.deletes(released), statements.upserts(saved), statements.inserts(events)):
        connection.execute(statement, values)
