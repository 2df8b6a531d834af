"""The wall against strangers: how many connections, for how long, and which of them goes first.

A connection waits for the head of its next request, or it is busy with one. Those that wait are few, and when another
comes, the one that has waited longest goes: whoever holds connections open holds them against himself, and not against
a probe, which sends its head at once. What must never happen here: a connection without a deadline, or a new one that
is refused because of old ones.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, Final

from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

_LOG: Final = logging.getLogger("reconciler.web")
#: Fewer than may wait, so that who came just now has had a chance to be read before it is the oldest.
_ACCEPTED_AT_ONCE: Final = 8
#: How often deadlines are looked at.
_LOOK_SECONDS: Final = 0.25
#: Descriptors or memory are short: it will pass.
_SHORT: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_AGAIN_SECONDS: Final = 0.1
#: How long what is under way may take when the page ends.
_END_SECONDS: Final = 1.0
#: Who comes again after so long opens another connection, so that no deadline of one can be evaded by keeping it.
_AGE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many connections there may be, and for how long, in seconds. All but the age are settings of `listen_`."""

    #: All of them.
    connections: int
    #: From the connection, or from the last answer, to the end of the next request's head.
    head_seconds: float
    #: The largest part of a head that is kept until the rest comes.
    head_bytes: int
    #: From there to the end of the answer.
    answer_seconds: float
    #: After that, no further request is taken.
    age_seconds: float = _AGE_SECONDS

    @property
    def waiting(self) -> int:
        """Those that wait for the head of a request."""
        return self.connections // 2


