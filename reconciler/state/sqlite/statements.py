"""The statements that write rows to a state file. `selects` has those that read.

Many rows go into one statement on purpose: Python hands its lock over at every statement, and a thread that writes row
by row beside a busy event loop would wait for that lock once per row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Final

from reconciler.model import RecordingKey
from reconciler.state.rows import EVENT, KEY, RECORDING, RESTING, REVISION, Row

#: Rows in one statement at most. Past this, longer statements gained nothing measurable.
_ROWS: Final = 64

PUT_REVISION: Final = f"INSERT OR REPLACE INTO revisions ({', '.join(REVISION)}) VALUES (?, ?, ?, ?)"  # noqa: S608 (constants)
PUT_IN_FORCE: Final = "INSERT OR REPLACE INTO source (id, revision, judged) VALUES (1, ?, ?)"
PUT_RESTING: Final = f"INSERT OR REPLACE INTO resting ({', '.join(RESTING)}) VALUES (?, ?, ?, ?, ?)"  # noqa: S608 (constants)
DELETE_RESTING: Final = "DELETE FROM resting WHERE workspace_id = ?"


def upserts(rows: Sequence[Row]) -> Iterator[tuple[str, Row]]:
    """Yield the statements, each with its values, that write rows of `recording_row`."""
    return _statements("recordings", rows)


def inserts(rows: Sequence[Row]) -> Iterator[tuple[str, Row]]:
    """Yield the statements, each with its values, that append rows of `event_row`."""
    return _statements("history", rows)


def deletes(keys: Sequence[RecordingKey]) -> Iterator[tuple[str, Row]]:
    """Yield the statements, each with its values, that delete the rows of keys."""
    return _statements("released", keys)


def _statements(what: str, rows: Sequence[Row]) -> Iterator[tuple[str, Row]]:
    at = 0
    while at < len(rows):
        # Powers of two only, so that a handful of prepared statements serves every number of rows.
        count = min(_ROWS, 1 << ((len(rows) - at).bit_length() - 1))
        yield _statement(what, count), tuple(chain.from_iterable(rows[at : at + count]))
        at += count


@cache
def _statement(what: str, count: int) -> str:
    columns = {"recordings": RECORDING, "history": EVENT, "released": KEY}[what]
    values = ", ".join([f"({', '.join('?' * len(columns))})"] * count)
    if what == "released":
        return f"DELETE FROM recordings WHERE ({', '.join(KEY)}) IN (VALUES {values})"  # noqa: S608 (constants)
    insert = f"INSERT INTO {what} ({', '.join(columns)}) VALUES {values}"  # noqa: S608 (constants)
    if what == "history":
        return insert
    update = ", ".join(f"{column} = excluded.{column}" for column in columns if column not in KEY)
    return f"{insert} ON CONFLICT ({', '.join(KEY)}) DO UPDATE SET {update}"
