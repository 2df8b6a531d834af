"""A Bird voice API for benchmarks: as quick as one Python process answers, and no quicker about the truth.

It knows what a convergence needs: a call's recordings in pages, one recording, one call, and the PATCH that is answered
202 and takes effect after `--settle-ms`. Everything else is a 404. It counts what it is asked and notes when each PATCH
came in, on the clock that all processes of a machine share. It stands on a bare asyncio protocol in a process of its
own, so that what is measured is the client; and it imports nothing from `reconciler`.

    python tests/benchmarks/fast_bird.py --calls 2000 --recordings 5

prints its address. `GET /_counts` answers the number of requests by kind, `GET /_last` the seconds (monotonic) at which
the last of them came in, `GET /_patches` those at which PATCHes did, with their recordings' IDs, `POST /_reset` forgets
all of that, `POST /_status/<word>` sets every recording's status. `FastBird` is its client.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

WORKSPACE: Final = "5f4f2f2e-6c0e-4c57-9f65-2f6cf0a1d7a1"
CHANNEL: Final = "0b6b0f5e-7d5a-4c55-8f0e-6f2a4cf5b9b7"
#: What a PATCH may hold, as bytes: anything else is refused.
_BODIES: Final = {b'{"status":"%s"}' % word.encode(): word for word in ("ongoing", "paused", "completed")}
_CREATED: Final = "2026-11-01T12:00:00Z"


def call_id(number: int) -> str:
    """Return the ID of the call of a number, from 0."""
    return f"00000000-0000-4000-8000-{number:012x}"


def recording_id(number: int) -> str:
    """Return the ID of the recording of a number, from 0; `number // recordings` is its call's."""
    return f"00000000-0000-4000-9000-{number:012x}"


class World:
    """All recordings of all calls, and what was asked about them."""

    def __init__(self, calls: int, recordings: int, status: str, settle_seconds: float) -> None:
        prefix = f"/workspaces/{WORKSPACE}/channels/{CHANNEL}/calls/"
        self.settle_seconds = settle_seconds
        self.status: dict[str, str] = {}
        #: Path of a call -> its recordings' IDs.
        self.calls: dict[str, list[str]] = {}
        #: Path of a recording -> its ID.
        self.paths: dict[str, str] = {}
        self.call_of: dict[str, str] = {}
        for call in range(calls):
            path = prefix + call_id(call)
            ids = [recording_id(number) for number in range(call * recordings, (call + 1) * recordings)]
            self.calls[path] = ids
            for identifier in ids:
                self.paths[f"{path}/recordings/{identifier}"] = identifier
                self.call_of[identifier] = call_id(call)
                self.status[identifier] = status
        #: What takes effect later: (when, recording, status), in the order of arrival.
        self.pending: list[tuple[float, str, str]] = []
        self.counts = {"list": 0, "get": 0, "call": 0, "patch": 0, "other": 0}
        self.patches: list[tuple[float, str]] = []
        self.last_at = 0.0

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, str]:
        """Return status and body of an answer."""
        path, _, query = target.partition("?")
        if path.startswith("/_"):
            return 200, json.dumps(self._control(path))
        self.last_at = time.monotonic()
        if method == "PATCH":
            return self._patch(path, body)
        if self.pending:
            self._settle()
        if path.endswith("/recordings") and (ids := self.calls.get(path[:-11])) is not None:
            self.counts["list"] += 1
            return 200, self._page(ids, query)
        if (identifier := self.paths.get(path)) is not None:
            self.counts["get"] += 1
            return 200, self._shown(identifier)
        if path in self.calls:
            self.counts["call"] += 1
            return 200, json.dumps({"id": path.rpartition("/")[2], "channelId": CHANNEL, "status": "ongoing"})
        self.counts["other"] += 1
        return 404, '{"code":"ResourceNotFound","message":"there is no such thing"}'

    def _patch(self, path: str, body: bytes) -> tuple[int, str]:
        now = self.last_at
        self.counts["patch"] += 1
        identifier, word = self.paths.get(path), _BODIES.get(body)
        if identifier is None or word is None:
            return 422, '{"code":"InvalidPayload","message":"no such recording, or no such status"}'
        self.patches.append((now, identifier))
        if self.settle_seconds:
            self.pending.append((now + self.settle_seconds, identifier, word))
        else:
            self.status[identifier] = word
        return 202, self._shown(identifier)

    def _settle(self) -> None:
        now = time.monotonic()
        due = 0
        while due < len(self.pending) and self.pending[due][0] <= now:
            _, identifier, word = self.pending[due]
            self.status[identifier] = word
            due += 1
        del self.pending[:due]

    def _page(self, ids: Sequence[str], query: str) -> str:
        parameters = dict(part.split("=", 1) for part in query.split("&") if part)
        limit, start = int(parameters.get("limit", 10)), int(parameters.get("pageToken", 0))
        shown = ",".join(map(self._shown, ids[start : start + limit]))
        more = f',"nextPageToken":"{start + limit}"' if start + limit < len(ids) else ""
        return f'{{"results":[{shown}]{more}}}'

    def _shown(self, identifier: str) -> str:
        return (
            f'{{"id":"{identifier}","callId":"{self.call_of[identifier]}","channelId":"{CHANNEL}",'
            f'"status":"{self.status[identifier]}","origin":"call-command-record-call","duration":4,"stereo":true,'
            f'"createdAt":"{_CREATED}","updatedAt":"{_CREATED}"}}'
        )

    def _control(self, path: str) -> Any:
        what = path.removeprefix("/_")
        if what == "counts":
            return self.counts
        if what == "patches":
            return self.patches
        if what == "last":
            return self.last_at
        if what == "reset":
            self.patches.clear()
            self.counts.update(dict.fromkeys(self.counts, 0))
        if what.startswith("status/"):
            self.pending.clear()
            self.status.update(dict.fromkeys(self.status, what.removeprefix("status/")))
        return None


