"""Whether the daemon makes progress, whether it is ready, and why it has to end.

What must never happen here: a daemon that calls itself healthy while its work stands still, or ready while the state
cannot be written.
"""

from __future__ import annotations

import asyncio

from reconciler.controller.parts import Memory, Run, Waiting
from reconciler.model import LeaseLost
from reconciler.reconcile import Reconciler
from reconciler.telemetry import Alarm


class Health:
    """Answers how the daemon itself is."""

    def __init__(
        self,
        memory: Memory,
        reconciler: Reconciler,
        waiting: Waiting,
        run: Run,
        unreadable: Alarm,
        health_seconds: float,
    ) -> None:
        """Begin before the daemon works.

        Args:
            memory: the state.
            reconciler: knows whether turns are held up by the state.
            waiting: where keys wait for a turn.
            run: the run.
            unreadable: raised while the state cannot be read.
            health_seconds: without progress for so long, although work is due, the daemon is not healthy.
        """
        self._writer = memory.writer
        self._reconciler = reconciler
        self._waiting = waiting
        self._clock = run.clock
        self._unreadable = unreadable
        self._health_seconds = health_seconds
        #: Ends the daemon; None before it works.
        self._stop: asyncio.Event | None = None
        #: Why the daemon ends by itself.
        self.fatal: LeaseLost | None = None

    def began(self, stop: asyncio.Event) -> None:
        """Note that the daemon works from now on, until `stop` is set."""
        self._stop = stop

    @property
    def stopping(self) -> bool:
        """Whether the daemon has been told to end."""
        return self._stop is not None and self._stop.is_set()

    def lost(self, error: LeaseLost) -> None:
        """End the daemon: another process holds the state."""
        self.fatal = error
        if self._stop is not None:
            self._stop.set()

    def healthy(self) -> bool:
        """Whether work gets done: false when turns are due or running and none has ended for too long.

        While the state cannot be written they wait for it on purpose: a restart would not mend the disk.
        """
        if self._writer.error is not None:
            return True
        queue = self._waiting.workers.queue
        depths = queue.depths(self._clock.monotonic())
        due = queue.working > 0 or any(depth.ready for depth in depths.values())
        return not due or self._clock.monotonic() - self._waiting.workers.last_progress < self._health_seconds

    def ready(self) -> bool:
        """Whether what the documents asked for at the start had its first turn, and the state works.

        What was in order when the last process ended does not count: the resync looks at it, which may take long.
        """
        leading = self._stop is not None and not self._stop.is_set() and self._writer.lease_valid()
        return leading and not self._waiting.resync.first_pass and self.state_works()

    def state_works(self) -> bool:
        """Whether the state can be read and written."""
        said = self._reconciler.state_alarm.raised or self._unreadable.raised
        return not said and self._writer.error is None

    def look(self) -> None:
        """Say that the state cannot be written even when no turn finds out, and end when it is another's."""
        error = self._writer.error
        if isinstance(error, LeaseLost):
            self.lost(error)
        elif error is not None:
            self._reconciler.state_alarm.met(error)
        self._reconciler.state_alarm.look()
        self._unreadable.look()
        self._reconciler.sparing.look()
