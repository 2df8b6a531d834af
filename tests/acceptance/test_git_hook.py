"""The hook: whose delivery it is, how much and how often is taken, and that a push is then followed at once.

Aspects: signatures and tokens of the three kinds of hosts, the limiter, the page's answers over a real socket, and the
installed daemon that would else look once in an hour.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import http.client
import io
import json
import signal
import socket
from collections.abc import AsyncIterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reconciler.web.delivery
from reconciler.cli.branch import make_hook
from reconciler.settings.sections import Settings
from reconciler.telemetry.logs import make_log
from reconciler.web.app import Guards, make_app
from reconciler.web.front import Front
from reconciler.web.hook import Limiter, Seal, is_push, kind_of
from tests.world.git_scene import GitScene
from tests.world.started import Started

SECRET = "0123456789abcdef0123456789abcdef"
BODY = json.dumps({"ref": "refs/heads/main"}).encode()


def signature(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def delivery(kind: str, secret: str = SECRET, body: bytes = BODY) -> dict[str, str]:
    """Return the headers that a host sends with a push."""
    github = {"x-hub-signature-256": f"sha256={signature(secret, body)}", "x-github-event": "push"}
    if kind == "github":
        return github
    if kind == "gitlab":
        return {"x-gitlab-token": secret, "x-gitlab-event": "Push Hook"}
    # Gitea's carry GitHub's headers as well.
    return {**github, "x-gitea-signature": signature(secret, body), "x-gitea-event": "push"}


def is_genuine(kind: str, headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    """Whether a delivery is, whose body comes in two parts."""
    seal = Seal.of(kind, headers, secret)
    if seal is None:
        return False
    seal.feed(body[: len(body) // 2])
    seal.feed(body[len(body) // 2 :])
    return seal.holds()


KINDS = ("github", "gitlab", "gitea")
_secrets = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=16, max_size=64)


@pytest.mark.parametrize("kind", KINDS)
@given(secret=_secrets, other=_secrets, body=st.binary(max_size=200), more=st.binary(min_size=1, max_size=5))
def test_only_who_knows_the_secret_is_genuine(kind: str, secret: str, other: str, body: bytes, more: bytes) -> None:
    headers = delivery(kind, secret, body)
    assert kind_of(headers) == kind
    assert is_genuine(kind, headers, body, secret)
    assert is_genuine(kind, headers, body, other) == (secret == other)
    if kind != "gitlab":
        assert not is_genuine(kind, headers, body + more, secret)


@given(text=st.text(max_size=100), secret=_secrets)
def test_no_other_text_is_a_signature(text: str, secret: str) -> None:
    for name in ("x-hub-signature-256", "x-gitlab-token", "x-gitea-signature"):
        kind = kind_of({name: text})
        assert is_genuine(kind, {name: text}, BODY, secret) == (kind == "gitlab" and text == secret)
    assert not is_genuine(kind_of({}), {}, BODY, secret)
    # The old signature, by SHA-1, counts for nothing.
    old = {"x-hub-signature": "sha1=" + hmac.new(secret.encode(), BODY, "sha1").hexdigest()}
    assert not is_genuine(kind_of(old), old, BODY, secret)


def test_a_ping_says_nothing_of_a_branch() -> None:
    assert not is_push({"x-github-event": "ping"})
    assert is_push({"x-github-event": "push"})
    assert is_push({"x-gitlab-event": "Push Hook"})


@given(
    per_minute=st.integers(1, 100),
    gaps=st.lists(st.floats(0, 90, allow_nan=False), min_size=1, max_size=200),
)
def test_the_limiter_lets_through_no_more_than_its_rate_and_says_truly_how_long_to_wait(
    per_minute: int, gaps: list[float]
) -> None:
    now = [1000.0]
    limiter = Limiter(per_minute, lambda: now[0])
    taken = 0
    for gap in gaps:
        now[0] += gap
        wait = limiter.wait_seconds()
        taken += wait == 0
        assert taken <= per_minute + (now[0] - 1000) * per_minute / 60 + 1e-6
        if wait:
            now[0] += wait + 1e-6
            assert limiter.wait_seconds() == 0
            taken += 1


# The page's answers


class Page:
    """The page with its hook, a clock that a test moves, and what was logged."""

    def __init__(self, folder: Path, limit: int) -> None:
        (folder / "secret").write_text(SECRET)
        self.now = 1000.0
        self.nudges = 0
        self._lines = io.StringIO()
        settings = {"hook_secret_file": str(folder / "secret"), "hook_limit": limit, "hook_max_bytes": 1024}
        settings |= {"hook_seconds": 10.0, "hook_at_once": 4}
        log = make_log("json", "info", run_id="test", secrets=tuple, stream=self._lines)
        hook = make_hook(Settings(settings), self._nudge, lambda: self.now, log)
        front = Front(lambda: b"", standstill_seconds=120)
        self._app = make_app(front, "", Guards(token=None), hook)

    def _nudge(self) -> None:
        self.nudges += 1

    async def knock(self, times: int, *, secret: str = SECRET, body: bytes = BODY) -> list[int]:
        """Deliver so often, and return the answers."""
        transport = httpx.ASGITransport(self._app)
        async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
            return [
                (await client.post("/hooks/git", content=body, headers=delivery("github", secret, body))).status_code
                for _ in range(times)
            ]

    async def answer_to(self, body: AsyncIterator[bytes], headers: Mapping[str, str]) -> int:
        """Deliver a body that comes in parts, and return the answer."""
        answers: list[int] = []

        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": await anext(body, b""), "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                answers.append(message["status"])

        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": "POST", "path": "/hooks/git", "headers": raw, "query_string": b""}
        await self._app(scope, receive, send)
        return answers[0]

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Return the lines of one event."""
        lines = [json.loads(line) for line in self._lines.getvalue().splitlines()]
        return [line for line in lines if line["event"] == event]

    def floods(self) -> list[str]:
        """Return what was said of deliveries that were too many."""
        refusals = [line["why"] for line in self.lines("hook_refused")]
        return [why for why in refusals if why.startswith("more than hook_limit")]


