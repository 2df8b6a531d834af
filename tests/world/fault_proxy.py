"""A small TCP proxy that makes a good server a bad one: late, cut off, reset, slow, silent, or not there.

It knows bytes and connections, not HTTP, so what a client meets is what a network does. `Faults` may be changed at any
time; what is under way meets the change with its next piece.

    python tests/world/fault_proxy.py 127.0.0.1:8421 --port 8430 --delay-ms 300 --bytes-per-second 2000

stands before a server and prints its own address; SIGTERM ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

_PIECE = 16 * 1024
#: How often what is held back looks whether it may go on.
_LOOK_SECONDS = 0.01


@dataclass
class Faults:
    """What connections meet now."""

    #: Seconds that each piece of a request, or of an answer, is held back.
    delay_request: float = 0.0
    delay_answer: float = 0.0
    #: Bytes of answers that pass on a connection before it is closed; None for all.
    cut_after: int | None = None
    #: Close by a reset (RST) instead of an orderly end.
    reset: bool = False
    #: Close each new connection at once.
    refuse: bool = False
    #: Let no byte of any answer pass; the connections stay open.
    stall: bool = False
    #: Bytes of answers a second and connection; None for no limit.
    bytes_per_second: float | None = None


@dataclass
class FaultProxy:
    """The proxy as an async context manager: listening when entered, all its connections gone when left."""

    host: str
    port: int
    listen_port: int = 0
    faults: Faults = field(default_factory=Faults)
    #: Connections that came so far, and those that are open.
    connections: int = 0
    open: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._running: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.listen_port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        self.connections += 1
        self.open += 1
        try:
            if not self.faults.refuse:
                await self._serve(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # a side that went away, or the end of the test
        finally:
            self.open -= 1
            self._running.discard(task)
            _close(writer, reset=self.faults.reset)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(self.host, self.port)
        try:
            ways = {
                asyncio.create_task(_pass_on(reader, upstream_writer, self._hold_request)),
                asyncio.create_task(_pass_on(upstream_reader, writer, _Answers(self.faults).hold)),
            }
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        finally:
            _close(upstream_writer, reset=False)

    async def _hold_request(self, piece: bytes) -> bytes:
        await asyncio.sleep(self.faults.delay_request)
        return piece


class _Answers:
    """One connection's answers, piece by piece."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._passed = 0

    async def hold(self, piece: bytes) -> bytes:
        """Return what of a piece may pass; nothing ends the connection."""
        await asyncio.sleep(self._faults.delay_answer)
        while self._faults.stall:  # noqa: ASYNC110 - a plain value is easier to change than an event is to share
            await asyncio.sleep(_LOOK_SECONDS)
        if self._faults.cut_after is not None:
            piece = piece[: max(0, self._faults.cut_after - self._passed)]
        if self._faults.bytes_per_second is not None:
            await asyncio.sleep(len(piece) / self._faults.bytes_per_second)
        self._passed += len(piece)
        return piece


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hold: Callable[[bytes], Awaitable[bytes]]
) -> None:
    while piece := await reader.read(_PIECE):
        allowed = await hold(piece)
        writer.write(allowed)
        await writer.drain()
        if len(allowed) < len(piece):
            return


def _close(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    if reset:
        with suppress(OSError):
            opened = writer.get_extra_info("socket")
            # To linger for no time at all makes the close a reset.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


async def _main(options: argparse.Namespace) -> None:
    host, _, port = options.upstream.rpartition(":")
    faults = Faults(
        delay_request=options.delay_request_ms / 1000,
        delay_answer=options.delay_ms / 1000,
        cut_after=options.cut_after,
        reset=options.reset,
        refuse=options.refuse,
        stall=options.stall,
        bytes_per_second=options.bytes_per_second,
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with FaultProxy(host, int(port), options.port, faults) as proxy:
        print(proxy.url, flush=True)
        await stop.wait()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A TCP proxy with faults, for tests.")
    parser.add_argument("upstream", help="HOST:PORT of the good server")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay-ms", type=float, default=0.0, help="hold each piece of an answer back")
    parser.add_argument("--delay-request-ms", type=float, default=0.0, help="hold each piece of a request back")
    parser.add_argument("--cut-after", type=int, help="close a connection after so many bytes of answers")
    parser.add_argument("--reset", action="store_true", help="close by a reset")
    parser.add_argument("--refuse", action="store_true", help="close each new connection at once")
    parser.add_argument("--stall", action="store_true", help="let no answer pass")
    parser.add_argument("--bytes-per-second", type=float, help="let answers pass no faster, on each connection")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(_main(_options()))
