"""What is read of the state beside its records: lines of the history, who holds it, how large it is."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from reconciler.model.nouns import Event


class Line(NamedTuple):
    """One line of the history, and its number, which grows in the order of writing."""

    seq: int
    event: Event


class Seen(NamedTuple):
    """Who holds the state, or did when last heard of."""

    #: Whether it may still be at work: neither proven to be dead, nor silent for longer than its lease.
    alive: bool
    since: datetime
    host: str
    process: int
    #: The command.
    holder: str


class Size(NamedTuple):
    """How large the state is, and what its disk has left."""

    #: The file and its log.
    bytes: int
    free_bytes: int
    #: How fast the history grows, by what the last days brought; None where there is too little of it to tell.
    bytes_per_day: float | None

    @property
    def days_left(self) -> float | None:
        """For how many days the disk holds what comes in, at the present pace; None where that is not known."""
        return None if not self.bytes_per_day else self.free_bytes / self.bytes_per_day
