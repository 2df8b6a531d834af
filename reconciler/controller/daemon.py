"""The daemon: its parts put together, its tasks, and the turn of one recording among them.

It decides nothing about a recording and sends nothing: it names keys, and the reconciler looks at the world. What wakes
keys is in `intake` (changed documents), `resync` (the look at everything), `rests` (workspaces that are left alone) and
`asked` (requests); `takeover` is the start, `comebacks` says when a recording is next, `beat` is done each second, and
`health` and `status` answer about all of it.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from reconciler.controller.asked import Asked
from reconciler.controller.beat import Beat
from reconciler.controller.comebacks import Comebacks
from reconciler.controller.health import Health
from reconciler.controller.intake import Intake
from reconciler.controller.judging import Judge
from reconciler.controller.parts import Conduct, Following, Memory, Reach, Run, Waiting
from reconciler.controller.requests import Desk
from reconciler.controller.rests import Cause, Questions, Rests
from reconciler.controller.resync import TICK_SECONDS, Resync
from reconciler.controller.status import Status
from reconciler.controller.systemd import notify
from reconciler.controller.takeover import every_key, take_over
from reconciler.controller.wakes import Wakes
from reconciler.controller.watched import Watched
from reconciler.model import (
    CredentialRefused,
    LeaseLost,
    NoRoom,
    Phase,
    Priority,
    RecordingKey,
    Resting,
    StoreError,
)
from reconciler.reconcile import UNAUTHORIZED_SECONDS, Reconciler
from reconciler.telemetry import Alarm
from reconciler.work import Again, Workers

#: How often a turn that waits for the state asks whether it can be written again, in seconds.
STATE_SECONDS = 0.1
#: How long requests in flight may take to end after a stop, in seconds.
DRAIN_SECONDS = 10.0


class Daemon:
    """Keeps recordings as their documents say, until it is told to stop."""

    def __init__(
        self,
        following: Following,
        memory: Memory,
        reconciler: Reconciler,
        reach: Reach,
        wakes: Wakes,
        run: Run,
        conduct: Conduct,
    ) -> None:
        """Put the daemon together.

        Args:
            following: the documents in force.
            memory: what is remembered, on disk and in memory.
            reconciler: does the turns.
            reach: asks whether a workspace is answered.
            wakes: tells what wakes many recordings at once.
            run: the run.
            conduct: how the daemon goes about its work.
        """
        self._following = following
        self._memory = memory
        self._reconciler = reconciler
        self._run = run
        self._conduct = conduct
        clock = run.clock
        unreadable = Alarm(run.log, "state_unreadable", "state_readable_again", clock.monotonic)
        self._judge = Judge(memory.window, following.catalog, memory.store, memory.records, memory.writer, run)
        workers = Workers(
            self._turn,
            concurrency=conduct.turns_at_once,
            now=clock.monotonic,
            failed=self._failed,
            group_of=lambda key: key.workspace_id,
        )
        refused_keys = reconciler.refused_keys

        def seconds_before_a_patch(workspace_id: str) -> float:
            return max(reach.rest_seconds(workspace_id), refused_keys.seconds_before_patch(workspace_id))

        questions = Questions(
            reach.probe, refused_keys.look_answered, refused_keys.look_refused, seconds_before_a_patch
        )
        rests = Rests(workers, questions, clock, following.some_call, self._rest_changed)
        keys = partial(every_key, following, memory.records)
        resync = Resync(following.catalog, keys, workers, rests, clock, unreadable, self._all_answered)
        self._waiting = waiting = Waiting(workers, rests, resync)
        self._comebacks = Comebacks(rests, run)
        self._health = health = Health(memory, reconciler, waiting, run, unreadable, conduct.health_seconds)
        watched = Watched(following, memory, refused_keys, self._judge, waiting, health, run)
        self._status = Status(watched)
        self._beat = Beat(watched)
        self._intake = Intake(following, self._judge, reconciler, waiting, unreadable, run.metrics)
        self._desk = Desk(memory.store, memory.writer, run)
        Asked(self._desk, following, self._judge, reconciler, waiting, wakes)
        #: Set when somebody wishes that everything is looked at now.
        self._look_now = asyncio.Event()
        wakes.circuit_changed.listen(rests.circuit_changed)
        wakes.key_taken.listen(rests.key_taken)
        wakes.on_everything(self._look_now.set)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then let requests in flight end, for at most ten seconds.

        Raises:
            LeaseLost: another process took the state over.
        """
        waiting, log = self._waiting, self._run.log
        take_over(self._following, self._memory, self._judge, waiting, override=self._conduct.override_limits)
        work = asyncio.create_task(waiting.workers.work(stop, drain_seconds=DRAIN_SECONDS), name="work")
        jobs = [
            asyncio.create_task(job, name=name)
            for name, job in (
                ("follow", self._intake.follow(stop, self._conduct.poll_seconds)),
                ("resync", waiting.resync.run(self._look_now, self._conduct.resync_seconds, self._begin_resync)),
                ("catch up", waiting.resync.catch_up()),
                ("ask", waiting.rests.ask()),
                ("beat", self._beat.work()),
                ("requests", self._desk.work()),
            )
        ]
        stopped = asyncio.create_task(stop.wait())
        self._health.began(stop)
        self._beat.began()
        log.info("started", recordings=len(self._following.catalog.desired), files=self._following.follower.files)
        try:
            done, _ = await asyncio.wait({stopped, work, *jobs}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                if not stop.is_set():
                    task.result()
        finally:
            stop.set()
            notify("STOPPING=1")
            log.info("stopping", in_flight=waiting.workers.queue.working)
            for task in (stopped, *jobs):
                task.cancel()
            await asyncio.gather(stopped, *jobs, return_exceptions=True)
            await asyncio.gather(work, return_exceptions=True)
        if self._health.fatal is not None:
            raise self._health.fatal

    # What the page asks.

    def healthy(self) -> bool:
        """See `Health.healthy`."""
        return self._health.healthy()

    def ready(self) -> bool:
        """See `Health.ready`."""
        return self._health.ready()

    def status(self) -> dict[str, Any]:
        """See `Status.data`."""
        return self._status.data()

    # Turns.

    async def _turn(self, key: RecordingKey, priority: Priority) -> Again | None:
        if not await self._state_is_well():
            return Again(TICK_SECONDS, priority)
        turn = await self._reconciler.reconcile(key, priority)
        self._comebacks.answered(key)
        if isinstance(turn.error, NoRoom):
            # It waits for its share of the budget: neither the first pass nor the resync is done with it.
            return turn.again
        if isinstance(turn.error, CredentialRefused):
            self._key_was_refused(turn.error)
        phase = turn.phase or self._memory.standings.phase_of(key)
        if phase is not None or key not in self._following.catalog.desired:
            self._judge.turned(key, phase)
        self._waiting.resync.first_pass.discard(key)
        if turn.phase is Phase.BLIND and turn.error is not None:
            # Of what was in sync nothing is written down, for nothing new is known of it.
            self._memory.standings.out_of_sight(key, str(turn.error), self._run.clock.now())
        if turn.looked:
            self._waiting.resync.answered(key, final=turn.final and key in self._following.catalog.desired)
        if turn.refusal is not None:
            self._run.metrics.limit_refusals.labels(turn.refusal.rule.value).inc()
        return self._comebacks.after(key, priority, turn)

    def _key_was_refused(self, error: CredentialRefused) -> None:
        workspace_id = error.workspace_id
        if workspace_id in self._reconciler.refused_keys.workspaces:
            looks = self._reconciler.refused_keys.looks(workspace_id)
            self._waiting.rests.begin(workspace_id, Cause.KEY, str(error), looks=looks, seconds=UNAUTHORIZED_SECONDS)

    async def _state_is_well(self) -> bool:
        """Wait while the state cannot be written: a turn could only ask the API in vain. False once the daemon stops.

        Raises:
            LeaseLost: it never will be, for this process.
        """
        while (error := self._memory.writer.error) is not None:
            if isinstance(error, LeaseLost):
                raise error
            if self._health.stopping:
                return False
            await asyncio.sleep(STATE_SECONDS)
        return True

    def _failed(self, key: RecordingKey, error: Exception) -> Again | None:
        if isinstance(error, LeaseLost):
            self._health.lost(error)
            return None
        self._waiting.resync.leave_out(key)
        self._waiting.resync.first_pass.discard(key)
        return self._comebacks.after_failure(key, error)

    # Workspaces that are left alone.

    def _rest_changed(self, workspace_id: str, resting: Resting | None) -> None:
        try:
            self._memory.writer.rest(workspace_id, resting)
        except StoreError:
            pass  # It is being closed: what the next process finds, it says itself.
        if not self._waiting.rests.looks_rest(workspace_id):
            self._waiting.resync.is_back()

    # The look at everything.

    def _begin_resync(self, asked: bool) -> None:
        if asked:
            self._reconciler.look_afresh()
        self._judge.begin_resync()

    def _all_answered(self) -> None:
        last = self._waiting.resync.last
        if last is not None:
            self._run.metrics.last_resync.set(last.timestamp())
        self._run.log.info("resync_done", recordings=len(self._following.catalog.desired))
