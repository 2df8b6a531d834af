"""The state store: what was applied, what is under way, what happened. Opened by URL.

The rest of the program knows the contract in `base` and these two functions only. Nothing else may open the state file.
"""

from __future__ import annotations

from collections.abc import Callable

from reconciler.settings import state_path
from reconciler.state.base import Store, Writer
from reconciler.state.sqlite.held import HeldFile, Terms
from reconciler.state.sqlite.lease import LEASE_SECONDS, LeaseClock
from reconciler.state.sqlite.reader import SqliteStore
from reconciler.state.sqlite.requests import Asker
from reconciler.state.sqlite.retention import Pruning, Retention
from reconciler.state.sqlite.writer import SqliteWriter

_DEFAULT_CLOCK = LeaseClock()
_KEEP_ALL = Retention()


def open_store(url: str, *, must_exist: bool = False) -> Store:
    """Open the state for reading. Where there is none yet it is empty, and nothing is made.

    Args:
        url: ``sqlite:///relative/path.db`` or ``sqlite:////absolute/path.db``.
        must_exist: a reader beside a writer says so: to it a file that is gone is a fault, and not a state in which
            nothing has been applied yet.

    Raises:
        StoreError: the URL is of another form. What is wrong with the file itself is raised by the reads.
    """
    return SqliteStore(state_path(url), must_exist=must_exist)


def open_asker(url: str, *, clock: LeaseClock = _DEFAULT_CLOCK) -> Asker:
    """Return who may ask the process that holds the state. Nothing is opened before something is asked.

    Raises:
        StoreError: the URL is of another form.
    """
    return Asker(state_path(url), clock)


def open_writer(
    url: str,
    *,
    holder: str,
    wait_seconds: float = 0.0,
    lease_seconds: float = LEASE_SECONDS,
    clock: LeaseClock = _DEFAULT_CLOCK,
    on_wait: Callable[[str], None] | None = None,
    on_commit: Callable[[float], None] | None = None,
    retention: Retention = _KEEP_ALL,
) -> Writer:
    """Open the state for writing: make it where there is none, take the state lease, bring it to the newest layout.

    Args:
        url: as for `open_store`.
        holder: the command, as the next one is told who holds the state. No secret may be in it.
        wait_seconds: how long to wait for another writer to end.
        lease_seconds: after a kill that cannot be proved, the state is free after so long.
        on_wait: told, while that is waited for, who it is, again and again.
        on_commit: told, in the writer's thread, how many seconds each commit took.
        retention: how much of the history is kept.

    Raises:
        StateHeld: another writer holds the state; the message names it.
        StoreError: the file is damaged, of a newer program, cannot be written, or the URL is of another form.
    """
    held = HeldFile(state_path(url), Terms(holder, wait_seconds, lease_seconds, on_wait), clock, on_commit)
    return SqliteWriter(held, Pruning(retention, clock))
