"""The daemon: who puts keys into the queue, and when. Changed documents, the resync, due retries, signals.

It decides nothing about a recording and sends nothing: it names keys, and the reconciler looks at the world. It does
not know the web page; the page is handed what to read.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from reconciler.alarm import Alarm
from reconciler.backoff import retry_seconds
from reconciler.catalog import Catalog, CatalogChange
from reconciler.errors import BirdUnavailable, LeaseLost, ReconcilerError, StoreError
from reconciler.follow import Follower
from reconciler.limits import Rule
from reconciler.logs import Log
from reconciler.metrics import Metrics
from reconciler.model import Applied, Desired, Phase, Priority, RecordingKey, Status
from reconciler.reconcile import Clock, Reconciler
from reconciler.report import instant
from reconciler.scrub import frames, scrub, scrubbed
from reconciler.store.base import Store, Writer
from reconciler.systemd import notify, watchdog_seconds
from reconciler.window import ChangeSet, Window
from reconciler.workqueue import Again, Workers

#: How often the resync adds its next share of recordings, and the page's slow figures are brought up to date.
TICK_SECONDS = 1.0
#: How often a turn that waits for the state asks whether it can be written again.
STATE_SECONDS = 0.1
#: How long requests in flight may take to end after a stop.
DRAIN_SECONDS = 10.0
#: A recording that has ended is looked at in one of so many resyncs: it cannot change, and finding it among those of
#: the workspace costs several requests; yet what looked like an end may have been a wrong ID or a right that was
#: missing.
FINAL_EVERY = 12
#: A look at everything at once goes to the workers in shares of so many recordings, each when half of the last one has
#: been taken, and that is asked so often (in seconds). All in one would have each of a hundred thousand take up half a
#: kilobyte while it waits, which the process never gives back.
SHARE = 2000
SHARE_SECONDS = 0.02
#: Phases after which a restart finds nothing to do for a document that says what it said.
_SETTLED = frozenset({Phase.APPLIED, Phase.HELD, Phase.DRIFTED, Phase.REJECTED, Phase.ENDED})
#: How many recordings that are not in sync the status names.
STATUS_RECORDINGS = 500


@dataclass(frozen=True, slots=True)
class Timing:
    """The daemon's periods, in seconds."""

    resync_seconds: float
    poll_seconds: float
    health_seconds: float


