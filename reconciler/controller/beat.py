"""What the daemon does each second beside its turns: figures, alarms, the clock, new access keys, and systemd."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from reconciler.controller.clock_steps import ClockSteps
from reconciler.controller.systemd import notify, watchdog_seconds
from reconciler.controller.watched import Watched
from reconciler.model import NO_RECORDING, Event, StoreError, instant
from reconciler.plan import CLOCK_STEPPED

#: How often the page's slow figures are brought up to date.
BEAT_SECONDS: Final = 1.0
#: How often the size of the state is measured.
_MEASURE_SECONDS: Final = 60.0


class Beat:
    """Beats as long as the daemon works."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._run = watched.run
        self._clock_steps = ClockSteps(watched.run.clock)
        #: Whether nothing is left to tell systemd of the start.
        self._ready_told = True

    def began(self) -> None:
        """Tell systemd that the daemon works from now on."""
        self._ready_told = notify("READY=1")

    async def work(self) -> None:
        """Bring the slow figures up to date, and tell systemd as long as the loop is healthy."""
        interval = watchdog_seconds()
        told = self._run.clock.monotonic()
        measured: float | None = None
        while True:
            self._watched.health.look()
            self._look_at_clock()
            self._watched.judge.look()
            if measured is None or self._run.clock.monotonic() - measured >= _MEASURE_SECONDS:
                measured = self._run.clock.monotonic()
                await self._measure_state()
            for workspace_id in self._watched.refused_keys.try_new():
                self._watched.waiting.rests.ask_now(workspace_id)
            self._run.metrics.managed.set(len(self._watched.following.catalog.desired))
            self._run.metrics.invalid_files.set(len(self._watched.following.catalog.invalid))
            self._run.metrics.vanished_paths.set(len(self._watched.following.follower.vanished))
            self._run.metrics.unauthorized_workspaces.set(len(self._watched.refused_keys.workspaces))
            if not self._ready_told:
                self._ready_told = notify("READY=1")
            now = self._run.clock.monotonic()
            if interval is not None and now - told >= interval and self._watched.health.healthy():
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
        self._run.log.warning("clock_stepped", seconds=round(seconds, 3))
        way = "forward, or this machine slept, for" if seconds > 0 else "back by"
        self._watched.memory.writer.append(
            Event(
                at=now,
                event=CLOCK_STEPPED,
                key=NO_RECORDING,
                name="",
                from_status=instant(expected),
                to_status=instant(now),
                run_id=self._run.run_id,
                detail=f"the clock of this machine was set {way} {abs(seconds):.0f} s",
            )
        )

    async def _measure_state(self) -> None:
        """Bring the figures of the state's size up to date; where it cannot be read, others say so."""
        with suppress(StoreError):
            size = await asyncio.to_thread(self._watched.memory.store.size, self._run.clock.now())
            if size is not None:
                self._run.metrics.state_measured(size.bytes, size.days_left)
