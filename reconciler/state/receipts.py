"""When a write is known to be kept: receipts, settled in batches.

What must never happen here: a receipt that says of a write that it is on disk before it is.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING

from reconciler.model import StoreError

if TYPE_CHECKING:
    import asyncio


class Receipt:
    """Says when one write is on disk: ``await`` it in a coroutine, or call `result` in a thread.

    Both raise the `StoreError` of a write that was not kept. Whoever stops waiting does not stop the write.
    """

    __slots__ = ("_changed", "_error", "_settled", "_waiters")

    def __init__(self, changed: threading.Condition) -> None:
        # One condition for all receipts of a writer: a batch is settled under one lock, with one notification.
        self._changed = changed
        self._settled = False
        self._error: StoreError | None = None
        self._waiters: list[asyncio.Future[None]] | None = None

    def done(self) -> bool:
        """Whether it is settled, either way."""
        return self._settled

    def result(self, timeout: float | None = None) -> None:
        """Wait until the write is on disk.

        Args:
            timeout: seconds; None waits as long as it takes.

        Raises:
            TimeoutError: it is not settled yet.
            StoreError: it was not kept.
        """
        with self._changed:
            if not self._changed.wait_for(self.done, timeout):
                raise TimeoutError("the write is not on disk yet")
        self._answer()

    def __await__(self) -> Generator[object, None, None]:
        # Here, because commands that only read have no other use for asyncio and its start-up time.
        from asyncio import get_running_loop

        waiter = None
        with self._changed:
            if not self._settled:
                waiter = get_running_loop().create_future()
                if self._waiters is None:
                    self._waiters = []
                self._waiters.append(waiter)
        if waiter is not None:
            yield from waiter
        self._answer()

    def _answer(self) -> None:
        if self._error is not None:
            # A fresh one each time: many receipts share one error, and tracebacks would pile up on it.
            raise type(self._error)(str(self._error)) from self._error

    def settle(self, error: StoreError | None) -> list[asyncio.Future[None]] | None:
        """Give the answer, holding the condition. Return who is to be woken; `settle_all` does both for a batch."""
        self._settled = True
        self._error = error
        waiters, self._waiters = self._waiters, None
        return waiters


def settle_all(changed: threading.Condition, outcomes: Iterable[tuple[Receipt, StoreError | None]]) -> None:
    """Settle a batch of receipts of one condition, waking each event loop once however many wait in it."""
    waiting: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    with changed:
        for receipt, error in outcomes:
            for waiter in receipt.settle(error) or ():
                waiting.setdefault(waiter.get_loop(), []).append(waiter)
        changed.notify_all()
    for loop, waiters in waiting.items():
        try:
            loop.call_soon_threadsafe(_wake, waiters)
        except RuntimeError:
            pass  # The loop is closed, so nobody waits in it any more.


def _wake(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():  # A task that was cancelled has cancelled its future.
            waiter.set_result(None)
