"""The daemon's page on loopback: health, readiness, metrics, status. It reads, and changes nothing.

It knows neither the daemon nor the store: it is handed functions that answer.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from reconciler.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Answers:
    """What the page shows."""

    healthy: Callable[[], bool]
    ready: Callable[[], bool]
    metrics: Callable[[], bytes]
    metrics_type: str
    status: Callable[[], dict[str, Any]]


def make_app(answers: Answers) -> Starlette:
    """Return the application. A failing probe gives no reason: reasons are in the log and under `/status`."""

    def probe(holds: Callable[[], bool]) -> Response:
        return PlainTextResponse("ok\n") if holds() else PlainTextResponse("failed: reason withheld\n", 503)

    async def healthz(_request: Request) -> Response:
        return probe(answers.healthy)

    async def readyz(_request: Request) -> Response:
        return probe(answers.ready)

    async def metrics(_request: Request) -> Response:
        return Response(answers.metrics(), media_type=answers.metrics_type)

    async def status(_request: Request) -> Response:
        return JSONResponse(answers.status())

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            Route("/status", status),
        ]
    )


def bind(listen: str) -> socket.socket | None:
    """Open the socket of `--listen`, before anything else is started.

    Args:
        listen: `HOST:PORT`, a port of 0 for any free one, or `off`.

    Raises:
        SettingsError: it is not of that form, or the address is taken.
    """
    if listen == "off":
        return None
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise SettingsError(f"listen: {listen!r} is not HOST:PORT or off")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's algorithm off on what is accepted; else an answer may cost 40 ms.
    opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, int(port)))
        opened.listen(128)
    except (OSError, TypeError) as error:  # a name that cannot be a host's name is a TypeError
        opened.close()
        reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        raise SettingsError(
            f"cannot listen on {listen}: {reason}; choose another address with --listen HOST:PORT, or --listen off"
        ) from error
    return opened


async def serve(app: Starlette, opened: socket.socket, stop: asyncio.Event) -> None:
    """Serve the page until `stop` is set, or raise what ended it before. The signals stay with their owner."""
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve(sockets=[opened]))  # noqa: SLF001 - `serve` would take the signals over
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        server.should_exit = True
        await serving
