"""The keyed queue against a model that is too simple to be wrong, and the workers in virtual time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from reconciler.model.work import Priority
from reconciler.work.queue import AGEING_SECONDS, Again, Depth, KeyedQueue
from reconciler.work.workers import Workers
from tests.world.virtual_loop import run_virtually

EDIT, CONFIRM, RETRY, RESYNC = Priority.EDIT, Priority.CONFIRM, Priority.RETRY, Priority.RESYNC
URGENT = (EDIT, CONFIRM)

# The queue.


@dataclass(frozen=True)
class Wish:
    """A turn that is wanted: when, and how urgently."""

    due: float
    priority: Priority

    def joined(self, other: Wish | None) -> Wish:
        return self if other is None else Wish(min(self.due, other.due), min(self.priority, other.priority))

    def rank(self, now: float) -> float:
        return self.priority - (now - self.due) / AGEING_SECONDS


priorities = st.sampled_from(list(Priority))
#: Multiples of a quarter, so that sums and differences of times are exact in model and queue alike.
seconds = st.integers(0, 400).map(lambda quarters: quarters / 4)


class QueueAndModel(RuleBasedStateMachine):
    """One wish per waiting key, one optional wish per key that is being worked on: that is all a queue is."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: KeyedQueue[str] = KeyedQueue(lambda _key: None)
        self.now = 1000.0
        self.waiting: dict[str, Wish] = {}
        self.working: dict[str, Wish | None] = {}

    def ready(self, least_urgent: Priority = RESYNC) -> dict[str, Wish]:
        return {
            key: wish for key, wish in self.waiting.items() if wish.due <= self.now and wish.priority <= least_urgent
        }

    @rule(key=st.sampled_from("abcdefgh"), priority=priorities, delay=st.just(0.0) | seconds)
    def add(self, key: str, priority: Priority, delay: float) -> None:
        self.queue.add(key, priority, self.now, delay)
        wish = Wish(self.now + delay, priority)
        if key in self.working:
            self.working[key] = wish.joined(self.working[key])
        else:
            self.waiting[key] = wish.joined(self.waiting.get(key))

    @rule(least_urgent=priorities)
    def pop(self, least_urgent: Priority) -> None:
        taken = self.queue.pop(self.now, least_urgent=least_urgent)
        ready = self.ready(least_urgent)
        assert (taken is None) == (not ready), "something is taken exactly when something is ready"
        if taken is None:
            return
        key, priority = taken
        assert key not in self.working, "never two workers on one key"
        assert ready[key].priority is priority
        oldest = {
            each: min(wish.due for wish in ready.values() if wish.priority is each)
            for each in {wish.priority for wish in ready.values()}
        }
        best = min(oldest, key=lambda each: (Wish(oldest[each], each).rank(self.now), each))
        assert priority is best, "the most urgent class first, where waiting makes more urgent"
        assert ready[key].due == oldest[priority], "the longest due of its class first"
        del self.waiting[key]
        self.working[key] = None

    @precondition(lambda self: self.working)
    @rule(data=st.data(), again=st.none() | st.builds(Again, seconds, priorities))
    def done(self, data: st.DataObject, again: Again | None) -> None:
        key = data.draw(st.sampled_from(sorted(self.working)))
        self.queue.done(key, again, self.now)
        wish = self.working.pop(key)
        if again is not None:
            wish = Wish(self.now + again.after_seconds, again.priority).joined(wish)
        if wish is not None:
            self.waiting[key] = wish

    @rule(passed=seconds)
    def time_passes(self, passed: float) -> None:
        self.now += passed

    @invariant()
    def one_entry_per_key(self) -> None:
        assert len(self.queue) == len(self.waiting) + len(self.working)
        for key in "abcdefgh":
            assert (key in self.queue) == (key in self.waiting or key in self.working)
        assert self.queue.working == len(self.working)

    @invariant()
    def depths_are_right(self) -> None:
        depths = self.queue.depths(self.now)
        for priority in Priority:
            due = [wish.due for wish in self.ready().values() if wish.priority is priority]
            assert depths[priority] == Depth(len(due), self.now - min(due) if due else 0.0)
        assert self.queue.ready == len(self.ready())

    @invariant()
    def the_next_delay_is_known(self) -> None:
        later = [wish.due for wish in self.waiting.values() if wish.due > self.now]
        assert self.queue.next_due(self.now) == min(later, default=None)


TestQueueAndModel = QueueAndModel.TestCase
TestQueueAndModel.settings = settings(max_examples=120, stateful_step_count=40)


def pop_all(queue: KeyedQueue[str], now: float) -> list[str]:
    taken = []
    while (entry := queue.pop(now)) is not None:
        taken.append(entry[0])
    return taken


