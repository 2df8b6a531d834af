"""The daemon's page: health, readiness, metrics, status. It reads, and changes nothing.

It knows neither the daemon nor the store: it is handed functions that answer. What must never happen here: names and
IDs of recordings shown to another machine without a token, or an answer's failure that takes a traceback outside.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from reconciler.errors import ReconcilerError, SettingsError
from reconciler.logs import Secrets
from reconciler.scrub import hide


@dataclass(frozen=True, slots=True)
class Answers:
    """What the page shows."""

    healthy: Callable[[], bool]
    ready: Callable[[], bool]
    metrics: Callable[[], bytes]
    metrics_type: str
    status: Callable[[], dict[str, Any]]
    #: Answers the token that `/status` asks for; None where it asks for none.
    token: Callable[[], str] | None = None
    #: What no answer may hold, such as the access keys in use.
    secrets: Secrets = tuple


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

    async def status(request: Request) -> Response:
        if answers.token is not None and not _authorized(request, answers.token):
            return PlainTextResponse("unauthorized\n", 401, {"WWW-Authenticate": "Bearer"})
        try:
            text = json.dumps(answers.status(), ensure_ascii=False)
        except ReconcilerError:
            return PlainTextResponse("failed: reason withheld\n", 503)
        return Response(hide(text, answers.secrets()), media_type="application/json")

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            Route("/status", status),
        ]
    )


def _authorized(request: Request, token: Callable[[], str]) -> bool:
    """Whether the request carries the token, compared in a time that tells nothing about it."""
    try:
        wanted = token()
    except SettingsError:
        return False  # the file is gone: nobody knows the token any more
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    return hmac.compare_digest(given.strip().encode(), wanted.encode()) and scheme.lower() == "bearer"


def is_exposed(opened: socket.socket) -> bool:
    """Whether others than this machine can reach a bound socket."""
    address = ipaddress.ip_address(opened.getsockname()[0].partition("%")[0])
    return not (getattr(address, "ipv4_mapped", None) or address).is_loopback


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
