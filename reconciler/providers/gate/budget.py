"""Who may send a request now: a budget for each workspace, and a bound on the requests in flight over all.

Bird counts requests per workspace, so a workspace that is throttled must slow down alone. A request waits here
until its workspace's pace and a free place both allow it, and only then leaves: one that waited for a place after
its moment had been granted would leave together with others, in the very burst that the pace is there to prevent.

Whoever waits here holds a worker. So with a limit on patience, as the daemon has, a request that would wait for long is
sent back with the moment at which to try again: not all workers shall wait for a workspace that rests or is slow.

What must never happen here: a write that waits behind a queue of reads, a request that waits for ever, a place lost
to a cancelled request, or one workspace's throttling that holds up another.

Source of the limit: 50 requests a second and workspace for reads, as
https://docs.bird.com/api/channels-api/rate-limit said in November 2026. That PATCH is counted among them, and in a
sliding window, is assumed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from reconciler.model import NoRoom, Priority
from reconciler.providers.gate.lane import REST_SECONDS, Lane, Waiter, is_bulk

#: The share of a second's requests that may leave at once after idling. With the default rate of 45 that is 4, so a
#: window of one second holds at most 49: one below Bird's 50, which is what 20 ms of jitter on the way may add.
BURST_SHARE: Final = 0.1
#: Of the places in flight, one in four is kept from retries and resync, so that answers of theirs which never come
#: cannot hold up an edit, its PATCH or its confirmation.
URGENT_SHARE: Final = 4
#: One in eight is kept from any single workspace, so that one whose answers never come leaves some to the others.
OTHERS_SHARE: Final = 8
#: With a limit on patience, no more reads of one workspace wait here than this share of the places, for each of them
#: holds a worker.
WAITING_SHARE: Final = 4
#: How long a request of the daemon waits before it is sent back, in seconds: longer than a full gate takes at the
#: default rate, and short enough for another workspace's edit to wait behind it.
PATIENCE_SECONDS: Final = 1.0
#: Turns at once for each request in flight, where no rate keeps requests back. A turn waits for the disk before its
#: PATCH and after it, and those that wait together share a commit: on a disk that takes 4 ms to flush, 32 turns at once
#: would leave most requests in flight unused.
TURNS_EACH: Final = 8
#: Where a rate does, there are no more turns than it lets out in this time, in seconds: a PATCH that is decided on what
#: was just seen shall not wait here until that is old.
TURN_SECONDS: Final = 0.25
#: What a command that only reads takes of the rate beside a daemon: both together stay below Bird's limit with the
#: default rate, so that no PATCH is ever throttled for a listing.
GUEST_SHARE: Final = 0.1

#: Clocks and timers round; a grant this early (in seconds) is on time.
_TOLERANCE: Final = 1e-6


def guest_rate(rate: float, *, beside: bool) -> float:
    """Return the rate of a command that only reads, where a daemon may spend the same workspaces' budget.

    Args:
        rate: as it is set, in requests per second; 0 for no limit.
        beside: whether a writer of the same state is alive, or may be.
    """
    return rate * GUEST_SHARE if beside else rate


def turns_at_once(concurrency: int, rate: float) -> int:
    """Return how many recordings may have their turn at the same time.

    Args:
        concurrency: requests in flight over all workspaces.
        rate: requests per second and workspace; 0 for no limit.
    """
    most = concurrency * TURNS_EACH
    return max(concurrency, min(most, int(rate * TURN_SECONDS))) if rate else most


class Timer(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    """What an asyncio event loop offers; a test brings its own."""

    def time(self) -> float: ...

    def call_later(self, delay: float, callback: Callable[[], None], /) -> Timer: ...


def _sent_back(workspace_id: str, seconds: float) -> NoRoom:
    return NoRoom(f"not sent: the budget of workspace {workspace_id} has no room for now", retry_after=seconds)


class Budgets:
    """The gate that every request passes: `acquire` before it leaves, `release` once its answer is read."""

    def __init__(
        self,
        rate: float = 45.0,
        *,
        concurrency: int = 32,
        patience_seconds: float | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Open the gate.

        Args:
            rate: requests per second and workspace, reads and writes together; 0 for no limit.
            concurrency: requests in flight over all workspaces, at least 1.
            patience_seconds: how long a request may wait here before it is sent back; None for as long as it takes.
            clock: the event loop's own unless given.
        """
        if rate < 0 or concurrency < 1:
            raise ValueError(f"rate {rate} must not be negative and concurrency {concurrency} must be at least 1")
        self.concurrency: Final = concurrency
        self._rate = rate
        self._burst = max(1, int(rate * BURST_SHARE))
        self._bulk_places = max(1, concurrency - max(1, concurrency // URGENT_SHARE))
        self._workspace_places = concurrency - concurrency // OTHERS_SHARE
        self._most_waiting = max(1, concurrency // WAITING_SHARE)
        self._patience = patience_seconds
        self._clock = clock
        self._lanes: dict[str, Lane] = {}
        #: Workspaces where somebody waits, in the order in which they take their turns.
        self._waiting: dict[str, Lane] = {}
        self._arrivals = 0
        self._in_flight = 0
        self._bulk_in_flight = 0
        self._timer: Timer | None = None
        self._timer_at = 0.0

    @property
    def in_flight(self) -> int:
        """How many requests have been let out and are not yet released."""
        return self._in_flight

    def rate(self, workspace_id: str) -> float:
        """Return a workspace's present rate in requests per second: below the configured one after a 429."""
        return self._lane(workspace_id).rate(self._time())

    def least_rate(self) -> float:
        """Return the lowest present rate of all workspaces, in requests per second; 0 where none is limited."""
        now = self._time()
        return min((lane.rate(now) for lane in self._lanes.values()), default=self._rate)

    async def acquire(self, workspace_id: str, priority: Priority) -> None:
        """Wait until a request of that workspace may leave. Every return must be followed by one `release`.

        Within a workspace the more urgent class goes first, and each class in order of arrival; workspaces take turns
        at the places in flight. A cancelled wait holds nothing. (Had it been let out in the same moment, its place is
        given back and its share of the pace is not, for others may have been paced by it already.)

        Raises:
            NoRoom: where it would wait, or has waited, for longer than the gate's patience.
        """
        lane = self._lane(workspace_id)
        now = self._time()
        if workspace_id not in self._waiting and self._has_place(lane, priority) and lane.opens_at() <= now:
            self._let_out(lane, priority, now)
            return
        if self._is_too_long(lane, priority, now):
            raise _sent_back(workspace_id, lane.promise(now, priority))
        self._arrivals += 1
        waiter = Waiter(asyncio.get_running_loop().create_future(), priority, self._arrivals)
        lane.push(waiter)
        self._waiting[workspace_id] = lane
        # With no place free, nobody can be let out before `release` pumps.
        if self._in_flight < self.concurrency and lane.in_flight < self._workspace_places:
            self._pump()
        timer = None
        if self._patience is not None and not waiter.granted.done():
            timer = self._loop().call_later(self._patience, partial(self._send_back, workspace_id, waiter))
        try:
            await waiter.granted
        except asyncio.CancelledError:
            if not waiter.granted.cancelled() and waiter.granted.exception() is None:
                self.release(workspace_id, priority)
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def release(self, workspace_id: str, priority: Priority) -> None:
        """Give the place of a request back; both are what it was acquired with."""
        lane = self._lanes[workspace_id]
        lane.in_flight -= 1
        lane.moved_at = self._time()
        self._in_flight -= 1
        self._bulk_in_flight -= is_bulk(priority)
        if self._waiting:
            self._pump()

    def postponed(self, workspace_id: str, priority: Priority) -> NoRoom | None:
        """Return what `acquire` would raise now without waiting first, or None."""
        lane = self._lanes.get(workspace_id)
        if lane is None:
            return None
        now = self._time()
        if not self._is_too_long(lane, priority, now):
            return None
        return _sent_back(workspace_id, lane.promise(now, priority))

    def throttled(self, workspace_id: str, retry_after: float | None) -> None:
        """Note a 429: the workspace rests, then goes on at half its rate, which grows back by and by.

        Args:
            workspace_id: the workspace that was throttled; no other one is held up.
            retry_after: seconds that the API asked to wait, already capped, or None where it did not say.
        """
        seconds = REST_SECONDS if retry_after is None else retry_after
        self._lane(workspace_id).throttle(self._time(), seconds)

    def _lane(self, workspace_id: str) -> Lane:
        lane = self._lanes.get(workspace_id)
        if lane is None:
            lane = self._lanes[workspace_id] = Lane(self._rate, self._burst)
        return lane

    def _time(self) -> float:
        return self._loop().time()

    def _loop(self) -> Clock:
        if self._clock is None:
            self._clock = asyncio.get_running_loop()
        return self._clock

    def _has_place(self, lane: Lane, priority: Priority) -> bool:
        if self._in_flight >= self.concurrency or lane.in_flight >= self._workspace_places:
            return False
        return not is_bulk(priority) or self._bulk_in_flight < self._bulk_places

    def _is_too_long(self, lane: Lane, priority: Priority, now: float) -> bool:
        if self._patience is None:
            return False
        # All places taken, and nothing came back for so long: nobody knows when one will be free.
        if lane.in_flight >= self._workspace_places and now - lane.moved_at > self._patience:
            return True
        # A write, whose intent is on disk, is better kept here for a moment than taken back.
        if lane.full_rate and priority is not Priority.WRITE and lane.ahead(priority) >= self._most_waiting:
            return True
        return lane.wait_seconds(now, priority) > self._patience

    def _send_back(self, workspace_id: str, waiter: Waiter) -> None:
        if not waiter.granted.done():
            seconds = self._lanes[workspace_id].promise(self._time(), waiter.priority)
            waiter.granted.set_exception(_sent_back(workspace_id, seconds))

    def _let_out(self, lane: Lane, priority: Priority, now: float) -> None:
        lane.count(now)
        self._in_flight += 1
        self._bulk_in_flight += is_bulk(priority)

    def _pump(self) -> None:
        """Let out all who may go, then set the timer for the next moment at which somebody may."""
        now = self._time()
        while self._in_flight < self.concurrency and self._let_one_out(now):
            pass
        # With no place free there is nothing to wake for: `release` pumps again.
        wake_at = None
        if self._in_flight < self.concurrency:
            wake_at = min((at for lane in self._waiting.values() if (at := lane.opens_at()) > now), default=None)
        self._wake_at(wake_at, now)

    def _let_one_out(self, now: float) -> bool:
        bulk_allowed = self._bulk_in_flight < self._bulk_places
        for workspace_id, lane in list(self._waiting.items()):
            if lane.idle():
                del self._waiting[workspace_id]
                continue
            if lane.opens_at() > now + _TOLERANCE or lane.in_flight >= self._workspace_places:
                continue
            waiter = lane.next(bulk_allowed=bulk_allowed)
            if waiter is None:
                continue
            lane.take(waiter)
            self._let_out(lane, waiter.priority, now)
            waiter.granted.set_result(None)
            # To the end of the turn.
            del self._waiting[workspace_id]
            if not lane.idle():
                self._waiting[workspace_id] = lane
            return True
        return False

    def _wake_at(self, moment: float | None, now: float) -> None:
        if self._timer is not None:
            if self._timer_at == moment:
                return
            self._timer.cancel()
            self._timer = None
        if moment is not None:
            self._timer_at = moment
            self._timer = self._loop().call_later(moment - now, self._woken)

    def _woken(self) -> None:
        self._timer = None
        self._pump()