def test_urgent_first_and_within_a_class_the_longest_due_first() -> None:
    queue: KeyedQueue[str] = KeyedQueue(lambda _key: None)
    for number, priority in enumerate(reversed(Priority)):
        queue.add(f"{priority.name} late", priority, 10.0 + number / 100)
        queue.add(f"{priority.name} early", priority, 9.0 + number / 100)
    expected = [f"{priority.name} {word}" for priority in Priority for word in ("early", "late")]
    assert pop_all(queue, 11.0) == expected


def test_what_waits_long_rises_so_that_nothing_starves() -> None:
    queue: KeyedQueue[str] = KeyedQueue(lambda _key: None)
    queue.add("resync", RESYNC, 0.0)
    for second in range(1, 200):
        queue.add(f"edit {second}", EDIT, float(second))
        taken = queue.pop(float(second))
        assert taken is not None
        if taken[0] == "resync":
            assert second == pytest.approx(3 * AGEING_SECONDS, abs=1.0)
            return
    pytest.fail("the resync starved")


def test_an_edit_lifts_a_key_that_waits_for_its_resync() -> None:
    queue: KeyedQueue[str] = KeyedQueue(lambda _key: None)
    for key in "abc":
        queue.add(key, RESYNC, 0.0)
    queue.add("c", EDIT, 1.0)
    assert queue.pop(1.0) == ("c", EDIT)
    assert pop_all(queue, 1.0) == ["a", "b"]


def test_a_resync_does_not_make_an_edit_less_urgent() -> None:
    queue: KeyedQueue[str] = KeyedQueue(lambda _key: None)
    queue.add("a", EDIT, 0.0)
    queue.add("a", RESYNC, 1.0)
    assert queue.pop(1.0) == ("a", EDIT)
    assert len(queue) == 1


def test_a_confirmation_keeps_its_urgency_when_a_resync_came_in_during_the_turn() -> None:
    queue: KeyedQueue[str] = KeyedQueue(lambda _key: None)
    queue.add("a", EDIT, 0.0)
    queue.pop(0.0)
    queue.add("a", RESYNC, 0.5)
    queue.done("a", Again(0.1, CONFIRM), 1.0)
    assert queue.pop(1.0) == ("a", CONFIRM)


def test_a_turn_that_wishes_nothing_is_over() -> None:
    queue: KeyedQueue[str] = KeyedQueue(lambda _key: None)
    queue.add("a", EDIT, 0.0)
    queue.pop(0.0)
    assert "a" in queue
    queue.done("a", None, 0.0)
    assert "a" not in queue
    assert (len(queue), queue.working, queue.pop(99.0)) == (0, 0, None)


def test_a_key_that_is_due_in_a_year_and_asked_for_again_and_again_leaves_nothing_behind() -> None:
    queue: KeyedQueue[str] = KeyedQueue(lambda _key: None)
    year = 365 * 86400.0
    queue.add("due before it", RESYNC, 0.0, year / 2)
    for period in range(10_000):
        now = period * 300.0
        queue.add("suspended", RESYNC, now)
        assert queue.pop(now) == ("suspended", RESYNC)
        queue.done("suspended", Again(year, RESYNC), now)
    places = len(queue._delayed) + sum(len(waiting) for waiting in queue._ready.values())
    assert places < 100


def test_keys_need_not_be_comparable() -> None:
    queue: KeyedQueue[object] = KeyedQueue(lambda _key: None)
    keys = [object() for _ in range(10)]
    for key in keys:
        queue.add(key, RETRY, 0.0, 1.0)
    assert [queue.pop(1.0) for _ in keys] == [(key, RETRY) for key in keys]


# Groups that rest: the group of a key is its first letter.


def grouped() -> KeyedQueue[str]:
    return KeyedQueue(lambda key: key[0])


def test_no_key_of_a_group_that_rests_gets_a_turn_and_the_others_do() -> None:
    queue = grouped()
    for key in ("a1", "b1", "a2"):
        queue.add(key, RESYNC, 0.0)
    queue.rest("a")
    queue.add("a3", EDIT, 0.0)
    assert pop_all(queue, 1.0) == ["b1"]
    assert (queue.ready, queue.at_rest, queue.next_due(1.0)) == (0, 3, None)


def test_what_rests_comes_back_together_the_most_urgent_first() -> None:
    queue = grouped()
    queue.rest("a")
    for number, priority in enumerate((RESYNC, RETRY, CONFIRM, EDIT, Priority.PAUSE)):
        queue.add(f"a{number}", priority, float(number))
    assert pop_all(queue, 10.0) == []
    queue.wake("a", 10.0)
    assert pop_all(queue, 10.0) == ["a4", "a3", "a2", "a1", "a0"]
    assert queue.at_rest == 0


