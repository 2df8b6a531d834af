"""The look at everything, again and again: which recordings come next, and when all have been answered.

Where the API does not answer for a workspace, its recordings are not even queued: they are owed a look, and get it when
the workspace comes back. What must never happen here: a look at everything that counts as done although some of it was
not answered, or a hundred thousand recordings that wait in memory at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import islice
from typing import Final

from reconciler.controller.rests import Rests
from reconciler.desired import Catalog
from reconciler.model import Clock, Priority, RecordingKey, StoreError
from reconciler.telemetry import Alarm
from reconciler.work import Workers

#: How often the resync adds its next share of recordings.
TICK_SECONDS = 1.0
#: A recording that has ended is looked at in one of so many resyncs: it cannot change, and finding it among those of
#: the workspace costs several requests; yet what looked like an end may have been a wrong ID or a right that was
#: missing.
FINAL_EVERY: Final = 12
#: A look at everything at once goes to the workers in shares of so many recordings, each when half of the last one has
#: been taken, and that is asked so often (in seconds). All in one would have each of a hundred thousand take up half a
#: kilobyte while it waits, which the process never gives back.
SHARE = 2000
SHARE_SECONDS: Final = 0.02


class Resync:
    """Queues a look at every recording: all at once in the beginning and when asked, else spread over the period."""

    def __init__(
        self,
        catalog: Catalog,
        every_key: Callable[[], list[RecordingKey]],
        workers: Workers[RecordingKey],
        rests: Rests,
        clock: Clock,
        unreadable: Alarm,
        done: Callable[[], None],
    ) -> None:
        """Begin with nothing queued.

        Args:
            catalog: the documents in force.
            every_key: names every recording that has a document, or had one here, those of one call side by side. It
                is called in a thread, since it reads the state.
            workers: where turns are asked for.
            rests: which workspaces are not looked at.
            clock: time.
            unreadable: told when the state cannot be read.
            done: told each time that everything has been answered.
        """
        self._catalog = catalog
        self._every_key = every_key
        self._workers = workers
        self._rests = rests
        self._clock = clock
        self._unreadable = unreadable
        self._done = done
        #: Recordings that were queued and have not been answered, and whether all have been queued.
        self.unseen: set[RecordingKey] = set()
        self._all_queued = False
        self._passes = 0
        #: Recordings that were last seen in a status that nothing leads out of.
        self._final: set[RecordingKey] = set()
        #: Recordings that had not had their first turn when this process had to give them one.
        self.first_pass: set[RecordingKey] = set()
        #: Workspaces that have not been looked at, and those of them that are answered again.
        self._owed: set[str] = set()
        self._back = asyncio.Event()
        #: When everything had last been answered.
        self.last: datetime | None = None

    def answered(self, key: RecordingKey, *, final: bool) -> None:
        """Note that a recording has been looked at, and whether nothing leads out of what was seen."""
        if final:
            self._final.add(key)
        else:
            self._final.discard(key)
        self.leave_out(key)

    def leave_out(self, key: RecordingKey) -> None:
        """Wait for a recording no longer: it has been answered, is ours no more, or cannot be looked at at all."""
        self.unseen.discard(key)
        self._note()

    def is_back(self) -> None:
        """Look at a workspace that rested as soon as possible."""
        self._back.set()

    async def run(self, now: asyncio.Event, period_seconds: float, begin: Callable[[bool], None]) -> None:
        """Look at everything at once in the beginning, then again in every period, spread evenly over it.

        Args:
            now: looks at everything as soon as possible each time it is set.
            period_seconds: how often everything is looked at.
            begin: told each time that a look at everything begins, and whether somebody asked for it.
        """
        spread = False
        while True:
            begin(now.is_set())
            now.clear()
            self._all_queued = False
            started = self._clock.monotonic()
            keys = iter(await self._keys_to_look_at(everything=not spread))
            share = max(1, self._share(period_seconds)) if spread else SHARE
            while taken := list(islice(keys, share)):
                self._queue(taken, keep=spread)
                if spread and await self._pause(now, TICK_SECONDS):
                    spread, share = False, SHARE
                if not spread:
                    await self._until_taken()
            self._all_queued = True
            self._note()
            left = period_seconds - (self._clock.monotonic() - started)
            spread = not await self._pause(now, max(TICK_SECONDS, left))

    async def catch_up(self) -> None:
        """Look at what was owed a look as soon as its workspace is answered again, for ever."""
        while True:
            await self._back.wait()
            self._back.clear()
            for workspace_id in [each for each in sorted(self._owed) if not self._rests.looks_rest(each)]:
                # In a thread, since sorting a hundred thousand would hold up what is more urgent now.
                keys = iter(await asyncio.to_thread(self._keys_of, workspace_id))
                while not self._rests.looks_rest(workspace_id) and (taken := list(islice(keys, SHARE))):
                    self._queue(taken, keep=True)
                    await self._until_taken()
                if not self._rests.looks_rest(workspace_id):
                    self._owed.discard(workspace_id)
                    self._note()

    def _keys_of(self, workspace_id: str) -> list[RecordingKey]:
        # Copied in one step, for the loop goes on changing it.
        return sorted(key for key in list(self._catalog.desired) if key.workspace_id == workspace_id)

    def _queue(self, keys: Iterable[RecordingKey], *, keep: bool) -> None:
        """Ask for a look at each.

        Args:
            keys: the recordings.
            keep: leave its turn to one that was queued before, and that still waits for its share of the budget.
        """
        for key in keys:
            first = key in self.first_pass
            if self._rests.looks_rest(key.workspace_id):
                self._owed.add(key.workspace_id)
                if not first:
                    continue
                # Its first turn writes down what is wanted, and why it must wait.
            if not (keep and key in self.unseen and key in self._workers.queue):
                self._workers.add(key, Priority.RESYNC, passes=first)
            self.unseen.add(key)

    async def _until_taken(self) -> None:
        await asyncio.sleep(0)
        while self._workers.queue.ready > SHARE // 2:  # noqa: ASYNC110 - turns have no event
            await asyncio.sleep(SHARE_SECONDS)

    async def _keys_to_look_at(self, *, everything: bool) -> list[RecordingKey]:
        """Return what the next resync looks at: of what has ended, which nothing can change, only now and then."""
        self._passes += 1
        if self._all_rest():
            return []
        skipped = frozenset[RecordingKey]() if everything or self._passes % FINAL_EVERY == 0 else self._final
        while True:
            try:
                keys = await asyncio.to_thread(self._every_key)
            except StoreError as error:
                self._unreadable.met(error)
                await asyncio.sleep(TICK_SECONDS)
            else:
                return [key for key in keys if key not in skipped]

    def _all_rest(self) -> bool:
        """Whether there is nobody to ask; then not even the state is read for it, and all are owed a look."""
        if not len(self._rests) or self.first_pass:
            return False
        workspaces = {key.workspace_id for key in list(self._catalog.desired)}
        if not all(self._rests.looks_rest(each) for each in workspaces):
            return False
        self._owed |= workspaces
        return True

    def _note(self) -> None:
        """Say that a resync is done once everything has been answered."""
        if self._all_queued and not self.unseen and not self._owed:
            self._all_queued = False
            self.last = self._clock.now()
            self._done()

    def _share(self, period_seconds: float) -> int:
        """Return how many recordings a tick takes, so that all are taken in nine tenths of the period."""
        ticks = max(1.0, period_seconds * 0.9 / TICK_SECONDS)
        return -int(-len(self._catalog.desired) // ticks)

    async def _pause(self, now: asyncio.Event, seconds: float) -> bool:
        """Wait, and return whether somebody asked for everything now."""
        try:
            async with asyncio.timeout(seconds):
                await now.wait()
        except TimeoutError:
            return False
        return True
