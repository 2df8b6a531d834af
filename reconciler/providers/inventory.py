"""Which recordings are live: calls listed to the end, and each call under way asked for its recordings.

Reads only. What must never happen here: a call that could not be read looks like one without recordings, or a list of
calls is followed for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from reconciler.model import (
    CallKey,
    Clock,
    CredentialRefused,
    Priority,
    ProviderError,
    ReconcilerError,
    Unanswered,
    Unavailable,
)
from reconciler.providers.bird import CallRecord, RecordingRecord, Survey
from reconciler.providers.bird.entries import ENDED_CALL
from reconciler.work import retry_seconds

T = TypeVar("T")

#: A list that brings nothing new for so many pages will bring nothing more, whatever tokens it gives.
BARREN_PAGES: Final = 100


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose recordings are wanted: a workspace's, a channel's or a call's."""

    workspace_id: str
    channel_id: str | None = None
    call_id: str | None = None


@dataclass(slots=True)
class Discovered:
    """What was found, in the order of calls and of their recordings."""

    recordings: list[tuple[CallRecord, RecordingRecord]] = field(default_factory=list)
    #: How many calls there are under way, and in all.
    under_way: int = 0
    calls: int = 0
    #: What is missing, and why, in words.
    missing: list[str] = field(default_factory=list)


async def discover(
    survey: Survey, scope: Scope, *, clock: Clock, concurrency: int, give_up_seconds: float
) -> Discovered:
    """Find the live recordings of a scope.

    Args:
        survey: the API.
        scope: where to look.
        clock: time and chance.
        concurrency: how many calls are asked at once.
        give_up_seconds: how long a read is tried again that fails in a way that waiting may cure.

    Raises:
        CredentialRefused: the key was refused.
        ProviderError: the calls cannot be listed.
        ReconcilerError: there is no such call.
    """
    patience = _Patience(clock, give_up_seconds)
    found = Discovered()
    if scope.call_id is not None:
        await _discover_call(survey, scope, patience, found)
        return found
    seen: set[str] = set()
    used: set[str] = set()
    token: str | None = None
    barren = 0
    while True:
        ask = partial(survey.page_of_calls, scope.workspace_id, scope.channel_id, token=token, priority=Priority.EDIT)
        page = await patience.read(ask)
        fresh = [call for call in page.calls if call.call_id not in seen]
        seen.update(call.call_id for call in fresh)
        found.calls += len(fresh)
        await _ask_calls(survey, fresh, patience, concurrency, found)
        barren = 0 if fresh else barren + 1
        # Some answer every list with a token, and always with the same one.
        if page.next_token is None or page.next_token in used:
            return found
        if barren >= BARREN_PAGES:
            raise Unanswered(
                f"the list of calls has brought nothing new for {BARREN_PAGES} pages and does not end",
                code="endless_list",
            )
        token = page.next_token
        used.add(token)


async def _discover_call(survey: Survey, scope: Scope, patience: _Patience, found: Discovered) -> None:
    workspace_id, channel_id, call_id = scope.workspace_id, scope.channel_id, scope.call_id
    assert call_id is not None  # noqa: S101 - said by the caller
    if channel_id is None:
        page = await patience.read(lambda: survey.page_of_calls(workspace_id, call_id=call_id, priority=Priority.EDIT))
        listed = next((call for call in page.calls if call.call_id == call_id), None)
        if listed is None or listed.channel_id is None:
            why = "is not among the calls of the workspace" if listed is None else "is listed without its channel"
            raise ReconcilerError(f"call {call_id} {why}: check its ID, or name its channel with --channel")
        channel_id = listed.channel_id
    key = CallKey(workspace_id, channel_id, call_id)
    call = await patience.read(lambda: survey.read_call(key, priority=Priority.EDIT))
    if call is None:
        raise ReconcilerError(
            f"Bird does not know call {call_id}: check the workspace, the channel and the call, and that the key may"
            " view calls"
        )
    found.calls = 1
    await _ask_calls(survey, [call], patience, 1, found)


async def _ask_calls(
    survey: Survey, calls: Sequence[CallRecord], patience: _Patience, concurrency: int, found: Discovered
) -> None:
    """Ask each call under way for its recordings, and note them in the order of the calls."""
    places = asyncio.Semaphore(concurrency)
    wanted = [call for call in calls if call.status not in ENDED_CALL]
    found.under_way += len(wanted)

    async def ask(call: CallRecord) -> list[tuple[CallRecord, RecordingRecord]] | str:
        if call.channel_id is None:
            return f"call {call.call_id} is listed without its channel: import it with --channel"
        key = CallKey(call.workspace_id, call.channel_id, call.call_id)
        async with places:
            try:
                recordings = await patience.read(lambda: survey.read_recordings(key, priority=Priority.EDIT))
                if recordings and not call.direction:
                    # Lists need not say all that the call itself says.
                    full = await patience.read(lambda: survey.read_call(key, priority=Priority.EDIT))
                    call = call if full is None else full
            except CredentialRefused:
                raise
            except ProviderError as error:
                return f"call {call.call_id} could not be read: {error}"
        return [(call, recording) for recording in recordings]

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask(call)) for call in wanted]
    except* CredentialRefused as refused:
        raise refused.exceptions[0] from None
    for task in tasks:
        answer = task.result()
        if isinstance(answer, str):
            found.missing.append(answer)
        else:
            found.recordings.extend(answer)


class _Patience:
    """Tries a read again after growing waits, as long as waiting may help."""

    def __init__(self, clock: Clock, give_up_seconds: float) -> None:
        self._clock = clock
        self._give_up_seconds = give_up_seconds

    async def read(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Return what a read answers.

        Raises:
            ProviderError: it failed for good, or for too long.
        """
        until = self._clock.monotonic() + self._give_up_seconds
        attempts = 0
        while True:
            try:
                return await ask()
            except Unavailable as error:
                attempts += 1
                seconds = retry_seconds(attempts, self._clock.random, at_least=error.retry_after or 0.0)
                if self._clock.monotonic() + seconds >= until:
                    raise
            await asyncio.sleep(seconds)
