"""The seam to the state: what may be read, what may be written, and who may do so, as one protocol for each purpose.

A room asks for the protocol that it needs and for no more. Reading never waits for whoever writes and sees committed
rows only; each read may touch the disk or the network, so none of them belongs on an event loop. Writing takes the one
state lease; a receipt is settled only once its write is on disk.

What must never happen here: a write that is reported as kept before it is, or a process that goes on writing after it
has lost the state lease.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from reconciler.model import (
    Desired,
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
from reconciler.state.receipts import Receipt


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


class Records(Protocol):
    """Our records of the recordings: what was last brought about, what is under way, and what was last seen."""

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


class OwnRecords(Protocol):
    """The records as their owner serves them: from memory, so that the event loop may ask for them.

    What is served is on disk. Who reads a state beside its owner has `Records`.
    """

    def get(self, key: RecordingKey) -> Record | None:
        """Return our record of one recording, or None where there is none.

        Raises:
            StoreError: it cannot be read: a newer program wrote it, or it is damaged.
        """
        ...

    def all_keys(self) -> list[RecordingKey]:
        """Return the keys of all records as they are at this moment, in no order. Any thread may ask."""
        ...

    def standing(self, key: RecordingKey) -> Standing | None:
        """Return how one recording stands, or None where there is no record of it.

        Raises:
            StoreError: its record cannot be read.
        """
        ...

    def count_last_applied(self) -> int:
        """Return how many recordings have a last-applied status."""
        ...

    async def last_event(self, key: RecordingKey) -> str | None:
        """Return the word of the newest event about a recording, or None where there is none.

        Not from memory, and so not at once: the history may be larger than any memory.
        """
        ...


class Log(Protocol):
    """What happened, line by line, and the commits that the lines name."""

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

    def revisions(self, identifiers: Collection[str]) -> dict[str, Revision]:
        """Return what is known of some commits, by their IDs."""
        ...


class Ledger(Protocol):
    """What the limits over time count, and what they have said."""

    def patches_since(self, since: datetime) -> list[SentPatch]:
        """Return every `patch_sent` event at or after an aware datetime, oldest first."""
        ...

    def judged(self) -> Iterator[Judged]:
        """Stream what the limits said of recordings, ordered by key, and still holds."""
        ...

    def refusals(self) -> list[RefusedSet]:
        """Return what the limits refuse as a whole, the oldest first."""
        ...


class Requests(Protocol):
    """What other processes ask of the one that holds the state."""

    def open_requests(self, now: datetime, most: int) -> list[Request]:
        """Return what is asked of its holder and may still be taken, the oldest first, at most so many."""
        ...

    def request(self, number: int) -> Request | None:
        """Return one request as it stands."""
        ...


class Condition(Protocol):
    """How the state itself is, who holds it, and what its holder says of what is around the recordings."""

    @property
    def note(self) -> str:
        """How the last read had to take the state, where that is not the ordinary way; empty where it was."""
        ...

    def writer(self) -> Seen | None:
        """Return who holds the state, or was killed while it did; None where the last one ended as it should."""
        ...

    def size(self, now: datetime) -> Size | None:
        """Return how large the state is; None where there is none yet."""
        ...

    def in_force(self) -> InForce | None:
        """Return the revision of the Git source that was in force last; None where there never was one."""
        ...

    def resting(self) -> list[Resting]:
        """Return the workspaces that the writer leaves alone, or did when it was last heard of, by their IDs."""
        ...


class Store(Records, Log, Ledger, Requests, Condition, Protocol):
    """All that is read of a state. Any thread may call it."""

    def close(self) -> None:
        """Let go of what is open. A later read opens it again."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Writing(Protocol):
    """Writes the state. Any thread may call it; one thread of its own does the work.

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

    def load(self, declared: Mapping[RecordingKey, Desired]) -> OwnRecords:
        """Read every record once, and serve them from memory from now on. Call it before anything is saved.

        Args:
            declared: documents, whose objects for keys the memory shares.

        Raises:
            StoreError: the state cannot be read.
        """
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


class Answering(Protocol):
    """Takes and answers what other processes ask."""

    def take(self, request: Request, now: datetime) -> Receipt:
        """Take a request, if whoever asks has not taken it back; `Requests.request` then says so."""
        ...

    def answer(self, request: Request, outcome: str, answer: str, *events: Event) -> Receipt:
        """Answer a request that was taken: `done` or `refused`, and a JSON object."""
        ...

    def forget_requests(self, now: datetime) -> Receipt:
        """Take away requests of long ago."""
        ...


class Writer(Writing, Answering, Protocol):
    """The state as its one holder has it: all that is written to it, and the state lease."""

    def lease_valid(self) -> bool:
        """Whether this process certainly holds the state now. Cheap: ask it just before each PATCH."""
        ...

    def close(self) -> None:
        """Write what waits, give the state lease back, and end. What is handed in later is refused."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
