"""What the documents say anew becomes turns: each change is judged as one set, then every key of it gets its turn.

What must never happen here: an edit that waits behind a resync, or one that is lost since the state could not be read.
"""

from __future__ import annotations

import asyncio

from reconciler.controller.judging import Judge
from reconciler.controller.parts import Following, Waiting
from reconciler.controller.resync import TICK_SECONDS
from reconciler.desired import CatalogChange
from reconciler.model import Priority, Status, StoreError
from reconciler.reconcile import Reconciler
from reconciler.telemetry import Alarm, Metrics


class Intake:
    """Takes in what changed in force."""

    def __init__(
        self,
        following: Following,
        judge: Judge,
        reconciler: Reconciler,
        waiting: Waiting,
        unreadable: Alarm,
        metrics: Metrics,
    ) -> None:
        self._following = following
        self._judge = judge
        self._reconciler = reconciler
        self._waiting = waiting
        self._unreadable = unreadable
        self._metrics = metrics

    async def follow(self, stop: asyncio.Event, poll_seconds: float) -> None:
        """Take in each change until `stop` is set.

        Args:
            stop: ends it.
            poll_seconds: how often files are compared without an event.
        """
        async for change in self._following.follower.changes(stop, poll_seconds=poll_seconds):
            while not stop.is_set():
                try:
                    self._take_in(change)
                    break
                except StoreError as error:
                    # Nothing could be sent without the state, so the change waits until it can be read again.
                    self._unreadable.met(error)
                    await asyncio.sleep(TICK_SECONDS)

    def _take_in(self, change: CatalogChange) -> None:
        desired = self._following.catalog.desired
        self._following.declared(desired[key] for key in change.changed)
        self._judge.announce(change.changed)
        # Those of one call side by side, so that they share its looks.
        for key in sorted((*change.changed, *change.removed)):
            self._reconciler.saw_edit(key)
            document = desired.get(key)
            pause = document is not None and document.status is Status.PAUSED
            # It has its turn even where its workspace is left alone: what was asked for is written down.
            self._waiting.workers.add(key, Priority.PAUSE if pause else Priority.EDIT, passes=True)
        for workspace_id in {key.workspace_id for key in change.changed}:
            self._waiting.rests.edit_came(workspace_id)
        self._metrics.invalid_files.set(len(self._following.catalog.invalid))
