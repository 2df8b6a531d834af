"""What the daemon tells of itself: `/status` as plain data, and the figures that the metrics ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.controller.overview import FORMAT, Overview
from reconciler.controller.watched import Watched
from reconciler.model import Priority, instant
from reconciler.telemetry import Standing, scrubbed


class Status:
    """Answers the page and the metrics."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._run = run = watched.run
        memory = watched.memory
        self._overview = Overview(watched.following.catalog, memory.records, memory.standings, watched.waiting.rests)
        self._began = run.clock.now()
        run.metrics.watch_queue(self._queue_depths)
        run.metrics.watch_resync(self._seconds_since_resync)
        run.metrics.watch_standing(self._standing)

    def data(self) -> dict[str, Any]:
        """Return the daemon's state as plain data: what is managed, what is not in sync, what is invalid, and why."""
        now = self._run.clock.now()
        recordings, unreadable = self._overview.recordings(now)
        error = unreadable or self._watched.memory.writer.error
        depths = self._watched.waiting.workers.queue.depths(self._run.clock.monotonic())
        return {
            "format": FORMAT,
            "runId": self._run.run_id,
            "ready": self._watched.health.ready(),
            "healthy": self._watched.health.healthy(),
            "leader": self._watched.memory.writer.lease_valid(),
            "managed": len(self._watched.following.catalog.desired),
            **recordings,
            "oldestUnmetSeconds": round(self._overview.oldest_unmet_seconds(now), 3),
            "refusals": self._watched.judge.listed(),
            "limitsOverridden": self._watched.judge.overridden,
            "invalidFiles": {
                file: [str(scrubbed(problem)) for problem in problems]
                for file, problems in sorted(self._watched.following.catalog.invalid.items())
            },
            "vanished": sorted(self._watched.following.follower.vanished),
            "source": self._watched.following.source(),
            "unauthorizedWorkspaces": sorted(self._watched.refused_keys.workspaces),
            "queue": {
                priority.name.lower(): {"ready": depth.ready, "oldestSeconds": round(depth.oldest_seconds, 3)}
                for priority, depth in depths.items()
            },
            "queueAtRest": self._watched.waiting.workers.queue.at_rest,
            "lastResync": None
            if self._watched.waiting.resync.last is None
            else instant(self._watched.waiting.resync.last),
            "stateError": None if error is None else str(error),
        }

    def _standing(self) -> Standing:
        return Standing(
            phases=self._overview.phases(),
            oldest_unmet_seconds=self._overview.oldest_unmet_seconds(self._run.clock.now()),
            resting_workspaces=len(self._watched.waiting.rests),
            ready=self._watched.health.ready(),
            leader=self._watched.memory.writer.lease_valid(),
            state_writable=self._watched.health.state_works(),
        )

    def _queue_depths(self) -> Mapping[Priority, tuple[int, float]]:
        depths = self._watched.waiting.workers.queue.depths(self._run.clock.monotonic())
        return {priority: (depth.ready, depth.oldest_seconds) for priority, depth in depths.items()}

    def _seconds_since_resync(self) -> float:
        return max(0.0, (self._run.clock.now() - (self._watched.waiting.resync.last or self._began)).total_seconds())
