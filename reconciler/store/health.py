"""How a state file is: whether it is whole, of which layout, and who holds it. For `doctor`; it changes no row."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reconciler.place import state_path
from reconciler.store import connection as files
from reconciler.store import schema, selects
from reconciler.store.lease import Clock, Lease

#: More than a few faults say nothing more: the file is damaged.
_FAULTS: Final = 5


@dataclass(frozen=True, slots=True)
class Health:
    """What was found."""

    path: Path
    #: None for a state that does not exist yet.
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
        with closing(files.open_for_reading(path)) as connection:
            layout = schema.layout_version(connection, path)
            checked = connection.execute(f"PRAGMA integrity_check({_FAULTS})").fetchall()
            faults = tuple(str(text) for (text,) in checked if text != "ok")
            held = Lease("doctor", 1.0, Clock()).look(connection) if layout else None
            counted = connection.execute(selects.COUNT_LAST_APPLIED).fetchone() if layout else None
    return Health(
        path,
        status.st_size,
        bool(status.st_mode & 0o077),
        free,
        layout,
        newest,
        faults,
        None if held is None else str(held),
        int(counted[0]) if counted else 0,
    )
