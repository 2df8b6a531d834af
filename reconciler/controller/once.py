"""Look at many calls, or bring many recordings to their end, once: what the commands do and the daemon does for ever.

Both go through the work queue, so that a command waits, retries and shares looks exactly as the daemon does. A command
ends, therefore what keeps failing is given up after a while and reported.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from reconciler.model import (
    CallKey,
    Clock,
    CredentialRefused,
    Desired,
    Live,
    Outcome,
    Phase,
    Priority,
    ProviderError,
    Reason,
    Record,
    RecordingKey,
    Unavailable,
)
from reconciler.plan import contradicts
from reconciler.reconcile import LiveReader, Observer, Turn, with_look
from reconciler.work import Again, Workers, retry_seconds

K = TypeVar("K", CallKey, RecordingKey)

#: Told after each finished piece of work.
Progress = Callable[[], object]


@dataclass(slots=True)
class Observed:
    """What a look at many calls found."""

    live: dict[RecordingKey, Live] = field(default_factory=dict)
    #: Calls that could not be read, and why.
    failures: dict[CallKey, ProviderError] = field(default_factory=dict)
    #: What was seen first of recordings that were looked at twice.
    doubted: dict[RecordingKey, Live] = field(default_factory=dict)

    def records(self, applied: Mapping[RecordingKey, Record]) -> Mapping[RecordingKey, Record]:
        """Return our records as they stood before the look that counts: with the first of two."""
        if not self.doubted:
            return applied
        return {**applied, **{key: with_look(applied[key], live) for key, live in self.doubted.items()}}

    @property
    def unauthorized(self) -> bool:
        """Whether a workspace refused the key."""
        return any(isinstance(error, CredentialRefused) for error in self.failures.values())

    def unread(self, keys: Iterable[RecordingKey]) -> frozenset[RecordingKey]:
        """Return those of the keys whose call could not be read."""
        return frozenset(key for key in keys if key.call in self.failures)


async def observe_all(
    keys: Collection[RecordingKey],
    reader: LiveReader,
    observer: Observer,
    *,
    clock: Clock,
    concurrency: int,
    give_up_seconds: float,
    progress: Progress,
    stop: asyncio.Event,
) -> Observed:
    """Look at the live state of many recordings: one list for each call, however many recordings it has.

    Args:
        keys: the recordings.
        reader: the API client.
        observer: is told each answer, so that a PATCH that follows at once need not look again.
        clock: time and chance.
        concurrency: how many calls are read at once.
        give_up_seconds: how long a call that cannot be read is tried again.
        progress: told once for each call.
        stop: ends it early.
    """
    wanted: dict[CallKey, set[str]] = {}
    for key in keys:
        wanted.setdefault(key.call, set()).add(key.recording_id)
    observed = Observed()
    refused: dict[str, CredentialRefused] = {}
    attempts: dict[CallKey, int] = {}
    started = clock.monotonic()

    def give_up(call: CallKey, error: ProviderError) -> None:
        observed.failures[call] = error
        progress()

    async def look(call: CallKey, priority: Priority) -> Again | None:
        if call.workspace_id in refused:
            give_up(call, refused[call.workspace_id])
            return None
        asked_at = clock.now()
        try:
            answers = await reader.observe_call(call, wanted[call], priority=priority)
        except CredentialRefused as error:
            refused[call.workspace_id] = error
            give_up(call, error)
            return None
        except Unavailable as error:
            if clock.monotonic() - started >= give_up_seconds:
                give_up(call, error)
                return None
            attempts[call] = attempts.get(call, 0) + 1
            seconds = retry_seconds(attempts[call], clock.random, at_least=error.retry_after or 0.0)
            return Again(seconds, Priority.RETRY)
        except ProviderError as error:
            give_up(call, error)
            return None
        observer.put(call, asked_at, answers)
        for recording_id in wanted[call]:
            observed.live[RecordingKey(*call, recording_id)] = answers[recording_id]
        progress()
        return None

    # Reads may be broken off at once: whoever asks to stop here has sent nothing.
    await _work_all(wanted, look, Priority.EDIT, clock, concurrency, stop, drain_seconds=0.0)
    return observed


def doubtful(
    desired: Iterable[Desired], applied: Mapping[RecordingKey, Record], live: Mapping[RecordingKey, Live]
) -> list[RecordingKey]:
    """Return the recordings whose look contradicts what was seen of them a moment ago: to be looked at once more."""
    found = []
    for document in desired if applied else ():
        record, seen = applied.get(document.key), live.get(document.key)
        differs = seen is not None and not seen.satisfies(document.status)
        if seen is not None and differs and contradicts(record, document.status, seen):
            found.append(document.key)
    return found


async def converge(
    keys: Iterable[RecordingKey],
    reconcile: Callable[[RecordingKey, Priority], Awaitable[Turn]],
    *,
    clock: Clock,
    concurrency: int,
    give_up_seconds: float,
    look_again_seconds: float,
    progress: Progress,
    stop: asyncio.Event,
) -> dict[RecordingKey, Turn]:
    """Give each recording turns until it is applied, or refused, or has nothing left to wait for.

    Args:
        keys: the recordings.
        reconcile: does one turn.
        clock: time and chance.
        concurrency: how many turns run at once.
        give_up_seconds: how long what keeps failing is tried again.
        look_again_seconds: how long a recording that is not found is looked for.
        progress: told once for each recording.
        stop: ends it early; turns that are running then end first.

    Returns:
        The last turn of each recording that came to an end.
    """
    turns: dict[RecordingKey, Turn] = {}
    started = clock.monotonic()

    async def turn(key: RecordingKey, priority: Priority) -> Again | None:
        result = await reconcile(key, priority)
        elapsed = clock.monotonic() - started
        exhausted = result.outcome is Outcome.FAILED and elapsed >= give_up_seconds
        if result.again is not None and result.reason is Reason.NOT_FOUND and result.phase is Phase.WAITING:
            left = look_again_seconds - elapsed
            # The last look comes when the time is up, not when the growing waits would have it.
            if left > 0:
                return replace(result.again, after_seconds=min(result.again.after_seconds, left))
        elif result.again is not None and not exhausted and not _settled(result):
            return result.again
        turns[key] = result
        progress()
        return None

    await _work_all(keys, turn, Priority.EDIT, clock, concurrency, stop)
    return turns


def _settled(turn: Turn) -> bool:
    """Return whether coming back would only wait for somebody or something outside this command."""
    if turn.phase is Phase.WAITING:
        # A doubt, or a request of an earlier process, is over in moments; until then nothing has been decided.
        return turn.reason in (None, Reason.NOT_CONTROLLABLE)
    return turn.phase in (Phase.HELD, Phase.REFUSED, Phase.UNCONFIRMED) or isinstance(turn.error, CredentialRefused)


async def _work_all(
    keys: Iterable[K],
    turn: Callable[[K, Priority], Awaitable[Again | None]],
    priority: Priority,
    clock: Clock,
    concurrency: int,
    stop: asyncio.Event,
    *,
    drain_seconds: float = 10.0,
) -> None:
    raised: list[Exception] = []

    def failed(_key: K, error: Exception) -> None:
        raised.append(error)
        stop.set()

    workers = Workers(turn, concurrency=concurrency, now=clock.monotonic, failed=failed)
    # Those of one call side by side, so that they share its looks.
    for key in sorted(keys):
        workers.add(key, priority)
    await workers.work(stop, until_idle=True, drain_seconds=drain_seconds)
    if raised:
        raise raised[0]
