"""Strangers on `listen`: half-open connections, slow bodies, floods; by themselves, and against the installed daemon.

What must hold meanwhile: probes answer within a second, an edit's PATCH leaves within a second, and neither memory nor
the log grows with what strangers send.
"""

from __future__ import annotations

import asyncio
import http.client
import resource
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from reconciler.settings.table import SETTINGS
from reconciler.web.address import bind
from reconciler.web.server import Bounds, Server
from tests.world.git_scene import GitScene, Team, isolate
from tests.world.scene import COMMAND, Scene, Subject, subjects
from tests.world.started import Started

# The wall by itself

#: Those that are settings, in their order.
BOUNDS = ("connections", "head_seconds", "head_bytes", "answer_seconds")


async def _answer(_request: Request) -> Response:
    return PlainTextResponse("ok")


async def _read(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


def bounds(**changed: Any) -> Bounds:
    """Return those of the settings' defaults, but for some."""
    return replace(Bounds(*(SETTINGS[f"listen_{name}"].default for name in BOUNDS)), **changed)


@asynccontextmanager
async def wall(bounds: Bounds) -> AsyncIterator[int]:
    """Serve behind a wall, and give the port."""
    app = Starlette(routes=[Route("/", _answer), Route("/read", _read, methods=["POST"])])
    opened = bind("127.0.0.1:0")
    stop = asyncio.Event()
    serving = asyncio.create_task(Server(app, opened, bounds).serve(stop))
    try:
        yield opened.getsockname()[1]
    finally:
        stop.set()
        await asyncio.wait_for(serving, 30)
        for writer in _writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in _writers), return_exceptions=True)
        _writers.clear()


#: Of the clients of a test, closed at its end.
_writers: list[asyncio.StreamWriter] = []
HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(port: int, sent: bytes = b"") -> Connection:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    _writers.append(writer)
    writer.write(sent)
    await writer.drain()
    return reader, writer


async def ask(connection: Connection) -> bytes:
    """Complete a request, and return the first line of the answer, empty when there is none."""
    reader, writer = connection
    try:
        writer.write(b"\r\n")
        await writer.drain()
        line = await asyncio.wait_for(reader.readline(), 30)
        while line and await reader.readline() not in (b"\r\n", b""):
            pass
        if line:
            await reader.readexactly(2)
    except ConnectionError:
        return b""
    return line


async def has_ended(connection: Connection) -> bool:
    try:
        return await asyncio.wait_for(connection[0].read(1), 30) == b""
    except ConnectionError:
        return True


async def test_of_those_that_wait_the_oldest_goes_and_a_new_one_never() -> None:
    async with wall(bounds(connections=16, head_seconds=600)) as port:
        old = [await connect(port, HEAD) for _ in range(8)]
        for _ in range(3):
            assert (await ask(await connect(port, HEAD))).startswith(b"HTTP/1.1 200")
        # The answered ones wait, too, and each has taken the place of an old one.
        assert [await has_ended(each) for each in old[:3]] == [True] * 3
        assert [(await ask(each))[:12] for each in old[3:]] == [b"HTTP/1.1 200"] * 5


