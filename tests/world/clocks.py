"""A clock with timers that moves only when a test says so."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable


class FakeTimer:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeClock:
    """A clock that moves only when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._timers: list[tuple[float, int, FakeTimer, Callable[[], None]]] = []
        self._count = 0

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None], /) -> FakeTimer:
        timer = FakeTimer()
        self._count += 1
        heapq.heappush(self._timers, (self.now + delay, self._count, timer, callback))
        return timer

    def run_due(self) -> None:
        """Run the timers whose moment has come, and let no task run yet."""
        while self._timers and self._timers[0][0] <= self.now:
            _, _, timer, callback = heapq.heappop(self._timers)
            if not timer.cancelled:
                callback()

    async def advance(self, seconds: float) -> None:
        """Move on, running every timer at its moment, and let the tasks it woke run."""
        end = self.now + seconds
        await settle()
        while self._timers and self._timers[0][0] <= end:
            at, _, timer, callback = heapq.heappop(self._timers)
            if not timer.cancelled:
                self.now = at
                callback()
                await settle()
        self.now = end


async def settle() -> None:
    """Let every task that can run do so; three rounds suffice for a wake-up and what it wakes."""
    for _ in range(3):
        await asyncio.sleep(0)
