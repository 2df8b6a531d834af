"""Work through many keys once: what a command does with the queue and the workers that the daemon has for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

from reconciler.model import CallKey, Clock, Priority, RecordingKey
from reconciler.work import Again, Workers

K = TypeVar("K", CallKey, RecordingKey)

#: Told after each finished piece of work.
Progress = Callable[[], object]
#: How long turns under way may take to end after a stop, in seconds.
DRAIN_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How much a command does at once, and for how long it tries what does not succeed (seconds)."""

    #: How many calls are read at once, and how many turns run at once.
    reads_at_once: int
    turns_at_once: int
    #: How long what keeps failing is tried again.
    give_up_seconds: float
    #: How long a recording that is not found is looked for.
    look_again_seconds: float


async def work_through(
    keys: Iterable[K],
    turn: Callable[[K, Priority], Awaitable[Again | None]],
    priority: Priority,
    clock: Clock,
    concurrency: int,
    stop: asyncio.Event,
    *,
    drain_seconds: float = DRAIN_SECONDS,
) -> None:
    """Give each key turns until none of them wishes to come back, or until `stop` is set.

    Args:
        keys: the keys.
        turn: does one turn of one key, and answers whether it wishes to come back.
        priority: the class of every first turn.
        clock: time.
        concurrency: how many turns run at once.
        stop: ends it early.
        drain_seconds: how long turns under way may take to end then.

    Raises:
        Exception: what a turn raised; the others have been ended before.
    """
    raised: list[Exception] = []

    def failed(_key: K, error: Exception) -> None:
        raised.append(error)
        stop.set()

    workers = Workers(turn, concurrency=concurrency, now=clock.monotonic, failed=failed, group_of=lambda _key: None)
    # Those of one call side by side, so that they share its looks.
    for key in sorted(keys):
        workers.add(key, priority)
    await workers.work(stop, until_idle=True, drain_seconds=drain_seconds)
    if raised:
        raise raised[0]
