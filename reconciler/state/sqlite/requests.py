"""What is asked of the process that holds the state, by any other: rows, statements, and who asks.

Whoever asks writes one row in one short transaction, without the state lease, and takes it back if nobody takes it.
What must never happen here: a row that its asker has taken back and that is acted upon all the same, or a transaction
of an asker that holds the writer up. Who may write the state may ask: the system's rights are the only right.
"""

from __future__ import annotations

import os
import pwd
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from reconciler.model import Request, StoreError
from reconciler.state.rows import Row, micros, moment
from reconciler.state.sqlite import connection as files
from reconciler.state.sqlite import schema
from reconciler.state.sqlite.lease import Lease, LeaseClock, LeaseRow

#: A writer takes no request that is older, or from further ahead: nobody waits for its answer any more.
FRESH_SECONDS: Final = 60.0
#: How long what was asked is kept: it stands in the history as well.
_KEPT: Final = timedelta(hours=1)
#: So many rows at most are taken away at once.
_GONE_AT_ONCE: Final = 1000
_COLUMNS: Final = "id, at, kind, about, by, reason, taken_at, outcome, answer"

SELECT_OPEN: Final = (
    f"SELECT {_COLUMNS} FROM requests WHERE taken_at IS NULL AND outcome IS NULL "  # noqa: S608 (constants)
    "AND at BETWEEN ? AND ? ORDER BY at, id LIMIT ?"
)
SELECT_ONE: Final = f"SELECT {_COLUMNS} FROM requests WHERE id = ?"  # noqa: S608 (constants)
_TAKE: Final = "UPDATE requests SET taken_at = ? WHERE id = ? AND taken_at IS NULL AND outcome IS NULL"
_ANSWER: Final = "UPDATE requests SET outcome = ?, answer = ? WHERE id = ?"
_FORGET: Final = "DELETE FROM requests WHERE id IN (SELECT id FROM requests WHERE at < ? ORDER BY at LIMIT ?)"
_ASK: Final = "INSERT INTO requests (at, kind, about, by, reason) VALUES (?, ?, ?, ?, ?)"
_WITHDRAW: Final = "UPDATE requests SET outcome = 'withdrawn' WHERE id = ? AND taken_at IS NULL AND outcome IS NULL"


def open_between(now: datetime, most: int) -> Row:
    """Return the values of `SELECT_OPEN` for what may still be taken, at most so many."""
    span = timedelta(seconds=FRESH_SECONDS)
    return micros(now - span), micros(now + span), most


def taking(request: Request, now: datetime) -> tuple[str, Row]:
    """Return what takes a request, if it is still there to be taken."""
    return _TAKE, (micros(now), request.id)


def answering(request: Request, outcome: str, answer: str) -> tuple[str, Row]:
    """Return what answers a request."""
    return _ANSWER, (outcome, answer, request.id)


def forgetting(now: datetime) -> tuple[str, Row]:
    """Return what takes away what was asked long ago, a bounded part of it."""
    return _FORGET, (micros(now - _KEPT), _GONE_AT_ONCE)


def request_from_row(row: Row) -> Request:
    """Return the request of a row."""
    number, at, kind, about, by, reason, taken_at, outcome, answer = row
    taken = None if taken_at is None else moment(taken_at)
    return Request(number, moment(at), kind, about, by, reason, taken, outcome, answer)


def system_user() -> str:
    """Return who runs this process, as the system knows it: no variable of the environment says so."""
    user = os.geteuid()
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


class Asker:
    """Asks the process that holds a state file. Each method opens the file, is done at once and lets go of it."""

    def __init__(self, path: Path, clock: LeaseClock) -> None:
        self._path = path
        self._clock = clock

    @property
    def place(self) -> str:
        """Where the state is, for people."""
        return str(self._path)

    def holder(self) -> LeaseRow | None:
        """Return who holds the state now; None where nobody does, or where there is none.

        Raises:
            StoreError: it cannot be read.
        """
        with files.explained(self._path):
            if files.identity(self._path) is None:
                return None
            connection, _note = files.open_as_it_is(self._path)
            with closing(connection):
                if schema.layout_version(connection, self._path) == 0:
                    return None
                return Lease("", 0.0, self._clock).living(connection)

    def ask(self, kind: str, about: str, reason: str) -> int:
        """Write a request down and return its number.

        Raises:
            StoreError: it could not be written.
        """
        return self._write(_ASK, (round(self._clock.wall() * 1e6), kind, about, system_user(), reason))[0]

    def withdraw(self, number: int) -> bool:
        """Take a request back. False where it has been taken."""
        return self._write(_WITHDRAW, (number,))[1] == 1

    def look(self, number: int) -> Request | None:
        """Return a request as it stands now."""
        with files.explained(self._path):
            connection = files.open_for_reading(self._path)
            with closing(connection):
                schema.layout_version(connection, self._path)
                row = connection.execute(SELECT_ONE, (number,)).fetchone()
        return None if row is None else request_from_row(row)

    def _write(self, statement: str, values: Row) -> tuple[int, int]:
        with files.explained(self._path):
            connection = files.open_for_asking(self._path)
            with closing(connection):
                if schema.layout_version(connection, self._path) < len(schema.MIGRATIONS):
                    raise StoreError(f"{self._path} is held by an older reconciler, which takes no requests")
                with files.transaction(connection):
                    done = connection.execute(statement, values)
                return done.lastrowid or 0, done.rowcount
