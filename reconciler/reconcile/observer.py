"""Looks at live state by call, and shares each look between all recordings of the call that want one at once.

It caches nothing for long: an answer serves those who asked for a look no older than it is, and is then forgotten.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from reconciler.model import CallKey, Live, Priority, RecordingKey

#: How many calls' last answers are kept. A look is wanted again within seconds or not at all.
_KEPT_CALLS = 1024


class LiveReader(Protocol):
    """What the observer needs of the API client."""

    async def observe_call(self, call: CallKey, wanted: Collection[str], *, priority: Priority) -> dict[str, Live]: ...


@dataclass(slots=True)
class _Look:
    started_at: datetime
    priority: Priority
    wanted: set[str]
    task: asyncio.Task[dict[str, Live]]


class Observer:
    """Reads live state, one list of a call for all who ask about that call at the same time."""

    def __init__(self, reader: LiveReader, now: Callable[[], datetime]) -> None:
        self._reader = reader
        self._now = now
        self._looking: dict[CallKey, _Look] = {}
        self._seen: OrderedDict[CallKey, tuple[datetime, dict[str, Live]]] = OrderedDict()

    def put(self, call: CallKey, started_at: datetime, answers: dict[str, Live]) -> None:
        """Take in a look; one that began before the last known one (and took longer) is of no more use."""
        seen = self._seen.get(call)
        if seen is not None and started_at < seen[0] <= self._now():
            return
        self._seen[call] = (started_at, answers)
        self._seen.move_to_end(call)
        while len(self._seen) > _KEPT_CALLS:
            self._seen.popitem(last=False)

    def forget(self, call: CallKey) -> None:
        """Drop what is known of a call, because something was just sent to it."""
        self._seen.pop(call, None)

    async def observe(self, key: RecordingKey, *, since: datetime, priority: Priority) -> Live:
        """Return what the API says about a recording, asked no earlier than `since`.

        Raises:
            ProviderError: the look failed; everyone who shared it gets the same error.
        """
        call, recording_id = key.call, key.recording_id
        # What began later than now is of before the clock was set back: nobody knows how old it is.
        seen = self._seen.get(call)
        if seen is not None and since <= seen[0] <= self._now() and recording_id in seen[1]:
            return seen[1][recording_id]
        while True:
            look = self._looking.get(call)
            # One that has ended waits only for its callback; to wait for it would not let that callback run.
            joined = (
                look is not None
                and not look.task.done()
                and since <= look.started_at <= self._now()
                and look.priority <= priority
            )
            if look is None or not joined:
                look = self._start(call, priority)
            look.wanted.add(recording_id)
            answers = await asyncio.shield(look.task)
            if recording_id in answers or not joined:
                return answers[recording_id]
            # The list had been read to its end when this one joined; all who came too late share the next look.

    def _start(self, call: CallKey, priority: Priority) -> _Look:
        wanted: set[str] = set()
        started_at = self._now()
        task = asyncio.create_task(self._reader.observe_call(call, wanted, priority=priority))
        look = _Look(started_at, priority, wanted, task)
        self._looking[call] = look

        def ended(task: asyncio.Task[dict[str, Live]]) -> None:
            if self._looking.get(call) is look:
                del self._looking[call]
            if not task.cancelled() and task.exception() is None:
                self.put(call, started_at, task.result())

        task.add_done_callback(ended)
        return look
