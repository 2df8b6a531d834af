"""The writer of the default state store: one SQLite file, many readers, one writer.

One thread writes: it takes all that waits and commits it as one, so that a hundred intents cost one flush of the disk.
No receipt may be settled before its commit, and no commit may pass for kept when the file it went to is no longer the
one at the path.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from reconciler.model import (
    Event,
    InForce,
    Judgements,
    LeaseLost,
    Record,
    RecordingKey,
    Request,
    Resting,
    Revision,
    StateHeld,
    StoreError,
)
from reconciler.settings import is_our_folder
from reconciler.state.base import Receipt, settle_all
from reconciler.state.sqlite import connection as files
from reconciler.state.sqlite import requests, rows, schema
from reconciler.state.sqlite.judgements import statements
from reconciler.state.sqlite.lease import Clock, Holding, Lease
from reconciler.state.sqlite.retention import LINES_AT_ONCE, LINES_BETWEEN, SECONDS_BETWEEN, Retention, prune
from reconciler.telemetry import scrub

#: Writes in one commit at most, so that none waits long for the others of its batch.
_BATCH: Final = 1000
#: After a failed write the state is tried again this soon, so that it is found well again soon after it is.
_RETRY_SECONDS: Final = 1.0
#: While another writer holds the state, it is asked for this often.
_ASK_SECONDS: Final = 0.25
#: While nothing is written, old lines of the history go in steps so far apart.
_PRUNE_SECONDS: Final = 0.05
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
    key: RecordingKey | None
    #: None with a key: the key's row goes.
    row: rows.Row | None
    events: list[rows.Row]
    #: What is known of commits: statements with their values.
    facts: Sequence[tuple[str, rows.Row]]


class SqliteWriter:
    """Writes a state file and holds its lease; see `reconciler.state.base.Writer`."""

    def __init__(
        self,
        path: Path,
        *,
        holder: str,
        wait_seconds: float,
        lease_seconds: float,
        clock: Clock,
        on_wait: Callable[[str], None],
        on_commit: Callable[[float], None],
        retention: Retention,
    ) -> None:
        self._path = path
        self._clock = clock
        self._on_wait = on_wait
        self._on_commit = on_commit
        self._lease = Lease(holder, lease_seconds, clock)
        self._changed = threading.Condition(threading.Lock())
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._error: StoreError | None = None
        self._lost: LeaseLost | None = None
        self._closed = False
        self._commits = 0
        self._retention = retention
        #: Lines of the history since it was last pruned, when it is at the latest to be pruned again, and whether more
        #: than could go at once was past its time.
        self._new_lines = 0
        self._prune_at = clock.elapsed()
        self._more_to_prune = False
        #: The file that is open, and its log: both are another's once the file was removed or replaced.
        self._identity: tuple[int, int] | None = None
        self._log: tuple[int, int] | None = None
        #: Whether the folder was made for the state alone, and may be made again where somebody cleaned it away.
        self._our_folder = False
        with files.explained(path):
            self._connection: sqlite3.Connection | None = self._open(wait_seconds)
        # A daemon thread: a program that fails before `close` must still end. What was not acknowledged goes with it.
        self._thread = threading.Thread(target=self._run, name="state-writer", daemon=True)
        self._thread.start()

    @property
    def error(self) -> StoreError | None:
        return self._error

    @property
    def commits(self) -> int:
        return self._commits

    def save(self, record: Record, *events: Event) -> Receipt:
        return self._hand_in(record.key, rows.recording_row(record), events)

    def release(self, key: RecordingKey, *events: Event) -> Receipt:
        return self._hand_in(key, None, events)

    def append(self, *events: Event) -> Receipt:
        return self._hand_in(None, None, events)

    def describe(self, *revisions: Revision, in_force: InForce | None = None) -> Receipt:
        facts: list[tuple[str, rows.Row]] = [(rows.PUT_REVISION, rows.revision_row(each)) for each in revisions]
        if in_force is not None:
            facts.append((rows.PUT_IN_FORCE, in_force))
        return self._hand_in(None, None, (), facts)

    def rest(self, workspace_id: str, resting: Resting | None) -> Receipt:
        fact = (
            (rows.DELETE_RESTING, (workspace_id,)) if resting is None else (rows.PUT_RESTING, rows.resting_row(resting))
        )
        return self._hand_in(None, None, (), [fact])

    def judge(self, judgements: Judgements, *events: Event) -> Receipt:
        return self._hand_in(None, None, events, tuple(statements(judgements)))

    def take(self, request: Request, now: datetime) -> Receipt:
        return self._hand_in(None, None, (), (requests.taking(request, now),))

    def answer(self, request: Request, outcome: str, answer: str, *events: Event) -> Receipt:
        return self._hand_in(None, None, events, (requests.answering(request, outcome, answer),))

    def forget_requests(self, now: datetime) -> Receipt:
        return self._hand_in(None, None, (), (requests.forgetting(now),))

    def lease_valid(self) -> bool:
        return self._lease.valid()

    def close(self) -> None:
        with self._changed:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

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
        receipt = Receipt(self._changed)
        write = _Write(receipt, key, row, [rows.event_row(event) for event in events], facts)
        with self._changed:
            # Under the lock, so that nothing is put behind the end mark, where nobody would settle it.
            if self._closed:
                raise StoreError(f"{self._path} is closed: nothing more is written")
            self._queue.put(write)
        return receipt

    # What follows runs in the writer's thread alone, except that `_open` runs once before it starts.

    def _run(self) -> None:
        ending = False
        while not ending:
            batch, ending = self._take()
            error: StoreError | None = None
            faults: dict[Receipt, StoreError] = {}
            try:
                if batch or self._lease.due_seconds() == 0 or self._error is not None:
                    faults = self._write(batch)
                    self._error = None
            except StoreError as failure:
                error = self._failed(failure)
            except Exception as failure:  # noqa: BLE001 (this thread must outlive any fault, or every write would hang)
                words = f"{type(failure).__name__}: {scrub(str(failure))}"
                error = self._failed(StoreError(f"{self._path} could not be written: {words}"))
            settle_all(self._changed, [(write.receipt, error or faults.get(write.receipt)) for write in batch])
            # Nobody waits for this, so it comes after those who waited for the batch have been answered.
            self._new_lines += sum(len(write.events) for write in batch)
            try:
                self._prune_if_due()
            except StoreError as failure:
                self._failed(failure)
            except Exception as failure:  # noqa: BLE001 (as above)
                self._failed(StoreError(f"{self._path} could not be pruned: {failure!r}"))
        if self._connection is not None:
            self._give_back(self._connection)
            self._disconnect()
        self._lease.forfeit()

    def _take(self) -> tuple[list[_Write], bool]:
        """Wait for work or the next heartbeat. Return all that waits, and whether that is the end."""
        batch: list[_Write] = []
        try:
            write = self._queue.get(timeout=self._idle_seconds())
            while write is not None:
                batch.append(write)
                if len(batch) == _BATCH:
                    return batch, False
                write = self._queue.get_nowait()
        except queue.Empty:
            return batch, False
        return batch, True

    def _idle_seconds(self) -> float | None:
        if self._lost is not None:
            return None
        if self._error is not None:
            return min(_RETRY_SECONDS, self._lease.heartbeat_seconds)
        return min(_PRUNE_SECONDS, self._lease.due_seconds()) if self._more_to_prune else self._lease.due_seconds()

    def _prune_if_due(self) -> None:
        """Take away what the history keeps no longer, a bounded part of it."""
        due = self._more_to_prune or self._new_lines >= LINES_BETWEEN or self._clock.elapsed() >= self._prune_at
        if not due or not self._retention.bounded or self._error is not None or self._connection is None:
            return
        self._new_lines = 0
        self._prune_at = self._clock.elapsed() + SECONDS_BETWEEN
        self._more_to_prune = False
        with files.explained(self._path), self._transaction(self._connection):
            gone = prune(self._connection, self._retention, rows.moment(round(self._clock.wall() * 1e6)))
        self._more_to_prune = gone == LINES_AT_ONCE

    def _failed(self, error: StoreError) -> StoreError:
        self._error = error
        if isinstance(error, LeaseLost):
            self._lost = error
        # The next attempt starts from the file as it is then, not from what this connection believes.
        self._disconnect()
        return error

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _write(self, batch: list[_Write]) -> dict[Receipt, StoreError]:
        """Commit a batch, or as much of it as can be stored. Return the errors of the rest."""
        if self._lost is not None:
            raise self._lost
        with files.explained(self._path):
            if self._connection is None:
                self._connection = self._reopen()
            try:
                with self._transaction(self._connection):
                    _put(self._connection, batch)
                return {}
            except _VALUE_FAULTS:
                return self._write_singly(self._connection, batch)

    def _write_singly(self, connection: sqlite3.Connection, batch: list[_Write]) -> dict[Receipt, StoreError]:
        faults: dict[Receipt, StoreError] = {}
        with self._transaction(connection):
            for write in batch:
                connection.execute("SAVEPOINT one")
                try:
                    _put(connection, [write])
                except _VALUE_FAULTS as error:
                    connection.execute("ROLLBACK TO one")
                    faults[write.receipt] = StoreError(f"a value cannot be stored in {self._path}: {error}")
                connection.execute("RELEASE one")
        return faults

    @contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Commit what happens inside, durably, if the lease is still ours and the file still the one at the path."""
        began = self._clock.elapsed()
        with files.transaction(connection):
            # After a failure the lease is extended at once: a commit that writes nothing would not show a full disk.
            extended = self._lease.hold(connection, now=self._error is not None)
            yield
        if files.identity(self._path) != self._identity:
            self._lease.forfeit()
            self._identity = None
            raise StoreError(
                f"{self._path} was removed or replaced while in use: what was written last is lost, and the state at "
                "that path is used from now on, empty if there is none"
            )
        if extended is not None:
            self._lease.extended(extended)
        self._commits += 1
        self._on_commit(self._clock.elapsed() - began)

    def _open(self, wait_seconds: float) -> sqlite3.Connection:
        with ExitStack() as undo:
            with files.making(self._path):
                # Asked before it is opened: if it is replaced in between, the first commit finds out.
                identity = files.identity(self._path)
                connection = undo.enter_context(closing(files.open_for_writing(self._path, schema.layout_version)))
                found = schema.create(connection, self._path)
            self._take_lease(connection, wait_seconds)
            undo.callback(self._give_back, connection)
            schema.migrate(connection, self._path, keep_copy=found > 0)
            undo.pop_all()
        self._identity = identity
        self._log = files.log_identity(self._path)
        self._our_folder = is_our_folder(self._path.parent)
        return connection

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with suppress(sqlite3.Error):  # Where it cannot be given back, it runs out by itself.
            self._lease.give_back(connection)

    def _reopen(self) -> sqlite3.Connection:
        identity = files.identity(self._path)
        if identity is not None and identity == self._identity:
            # Whether the lease is still ours, the next transaction asks.
            connection = files.open_for_writing(self._path, schema.layout_version)
            self._log = files.log_identity(self._path)
            return connection
        if identity is not None:
            files.check_log(self._path, self._log)
        folder = self._path.parent
        if not folder.exists() and not (self._our_folder and folder.parent.is_dir() and not folder.is_symlink()):
            # Not made again as at the start: a folder that vanished, and that we did not make, may be a volume that
            # comes back.
            raise StoreError(f"{self._path} cannot be opened: its folder {folder} is gone; make it again")
        try:
            return self._open(0.0)
        except StateHeld as error:
            raise LeaseLost(f"{error}; this process held the file that was there before") from error

    def _take_lease(self, connection: sqlite3.Connection, wait_seconds: float) -> None:
        until = self._clock.elapsed() + wait_seconds
        seen: Holding | None = None
        seen_at = 0.0
        while True:
            now = self._clock.elapsed()
            try:
                held = self._lease.take(connection, now - seen_at if seen else 0.0)
            except sqlite3.OperationalError as error:
                # Locked for longer than a write takes: its holder was stopped in the middle of one.
                held = self._lease.look(connection) if files.is_locked(error) else None
                if held is None:
                    raise
            if held is None:
                return
            if held != seen:
                seen, seen_at = held, now
            if now >= until:
                raise StateHeld(f"{self._path} is held by {held}: one process at a time may write it")
            self._on_wait(str(held))
            self._clock.sleep(min(_ASK_SECONDS, until - now))


def _put(connection: sqlite3.Connection, batch: list[_Write]) -> None:
    # Of several writes of one key the last one stands, so rows may go in whatever order is cheapest.
    last = {write.key: write.row for write in batch if write.key is not None}
    saved = [row for row in last.values() if row is not None]
    released = [key for key, row in last.items() if row is None]
    events = [event for write in batch for event in write.events]
    for write in batch:
        for fact in write.facts:
            connection.execute(*fact)
    for statement, values in chain(rows.deletes(released), rows.upserts(saved), rows.inserts(events)):
        connection.execute(statement, values)
