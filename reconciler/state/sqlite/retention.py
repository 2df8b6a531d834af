"""How long the history is kept, and the one way in which lines of it may go.

The oldest lines go first, a bounded number at a time, so that no write waits long. The guard that refuses every
deletion is lifted inside the transaction that deletes, and stands again before anybody else can look. A line that the
safety limits still count must never go, or a restart would forget what was sent in the last ten minutes.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from reconciler.state.rows import micros, moment
from reconciler.state.sqlite.lease import LeaseClock
from reconciler.state.sqlite.schema import HISTORY_GUARD

#: Lines that one transaction takes away at most: some ten milliseconds of work.
LINES_AT_ONCE: Final = 1000
#: So many lines may come in before it is asked again whether old ones have to go: half of what then goes at once, so
#: that the history cannot grow faster than it is pruned.
LINES_BETWEEN: Final = 500
#: How often age alone is asked about, in seconds. Days are not kept to the minute.
SECONDS_BETWEEN: Final = 600.0
#: While nothing is written, old lines go in steps so far apart.
_STEP_SECONDS: Final = 0.05
#: Longer than the ten minutes over which the safety limits count.
_COUNTED_SECONDS: Final = 900.0

_EXPIRED: Final = """
    FROM (SELECT id, at, event, irreversible, resumes_foreign FROM history ORDER BY id LIMIT :most)
    WHERE (id <= (SELECT max(id) FROM history) - :rows OR at < :oldest)
    AND NOT (event = 'patch_sent' AND (irreversible OR resumes_foreign) AND at >= :counted)
"""


@dataclass(frozen=True, slots=True)
class Retention:
    """How much of the history is kept; None for no bound."""

    days: float | None = None
    #: Lines. For moments it may be `LINES_BETWEEN` more.
    rows: int | None = None

    @property
    def bounded(self) -> bool:
        return self.days is not None or self.rows is not None


def prune(connection: sqlite3.Connection, retention: Retention, now: datetime) -> int:
    """Delete the oldest lines past their time, at most `LINES_AT_ONCE`. Call it inside a write transaction.

    Returns:
        How many went; if it is all that were asked for, there may be more.
    """
    values = {
        "most": LINES_AT_ONCE,
        # No history reaches these: an id is never negative, and no time lies before 1970.
        "rows": 2**62 if retention.rows is None else retention.rows,
        "oldest": 0 if retention.days is None else micros(now - timedelta(days=retention.days)),
        "counted": micros(now - timedelta(seconds=_COUNTED_SECONDS)),
    }
    (found,) = connection.execute(f"SELECT count(*) {_EXPIRED}", values).fetchone()
    if not found:
        return 0
    connection.execute("DROP TRIGGER IF EXISTS history_is_never_deleted")
    connection.execute(f"DELETE FROM history WHERE id IN (SELECT id {_EXPIRED})", values)  # noqa: S608 (constants)
    connection.execute(HISTORY_GUARD)
    return int(found)


class Pruning:
    """Says when old lines are to go, and has them go a bounded part at a time."""

    def __init__(self, retention: Retention, clock: LeaseClock) -> None:
        self._retention = retention
        self._clock = clock
        #: Lines since the last time, when it is at the latest to be done again, and whether more than could go at once
        #: was past its time.
        self._new_lines = 0
        self._at = clock.elapsed()
        self._more = False

    def count(self, lines: int) -> None:
        """Take in that so many lines were written."""
        self._new_lines += lines

    def due(self) -> bool:
        """Whether old lines may have to go now."""
        if not self._retention.bounded:
            return False
        return self._more or self._new_lines >= LINES_BETWEEN or self._clock.elapsed() >= self._at

    def within(self, seconds: float) -> float:
        """Return after how much of a quiet time to look again."""
        return min(_STEP_SECONDS, seconds) if self._more else seconds

    def prune(self, connection: sqlite3.Connection) -> None:
        """Delete the oldest lines past their time. Call it inside a write transaction."""
        self._new_lines = 0
        self._at = self._clock.elapsed() + SECONDS_BETWEEN
        self._more = False
        gone = prune(connection, self._retention, moment(round(self._clock.wall() * 1e6)))
        self._more = gone == LINES_AT_ONCE
