"""A Bird voice API that owes nothing to the product: written from the API sheet and its OpenAPI description alone.

It stands on plain asyncio streams in a process of its own, so that what the installed command sends is judged as bytes
on a socket: every request is kept with its headers and body, and held against the contract (`violations`). It is
harsher than a friendly double: every error quotes the presented key and a phone number back, a call's recordings come
in small pages, and a few behaviours that the sheet leaves open can be chosen.

What must never happen in this room: an import from `reconciler`, or a request that is forgotten.

    python tests/world/foreign_api.py --port 0 --key KEY --same-token

prints the address. `/_control/...` seeds, looks, changes, ends calls and injects faults; `ForeignApi` is its client.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import itertools
import json
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

#: Must never be seen in anything that the product writes: it stands in calls, recordings and errors alike.
CANARY_PHONE: Final = "+31612345678"
#: The same for a pre-signed link.
CANARY_LINK: Final = "https://media.example/recording.mp3?X-Amz-Signature=canarylink"
SAME_TOKEN: Final = "the-token-that-never-changes"

_UUID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_CALL: Final = rf"/workspaces/(?P<workspace>{_UUID})/channels/(?P<channel>{_UUID})/calls/(?P<call>{_UUID})"
_CALL_FILTERS: Final = {"startAt", "endAt", "status", "type", "to", "from", "duration", "direction"}
_RECORDING_FILTERS: Final = {"sourceId", "channelId", "id", "direction", "startAt", "endAt", "from", "to", "status"}
#: Every operation of the sheet: its method, its path, its query parameters. IDs come in lower case from the product.
OPERATIONS: Final = {
    "list_call_recordings": ("GET", re.compile(rf"{_CALL}/recordings"), {"limit", "pageToken"}),
    "get_call_recording": ("GET", re.compile(rf"{_CALL}/recordings/(?P<recording>{_UUID})"), set[str]()),
    "update_call_recording": ("PATCH", re.compile(rf"{_CALL}/recordings/(?P<recording>{_UUID})"), set[str]()),
    "get_call": ("GET", re.compile(_CALL), set[str]()),
    "list_channel_calls": (
        "GET",
        re.compile(rf"/workspaces/(?P<workspace>{_UUID})/channels/(?P<channel>{_UUID})/calls"),
        {"limit", "pageToken", *_CALL_FILTERS},
    ),
    "list_workspace_calls": (
        "GET",
        re.compile(rf"/workspaces/(?P<workspace>{_UUID})/channels/calls"),
        {"limit", "pageToken", "channelId", "id", "tag", *_CALL_FILTERS},
    ),
    "list_recordings": (
        "GET",
        re.compile(rf"/workspaces/(?P<workspace>{_UUID})/recordings"),
        {"limit", "pageToken", *_RECORDING_FILTERS},
    ),
    "get_recording": (
        "GET",
        re.compile(rf"/workspaces/(?P<workspace>{_UUID})/recordings/(?P<recording>{_UUID})"),
        set[str](),
    ),
}
#: What a client of this API has a reason to send, and nothing else.
_HEADERS: Final = {
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "host",
    "user-agent",
}
_USER_AGENT: Final = re.compile(r"reconciler/\d+\.\d+\.\d+\S*")
_FINAL: Final = {"completed", "available", "absent", "failed"}
_LAST_TOKENS: Final[dict[str, dict[str, str | None]]] = {
    "absent": {},
    "null": {"nextPageToken": None},
    "empty": {"nextPageToken": ""},
}


@dataclass(slots=True)
class _Recording:
    workspace: str
    channel: str
    call: str
    recording: str
    status: str
    created: float
    updated: float
    #: (when, which): what a PATCH has been accepted for and has not brought about yet.
    pending: list[tuple[float, str]] = field(default_factory=list)

    def settle(self, now: float) -> None:
        due = [status for at, status in self.pending if at <= now]
        self.pending = [(at, status) for at, status in self.pending if at > now]
        if due and self.status not in _FINAL:
            self.status, self.updated = due[-1], time.time()


@dataclass(slots=True)
class _Answer:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Fault:
    """What goes wrong with the next requests that match; the first rule that matches is the one."""

    #: `answer`, `close`, `effect_then_close`, `effect_then_answer`, `stall` or `truncate`.
    action: str
    method: str = ""
    path: str = ""
    #: How many requests it meets; -1 for all.
    times: int = 1
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")


class _World:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.recordings: dict[str, _Recording] = {}
        self.by_call: dict[str, list[_Recording]] = {}
        self.by_workspace: dict[str, list[_Recording]] = {}
        self.ended: dict[str, str] = {}
        self.faults: list[_Fault] = []
        self.keys: dict[str, str] = {}
        self.forbidden: set[str] = set()
        self.log: list[dict[str, Any]] = []
        self.tokens: dict[str, int] = {}
        self.recent: dict[str, list[float]] = {}
        self.settle_seconds: float = options.settle_ms / 1000
        self.words = itertools.cycle(options.status_words.split(","))
        for workspace in range(options.workspaces):
            for call in range(options.calls):
                self.seed(
                    {
                        "workspaceId": _named("workspace", workspace),
                        "channelId": _named("channel", workspace),
                        "callId": _named("call", workspace, call),
                        "recordingId": _named("recording", workspace, call),
                    }
                )

    def seed(self, item: dict[str, str]) -> None:
        now = time.time()
        recording = _Recording(
            item["workspaceId"].lower(),
            item["channelId"].lower(),
            item["callId"].lower(),
            item["recordingId"].lower(),
            item.get("status") or next(self.words),
            now,
            now,
        )
        self.recordings[recording.recording] = recording
        self.by_call.setdefault(recording.call, []).append(recording)
        self.by_workspace.setdefault(recording.workspace, []).append(recording)

    # One request.

    def judge(self, request: _Request) -> tuple[str, dict[str, str], dict[str, str], list[str]]:
        """Return the operation (or nothing), the values of its path and its query, and what breaks the contract."""
        found = []
        parts = urlsplit(request.target)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        query = dict(pairs)
        if len(query) != len(pairs):
            found.append("a query parameter twice")
        name, match, allowed = _operation(request.method, parts.path)
        if match is None:
            found.append(f"no such operation: {request.method} {parts.path}")
        else:
            found.extend(f"query parameter {key}" for key in query if key not in allowed)
            limit = query.get("limit", "")
            if "limit" in allowed and not (limit.isdigit() and 1 <= int(limit) <= 99):
                found.append(f"limit {limit!r} is not 1 to 99")
        found.extend(_header_faults(request))
        if request.method == "PATCH":
            if not re.fullmatch(rb'\{\s*"status"\s*:\s*"(ongoing|paused|completed)"\s*\}', request.body):
                found.append(f"body {request.body[:100]!r}")
            if request.header("content-type").split(";")[0] != "application/json":
                found.append(f"content type {request.header('content-type')!r}")
        elif request.body:
            found.append("a body on a read")
        return name, {} if match is None else match.groupdict(), query, found

    def answer(self, request: _Request) -> tuple[_Answer, list[str]]:
        name, where, query, found = self.judge(request)
        refused = self._refused(request, where.get("workspace", ""))
        if refused is not None:
            return refused, found
        if name == "":
            if request.method == "PATCH":
                # What the neighbouring PATCH would do to a caller. It must be seen, so the call does end.
                self.end(request.target.rstrip("/").rpartition("/")[2], "completed")
            return self._error(404, "ResourceNotFound", request), found
        now = time.monotonic()
        for recording in self.by_call.get(where.get("call", ""), ()):
            recording.settle(now)
        handler = getattr(self, f"_{name}")
        return handler(request, where, query, found), found

    def _refused(self, request: _Request, workspace: str) -> _Answer | None:
        key = self.keys.get(workspace, self.options.key)
        if request.header("authorization") != f"AccessKey {key}":
            return self._error(401, "Unauthorized", request)
        if workspace in self.forbidden:
            return self._error(403, "Forbidden", request)
        limit = self.options.rate_limit
        if limit:
            now = time.monotonic()
            recent = [at for at in self.recent.get(workspace, ()) if at > now - 1]
            self.recent[workspace] = recent
            if len(recent) >= limit:
                answer = self._error(429, "TooManyRequests", request)
                answer.headers["Retry-After"] = "1"
                return answer
            recent.append(now)
        return None

    def _error(self, status: int, code: str, request: _Request) -> _Answer:
        leak = f"{request.header('authorization')} called for {CANARY_PHONE}"
        body = {"code": code, "message": f"{code}: {leak}", "details": {"authorization": [leak], "url": [CANARY_LINK]}}
        return _Answer(status, json.dumps(body).encode())

    # The operations, named as in OPERATIONS.

    def _list_call_recordings(
        self, request: _Request, where: dict[str, str], query: dict[str, str], found: list[str]
    ) -> _Answer:
        recordings = self._of_call(where)
        if not recordings or where["call"] in self.ended:
            if recordings and self.options.ended == "empty":
                return _page([], {})
            return self._error(404, "ResourceNotFound", request)
        shown = [self._shown(recording) for recording in recordings if not self._dropped(recording)]
        return self._paged(shown, query, request, found)

    def _get_call_recording(
        self, request: _Request, where: dict[str, str], _query: dict[str, str], _found: list[str]
    ) -> _Answer:
        recording = self._one(where)
        if recording is None or where["call"] in self.ended or self._dropped(recording):
            return self._error(404, "ResourceNotFound", request)
        return _Answer(200, json.dumps(self._shown(recording)).encode())

    def _update_call_recording(
        self, request: _Request, where: dict[str, str], _query: dict[str, str], found: list[str]
    ) -> _Answer:
        recording = self._one(where)
        if recording is None or where["call"] in self.ended:
            return self._error(404, "ResourceNotFound", request)
        try:
            wanted = json.loads(request.body)["status"]
        except (ValueError, KeyError, TypeError):
            return self._error(400, "BadRequest", request)
        if wanted not in ("ongoing", "paused", "completed"):
            return self._error(422, "InvalidPayload", request)
        if recording.status in _FINAL:
            found.append(f"a PATCH to a recording that is {recording.status}")
            return self._error(422, "InvalidPayload", request)
        if recording.status == wanted and not recording.pending:
            found.append(f"a PATCH to {wanted}, which it is already")
            return self._error(409, "Conflict", request)
        if recording.status == "accepted":
            return self._error(409, "Conflict", request)
        recording.pending.append((time.monotonic() + self.settle_seconds, wanted))
        body = self._shown(recording) | {"status": self.options.accepted_word or wanted}
        if self.options.no_call_id:
            del body["callId"]
        return _Answer(202, json.dumps(body).encode())

    def _get_call(self, request: _Request, where: dict[str, str], _query: dict[str, str], _found: list[str]) -> _Answer:
        if not self._of_call(where) or (self.options.forget_calls and where["call"] in self.ended):
            return self._error(404, "ResourceNotFound", request)
        body = {
            "id": self._id(where["call"]),
            "channelId": self._id(where["channel"]),
            "from": CANARY_PHONE,
            "to": CANARY_PHONE,
            "status": "completed" if where["call"] in self.ended else "ongoing",
            "direction": "incoming",
            "somethingNew": {"since": "yesterday"},
        }
        return _Answer(200, json.dumps(body).encode())

    def _list_channel_calls(
        self, request: _Request, where: dict[str, str], query: dict[str, str], found: list[str]
    ) -> _Answer:
        calls = [
            {"id": call, "status": "completed" if call in self.ended else "ongoing", "from": CANARY_PHONE}
            for call, recordings in self.by_call.items()
            if recordings[0].workspace == where["workspace"]
            and where.get("channel") in (None, recordings[0].channel)
            and query.get("id") in (None, call)
        ]
        return self._paged(calls, query, request, found)

    _list_workspace_calls = _list_channel_calls

    def _list_recordings(
        self, request: _Request, where: dict[str, str], query: dict[str, str], found: list[str]
    ) -> _Answer:
        ended = [item for item in self.by_workspace.get(where["workspace"], ()) if self._is_kept(item)]
        if not self.options.ignore_filters:
            wanted_call = query.get("id", query.get("sourceId"))
            ended = [
                item
                for item in ended
                if wanted_call in (None, item.call) and query.get("channelId") in (None, item.channel)
            ]
        return self._paged([self._kept(item) for item in ended], query, request, found)

    def _get_recording(
        self, request: _Request, where: dict[str, str], _query: dict[str, str], _found: list[str]
    ) -> _Answer:
        item = self.recordings.get(where["recording"])
        if item is None or item.workspace != where["workspace"] or not self._is_kept(item):
            return self._error(404, "ResourceNotFound", request)
        return _Answer(200, json.dumps(self._kept(item)).encode())

    # What the operations are made of.

    def _of_call(self, where: dict[str, str]) -> list[_Recording]:
        return [
            recording
            for recording in self.by_call.get(where["call"], ())
            if (recording.workspace, recording.channel) == (where["workspace"], where["channel"])
        ]

    def _one(self, where: dict[str, str]) -> _Recording | None:
        recording = self.recordings.get(where["recording"])
        return recording if recording is not None and recording in self._of_call(where) else None

    def _dropped(self, recording: _Recording) -> bool:
        """Return whether a recording is no longer among the active ones of its call, which goes on."""
        return bool(self.options.drop_final) and recording.status in _FINAL

    def _is_kept(self, recording: _Recording) -> bool:
        recording.settle(time.monotonic())
        return recording.call in self.ended or self._dropped(recording)

    def _id(self, text: str) -> str:
        return text.upper() if self.options.upper_case else text

    def _shown(self, recording: _Recording) -> dict[str, Any]:
        return {
            "id": self._id(recording.recording),
            "callId": self._id(recording.call),
            "channelId": self._id(recording.channel),
            "status": recording.status,
            "origin": "call-command-record-call",
            "duration": 4,
            "stereo": True,
            "createdAt": _instant(recording.created),
            "updatedAt": _instant(recording.updated),
            "somethingNew": ["which", "no", "client", "knows"],
        }

    def _kept(self, recording: _Recording) -> dict[str, Any]:
        return {
            "id": self._id(recording.recording),
            "source": "call",
            "sourceId": self._id(recording.call),
            "channelId": self._id(recording.channel),
            "status": self.ended.get(recording.call, "available"),
            "direction": "incoming",
            "originator": {"number": {"number": CANARY_PHONE}},
            "origin": "create-call",
            "stereo": False,
            "format": "mp3",
            "transcription": False,
            "url": CANARY_LINK,
            "createdAt": _instant(recording.created),
            "updatedAt": _instant(recording.updated),
        }

    def _paged(
        self, items: list[dict[str, Any]], query: dict[str, str], request: _Request, found: list[str]
    ) -> _Answer:
        size = min(int(query.get("limit") or 10), self.options.page_cap)
        if self.options.same_token:
            return _page(items[: int(query.get("limit") or 10)], {"nextPageToken": SAME_TOKEN})
        start = 0
        if "pageToken" in query:
            if query["pageToken"] not in self.tokens:
                found.append("a page token that was never given")
                return self._error(422, "InvalidPayload", request)
            start = self.tokens[query["pageToken"]]
        if start + size < len(items):
            token = f"{uuid.uuid4().hex}+/=&?#{len(self.tokens)}"  # opaque, and in need of encoding
            self.tokens[token] = start + size
            return _page(items[start : start + size], {"nextPageToken": token})
        return _page(items[start:], _LAST_TOKENS[self.options.last_token])

    def end(self, call: str, status: str) -> None:
        self.ended[call] = status

    def next_fault(self, request: _Request) -> _Fault | None:
        for fault in self.faults:
            if fault.times != 0 and fault.method in ("", request.method) and re.search(fault.path, request.target):
                fault.times -= 1
                return fault
        return None

    # The control endpoints: what a test may ask and do.

    def control(self, method: str, path: str, body: Any) -> Any:
        match method, path:
            case "GET", "requests":
                return self.log
            case "DELETE", "requests":
                self.log.clear()
            case "GET", "recordings":
                now = time.monotonic()
                for recording in self.recordings.values():
                    recording.settle(now)
                return [
                    {
                        "workspaceId": item.workspace,
                        "channelId": item.channel,
                        "callId": item.call,
                        "recordingId": item.recording,
                        "status": item.status,
                    }
                    for item in self.recordings.values()
                ]
            case "POST", "seed":
                for item in body:
                    self.seed(item)
            case "POST", "status":
                for recording_id, status in body.items():
                    recording = self.recordings[recording_id]
                    recording.pending.clear()
                    recording.status, recording.updated = status, time.time()
            case "POST", "end":
                self.end(body["callId"], body["status"])
            case "POST", "faults":
                self.faults.append(_Fault(**body))
            case "DELETE", "faults":
                self.faults.clear()
            case "POST", "settle":
                self.settle_seconds = body["ms"] / 1000
            case "POST", "keys":
                self.keys.update(body)
            case "POST", "forbidden":
                self.forbidden = set(body)
            case _:
                raise KeyError(f"{method} {path}")
        return None


def _operation(method: str, path: str) -> tuple[str, re.Match[str] | None, set[str]]:
    for name, (its_method, its_path, allowed) in OPERATIONS.items():
        match = its_path.fullmatch(path)
        if match is not None and method == its_method:
            return name, match, allowed
    return "", None, set()


def _named(*parts: object) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "/".join(str(part) for part in parts)))


def _instant(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1000):03}Z"


def _page(items: Sequence[dict[str, Any]], token: dict[str, str | None]) -> _Answer:
    return _Answer(200, json.dumps({"results": items} | token).encode())


def _header_faults(request: _Request) -> Iterator[str]:
    names = [name for name, _ in request.headers]
    for name in sorted(set(names)):
        if name not in _HEADERS:
            yield f"header {name}"
        elif names.count(name) > 1:
            yield f"header {name} twice"
    if request.header("accept") != "application/json":
        yield f"accept {request.header('accept')!r}"
    if not _USER_AGENT.fullmatch(request.header("user-agent")):
        yield f"user agent {request.header('user-agent')!r}"
    if not request.header("authorization").startswith("AccessKey "):
        yield "no AccessKey"


# The wire.


async def _serve(world: _World, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while (request := await _read(reader)) is not None:
            if request.target.startswith("/_control/"):
                path = request.target.removeprefix("/_control/")
                content = world.control(request.method, path, json.loads(request.body or b"null"))
                _write(writer, _Answer(200, json.dumps(content).encode()))
            elif not await _answer(world, request, writer):
                return
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def _answer(world: _World, request: _Request, writer: asyncio.StreamWriter) -> bool:
    """Answer a request of the API, keep it, and return whether the connection goes on."""
    entry: dict[str, Any] = {
        "at": time.time(),
        "method": request.method,
        "target": request.target,
        "headers": request.headers,
        "body": request.body.decode("utf-8", "replace"),
        "connection": id(writer),
    }
    world.log.append(entry)
    fault = world.next_fault(request)
    if fault is None or fault.action.startswith("effect"):
        answer, entry["violations"] = world.answer(request)
        entry["status"] = answer.status
    else:
        answer, entry["violations"] = _Answer(fault.status), world.judge(request)[3]
        entry["status"] = fault.status if fault.action == "answer" else 0
    if fault is None:
        if world.options.latency_ms:
            await asyncio.sleep(world.options.latency_ms / 1000)
        _write(writer, answer)
        return True
    if fault.action.endswith("close"):
        writer.transport.abort()
        return False
    if fault.action == "stall":
        await asyncio.sleep(fault.seconds)
    leaky = world._error(fault.status, "Fault", request).body
    body = leaky if fault.body is None else fault.body.encode()
    _write(writer, _Answer(fault.status, body, fault.headers), cut=fault.action == "truncate")
    return fault.action != "truncate"


async def _read(reader: asyncio.StreamReader) -> _Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return None
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, target, _version = first.split(" ")
    headers = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    length = int(next((value for name, value in headers if name == "content-length"), "0"))
    return _Request(method, target, headers, await reader.readexactly(length))


def _write(writer: asyncio.StreamWriter, answer: _Answer, *, cut: bool = False) -> None:
    headers = {"Content-Type": "application/json", "Content-Length": str(len(answer.body))} | answer.headers
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines.extend(f"{name}: {value}" for name, value in headers.items())
    body = answer.body[: len(answer.body) // 2] if cut else answer.body
    writer.write("\r\n".join((*lines, "", "")).encode("latin-1") + body)


async def _main(options: argparse.Namespace) -> None:
    world = _World(options)
    server = await asyncio.start_server(lambda r, w: _serve(world, r, w), "127.0.0.1", options.port, limit=2**20)
    host, port = server.sockets[0].getsockname()
    print(f"http://{host}:{port}", flush=True)
    await server.serve_forever()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="An independent Bird voice API, for tests.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key", default="foreign-key")
    parser.add_argument("--workspaces", type=int, default=0, help="make so many, each with --calls of one recording")
    parser.add_argument("--calls", type=int, default=1)
    parser.add_argument("--status-words", default="ongoing", help="what recordings without a status begin as, in turn")
    parser.add_argument("--settle-ms", type=float, default=30.0)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--rate-limit", type=int, default=0, help="429 above so many a second and workspace")
    parser.add_argument("--same-token", action="store_true", help="each list answers one token for ever, and one page")
    parser.add_argument("--page-cap", type=int, default=1000, help="never more than so many on a page")
    parser.add_argument("--last-token", choices=_LAST_TOKENS, default="absent")
    parser.add_argument("--ended", choices=("404", "empty"), default="404", help="what lists of ended calls answer")
    parser.add_argument("--drop-final", action="store_true", help="a completed recording leaves the list of its call")
    parser.add_argument("--forget-calls", action="store_true", help="an ended call is 404")
    parser.add_argument("--ignore-filters", action="store_true", help="workspace recordings come unfiltered")
    parser.add_argument("--accepted-word", default="accepted", help="the status in a 202; empty echoes the wanted one")
    parser.add_argument("--no-call-id", action="store_true", help="a 202 without callId, as in one of Bird's samples")
    parser.add_argument("--upper-case", action="store_true", help="IDs in answers are in upper case")
    return parser.parse_args()


# The client side, for tests.


class ForeignApi:
    """A running server, as a test sees it."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.key = key

    def control(self, method: str, path: str, content: Any = None) -> Any:
        """Use a control endpoint."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        try:
            connection.request(method, f"/_control/{path}", json.dumps(content))
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def seed(self, recordings: Sequence[dict[str, str]]) -> None:
        """Add recordings: the four IDs and `status`."""
        self.control("POST", "seed", recordings)

    def statuses(self) -> dict[str, str]:
        """Return the live status of every recording by its ID."""
        return {item["recordingId"]: item["status"] for item in self.control("GET", "recordings")}

    def set_status(self, **statuses: str) -> None:
        """Change live statuses as an agent would."""
        self.control("POST", "status", statuses)

    def end_call(self, call_id: str, status: str = "available") -> None:
        """End a call; its recordings are then among the workspace's, with this status."""
        self.control("POST", "end", {"callId": call_id, "status": status})

    def fault(self, action: str, **rule: object) -> None:
        """Let something go wrong: see `_Fault`."""
        self.control("POST", "faults", {"action": action, **rule})

    def mend(self) -> None:
        """Take all faults away."""
        self.control("DELETE", "faults")

    def requests(self) -> list[dict[str, Any]]:
        """Return every request seen since the last `forget`, oldest first."""
        return list(self.control("GET", "requests"))

    def forget(self) -> None:
        """Forget the requests seen so far."""
        self.control("DELETE", "requests")

    def patches(self) -> list[tuple[str, str]]:
        """Return the recording and the status of every PATCH seen, oldest first."""
        return [
            (entry["target"].rpartition("/")[2], json.loads(entry["body"])["status"])
            for entry in self.requests()
            if entry["method"] != "GET"
        ]

    def violations(self) -> list[str]:
        """Return how requests broke the contract."""
        return [
            f"{entry['method']} {entry['target']}: {violation}"
            for entry in self.requests()
            for violation in entry.get("violations", ())
        ]


@contextmanager
def running(*options: str, key: str = "foreign-key") -> Iterator[ForeignApi]:
    """Start a server in a process of its own, and end it afterwards."""
    command = [sys.executable, str(Path(__file__)), "--port", "0", "--key", key, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield ForeignApi(process.stdout.readline().strip(), key)
        finally:
            process.terminate()


if __name__ == "__main__":
    asyncio.run(_main(_options()))