async def test_strangers_do_not_use_up_what_who_has_the_secret_may_and_his_hints_are_never_too_many(
    tmp_path: Path,
) -> None:
    flooded = Page(tmp_path, 3)
    assert await flooded.knock(5, secret="wrong" * 8) == [401, 401, 401, 429, 429]
    assert await flooded.knock(100) == [202] * 100
    assert flooded.nudges == 100
    assert flooded.floods() == ["more than hook_limit allows in a minute, without the secret"]
    assert await flooded.knock(1, secret="wrong" * 8) == [429]


async def test_however_many_hints_there_are_a_line_a_second_tells_of_them(tmp_path: Path) -> None:
    page = Page(tmp_path, 3)
    await page.knock(100)
    await asyncio.sleep(0)  # the lines of a step leave at its end
    taken = page.lines("hook_taken")
    assert len(taken) == 60
    page.now += 1
    await page.knock(1)
    await asyncio.sleep(0)
    assert page.lines("hook_taken")[-1]["more"] == 40


async def test_each_flood_is_said_once_and_ends_by_itself(tmp_path: Path) -> None:
    page = Page(tmp_path, 3)
    for flood in (1, 2):
        assert await page.knock(6, secret="wrong" * 8) == [401] * 3 + [429] * 3
        assert len(page.floods()) == flood
        page.now += 20
        assert await page.knock(2, secret="wrong" * 8) == [401, 429]
        assert len(page.floods()) == flood, "it has not ended"
        page.now += 60


async def test_deliveries_that_are_too_large_count_among_those_of_strangers(tmp_path: Path) -> None:
    page = Page(tmp_path, 3)
    assert await page.knock(6, body=b"x" * 1025) == [413] * 3 + [429] * 3
    assert page.floods() == ["more than hook_limit allows in a minute, without the secret"]
    assert await page.knock(1) == [202]


