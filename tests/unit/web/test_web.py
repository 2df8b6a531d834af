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
from starlette.types import ASGIApp

from reconciler.model.errors import SettingsError
from reconciler.telemetry.metrics import CONTENT_TYPE, Metrics
from reconciler.web.address import AddressInUse, bind, shown
from reconciler.web.app import Guards, make_app
from reconciler.web.front import Answers, Front
from reconciler.web.hosts import parse_hosts
from reconciler.web.server import Bounds, Server

BOUNDS = Bounds(connections=128, head_seconds=5, head_bytes=16384, answer_seconds=30)


@dataclass
class Daemon:
    """What the page is handed, to be changed by a test."""

    healthy: bool = True
    ready: bool = True
    status: dict[str, Any] = field(default_factory=lambda: {"managed": 3})

    def app(self, guards: Guards | None = None) -> ASGIApp:
        metrics = Metrics("1.2.3").render
        front = Front(metrics, standstill_seconds=120)
        front.attach(Answers(lambda: self.healthy, lambda: self.ready, metrics, lambda: self.status), nudge=None)
        return make_app(front, CONTENT_TYPE, guards or Guards(token=None))


@asynccontextmanager
async def page(daemon: Daemon, guards: Guards | None = None) -> AsyncIterator[httpx.AsyncClient]:
    opened = bind("127.0.0.1:0")
    host, port = opened.getsockname()
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(Server(daemon.app(guards), opened, BOUNDS).serve(stop))
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
        for path in ("/", "/healthz", "/readyz", "/metrics", "/status"):
            for method in ("POST", "PUT", "PATCH", "DELETE"):
                assert (await client.request(method, path)).status_code == 405


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
    opened.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        await asyncio.wait_for(Server(Daemon().app(), opened, BOUNDS).serve(asyncio.Event()), 30)


async def test_a_cancelled_page_closes_its_socket() -> None:
    opened = bind("127.0.0.1:0")
    serving = asyncio.create_task(Server(Daemon().app(), opened, BOUNDS).serve(asyncio.Event()))
    async with httpx.AsyncClient(trust_env=False) as client:
        await client.get(f"http://127.0.0.1:{opened.getsockname()[1]}/healthz")
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert opened.fileno() == -1


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:0"])
def test_an_address_is_opened_and_listens(listen: str) -> None:
    opened = bind(listen)
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
    with taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(AddressInUse, match=f"cannot listen on {listen}: .*in use; .*--listen off"):
            bind(listen)


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b", "x" * 70 + ".example", "ü" * 100, "[::zz]"])
def test_a_host_that_is_not_here_is_named(host: str) -> None:
    with pytest.raises(SettingsError, match="cannot listen on "):
        bind(f"{host}:0")


def test_an_address_is_shown_as_it_stands_in_a_url() -> None:
    with bind("127.0.0.1:0") as opened:
        assert shown(opened) == f"127.0.0.1:{opened.getsockname()[1]}"
    with bind("[::1]:0") as opened:
        assert shown(opened) == f"[::1]:{opened.getsockname()[1]}"


# Whom it answers


GUARDED = ("/", "/metrics", "/status", "/nowhere")
OPEN = ("/healthz", "/readyz")


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8420", "localhost.", "127.0.0.1", "127.8.9.10:1", "[::1]", "[::1]:8420", "page.example:7"],
)
async def test_this_machine_may_be_called_by_its_own_names_and_by_those_that_are_allowed(host: str) -> None:
    async with page(Daemon(), Guards(token=None, hosts=parse_hosts("page.example, other.example"))) as client:
        assert [(await client.get(path, headers={"Host": host})).status_code for path in GUARDED] == [
            200,
            200,
            200,
            404,
        ]


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.evil.example",
        "127.0.0.1.evil.example:8420",
        "localhost.evil.example",
        "10.0.0.1",
        "::1",
        "[::2]",
        "[::ffff:10.0.0.1]",
        "localhost@evil.example",
        "localhost:80:80",
        "127.0.0.1, evil.example",
        "127.1",
        "0x7f000001",
        "",
    ],
)
async def test_a_name_that_is_not_this_machines_gets_no_answer_but_to_probes(host: str) -> None:
    async with page(Daemon()) as client:
        for path in GUARDED:
            answer = await client.get(path, headers={"Host": host})
            assert (answer.status_code, "allowed_hosts" in answer.text) == (421, True)
        assert [(await client.get(path, headers={"Host": host})).status_code for path in OPEN] == [200, 200]


async def test_with_a_token_any_name_will_do_and_metrics_ask_for_it_too_unless_they_are_open() -> None:
    token = Guards(token=lambda: "0123456789abcdef", hosts=None)
    evil = {"Host": "page.example"}
    async with page(Daemon(), token) as client:
        for path in ("/metrics", "/status"):
            assert (await client.get(path, headers=evil)).status_code == 401
            wrong = {**evil, "Authorization": "Bearer 0123456789abcdeF"}
            assert (await client.get(path, headers=wrong)).status_code == 401
            right = {**evil, "Authorization": "bearer 0123456789abcdef"}
            assert (await client.get(path, headers=right)).status_code == 200
        assert [(await client.get(path, headers=evil)).status_code for path in OPEN] == [200, 200]
    async with page(Daemon(), Guards(token=token.token, metrics_open=True, hosts=None)) as client:
        assert (await client.get("/metrics")).status_code == 200
        assert (await client.get("/status")).status_code == 401


@pytest.mark.parametrize("text", ["http://page.example", "page.example:80", "a b", "*", "[::1", "-a"])
def test_what_is_no_name_of_a_host_is_an_error_of_the_settings(text: str) -> None:
    with pytest.raises(SettingsError, match="allowed_hosts"):
        parse_hosts(text)


async def test_no_answer_leads_to_a_name_that_the_request_brought() -> None:
    async with page(Daemon()) as client:
        for path in ("/hooks/git/", "/healthz/", "/hooks//git"):
            answer = await client.get(path, headers={"Host": "evil.example"}, follow_redirects=False)
            assert (answer.status_code in (404, 421), "location" in answer.headers) == (True, False)


async def test_the_first_page_leads_to_all_others() -> None:
    async with page(Daemon()) as client:
        answer = await client.get("/")
        for path in ("/healthz", "/readyz", "/metrics", "/status"):
            assert f'href="{path}"' in answer.text


async def test_a_request_with_two_lengths_is_refused_and_what_follows_it_is_not_answered() -> None:
    async with page(Daemon()) as client:
        port = client.base_url.port
        assert port is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"POST /hooks/git HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"0\r\n\r\nGET /status HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.count(b"HTTP/1.1") == 1
        assert b"managed" not in answer
