"""The contract of a state store: what may be read, what may be written, and when a write is known to be kept.

Reading never waits for the writer and sees committed rows only. Writing takes the one lease on the state; a receipt is
settled only once its write is on disk. A write must never be reported as kept before it is, and a process that has lost
the lease must never write again.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Generator, Iterable, Iterator
from collections.abc import Set as AbstractSet
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from reconciler.model import (
    Event,
    InForce,
    Judged,
    Judgements,
    Line,
    Phase,
    Record,
    RecordingKey,
    RefusedSet,
    Request,
    Resting,
    Revision,
    Seen,
    Size,
    Status,
    StoreError,
)

if TYPE_CHECKING:
    import asyncio


class SentPatch(NamedTuple):
    """One `patch_sent` line of the history, as the safety limits count it."""

    at: datetime
    key: RecordingKey
    irreversible: bool
    resumes_foreign: bool


class Standing(NamedTuple):
    """What is asked of every record at once, at a fifth of what the whole record costs."""

    key: RecordingKey
    file: str
    #: What the file is relative to; see `Record.base`.
    base: str
    phase: Phase
    desired: Status
    last_applied: Status | None
    sent: Status | None
    reason: str = ""
    #: Since when it is in its phase; where that was not written down, when it was last seen.
    since: datetime | None = None
    #: Since when the desired status has not been seen.
    unmet_since: datetime | None = None


class EventQuery(NamedTuple):
    """Which events are asked for. All that is given must hold."""

    #: Full names, globs over names, recording IDs or call IDs; an event is asked for if any of them is its own. None
    #: at all for every event. Events stay when a document is renamed or released.
    words: tuple[str, ...] = ()
    #: Aware datetimes: at or after the one, before the other.
    since: datetime | None = None
    until: datetime | None = None
    #: At most so many, the newest; None for no bound.
    limit: int | None = None


class Store(Protocol):
    """Reads the state. Any thread may call it."""

    @property
    def note(self) -> str:
        """How the last read had to take the state, where that is not the ordinary way; empty where it was."""
        ...

    def get(self, key: RecordingKey) -> Record | None:
        """Return our record of one recording, or None where there is none."""
        ...

    def all(self) -> Iterator[Record]:
        """Stream every record, ordered by key, as they stood at the first one."""
        ...

    def apart_from(self, lines: Iterable[str]) -> tuple[AbstractSet[str], list[Record]]:
        """Return which of some lines hold, and every record but those of these, all as they stood at one moment.

        A line holds where it is the `status_line` of a recording's last-applied status and nothing has been sent since.
        What a plan asks: of a hundred thousand recordings in sync no record is built.
        """
        ...

    def standings(self) -> Iterator[Standing]:
        """Stream how every recording stands, ordered by key, as it was at the first one."""
        ...

    def count_last_applied(self) -> int:
        """Return how many recordings have a last-applied status, at a cost that does not grow with their number."""
        ...

    def last_event(self, key: RecordingKey) -> str | None:
        """Return the word of the newest event about a recording, or None where there is none."""
        ...

    def history(self, name: str | None = None, *, limit: int = 100, since: datetime | None = None) -> list[Event]:
        """Return events in the order opposite to that in which they were written.

        Args:
            name: the full name of a document; its events stay when it is renamed or released. None means all.
            limit: at most so many events.
            since: an aware datetime; only events at or after it.
        """
        ...

    def events(self, query: EventQuery) -> Iterator[Line]:
        """Stream lines of the history in the order opposite to that in which they were written."""
        ...

    def writer(self) -> Seen | None:
        """Return who holds the state, or was killed while it did; None where the last one ended as it should."""
        ...

    def size(self, now: datetime) -> Size | None:
        """Return how large the state is; None where there is none yet."""
        ...

    def revisions(self, identifiers: Collection[str]) -> dict[str, Revision]:
        """Return what is known of some commits, by their IDs."""
        ...

    def in_force(self) -> InForce | None:
        """Return the revision of the Git source that was in force last; None where there never was one."""
        ...

    def resting(self) -> list[Resting]:
        """Return the workspaces that the writer leaves alone, or did when it was last heard of, by their IDs."""
        ...

    def judged(self) -> Iterator[Judged]:
        """Stream what the limits said of recordings, ordered by key, and still holds."""
        ...

    def refusals(self) -> list[RefusedSet]:
        """Return what the limits refuse as a whole, the oldest first."""
        ...

    def open_requests(self, now: datetime, most: int) -> list[Request]:
        """Return what is asked of the writer and may still be taken, the oldest first, at most so many."""
        ...

    def request(self, number: int) -> Request | None:
        """Return one request as it stands."""
        ...

    def patches_since(self, since: datetime) -> list[SentPatch]:
        """Return every `patch_sent` event at or after an aware datetime, oldest first."""
        ...

    def close(self) -> None:
        """Let go of what is open. A later read opens it again."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Writer(Protocol):
    """Writes the state, holding its lease. Any thread may call it; one thread of its own does the work.

    Writes are kept in the order in which they were handed in, and one handed in together is kept or refused as a whole.
    """

    @property
    def error(self) -> StoreError | None:
        """Why the state could not be written when last tried, or None: what readiness asks for."""
        ...

    @property
    def commits(self) -> int:
        """How many transactions have been committed, heartbeats included."""
        ...

    def save(self, record: Record, *events: Event) -> Receipt:
        """Write a record over the one of its key, and append events."""
        ...

    def release(self, key: RecordingKey, *events: Event) -> Receipt:
        """Delete the record of a key, and append events."""
        ...

    def append(self, *events: Event) -> Receipt:
        """Append events alone."""
        ...

    def describe(self, *revisions: Revision, in_force: InForce | None = None) -> Receipt:
        """Keep what is known of commits that records and events name, over what was known before.

        Args:
            revisions: the commits.
            in_force: the one that is in force from now on; None where that does not change.
        """
        ...

    def rest(self, workspace_id: str, resting: Resting | None) -> Receipt:
        """Keep how a workspace rests, or with None that it does no more."""
        ...

    def judge(self, judgements: Judgements, *events: Event) -> Receipt:
        """Write down what the limits have newly said. Handed in before what it lets pass, it is on disk before that."""
        ...

    def take(self, request: Request, now: datetime) -> Receipt:
        """Take a request, if whoever asks has not taken it back; `Store.request` then says so."""
        ...

    def answer(self, request: Request, outcome: str, answer: str, *events: Event) -> Receipt:
        """Answer a request that was taken: `done` or `refused`, and a JSON object."""
        ...

    def forget_requests(self, now: datetime) -> Receipt:
        """Take away requests of long ago."""
        ...

    def lease_valid(self) -> bool:
        """Whether this process certainly holds the state now. Cheap: ask it just before each PATCH."""
        ...

    def close(self) -> None:
        """Write what waits, give the lease back, and end. What is handed in later is refused."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Receipt:
    """Says when one write is on disk: ``await`` it in a coroutine, or call `result` in a thread.

    Both raise the `StoreError` of a write that was not kept. Whoever stops waiting does not stop the write.
    """

    __slots__ = ("_changed", "_error", "_settled", "_waiters")

    def __init__(self, changed: threading.Condition) -> None:
        # One condition for all receipts of a writer: a batch is settled under one lock, with one notification.
        self._changed = changed
        self._settled = False
        self._error: StoreError | None = None
        self._waiters: list[asyncio.Future[None]] | None = None

    def done(self) -> bool:
        """Whether it is settled, either way."""
        return self._settled

    def result(self, timeout: float | None = None) -> None:
        """Wait until the write is on disk.

        Args:
            timeout: seconds; None waits as long as it takes.

        Raises:
            TimeoutError: it is not settled yet.
            StoreError: it was not kept.
        """
        with self._changed:
            if not self._changed.wait_for(self.done, timeout):
                raise TimeoutError("the write is not on disk yet")
        self._answer()

    def __await__(self) -> Generator[object, None, None]:
        # Here, because commands that only read have no other use for asyncio and its start-up time.
        from asyncio import get_running_loop

        waiter = None
        with self._changed:
            if not self._settled:
                waiter = get_running_loop().create_future()
                if self._waiters is None:
                    self._waiters = []
                self._waiters.append(waiter)
        if waiter is not None:
            yield from waiter
        self._answer()

    def _answer(self) -> None:
        if self._error is not None:
            # A fresh one each time: many receipts share one error, and tracebacks would pile up on it.
            raise type(self._error)(str(self._error)) from self._error

    def settle(self, error: StoreError | None) -> list[asyncio.Future[None]] | None:
        """Give the answer, holding the condition. Return who is to be woken; `settle_all` does both for a batch."""
        self._settled = True
        self._error = error
        waiters, self._waiters = self._waiters, None
        return waiters


def settle_all(changed: threading.Condition, outcomes: Iterable[tuple[Receipt, StoreError | None]]) -> None:
    """Settle a batch of receipts of one condition, waking each event loop once however many wait in it."""
    waiting: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    with changed:
        for receipt, error in outcomes:
            for waiter in receipt.settle(error) or ():
                waiting.setdefault(waiter.get_loop(), []).append(waiter)
        changed.notify_all()
    for loop, waiters in waiting.items():
        try:
            loop.call_soon_threadsafe(_wake, waiters)
        except RuntimeError:
            pass  # The loop is closed, so nobody waits in it any more.


def _wake(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():  # A task that was cancelled has cancelled its future.
            waiter.set_result(None)
