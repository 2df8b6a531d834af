"""Runs the simulated API on a real socket, inside a running loop or as a process of its own.

It must never touch what belongs to its host: no signal handler of uvicorn's, no change to the host's loggers, no
output. That is why it uses uvicorn's protocol with a server of its own rather than `uvicorn.Server`.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from reconciler.providers.bird.sandbox.app import DEFAULT_KEY, make_app
from reconciler.providers.bird.sandbox.world import World

_LOG: Final = logging.getLogger("reconciler.sandbox.http")
#: Longer than clients keep a connection, so that it is them who close idle ones.
_KEEP_ALIVE_SECONDS: Final = 75


class SandboxServer:
    """The sandbox as an async context manager: listening when entered, closed at once when left.

    Example: `async with SandboxServer(world) as server: ... server.url ...`

    Args:
        port: 0 takes a free one.
        read_only_key: a second key, whose updates are refused with 403.

    Raises:
        OSError: on entering, when the address cannot be had.
    """

    def __init__(
        self,
        world: World,
        *,
        key: str = DEFAULT_KEY,
        host: str = "127.0.0.1",
        port: int = 0,
        read_only_key: str | None = None,
    ) -> None:
        self.world = world
        #: The address to send to, such as `http://127.0.0.1:8765`. Known once it listens.
        self.url = ""
        self._app = make_app(world, key=key, read_only_key=read_only_key)
        self._host = host
        self._port = port

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        # Without `proxy_headers`, who asks is who is connected: the switchboard is for loopback only.
        config = Config(
            self._app,
            log_config=None,
            ws="none",
            lifespan="off",
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        )
        config.load()
        self._state = ServerState()
        self._closing = asyncio.Event()
        shared = {"closing": self._closing}
        # By host and port, not on a socket of our own: asyncio turns Nagle's algorithm off only on what it opened
        # as TCP itself, and with it on, every answer costs 40 ms.
        self._server = await loop.create_server(
            lambda: _Protocol(config, self._state, shared, loop), self._host, self._port, backlog=2048
        )
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.url = f"http://{host}:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for connection in list(self._state.connections):
            connection.transport.abort()
        self._closing.set()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks)
        await self._server.wait_closed()


def run_sandbox(host: str, port: int, world: World, key: str, *, ready: Callable[[str], None]) -> None:
    """Serve a world until SIGINT or SIGTERM. To be called in the main thread, without a running loop.

    Args:
        ready: called with the URL once it listens.

    Raises:
        OSError: the address cannot be had.
    """

    async def serve() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with SandboxServer(world, key=key, host=host, port=port) as server:
            ready(server.url)
            await stop.wait()

    asyncio.run(serve())


class _Protocol(H11Protocol):
    """Uvicorn's protocol, which lets the application close its connection and logs to the sandbox's own logger."""

    def __init__(
        self, config: Config, state: ServerState, shared: dict[str, Any], loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(config, state, shared, loop)
        self.logger = _LOG
        self.access_log = False

    # Uvicorn itself narrows the type of the transport.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # ASGI's lifespan state: copied into the scope of every request on this connection.
        self.app_state = {**self.app_state, "transport": transport}
