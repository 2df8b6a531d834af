"""How a state file is: whether it is whole, of which layout, and who holds it. For `doctor` and `state check`.

What must never happen here: a row changes, or anything runs that somebody else has put into the file.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from reconciler.settings import state_path
from reconciler.state import rows
from reconciler.state.base import EventQuery
from reconciler.state.sqlite import connection as files
from reconciler.state.sqlite import schema, selects
from reconciler.state.sqlite.lease import Lease, LeaseClock
from reconciler.state.sqlite.size import measure, state_bytes

#: More than a few faults say nothing more: the file is damaged.
_FAULTS: Final = 5


@dataclass(frozen=True, slots=True)
class Health:
    """What was found."""

    path: Path
    #: Of the file and its log; None for a state that does not exist yet.
    size_bytes: int | None
    #: Whether anybody but its owner may read the file.
    open_to_others: bool
    #: Free bytes on its disk, or on the one that would hold it.
    free_bytes: int
    #: The layout that the file has, 0 where there is none, and the one that this program writes.
    layout: int
    newest_layout: int
    #: What SQLite finds wrong with it; empty when it is whole.
    faults: tuple[str, ...]
    #: Who holds the state, or did when last heard of.
    holder: str | None
    #: How many recordings have a last-applied status.
    last_applied: int
    #: How many there are, and how many lines of history.
    recordings: int = 0
    events: int = 0
    #: For how many days its disk holds what comes in; None where that is not known.
    days_left: float | None = None


def sqlite_version() -> str:
    """Return the version of the SQLite that Python was built with."""
    return sqlite3.sqlite_version


def examine(url: str) -> Health:
    """Read a whole state file for faults.

    Args:
        url: as for `open_store`.

    Raises:
        StoreError: the URL is of another form; the file cannot be read, is damaged beyond reading, or is another
            program's.
    """
    path = state_path(url)
    newest = len(schema.MIGRATIONS)
    with files.explained(path):
        folder = next(parent for parent in path.parents if parent.is_dir())
        free = shutil.disk_usage(folder).free
        if files.identity(path) is None:
            return Health(path, None, False, free, 0, newest, (), None, 0)
        status = path.stat()
        opened, _ = files.open_as_it_is(path)
        with closing(opened) as connection:
            layout = schema.version_of(connection, path)
            foreign = schema.foreign_parts(connection, layout) if layout else []
            if foreign:
                # Not a row is read, for what is foreign may run with any of them.
                faults = tuple(f"it holds {part}, which no reconciler put there" for part in foreign)
                return Health(path, status.st_size, bool(status.st_mode & 0o077), free, layout, newest, faults, None, 0)
            checked = connection.execute(f"PRAGMA integrity_check({_FAULTS})").fetchall()
            faults = tuple(str(text) for (text,) in checked if text != "ok")
            if layout and not faults:
                faults = tuple(f"it lacks {part}" for part in schema.missing_parts(connection, layout))
            if layout and not faults:
                faults = (*_disagreements(connection), *_unreadable(connection, layout))
            recordings, events = (_count(connection, each) if layout else 0 for each in ("recordings", "history"))
            size = measure(path, connection, datetime.now(UTC)) if layout else None
            held = Lease("doctor", 1.0, LeaseClock()).look(connection) if layout else None
            counted = connection.execute(selects.COUNT_LAST_APPLIED).fetchone() if layout else None
    return Health(
        path,
        state_bytes(path),
        bool(status.st_mode & 0o077),
        free,
        layout,
        newest,
        faults,
        None if held is None else str(held),
        int(counted[0]) if counted else 0,
        recordings,
        events,
        None if size is None else size.days_left,
    )


def _count(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 (constants)


def _disagreements(connection: sqlite3.Connection) -> tuple[str, ...]:
    """Return where rows that are each well formed contradict one another."""
    found = [
        f"row {row} of {table} refers to what is not there"
        for table, row, *_ in connection.execute("PRAGMA foreign_key_check")
    ][:_FAULTS]
    kept = connection.execute(selects.COUNT_LAST_APPLIED).fetchone()
    (counted,) = connection.execute("SELECT count(*) FROM recordings WHERE last_applied IS NOT NULL").fetchone()
    if kept is None or kept[0] != counted:
        found.append(f"{counted} recordings have a last-applied status, and the count that is kept says otherwise")
    return tuple(found)


def _unreadable(connection: sqlite3.Connection, layout: int) -> Iterator[str]:
    """Name the first few rows that no command can read, of the tables that hold most of what is known."""
    # What is not UTF-8 would end the whole reading at its first row.
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    tables: tuple[tuple[str, tuple[str, rows.Row], Callable[[rows.Row], object], slice], ...] = (
        ("recording", (selects.all_recordings(layout), ()), rows.recording_from_row, slice(0, 5)),
        ("event", selects.events(EventQuery(), layout), rows.event_from_row, slice(-1, None)),
    )
    found = 0
    for what, (statement, values), read, name in tables:
        for row in connection.execute(statement, values):
            why = _why_unreadable(row, read)
            if why is None:
                continue
            found += 1
            if found > _FAULTS:
                yield "there are more of these"
                return
            yield f"{what} {' '.join(map(str, row[name]))} cannot be read: {why}"
    connection.text_factory = str


def _why_unreadable(row: rows.Row, read: Callable[[rows.Row], object]) -> str | None:
    try:
        for value in row:
            if isinstance(value, str) and not value.isascii():
                value.encode()
        read(row)
    except UnicodeEncodeError:
        return "it holds bytes that are not UTF-8"
    except KeyError as error:
        return f"the word {error} is none that this reconciler knows"
    except (TypeError, ValueError, OverflowError) as error:
        return str(error) or type(error).__name__
    return None
