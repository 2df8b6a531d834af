"""Keys to work on: one entry per key, priorities, delays, never two workers on one key.

This room knows keys, not recordings: what a key means, and what a turn does, is the caller's. `KeyedQueue` is a plain
data structure to which time is passed in; `work` runs turns from it with bounded concurrency.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from reconciler.model import Priority

K = TypeVar("K", bound=Hashable)

#: Waiting this long lifts a key by one class, so that nothing starves behind a stream of more urgent work.
AGEING_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Again:
    """A turn's wish to come back."""

    after_seconds: float
    priority: Priority


@dataclass(slots=True)
class _Entry:
    priority: Priority
    #: When it is due, on the caller's monotonic clock.
    due: float
    #: Which of the places that mention the key is the valid one; the others are skipped when they are met.
    ticket: int
    ready: bool = False
    working: bool = False
    #: What came in while the key was being worked on: it is worked on once more.
    missed: Priority | None = None


@dataclass(frozen=True, slots=True)
class Depth:
    """How much waits in one class, and since when the oldest has been ready (seconds; 0 when none is)."""

    ready: int
    oldest_seconds: float


class KeyedQueue(Generic[K]):
    """Keys that wait for a turn. All times are seconds on one monotonic clock."""

    def __init__(self) -> None:
        self._entries: dict[K, _Entry] = {}
        self._ready: dict[Priority, deque[tuple[K, int]]] = {priority: deque() for priority in Priority}
        self._delayed: list[tuple[float, int, K]] = []
        self._ticket = 0
        self._ready_count = dict.fromkeys(Priority, 0)
        self._working = 0

    def __len__(self) -> int:
        """How many keys are known: ready, delayed or being worked on."""
        return len(self._entries)

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    @property
    def working(self) -> int:
        return self._working

    @property
    def ready(self) -> int:
        """How many keys are due now, as far as `pop` and `next_due` have looked."""
        return sum(self._ready_count.values())

    def add(self, key: K, priority: Priority, now: float, delay: float = 0.0) -> None:
        """Ask for a turn. One entry per key: the earlier moment and the more urgent class of the two win.

        A key that is being worked on comes back when its turn is over, if the wish was for now.
        """
        due = now + delay
        entry = self._entries.get(key)
        if entry is None:
            self._place(key, _Entry(priority, due, 0), now)
        elif entry.working:
            if delay <= 0 and (entry.missed is None or priority < entry.missed):
                entry.missed = priority
        elif due < entry.due or (priority < entry.priority and due <= max(entry.due, now)):
            entry.priority = min(entry.priority, priority)
            entry.due = min(entry.due, due)
            self._unplace(entry)
            self._place(key, entry, now)

    def pop(self, now: float, *, least_urgent: Priority = Priority.RESYNC) -> tuple[K, Priority] | None:
        """Take the most urgent ready key no less urgent than `least_urgent`, or None.

        The key counts as being worked on until `done` is called for it.
        """
        self._promote(now)
        best: Priority | None = None
        best_rank = 0.0
        for priority, waiting in self._ready.items():
            self._drop_stale(waiting)
            if not waiting or priority > least_urgent:
                continue
            rank = priority - (now - self._entries[waiting[0][0]].due) / AGEING_SECONDS
            if best is None or rank < best_rank:
                best, best_rank = priority, rank
        if best is None:
            return None
        key, _ = self._ready[best].popleft()
        entry = self._entries[key]
        self._unplace(entry)
        entry.working = True
        self._working += 1
        return key, best

    def done(self, key: K, again: Again | None, now: float) -> None:
        """End the key's turn; it comes back if the turn wishes so, or if something came in meanwhile."""
        entry = self._entries[key]
        self._working -= 1
        entry.working = False
        missed, entry.missed = entry.missed, None
        if missed is not None:
            entry.priority, entry.due = missed, now
        elif again is not None:
            entry.priority, entry.due = again.priority, now + again.after_seconds
        else:
            del self._entries[key]
            return
        self._place(key, entry, now)

    def next_due(self, now: float) -> float | None:
        """Return when the next delayed key is due, or None when there is none."""
        self._promote(now)
        return self._delayed[0][0] if self._delayed else None

    def depths(self, now: float) -> dict[Priority, Depth]:
        """Return, by class, how many keys are ready and how long the oldest has been."""
        self._promote(now)
        depths = {}
        for priority, waiting in self._ready.items():
            self._drop_stale(waiting)
            oldest = now - self._entries[waiting[0][0]].due if waiting else 0.0
            depths[priority] = Depth(self._ready_count[priority], max(0.0, oldest))
        return depths

    def _place(self, key: K, entry: _Entry, now: float) -> None:
        self._ticket += 1
        entry.ticket = self._ticket
        self._entries[key] = entry
        if entry.due <= now:
            entry.ready = True
            self._ready[entry.priority].append((key, entry.ticket))
            self._ready_count[entry.priority] += 1
        else:
            heapq.heappush(self._delayed, (entry.due, entry.ticket, key))

    def _unplace(self, entry: _Entry) -> None:
        """Make the entry's present place stale; it is skipped when it is met."""
        if entry.ready:
            self._ready_count[entry.priority] -= 1
            entry.ready = False
        entry.ticket = 0

    def _promote(self, now: float) -> None:
        while self._delayed:
            due, ticket, key = self._delayed[0]
            entry = self._entries.get(key)
            stale = entry is None or entry.ticket != ticket
            if not stale and due > now:
                return
            heapq.heappop(self._delayed)
            if entry is not None and not stale:
                self._place(key, entry, now)

    def _drop_stale(self, waiting: deque[tuple[K, int]]) -> None:
        while waiting:
            key, ticket = waiting[0]
            entry = self._entries.get(key)
            if entry is not None and entry.ticket == ticket:
                return
            waiting.popleft()


