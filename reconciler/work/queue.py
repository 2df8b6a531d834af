"""Keys to work on: one entry per key, priorities, delays, never two workers on one key, and groups that rest together.

This room knows keys, not recordings: what a key means, and what a turn does, is the caller's. `KeyedQueue` is a plain
data structure to which time is passed in; `workers` runs turns from it with bounded concurrency.

Keys belong to groups. While a group rests, none of its keys gets a turn, however many there are: they lie aside without
a timer or a place in a heap, and come back together. What must never happen here: a key that lies aside after its group
was woken, or a cost that grows with the number of those that rest.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Hashable
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

    def __init__(self, group_of: Callable[[K], Hashable]) -> None:
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
