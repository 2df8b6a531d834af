"""Group commit: one thread writes what many hand in, and all that waits goes into one commit.

A hundred intents that wait together cost one flush of the disk. What a commit is, each kind of state says for itself as
a `Committer`; the queue, the thread and the receipts are the same for all of them.

What must never happen here: a receipt that is settled before its commit, or a thread that a fault ends, since everybody
who hands something in later would wait for ever.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from typing import Final, Generic, Protocol, TypeVar

from reconciler.model import StoreError
from reconciler.state.receipts import Receipt, settle_all
from reconciler.telemetry import scrub

#: Writes in one commit at most, so that none waits long for the others of its batch.
_BATCH: Final = 1000


class HandedIn(Protocol):
    """What was handed in together: kept or refused as a whole."""

    @property
    def receipt(self) -> Receipt: ...


W = TypeVar("W", bound=HandedIn)


class Committer(Protocol[W]):
    """What one kind of state does with a batch. All of it is called in the thread of `Batches`."""

    def commit(self, batch: list[W]) -> Mapping[Receipt, StoreError]:
        """Commit a batch, or as much of it as can be stored; return the errors of the rest. It may be empty."""
        ...

    def failed(self, error: StoreError) -> None:
        """Take in that a commit failed, or what `tend` did."""
        ...

    def due(self) -> bool:
        """Whether a commit is due although nothing was handed in."""
        ...

    def idle_seconds(self) -> float | None:
        """Return after how many seconds without work to look again; None for never."""
        ...

    def tend(self, batch: list[W]) -> None:
        """Do what nobody waits for, now that those who waited for a batch have been answered."""
        ...

    def end(self) -> None:
        """Let go of the state."""
        ...


class Batches(Generic[W]):
    """Hands what comes in to a committer, batch by batch, in the order in which it came in."""

    def __init__(self, place: str, committer: Committer[W]) -> None:
        """Begin to write.

        Args:
            place: where the state is, for people.
            committer: writes to it.
        """
        self._place = place
        self._committer = committer
        self._changed = threading.Condition(threading.Lock())
        self._queue: queue.SimpleQueue[W | None] = queue.SimpleQueue()
        self._error: StoreError | None = None
        self._closed = False
        # A daemon thread: a program that fails before `close` must still end. What was not acknowledged goes with it.
        self._thread = threading.Thread(target=self._run, name="state-writer", daemon=True)
        self._thread.start()

    @property
    def error(self) -> StoreError | None:
        """Why the state could not be written when last tried, or None."""
        return self._error

    def receipt(self) -> Receipt:
        """Return a receipt for what is to be handed in."""
        return Receipt(self._changed)

    def hand_in(self, write: W) -> Receipt:
        """Have something written; the receipt says when it is.

        Raises:
            StoreError: nothing is written any more.
        """
        with self._changed:
            # Under the lock, so that nothing is put behind the end mark, where nobody would settle it.
            if self._closed:
                raise StoreError(f"{self._place} is closed: nothing more is written")
            self._queue.put(write)
        return write.receipt

    def close(self) -> None:
        """Write what waits, and end."""
        with self._changed:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    # What follows runs in the thread alone.

    def _run(self) -> None:
        ending = False
        while not ending:
            batch, ending = self._take()
            error: StoreError | None = None
            faults: Mapping[Receipt, StoreError] = {}
            try:
                if batch or self._committer.due() or self._error is not None:
                    faults = self._committer.commit(batch)
                    self._error = None
            except StoreError as failure:
                error = self._failed(failure)
            except Exception as failure:  # noqa: BLE001 (this thread must outlive any fault, or every write would hang)
                words = f"{type(failure).__name__}: {scrub(str(failure))}"
                error = self._failed(StoreError(f"{self._place} could not be written: {words}"))
            settle_all(self._changed, [(write.receipt, error or faults.get(write.receipt)) for write in batch])
            try:
                self._committer.tend(batch)
            except StoreError as failure:
                self._failed(failure)
            except Exception as failure:  # noqa: BLE001 (as above)
                self._failed(StoreError(f"{self._place} could not be pruned: {failure!r}"))
        self._committer.end()

    def _take(self) -> tuple[list[W], bool]:
        """Wait for work or the next heartbeat. Return all that waits, and whether that is the end."""
        batch: list[W] = []
        try:
            write = self._queue.get(timeout=self._committer.idle_seconds())
            while write is not None:
                batch.append(write)
                if len(batch) == _BATCH:
                    return batch, False
                write = self._queue.get_nowait()
        except queue.Empty:
            return batch, False
        return batch, True

    def _failed(self, error: StoreError) -> StoreError:
        self._error = error
        self._committer.failed(error)
        return error
