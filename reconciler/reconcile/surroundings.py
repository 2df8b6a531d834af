"""What a turn exchanges with its surroundings: what it asks of others, and the value that it answers with.

Shapes only. The store, the API client, the metrics and the real clock are handed in by whoever puts a turn together.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import NamedTuple, Protocol

from reconciler.model import (
    Event,
    LeaseLost,
    Outcome,
    Phase,
    Reason,
    ReconcilerError,
    Record,
    RecordingKey,
    Status,
)
from reconciler.plan import Refusal
from reconciler.providers import Accepted
from reconciler.work import Again


class Sender(Protocol):
    """The one write of the API client."""

    async def set_status(self, key: RecordingKey, status: Status) -> Accepted: ...


class Reader(Protocol):
    """What a turn reads of the state: a record at once, and of the history what it waits for."""

    def get(self, key: RecordingKey) -> Record | None: ...
    async def last_event(self, key: RecordingKey) -> str | None: ...


class Writer(Protocol):
    """What a turn writes to the store; what a call returns is awaited until the rows are on disk."""

    def save(self, record: Record, *events: Event) -> Awaitable[None]: ...
    def release(self, key: RecordingKey, *events: Event) -> Awaitable[None]: ...
    def lease_valid(self) -> bool: ...


def check_lease(writer: Writer) -> None:
    """Ask once more whether this process holds the state: before a PATCH is handed over, and when it leaves.

    Raises:
        LeaseLost: it may not, so nothing may be sent.
    """
    if not writer.lease_valid():
        raise LeaseLost("the state's lease ran out before the PATCH could leave; nothing was sent")


class Meters(Protocol):
    """What a turn measures. Seconds are since the edit was seen."""

    def patched(self, outcome: Outcome) -> None: ...
    def edit_step(self, step: str, seconds: float) -> None: ...


class NoMeters:
    """Measures nothing: for commands, which end before anybody could read a measure."""

    def patched(self, outcome: Outcome) -> None:
        """Do nothing."""

    def edit_step(self, step: str, seconds: float) -> None:
        """Do nothing."""


class Turn(NamedTuple):
    """What one turn came to. A tuple, since each is made of another once it is known what the look said."""

    phase: Phase | None
    #: When to come back; None when only a change or the next resync can call for another turn.
    again: Again | None = None
    #: What became of a PATCH that was wanted; None when none was wanted, or nothing is known yet.
    outcome: Outcome | None = None
    error: ReconcilerError | None = None
    refusal: Refusal | None = None
    #: Whether a look was answered, or none was wanted.
    looked: bool = True
    #: Whether the recording was seen in a status that nothing leads out of.
    final: bool = False
    #: What was decided after the look; None when there was none.
    reason: Reason | None = None
    #: What a person should know of what was seen.
    detail: str = ""
