"""Keys to work on: one entry per key, priorities, delays, never two workers on one key, and groups that rest together.

This room knows keys, not recordings: what a key means, and what a turn does, is the caller's. `KeyedQueue` is a plain
data structure to which time is passed in; `work` runs turns from it with bounded concurrency.

Keys belong to groups. While a group rests, none of its keys gets a turn, however many there are: they lie aside without
a timer or a place in a heap, and come back together. What must never happen here: a key that lies aside after its group
was woken, or a cost that grows with the number of those that rest.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Collection, Hashable
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
    #: Not after that time but when its group is woken.
    rests: bool = False


@dataclass(slots=True)
class _Entry:
    priority: Priority
    #: When it is due, on the caller's monotonic clock.
    due: float
    #: Which of the places that mention the key is the valid one; the others are skipped when they are met.
    ticket: int
    ready: bool = False
    working: bool = False
    #: Whether it lies aside until its group is woken.
    at_rest: bool = False
    #: Whether its next turn is due although its group rests.
    passes: bool = False
    #: What came in while the key was being worked on, and for when: it is worked on once more.
    missed: tuple[float, Priority] | None = None


#: A place where a key waits: when it is due, its ticket (so that two places never compare equal), and the key.
_Place = tuple[float, int, K]

#: Overtaken places that are tolerated beside the valid ones before they are swept out.
_STALE_PLACES = 64


@dataclass(frozen=True, slots=True)
class Depth:
    """How much waits in one class, and since when the oldest has been ready (seconds; 0 when none is)."""

    ready: int
    oldest_seconds: float


class KeyedQueue(Generic[K]):
    """Keys that wait for a turn. All times are seconds on one monotonic clock."""

    def __init__(self, group_of: Callable[[K], Hashable] = lambda _key: None) -> None:
        """Begin empty.

        Args:
            group_of: names the group of a key, by which keys rest and are woken.
        """
        self._entries: dict[K, _Entry] = {}
        self._group_of = group_of
        #: Groups of which no key gets a turn, and by group and class the keys that lie aside, the first come first.
        self._resting: set[Hashable] = set()
        self._aside: dict[Hashable, dict[Priority, dict[K, None]]] = {}
        #: Heaps, the longest due first: a key that rises into a class may have waited longer than its oldest.
        self._ready: dict[Priority, list[_Place[K]]] = {priority: [] for priority in Priority}
        self._delayed: list[_Place[K]] = []
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

    def add(self, key: K, priority: Priority, now: float, delay: float = 0.0, *, passes: bool = False) -> None:
        """Ask for a turn. One entry per key: the earlier moment and the more urgent class of the two win.

        A key that is being worked on comes back after its turn.

        Args:
            key: whose turn it is.
            priority: its class.
            now: the time.
            delay: seconds until it is due.
            passes: give it this one turn even while its group rests, because there is something to write down.
        """
        due = now + delay
        entry = self._entries.get(key)
        if entry is None:
            entry = _Entry(priority, due, 0, passes=passes)
            if passes or self._group_of(key) not in self._resting:
                self._place(key, entry, now)
            else:
                self._entries[key] = entry
                self._lay_aside(key, entry)
            return
        entry.passes |= passes
        if entry.working:
            entry.missed = _sooner((due, priority), entry.missed)
        elif entry.at_rest:
            group = self._group_of(key)
            if not passes and group in self._resting and priority >= entry.priority:
                return
            self._take_up(key, entry, group)
            entry.priority = min(entry.priority, priority)
            entry.due = due
            if passes or group not in self._resting:
                self._place(key, entry, now)
            else:
                self._lay_aside(key, entry)
        elif due < entry.due or priority < entry.priority:
            self._unplace(entry)
            entry.priority = min(entry.priority, priority)
            entry.due = min(entry.due, due)
            self._place(key, entry, now)

    def pop(self, now: float, *, least_urgent: Priority = Priority.RESYNC) -> tuple[K, Priority] | None:
        """Take the most urgent ready key no less urgent than `least_urgent`, or None.

        The key counts as being worked on until `done` is called for it.
        """
        self._promote(now)
        while (best := self._most_urgent(now, least_urgent)) is not None:
            _, _, key = heapq.heappop(self._ready[best])
            entry = self._entries[key]
            self._unplace(entry)
            if entry.passes or self._group_of(key) not in self._resting:
                entry.passes = False
                entry.working = True
                self._working += 1
                return key, best
            self._lay_aside(key, entry)
        return None

    def _most_urgent(self, now: float, least_urgent: Priority) -> Priority | None:
        best: Priority | None = None
        best_rank = 0.0
        for priority, waiting in self._ready.items():
            self._drop_stale(waiting)
            if not waiting or priority > least_urgent:
                continue
            rank = priority - (now - waiting[0][0]) / AGEING_SECONDS
            if best is None or rank < best_rank:
                best, best_rank = priority, rank
        return best

    def done(self, key: K, again: Again | None, now: float) -> None:
        """End the key's turn; it comes back if the turn wishes so, or if something came in meanwhile.

        Of the two wishes the earlier moment and the more urgent class win, as they do in `add`.
        """
        entry = self._entries[key]
        self._working -= 1
        entry.working = False
        wish, entry.missed = entry.missed, None
        if again is not None and again.rests and wish is None:
            entry.priority = again.priority
            self._lay_aside(key, entry)
            return
        if again is not None:
            wish = _sooner((now + again.after_seconds, again.priority), wish)
        if wish is None:
            del self._entries[key]
            return
        entry.due, entry.priority = wish
        self._place(key, entry, now)

    def rest(self, group: Hashable) -> None:
        """Give no key of the group a turn from now on, but those that pass."""
        self._resting.add(group)

    def wake(self, group: Hashable, now: float) -> None:
        """End a group's rest: what lies aside is due now, and so is what failed by itself before the rest began."""
        self._resting.discard(group)
        for keys in self._aside.pop(group, {}).values():
            for key in keys:
                entry = self._entries[key]
                entry.at_rest = False
                entry.due = now
                self._place(key, entry, now)
        failed = [
            key
            for key, entry in self._entries.items()
            if not (entry.ready or entry.working) and entry.priority <= Priority.RETRY and self._group_of(key) == group
        ]
        for key in failed:
            entry = self._entries[key]
            self._unplace(entry)
            entry.due = now
            self._place(key, entry, now)

    def wake_one(self, group: Hashable, now: float) -> K | None:
        """Give the most urgent key that lies aside one turn, to find out for the others; None where none does."""
        key = self.first_at_rest(group)
        if key is not None:
            entry = self._entries[key]
            self.add(key, entry.priority, now, passes=True)
        return key

    def first_at_rest(self, group: Hashable) -> K | None:
        """Return the most urgent key of a group that lies aside, or None."""
        waiting = self._aside.get(group, {})
        return next((next(iter(waiting[priority])) for priority in Priority if waiting.get(priority)), None)

    def waits(self, group: Hashable, priorities: Collection[Priority]) -> bool:
        """Whether a key of a group and of one of these classes lies aside."""
        waiting = self._aside.get(group, {})
        return any(waiting.get(priority) for priority in priorities)

    @property
    def at_rest(self) -> int:
        """How many keys lie aside, over all groups."""
        return sum(len(keys) for waiting in self._aside.values() for keys in waiting.values())

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
            depths[priority] = Depth(self._ready_count[priority], now - waiting[0][0] if waiting else 0.0)
        return depths

    def _place(self, key: K, entry: _Entry, now: float) -> None:
        self._ticket += 1
        entry.ticket = self._ticket
        self._entries[key] = entry
        if entry.due <= now:
            entry.ready = True
            self._push(self._ready[entry.priority], (entry.due, entry.ticket, key))
            self._ready_count[entry.priority] += 1
        else:
            self._push(self._delayed, (entry.due, entry.ticket, key))

    def _lay_aside(self, key: K, entry: _Entry) -> None:
        entry.at_rest = True
        entry.passes = False
        self._aside.setdefault(self._group_of(key), {}).setdefault(entry.priority, {})[key] = None

    def _take_up(self, key: K, entry: _Entry, group: Hashable) -> None:
        entry.at_rest = False
        del self._aside[group][entry.priority][key]

    def _push(self, places: list[_Place[K]], place: _Place[K]) -> None:
        """Add a place; sweep the overtaken ones out once they are the larger part.

        Otherwise a key that is due in a year, and is asked for every few minutes, would leave a place behind each time.
        """
        heapq.heappush(places, place)
        if len(places) > 2 * len(self._entries) + _STALE_PLACES:
            places[:] = [kept for kept in places if self._valid(kept)]
            heapq.heapify(places)

    def _valid(self, place: _Place[K]) -> bool:
        entry = self._entries.get(place[2])
        return entry is not None and entry.ticket == place[1]

    def _unplace(self, entry: _Entry) -> None:
        """Make the entry's present place stale; it is skipped when it is met."""
        if entry.ready:
            self._ready_count[entry.priority] -= 1
            entry.ready = False
        entry.ticket = 0

    def _promote(self, now: float) -> None:
        self._drop_stale(self._delayed)
        while self._delayed and self._delayed[0][0] <= now:
            _, _, key = heapq.heappop(self._delayed)
            self._place(key, self._entries[key], now)
            self._drop_stale(self._delayed)

    def _drop_stale(self, places: list[_Place[K]]) -> None:
        while places and not self._valid(places[0]):
            heapq.heappop(places)


def _sooner(wish: tuple[float, Priority], other: tuple[float, Priority] | None) -> tuple[float, Priority]:
    """Join two wishes for a turn: the earlier moment and the more urgent class of the two."""
    return wish if other is None else (min(wish[0], other[0]), min(wish[1], other[1]))


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
        group_of: Callable[[K], Hashable] = lambda _key: None,
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