def test_what_failed_by_itself_before_the_rest_comes_back_with_it_and_what_waits_for_its_time_does_not() -> None:
    queue = grouped()
    for key, priority in (("a failed", RETRY), ("a suspended", RESYNC), ("b failed", RETRY)):
        queue.add(key, priority, 0.0, 60.0)
    queue.rest("a")
    queue.wake("a", 5.0)
    assert pop_all(queue, 5.0) == ["a failed"]
    assert queue.next_due(5.0) == 60.0


def test_what_becomes_due_while_its_group_rests_rests_too() -> None:
    queue = grouped()
    queue.add("a", RETRY, 0.0, 5.0)
    queue.rest("a")
    assert pop_all(queue, 6.0) == []
    assert queue.at_rest == 1
    queue.wake("a", 7.0)
    assert pop_all(queue, 7.0) == ["a"]


def test_an_edit_passes_once_and_rests_when_its_turn_says_so() -> None:
    queue = grouped()
    queue.rest("a")
    queue.add("a", RESYNC, 0.0)
    queue.add("a", EDIT, 1.0, passes=True)
    assert queue.pop(1.0) == ("a", EDIT)
    queue.done("a", Again(0.0, EDIT, rests=True), 2.0)
    assert queue.pop(2.0) is None
    assert queue.waits("a", {EDIT})
    queue.wake("a", 3.0)
    assert queue.pop(3.0) == ("a", EDIT)


def test_an_edit_during_the_turn_of_one_that_wants_to_rest_gets_its_own_turn() -> None:
    queue = grouped()
    queue.rest("a")
    queue.add("a", EDIT, 0.0, passes=True)
    assert queue.pop(0.0) == ("a", EDIT)
    queue.add("a", EDIT, 0.5, passes=True)
    queue.done("a", Again(60.0, EDIT, rests=True), 1.0)
    assert queue.pop(1.0) == ("a", EDIT)


def test_a_key_may_rest_although_its_group_does_not() -> None:
    queue = grouped()
    for key in ("a1", "a2"):
        queue.add(key, EDIT, 0.0)
        queue.pop(0.0)
        queue.done(key, Again(0.0, EDIT, rests=True), 0.0)
    queue.add("a3", EDIT, 1.0)
    assert queue.pop(1.0) == ("a3", EDIT)
    queue.done("a3", None, 1.0)
    # A look at one of them is asked for: it gets its turn.
    queue.add("a2", RESYNC, 2.0)
    assert queue.pop(2.0) == ("a2", EDIT)
    queue.done("a2", Again(0.0, EDIT, rests=True), 2.0)
    assert queue.wake_one("a", 3.0) == "a1"
    assert pop_all(queue, 3.0) == ["a1"]
    queue.done("a1", None, 3.0)
    queue.wake("a", 4.0)
    assert pop_all(queue, 4.0) == ["a2"]


def test_the_one_that_finds_out_is_the_most_urgent_and_has_its_turn_while_the_others_rest() -> None:
    queue = grouped()
    queue.rest("a")
    queue.add("a resync", RESYNC, 0.0)
    queue.add("a pause", Priority.PAUSE, 0.0)
    assert queue.first_at_rest("a") == "a pause"
    assert queue.wake_one("a", 1.0) == "a pause"
    assert pop_all(queue, 1.0) == ["a pause"]
    assert queue.wake_one("b", 1.0) is None


# The workers. Time is virtual: a turn of an hour takes no time at all.

Turn = Callable[[str, Priority], Awaitable[Again | None]]


def never_fails(key: str, error: Exception) -> Again | None:
    raise AssertionError(f"{key} failed") from error


def workers_of(
    turn: Turn, *, concurrency: int = 4, failed: Callable[[str, Exception], Again | None] = never_fails
) -> Workers[str]:
    return Workers(
        turn, concurrency=concurrency, now=asyncio.get_running_loop().time, failed=failed, group_of=lambda _key: None
    )


def elapsed() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize("concurrency", [1, 2, 3, 4, 32])
def test_no_more_turns_run_at_once_than_are_allowed_and_all_get_done(concurrency: int) -> None:
    async def main() -> None:
        running: set[str] = set()
        most, finished = 0, []

        async def turn(key: str, _priority: Priority) -> None:
            nonlocal most
            assert key not in running, "never two turns of one key"
            running.add(key)
            most = max(most, len(running))
            await asyncio.sleep(1)
            running.discard(key)
            finished.append(key)

        workers = workers_of(turn, concurrency=concurrency)
        for number in range(100):
            workers.add(f"{number}", EDIT)
            workers.add(f"{number}", RESYNC)
        await workers.work(asyncio.Event(), until_idle=True)
        assert most == concurrency
        assert sorted(finished) == sorted(f"{number}" for number in range(100))

    run_virtually(main())


