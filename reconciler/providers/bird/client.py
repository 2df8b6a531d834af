"""What is asked of Bird, and what the answers mean: the live status of recordings, and the one write.

What must never happen here: the body of a 202 taken for an observation, a recording called gone before Bird has been
asked everywhere it could be, or a list read without end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from reconciler.model import (
    UUID_PATTERN,
    CallKey,
    Live,
    Postponed,
    Priority,
    RecordingKey,
    Rejected,
    Status,
    parse_uuid,
)
from reconciler.providers.bird.entries import as_live, call_word, gone_detail, has_ended, is_uuid, lower, period
from reconciler.providers.bird.guard import STATUS_BODIES, Route, call_path, recording_path
from reconciler.providers.bird.pages import read_pages, unexpected
from reconciler.providers.bird.wire import NOBODY, Connection, Listeners, Wire
from reconciler.providers.gate.gate import Gate

#: The largest page that every list takes: Bird's pages name 99, 100 and 1000 as the maximum, and defaults of 10 and 25.
PAGE_SIZE: Final = 99
#: Nobody records one call ten thousand times; an API that pages on beyond that has lost its way.
CALL_PAGES: Final = 100
#: How far each list of the workspace's recordings is followed in search of one that is not on its call. An API that
#: ignores the filter would otherwise hand over the workspace's whole history.
LOOKUP_PAGES: Final = 10
#: Of a recording; nothing else can be one that was asked for.
_IDENTIFIER: Final = re.compile(UUID_PATTERN)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The API took a PATCH in. Whether it took effect, only a later read can tell."""

    status_code: int
    #: From leaving the gate to the last byte of the answer, in milliseconds.
    took_ms: float
    requested_at: datetime


class _Elsewhere(NamedTuple):
    """Where a recording was found that is not on its call."""

    call_id: str
    #: Its word there.
    word: str

    def words(self, recording_id: str) -> str:
        return f"recording {recording_id} is on call {self.call_id} now, {self.word}: change callId"


