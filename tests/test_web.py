"""The daemon's page, asked over real sockets on loopback."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from reconciler.errors import SettingsError
from reconciler.metrics import CONTENT_TYPE, Metrics
from reconciler.web import Answers, bind, make_app, serve


@dataclass
class Daemon:
    """What the page is handed, to be changed by a test."""

    healthy: bool = True
    ready: bool = True
    status: dict[str, Any] = field(default_factory=lambda: {"managed": 3})

    def answers(self) -> Answers:
        return Answers(
            lambda: self.healthy, lambda: self.ready, Metrics("1.2.3").render, CONTENT_TYPE, lambda: self.status
        )


@asynccontextmanager
async def page(daemon: Daemon) -> AsyncIterator[httpx.AsyncClient]:
    opened = bind("127.0.0.1:0")
    assert opened is not None
    host, port = opened.getsockname()
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(serve(make_app(daemon.answers()), opened, stop))
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}", trust_env=False) as client:
            yield client
        stop.set()


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_a_probe_says_yes_or_no_and_never_why(path: str) -> None:
    daemon = Daemon()
    async with page(daemon) as client:
        answer = await client.get(path)
        assert (answer.status_code, answer.text) == (200, "ok\n")
        daemon.healthy = daemon.ready = False
        answer = await client.get(path)
        assert (answer.status_code, answer.text) == (503, "failed: reason withheld\n")


async def test_alive_and_ready_are_two_questions() -> None:
    async with page(Daemon(healthy=True, ready=False)) as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 503


async def test_metrics_and_status_are_served_as_they_are() -> None:
    async with page(Daemon()) as client:
        metrics = await client.get("/metrics")
        assert metrics.headers["content-type"] == CONTENT_TYPE
        assert "reconciler_build_info{" in metrics.text
        status = await client.get("/status")
        assert status.headers["content-type"] == "application/json"
        assert json.loads(status.text) == {"managed": 3}


async def test_the_page_changes_nothing() -> None:
    async with page(Daemon()) as client:
        for path in ("/healthz", "/readyz", "/metrics", "/status"):
            for method in ("POST", "PUT", "PATCH", "DELETE"):
                assert (await client.request(method, path)).status_code == 405
        assert (await client.get("/")).status_code == 404


async def test_serving_leaves_the_signals_to_their_owner() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with page(Daemon()) as client:
        await client.get("/healthz")
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_after_the_stop_nothing_listens_any_more() -> None:
    async with page(Daemon()) as client:
        address = str(client.base_url)
        await client.get("/healthz")
    async with httpx.AsyncClient(trust_env=False) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(address)


async def test_a_page_that_ends_by_itself_is_not_silent() -> None:
    opened = bind("127.0.0.1:0")
    assert opened is not None
    opened.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        await asyncio.wait_for(serve(make_app(Daemon().answers()), opened, asyncio.Event()), 30)


async def test_a_cancelled_page_closes_its_socket() -> None:
    opened = bind("127.0.0.1:0")
    assert opened is not None
    serving = asyncio.create_task(serve(make_app(Daemon().answers()), opened, asyncio.Event()))
    async with httpx.AsyncClient(trust_env=False) as client:
        await client.get(f"http://127.0.0.1:{opened.getsockname()[1]}/healthz")
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert opened.fileno() == -1


def test_off_opens_nothing() -> None:
    assert bind("off") is None


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:0"])
def test_an_address_is_opened_and_listens(listen: str) -> None:
    opened = bind(listen)
    assert opened is not None
    with opened, socket.create_connection(opened.getsockname(), timeout=10):
        assert opened.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize(
    "listen", ["", "8420", ":8420", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:-1", "h:65536", "h:²", "h:8 "]
)
def test_what_is_no_address_is_an_error_of_the_settings(listen: str) -> None:
    with pytest.raises(SettingsError, match="is not HOST:PORT or off"):
        bind(listen)


def test_an_address_that_is_taken_is_named_with_a_way_out() -> None:
    taken = bind("127.0.0.1:0")
    assert taken is not None
    with taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SettingsError, match=f"cannot listen on {listen}: .*in use; .*--listen off"):
            bind(listen)


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b", "x" * 70 + ".example", "ü" * 100, "[::zz]"])
def test_a_host_that_is_not_here_is_named(host: str) -> None:
    with pytest.raises(SettingsError, match="cannot listen on "):
        bind(f"{host}:0")
