"""How large a state is, and for how long its disk will do: evidence that is kept for a year must have its place.

What must never happen in this room: a look at the size costs more than a handful of rows, for the page asks at every
scrape, beside a history of millions.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from reconciler.model import Size
from reconciler.state.rows import micros

#: The pace is that of the last days: a week has its nights and its Sunday.
_WINDOW: Final = timedelta(days=7)
#: In less than this much history nothing can be read about the next month.
_LEAST: Final = timedelta(hours=1)
#: Bytes of one line with its part of the indexes. The file's own average is used, within these bounds: one that holds
#: many records and little history yet would say far too much.
_LINE_BYTES: Final = (300.0, 1500.0)


def measure(path: Path, connection: sqlite3.Connection, now: datetime) -> Size:
    """Return the size of a state file and the pace of its history.

    Args:
        path: of the file.
        connection: to it.
        now: the present moment, aware.
    """
    total = state_bytes(path)
    disk = os.statvfs(path.parent)
    free = disk.f_bavail * disk.f_frsize
    newest = connection.execute("SELECT id FROM history ORDER BY id DESC LIMIT 1").fetchone()
    first = connection.execute(
        "SELECT id, at FROM history WHERE at >= ? ORDER BY at LIMIT 1", (micros(now - _WINDOW),)
    ).fetchone()
    oldest = connection.execute("SELECT id FROM history ORDER BY id LIMIT 1").fetchone()
    if newest is None or first is None or oldest is None:
        return Size(total, free, None)
    span = (micros(now) - first[1]) / 1e6
    if span < _LEAST.total_seconds():
        return Size(total, free, None)
    lines = newest[0] - oldest[0] + 1
    line_bytes = min(max(total / lines, _LINE_BYTES[0]), _LINE_BYTES[1])
    per_day = max(0, newest[0] - first[0] + 1) * line_bytes * 86_400 / span
    return Size(total, free, per_day)


def state_bytes(path: Path) -> int:
    """Return the bytes of a state file and its log; 0 where there is none."""
    total = 0
    for each in (path, path.with_name(f"{path.name}-wal")):
        with suppress(FileNotFoundError):
            total += os.stat(each).st_size  # noqa: PTH116 - the size alone is asked for
    return total