class Bird:
    """The API of one address, for all workspaces. One for each process; use it as an asynchronous context manager."""

    def __init__(
        self,
        api_url: str,
        key_for: Callable[[str], str],
        gate: Gate,
        before_write: Callable[[], None],
        now: Callable[[], datetime],
        connection: Connection,
        listeners: Listeners = NOBODY,
    ) -> None:
        """Prepare the client; nothing is sent before the first question.

        Args:
            api_url: where the API is, such as ``https://api.bird.com``; a path in it becomes a prefix.
            key_for: gives the access key of a workspace; asked for each request, so that a changed key is picked up.
            gate: what every request passes.
            before_write: asked when a write has got its place, and once more when its connection is there, just before
                its first byte; what it raises is raised in place of the write.
            now: the wall clock, in aware UTC.
            connection: how requests are carried.
            listeners: who is told of requests.

        Raises:
            SettingsError: the address, or the environment's proxy, cannot be used.
        """
        self._gate = gate
        self._wire = Wire(api_url, key_for, gate, before_write, now, connection, listeners)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._wire.aclose()

    def postponed(self, workspace_id: str) -> Postponed | None:
        """Return why a PATCH to a workspace could not leave now, or None: to be asked before its intent is recorded."""
        return self._gate.postponed(workspace_id)

    def rest_seconds(self, workspace_id: str) -> float:
        """Return in how many seconds a PATCH may find out whether the workspace answers again; 0 where it may now."""
        return self._gate.circuits.rest_seconds(workspace_id, write=True)

    async def probe(self, call: CallKey) -> None:
        """Ask about one call for no other reason than to see whether its workspace is answered; any answer will do.

        Raises:
            Unavailable: there is still none.
            CredentialRefused: there is one, and the key is refused.
        """
        target = f"{call_path(call)}/recordings?limit=1"
        try:
            await self._wire.get(Route.CALL_RECORDINGS, call.workspace_id, target, Priority.EDIT, probing=True)
        except Rejected:
            pass  # An answer all the same.

    @property
    def least_rate(self) -> float:
        """The lowest present rate of all workspaces, in requests per second; 0 where there is no limit."""
        return self._gate.budget.least_rate()

    @property
    def open_circuits(self) -> int:
        """How many workspaces are left alone because they do not answer."""
        return self._gate.circuits.open

    @property
    def in_flight(self) -> int:
        """How many requests are under way."""
        return self._gate.budget.in_flight

    async def observe_call(self, call: CallKey, wanted: Collection[str], *, priority: Priority) -> dict[str, Live]:
        """Look at recordings of one call: one list as a rule, whatever their number.

        A recording that the list does not hold is asked for by itself, since the list covers active recordings of
        active calls only. If that too is a 404, the call is looked at and the workspace's recordings are searched, once
        for all that are missing.

        Args:
            call: the call.
            wanted: IDs of recordings, in lower case; it may grow until the list has been read.
            priority: the class in which the reads wait for their turn.

        Returns:
            For every ID that was wanted or listed what was seen of it; `gone`, with words about the call, where it is
            nowhere. That it has ended is concluded from a call that has, or from a final word among the workspace's
            recordings, and never from a 404: the API may lag, and may answer so where a right is missing.

        Raises:
            ProviderError: one of the reads failed; nothing is concluded from the others.
        """
        if not wanted:
            return {}
        listed = await self.list_recordings(call, priority=priority)
        # Whoever shares this look may have asked for more while the list was read; from here on the question stands.
        wanted = frozenset(wanted)
        # All that was listed, wanted or not: the next to ask about this call may be content with it.
        seen = dict(listed)
        missing: dict[str, datetime] = {}
        for recording_id in wanted:
            if recording_id not in listed:
                live, asked_at = await self._get_recording(RecordingKey(*call, recording_id), priority)
                if live is None:
                    missing[recording_id] = asked_at
                else:
                    seen[recording_id] = live
        if missing:
            record = await self._get_call(call, priority)
            found, elsewhere = await self._find_in_workspace(call, missing, record, priority)
            seen |= found
            detail, ended = gone_detail(record), has_ended(record)
            for recording_id, asked_at in missing.items():
                moved = elsewhere.get(recording_id)
                if recording_id not in found:
                    words = detail if moved is None else moved.words(recording_id)
                    moved_to = None if moved is None else moved.call_id
                    seen[recording_id] = Live.gone(asked_at, words, ended=ended and moved is None, moved_to=moved_to)
        return seen

    async def list_recordings(self, call: CallKey, *, priority: Priority) -> dict[str, Live]:
        """List the active recordings of a call, by ID; empty for a call that has ended or is unknown.

        Pages may overlap while calls end, so an ID can come twice: the word of the later page is the newer one.

        Source: https://docs.bird.com/api/voice-api/voice-calls-api/list-call-recordings-of-a-call. What it answers for
        a call that has ended is not documented, so a 404 and an empty list are treated alike.
        """
        route = Route.CALL_RECORDINGS
        target = f"{call_path(call)}/recordings?limit={PAGE_SIZE}"
        listed: dict[str, Live] = {}
        count = 0
        async with aclosing(read_pages(self._wire, route, call.workspace_id, target, priority)) as pages:
            async for entries, asked_at in pages:
                for entry in entries:
                    recording_id = lower(entry.get("id"))
                    if _IDENTIFIER.fullmatch(recording_id):
                        listed[recording_id] = as_live(entry, asked_at)
                count += 1
                if count > CALL_PAGES:
                    raise unexpected(route, f"does not end after {CALL_PAGES} pages", code="endless_list")
        return listed

    async def get_recording(self, key: RecordingKey, *, priority: Priority) -> Live | None:
        """Read one recording of a call, or None where the API knows none under this path.

        Source: https://docs.bird.com/api/voice-api/voice-calls-api/get-a-call-recording
        """
        live, _ = await self._get_recording(key, priority)
        return live

    async def get_call(self, call: CallKey, *, priority: Priority) -> str | None:
        """Read the status word of a call, or None where the API does not know the call.

        Source: https://docs.bird.com/api/voice-api/voice-calls-api/get-a-call
        """
        record = await self._get_call(call, priority)
        return None if record is None else call_word(record)

    async def find_workspace_recording(self, key: RecordingKey, *, priority: Priority) -> Live | None:
        """Look for a recording among those of the workspace, where recordings of ended calls are kept.

        Only a match on both the recording's and the call's ID counts: that the two lists share their IDs is assumed.
        """
        found, _ = await self._find_in_workspace(key.call, [key.recording_id], None, priority)
        return found.get(key.recording_id)

    async def set_status(self, key: RecordingKey, status: Status) -> Accepted:
        """Ask for a status of a recording: the only write that this program can make.

        Source: https://docs.bird.com/api/voice-api/voice-calls-api/update-a-call-recording. The 202 says `accepted`,
        not that the status is reached, and its body is not read.

        Raises:
            Unanswered: the fate of the write is unknown, and a read must come before another try.
            Unavailable: any other leaf of it: it was not processed.
            Rejected: the API refused it; the wanted status may hold already.
            CredentialRefused: the key was refused.
        """
        answer = await self._wire.patch(Route.RECORDING, key.workspace_id, recording_path(key), STATUS_BODIES[status])
        return Accepted(answer.status, answer.seconds * 1000.0, answer.asked_at)

    async def _get_recording(self, key: RecordingKey, priority: Priority) -> tuple[Live | None, datetime]:
        """Read one recording; also when it was asked for."""
        answer = await self._wire.get(Route.RECORDING, key.workspace_id, recording_path(key), priority)
        if answer.status == 404:
            return None, answer.asked_at
        if not isinstance(answer.content, dict) or lower(answer.content.get("id")) != key.recording_id:
            raise unexpected(Route.RECORDING, "is not the recording that was asked for")
        return as_live(answer.content, answer.asked_at), answer.asked_at

    async def _get_call(self, call: CallKey, priority: Priority) -> Mapping[str, Any] | None:
        answer = await self._wire.get(Route.CALL, call.workspace_id, call_path(call), priority)
        if answer.status == 404:
            return None
        if not isinstance(answer.content, dict):
            raise unexpected(Route.CALL, "is not an object")
        return answer.content

    async def _find_in_workspace(
        self, call: CallKey, missing: Collection[str], record: Mapping[str, Any] | None, priority: Priority
    ) -> tuple[dict[str, Live], dict[str, _Elsewhere]]:
        """Search the workspace's recordings, by filter after filter until all are found.

        Returns:
            What was found of the call, and what was found of the same IDs on another one, by the recording's ID.

        Source: https://docs.bird.com/api/voice-api/recordings-api/list-recordings. The filter named `id` is described
        as the call's ID; that `sourceId` is the call is assumed; so the channel and the time of the call come last.
        """
        found: dict[str, Live] = {}
        elsewhere: dict[str, _Elsewhere] = {}
        ended = has_ended(record)
        path = f"/workspaces/{parse_uuid(call.workspace_id)}/recordings?limit={PAGE_SIZE}"
        for query in (
            f"id={call.call_id}",
            f"sourceId={call.call_id}",
            f"channelId={call.channel_id}{period(record)}",
        ):
            count = 0
            async with aclosing(
                read_pages(self._wire, Route.WORKSPACE_RECORDINGS, call.workspace_id, f"{path}&{query}", priority)
            ) as pages:
                async for entries, asked_at in pages:
                    for entry in entries:
                        recording_id = lower(entry.get("id"))
                        if recording_id not in missing:
                            continue
                        call_id = lower(entry.get("sourceId"))
                        if call_id == call.call_id:
                            detail = "no longer on its call, but among the recordings that Bird keeps"
                            found[recording_id] = as_live(entry, asked_at, active=False, detail=detail, ended=ended)
                        elif is_uuid(call_id):
                            elsewhere[recording_id] = _Elsewhere(call_id, as_live(entry, asked_at).word)
                    count += 1
                    if len(found.keys() | elsewhere.keys()) == len(missing):
                        return found, elsewhere
                    if count == LOOKUP_PAGES:
                        break
        return found, elsewhere
