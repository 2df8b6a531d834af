"""What stands between the page's loop and the daemon's, which is there later, ends sooner, and may be busy.

What must never happen here: a question that reads the daemon's parts in another thread than its own, or a probe that
waits for as long as the daemon's loop does.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

#: How long a probe waits for the daemon's loop before it answers with what was so last.
_PROBE_SECONDS: Final = 0.5
#: The same for what has many words; after that the page is busy.
_ANSWER_SECONDS: Final = 10.0
#: What took so long may take a fifth of the loop, however often it is asked for.
_REST: Final = 4


class NotThere(Exception):
    """There is nobody to answer yet, or any more, or in time."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What the daemon answers. Each is called in its loop."""

    healthy: Callable[[], bool]
    ready: Callable[[], bool]
    metrics: Callable[[], bytes]
    status: Callable[[], dict[str, Any]]


class Front:
    """Asks the daemon for the page. `attach` and `detach` are called in the daemon's loop, the rest in the page's."""

    def __init__(self, metrics: Callable[[], bytes], *, standstill_seconds: float) -> None:
        """Begin without a daemon.

        Args:
            metrics: answers while there is none; called in the page's thread.
            standstill_seconds: a loop that has not answered for so long is not healthy.
        """
        self._metrics = metrics
        self._standstill_seconds = standstill_seconds
        self._asked: _Asked | None = None
        self._hinted = False
        self._nudge: Callable[[], None] | None = None
        #: What it does in place of working; for people.
        self.stage = "starting"

    def attach(self, answers: Answers, nudge: Callable[[], None] | None) -> None:
        """Let the daemon answer, whose loop is running.

        Args:
            answers: its answers.
            nudge: told of hints, of those too that came before.
        """
        loop = asyncio.get_running_loop()
        self._asked = _Asked(
            _Question(answers.healthy, loop, rest=0),
            _Question(answers.ready, loop, rest=0),
            _Question(answers.metrics, loop),
            _Question(answers.status, loop),
            loop,
        )
        self._nudge = nudge
        if self._hinted and nudge is not None:
            nudge()

    def detach(self) -> None:
        """Let the daemon answer no more: its loop ends."""
        self._asked = None
        self._nudge = None
        self.stage = "stopping"

    async def healthy(self) -> bool:
        """Return whether the daemon makes progress; true while there is none, for it begins, waits or ends."""
        asked = self._asked
        return asked is None or await self._probe(asked.healthy, at_first=True)

    async def ready(self) -> bool:
        """Return whether the daemon does its work."""
        asked = self._asked
        return asked is not None and await self._probe(asked.ready, at_first=False)

    async def metrics(self) -> bytes:
        """Return the page of metrics."""
        asked = self._asked
        return self._metrics() if asked is None else await self._words(asked.metrics)

    async def status(self) -> dict[str, Any]:
        """Return the daemon's state as plain data.

        Raises:
            NotThere: there is nobody who knows.
        """
        asked = self._asked
        if asked is None:
            raise NotThere(self.stage)
        return await self._words(asked.status)

    def hint(self) -> None:
        """Have the source looked at; remembered while there is no daemon."""
        self._hinted = True
        asked, nudge = self._asked, self._nudge
        if asked is not None and nudge is not None:
            try:
                asked.loop.call_soon_threadsafe(nudge)
            except RuntimeError:
                pass  # it has ended

    async def _probe(self, question: _Question[bool], *, at_first: bool) -> bool:
        """Return the answer, or the last one while the loop is busy; `at_first` stands for what was never answered."""
        try:
            return await question.ask(_PROBE_SECONDS)
        except NotThere:
            recently = time.monotonic() - question.answered_at < self._standstill_seconds
            return recently and (at_first if question.last is None else question.last)

    @staticmethod
    async def _words(question: _Question[T]) -> T:
        return await question.ask(_ANSWER_SECONDS)


class _Question(Generic[T]):
    """One thing that is asked of the daemon: once at a time however many ask, and the less often the dearer it is."""

    def __init__(self, answer: Callable[[], T], loop: asyncio.AbstractEventLoop, *, rest: int = _REST) -> None:
        self._rest = rest
        self._answer = answer
        self._loop = loop
        self._future: asyncio.Future[T] | None = None
        self._fresh_until = 0.0
        self.last: T | None = None
        self.answered_at = time.monotonic()

    async def ask(self, seconds: float) -> T:
        """Return the answer, in the page's loop.

        Args:
            seconds: how long to wait.

        Raises:
            NotThere: the daemon's loop has ended, or does not come to it in time.
            Exception: what the answer raised.
        """
        if self._future is None or (self._future.done() and time.monotonic() >= self._fresh_until):
            self._future = asyncio.get_running_loop().create_future()
            # Whoever waits may have gone when it fails.
            self._future.add_done_callback(lambda future: future.cancelled() or future.exception())
            try:
                self._loop.call_soon_threadsafe(self._work, self._future, asyncio.get_running_loop())
            except RuntimeError:
                self._future = None
                raise NotThere("stopping") from None
        done, _ = await asyncio.wait({self._future}, timeout=seconds)
        if not done:
            raise NotThere("busy")
        return self._future.result()

    def _work(self, future: asyncio.Future[T], page: asyncio.AbstractEventLoop) -> None:
        began = time.monotonic()
        settled: concurrent.futures.Future[T] = concurrent.futures.Future()
        try:
            settled.set_result(self._answer())
        except Exception as error:  # noqa: BLE001 - it is raised where it was asked for
            settled.set_exception(error)
        took = time.monotonic() - began
        try:
            page.call_soon_threadsafe(self._settle, future, settled.result, took)
        except RuntimeError:
            pass  # the page has ended

    def _settle(self, future: asyncio.Future[T], answer: Callable[[], T], took: float) -> None:
        self.answered_at = time.monotonic()
        self._fresh_until = self.answered_at + took * self._rest
        try:
            self.last = answer()
        except Exception as error:  # noqa: BLE001 - it is raised where it was asked for
            future.set_exception(error)
        else:
            future.set_result(self.last)


@dataclass(frozen=True, slots=True)
class _Asked:
    healthy: _Question[bool]
    ready: _Question[bool]
    metrics: _Question[bytes]
    status: _Question[dict[str, Any]]
    loop: asyncio.AbstractEventLoop
