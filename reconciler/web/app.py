"""The application: which path answers what, and to whom."""

from __future__ import annotations

import hmac
import html
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from reconciler.model import ReconcilerError, SettingsError
from reconciler.telemetry import Secrets, hide
from reconciler.web.delivery import Deliveries
from reconciler.web.front import Front, NotThere
from reconciler.web.hook import Hook
from reconciler.web.hosts import HostGuard

#: What `/` leads to.
_LINKS: Final = {
    "/healthz": "whether work gets done",
    "/readyz": "whether it can be relied on",
    "/metrics": "measures for Prometheus",
    "/status": "what is managed, and what is not in sync, as JSON",
}


@dataclass(frozen=True, slots=True)
class Guards:
    """Who may see what."""

    #: Answers the token that `/status` and `/metrics` ask for; None where they ask for none.
    token: Callable[[], str] | None
    #: Whether `/metrics` asks for none all the same.
    metrics_open: bool = False
    #: The names besides this machine's own to which it answers; None for any name at all.
    hosts: frozenset[str] | None = frozenset()
    #: What no answer may hold, such as the access keys in use.
    secrets: Secrets = tuple


def make_app(front: Front, metrics_type: str, guards: Guards, hook: Hook | None = None) -> ASGIApp:
    """Return the application. A failing probe gives no reason: reasons are in the log and under `/status`.

    Args:
        front: asks the daemon.
        metrics_type: the media type of the metrics.
        guards: who may see what.
        hook: takes deliveries at `/hooks/git`; None where nobody may knock.
    """

    def probe(holds: bool) -> Response:
        return PlainTextResponse("ok\n") if holds else PlainTextResponse("failed: reason withheld\n", 503)

    async def healthz(_request: Request) -> Response:
        return probe(await front.healthy())

    async def readyz(_request: Request) -> Response:
        return probe(await front.ready())

    async def metrics(request: Request) -> Response:
        if not guards.metrics_open and (refusal := _refused(request, guards.token)):
            return refusal
        try:
            return Response(await front.metrics(), media_type=metrics_type)
        except NotThere as reason:
            return _not_there(reason)

    async def status(request: Request) -> Response:
        if refusal := _refused(request, guards.token):
            return refusal
        try:
            text = json.dumps(await front.status(), ensure_ascii=False)
        except NotThere as reason:
            return _not_there(reason)
        except ReconcilerError:
            return PlainTextResponse("failed: reason withheld\n", 503)
        return Response(hide(text, guards.secrets()), media_type="application/json")

    async def links(_request: Request) -> Response:
        items = "".join(f'<li><a href="{path}">{path}</a>: {html.escape(text)}' for path, text in _LINKS.items())
        return HTMLResponse(f"<!doctype html><title>reconciler</title><h1>reconciler</h1><ul>{items}</ul>\n")

    routes = [
        Route("/", links),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
        Route("/status", status),
    ]
    if hook is not None:
        routes.append(Route("/hooks/git", partial(Deliveries.take, Deliveries(hook)), methods=["POST"]))
    application = Starlette(routes=routes)
    # Else a path with a slash too many is answered with an address made of the `Host` that somebody sent.
    application.router.redirect_slashes = False
    return HostGuard(application, guards.hosts)


def _not_there(reason: NotThere) -> Response:
    return PlainTextResponse(f"not now: {reason}\n", 503, {"Retry-After": "1"})


def _refused(request: Request, token: Callable[[], str] | None) -> Response | None:
    """Return the answer to a request that lacks the token, compared in a time that tells nothing about it."""
    if token is None:
        return None
    try:
        wanted = token()
    except SettingsError:
        wanted = ""  # the file is gone: nobody knows the token any more
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    same = hmac.compare_digest(given.strip().encode(), wanted.encode()) and scheme.lower() == "bearer"
    return None if same and wanted else PlainTextResponse("unauthorized\n", 401, {"WWW-Authenticate": "Bearer"})