class Server:
    """Serves an application on an open socket."""

    def __init__(self, app: ASGIApp, opened: socket.socket, bounds: Bounds) -> None:
        """Prepare to serve.

        Args:
            app: what answers.
            opened: the socket, bound and listening; closed at the end.
            bounds: how many, and for how long.
        """
        # Without `proxy_headers`, who asks is who is connected.
        self._config = Config(
            app,
            log_config=None,
            access_log=False,
            ws="none",
            lifespan="off",
            proxy_headers=False,
            h11_max_incomplete_event_size=bounds.head_bytes,
        )
        self._opened = opened
        self._connections = _Connections(bounds)
        self._state = ServerState()
        self._accepting: set[asyncio.Task[object]] = set()

    async def serve(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set; then let what is under way end, for a second at most.

        Raises:
            OSError: the socket cannot be used.
        """
        loop = asyncio.get_running_loop()
        self._config.load()
        self._opened.setblocking(False)
        try:
            with self._listening(loop):
                while not stop.is_set():
                    date = formatdate(time.time(), usegmt=True).encode()
                    self._state.default_headers = [(b"date", date)]
                    self._connections.end_late()
                    try:
                        async with asyncio.timeout(_LOOK_SECONDS):
                            await stop.wait()
                    except TimeoutError:
                        pass
        finally:
            self._opened.close()
            await self._end()

    @contextmanager
    def _listening(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        loop.add_reader(self._opened, self._accept, loop)
        try:
            yield
        finally:
            loop.remove_reader(self._opened)

    def _accept(self, loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                connection, _address = self._opened.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _SHORT:
                    raise
                _LOG.warning("a connection could not be accepted: %s", error.strerror)
                self._connections.make_room(1)
                loop.remove_reader(self._opened)
                loop.call_later(_AGAIN_SECONDS, self._accept_again, loop)
                return
            connection.setblocking(False)
            # An answer's last packet leaves at once, without waiting for the last but one to have arrived.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.make_room(len(self._accepting) + 1)
            task: asyncio.Task[object] = loop.create_task(self._take(loop, connection))
            self._accepting.add(task)
            task.add_done_callback(self._accepting.discard)

    def _accept_again(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._opened.fileno() != -1:
            loop.add_reader(self._opened, self._accept, loop)

    async def _take(self, loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
        try:
            await loop.connect_accepted_socket(
                lambda: _Connection(self._config, self._state, loop, self._connections), connection
            )
        except OSError:
            connection.close()

    async def _end(self) -> None:
        for task in self._accepting:
            task.cancel()
        self._connections.end_waiting()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=_END_SECONDS)
        # Each learns that its client is gone, and ends by itself.
        self._connections.end_all()
        if self._state.tasks:
            _, late = await asyncio.wait(self._state.tasks, timeout=_END_SECONDS)
            for task in late:
                task.cancel()


class _Connections:
    """All connections, those that wait and those that are busy, each by the moment at which that began."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._waiting: dict[_Connection, float] = {}
        self.busy: dict[_Connection, float] = {}

    def wait(self, connection: _Connection) -> None:
        """Note that a connection waits for a request's head from now on."""
        self.busy.pop(connection, None)
        self._waiting.pop(connection, None)
        if len(self._waiting) >= self.bounds.waiting:
            self._say_crowded()
            self._end_oldest(self._waiting)
        self._waiting[connection] = time.monotonic()

    def begin(self, connection: _Connection) -> None:
        """Note that a connection is busy with a request from now on."""
        self._waiting.pop(connection, None)
        self.busy[connection] = time.monotonic()

    def gone(self, connection: _Connection) -> None:
        """Forget a connection."""
        self._waiting.pop(connection, None)
        self.busy.pop(connection, None)

    def make_room(self, count: int) -> None:
        """End so many of the oldest that `count` more may come."""
        while len(self._waiting) + len(self.busy) + count > self.bounds.connections and (self._waiting or self.busy):
            self._say_crowded()
            self._end_oldest(self._waiting or self.busy)

    def end_late(self) -> None:
        """End those that take too long."""
        now = time.monotonic()
        while self._waiting and now - next(iter(self._waiting.values())) > self.bounds.head_seconds:
            # Who has sent nothing has merely kept the connection, as clients do.
            if next(iter(self._waiting)).has_begun:
                _LOG.warning(
                    "a request's head took longer than listen_head_seconds allows (%g)", self.bounds.head_seconds
                )
            self._end_oldest(self._waiting)
        while self.busy and now - next(iter(self.busy.values())) > self.bounds.answer_seconds:
            _LOG.warning("an answer took longer than listen_answer_seconds allows (%g)", self.bounds.answer_seconds)
            self._end_oldest(self.busy)

    def _say_crowded(self) -> None:
        _LOG.warning(
            "more connections than listen_connections allows (%d, half of them without a request): the oldest goes",
            self.bounds.connections,
        )

    def end_waiting(self) -> None:
        """End those that wait."""
        while self._waiting:
            self._end_oldest(self._waiting)

    def end_all(self) -> None:
        """End all."""
        self.end_waiting()
        while self.busy:
            self._end_oldest(self.busy)

    @staticmethod
    def _end_oldest(those: dict[_Connection, float]) -> None:
        oldest = next(iter(those))
        del those[oldest]
        oldest.transport.abort()


class _Connection(H11Protocol):
    """Uvicorn's protocol, which says when it waits and when it is busy."""

    def __init__(
        self, config: Config, state: ServerState, loop: asyncio.AbstractEventLoop, connections: _Connections
    ) -> None:
        app_state: dict[str, Any] = {}
        super().__init__(config, state, app_state, loop)
        self.logger = _LOG
        self._connections = connections
        self._began = time.monotonic()
        self._is_lost = False

    # Uvicorn itself narrows the type of the transport.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._connections.wait(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        self._connections.gone(self)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        if self._is_busy and self not in self._connections.busy:
            self._connections.begin(self)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_lost:
            return
        if self.transport.is_closing():
            # What is still to be sent counts among those that wait, until it is.
            self._connections.wait(self)
        elif not self._is_busy:
            self._connections.wait(self)
            if time.monotonic() - self._began > self._connections.bounds.age_seconds:
                self.transport.close()

    def send_400_response(self, msg: str) -> None:
        most = self._connections.bounds.head_bytes
        if len(self.conn.trailing_data[0]) > most:
            msg = f"the request's head has more than listen_head_bytes allows ({most:,})"
            _LOG.warning(msg)
        super().send_400_response(msg)

    @property
    def has_begun(self) -> bool:
        """Whether part of a request's head has come."""
        return bool(self.conn.trailing_data[0])

    @property
    def _is_busy(self) -> bool:
        cycle: Any = self.cycle  # there is none before the first request, whatever its type says
        return cycle is not None and not cycle.response_complete
