"""The page in a thread with a loop of its own: it answers from the first second, whatever the daemon's loop does."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp

from reconciler.telemetry import Log, frames
from reconciler.web.address import AddressInUse, shown
from reconciler.web.server import Bounds, Server

#: Opens the socket; raises `AddressInUse` while somebody else listens there.
Bind = Callable[[], socket.socket]
#: How often an address that is taken is asked for again.
_AGAIN_SECONDS: Final = 0.5
#: How long the page may take to end.
_END_SECONDS: Final = 5.0


class Page:
    """Serves an application beside the daemon."""

    def __init__(
        self, app: ASGIApp, opened: socket.socket | AddressInUse, bind: Bind, log: Log, bounds: Bounds
    ) -> None:
        """Prepare to serve.

        Args:
            app: what answers.
            opened: the socket; or that somebody else listens there, and it is taken once it is free.
            bind: opens it then.
            log: where it says that it listens.
            bounds: how many connections, and for how long.
        """
        self._app = app
        self._bind = bind
        self._opened = opened
        self._log = log
        self._bounds = bounds
        self._stop = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def close(self) -> None:
        """Answer no more, and wait for the end of that."""
        try:
            self._loop.call_soon_threadsafe(self._stop.set)
        except RuntimeError:
            pass  # it has ended by itself, and said so
        self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._serve())
        except Exception as error:  # noqa: BLE001 - the recordings do not depend on the page
            self._log.error("page_failed", error=type(error).__name__, where=frames(error))

    async def _serve(self) -> None:
        opened: socket.socket | None
        if isinstance(self._opened, AddressInUse):
            self._log.warning("listen_waiting", error=str(self._opened))
            opened = await self._wait_for_address()
        else:
            opened = self._opened
        if opened is not None:
            self._log.info("listening", address=shown(opened))
            await Server(self._app, opened, self._bounds).serve(self._stop)

    async def _wait_for_address(self) -> socket.socket | None:
        """Take the address once it is free; None when the page ends before."""
        while not self._stop.is_set():
            try:
                return self._bind()
            except AddressInUse:
                pass
            try:
                async with asyncio.timeout(_AGAIN_SECONDS):
                    await self._stop.wait()
            except TimeoutError:
                pass
        return None
