"""The state file as its one writer holds it: opened under the state lease, opened anew after a failure, given back.

What must never happen here: a commit that passes for kept although the file it went to is no longer the one at the
path, or one that is made after the state lease was lost.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from reconciler.model import LeaseLost, StateHeld, StoreError
from reconciler.settings import is_our_folder
from reconciler.state.sqlite import connection as files
from reconciler.state.sqlite import schema
from reconciler.state.sqlite.lease import Lease, LeaseClock, LeaseRow

#: After a failed write the state is tried again this soon, so that it is found well again soon after it is.
_RETRY_SECONDS: Final = 1.0
#: While another writer holds the state, it is asked for this often.
_ASK_SECONDS: Final = 0.25


class Terms(NamedTuple):
    """On what terms the state lease is taken."""

    #: The command, as the next one is told who holds the state.
    holder: str
    #: How long to wait for another writer to end, and how long the state lease runs.
    wait_seconds: float
    lease_seconds: float
    #: Told, while another is waited for, who it is; None where nobody wants to know.
    on_wait: Callable[[str], None] | None = None


class HeldFile:
    """A state file whose state lease this process holds."""

    def __init__(self, path: Path, terms: Terms, clock: LeaseClock, on_commit: Callable[[float], None] | None) -> None:
        """Make the file where there is none, take its state lease, and bring it to the newest layout.

        Args:
            path: of the file.
            terms: how the state lease is taken.
            clock: the looks at time that the state lease needs.
            on_commit: told how many seconds each commit took; None where nobody wants to know.

        Raises:
            StateHeld: another writer holds the state.
            StoreError: the file is damaged, of a newer program, or cannot be written.
        """
        self.path = path
        self.clock = clock
        self.lease = Lease(terms.holder, terms.lease_seconds, clock)
        self.commits = 0
        #: Grows when the file turns out to be gone, and this process goes on with another one.
        self.epoch = 1
        self._left = False
        self._on_wait = terms.on_wait
        self._on_commit = on_commit
        #: Why the last commit failed: the state lease is then extended at the next one, whether or not that is due.
        self._error: StoreError | None = None
        #: The file that is open, and its log: both are another's once the file was removed or replaced.
        self._identity: tuple[int, int] | None = None
        self._log: tuple[int, int] | None = None
        #: Whether the folder was made for the state alone, and may be made again where somebody cleaned it away.
        self._our_folder = False
        with files.explained(path):
            self._connection: sqlite3.Connection | None = self._open(terms.wait_seconds)

    @property
    def is_well(self) -> bool:
        """Whether the file is open and the last commit succeeded."""
        return self._error is None and self._connection is not None

    def idle_seconds(self) -> float | None:
        """Return after how many seconds to write although nothing waits; None once the state lease is lost."""
        if isinstance(self._error, LeaseLost):
            return None
        if self._error is not None:
            return min(_RETRY_SECONDS, self.lease.heartbeat_seconds)
        return self.lease.due_seconds()

    @contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for a batch of writes, opened anew where the last one failed.

        Raises:
            LeaseLost: another writer took the state over; it is ours no more.
            StoreError: the file cannot be used.
        """
        if isinstance(self._error, LeaseLost):
            raise self._error
        with files.explained(self.path):
            if self._connection is None:
                self._connection = self._reopen()
            yield self._connection
        self._error = None

    @contextmanager
    def transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Commit what happens inside, durably, if the state lease is still ours and the path leads to the file."""
        began = self.clock.elapsed()
        with files.transaction(connection):
            # After a failure the lease is extended at once: a commit that writes nothing would not show a full disk.
            extended = self.lease.hold(connection, now=self._error is not None)
            yield
        if files.identity(self.path) != self._identity:
            self.lease.forfeit()
            self._identity = None
            self._leave_file()
            raise StoreError(
                f"{self.path} was removed or replaced while in use: what was written last is lost, and the state at "
                "that path is used from now on, empty if there is none"
            )
        if extended is not None:
            self.lease.extended(extended)
        self.commits += 1
        if self._on_commit is not None:
            self._on_commit(self.clock.elapsed() - began)

    def failed(self, error: StoreError) -> None:
        """Take in that a commit failed: the next attempt starts from the file as it is then."""
        self._error = error
        self._disconnect()

    def end(self) -> None:
        """Give the state lease back and let go of the file."""
        if self._connection is not None:
            self._give_back(self._connection)
            self._disconnect()
        self.lease.forfeit()

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _open(self, wait_seconds: float) -> sqlite3.Connection:
        with ExitStack() as undo:
            with files.making(self.path):
                # Asked before it is opened: if it is replaced in between, the first commit finds out.
                identity = files.identity(self.path)
                connection = undo.enter_context(closing(files.open_for_writing(self.path, schema.layout_version)))
                found = schema.create(connection, self.path)
            self._take_lease(connection, wait_seconds)
            undo.callback(self._give_back, connection)
            schema.migrate(connection, self.path, keep_copy=found > 0)
            undo.pop_all()
        self._identity = identity
        self._log = files.log_identity(self.path)
        self._our_folder = is_our_folder(self.path.parent)
        self._left = False
        return connection

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with suppress(sqlite3.Error):  # Where it cannot be given back, it runs out by itself.
            self.lease.give_back(connection)

    def _reopen(self) -> sqlite3.Connection:
        identity = files.identity(self.path)
        if identity is not None and identity == self._identity:
            # Whether the lease is still ours, the next transaction asks.
            connection = files.open_for_writing(self.path, schema.layout_version)
            self._log = files.log_identity(self.path)
            return connection
        if identity is not None:
            files.check_log(self.path, self._log)
        folder = self.path.parent
        if not folder.exists() and not (self._our_folder and folder.parent.is_dir() and not folder.is_symlink()):
            # Not made again as at the start: a folder that vanished, and that we did not make, may be a volume that
            # comes back.
            raise StoreError(f"{self.path} cannot be opened: its folder {folder} is gone; make it again")
        self._leave_file()
        try:
            return self._open(0.0)
        except StateHeld as error:
            raise LeaseLost(f"{error}; this process held the file that was there before") from error

    def _leave_file(self) -> None:
        if not self._left:
            self._left = True
            self.epoch += 1

    def _take_lease(self, connection: sqlite3.Connection, wait_seconds: float) -> None:
        until = self.clock.elapsed() + wait_seconds
        seen: LeaseRow | None = None
        seen_at = 0.0
        while True:
            now = self.clock.elapsed()
            try:
                held = self.lease.take(connection, now - seen_at if seen else 0.0)
            except sqlite3.OperationalError as error:
                # Locked for longer than a write takes: its holder was stopped in the middle of one.
                held = self.lease.look(connection) if files.is_locked(error) else None
                if held is None:
                    raise
            if held is None:
                return
            if held != seen:
                seen, seen_at = held, now
            if now >= until:
                raise StateHeld(f"{self.path} is held by {held}: one process at a time may write it")
            if self._on_wait is not None:
                self._on_wait(str(held))
            self.clock.sleep(min(_ASK_SECONDS, until - now))
