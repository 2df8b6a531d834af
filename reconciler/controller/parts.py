"""What the daemon is put together from: values of what belongs together, and what several of its parts share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from reconciler.controller.rests import Rests
from reconciler.controller.resync import Resync
from reconciler.controller.standing import Standings
from reconciler.desired import Catalog, Follower
from reconciler.model import CallKey, Clock, Desired, RecordingKey
from reconciler.plan import Window
from reconciler.state import OwnRecords, Store, Writer
from reconciler.telemetry import Log, Metrics
from reconciler.work import Workers


@dataclass(frozen=True, slots=True)
class Following:
    """The documents in force, and who follows their source."""

    catalog: Catalog
    follower: Follower
    #: Told of each document that came into force or changed.
    declared: Callable[[Iterable[Desired]], None]
    #: Answers what the page shows of the source; None where that is a folder.
    source: Callable[[], dict[str, Any] | None]

    def some_call(self, workspace_id: str) -> CallKey | None:
        """Return a call of a workspace; None where no document names one."""
        return next((key.call for key in self.catalog.desired if key.workspace_id == workspace_id), None)


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered: on disk, and in memory what is counted and held against the limits."""

    store: Store
    #: Every record of the state, in memory, under the documents' keys.
    records: OwnRecords
    writer: Writer
    standings: Standings
    window: Window


@dataclass(frozen=True, slots=True)
class Reach:
    """How the daemon finds out whether a workspace is answered: what the API client offers for that."""

    #: Asks about a call for the answer's sake.
    probe: Callable[[CallKey], Awaitable[None]]
    #: Answers in how many seconds a PATCH to a workspace whose PATCHes fail may leave; 0 where it may now.
    rest_seconds: Callable[[str], float]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the daemon: its time, its log, its measures, and the ID that stands on each of its lines."""

    clock: Clock
    log: Log
    run_id: str
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Conduct:
    """How the daemon goes about its work."""

    #: How often everything is looked at, and how often files are compared without an event, in seconds.
    resync_seconds: float
    poll_seconds: float
    #: Without progress for so long, in seconds, although work is due, the daemon is not healthy.
    health_seconds: float
    turns_at_once: int
    #: Whether what is found at the start is meant, whatever the limits say.
    override_limits: bool = False


@dataclass(frozen=True, slots=True)
class Waiting:
    """Where keys wait for a turn: in the queue, for their workspace, or for the resync."""

    workers: Workers[RecordingKey]
    rests: Rests
    resync: Resync
