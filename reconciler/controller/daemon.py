"""The daemon: who puts keys into the queue, and when. Changed documents, the resync, due retries, signals.

It decides nothing about a recording and sends nothing: it names keys, and the reconciler looks at the world. It does
not know the web page; the page is handed what to read. When everything is looked at is in `resync`, which workspaces
are left alone in `rests`, how the recordings stand in `standing`, and what the page shows of it in `overview`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from reconciler.controller.clock_steps import ClockSteps
from reconciler.controller.judging import Judge
from reconciler.controller.overview import FORMAT, Overview
from reconciler.controller.requests import Answer, Desk, RequestRefused, Run
from reconciler.controller.rests import Cause, Questions, Rests
from reconciler.controller.resync import TICK_SECONDS, Resync
from reconciler.controller.standing import Stand, Standings
from reconciler.controller.systemd import notify, watchdog_seconds
from reconciler.desired import Catalog, CatalogChange, Follower
from reconciler.model import (
    NO_RECORDING,
    CallKey,
    CircuitOpen,
    Clock,
    CredentialRefused,
    Desired,
    Event,
    LeaseLost,
    NoRoom,
    Phase,
    Priority,
    ReconcilerError,
    RecordingKey,
    Request,
    Resting,
    Status,
    StoreError,
    Throttled,
    Unavailable,
    instant,
)
from reconciler.plan import CLOCK_STEPPED, Window
from reconciler.providers import CircuitChange
from reconciler.reconcile import UNAUTHORIZED_SECONDS, Reconciler, Turn
from reconciler.state import OwnRecords, Store, Writer
from reconciler.state import Standing as StoredStanding
from reconciler.telemetry import Alarm, Log, Metrics, Standing, frames, scrub, scrubbed, visible
from reconciler.work import Again, Workers, retry_seconds

#: How often the page's slow figures are brought up to date.
BEAT_SECONDS = 1.0
#: How often the size of the state is measured.
_MEASURE_SECONDS = 60.0
#: How often a turn that waits for the state asks whether it can be written again.
STATE_SECONDS = 0.1
#: How long requests in flight may take to end after a stop.
DRAIN_SECONDS = 10.0
#: An edit whose look failed is looked at again this soon, so many times: until it is known whether it is this one look
#: that fails, or its workspace that is not answered, which is then asked about for all.
EDIT_RETRY_SECONDS = 1.0
EDIT_RETRIES = 8
#: Phases after which a restart finds nothing to do for a document that says what it said.
_SETTLED = frozenset({Phase.APPLIED, Phase.HELD, Phase.DRIFTED, Phase.REJECTED, Phase.ENDED})
#: How many names that a request gave and no document has are named in its answer.
MISSING_NAMES = 10
#: Phases in which a PATCH is under way, be its fate known or not.
_SENT = frozenset({Phase.SENDING, Phase.CONFIRMING, Phase.UNCONFIRMED})


@dataclass(frozen=True, slots=True)
class Timing:
    """The daemon's periods, in seconds."""

    resync_seconds: float
    poll_seconds: float
    health_seconds: float


@dataclass(frozen=True, slots=True)
class Reach:
    """How the daemon finds out whether a workspace is answered: what the API client offers for that."""

    #: Asks about a call for the answer's sake.
    probe: Callable[[CallKey], Awaitable[None]]
    #: Answers in how many seconds a PATCH to a workspace whose PATCHes fail may leave; 0 where it may now.
    rest_seconds: Callable[[str], float]


