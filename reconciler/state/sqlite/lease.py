"""The state lease: who may write the state and send, until when, and how it is lost.

The API offers no conditional request, so two controllers on one set of recordings would overrule one another. The state
lease is a row of the state file. Its holder extends it at every heartbeat and proves in each transaction that it is
still its own; once it is lost, this process must never write again. Doubt is settled by waiting: it is taken from
another only when it has run out, or when its holder is certainly dead.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from reconciler.model import LeaseLost
from reconciler.state.rows import moment
from reconciler.state.sqlite.connection import transaction

#: After a kill on another machine, or one that cannot be proved, the state is free after so long.
LEASE_SECONDS: Final = 15.0
#: Three heartbeats fit into a state lease: two may fail before it runs out.
_BEATS: Final = 3
#: The last fifth is not used for sending: a PATCH leaves some time after the question whether it may.
_MARGIN: Final = 1 / 5
_HOLDER_CHARACTERS: Final = 200

#: Counts the time for which the machine slept, too. On macOS the monotonic clock does so by itself.
_ELAPSED_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed_seconds() -> float:
    """Return seconds since the machine's start, suspended time included; no setting of the clock moves it."""
    return time.clock_gettime(_ELAPSED_CLOCK)


@dataclass(frozen=True, slots=True)
class LeaseClock:
    """The three looks at time that the state lease needs, together so that a test can turn them."""

    #: Seconds since 1970.
    wall: Callable[[], float] = time.time
    #: Seconds since the machine's start, suspended time included.
    elapsed: Callable[[], float] = elapsed_seconds
    #: Waits for so many seconds.
    sleep: Callable[[float], None] = time.sleep


class LeaseRow(NamedTuple):
    """The row of the state lease. Times in microseconds."""

    token: str
    host: str
    machine: str
    pid: int
    pid_started: str
    holder: str
    acquired_at: int
    lasts: int
    expires_at: int
    expires_elapsed: int

    def __str__(self) -> str:
        since = moment(self.acquired_at).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"`{self.holder}` (process {self.pid} on {self.host}, since {since})"


_COLUMNS: Final = ", ".join(LeaseRow._fields)
SELECT: Final = f"SELECT {_COLUMNS} FROM lease"  # noqa: S608 (constants)
_TAKE: Final = f"INSERT OR REPLACE INTO lease (id, {_COLUMNS}) VALUES (1{', ?' * len(LeaseRow._fields)})"  # noqa: S608 (constants)


