"""What may leave this process: the routes, and a transport that refuses every other request.

The neighbouring ``PATCH .../calls/{call}`` hangs up the caller and differs from our one write by its path alone. So the
guard does not trust the code above it: it looks at the finished request, byte by byte, just before it leaves. It must
never grow a switch that turns it off.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

import httpx

from reconciler.model import CallKey, RecordingKey, Status, parse_uuid


class Route(StrEnum):
    """Every route that may be asked, as a template: the bounded label of logs, errors and metrics."""

    RECORDING = "/workspaces/{w}/channels/{c}/calls/{k}/recordings/{r}"
    CALL_RECORDINGS = "/workspaces/{w}/channels/{c}/calls/{k}/recordings"
    CALL = "/workspaces/{w}/channels/{c}/calls/{k}"
    CHANNEL_CALLS = "/workspaces/{w}/channels/{c}/calls"
    WORKSPACE_CALLS = "/workspaces/{w}/channels/calls"
    WORKSPACE_RECORDINGS = "/workspaces/{w}/recordings"


#: The only bodies a write can have. Exactly one field, because what an empty or larger body does is not documented:
#: https://docs.bird.com/api/voice-api/voice-calls-api/update-a-call-recording
STATUS_BODIES: Final = {status: b'{"status":"%s"}' % status.value.encode() for status in Status}

_BODIES: Final = frozenset(STATUS_BODIES.values())
_UUID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_QUERY: Final = r"(?:\?[A-Za-z0-9%&=._~+:-]+)?"


def call_path(key: CallKey) -> str:
    """Return the path of a call. It is only ever read; the path of the write is not built from it."""
    workspace, channel, call = map(parse_uuid, key)
    return f"/workspaces/{workspace}/channels/{channel}/calls/{call}"


def recording_path(key: RecordingKey) -> str:
    """Return the path of a recording of a call: the one path that is written to, spelled here and nowhere else.

    Raises:
        ValueError: one of the four IDs is not a UUID.
    """
    workspace, channel, call, recording = map(parse_uuid, key)
    return f"/workspaces/{workspace}/channels/{channel}/calls/{call}/recordings/{recording}"


class ForbiddenRequest(RuntimeError):
    """Something tried to send a request that this program must never make.

    A fault of the program, not of the API: no handler of `ProviderError` may take it for one and try again.
    """


def refuse_writes() -> None:
    """Stand for a client's `before_write` where nothing is ever written.

    Raises:
        ForbiddenRequest: always.
    """
    raise ForbiddenRequest("refused to send a write: this command only reads")


class GuardedTransport(httpx.AsyncBaseTransport):
    """Passes on the known reads and the one write to one host, and raises on anything else before it leaves."""

    def __init__(self, inner: httpx.AsyncBaseTransport, api_url: httpx.URL) -> None:
        self._inner = inner
        self._origin = _origin(api_url)
        prefix = re.escape(api_url.raw_path.decode("ascii").rstrip("/"))
        reads = "|".join(_pattern(route) for route in Route)
        self._read = re.compile(f"{prefix}(?:{reads}){_QUERY}".encode("ascii"))
        self._write = re.compile(f"{prefix}{_pattern(Route.RECORDING)}".encode("ascii"))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.check(request)
        return await self._inner.handle_async_request(request)

    def check(self, request: httpx.Request) -> None:
        """Let the request pass, or refuse it.

        Raises:
            ForbiddenRequest: host, method, path, query or body is not one of the few that are known.
        """
        try:
            content = request.content
        except httpx.RequestNotRead:
            content = None
        # `raw_path` is what goes on the wire: path and query, still escaped, so no escape can hide a separator.
        target = request.url.raw_path
        if _origin(request.url) == self._origin:
            if request.method == "GET" and self._read.fullmatch(target) and content == b"":
                return
            if request.method == "PATCH" and self._write.fullmatch(target) and content in _BODIES:
                return
        raise ForbiddenRequest(
            f"refused to send {request.method[:16]} {request.url.path[:200]!r}: neither a known read nor the one write"
        )

    async def aclose(self) -> None:
        await self._inner.aclose()


def _origin(url: httpx.URL) -> tuple[bytes, bytes, int | None, bytes]:
    return url.raw_scheme, url.raw_host, url.port, url.userinfo


def _pattern(route: Route) -> str:
    return re.sub(r"\{\w\}", lambda _: _UUID, route.value)
