"""How a state file is read: opened as it is, opened anew when it was replaced, one statement at a time.

It waits for nobody and changes nothing: a file of an older layout, in a folder that may only be read, is read as it is.
What must never happen here: a row of a file that has been replaced is taken for one of the file at the path.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from reconciler.model import StoreError
from reconciler.state import rows
from reconciler.state.sqlite import connection as files
from reconciler.state.sqlite import schema


class Reading:
    """A state file that is read by any thread. One that is not there yet is an empty state, unless it must exist."""

    def __init__(self, path: Path, *, must_exist: bool = False) -> None:
        self.path = path
        self._must_exist = must_exist
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._layout = 0
        self._note = ""
        self._identity: tuple[int, int] | None = None
        self._log: tuple[int, int] | None = None

    @property
    def note(self) -> str:
        """See `reconciler.state.base.Condition`."""
        return self._note

    def close(self) -> None:
        """Let go of the file. A later read opens it again."""
        with self._lock:
            self._let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self, asking: Callable[[int], str | None], values: Sequence[object] = ()) -> list[rows.Row]:
        """Return the rows of a statement; none where the layout has no answer."""
        # All rows at once: a statement left half-way would keep the next read from seeing newer rows.
        with self._lock:
            try:
                identity = files.identity(self.path)
                if identity != self._identity and identity is not None:
                    # The file was put in another's place: what was open is no longer the state.
                    files.check_log(self.path, self._log)
                # What has an older layout may be brought up to date at any moment, and is opened anew.
                if self._connection is None or identity != self._identity or self._layout < len(schema.MIGRATIONS):
                    self._let_go()
                    opened = self._open()
                    if opened is not None:
                        self._connection, self._layout = opened
                    self._identity = identity
                    self._log = None if self._connection is None else files.log_identity(self.path)
                statement = None if self._connection is None else asking(self._layout)
                if self._connection is None or statement is None:
                    return []
                return self._connection.execute(statement, values).fetchall()
            except (sqlite3.Error, OSError) as error:
                self._let_go()
                raise files.store_error(self.path, error) from error

    def stream(self, asking: Callable[[int], tuple[str, rows.Row]]) -> Iterator[rows.Row]:
        """Yield the rows of a statement and its values, which `asking` returns for the layout."""
        # A connection of its own: on the shared one, a long read would hold up every short one, and a statement under
        # way would keep them all at its snapshot.
        with files.explained(self.path), self.opened() as opened:
            if opened is not None:
                connection, layout = opened
                yield from connection.execute(*asking(layout))

    @contextmanager
    def opened(self) -> Iterator[tuple[sqlite3.Connection, int] | None]:
        """Give a connection of its own, and the layout; None where nothing has been written yet."""
        opened = self._open()
        if opened is None:
            yield None
        else:
            with closing(opened[0]):
                yield opened

    @contextmanager
    def understood(self) -> Iterator[None]:
        """Turn what a row raises that no version of this program can have written, or only a newer one."""
        try:
            yield
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise not_understood(self.path, error) from error

    def _open(self) -> tuple[sqlite3.Connection, int] | None:
        """Open the file as it is; return a connection and the layout. None where nothing has been written yet."""
        if files.identity(self.path) is None:
            if self._must_exist:
                raise StoreError(f"{self.path} is gone: put it back, or wait until a new one has been begun")
            return None
        connection, self._note = files.open_as_it_is(self.path)
        try:
            layout = schema.layout_version(connection, self.path)
        except BaseException:
            connection.close()
            raise
        if layout == 0:
            connection.close()
            return None  # A writer is making it at this moment.
        return connection, layout

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def not_understood(path: Path, error: Exception) -> StoreError:
    """Return what is wrong with a row, by what was raised when it was read. Chain it with ``from``."""
    if isinstance(error, (json.JSONDecodeError, TypeError, OverflowError)):
        return StoreError(
            f"{path} is damaged: one of its records cannot be read ({type(error).__name__}); stop what writes"
            " it, move it aside with its -wal and -shm files, and put a backup in its place, or start again"
        )
    return StoreError(f"{path} holds the word {error}, which this reconciler does not know: use a newer one")
