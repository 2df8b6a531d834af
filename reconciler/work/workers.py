"""Who works on the keys of the queue: so many turns at once, and never two of one key.

What must never happen here: less urgent work that takes all places from urgent work, a turn that raises and ends the
turns of others, or a stop that leaves a turn behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable
from typing import Generic, TypeVar

from reconciler.model import Priority
from reconciler.work.queue import Again, KeyedQueue

K = TypeVar("K", bound=Hashable)


class Workers(Generic[K]):
    """Runs turns of the keys in a queue, at most `concurrency` at once and never two of one key.

    A quarter of the places is kept for urgent work (edits and confirmations), so that a resync that waits for its
    budget cannot hold up an edit. And while urgent work is ready, no two turns of other work begin one after the other,
    so that not even a single worker with an aged resync before it keeps an edit waiting for longer than one turn.
    """

    def __init__(
        self,
        turn: Callable[[K, Priority], Awaitable[Again | None]],
        *,
        concurrency: int,
        now: Callable[[], float],
        failed: Callable[[K, Exception], Again | None],
        group_of: Callable[[K], Hashable],
    ) -> None:
        """Prepare the workers.

        Args:
            turn: does one turn of one key and answers whether it wishes to come back.
            concurrency: how many turns run at once, at least 1.
            now: the monotonic clock, in seconds.
            failed: answers a turn that raised: say so, and when the key shall come back.
            group_of: names the group of a key, by which keys rest and are woken.
        """
        self.queue: KeyedQueue[K] = KeyedQueue(group_of)
        self._turn = turn
        self._concurrency = concurrency
        self._bulk = max(1, concurrency - max(1, concurrency // 4)) if concurrency > 1 else 1
        self._now = now
        self._failed = failed
        self._wake = asyncio.Event()
        self._running: dict[asyncio.Task[None], Priority] = {}
        self._bulk_running = 0
        self._bulk_before = False
        #: When a turn last ended, for the health page.
        self.last_progress = now()

    def add(self, key: K, priority: Priority, delay: float = 0.0, *, passes: bool = False) -> None:
        """Ask for a turn of a key, now or after `delay` seconds; with `passes` even while its group rests."""
        self.queue.add(key, priority, self._now(), delay, passes=passes)
        self._wake.set()

    def rest(self, group: Hashable) -> None:
        """Give no key of the group a turn from now on."""
        self.queue.rest(group)

    def wake(self, group: Hashable) -> None:
        """Let all of a group come back, the most urgent first."""
        self.queue.wake(group, self._now())
        self._wake.set()

    def wake_one(self, group: Hashable) -> K | None:
        """Give the most urgent key that lies aside one turn, to find out for the others; None where none does."""
        key = self.queue.wake_one(group, self._now())
        self._wake.set()
        return key

    def first_at_rest(self, group: Hashable) -> K | None:
        """Return the most urgent key of a group that lies aside, or None."""
        return self.queue.first_at_rest(group)

    def waits(self, group: Hashable, priorities: Collection[Priority]) -> bool:
        """Whether a key of a group and of one of these classes lies aside."""
        return self.queue.waits(group, priorities)

    async def work(self, stop: asyncio.Event, *, until_idle: bool = False, drain_seconds: float = 10.0) -> None:
        """Run turns until `stop` is set or, if so asked, until no key is left.

        Args:
            stop: ends it; turns that run by then may end by themselves first.
            until_idle: end as well when there is nothing left to do or to wait for.
            drain_seconds: how long such turns may take before they are cancelled.
        """
        stopping = asyncio.create_task(self._wake_on(stop))
        try:
            while not stop.is_set():
                self._wake.clear()
                # One moment for both: a key that became due in between would be neither started nor slept for.
                now = self._now()
                self._start_ready(now)
                if until_idle and not len(self.queue):
                    return
                await self._sleep(now)
        finally:
            stopping.cancel()
            if self._running:
                _, late = await asyncio.wait(self._running, timeout=drain_seconds)
                for task in late:
                    task.cancel()
                await asyncio.gather(*late, return_exceptions=True)

    def _start_ready(self, now: float) -> None:
        while len(self._running) < self._concurrency:
            taken = self._take(now)
            if taken is None:
                return
            key, priority = taken
            if not self._running:
                # After a quiet time the clock of progress starts with the first turn, not with the last one long ago.
                self.last_progress = self._now()
            task = asyncio.create_task(self._run(key, priority))
            self._running[task] = priority
            self._bulk_before = priority > Priority.CONFIRM
            self._bulk_running += self._bulk_before
            task.add_done_callback(self._ended)

    def _take(self, now: float) -> tuple[K, Priority] | None:
        bulk_allowed = self._bulk_running < self._bulk
        taken = None
        if self._bulk_before or not bulk_allowed:
            taken = self.queue.pop(now, least_urgent=Priority.CONFIRM)
        return self.queue.pop(now) if taken is None and bulk_allowed else taken

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

    async def _sleep(self, now: float) -> None:
        due = self.queue.next_due(now)
        full = len(self._running) >= self._concurrency
        timer = None
        if due is not None and not full:
            # Not by `asyncio.timeout`, which costs more than the wait: this runs after each turn.
            timer = asyncio.get_running_loop().call_later(max(0.0, due - self._now()), self._wake.set)
        try:
            await self._wake.wait()
        finally:
            if timer is not None:
                timer.cancel()

    async def _wake_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()