class Workers(Generic[K]):
    """Runs turns of the keys in a queue, at most `concurrency` at once and never two of one key.

    A quarter of the places is kept for urgent work (edits and confirmations), so that a resync that waits for its
    budget cannot hold up an edit.
    """

    def __init__(
        self,
        turn: Callable[[K, Priority], Awaitable[Again | None]],
        *,
        concurrency: int,
        now: Callable[[], float],
        failed: Callable[[K, Exception], Again | None],
    ) -> None:
        """Prepare the workers.

        Args:
            turn: does one turn of one key and answers whether it wishes to come back.
            concurrency: how many turns run at once, at least 1.
            now: the monotonic clock, in seconds.
            failed: answers a turn that raised: say so, and when the key shall come back.
        """
        self.queue: KeyedQueue[K] = KeyedQueue()
        self._turn = turn
        self._concurrency = concurrency
        self._bulk = max(1, concurrency - max(1, concurrency // 4)) if concurrency > 1 else 1
        self._now = now
        self._failed = failed
        self._wake = asyncio.Event()
        self._running: dict[asyncio.Task[None], Priority] = {}
        self._bulk_running = 0
        #: When a turn last ended, for the health page.
        self.last_progress = now()

    def add(self, key: K, priority: Priority, delay: float = 0.0) -> None:
        """Ask for a turn of a key, now or after `delay` seconds."""
        self.queue.add(key, priority, self._now(), delay)
        self._wake.set()

    async def work(self, stop: asyncio.Event, *, until_idle: bool = False) -> None:
        """Run turns until `stop` is set or, if so asked, until no key is left; turns that run by then end first."""
        stopping = asyncio.create_task(self._wake_on(stop))
        try:
            while not stop.is_set():
                self._wake.clear()
                self._start_ready()
                if until_idle and not len(self.queue):
                    return
                await self._sleep()
        finally:
            stopping.cancel()
            if self._running:
                await asyncio.wait(self._running)

    def _start_ready(self) -> None:
        while len(self._running) < self._concurrency:
            bulk_allowed = self._bulk_running < self._bulk
            taken = self.queue.pop(self._now(), least_urgent=Priority.RESYNC if bulk_allowed else Priority.CONFIRM)
            if taken is None:
                return
            key, priority = taken
            task = asyncio.create_task(self._run(key, priority))
            self._running[task] = priority
            self._bulk_running += priority > Priority.CONFIRM
            task.add_done_callback(self._ended)

    async def _run(self, key: K, priority: Priority) -> None:
        again: Again | None = None
        try:
            again = await self._turn(key, priority)
        except Exception as error:  # noqa: BLE001 - one poison key must not end the others' work
            again = self._failed(key, error)
        finally:
            self.last_progress = self._now()
            self.queue.done(key, again, self._now())

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._bulk_running -= self._running.pop(task) > Priority.CONFIRM
        self._wake.set()

    async def _sleep(self) -> None:
        due = self.queue.next_due(self._now())
        full = len(self._running) >= self._concurrency
        timeout = None if due is None or full else max(0.0, due - self._now())
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _wake_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()