async def test_a_head_that_is_not_complete_in_time_ends_its_connection(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING")
    async with wall(bounds(head_seconds=0.5)) as port:
        slow = await connect(port, HEAD)
        dripping = asyncio.create_task(drip(slow[1]))
        assert await has_ended(slow)
        assert caplog.messages == ["a request's head took longer than listen_head_seconds allows (0.5)"]
        silent = await connect(port)
        assert await has_ended(silent)
        idle = await connect(port, HEAD)
        assert (await ask(idle)).startswith(b"HTTP/1.1 200")
        assert await has_ended(idle)
        await dripping
        assert len(caplog.messages) == 1  # who sends nothing has only kept the connection


async def drip(writer: asyncio.StreamWriter) -> None:
    """Send a head without an end, until nobody takes it."""
    try:
        while not writer.is_closing():
            writer.write(b"X-A: b\r\n")
            await writer.drain()
            await asyncio.sleep(0.05)
    except ConnectionError:
        pass


async def test_a_head_that_is_too_large_is_told_which_bound_it_met(caplog: pytest.LogCaptureFixture) -> None:
    async with wall(bounds(head_bytes=2048)) as port:
        fits = await connect(port, HEAD + b"X-A: " + b"a" * 1900 + b"\r\n")
        assert (await ask(fits)).startswith(b"HTTP/1.1 200")
        reader, _ = await connect(port, HEAD + b"X-A: " + b"a" * 2100)
        answer = await asyncio.wait_for(reader.read(), 30)
        assert answer.startswith(b"HTTP/1.1 400")
        words = "the request's head has more than listen_head_bytes allows (2,048)"
        assert answer.endswith(words.encode())
        assert words in caplog.messages


async def test_an_answer_that_takes_too_long_ends_its_connection(caplog: pytest.LogCaptureFixture) -> None:
    async with wall(bounds(answer_seconds=0.5)) as port:
        slow = await connect(port, b"POST /read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nx")
        assert await has_ended(slow)
        assert "an answer took longer than listen_answer_seconds allows (0.5)" in caplog.messages


async def test_a_connection_is_not_kept_for_ever() -> None:
    async with wall(bounds(age_seconds=0.3)) as port:
        kept = await connect(port)
        answers = 0
        until = time.monotonic() + 30
        while time.monotonic() < until:
            kept[1].write(HEAD)
            if not (await ask(kept)).startswith(b"HTTP/1.1 200"):
                break
            answers += 1
            await asyncio.sleep(0.05)
        assert answers >= 1
        assert time.monotonic() < until


async def test_there_are_only_so_many_connections_in_all(caplog: pytest.LogCaptureFixture) -> None:
    async with wall(bounds(connections=8)) as port:
        body = b"POST /read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nx"
        busy = [await connect(port, body) for _ in range(8)]
        assert (await ask(await connect(port, HEAD))).startswith(b"HTTP/1.1 200")
        assert await has_ended(busy[0])
        assert any("more connections than listen_connections allows (8" in words for words in caplog.messages)


async def test_several_requests_sent_at_once_are_answered_in_turn() -> None:
    async with wall(bounds()) as port:
        reader, _ = await connect(port, (HEAD + b"\r\n") * 5)
        text = b""
        while text.count(b"HTTP/1.1 200") < 5 or not text.endswith(b"ok"):
            text += await asyncio.wait_for(reader.read(1000), 30)


async def test_at_the_end_nobody_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    began = time.monotonic()
    async with wall(bounds()) as port:
        body = b"POST /read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nx"
        for _ in range(20):
            await connect(port, body)
    assert time.monotonic() - began < 30
    # The application of this test does not catch that its client is gone, which is one line each; no more.
    assert len(caplog.records) <= 20


# The installed daemon


class Besieged:
    """A daemon, and what must hold of it whatever strangers do."""

    def __init__(self, scene: Scene, subject: Subject, daemon: Started) -> None:
        self._scene = scene
        self._subject = subject
        self._status = "ongoing"
        self._daemon = daemon
        self.port = int(str(daemon.wait_for("listening")["address"]).rpartition(":")[2])
        daemon.wait_for("started")
        while self.get("/readyz") != 200:
            time.sleep(0.05)  # until it holds
        self._memory = self._resident()
        self._lines = len(daemon.events())
        self._own = 0

    def get(self, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        finally:
            connection.close()

    def probe_and_edit(self) -> None:
        """Ask the probes, and save an edit; all of it has to be quick."""
        for path in ("/healthz", "/readyz"):
            began = time.monotonic()
            assert self.get(path) == 200
            assert time.monotonic() - began < SECONDS
        self._status = "paused" if self._status == "ongoing" else "ongoing"
        before = len(self._patches())
        began = time.time()
        self._save()
        until = time.monotonic() + 60
        while len(self._patches()) == before:
            assert time.monotonic() < until, self._daemon.said()
            time.sleep(0.02)  # until it has left
        assert self._scene.sandbox.requests("PATCH")[-1].at - began < SECONDS
        self._daemon.wait_for("applied", len(self._patches()))

    def has_not_grown(self) -> None:
        """Hold memory and the log to what they may grow by."""
        assert self._resident() - self._memory < 30 * 1024 * 1024
        # An edit is some four lines of its own.
        assert len(self._daemon.events()) - self._lines < 100

    def _patches(self) -> list[str]:
        return self._scene.sandbox.patches().get(self._subject.recording, [])

    def _save(self) -> None:
        self._scene.write("one.yaml", self._subject.document(self._status))

    def _resident(self) -> int:
        status = Path(f"/proc/{self._daemon.process.pid}/status").read_text(encoding="ascii")
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024


#: What is promised is a second; the machine of the tests may be busy.
SECONDS = 3.0


@contextmanager
def besieged(scene: Scene, *more: str, descriptors: int) -> Iterator[Besieged]:
    limited = ("sh", "-c", 'ulimit -n "$0"; exec "$@"', str(descriptors), COMMAND, "run")
    options = scene.options("--listen", "127.0.0.1:0", "--poll-seconds", "1", *more)
    (subject,) = subjects(1)
    scene.sandbox.seed([subject.seed()])
    scene.write("one.yaml", subject.document("ongoing"))
    with scene.start(*limited, *options, str(scene.documents)) as daemon:
        yield Besieged(scene, subject, daemon)


@pytest.fixture(autouse=True)
def _enough_descriptors() -> Iterator[None]:
    """Strangers need some, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def open_many(port: int, count: int, sent: bytes, stack: ExitStack) -> None:
    for _ in range(count):
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
        try:
            connection.sendall(sent)
        except OSError:
            pass  # it was the oldest


@pytest.mark.parametrize("descriptors", [1024, 4096])
def test_half_open_connections_hold_nothing_up(sandbox: Scene, tmp_path: Path, descriptors: int) -> None:
    scene = sandbox.at(tmp_path)
    scene.sandbox.control("DELETE", "state")
    scene.sandbox.control("DELETE", "requests")
    with besieged(scene, descriptors=descriptors) as page, ExitStack() as stack:
        open_many(page.port, 1200, b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ", stack)
        for _ in range(3):
            page.probe_and_edit()
        page.has_not_grown()


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01 nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET /status HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=["malformed", "upgrade", "misdirected", "metrics"],
)
def test_a_flood_holds_nothing_up_and_is_said_once(sandbox: Scene, tmp_path: Path, sent: bytes) -> None:
    scene = sandbox.at(tmp_path)
    scene.sandbox.control("DELETE", "state")
    scene.sandbox.control("DELETE", "requests")
    with besieged(scene, descriptors=1024) as page, flood(page.port, sent) as sofar:
        for _ in range(3):
            page.probe_and_edit()
        before = sofar()
        while sofar() < before + 500:
            time.sleep(0.01)  # until it has been a flood
        page.has_not_grown()


@contextmanager
def flood(port: int, sent: bytes) -> Iterator[Callable[[], int]]:
    """Send the same on new connections, one after the other, as fast as they are taken."""
    ended = threading.Event()
    count = [0]

    def send() -> None:
        while not ended.is_set():
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                    connection.sendall(sent)
                    connection.recv(100)
            except OSError:
                pass
            count[0] += 1

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield lambda: count[0]
    finally:
        ended.set()
        thread.join()


def test_slow_bodies_on_the_hook_hold_nothing_up(
    sandbox: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, tmp_path / "home")
    world = GitScene(sandbox.at(tmp_path), Team(tmp_path))
    world.team.publish({"docs/one.yaml": world.recordings(1)[0].document("ongoing")})
    (tmp_path / "secret").write_text("0123456789abcdef0123456789abcdef\n")
    with (
        world.daemon("--listen", "127.0.0.1:0", "--hook-secret-file", str(tmp_path / "secret")) as daemon,
        ExitStack() as stack,
    ):
        port = int(str(daemon.wait_for("listening")["address"]).rpartition(":")[2])
        daemon.wait_for("resync_done")
        status = Path(f"/proc/{daemon.process.pid}/statm")
        before = int(status.read_text(encoding="ascii").split()[1])
        lines = len(daemon.events())
        head = (
            b"POST /hooks/git HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\nX-Hub-Signature-256: sha256="
            + b"0" * 64
            + b"\r\n\r\n"
        )
        open_many(port, 700, head + b"x" * 60_000, stack)
        for path in ("/healthz", "/readyz"):
            began = time.monotonic()
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", path)
            assert connection.getresponse().status == 200
            connection.close()
            assert time.monotonic() - began < SECONDS
        after = int(status.read_text(encoding="ascii").split()[1])
        assert (after - before) * resource.getpagesize() < 30 * 1024 * 1024
        daemon.process.terminate()
        assert daemon.ended() == 0
        assert len(daemon.events()) - lines < 100
        # What a bound of the page ended is said, once a minute, and a library complains of nothing.
        assert all("listen_" in event["detail"] for event in daemon.events("library_warning"))