class Daemon:
    """Keeps recordings as their documents say, until it is told to stop."""

    def __init__(
        self,
        *,
        follower: Follower,
        catalog: Catalog,
        store: Store,
        writer: Writer,
        reconciler: Reconciler,
        window: Window,
        timing: Timing,
        concurrency: int,
        clock: Clock,
        metrics: Metrics,
        log: Log,
        run_id: str,
        declared: Callable[[Iterable[Desired]], None],
        source: Callable[[], dict[str, Any] | None] = lambda: None,
    ) -> None:
        self._follower = follower
        self._catalog = catalog
        self._store = store
        self._writer = writer
        self._reconciler = reconciler
        self._window = window
        self._timing = timing
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._run_id = run_id
        self._declared = declared
        self._source = source
        self._workers = Workers(self._turn, concurrency=concurrency, now=clock.monotonic, failed=self._failed)
        self._phases: dict[RecordingKey, Phase] = {}
        self._standing: Counter[Phase] = Counter()
        self._failures: Counter[RecordingKey] = Counter()
        self._resync_now = asyncio.Event()
        self._stop = asyncio.Event()
        self._started = False
        #: Whether nothing is left to tell systemd of the start.
        self._ready_told = True
        #: Recordings that the present resync has not come to yet, and whether it has queued them all.
        self._unseen: set[RecordingKey] = set()
        self._all_queued = False
        self._resyncs = 0
        #: Recordings that were last seen in a status that nothing leads out of.
        self._final: set[RecordingKey] = set()
        self._last_resync: datetime | None = None
        self._fatal: ReconcilerError | None = None
        #: Recordings that had not had their first turn yet when this process had to give them one.
        self._first_pass: set[RecordingKey] = set()
        self._unreadable = Alarm(log, "state_unreadable", "state_readable_again", clock.monotonic)
        self._began = clock.now()
        metrics.watch_queue(self._queue_depths)
        metrics.watch_resync(lambda: max(0.0, (clock.now() - (self._last_resync or self._began)).total_seconds()))
        for rule in Rule:
            metrics.limit_refusals.labels(rule.value)

    async def run(self, stop: asyncio.Event, resync_now: asyncio.Event) -> None:
        """Work until `stop` is set; then let requests in flight end, for at most ten seconds.

        Args:
            stop: ends it.
            resync_now: looks at everything as soon as possible each time it is set.

        Raises:
            LeaseLost: another process took the state over.
        """
        self._stop, self._resync_now = stop, resync_now
        self._take_over()
        work = asyncio.create_task(self._workers.work(stop, drain_seconds=DRAIN_SECONDS), name="work")
        jobs = [
            asyncio.create_task(job, name=name)
            for name, job in (("follow", self._follow()), ("resync", self._resync()), ("beat", self._beat()))
        ]
        stopped = asyncio.create_task(stop.wait())
        self._started = True
        self._ready_told = notify("READY=1")
        self._log.info("started", recordings=len(self._catalog.desired), files=self._follower.files)
        try:
            done, _ = await asyncio.wait({stopped, work, *jobs}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                if not stop.is_set():
                    task.result()
        finally:
            stop.set()
            notify("STOPPING=1")
            self._log.info("stopping", in_flight=self._workers.queue.working)
            for task in (stopped, *jobs):
                task.cancel()
            await asyncio.gather(stopped, *jobs, return_exceptions=True)
            await asyncio.gather(work, return_exceptions=True)
        if self._fatal is not None:
            raise self._fatal

    def _take_over(self) -> None:
        """Take over what earlier runs left: phases, and what changed while nobody watched, as one change set."""
        desired = self._catalog.desired
        changed: dict[RecordingKey, Status | None] = {}
        unsettled: set[RecordingKey] = set()
        for standing in self._store.standings():
            document = desired.get(standing.key)
            if document is None:
                if self._follower.covers(standing.file, standing.base):
                    self._note_phase(standing.key, standing.phase)
                continue
            # The document's own key: a second one beside it would take half a kilobyte.
            key = document.key
            self._note_phase(key, standing.phase)
            if standing.last_applied is not document.status:
                changed[key] = standing.last_applied
            settled = standing.phase in _SETTLED and standing.sent is None
            if not settled or standing.desired is not document.status:
                unsettled.add(key)
        new = {key for key in desired if key not in self._phases}
        self._announce({*changed, *new}, changed)
        # What is as it was left is only looked at again; all else is what the first pass is for.
        self._first_pass = unsettled | new
        if len(self._first_pass) < len(self._catalog.desired):
            # It goes before what is only looked at again, which may take minutes, and after what is saved from now on.
            for key in sorted(self._first_pass):
                self._workers.add(key, Priority.RETRY)

    def bring_back(self, workspace_id: str) -> None:
        """Bring back what waits for a workspace: its key may be taken again, or its API answers again."""
        for key in self._catalog.desired:
            if key.workspace_id == workspace_id and key in self._workers.queue:
                self._workers.add(key, Priority.RETRY)

    # Turns.

    async def _turn(self, key: RecordingKey, priority: Priority) -> Again | None:
        if not await self._state_is_well():
            return Again(TICK_SECONDS, priority)
        turn = await self._reconciler.reconcile(key, priority)
        self._failures.pop(key, None)
        if turn.phase is not None:
            self._note_phase(key, turn.phase)
        if isinstance(turn.error, BirdUnavailable) and turn.error.held and turn.error.throttled:
            # It waits for its share of the budget: neither the first pass nor the resync is done with it.
            return turn.again
        self._first_pass.discard(key)
        if turn.phase is None and key not in self._catalog.desired:
            self._note_phase(key, None)
        if turn.final and key in self._catalog.desired:
            self._final.add(key)
        else:
            self._final.discard(key)
        self._unseen.discard(key)
        self._note_resync()
        if turn.refusal is not None:
            self._metrics.limit_refusals.labels(turn.refusal.rule.value).inc()
        return turn.again

    def _note_phase(self, key: RecordingKey, phase: Phase | None) -> None:
        """Count where a recording stands now, None for one that is ours no more: nobody shall count them all."""
        before = self._phases.pop(key, None) if phase is None else self._phases.get(key)
        if before is phase:
            return
        if before is not None:
            self._standing[before] -= 1
        if phase is not None:
            self._phases[key] = phase
            self._standing[phase] += 1

    async def _state_is_well(self) -> bool:
        """Wait while the state cannot be written: a turn could only ask the API in vain. False once the daemon stops.

        Raises:
            LeaseLost: it never will be, for this process.
        """
        while (error := self._writer.error) is not None:
            if isinstance(error, LeaseLost):
                raise error
            if self._stop.is_set():
                return False
            await asyncio.sleep(STATE_SECONDS)
        return True

    def _failed(self, key: RecordingKey, error: Exception) -> Again | None:
        if isinstance(error, LeaseLost):
            self._fatal = error
            self._stop.set()
            return None
        self._metrics.turn_errors.inc()
        self._unseen.discard(key)
        self._first_pass.discard(key)
        self._failures[key] += 1
        seconds = retry_seconds(self._failures[key], self._clock.random)
        self._log.error(
            "turn_failed",
            recording_id=key.recording_id,
            error=scrub(f"{type(error).__name__}: {error}"),
            where=frames(error),
            after_seconds=round(seconds, 3),
        )
        return Again(seconds, Priority.RETRY)

    # What wakes a recording.

    async def _follow(self) -> None:
        async for change in self._follower.changes(self._stop, poll_seconds=self._timing.poll_seconds):
            while not self._stop.is_set():
                try:
                    self._take_in(change)
                    break
                except StoreError as error:
                    # Nothing could be sent without the state, so the change waits until it can be read again.
                    self._unreadable.met(error)
                    await asyncio.sleep(TICK_SECONDS)

    def _take_in(self, change: CatalogChange) -> None:
        self._declared(self._catalog.desired[key] for key in change.changed)
        records = (self._store.get(key) for key in change.changed)
        self._announce(change.changed, {record.key: record.last_applied for record in records if record is not None})
        # Those of one call side by side, so that they share its looks.
        for key in sorted((*change.changed, *change.removed)):
            self._reconciler.saw_edit(key)
            self._workers.add(key, Priority.EDIT)
        self._metrics.invalid_files.set(len(self._catalog.invalid))

    def _announce(self, changed: Collection[RecordingKey], last_applied: Mapping[RecordingKey, Status | None]) -> None:
        """Hold one change set against the limits on changes at once, and say so when it passes one.

        Args:
            changed: every recording whose document changed.
            last_applied: what is recorded of those that are to be counted and have a record.
        """
        counted = {*changed, *last_applied}
        states = (
            (key, self._catalog.desired[key].status, last_applied.get(key))
            for key in counted
            if key in self._catalog.desired
        )
        change = ChangeSet.of(changed, states)
        for refused in self._window.announce(change, self._store.count_last_applied(), self._clock.now()).refused:
            self._log.error("limit_refused", **refused.refusal.as_log())
            self._metrics.limit_refusals.labels(refused.refusal.rule.value).inc()

    async def _resync(self) -> None:
        """Look at everything at once in the beginning, then again in every period, spread evenly over it."""
        spread = False
        while True:
            if self._resync_now.is_set():
                self._resync_now.clear()
                self._reconciler.look_afresh()
            self._window.begin_resync()
            self._all_queued = False
            started = self._clock.monotonic()
            keys = iter(await self._keys_to_look_at(everything=not spread))
            total = len(self._catalog.desired)
            while share := list(islice(keys, max(1, self._share(total)) if spread else SHARE)):
                for key in share:
                    # One that the last resync queued, and that still waits for its share of the budget, keeps its turn.
                    if not (spread and key in self._unseen and key in self._workers.queue):
                        self._workers.add(key, Priority.RESYNC)
                self._unseen.update(share)
                if spread and await self._pause(TICK_SECONDS):
                    spread = False
                while not spread and self._workers.queue.ready > SHARE // 2:  # noqa: ASYNC110 - turns have no event
                    await asyncio.sleep(SHARE_SECONDS)
            self._all_queued = True
            self._note_resync()
            left = self._timing.resync_seconds - (self._clock.monotonic() - started)
            spread = not await self._pause(max(TICK_SECONDS, left))

    async def _keys_to_look_at(self, *, everything: bool) -> list[RecordingKey]:
        """Return what the next resync looks at: of what has ended, which nothing can change, only now and then."""
        self._resyncs += 1
        skipped = frozenset[RecordingKey]() if everything or self._resyncs % FINAL_EVERY == 0 else self._final
        while True:
            try:
                keys = await asyncio.to_thread(self._every_key)
            except StoreError as error:
                self._unreadable.met(error)
                await asyncio.sleep(TICK_SECONDS)
            else:
                return [key for key in keys if key not in skipped]

    def _every_key(self) -> list[RecordingKey]:
        """Return every recording that has a document, or had one here, those of one call side by side.

        In a thread of its own, for the state has as many rows as there are recordings. They come in order, so that the
        sorting finds next to nothing to do; of a hundred thousand in no order it would take a quarter of a second.
        """
        desired = self._catalog.desired
        keys = []
        found = 0
        for standing in self._store.standings():
            document = desired.get(standing.key)
            if document is not None:
                keys.append(document.key)
                found += 1
            elif self._follower.covers(standing.file, standing.base):
                keys.append(standing.key)
        # Copied in one step, for the loop goes on changing it; nothing is missing where all were found.
        declared = list(desired)
        if found < len(declared):
            recorded = frozenset(keys)
            keys.extend(key for key in declared if key not in recorded)
        keys.sort()
        return keys

    def _note_resync(self) -> None:
        """Say that a resync is done once everything has had its turn."""
        if self._all_queued and not self._unseen:
            self._all_queued = False
            self._last_resync = self._clock.now()
            self._metrics.last_resync.set(self._last_resync.timestamp())
            self._log.info("resync_done", recordings=len(self._catalog.desired))

    def _share(self, total: int) -> int:
        """Return how many recordings a tick takes, so that all are taken in nine tenths of the period."""
        ticks = max(1.0, self._timing.resync_seconds * 0.9 / TICK_SECONDS)
        return -int(-total // ticks)

    async def _pause(self, seconds: float) -> bool:
        """Wait, and return whether somebody asked for everything now."""
        try:
            async with asyncio.timeout(seconds):
                await self._resync_now.wait()
        except TimeoutError:
            return False
        return True

    async def _beat(self) -> None:
        """Bring the slow figures up to date, and tell systemd as long as the loop is healthy."""
        interval = watchdog_seconds()
        told = self._clock.monotonic()
        while True:
            self._look_at_state()
            for workspace_id in self._reconciler.try_new_keys():
                self.bring_back(workspace_id)
            self._metrics.managed.set(len(self._catalog.desired))
            self._metrics.invalid_files.set(len(self._catalog.invalid))
            self._metrics.ready.set(self.ready())
            self._metrics.vanished_paths.set(len(self._follower.vanished))
            self._metrics.unauthorized_workspaces.set(len(self._reconciler.unauthorized))
            self._metrics.phases(self._standing)
            if not self._ready_told:
                self._ready_told = notify("READY=1")
            now = self._clock.monotonic()
            if interval is not None and now - told >= interval and self.healthy():
                notify("WATCHDOG=1")
                told = now
            await asyncio.sleep(TICK_SECONDS if interval is None else min(TICK_SECONDS, interval))

    def _look_at_state(self) -> None:
        """Say that the state cannot be written even when no turn finds out, and end when it is another's."""
        error = self._writer.error
        if isinstance(error, LeaseLost):
            self._fatal = error
            self._stop.set()
        elif error is not None:
            self._reconciler.state_alarm.met(error)
        self._reconciler.state_alarm.look()
        self._unreadable.look()
        self._metrics.state_writable.set(error is None)

    # What the page reads.

    def healthy(self) -> bool:
        """Whether work gets done: false when turns are due or running and none has ended for too long.

        While the state cannot be written they wait for it on purpose: a restart would not mend the disk.
        """
        if self._writer.error is not None:
            return True
        queue = self._workers.queue
        depths = queue.depths(self._clock.monotonic())
        due = queue.working > 0 or any(depth.ready for depth in depths.values())
        return not due or self._clock.monotonic() - self._workers.last_progress < self._timing.health_seconds

    def ready(self) -> bool:
        """Whether what the documents asked for at the start had its first turn, and the state works.

        What was in order when the last process ended does not count: the resync looks at it, which may take long.
        """
        well = not (self._reconciler.state_alarm.raised or self._unreadable.raised)
        leased = self._writer.error is None and self._writer.lease_valid()
        return self._started and not self._first_pass and not self._stop.is_set() and well and leased

    def status(self) -> dict[str, Any]:
        """Return the daemon's state as plain data: what is managed, what is not in sync, what is invalid, and why."""
        apart = [key for key, phase in self._phases.items() if phase is not Phase.APPLIED]
        error = self._writer.error
        shown: list[Applied] = []
        try:
            shown = [record for key in apart[:STATUS_RECORDINGS] if (record := self._store.get(key)) is not None]
        except StoreError as unreadable:
            error = unreadable
        depths = self._workers.queue.depths(self._clock.monotonic())
        return {
            "format": "reconciler.status/v1",
            "runId": self._run_id,
            "ready": self.ready(),
            "healthy": self.healthy(),
            "managed": len(self._catalog.desired),
            "phases": {phase.value: self._standing[phase] for phase in Phase},
            "notInSync": [
                {
                    "name": record.name,
                    "recordingId": record.key.recording_id,
                    "desired": record.desired.value,
                    "lastApplied": record.last_applied,
                    "live": record.live,
                    "phase": record.phase.value,
                    "error": record.error,
                    "file": record.file,
                    "line": record.line,
                }
                for record in shown
            ],
            "notInSyncTotal": len(apart),
            "invalidFiles": {
                file: [str(scrubbed(problem)) for problem in problems]
                for file, problems in sorted(self._catalog.invalid.items())
            },
            "vanished": sorted(self._follower.vanished),
            "source": self._source(),
            "unauthorizedWorkspaces": sorted(self._reconciler.unauthorized),
            "queue": {
                priority.name.lower(): {"ready": depth.ready, "oldestSeconds": round(depth.oldest_seconds, 3)}
                for priority, depth in depths.items()
            },
            "lastResync": None if self._last_resync is None else instant(self._last_resync),
            "stateError": None if error is None else str(error),
        }

    def _queue_depths(self) -> Mapping[Priority, tuple[int, float]]:
        depths = self._workers.queue.depths(self._clock.monotonic())
        return {priority: (depth.ready, depth.oldest_seconds) for priority, depth in depths.items()}