class Daemon:
    """Keeps recordings as their documents say, until it is told to stop."""

    def __init__(
        self,
        *,
        follower: Follower,
        catalog: Catalog,
        store: Store,
        records: OwnRecords,
        writer: Writer,
        reconciler: Reconciler,
        window: Window,
        timing: Timing,
        concurrency: int,
        clock: Clock,
        metrics: Metrics,
        log: Log,
        run_id: str,
        standings: Standings,
        reach: Reach,
        declared: Callable[[Iterable[Desired]], None],
        look_now: Callable[[], object],
        source: Callable[[], dict[str, Any] | None] = lambda: None,
        override_limits: bool = False,
    ) -> None:
        self._follower = follower
        self._catalog = catalog
        self._store = store
        self._records = records
        self._writer = writer
        self._reconciler = reconciler
        self._timing = timing
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._run_id = run_id
        self._declared = declared
        self._source = source
        self._override_limits = override_limits
        self._look_now = look_now
        run = Run(clock, log, run_id)
        self._judge = Judge(window, catalog, store, records, writer, run, metrics)
        self._desk = Desk(store, writer, run)
        self._desk.serve("approve", self._approve)
        self._desk.serve("sync", self._sync)
        self._workers = Workers(
            self._turn,
            concurrency=concurrency,
            now=clock.monotonic,
            failed=self._failed,
            group_of=lambda key: key.workspace_id,
        )
        self._reach = reach
        self._standings = standings
        self._unreadable = Alarm(log, "state_unreadable", "state_readable_again", clock.monotonic)
        questions = Questions(
            reach.probe,
            reconciler.refused_keys.look_answered,
            reconciler.refused_keys.look_refused,
            self._seconds_before_a_patch,
        )
        self._rests = Rests(self._workers, questions, clock, self._some_call, self._rest_changed)
        self._resync = Resync(
            catalog, self._every_key, self._workers, self._rests, clock, self._unreadable, self._all_answered
        )
        self._overview = Overview(catalog, records, standings, self._rests)
        self._failures: Counter[RecordingKey] = Counter()
        #: How often the look of an edit has failed.
        self._failed_looks: Counter[RecordingKey] = Counter()
        self._clock_steps = ClockSteps(clock)
        self._stop = asyncio.Event()
        self._started = False
        #: Whether nothing is left to tell systemd of the start.
        self._ready_told = True
        self._fatal: ReconcilerError | None = None
        self._began = clock.now()
        metrics.watch_queue(self._queue_depths)
        metrics.watch_resync(lambda: max(0.0, (clock.now() - (self._resync.last or self._began)).total_seconds()))
        metrics.watch_standing(self._standing)

    async def run(self, stop: asyncio.Event, resync_now: asyncio.Event) -> None:
        """Work until `stop` is set; then let requests in flight end, for at most ten seconds.

        Args:
            stop: ends it.
            resync_now: looks at everything as soon as possible each time it is set.

        Raises:
            LeaseLost: another process took the state over.
        """
        self._stop = stop
        self._take_over()
        work = asyncio.create_task(self._workers.work(stop, drain_seconds=DRAIN_SECONDS), name="work")
        jobs = [
            asyncio.create_task(job, name=name)
            for name, job in (
                ("follow", self._follow()),
                ("resync", self._resync.run(resync_now, self._timing.resync_seconds, self._begin_resync)),
                ("catch up", self._resync.catch_up()),
                ("ask", self._rests.ask()),
                ("beat", self._beat()),
                ("requests", self._desk.work()),
            )
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
        for standing in filter(None, map(self._records.standing, self._records.all_keys())):
            document = desired.get(standing.key)
            if document is None:
                if self._follower.covers(standing.file, standing.base):
                    self._standings.note(standing.key, _stand(standing))
                continue
            # The document's own key: a second one beside it would take half a kilobyte.
            key = document.key
            self._standings.note(key, _stand(standing))
            if standing.last_applied is not document.status:
                changed[key] = standing.last_applied
            settled = standing.phase in _SETTLED and standing.sent is None
            if not settled or standing.desired is not document.status:
                unsettled.add(key)
        new = {key for key in desired if key not in self._standings}
        self._judge.take_over({*changed, *new}, changed, self._phase_of, override=self._override_limits)
        # What is as it was left is only looked at again; all else is what the first pass is for.
        self._resync.first_pass = unsettled | new
        self._add_first(unsettled | new, changed)

    def _add_first(self, first: Collection[RecordingKey], changed: Collection[RecordingKey]) -> None:
        """Ask for the first turns: they go before what is only looked at again, and after what is saved from now on.

        Where everything is new the resync does that, a share at a time; but for pauses that are asked for and not seen.
        """
        desired = self._catalog.desired
        everything = len(first) == len(desired)
        for key in sorted(first):
            pause = key in changed and desired[key].status is Status.PAUSED
            if pause or not everything:
                self._workers.add(key, Priority.PAUSE if pause else Priority.RETRY, passes=True)

    # Workspaces that are left alone.

    def _phase_of(self, key: RecordingKey) -> Phase | None:
        stand = self._standings.get(key)
        return None if stand is None else stand.phase

    def bring_back(self, workspace_id: str) -> None:
        """Bring back what waits for a workspace: its key is taken again."""
        self._rests.end(workspace_id, Cause.KEY)

    def circuit_changed(self, change: CircuitChange) -> None:
        """Leave a workspace alone whose requests fail one after the other, or go on with it."""
        looks = change.requests == "all"
        cause = Cause.API if looks else Cause.PATCHES
        if change.opened:
            what = "request" if looks else "PATCH"
            reason = f"the API does not answer: {what} after {what} failed ({change.code})"
            self._rests.begin(change.workspace_id, cause, reason, looks=looks, seconds=change.seconds)
        else:
            self._rests.end(change.workspace_id, cause)

    def _rest_changed(self, workspace_id: str, resting: Resting | None) -> None:
        try:
            self._writer.rest(workspace_id, resting)
        except StoreError:
            pass  # It is being closed: what the next process finds, it says itself.
        if not self._rests.looks_rest(workspace_id):
            self._resync.is_back()

    def _some_call(self, workspace_id: str) -> CallKey | None:
        return next((key.call for key in self._catalog.desired if key.workspace_id == workspace_id), None)

    def _seconds_before_a_patch(self, workspace_id: str) -> float:
        refused_keys = self._reconciler.refused_keys
        return max(self._reach.rest_seconds(workspace_id), refused_keys.seconds_before_patch(workspace_id))

    # Turns.

    async def _turn(self, key: RecordingKey, priority: Priority) -> Again | None:
        if not await self._state_is_well():
            return Again(TICK_SECONDS, priority)
        turn = await self._reconciler.reconcile(key, priority)
        self._failures.pop(key, None)
        if isinstance(turn.error, NoRoom):
            # It waits for its share of the budget: neither the first pass nor the resync is done with it.
            return turn.again
        if isinstance(turn.error, CredentialRefused):
            self._key_was_refused(turn.error)
        phase = turn.phase or self._phase_of(key)
        if phase is not None or key not in self._catalog.desired:
            self._judge.turned(key, phase)
        self._resync.first_pass.discard(key)
        if turn.phase is Phase.BLIND and turn.error is not None:
            # Of what was in sync nothing is written down, for nothing new is known of it.
            self._standings.out_of_sight(key, str(turn.error), self._clock.now())
        if turn.looked:
            self._resync.answered(key, final=turn.final and key in self._catalog.desired)
        if turn.refusal is not None:
            self._metrics.limit_refusals.labels(turn.refusal.rule.value).inc()
        return self._when_again(key, priority, turn)

    def _key_was_refused(self, error: CredentialRefused) -> None:
        workspace_id = error.workspace_id
        if workspace_id in self._reconciler.refused_keys.workspaces:
            looks = self._reconciler.refused_keys.looks(workspace_id)
            self._rests.begin(workspace_id, Cause.KEY, str(error), looks=looks, seconds=UNAUTHORIZED_SECONDS)

    def _when_again(self, key: RecordingKey, priority: Priority, turn: Turn) -> Again | None:
        """Return when a recording's next turn is: what its workspace keeps waiting rests, and an edit stays an edit."""
        again, error = turn.again, turn.error
        throttled = isinstance(error, (Throttled, NoRoom))
        if again is None or throttled or not isinstance(error, (Unavailable, CredentialRefused)):
            self._failed_looks.pop(key, None)
            return again
        urgent = min(priority, again.priority) if priority in (Priority.PAUSE, Priority.EDIT) else again.priority
        held = isinstance(error, (CredentialRefused, CircuitOpen))
        if self._rests.looks_rest(key.workspace_id) or (held and self._rests.patches_rest(key.workspace_id)):
            return Again(again.after_seconds, urgent, rests=True)
        soon = min(again.after_seconds, EDIT_RETRY_SECONDS)
        if held:
            # What held it back has ended since.
            return Again(soon, urgent)
        if urgent <= Priority.EDIT and turn.phase not in _SENT and self._failed_looks[key] < EDIT_RETRIES:
            self._failed_looks[key] += 1
            return Again(soon, urgent)
        return again

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
        self._resync.leave_out(key)
        self._resync.first_pass.discard(key)
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
        records = (self._records.get(key) for key in change.changed)
        last_applied = {record.key: record.last_applied for record in records if record is not None}
        self._judge.announce(change.changed, last_applied)
        # Those of one call side by side, so that they share its looks.
        for key in sorted((*change.changed, *change.removed)):
            self._reconciler.saw_edit(key)
            document = self._catalog.desired.get(key)
            pause = document is not None and document.status is Status.PAUSED
            # It has its turn even where its workspace is left alone: what was asked for is written down.
            self._workers.add(key, Priority.PAUSE if pause else Priority.EDIT, passes=True)
        for workspace_id in {key.workspace_id for key in change.changed}:
            self._rests.edit_came(workspace_id)
        self._metrics.invalid_files.set(len(self._catalog.invalid))

    # What other processes ask for.

    async def _approve(self, request: Request, about: Mapping[str, Any]) -> Answer:
        answer, keys = await self._judge.approve(self._desk, request, about)
        for key in keys:
            self._workers.add(key, Priority.EDIT, passes=True)
        return answer

    async def _sync(self, _request: Request, about: Mapping[str, Any]) -> Answer:
        """Look at everything now, or at the recordings of some documents."""
        names = about.get("names")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise RequestRefused("`sync` takes a list of names")
        if not names:
            self._look_now()
            total = len(self._catalog.desired)
            return Answer(f"looking at all {total} recordings now", {"recordings": total})
        wanted = set(names)
        keys = {document.name: document.key for document in self._catalog.desired.values() if document.name in wanted}
        missing = sorted(wanted - keys.keys())
        if missing:
            raise RequestRefused(f"no document in force is named {', '.join(map(visible, missing[:MISSING_NAMES]))}")
        self._reconciler.look_afresh()
        for key in sorted(keys.values()):
            self._workers.add(key, Priority.EDIT)
        count = "1 recording" if len(keys) == 1 else f"{len(keys)} recordings"
        return Answer(f"looking at {count} now", {"recordings": len(keys)})

    def _begin_resync(self, asked: bool) -> None:
        if asked:
            self._reconciler.look_afresh()
        self._judge.begin_resync()

    def _all_answered(self) -> None:
        if self._resync.last is not None:
            self._metrics.last_resync.set(self._resync.last.timestamp())
        self._log.info("resync_done", recordings=len(self._catalog.desired))

    def _every_key(self) -> list[RecordingKey]:
        """Return every recording that has a document, or had one here, those of one call side by side.

        In a thread of its own, for there are as many records as recordings. Nearly all come in order, so that the
        sorting finds next to nothing to do; of a hundred thousand in no order it would take a quarter of a second.
        """
        desired = self._catalog.desired
        keys = []
        found = 0
        for key in self._records.all_keys():
            if key in desired:
                keys.append(key)
                found += 1
            elif (standing := self._records.standing(key)) and self._follower.covers(standing.file, standing.base):
                keys.append(key)
        # Copied in one step, for the loop goes on changing it; nothing is missing where all were found.
        declared = list(desired)
        if found < len(declared):
            recorded = frozenset(keys)
            keys.extend(key for key in declared if key not in recorded)
        keys.sort()
        return keys

    async def _beat(self) -> None:
        """Bring the slow figures up to date, and tell systemd as long as the loop is healthy."""
        interval = watchdog_seconds()
        told = self._clock.monotonic()
        measured: float | None = None
        while True:
            self._look_at_state()
            self._look_at_clock()
            self._judge.look()
            if measured is None or self._clock.monotonic() - measured >= _MEASURE_SECONDS:
                measured = self._clock.monotonic()
                await self._measure_state()
            for workspace_id in self._reconciler.refused_keys.try_new():
                self._rests.ask_now(workspace_id)
            self._metrics.managed.set(len(self._catalog.desired))
            self._metrics.invalid_files.set(len(self._catalog.invalid))
            self._metrics.vanished_paths.set(len(self._follower.vanished))
            self._metrics.unauthorized_workspaces.set(len(self._reconciler.refused_keys.workspaces))
            if not self._ready_told:
                self._ready_told = notify("READY=1")
            now = self._clock.monotonic()
            if interval is not None and now - told >= interval and self.healthy():
                notify("WATCHDOG=1")
                told = now
            await asyncio.sleep(BEAT_SECONDS if interval is None else min(BEAT_SECONDS, interval))

    def _look_at_clock(self) -> None:
        """Mark in the history that the clock was set: the times above and below such a line are not of one clock."""
        step = self._clock_steps.look()
        if step is None:
            return
        expected, now = step
        seconds = (now - expected).total_seconds()
        self._log.warning("clock_stepped", seconds=round(seconds, 3))
        way = "forward, or this machine slept, for" if seconds > 0 else "back by"
        self._writer.append(
            Event(
                at=now,
                event=CLOCK_STEPPED,
                key=NO_RECORDING,
                name="",
                from_status=instant(expected),
                to_status=instant(now),
                run_id=self._run_id,
                detail=f"the clock of this machine was set {way} {abs(seconds):.0f} s",
            )
        )

    async def _measure_state(self) -> None:
        """Bring the figures of the state's size up to date; where it cannot be read, others say so."""
        with suppress(StoreError):
            size = await asyncio.to_thread(self._store.size, self._clock.now())
            if size is not None:
                self._metrics.state_measured(size.bytes, size.days_left)

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
        self._reconciler.sparing.look()

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
        leading = self._started and not self._stop.is_set() and self._writer.lease_valid()
        return leading and not self._resync.first_pass and self._state_works()

    def _state_works(self) -> bool:
        said = self._reconciler.state_alarm.raised or self._unreadable.raised
        return not said and self._writer.error is None

    def status(self) -> dict[str, Any]:
        """Return the daemon's state as plain data: what is managed, what is not in sync, what is invalid, and why."""
        now = self._clock.now()
        recordings, unreadable = self._overview.recordings(now)
        error = unreadable or self._writer.error
        depths = self._workers.queue.depths(self._clock.monotonic())
        return {
            "format": FORMAT,
            "runId": self._run_id,
            "ready": self.ready(),
            "healthy": self.healthy(),
            "leader": self._writer.lease_valid(),
            "managed": len(self._catalog.desired),
            **recordings,
            "oldestUnmetSeconds": round(self._overview.oldest_unmet_seconds(now), 3),
            "refusals": self._judge.listed(),
            "limitsOverridden": self._judge.overridden,
            "invalidFiles": {
                file: [str(scrubbed(problem)) for problem in problems]
                for file, problems in sorted(self._catalog.invalid.items())
            },
            "vanished": sorted(self._follower.vanished),
            "source": self._source(),
            "unauthorizedWorkspaces": sorted(self._reconciler.refused_keys.workspaces),
            "queue": {
                priority.name.lower(): {"ready": depth.ready, "oldestSeconds": round(depth.oldest_seconds, 3)}
                for priority, depth in depths.items()
            },
            "queueAtRest": self._workers.queue.at_rest,
            "lastResync": None if self._resync.last is None else instant(self._resync.last),
            "stateError": None if error is None else str(error),
        }

    def _standing(self) -> Standing:
        return Standing(
            phases=self._overview.phases(),
            oldest_unmet_seconds=self._overview.oldest_unmet_seconds(self._clock.now()),
            resting_workspaces=len(self._rests),
            ready=self.ready(),
            leader=self._writer.lease_valid(),
            state_writable=self._state_works(),
        )

    def _queue_depths(self) -> Mapping[Priority, tuple[int, float]]:
        depths = self._workers.queue.depths(self._clock.monotonic())
        return {priority: (depth.ready, depth.oldest_seconds) for priority, depth in depths.items()}


def _stand(standing: StoredStanding) -> Stand:
    return Stand(standing.phase, standing.reason, standing.since, standing.unmet_since)