@pytest.mark.parametrize(("concurrency", "bulk"), [(2, 1), (3, 2), (4, 3), (32, 24)])
def test_a_quarter_of_the_places_is_kept_for_edits_and_confirmations(concurrency: int, bulk: int) -> None:
    async def main() -> None:
        running: dict[str, Priority] = {}
        stop = asyncio.Event()

        async def turn(key: str, priority: Priority) -> None:
            running[key] = priority
            await stop.wait()

        workers = workers_of(turn, concurrency=concurrency)
        for number in range(100):
            workers.add(f"bulk {number}", RETRY if number % 2 else RESYNC)
        work = asyncio.create_task(workers.work(stop))
        await asyncio.sleep(600)
        assert len(running) == bulk, "bulk leaves the kept places alone, however long it has waited"
        for number in range(100):
            workers.add(f"urgent {number}", URGENT[number % 2])
        await asyncio.sleep(1)
        urgent = [priority for priority in running.values() if priority in URGENT]
        assert (len(urgent), len(running)) == (concurrency - bulk, concurrency)
        stop.set()
        await work

    run_virtually(main())


def test_urgent_work_may_take_every_place() -> None:
    async def main() -> None:
        started = []

        async def turn(key: str, _priority: Priority) -> None:
            started.append(key)
            await asyncio.sleep(1)

        workers = workers_of(turn, concurrency=8)
        for number in range(8):
            workers.add(f"{number}", EDIT)
        stop = asyncio.Event()
        work = asyncio.create_task(workers.work(stop))
        await asyncio.sleep(0.5)
        assert len(started) == 8
        stop.set()
        await work

    run_virtually(main())


@pytest.mark.parametrize("concurrency", [1, 4, 32])
def test_an_edit_does_not_wait_behind_an_aged_resync(concurrency: int) -> None:
    async def main() -> None:
        edits: list[float] = []

        async def turn(key: str, _priority: Priority) -> None:
            if key.startswith("edit"):
                edits.append(elapsed())
            else:
                await asyncio.sleep(1)

        workers = workers_of(turn, concurrency=concurrency)
        for number in range(400 * concurrency):
            workers.add(f"resync {number}", RESYNC)
        stop = asyncio.Event()
        work = asyncio.create_task(workers.work(stop))
        await asyncio.sleep(200.5)
        for number in range(3):
            workers.add(f"edit {number}", EDIT)
        await asyncio.sleep(10)
        assert len(edits) == 3
        if concurrency > 1:
            assert max(edits) == 200.5
        else:
            assert edits == [201.0, 202.0, 203.0], "with a single place an edit waits for one turn at most"
        stop.set()
        await work

    run_virtually(main())


def test_a_turn_that_raises_does_not_end_the_others_and_comes_back_as_it_is_told() -> None:
    async def main() -> None:
        done: list[tuple[str, float]] = []
        failures: list[str] = []

        async def turn(key: str, _priority: Priority) -> None:
            if key == "poison" and len(failures) < 2:
                raise ValueError("poison")
            done.append((key, elapsed()))

        def failed(key: str, error: Exception) -> Again | None:
            failures.append(f"{key}: {error}")
            return Again(5.0, RETRY)

        workers = workers_of(turn, failed=failed)
        for key in ("a", "poison", "b"):
            workers.add(key, EDIT)
        await workers.work(asyncio.Event(), until_idle=True)
        assert done == [("a", 0.0), ("b", 0.0), ("poison", 10.0)]
        assert failures == ["poison: poison"] * 2

    run_virtually(main())


def test_stop_lets_running_turns_end_and_starts_no_other() -> None:
    async def main() -> None:
        started, finished = [], []
        stop = asyncio.Event()

        async def turn(key: str, _priority: Priority) -> None:
            started.append(key)
            await asyncio.sleep(10)
            finished.append(key)

        workers = workers_of(turn, concurrency=2)
        for key in "abcd":
            workers.add(key, EDIT)
        work = asyncio.create_task(workers.work(stop))
        await asyncio.sleep(1)
        stop.set()
        await work
        assert (sorted(started), sorted(finished), elapsed()) == (["a", "b"], ["a", "b"], 10.0)
        assert len(workers.queue) == 2

    run_virtually(main())


