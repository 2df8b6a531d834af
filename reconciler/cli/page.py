"""The daemon's page, and what a standby says: parts that `run` puts together."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from reconciler.cli.branch import make_hook
from reconciler.controller import notify
from reconciler.model import Clock, SettingsError
from reconciler.settings import Settings, read_token
from reconciler.telemetry import CONTENT_TYPE, Log, Metrics
from reconciler.web import AddressInUse, Bounds, Front, Guards, Page, bind, is_exposed, make_app, parse_hosts

#: How often a service manager hears that a standby waits, and how long it then waits with it, in microseconds.
_TELL_SECONDS: Final = 5.0
_EXTEND_USEC: Final = 60_000_000


@contextmanager
def open_page(settings: Settings, metrics: Metrics, clock: Clock, log: Log, *, serve: bool) -> Iterator[Front]:
    """Serve the page from now on; what it answers of the daemon comes later.

    Raises:
        SettingsError: the address, the token or the names cannot be used.
    """
    front = Front(metrics.render, standstill_seconds=settings.daemon.health_seconds)
    hosts = parse_hosts(settings.page.allowed_hosts)
    token = settings.page.token_file
    opened = _open(settings) if serve and settings.page.listen != "off" else None
    if opened is None:
        yield front
        return
    guards = Guards(
        token=(lambda: read_token(token)) if token else None,
        metrics_open=settings.page.metrics_open,
        hosts=None if token else hosts,
        secrets=settings.keys.secrets,
    )
    hook = make_hook(settings, front.hint, clock.monotonic, log) if settings.hook.hook_secret_file else None
    bounds = Bounds(
        settings.page.listen_connections,
        settings.page.listen_head_seconds,
        settings.page.listen_head_bytes,
        settings.page.listen_answer_seconds,
    )
    page = Page(make_app(front, CONTENT_TYPE, guards, hook), opened, lambda: _bind(settings), log, bounds)
    page.start()
    try:
        yield front
    finally:
        page.close()


def _open(settings: Settings) -> socket.socket | AddressInUse:
    """Open the page's socket. A standby takes it when it is free: the daemon that it waits for may have it."""
    try:
        return _bind(settings)
    except AddressInUse as taken:
        if not settings.store.wait_seconds:
            raise
        return taken


def _bind(settings: Settings) -> socket.socket:
    """Open the page's socket, unless that would show names and IDs to other machines without a token.

    Raises:
        AddressInUse: somebody else listens there.
        SettingsError: it would, or the address or the token cannot be used.
    """
    token = read_token(settings.page.token_file) if settings.page.token_file else None
    opened = bind(settings.page.listen)
    if token is None and is_exposed(opened):
        opened.close()
        raise SettingsError(
            f"listen: {settings.page.listen} can be reached from other machines, and /status shows names and IDs; name"
            " a file that holds a token with --token-file (RECONCILER_TOKEN_FILE), or listen on 127.0.0.1"
        )
    return opened


class Standby:
    """Says for whom a daemon waits: once in the log, and to the service manager as long as it does."""

    def __init__(self, front: Front, clock: Clock, log: Log) -> None:
        self._front = front
        self._clock = clock
        self._log = log
        self._said = ""
        self._told = 0.0

    def waits_for(self, holder: str) -> None:
        """Note that another writer holds the state; called again and again while it does."""
        if holder != self._said:
            self._said = holder
            self._front.stage = f"standby: the state is held by {holder}"
            self._log.info("standby", holder=holder)
        now = self._clock.monotonic()
        if not self._told or now - self._told >= _TELL_SECONDS:
            self._told = now
            notify(f"STATUS=standby, the state is held by {holder}\nEXTEND_TIMEOUT_USEC={_EXTEND_USEC}")

    def over(self) -> None:
        """Note that the state is ours."""
        self._front.stage = "loading documents"
        if self._said:
            self._log.info("taken_over", holder=self._said)
            notify(f"STATUS=took over, loads documents\nEXTEND_TIMEOUT_USEC={10 * _EXTEND_USEC}")
