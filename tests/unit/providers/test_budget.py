"""The gate: pace and places, by a fake clock.

Aspects: the pace of one workspace, the order of those who wait, places in flight, cancellation, throttling. Properties
combine the first two with arbitrary arrivals; throttling is left to examples, because it only ever lowers the pace.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.model.errors import NoRoom
from reconciler.model.work import Priority
from reconciler.providers.gate.budget import TURN_SECONDS, TURNS_EACH, Budgets, turns_at_once
from reconciler.providers.gate.lane import OVERTAKES, PROMISE_SECONDS
from tests.world.clocks import FakeClock, settle

ONE, OTHER = "workspace-1", "workspace-2"


class Gate:
    """A gate on a fake clock, and a record of who was let out when."""

    def __init__(self, rate: float = 45.0, *, concurrency: int = 1000, patience: float | None = None) -> None:
        self.clock = FakeClock()
        self.budgets = Budgets(rate, concurrency=concurrency, patience_seconds=patience, clock=self.clock)
        self.out: list[tuple[float, str, Priority]] = []
        self.sent_back: list[tuple[float, float]] = []
        self.tasks: list[asyncio.Task[None]] = []

    def ask(self, workspace: str, priority: Priority, count: int = 1, *, keep: bool = False) -> None:
        """Start requests that end as soon as they are let out, or never with `keep`."""
        self.tasks += [asyncio.create_task(self._request(workspace, priority, keep)) for _ in range(count)]

    async def _request(self, workspace: str, priority: Priority, keep: bool) -> None:
        try:
            await self.budgets.acquire(workspace, priority)
        except NoRoom as error:
            self.sent_back.append((self.clock.now, told(error)))
            return
        self.out.append((self.clock.now, workspace, priority))
        if not keep:
            self.budgets.release(workspace, priority)

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def told(error: NoRoom) -> float:
    """Return when somebody who was sent back shall try again."""
    assert error.code == "no_room"
    assert error.retry_after is not None
    return error.retry_after


def fullest_second(moments: list[float]) -> int:
    """Return the most moments that any half-open window of one second holds."""
    # A millionth less than a second: sums of floats are not exact.
    return max((sum(start <= at < start + 1 - 1e-5 for at in moments) for start in moments), default=0)


async def test_after_idling_a_small_burst_leaves_at_once_and_the_rest_is_paced():
    gate = Gate(45.0)
    gate.ask(ONE, Priority.RESYNC, 10)
    await settle()
    assert len(gate.out) == 4
    await gate.clock.advance(1.0)
    moments = [at for at, _, _ in gate.out]
    assert len(moments) == 10
    assert [round(b - a, 4) for a, b in pairwise(moments[3:])] == [round(1 / 45, 4)] * 6


async def test_a_sustained_stream_never_passes_fifty_in_a_second_and_keeps_its_rate():
    gate = Gate(45.0)
    gate.ask(ONE, Priority.RESYNC, 500)
    await gate.clock.advance(10.0)
    moments = [at for at, _, _ in gate.out]
    assert fullest_second(moments) <= 49
    assert 450 <= len(moments) <= 454
    await gate.close()


async def test_no_rate_means_no_waiting():
    gate = Gate(0.0)
    gate.ask(ONE, Priority.RESYNC, 900)
    await settle()
    assert len(gate.out) == 900


async def test_writes_leave_before_reads_that_came_earlier():
    gate = Gate(10.0)
    gate.ask(ONE, Priority.RESYNC, 5)
    await settle()
    gate.ask(ONE, Priority.EDIT, 2)
    gate.ask(ONE, Priority.WRITE, 3)
    await gate.clock.advance(2.0)
    order = [priority for _, _, priority in gate.out]
    expected = [Priority.WRITE] * 3 + [Priority.EDIT] * 2 + [Priority.RESYNC] * 4
    assert order == [Priority.RESYNC, *expected]


async def test_of_one_class_the_first_to_come_leaves_first():
    budgets = Budgets(10.0, clock=(clock := FakeClock()))
    order: list[int] = []

    async def request(number: int) -> None:
        await budgets.acquire(ONE, Priority.CONFIRM)
        order.append(number)
        budgets.release(ONE, Priority.CONFIRM)

    tasks = [asyncio.create_task(request(number)) for number in range(8)]
    await clock.advance(2.0)
    await asyncio.gather(*tasks)
    assert order == list(range(8))


async def test_under_sustained_writes_every_tenth_request_is_the_oldest_read():
    gate = Gate(10.0)
    gate.ask(ONE, Priority.WRITE, 100)
    gate.ask(ONE, Priority.RESYNC)
    gate.ask(ONE, Priority.CONFIRM, 2)
    await gate.clock.advance(5.0)
    reads = [(place, priority) for place, (_, _, priority) in enumerate(gate.out) if priority != Priority.WRITE]
    assert [priority for _, priority in reads] == [Priority.RESYNC, Priority.CONFIRM, Priority.CONFIRM]
    # The very first write left before anybody waited.
    assert [place for place, _ in reads] == [10, 20, 30]
    await gate.close()


async def test_a_throttled_workspace_rests_and_the_others_go_on():
    gate = Gate(45.0)
    gate.budgets.throttled(ONE, 5.0)
    gate.ask(ONE, Priority.WRITE, 3)
    gate.ask(OTHER, Priority.RESYNC, 20)
    await gate.clock.advance(4.9)
    assert [workspace for _, workspace, _ in gate.out] == [OTHER] * 20
    await gate.clock.advance(0.12)
    # One, not a burst: the first finds out whether the others may follow.
    assert [workspace for _, workspace, _ in gate.out[20:]] == [ONE]
    await gate.clock.advance(0.1)
    assert len(gate.out) == 23


async def test_a_throttle_halves_the_rate_which_grows_back_to_what_was_configured_and_no_further():
    gate = Gate(40.0)
    gate.budgets.throttled(ONE, 0.0)
    assert gate.budgets.rate(ONE) == 20.0
    assert gate.budgets.rate(OTHER) == 40.0
    await gate.clock.advance(5.0)
    assert gate.budgets.rate(ONE) == 30.0
    await gate.clock.advance(100.0)
    assert gate.budgets.rate(ONE) == 40.0


async def test_requests_that_are_throttled_together_cut_the_rate_once():
    gate = Gate(40.0)
    for _ in range(30):
        gate.budgets.throttled(ONE, None)
    assert gate.budgets.rate(ONE) == 20.0


async def test_a_storm_of_throttles_leaves_a_trickle():
    gate = Gate(45.0)
    leaving: list[float] = []

    async def refused() -> None:
        while True:
            await gate.budgets.acquire(ONE, Priority.RETRY)
            leaving.append(gate.clock.now)
            gate.budgets.release(ONE, Priority.RETRY)
            gate.budgets.throttled(ONE, None)

    tasks = [asyncio.create_task(refused()) for _ in range(20)]
    await gate.clock.advance(60.0)
    assert 20 <= len(leaving) <= 64
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_without_a_rate_a_throttled_workspace_still_rests():
    gate = Gate(0.0)
    gate.budgets.throttled(ONE, None)
    gate.ask(ONE, Priority.WRITE)
    await gate.clock.advance(0.9)
    assert gate.out == []
    await gate.clock.advance(0.2)
    assert len(gate.out) == 1


async def test_no_more_requests_are_in_flight_than_there_are_places():
    gate = Gate(0.0, concurrency=8)
    gate.ask(ONE, Priority.EDIT, 4, keep=True)
    gate.ask(OTHER, Priority.EDIT, 20, keep=True)
    await settle()
    assert (len(gate.out), gate.budgets.in_flight) == (8, 8)
    gate.budgets.release(ONE, Priority.EDIT)
    await settle()
    assert (len(gate.out), gate.budgets.in_flight) == (9, 8)
    await gate.close()


async def test_a_resync_that_gets_no_answers_leaves_places_for_an_edit():
    gate = Gate(0.0, concurrency=8)
    gate.ask(ONE, Priority.RESYNC, 20, keep=True)
    await settle()
    assert len(gate.out) == 6
    gate.ask(ONE, Priority.EDIT)
    gate.ask(ONE, Priority.WRITE)
    await settle()
    assert [priority for _, _, priority in gate.out[6:]] == [Priority.EDIT, Priority.WRITE]
    await gate.close()


async def test_one_place_serves_every_class():
    gate = Gate(0.0, concurrency=1)
    for priority in Priority:
        gate.ask(ONE, priority)
    await settle()
    await settle()
    assert sorted(priority for _, _, priority in gate.out) == list(Priority)


async def test_workspaces_take_turns_at_scarce_places():
    gate = Gate(0.0, concurrency=1)
    gate.ask(ONE, Priority.EDIT, 1, keep=True)
    await settle()
    gate.ask(ONE, Priority.WRITE, 5)
    gate.ask(OTHER, Priority.WRITE, 2)
    await settle()
    gate.budgets.release(ONE, Priority.EDIT)
    for _ in range(8):
        await settle()
    assert [workspace for _, workspace, _ in gate.out[1:5]] == [ONE, OTHER, ONE, OTHER]


async def test_waiting_that_is_cancelled_holds_nothing():
    gate = Gate(10.0, concurrency=2)
    gate.ask(ONE, Priority.EDIT, 200, keep=True)
    await gate.clock.advance(1.0)
    assert gate.budgets.in_flight == 2
    await gate.close()
    for _ in range(2):
        gate.budgets.release(ONE, Priority.EDIT)
    assert gate.budgets.in_flight == 0
    gate.ask(ONE, Priority.RESYNC)
    await gate.clock.advance(0.2)
    assert gate.out[-1][2] is Priority.RESYNC


async def test_a_request_that_is_let_out_and_cancelled_in_one_moment_gives_its_place_back():
    budgets = Budgets(0.0, concurrency=1)
    await budgets.acquire(ONE, Priority.WRITE)
    waiting = asyncio.create_task(budgets.acquire(ONE, Priority.RESYNC))
    await settle()
    budgets.release(ONE, Priority.WRITE)
    assert budgets.in_flight == 1
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert budgets.in_flight == 0


async def test_the_event_loop_is_the_clock_unless_another_is_given():
    budgets = Budgets(1000.0, concurrency=4)
    burst = 100
    for _ in range(burst + 20):
        await budgets.acquire(ONE, Priority.EDIT)
        budgets.release(ONE, Priority.EDIT)
    assert budgets.in_flight == 0


# A gate with a limit on patience, as the daemon has: whoever waits holds a worker.


async def test_a_request_of_a_resting_workspace_is_sent_back_until_the_rest_is_over():
    gate = Gate(45.0, patience=1.0)
    gate.budgets.throttled(ONE, 60.0)
    for priority in (Priority.WRITE, Priority.EDIT):
        gate.ask(ONE, priority)
    gate.ask(OTHER, Priority.EDIT)
    await settle()
    assert [workspace for _, workspace, _ in gate.out] == [OTHER]
    assert [seconds for _, seconds in gate.sent_back] == [60.0, 60.0]
    held = gate.budgets.postponed(ONE, Priority.RESYNC)
    assert held is not None
    assert held.retry_after == 60.0
    assert gate.budgets.postponed(OTHER, Priority.EDIT) is None
    assert gate.budgets.postponed("never heard of", Priority.EDIT) is None
    await gate.clock.advance(60.0)
    gate.ask(ONE, Priority.WRITE)
    await gate.clock.advance(0.1)
    assert gate.out[-1][1] == ONE


async def test_nobody_waits_for_longer_than_the_patience_whatever_the_reason():
    gate = Gate(0.0, concurrency=8, patience=1.0)
    gate.ask(ONE, Priority.EDIT, 20, keep=True)
    await gate.clock.advance(0.99)
    assert (len(gate.out), gate.sent_back) == (7, []), "one place is kept for others"
    await gate.clock.advance(0.02)
    assert [at for at, _ in gate.sent_back] == [1001.0] * 13
    assert all(seconds >= PROMISE_SECONDS for _, seconds in gate.sent_back)
    assert gate.budgets.in_flight == 7
    gate.ask(OTHER, Priority.WRITE)
    await settle()
    assert gate.out[-1][1] == OTHER
    await gate.close()


async def test_without_a_limit_on_patience_nobody_is_sent_back():
    gate = Gate(10.0)
    gate.budgets.throttled(ONE, 60.0)
    gate.ask(ONE, Priority.RESYNC, 100)
    await gate.clock.advance(100.0)
    assert (len(gate.out), gate.sent_back) == (100, [])
    assert gate.budgets.postponed(ONE, Priority.RESYNC) is None


async def test_a_workspace_with_much_to_do_leaves_the_waiting_to_others_too():
    gate = Gate(45.0, concurrency=32, patience=1.0)
    gate.ask(ONE, Priority.EDIT, 100)
    await settle()
    left, waiting = 4, 32 // 4
    assert (len(gate.out), len(gate.sent_back)) == (left, 100 - left - waiting)
    promised = [seconds for _, seconds in gate.sent_back]
    assert {round(b - a, 6) for a, b in pairwise(promised)} == {round(1 / 45, 6)}, "each has a moment of its own"
    await gate.close()


async def test_who_is_sent_back_and_comes_when_told_keeps_the_pace_up():
    gate = Gate(45.0, concurrency=32, patience=1.0)
    served = 0

    async def turn() -> None:
        nonlocal served
        while True:
            try:
                await gate.budgets.acquire(ONE, Priority.EDIT)
            except NoRoom as error:
                woken = asyncio.Event()
                gate.clock.call_later(told(error), woken.set)
                await woken.wait()
                continue
            gate.budgets.release(ONE, Priority.EDIT)
            served += 1
            return

    gate.tasks += [asyncio.create_task(turn()) for _ in range(400)]
    await gate.clock.advance(400 / 45 * 1.1)
    assert served == 400
    await gate.close()


async def test_the_lowest_rate_of_all_workspaces_is_known():
    gate = Gate(40.0)
    assert gate.budgets.least_rate() == 40.0
    gate.ask(OTHER, Priority.EDIT)
    gate.budgets.throttled(ONE, 0.0)
    assert gate.budgets.least_rate() == 20.0
    await gate.close()


async def test_who_is_cancelled_and_sent_back_in_one_moment_holds_nothing():
    gate = Gate(0.0, concurrency=1, patience=1.0)
    gate.ask(ONE, Priority.WRITE, keep=True)
    await settle()
    waiting = asyncio.create_task(gate.budgets.acquire(ONE, Priority.EDIT))
    await settle()
    gate.clock.now += 1.0
    gate.clock.run_due()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert gate.budgets.in_flight == 1
    await gate.close()


@pytest.mark.parametrize(("rate", "concurrency"), [(-1.0, 1), (1.0, 0)])
def test_a_gate_that_makes_no_sense_is_refused(rate: float, concurrency: int):
    with pytest.raises(ValueError, match="must"):
        Budgets(rate, concurrency=concurrency)


ARRIVALS = st.lists(
    st.tuples(
        st.floats(min_value=0.0, max_value=0.4),
        st.sampled_from([ONE, OTHER]),
        st.sampled_from(list(Priority)),
        st.integers(min_value=1, max_value=30),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(arrivals=ARRIVALS, rate=st.sampled_from([1.0, 7.5, 20.0, 45.0]))
def test_whatever_arrives_no_second_holds_more_than_rate_and_burst_and_all_are_served(
    arrivals: list[tuple[float, str, Priority, int]], rate: float
):
    async def scenario() -> None:
        gate = Gate(rate)
        for pause, workspace, priority, count in arrivals:
            await gate.clock.advance(pause)
            gate.ask(workspace, priority, count)
        asked = len(gate.tasks)
        await gate.clock.advance(asked / rate + 1.0)
        assert len(gate.out) == asked
        for workspace in (ONE, OTHER):
            moments = [at for at, name, _ in gate.out if name == workspace]
            assert fullest_second(moments) <= rate + max(1, int(rate / 10))

    asyncio.run(scenario())


@settings(max_examples=60, deadline=None)
@given(arrivals=ARRIVALS)
def test_whatever_arrives_a_write_lets_at_most_one_read_in_ten_pass(
    arrivals: list[tuple[float, str, Priority, int]],
):
    async def scenario() -> None:
        gate = Gate(20.0)
        for pause, _, priority, count in arrivals:
            await gate.clock.advance(pause)
            gate.ask(ONE, priority, count)
        await settle()
        asked = sum(count for _, _, priority, count in arrivals if priority is Priority.WRITE)
        writes = asked - sum(priority is Priority.WRITE for _, _, priority in gate.out)
        already_out = len(gate.out)
        await gate.clock.advance(60.0)
        left = [priority for _, _, priority in gate.out[already_out:]]
        while_writes_wait = left[: max((i for i, p in enumerate(left) if p is Priority.WRITE), default=-1) + 1]
        reads = sum(priority is not Priority.WRITE for priority in while_writes_wait)
        assert reads <= 1 + writes // OVERTAKES

    asyncio.run(scenario())


@given(st.integers(1, 1000), st.one_of(st.just(0.0), st.floats(0.1, 1e6)))
def test_there_are_turns_for_every_request_in_flight_and_no_more_than_a_rate_lets_out_soon(
    concurrency: int, rate: float
) -> None:
    turns = turns_at_once(concurrency, rate)
    assert concurrency <= turns <= concurrency * TURNS_EACH
    assert not rate or turns == concurrency or turns <= rate * TURN_SECONDS


def test_at_the_default_rate_there_is_a_turn_for_each_request_in_flight_and_without_a_rate_there_are_more() -> None:
    assert turns_at_once(32, 45.0) == 32
    assert turns_at_once(32, 0.0) == 32 * TURNS_EACH
