"""A dictionary that answers like Bird: behind an `httpx.MockTransport`, no socket, no time of its own.

It keeps every request, can be late (in answering, or in letting a PATCH take effect), can be told to fail, and fails
the test on any write but the one allowed.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from dataclasses import dataclass, field

import httpx

from reconciler.model.keys import CallKey, RecordingKey
from reconciler.model.statuses import Status

KEY = "canary-access-key-5150"
API_URL = "https://bird.test"

_ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_CALL = re.compile(f"/workspaces/({_ID})/channels/({_ID})/calls/({_ID})")
_CALL_RECORDINGS = re.compile(_CALL.pattern + "/recordings")
_RECORDING = re.compile(_CALL_RECORDINGS.pattern + f"/({_ID})")
_WORKSPACE_RECORDINGS = re.compile(f"/workspaces/({_ID})/recordings")
_FINAL = ("completed", "available", "absent", "failed")


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: httpx.Headers
    body: bytes


@dataclass
class _Fault:
    method: str
    answer: httpx.Response | Exception
    takes_effect: bool


@dataclass
class FakeBird:
    """A world of recordings that tests set up, change and look at through its dictionaries.

    Attributes:
        recordings: the status word of each recording that its call's paths know.
        calls: the status word of each call; a call that is not here is unknown.
        archive: the status word of each recording among the workspace's; nothing of `recordings` is there by itself.
        requests: everything that arrived, in order.
        late_reads: how many answers about a recording still show its old status after a PATCH.
        gate: answers wait until it is set.
        page_size: how many results a page holds at most, whatever `limit` says.
        same_token: every list answers with one and the same page token, for ever.
        listed: False leaves all recordings out of the call's list.
    """

    key: str = KEY
    recordings: dict[RecordingKey, str] = field(default_factory=dict)
    calls: dict[CallKey, str] = field(default_factory=dict)
    archive: dict[RecordingKey, str] = field(default_factory=dict)
    requests: list[Seen] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    late_reads: int = 0
    gate: asyncio.Event | None = None
    page_size: int = 99
    same_token: bool = False
    listed: bool = True
    _faults: deque[_Fault] = field(default_factory=deque)
    _late: dict[RecordingKey, tuple[int, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.transport = httpx.MockTransport(self._answer)

    def add(self, key: RecordingKey, status: str = "ongoing", *, call: str = "ongoing") -> None:
        """Put a recording, and its call, into the world."""
        self.recordings[key] = status
        self.calls[key.call] = call

    def end_call(self, call: CallKey) -> None:
        """End a call: its recordings move to the workspace's, as available."""
        self.calls[call] = "completed"
        for key in [key for key in self.recordings if key.call == call]:
            word = self.recordings.pop(key)
            self.archive[key] = word if word in _FINAL and word != "completed" else "available"

    def fail(
        self, method: str, answer: int | httpx.Response | Exception, *, times: int = 1, takes_effect: bool = False
    ) -> None:
        """Answer the next requests of a method with a status, a response or a network fault."""
        for _ in range(times):
            if isinstance(answer, int):
                fault: httpx.Response | Exception = httpx.Response(answer, json=_error(f"Fault{answer}"))
            else:
                fault = answer
            self._faults.append(_Fault(method, fault, takes_effect))

    def settle(self) -> None:
        """Let every late PATCH take effect now."""
        for key, (_, status) in self._late.items():
            self.recordings[key] = status
        self._late.clear()

    @property
    def patches(self) -> list[tuple[RecordingKey, str]]:
        """Every PATCH that arrived, whatever was answered, in order."""
        return [
            (RecordingKey(*match.groups()), json.loads(seen.body)["status"])
            for seen in self.requests
            if seen.method == "PATCH" and (match := _RECORDING.fullmatch(seen.path))
        ]

    @property
    def reads(self) -> list[str]:
        """The paths of every read that arrived, in order."""
        return [seen.path for seen in self.requests if seen.method == "GET"]

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        query = dict(request.url.params)
        seen = Seen(request.method, request.url.path, query, request.headers, request.content)
        self.requests.append(seen)
        self._check_write(seen)
        if self.gate is not None:
            await self.gate.wait()
        if seen.headers.get("authorization") != f"AccessKey {self.key}":
            return httpx.Response(401, json=_error("Unauthorized"))
        fault = next((fault for fault in self._faults if fault.method == seen.method), None)
        if fault is None:
            return self._route(seen)
        self._faults.remove(fault)
        if fault.takes_effect:
            self._route(seen)
        if isinstance(fault.answer, Exception):
            raise fault.answer
        return fault.answer

    def _check_write(self, seen: Seen) -> None:
        if seen.method == "GET" and not seen.body:
            return
        bodies = [{"status": status.value} for status in Status]
        place_is_right = seen.method == "PATCH" and _RECORDING.fullmatch(seen.path) and not seen.query
        json_is_sent = seen.headers.get("content-type") == "application/json"
        if place_is_right and json_is_sent and json.loads(seen.body) in bodies:
            return
        violation = f"{seen.method} {seen.path} {seen.body!r} must never be sent"
        # Kept as well, for a test whose subject swallows what its transport raises.
        self.violations.append(violation)
        raise AssertionError(violation)

    def _route(self, seen: Seen) -> httpx.Response:
        if match := _RECORDING.fullmatch(seen.path):
            key = RecordingKey(*match.groups())
            return self._patch(key, seen.body) if seen.method == "PATCH" else self._recording(key)
        if match := _CALL_RECORDINGS.fullmatch(seen.path):
            return self._call_recordings(CallKey(*match.groups()), seen.query)
        if match := _CALL.fullmatch(seen.path):
            call = CallKey(*match.groups())
            if call not in self.calls:
                return _not_found()
            return httpx.Response(
                200,
                json={
                    "id": call.call_id,
                    "status": self.calls[call],
                    "from": "+15005550006",
                    "createdAt": "2026-01-15T09:30:00.000Z",
                },
            )
        if match := _WORKSPACE_RECORDINGS.fullmatch(seen.path):
            return self._workspace_recordings(match[1], seen.query)
        return _not_found()

    def _patch(self, key: RecordingKey, body: bytes) -> httpx.Response:
        if key not in self.recordings or self.calls.get(key.call) == "completed":
            return _not_found()
        if self.recordings[key] in _FINAL:
            return httpx.Response(422, json=_error("InvalidPayload"))
        status = json.loads(body)["status"]
        if self.late_reads:
            self._late[key] = (self.late_reads, status)
        else:
            self.recordings[key] = status
        return httpx.Response(202, json={"id": key.recording_id, "status": "accepted"})

    def _read(self, key: RecordingKey) -> dict[str, str]:
        word = self.recordings[key]
        if key in self._late:
            left, status = self._late.pop(key)
            if left > 1:
                self._late[key] = (left - 1, status)
            else:
                self.recordings[key] = status
        return {"id": key.recording_id, "callId": key.call_id, "status": word}

    def _recording(self, key: RecordingKey) -> httpx.Response:
        return httpx.Response(200, json=self._read(key)) if key in self.recordings else _not_found()

    def _call_recordings(self, call: CallKey, query: dict[str, str]) -> httpx.Response:
        if self.calls.get(call, "completed") == "completed":
            return _not_found()
        keys = sorted(key for key in self.recordings if key.call == call) if self.listed else []
        page, following = self._page(keys, query)
        return httpx.Response(200, json={"results": [self._read(key) for key in page], **following})

    def _workspace_recordings(self, workspace_id: str, query: dict[str, str]) -> httpx.Response:
        keys = sorted(
            key
            for key in self.archive
            if key.workspace_id == workspace_id
            and query.get("id", key.call_id) == key.call_id
            and query.get("sourceId", key.call_id) == key.call_id
            and query.get("channelId", key.channel_id) == key.channel_id
        )
        page, following = self._page(keys, query)
        results = [
            {
                "id": key.recording_id,
                "source": "call",
                "sourceId": key.call_id,
                "channelId": key.channel_id,
                "status": self.archive[key],
                "url": "https://media.bird.test/x.mp3?X-Amz-Signature=canary-signature",
            }
            for key in page
        ]
        return httpx.Response(200, json={"results": results, **following})

    def _page(self, keys: list[RecordingKey], query: dict[str, str]) -> tuple[list[RecordingKey], dict[str, str]]:
        if self.same_token:
            return keys, {"nextPageToken": "the-same-for-ever"}
        size = min(self.page_size, int(query.get("limit", "10")))
        start = int(query.get("pageToken", "0"))
        more = start + size < len(keys)
        return keys[start : start + size], {"nextPageToken": str(start + size)} if more else {}


def _error(code: str) -> dict[str, str]:
    return {"code": code, "message": "The caller +1 (500) 555-0006 was not found"}


def _not_found() -> httpx.Response:
    return httpx.Response(404, json=_error("ResourceNotFound"))
