"""Looks that are shared: how many reads a question costs, whom an answer serves, whom an error or a cancel reaches."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection
from datetime import datetime, timedelta

import pytest

from reconciler.model.errors import Unanswered
from reconciler.model.keys import CallKey
from reconciler.model.statuses import Live
from reconciler.model.work import Priority
from reconciler.reconcile.observer import _KEPT_CALLS, Observer
from tests.world.nouns import NOW, key
from tests.world.virtual_loop import run_virtually

CALL = key(1).call


def wall() -> datetime:
    return NOW + timedelta(seconds=asyncio.get_running_loop().time())


class SlowReader:
    """An API whose lists take a second, after which another read of half a second may follow, as in the real client.

    Every look shows its own number as the status word of each recording.
    """

    def __init__(self) -> None:
        self.looks: list[tuple[float, CallKey, Priority]] = []
        self.asked: list[frozenset[str]] = []
        self.fails = False
        self.list_seconds = 1.0

    async def observe_call(self, call: CallKey, wanted: Collection[str], *, priority: Priority) -> dict[str, Live]:
        number = len(self.looks)
        self.looks.append((asyncio.get_running_loop().time(), call, priority))
        seconds = self.list_seconds
        asked_at = wall()
        await asyncio.sleep(seconds)
        if self.fails:
            raise Unanswered("no answer", code="timeout")
        question = frozenset(wanted)
        self.asked.append(question)
        await asyncio.sleep(0.5)
        return {recording_id: Live.from_word(f"look {number}", asked_at) for recording_id in question}

    @property
    def count(self) -> int:
        return len(self.looks)


def observer_of(reader: SlowReader) -> Observer:
    return Observer(reader, wall)


async def ask(
    observer: Observer, number: int, *, since: datetime | None = None, priority: Priority = Priority.RESYNC
) -> str:
    live = await observer.observe(key(number), since=wall() if since is None else since, priority=priority)
    return live.word


async def ask_at(second: float, observer: Observer, number: int, priority: Priority = Priority.RESYNC) -> str:
    await asyncio.sleep(second)
    return await ask(observer, number, since=NOW, priority=priority)


def test_all_who_ask_at_once_share_one_look() -> None:
    async def main() -> None:
        reader = SlowReader()
        observer = observer_of(reader)
        words = await asyncio.gather(*(ask(observer, number) for number in range(1000)))
        assert Counter(words) == {"look 0": 1000}
        assert reader.asked == [{key(number).recording_id for number in range(1000)}]

    run_virtually(main())


def test_each_call_has_a_look_of_its_own() -> None:
    async def main() -> None:
        reader = SlowReader()
        observer = observer_of(reader)
        keys = [key(number, call=number % 3) for number in range(9)]
        await asyncio.gather(*(observer.observe(each, since=wall(), priority=Priority.EDIT) for each in keys))
        assert {call for _, call, _ in reader.looks} == {each.call for each in keys}
        assert reader.count == 3

    run_virtually(main())


def test_one_who_joins_before_the_list_is_read_is_answered_by_it() -> None:
    async def main() -> None:
        reader = SlowReader()
        observer = observer_of(reader)
        words = await asyncio.gather(ask_at(0, observer, 1), ask_at(0.9, observer, 2))
        assert (*words, reader.count) == ("look 0", "look 0", 1)

    run_virtually(main())


def test_all_who_join_after_the_list_was_read_share_the_next_look() -> None:
    async def main() -> None:
        reader = SlowReader()
        observer = observer_of(reader)
        late = [ask_at(1.2, observer, number) for number in range(2, 50)]
        words = await asyncio.gather(ask_at(0, observer, 1), *late)
        assert words == ["look 0", *["look 1"] * 48]
        assert reader.count == 2

    run_virtually(main())


def test_one_who_asks_in_the_very_moment_in_which_a_look_ends_is_answered_by_another() -> None:
    async def main() -> None:
        gate = asyncio.Event()

        class Gated(SlowReader):
            async def observe_call(
                self, call: CallKey, wanted: Collection[str], *, priority: Priority
            ) -> dict[str, Live]:
                if self.count:
                    return await super().observe_call(call, wanted, priority=priority)
                self.looks.append((0.0, call, priority))
                answers = {recording_id: Live.from_word("look 0", NOW) for recording_id in wanted}
                await gate.wait()
                return answers

        reader = Gated()
        observer = observer_of(reader)
        first = asyncio.create_task(ask(observer, 1))
        await asyncio.sleep(1)
        gate.set()  # wakes the look first, then the one who asks, and only then those who wait for the look
        second = asyncio.create_task(ask(observer, 2, since=NOW))
        assert await first == "look 0"
        assert await second == "look 1"

    run_virtually(main())


def test_an_answer_serves_those_who_want_none_younger_than_it_is() -> None:
    async def main() -> None:
        reader = SlowReader()
        observer = observer_of(reader)
        began = wall()
        assert await ask(observer, 1) == "look 0"
        await asyncio.sleep(60)
        assert await ask(observer, 1, since=began) == "look 0"
        assert await ask(observer, 1, since=began + timedelta(microseconds=1)) == "look 1"
        assert reader.count == 2

    run_virtually(main())


def test_an_answer_says_nothing_about_a_recording_it_was_not_asked_for() -> None:
    async def main() -> None:
        reader = SlowReader()
        observer = observer_of(reader)
        await ask(observer, 1)
        assert await ask(observer, 2, since=NOW) == "look 1"

    run_virtually(main())


def test_a_look_that_began_too_early_is_not_joined() -> None:
    async def main() -> None:
        reader = SlowReader()
        observer = observer_of(reader)
        first = asyncio.create_task(ask(observer, 1))
        await asyncio.sleep(0.1)
        assert await ask(observer, 1) == "look 1", "the first look began before this question"
        assert await first == "look 0"

    run_virtually(main())


def test_an_urgent_question_does_not_wait_behind_a_leisurely_look() -> None:
    async def main() -> None:
        reader = SlowReader()
        observer = observer_of(reader)
        reader.list_seconds = 100.0
        leisurely = asyncio.create_task(ask_at(0, observer, 1))
        await asyncio.sleep(1)
        reader.list_seconds = 1.0
        urgent = await asyncio.gather(ask_at(0, observer, 1, Priority.EDIT), ask_at(0.1, observer, 2, Priority.CONFIRM))
        assert set(urgent) == {"look 1"}
        assert asyncio.get_running_loop().time() == 2.5
        assert [priority for _, _, priority in reader.looks] == [Priority.RESYNC, Priority.EDIT]
        assert await leisurely == "look 0"

    run_virtually(main())


def test_a_look_that_took_longer_does_not_hide_a_younger_one() -> None:
    async def main() -> None:
        reader = SlowReader()
        observer = observer_of(reader)
        reader.list_seconds = 100.0
        leisurely = asyncio.create_task(ask(observer, 1))
        await asyncio.sleep(1)
        reader.list_seconds = 1.0
        began = wall()
        await ask(observer, 1, priority=Priority.EDIT)
        await leisurely
        assert await ask(observer, 1, since=began) == "look 1"
        assert reader.count == 2

    run_virtually(main())


def test_an_error_reaches_all_who_share_the_look_and_nobody_after_them() -> None:
    async def main() -> None:
        reader = SlowReader()
        observer = observer_of(reader)
        reader.fails = True
        results = await asyncio.gather(*(ask(observer, number) for number in range(10)), return_exceptions=True)
        assert {type(result) for result in results} == {Unanswered}
        assert reader.count == 1
        reader.fails = False
        assert await ask(observer, 1, since=NOW) == "look 1"

    run_virtually(main())


def test_one_who_gives_up_does_not_take_the_look_from_the_others() -> None:
    async def main() -> None:
        reader = SlowReader()
        observer = observer_of(reader)
        tasks = [asyncio.create_task(ask(observer, number)) for number in range(3)]
        await asyncio.sleep(0.5)
        tasks[0].cancel()
        assert await asyncio.gather(*tasks[1:]) == ["look 0"] * 2
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        assert reader.count == 1

    run_virtually(main())


def test_when_all_give_up_an_error_disturbs_nobody() -> None:
    async def main() -> None:
        unhandled: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unhandled.append(context))
        reader = SlowReader()
        reader.fails = True
        observer = observer_of(reader)
        task = asyncio.create_task(ask(observer, 1))
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.sleep(10)
        assert task.cancelled()
        assert unhandled == []

    run_virtually(main())


def test_what_was_seen_before_something_was_sent_is_forgotten() -> None:
    async def main() -> None:
        reader = SlowReader()
        observer = observer_of(reader)
        await ask(observer, 1)
        observer.forget(CALL)
        observer.forget(CALL)
        assert await ask(observer, 1, since=NOW) == "look 1"

    run_virtually(main())


def test_a_look_that_somebody_else_made_serves_as_well() -> None:
    async def main() -> None:
        reader = SlowReader()
        observer = observer_of(reader)
        observer.put(CALL, NOW, {key(1).recording_id: Live.from_word("paused", NOW)})
        assert await ask(observer, 1, since=NOW) == "paused"
        assert reader.count == 0

    run_virtually(main())


def test_only_the_latest_calls_are_kept() -> None:
    async def main() -> None:
        reader = SlowReader()
        observer = observer_of(reader)
        for number in range(_KEPT_CALLS + 1):
            observer.put(key(1, call=number).call, NOW, {key(1).recording_id: Live.from_word("paused", NOW)})
        await observer.observe(key(1, call=1), since=NOW, priority=Priority.EDIT)
        assert reader.count == 0
        await observer.observe(key(1, call=0), since=NOW, priority=Priority.EDIT)
        assert reader.count == 1

    run_virtually(main())