def test_a_turn_that_does_not_end_after_the_stop_is_cancelled_in_the_end() -> None:
    async def main() -> None:
        ended: list[str] = []

        async def turn(key: str, _priority: Priority) -> None:
            try:
                await asyncio.sleep(5 if key == "short" else 3600)
            except asyncio.CancelledError:
                ended.append(f"{key} was cancelled")
                raise
            ended.append(key)

        workers = workers_of(turn)
        workers.add("short", EDIT)
        workers.add("endless", EDIT)
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(1.0, stop.set)
        await workers.work(stop, drain_seconds=10.0)
        assert ended == ["short", "endless was cancelled"]
        assert elapsed() == 11.0
        assert workers.queue.working == 0

    run_virtually(main())


def test_until_idle_waits_for_delayed_keys_and_then_ends() -> None:
    async def main() -> None:
        turns: list[tuple[str, float]] = []

        async def turn(key: str, _priority: Priority) -> Again | None:
            turns.append((key, elapsed()))
            return Again(30.0, CONFIRM) if len(turns) < 3 else None

        workers = workers_of(turn)
        workers.add("a", EDIT)
        workers.add("b", RETRY, 45.0)
        await workers.work(asyncio.Event(), until_idle=True)
        assert turns == [("a", 0.0), ("a", 30.0), ("b", 45.0), ("a", 60.0)]
        assert not len(workers.queue)

    run_virtually(main())


def test_an_event_during_a_turn_brings_the_key_back_and_never_beside_itself() -> None:
    async def main() -> None:
        turns: list[tuple[Priority, float]] = []

        async def turn(_key: str, priority: Priority) -> Again | None:
            turns.append((priority, elapsed()))
            await asyncio.sleep(2)
            return Again(60.0, CONFIRM) if len(turns) == 1 else None

        workers = workers_of(turn)
        workers.add("a", RESYNC)
        asyncio.get_running_loop().call_later(1.0, workers.add, "a", EDIT)
        asyncio.get_running_loop().call_later(1.5, workers.add, "a", RESYNC)
        await workers.work(asyncio.Event(), until_idle=True)
        assert turns == [(RESYNC, 0.0), (EDIT, 2.0)]

    run_virtually(main())


def test_a_key_added_while_everything_sleeps_is_worked_on_at_once() -> None:
    async def main() -> None:
        turns: list[tuple[str, float]] = []

        async def turn(key: str, _priority: Priority) -> None:
            turns.append((key, elapsed()))

        workers = workers_of(turn)
        workers.add("later", RETRY, 100.0)
        stop = asyncio.Event()
        work = asyncio.create_task(workers.work(stop))
        await asyncio.sleep(7)
        workers.add("now", EDIT)
        await asyncio.sleep(0)
        await asyncio.sleep(100)
        stop.set()
        await work
        assert turns == [("now", 7.0), ("later", 100.0)]

    run_virtually(main())


def test_progress_is_when_a_turn_last_ended() -> None:
    async def main() -> None:
        async def turn(_key: str, _priority: Priority) -> None:
            await asyncio.sleep(3)

        workers = workers_of(turn)
        workers.add("a", EDIT, 4.0)
        await workers.work(asyncio.Event(), until_idle=True)
        assert workers.last_progress == 7.0

    run_virtually(main())


def test_a_cancelled_turn_gives_its_key_back() -> None:
    async def main() -> None:
        async def turn(_key: str, _priority: Priority) -> None:
            await asyncio.sleep(100)

        workers = workers_of(turn)
        workers.add("a", EDIT)
        stop = asyncio.Event()
        work = asyncio.create_task(workers.work(stop))
        await asyncio.sleep(1)
        for task in workers._running:
            task.cancel()
        await asyncio.sleep(1)
        assert (workers.queue.working, len(workers.queue)) == (0, 0)
        stop.set()
        await work

    run_virtually(main())


def test_a_key_that_becomes_due_while_turns_are_started_is_not_slept_through() -> None:
    # Each look at the clock finds it later: a key is not due yet when keys are started, and due when the sleep is set.
    ticks = itertools.count(step=0.6)

    async def main() -> None:
        done: list[str] = []

        async def turn(key: str, _priority: Priority) -> Again | None:
            done.append(key)
            return Again(1.0, Priority.CONFIRM) if len(done) < 5 else None

        workers = Workers(
            turn, concurrency=2, now=lambda: next(ticks), failed=lambda _key, _error: None, group_of=lambda _key: None
        )
        workers.add("a", Priority.EDIT)
        async with asyncio.timeout(5):
            await workers.work(asyncio.Event(), until_idle=True)
        assert done == ["a"] * 5

    asyncio.run(main())
