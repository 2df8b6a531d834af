"""One workspace at the gate: its pace, and who waits for it.

Time is passed in. What must never happen here: a pace that a crowd of those who were sent back breaks when it returns,
or a class that waits for ever behind more urgent ones.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from reconciler.model import Priority

#: While a less urgent class waits, every tenth request is its own: sustained writes keep nine tenths of the budget,
#: and the reads that confirm them still happen before their deadline.
OVERTAKES: Final = 9
#: How long a workspace rests after a 429 that names no time. Bird's limit is per second.
REST_SECONDS: Final = 1.0
#: The least that anybody is sent back for, in seconds: what the pace loses by it is nothing, and a place that is
#: taken now may be free by then.
PROMISE_SECONDS: Final = 0.1
#: How fast, in turns a second, those come back who were sent away from a workspace without a limit.
UNLIMITED_RATE: Final = 1000.0
#: A 429 halves the rate, down to this share of it; each second without one gives back a twentieth of the whole.
#: Halving and adding lets several clients of one limit find rates that fit it together.
LEAST_SHARE: Final = 1 / 32
RECOVERY_SHARE: Final = 1 / 20


@dataclass(slots=True, eq=False)
class Waiter:
    """A request that waits until it may leave."""

    granted: asyncio.Future[None]
    priority: Priority
    #: Order of arrival over all workspaces.
    number: int


class Lane:
    """One workspace: its pace (the generic cell rate algorithm) and who waits."""

    def __init__(self, rate: float, burst: int) -> None:
        self.full_rate = rate
        self._slack = (burst - 1) / rate if rate else 0.0
        #: When the next request is due if all come evenly spaced; up to `_slack` before that it may leave.
        self._due = float("-inf")
        self._rest_until = float("-inf")
        self._cut_rate = rate
        self._cut_at = float("-inf")
        self._cut_again_from = float("-inf")
        self._queues: tuple[deque[Waiter], ...] = tuple(deque() for _ in Priority)
        self._overtaken = 0
        #: By class, the last moment that somebody who was sent back has been told.
        self._promised = dict.fromkeys(Priority, float("-inf"))
        self.in_flight = 0
        #: When a request last came back, or left while no other was under way.
        self.moved_at = float("-inf")

    def rate(self, now: float) -> float:
        """Return the present rate in requests per second: below the full one after a 429, and growing back."""
        recovered = self._cut_rate + self.full_rate * RECOVERY_SHARE * max(0.0, now - self._cut_at)
        return min(self.full_rate, recovered)

    def opens_at(self) -> float:
        """Return when the next request may leave."""
        return max(self._rest_until, self._due - self._slack)

    def ahead(self, priority: Priority) -> int:
        """Return how many wait that go before a newcomer of this class."""
        return sum(len(queue) for queue in self._queues[: priority + 1])

    def wait_seconds(self, now: float, priority: Priority) -> float:
        """Return how long a newcomer would wait for its pace alone, as things stand."""
        paced = self.ahead(priority) / self.rate(now) if self.full_rate else 0.0
        return max(0.0, self.opens_at() - now) + paced

    def promise(self, now: float, priority: Priority) -> float:
        """Return in how many seconds to try again: each who is sent back is told a moment of its own.

        They come one by one at the full rate, so that the pace is kept up without a crowd. Had they been spaced by a
        rate that is low just now, they would still be away long after it has recovered.
        """
        spacing = 1.0 / (self.full_rate or UNLIMITED_RATE)
        moment = max(now + max(self.wait_seconds(now, priority), PROMISE_SECONDS), self._promised[priority] + spacing)
        self._promised[priority] = moment
        return moment - now

    def count(self, now: float) -> None:
        """Note that a request leaves now."""
        if not self.in_flight:
            self.moved_at = now
        self.in_flight += 1
        if self.full_rate:
            self._due = max(self._due, now) + 1.0 / self.rate(now)

    def throttle(self, now: float, seconds: float) -> None:
        """Let nothing leave for so long, and then go on at half the rate."""
        self._rest_until = max(self._rest_until, now + seconds)
        if not self.full_rate:
            return
        # Requests that were in flight together are throttled together: that is one event, not many.
        if now >= self._cut_again_from:
            self._cut_rate = max(self.rate(now) / 2, self.full_rate * LEAST_SHARE)
            self._cut_again_from = max(self._rest_until, now + REST_SECONDS)
        self._cut_at = self._rest_until
        # No burst at the end of the rest: the first request finds out whether the others may follow.
        self._due = max(self._due, self._rest_until + self._slack)

    def push(self, waiter: Waiter) -> None:
        """Let a request wait behind the others of its class."""
        self._queues[waiter.priority].append(waiter)

    def next(self, *, bulk_allowed: bool) -> Waiter | None:
        """Return who goes next, leaving it in place: the most urgent class first, save for every tenth time."""
        waiting = [queue[0] for queue in self._queues if queue and _prune(queue)]
        if not bulk_allowed:
            waiting = [waiter for waiter in waiting if not is_bulk(waiter.priority)]
        if not waiting:
            return None
        if len(waiting) > 1 and self._overtaken >= OVERTAKES:
            return min(waiting[1:], key=lambda waiter: waiter.number)
        return waiting[0]

    def take(self, waiter: Waiter) -> None:
        """Remove the waiter that `next` returned."""
        self._queues[waiter.priority].popleft()
        gave_way = _anybody(self._queues[: waiter.priority])
        overtook = not gave_way and _anybody(self._queues[waiter.priority + 1 :])
        self._overtaken = self._overtaken + 1 if overtook else 0

    def idle(self) -> bool:
        """Whether nobody waits."""
        return not _anybody(self._queues)


def _anybody(queues: Sequence[deque[Waiter]]) -> bool:
    """Return whether somebody waits in one of them."""
    for queue in queues:  # noqa: SIM110 - three times a request, and a generator costs more than the look
        if queue and _prune(queue):
            return True
    return False


def _prune(queue: deque[Waiter]) -> bool:
    """Drop waiters that were cancelled from the front; answer whether one is left."""
    while queue and queue[0].granted.done():
        queue.popleft()
    return bool(queue)


def is_bulk(priority: Priority) -> bool:
    """Return whether it is a class of which there may be very many: retries, and the resync."""
    return priority > Priority.CONFIRM