class _Connection(asyncio.Protocol):
    """One connection: requests in, answers out, in order."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio and uvloop both turn Nagle's delay off by themselves.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            length = _content_length(head)
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            method, target, _ = head[: head.find(b"\r\n")].decode("latin-1").split(" ", 2)
            status, answer = self._world.answer(method, target, body)
            self._transport.write(
                f"HTTP/1.1 {status} OK\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(answer)}\r\n\r\n{answer}".encode()
            )


def _content_length(head: bytes) -> int:
    at = head.lower().find(b"\r\ncontent-length:")
    if at < 0:
        return 0
    end = head.find(b"\r\n", at + 2)
    return int(head[at + 17 : end if end >= 0 else None])


class FastBird:
    """The client of a server that runs in a process of its own."""

    def __init__(self, port: int, process: subprocess.Popen[str]) -> None:
        self.port = port
        self._process = process
        self.pid = process.pid
        self.url = f"http://127.0.0.1:{port}"

    def counts(self) -> dict[str, int]:
        """Return how many requests came in, by kind."""
        counts: dict[str, int] = self._ask("GET", "/_counts")
        return counts

    def last_at(self) -> float:
        """Return the seconds (monotonic) at which the last request came in."""
        at: float = self._ask("GET", "/_last")
        return at

    def patches(self) -> list[tuple[float, str]]:
        """Return, for each PATCH, the seconds (monotonic) at which it came in and the recording's ID."""
        return [(at, identifier) for at, identifier in self._ask("GET", "/_patches")]

    def reset(self, status: str | None = None) -> None:
        """Forget what was counted; set every recording's status where one is given."""
        self._ask("POST", "/_reset")
        if status is not None:
            self._ask("POST", f"/_status/{status}")

    def stop(self) -> None:
        """End the server: from now on connections to it are refused."""
        self._process.terminate()
        self._process.wait(60)

    def _ask(self, method: str, path: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


@contextmanager
def fast_bird(
    *, calls: int, recordings: int, status: str = "ongoing", settle_ms: float = 0.0, port: int = 0
) -> Iterator[FastBird]:
    """Run the server in a process of its own.

    Args:
        calls: how many calls there are.
        recordings: how many recordings each has.
        status: what they all begin with.
        settle_ms: how long a PATCH takes until it has its effect.
        port: where to listen; 0 for any free one.
    """
    arguments = {"port": port, "calls": calls, "recordings": recordings, "status": status, "settle-ms": settle_ms}
    command = [sys.executable, str(Path(__file__)), *(f"--{name}={value}" for name, value in arguments.items())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # it is piped
        try:
            yield FastBird(int(process.stdout.readline().rpartition(":")[2]), process)
        finally:
            process.terminate()


async def _serve(world: World, port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(world), "127.0.0.1", port, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description="A quick Bird voice API on loopback.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--recordings", type=int, default=5, help="of each call")
    parser.add_argument("--status", default="ongoing")
    parser.add_argument("--settle-ms", type=float, default=0.0)
    options = parser.parse_args()
    world = World(options.calls, options.recordings, options.status, options.settle_ms / 1000)
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve(world, options.port))
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(world, options.port))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