class Lease:
    """This process's state lease on one file.

    Every method but `valid` takes the connection of the moment: the file may be opened anew between two calls.
    """

    def __init__(self, holder: str, seconds: float, clock: LeaseClock) -> None:
        self.seconds = seconds
        self.heartbeat_seconds = seconds / _BEATS
        self._clock = clock
        self._token = os.urandom(16).hex()
        self._holder = holder[:_HOLDER_CHARACTERS]
        self._host = os.uname().nodename
        self._machine = _machine()
        self._pid = os.getpid()
        self._pid_started = _process_start(self._pid) or ""
        self._acquired_at = round(clock.wall() * 1e6)
        self._extended = 0.0
        self._valid_until = 0.0

    def valid(self) -> bool:
        """Whether the lease is certainly still ours, by a clock that runs on while this process is stopped."""
        return self._clock.elapsed() < self._valid_until

    def due_seconds(self) -> float:
        """Return how many seconds remain until the next heartbeat, 0 when it is due."""
        return max(0.0, self._extended + self.heartbeat_seconds - self._clock.elapsed())

    def look(self, connection: sqlite3.Connection) -> LeaseRow | None:
        """Return who holds the state, or did when last heard of."""
        row = connection.execute(SELECT).fetchone()
        return None if row is None else LeaseRow(*row)

    def living(self, connection: sqlite3.Connection) -> LeaseRow | None:
        """Return who holds the state now; None where nobody does, or who did is certainly gone."""
        held = self.look(connection)
        return None if held is None or self.is_free(held, 0.0) else held

    def take(self, connection: sqlite3.Connection, unchanged_for: float = 0.0) -> LeaseRow | None:
        """Take the lease if that is safe, in a transaction of its own.

        Args:
            unchanged_for: seconds for which the caller has seen the holder's row not change. A row from elsewhere that
                stays as it is for a whole lease has no living holder, whatever the time of day is there.

        Returns:
            None when it is ours now, else who holds it.
        """
        elapsed = self._clock.elapsed()
        with transaction(connection):
            held = self.look(connection)
            if held is not None and not self.is_free(held, unchanged_for):
                return held
            connection.execute(_TAKE, self._row(elapsed))
        self.extended(elapsed)
        return None

    def hold(self, connection: sqlite3.Connection, *, now: bool) -> float | None:
        """Prove inside a write transaction that the lease is still ours, and extend it when the heartbeat is due.

        A lease that has run out is still ours while nobody has taken it: whoever takes it replaces the token.

        Args:
            now: extend it even when the heartbeat is not due.

        Returns:
            The moment to pass to `extended` once the transaction is committed, or None when it was not due.

        Raises:
            LeaseLost: it is another's, or nobody's: somebody may have written in between.
        """
        elapsed = self._clock.elapsed()
        held = self.look(connection)
        if held is None or held.token != self._token:
            self.forfeit()
            taker = "another writer, which has ended since" if held is None else str(held)
            raise LeaseLost(f"the state was taken over from this process by {taker}: nothing more is sent or written")
        if self.due_seconds() > 0 and not now:
            return None
        connection.execute(_TAKE, self._row(elapsed))
        return elapsed

    def extended(self, elapsed: float) -> None:
        """Note that the lease was extended on disk at that moment of the elapsed clock."""
        self._extended = elapsed
        self._valid_until = elapsed + self.seconds * (1 - _MARGIN)

    def forfeit(self) -> None:
        """Stop relying on the lease until it is extended again."""
        self._valid_until = 0.0

    def give_back(self, connection: sqlite3.Connection) -> None:
        """Let the next writer in at once. Does nothing when the lease is not ours."""
        self.forfeit()
        connection.execute("DELETE FROM lease WHERE token = ?", (self._token,))

    def _row(self, elapsed: float) -> LeaseRow:
        return LeaseRow(
            self._token,
            self._host,
            self._machine,
            self._pid,
            self._pid_started,
            self._holder,
            self._acquired_at,
            round(self.seconds * 1e6),
            round((self._clock.wall() + self.seconds) * 1e6),
            round((elapsed + self.seconds) * 1e6),
        )

    def is_free(self, held: LeaseRow, unchanged_for: float = 0.0) -> bool:
        """Whether nobody can hold the state by this row any more."""
        if held.machine and held.machine == self._machine:
            # The same boot: its own clock decides, so that setting the time of day frees nothing and holds nothing.
            return held.expires_elapsed <= self._clock.elapsed() * 1e6 or _dead(held.pid, held.pid_started)
        return held.expires_at <= self._clock.wall() * 1e6 or held.lasts < unchanged_for * 1e6


def _machine() -> str:
    # A host's name proves nothing (containers share and reuse names), so: this boot of the kernel, and the namespaces
    # in which a process number and a time since the start mean what they mean here.
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()} {Path('/proc/self/ns/time').readlink()}"
    except OSError:
        return ""


def _dead(pid: int, started: str) -> bool:
    """Whether a process of this machine is certainly no more. When in doubt it lives, until its lease runs out."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # It exists and belongs to somebody else.
    now = _process_start(pid)
    return bool(started) and now is not None and now != started


def _process_start(pid: int) -> str | None:
    """Return when a process started, in the kernel's ticks: empty if it is dead but not reaped, None if unknown."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The second field is the command's name in brackets and may hold anything, so count from the last bracket.
    found = re.search(r".*\) (\S)(?: \S+){18} (\d+)", text, re.DOTALL)
    if found is None:
        return None
    return "" if found[1] in "ZX" else found[2]
