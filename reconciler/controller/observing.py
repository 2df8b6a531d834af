"""Look at the live state of many recordings once, for a plan: each call is read once, a contradiction twice.

What cannot be read is tried again for a while, then reported with its reason. What must never happen here: a recording
that could not be read and counts as seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from reconciler.controller.pace import Pace, Progress, work_through
from reconciler.model import (
    CallKey,
    Clock,
    CredentialRefused,
    Desired,
    Live,
    Priority,
    ProviderError,
    Record,
    RecordingKey,
    Unavailable,
)
from reconciler.plan import contradicts
from reconciler.reconcile import CONTRADICTED_SECONDS, LiveReader, Observer, with_look
from reconciler.work import Again, retry_seconds


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


async def look(
    desired: Sequence[Desired],
    records: Mapping[RecordingKey, Record],
    reader: LiveReader,
    observer: Observer,
    *,
    clock: Clock,
    pace: Pace,
    reading: Callable[[int], AbstractContextManager[Progress]],
) -> Observed:
    """Look at the live state of every document's recording; what contradicts a record of a moment ago, twice.

    Whoever asks to stop meanwhile breaks it off: nothing has been sent.

    Args:
        desired: the documents.
        records: what is recorded of them.
        reader: the API client.
        observer: is told each answer, so that a PATCH that follows at once need not look again.
        clock: time and chance.
        pace: how many calls are read at once, and for how long one that fails is tried again.
        reading: shows the progress of reading so many calls.
    """

    async def observe(keys: Collection[RecordingKey]) -> Observed:
        with reading(len({key.call for key in keys})) as progress:
            return await observe_all(
                keys,
                reader,
                observer,
                clock=clock,
                concurrency=pace.reads_at_once,
                give_up_seconds=pace.give_up_seconds,
                progress=progress,
                stop=asyncio.Event(),
            )

    observed = await observe([document.key for document in desired])
    doubted = doubtful(desired, records, observed.live)
    if doubted:
        await asyncio.sleep(CONTRADICTED_SECONDS)
        again = await observe(doubted)
        observed.doubted = {key: observed.live.pop(key) for key in doubted}
        observed.live |= again.live
        observed.failures |= again.failures
    return observed


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
    await work_through(wanted, look, Priority.EDIT, clock, concurrency, stop, drain_seconds=0.0)
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