async def test_a_body_is_not_read_whose_headers_are_no_hosts(tmp_path: Path) -> None:
    page = Page(tmp_path, 30)

    read: list[bytes] = []

    async def never() -> AsyncIterator[bytes]:
        read.append(BODY)
        yield BODY

    for headers in (
        {},
        {"x-hub-signature-256": "sha1=" + "0" * 64},
        {"x-hub-signature-256": "sha256=" + "0" * 63},
        {"x-gitea-signature": "x" * 64},
        {"x-gitlab-token": "wrong"},
        {**delivery("github"), "content-length": "1025"},
    ):
        assert await page.answer_to(never(), headers) in (401, 413)
    assert read == []


async def test_only_so_many_bodies_are_read_at_once(tmp_path: Path) -> None:
    page = Page(tmp_path, 30)
    more = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        await more.wait()
        yield BODY

    reading = [asyncio.create_task(page.answer_to(slow(), delivery("github"))) for _ in range(4)]
    await asyncio.sleep(0)
    assert await page.answer_to(slow(), delivery("gitea")) == 503
    assert await page.answer_to(slow(), delivery("gitlab")) == 202, "nothing of it has to be read"
    more.set()
    assert await asyncio.gather(*reading) == [202] * 4


async def test_a_body_that_takes_long_makes_room_for_one_that_comes_in_one_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler.web.delivery, "_LONG_SECONDS", 0.05)
    page = Page(tmp_path, 30)

    async def never() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async def at_once() -> AsyncIterator[bytes]:
        yield BODY

    slow = [asyncio.create_task(page.answer_to(never(), delivery("github"))) for _ in range(4)]
    await asyncio.sleep(0.1)
    assert await page.answer_to(at_once(), delivery("github")) == 202
    assert await slow[0] == 503, "it had to make room"
    assert [each.done() for each in slow] == [True, False, False, False]
    for each in slow:
        each.cancel()


# The installed daemon


@pytest.fixture
def world(world: GitScene) -> GitScene:
    (world.team.folder / "secret").write_text(SECRET + "\n")
    return world


def options(world: GitScene, *more: str) -> tuple[str, ...]:
    secret = str(world.team.folder / "secret")
    return ("--listen", "127.0.0.1:0", "--git-interval", "3600", "--hook-secret-file", secret, *more)


def place(daemon: Started) -> str:
    return str(daemon.wait_for("listening")["address"])


def knock(
    at: str, headers: Mapping[str, str], body: bytes = BODY, *, method: str = "POST"
) -> tuple[int, dict[str, str]]:
    connection = http.client.HTTPConnection(at, timeout=60)
    try:
        connection.request(method, "/hooks/git", body, dict(headers))
        answer = connection.getresponse()
        answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


def test_a_delivery_makes_a_push_count_long_before_the_next_look(world: GitScene) -> None:
    (one,) = world.recordings(1)
    world.team.publish({"docs/one.yaml": one.document("ongoing")})
    with world.daemon(*options(world)) as daemon:
        at = place(daemon)
        daemon.wait_for("resync_done")
        for number, kind in enumerate(KINDS):
            status = ("paused", "ongoing")[number % 2]
            commit = world.team.publish({"docs/one.yaml": one.document(status)})
            assert knock(at, delivery(kind))[0] == 202
            daemon.wait_for("source_revision", revision=commit)
            daemon.wait_for("hook_taken", host=kind)
        daemon.wait_for("applied", name=one.name, count=3)
        # So does SIGHUP, which looks at everything now.
        commit = world.team.publish({"docs/one.yaml": one.document("ongoing")})
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("source_revision", revision=commit)


