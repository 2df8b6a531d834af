"""The daemon's page: health, readiness, metrics, status; and the one place where a Git host may knock.

It knows neither the daemon nor the store: it is handed functions that answer. It changes nothing: a hook only wakes.
What must never happen here: names and IDs of recordings shown to another machine without a token, or an answer's
failure that takes a traceback outside.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import math
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from reconciler.errors import ReconcilerError, SettingsError
from reconciler.hook import Hook, Limiter, is_genuine, is_push, kind_of
from reconciler.logs import Secrets
from reconciler.scrub import hide

#: How long a delivery may take to arrive: a host sends it in one go.
_DELIVERY_SECONDS: Final = 10.0


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


def make_app(answers: Answers, hook: Hook | None = None) -> Starlette:
    """Return the application. A failing probe gives no reason: reasons are in the log and under `/status`.

    Args:
        answers: what the page shows.
        hook: takes deliveries at `/hooks/git`; None where nobody may knock.
    """

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

    routes = [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
        Route("/status", status),
    ]
    if hook is not None:
        routes.append(Route("/hooks/git", partial(_take_delivery, hook), methods=["POST"]))
    return Starlette(routes=routes)


async def _take_delivery(hook: Hook, request: Request) -> Response:
    kind = kind_of(request.headers)
    try:
        async with asyncio.timeout(_DELIVERY_SECONDS):
            body = await _read_bounded(request, hook.max_bytes)
    except TimeoutError:
        return _turned_away(hook, kind, "too slow", PlainTextResponse("too slow\n", 408))
    except ClientDisconnect:
        return Response(status_code=400)
    if body is None:
        words = f"the delivery has more than hook_max_bytes allows ({hook.max_bytes:,})\n"
        return _turned_away(hook, kind, "larger than hook_max_bytes allows", PlainTextResponse(words, 413))
    try:
        genuine = is_genuine(kind, request.headers, body, hook.secret())
    except SettingsError:
        hook.told(kind, "the secret's file cannot be read")
        return PlainTextResponse("failed: reason withheld\n", 503)
    if not genuine:
        return _turned_away(hook, kind, "wrong signature or token", PlainTextResponse("unauthorized\n", 401))
    if too_many := _too_many(hook, kind, hook.taken, "with"):
        return too_many
    if is_push(request.headers):
        hook.nudge()
        hook.told(kind, "taken")
    return PlainTextResponse("ok\n", 202)


def _turned_away(hook: Hook, kind: str, why: str, answer: Response) -> Response:
    """Say why a delivery is not taken that nobody with the secret may have sent, as long as there are not too many."""
    too_many = _too_many(hook, kind, hook.refused, "without")
    if too_many is None:
        hook.told(kind, why)
    return too_many or answer


def _too_many(hook: Hook, kind: str, limiter: Limiter, whose: str) -> Response | None:
    """Count a delivery. Those without the secret are counted apart, so that they cannot keep out who has it."""
    wait_seconds = limiter.wait_seconds()
    if not wait_seconds:
        return None
    if limiter.first_refusal:
        hook.told(kind, f"more than hook_limit allows in a minute, {whose} the secret")
    return PlainTextResponse("too many deliveries\n", 429, {"Retry-After": str(math.ceil(wait_seconds))})


async def _read_bounded(request: Request, most: int) -> bytes | None:
    """Return a request's body; None when it has, or says that it has, more bytes than allowed."""
    said = request.headers.get("content-length", "0")
    if not said.isdecimal() or int(said) > most:
        return None
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            return None
    return bytes(body)


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
