"""What the daemon tells of itself: `/status` as plain data, and the figures that the metrics ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.controller.health import Health
from reconciler.controller.judging import Judge
from reconciler.controller.overview import FORMAT, Overview
from reconciler.controller.parts import Following, Memory, Run, Waiting
from reconciler.model import Priority, instant
from reconciler.reconcile import RefusedKeys
from reconciler.telemetry import Standing, scrubbed


class Status:
    """Answers the page and the metrics."""

    def __init__(
        self,
        following: Following,
        memory: Memory,
        refused_keys: RefusedKeys,
        judge: Judge,
        waiting: Waiting,
        health: Health,
        run: Run,
    ) -> None:
        self._following = following
        self._writer = memory.writer
        self._refused_keys = refused_keys
        self._judge = judge
        self._waiting = waiting
        self._health = health
        self._run = run
        self._overview = Overview(following.catalog, memory.records, memory.standings, waiting.rests)
        self._began = run.clock.now()
        run.metrics.watch_queue(self._queue_depths)
        run.metrics.watch_resync(self._seconds_since_resync)
        run.metrics.watch_standing(self._standing)

    def data(self) -> dict[str, Any]:
        """Return the daemon's state as plain data: what is managed, what is not in sync, what is invalid, and why."""
        now = self._run.clock.now()
        recordings, unreadable = self._overview.recordings(now)
        error = unreadable or self._writer.error
        depths = self._waiting.workers.queue.depths(self._run.clock.monotonic())
        return {
            "format": FORMAT,
            "runId": self._run.run_id,
            "ready": self._health.ready(),
            "healthy": self._health.healthy(),
            "leader": self._writer.lease_valid(),
            "managed": len(self._following.catalog.desired),
            **recordings,
            "oldestUnmetSeconds": round(self._overview.oldest_unmet_seconds(now), 3),
            "refusals": self._judge.listed(),
            "limitsOverridden": self._judge.overridden,
            "invalidFiles": {
                file: [str(scrubbed(problem)) for problem in problems]
                for file, problems in sorted(self._following.catalog.invalid.items())
            },
            "vanished": sorted(self._following.follower.vanished),
            "source": self._following.source(),
            "unauthorizedWorkspaces": sorted(self._refused_keys.workspaces),
            "queue": {
                priority.name.lower(): {"ready": depth.ready, "oldestSeconds": round(depth.oldest_seconds, 3)}
                for priority, depth in depths.items()
            },
            "queueAtRest": self._waiting.workers.queue.at_rest,
            "lastResync": None if self._waiting.resync.last is None else instant(self._waiting.resync.last),
            "stateError": None if error is None else str(error),
        }

    def _standing(self) -> Standing:
        return Standing(
            phases=self._overview.phases(),
            oldest_unmet_seconds=self._overview.oldest_unmet_seconds(self._run.clock.now()),
            resting_workspaces=len(self._waiting.rests),
            ready=self._health.ready(),
            leader=self._writer.lease_valid(),
            state_writable=self._health.state_works(),
        )

    def _queue_depths(self) -> Mapping[Priority, tuple[int, float]]:
        depths = self._waiting.workers.queue.depths(self._run.clock.monotonic())
        return {priority: (depth.ready, depth.oldest_seconds) for priority, depth in depths.items()}

    def _seconds_since_resync(self) -> float:
        return max(0.0, (self._run.clock.now() - (self._waiting.resync.last or self._began)).total_seconds())