def test_what_is_not_genuine_or_no_push_wakes_nobody(world: GitScene) -> None:
    world.team.publish({"docs/one.yaml": world.recordings(1)[0].document("ongoing")})
    with world.daemon(*options(world)) as daemon:
        at = place(daemon)
        daemon.wait_for("resync_done")
        first = daemon.wait_for("source_revision")["revision"]
        world.team.publish({"docs/two.yaml": world.recordings(1)[0].document("ongoing")})
        for kind in KINDS:
            assert knock(at, delivery(kind, "wrong" * 8))[0] == 401
        assert knock(at, {})[0] == 401
        assert knock(at, {"x-hub-signature-256": "sha256=\xe9"})[0] == 401
        assert knock(at, {**delivery("github"), "x-github-event": "ping"})[0] == 202
        assert knock(at, delivery("github"), b"", method="GET")[0] == 405
        daemon.wait_for("hook_refused", why="wrong signature or token", count=5)
        assert [event["revision"] for event in daemon.events("source_revision")] == [first]
        said = daemon.said()
        assert SECRET not in said
        assert "wrongwrong" not in said
        # The secret is read anew each time: it can be changed without a start.
        (world.team.folder / "secret").write_text("another" * 5)
        assert knock(at, delivery("github"))[0] == 401
        assert knock(at, delivery("github", "another" * 5))[0] == 202
        daemon.wait_for("source_revision", count=2)
        (world.team.folder / "secret").unlink()
        assert knock(at, delivery("github", "another" * 5))[0] == 503


def raw(at: str, head: str, *parts: bytes) -> bytes:
    """Send a request as it is and return how the answer begins."""
    host, _, port = at.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(f"POST /hooks/git HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode("latin-1"))
        for part in parts:
            try:
                connection.sendall(part)
            except OSError:
                break  # it has answered, and reads no more
        return connection.recv(200)


def test_a_body_larger_than_allowed_is_refused_before_it_is_read_and_a_flood_is_told_when_to_come_back(
    world: GitScene,
) -> None:
    world.team.publish({"docs/one.yaml": world.recordings(1)[0].document("ongoing")})
    with world.daemon(*options(world, "--hook-max-bytes", "1024", "--hook-limit", "10")) as daemon:
        at = place(daemon)
        daemon.wait_for("resync_done")
        # Nothing of the body is sent: the answer comes for what the head says.
        assert b" 413 " in raw(at, "Content-Length: 1025\r\n")
        assert b" 413 " in raw(at, "Content-Length: 99999999999999\r\n")
        chunk = b"400\r\n" + b"x" * 1024 + b"\r\n"
        # Chunked, and never at its end.
        signed = f"x-hub-signature-256: sha256={'0' * 64}\r\n"
        assert b" 413 " in raw(at, f"{signed}Transfer-Encoding: chunked\r\n", chunk, chunk)
        assert b" 4" in raw(at, f"Content-Length: {'9' * 5000}\r\n")[:16]
        assert b" 4" in raw(at, "Content-Length: -1\r\n")[:16]
        body = b"x" * 1024
        assert knock(at, delivery("github", body=body), body)[0] == 202
        answers = [knock(at, delivery("github", "wrong" * 8)) for _ in range(12)]
        flooded = [headers for status, headers in answers if status == 429]
        assert flooded
        assert all(1 <= int(headers["retry-after"]) <= 6 for headers in flooded)
        assert knock(at, delivery("github"))[0] == 202
        assert "Traceback" not in daemon.said()


def test_without_a_secret_there_is_no_hook(world: GitScene) -> None:
    world.team.publish({"docs/one.yaml": world.recordings(1)[0].document("ongoing")})
    with world.daemon("--listen", "127.0.0.1:0") as daemon:
        assert knock(place(daemon), delivery("github"))[0] == 404


@pytest.mark.parametrize("content", [None, "", "short", "two words of a secret\n", "\x00" * 40])
def test_a_secret_that_cannot_be_one_is_an_error_of_the_settings(world: GitScene, content: str | None) -> None:
    secret = world.team.folder / "secret"
    if content is None:
        secret.unlink()
    else:
        secret.write_text(content)
    done = world.run(*options(world))
    assert done.returncode == 1
    assert "hook_secret_file: " in done.stderr
