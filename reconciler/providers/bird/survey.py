"""What there is at Bird: calls listed, and what is known of them. For `import` and `doctor`; the daemon lists no calls.

What must never happen here: anything that is known of the people in a call (numbers, names) gets out, a list that is
read without end, or a write; `Survey` asks for nothing but reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from reconciler.model import CallKey, Priority, RecordingKey, parse_uuid
from reconciler.providers.bird.client import CALL_PAGES, PAGE_SIZE, Bird
from reconciler.providers.bird.guard import Route, call_path
from reconciler.providers.bird.pages import read_pages, unexpected

#: How Bird's words look: `incoming`, `no-answer`, `call-command-record`. No number and no name does.
_WORD: Final = re.compile(r"[a-z]+(?:-[a-z]+){0,5}")
_WORD_CHARACTERS: Final = 40


@dataclass(frozen=True, slots=True)
class CallRecord:
    """What may be known of a call; who speaks to whom is not among it."""

    workspace_id: str
    #: None where a list does not say it.
    channel_id: str | None
    call_id: str
    #: Bird's word; empty where there is none.
    status: str
    #: `incoming`, `outgoing`, or empty where it is not said.
    direction: str
    #: When it was answered, or else made.
    began_at: datetime | None


@dataclass(frozen=True, slots=True)
class CallPage:
    """One page of a list of calls, and the token of the next; None after the last."""

    calls: tuple[CallRecord, ...]
    next_token: str | None


@dataclass(frozen=True, slots=True)
class RecordingRecord:
    """A recording in the list of its call."""

    key: RecordingKey
    #: Bird's word; empty where there is none.
    status: str
    #: Bird's word for what it was begun by; empty where it is not said.
    origin: str
    began_at: datetime | None


@dataclass(frozen=True, slots=True)
class Proof:
    """What a read was answered that was made to find out whether the key may make it."""

    #: Whether there was an answer to it; a 404 proves nothing, since a missing right may be answered so as well.
    granted: bool
    #: In a list, what the first entry names: `id`, `channelId`, `callId`, as far as they are UUIDs.
    first: Mapping[str, str]


class Survey(Bird):
    """The client of `import` and `doctor`."""

    async def page_of_calls(
        self,
        workspace_id: str,
        channel_id: str | None = None,
        *,
        call_id: str | None = None,
        token: str | None = None,
        priority: Priority,
    ) -> CallPage:
        """Read one page of the calls of a workspace or a channel, ended ones among them.

        A workspace or channel that is not known has none, as far as can be told. No filter is sent but that for one
        call: which statuses of a call can have live recordings is an open set.

        Args:
            workspace_id: the workspace.
            channel_id: only this channel's.
            call_id: only this call's; for the list of a workspace.
            token: the page token that the last page gave.
            priority: the class in which the read waits for its turn.

        Source: https://docs.bird.com/api/voice-api/voice-calls-api/get-calls-log and
        https://docs.bird.com/api/voice-api/voice-calls-api/list-calls-from-a-channel
        """
        route, target = _calls_target(workspace_id, channel_id)
        target += f"?limit={PAGE_SIZE}"
        if call_id is not None:
            target += f"&id={parse_uuid(call_id)}"
        if token is not None:
            target += f"&pageToken={quote(token, safe='')}"
        answer = await self._wire.get(route, workspace_id, target, priority)
        if answer.status == 404:
            return CallPage((), None)
        content = answer.content
        if not isinstance(content, dict) or not isinstance(content.get("results"), list):
            raise unexpected(route, "holds no list of results")
        following = content.get("nextPageToken") or None
        if following is not None and not isinstance(following, str):
            raise unexpected(route, "has a page token that is not text")
        records = (_call_record(entry, workspace_id, channel_id) for entry in content["results"])
        return CallPage(tuple(record for record in records if record is not None), following)

    async def read_call(self, call: CallKey, *, priority: Priority) -> CallRecord | None:
        """Read what is known of one call, or None where the API does not know it.

        Source: https://docs.bird.com/api/voice-api/voice-calls-api/get-a-call
        """
        record = await self._get_call(call, priority)
        if record is None:
            return None
        return _call_record({**record, "id": call.call_id}, call.workspace_id, call.channel_id)

    async def read_recordings(self, call: CallKey, *, priority: Priority) -> tuple[RecordingRecord, ...]:
        """Read the active recordings of a call, in the order in which they are listed; none once it has ended.

        Source: https://docs.bird.com/api/voice-api/voice-calls-api/list-call-recordings-of-a-call
        """
        found: dict[str, RecordingRecord] = {}
        count = 0
        target = f"{call_path(call)}/recordings?limit={PAGE_SIZE}"
        async with aclosing(
            read_pages(self._wire, Route.CALL_RECORDINGS, call.workspace_id, target, priority)
        ) as pages:
            async for entries, _ in pages:
                for entry in entries:
                    recording_id = _uuid(entry.get("id"))
                    if recording_id is not None:
                        # Pages may overlap while calls end: the later page knows better.
                        found[recording_id] = RecordingRecord(
                            RecordingKey(*call, recording_id),
                            _word(entry.get("status")),
                            _word(entry.get("origin")),
                            _moment(entry, "startedAt", "createdAt"),
                        )
                count += 1
                if count > CALL_PAGES:
                    raise unexpected(
                        Route.CALL_RECORDINGS, f"does not end after {CALL_PAGES} pages", code="endless_list"
                    )
        return tuple(found.values())

    async def prove(self, route: Route, workspace_id: str, *ids: str) -> Proof:
        """Ask one read for the sake of knowing whether the key may ask it.

        Args:
            route: the route.
            workspace_id: the workspace.
            ids: what stands for the other parts of the route, in its order.

        Raises:
            ProviderError: any other answer than 200 or 404; `CredentialRefused` says that the right is missing.
        """
        parts = iter((workspace_id, *ids))
        target = re.sub(r"\{\w\}", lambda _: parse_uuid(next(parts)), route.value)
        is_list = route not in (Route.CALL, Route.RECORDING)
        answer = await self._wire.get(route, workspace_id, target + ("?limit=1" if is_list else ""), Priority.EDIT)
        return Proof(answer.status == 200, _first(answer.content) if is_list else {})


def _calls_target(workspace_id: str, channel_id: str | None) -> tuple[Route, str]:
    if channel_id is None:
        return Route.WORKSPACE_CALLS, f"/workspaces/{parse_uuid(workspace_id)}/channels/calls"
    target = f"/workspaces/{parse_uuid(workspace_id)}/channels/{parse_uuid(channel_id)}/calls"
    return Route.CHANNEL_CALLS, target


def _call_record(entry: object, workspace_id: str, channel_id: str | None) -> CallRecord | None:
    """Read a call; None for what has no ID that could become part of a path."""
    if not isinstance(entry, dict) or (call_id := _uuid(entry.get("id"))) is None:
        return None
    return CallRecord(
        workspace_id,
        channel_id or _uuid(entry.get("channelId")),
        call_id,
        _word(entry.get("status")),
        _word(entry.get("direction")),
        _moment(entry, "answeredAt", "createdAt"),
    )


def _first(content: object) -> dict[str, str]:
    results = content.get("results") if isinstance(content, dict) else None
    entry = results[0] if isinstance(results, list) and results else None
    if not isinstance(entry, dict):
        return {}
    found = {name: _uuid(entry.get(name)) for name in ("id", "channelId", "callId")}
    return {name: value for name, value in found.items() if value is not None}


def _uuid(value: object) -> str | None:
    try:
        return parse_uuid(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _word(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= _WORD_CHARACTERS and _WORD.fullmatch(value) else ""


def _moment(entry: Mapping[str, object], *names: str) -> datetime | None:
    """Read the first of some times that is there and has a zone."""
    for name in names:
        text = entry.get(name)
        try:
            moment = datetime.fromisoformat(text) if isinstance(text, str) else None
            if moment is not None and moment.tzinfo is not None:
                return moment.astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    return None
