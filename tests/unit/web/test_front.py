"""Between the page and the daemon: a loop that is not there yet, busy, standing still, or gone."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from reconciler.web.front import Answers, Front, NotThere


class Daemon:
    """A loop in another thread, with a front attached to it."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self.loop = asyncio.new_event_loop()
        self.held = threading.Event()
        self.asked = 0
        self.nudges = 0
        self.seconds = 0.0
        self.thread = threading.Thread(target=self.loop.run_forever)

    def start(self) -> None:
        self.thread.start()
        self.do(lambda: self._front.attach(Answers(self.healthy, lambda: True, lambda: b"", self.status), self.nudge))

    def do(self, what: Callable[[], object]) -> None:
        """Have something done in the loop, and wait for it."""
        done = threading.Event()
        self.loop.call_soon_threadsafe(what)
        self.loop.call_soon_threadsafe(done.set)
        assert done.wait(60)

    def healthy(self) -> bool:
        return True

    def status(self) -> dict[str, object]:
        self.asked += 1
        time.sleep(self.seconds)  # what it costs
        return {"asked": self.asked}

    def nudge(self) -> None:
        self.nudges += 1

    def stand_still(self) -> None:
        self.loop.call_soon_threadsafe(self.held.wait)

    def close(self) -> None:
        self.held.set()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@contextmanager
def daemon(front: Front) -> Iterator[Daemon]:
    there = Daemon(front)
    there.start()
    try:
        yield there
    finally:
        there.close()


async def test_without_a_daemon_it_is_alive_and_not_ready_and_has_metrics() -> None:
    front = Front(lambda: b"metrics", standstill_seconds=60)
    assert (await front.healthy(), await front.ready(), await front.metrics()) == (True, False, b"metrics")
    with pytest.raises(NotThere, match="starting"):
        await front.status()


async def test_a_loop_that_stands_still_is_healthy_for_a_while_and_then_no_more() -> None:
    front = Front(lambda: b"", standstill_seconds=1.5)
    with daemon(front) as there:
        assert await front.healthy()
        assert await front.ready()
        there.stand_still()
        began = time.monotonic()
        assert await front.healthy()
        while await front.healthy():
            assert time.monotonic() - began < 60
        assert time.monotonic() - began >= 1
        there.held.set()
        while not await front.healthy():
            assert time.monotonic() - began < 60


async def test_a_loop_that_is_busy_from_the_beginning_is_alive_and_not_ready() -> None:
    front = Front(lambda: b"", standstill_seconds=60)
    with daemon(front) as there:
        there.stand_still()
        assert (await front.healthy(), await front.ready()) == (True, False)


async def test_what_is_dear_is_asked_for_once_however_many_ask() -> None:
    front = Front(lambda: b"", standstill_seconds=60)
    with daemon(front) as there:
        there.seconds = 0.2
        answers = await asyncio.gather(*(front.status() for _ in range(20)))
        assert answers == [{"asked": 1}] * 20
        assert await front.status() == {"asked": 1}, "it has just been dear"


async def test_what_fails_fails_where_it_was_asked() -> None:
    front = Front(lambda: b"", standstill_seconds=60)
    with daemon(front) as there:
        there.status = lambda: 1 / 0  # type: ignore[method-assign,assignment,return-value]
        there.do(lambda: front.attach(Answers(there.healthy, lambda: True, lambda: b"", there.status), nudge=None))
        with pytest.raises(ZeroDivisionError):
            await front.status()


async def test_a_hint_that_comes_before_the_daemon_is_remembered() -> None:
    front = Front(lambda: b"", standstill_seconds=60)
    front.hint()
    with daemon(front) as there:
        assert there.nudges == 1
        front.hint()
        there.do(lambda: None)
        assert there.nudges == 2


async def test_after_the_daemon_it_is_alive_and_not_ready() -> None:
    front = Front(lambda: b"", standstill_seconds=60)
    with daemon(front) as there:
        assert await front.ready()
        there.do(front.detach)
        assert (await front.healthy(), await front.ready()) == (True, False)
    front.hint()
    with daemon(front):
        pass
    # Its loop has ended without a word.
    assert await front.healthy()
    with pytest.raises(NotThere):
        await front.status()
