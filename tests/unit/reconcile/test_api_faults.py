"""Turns against an API that misbehaves: the real reconciler, store and client, and servers on real sockets.

Each fault is met once by a read and once by the PATCH, with effect and without: it has a defined outcome and one clear
line, the PATCH is not repeated before a look, and the recording ends as desired. Then what many requests meet: storms
of errors and of 429, a workspace that stalls, keys that are refused, and the pools that cancelled requests once
emptied. The reconciler's time is turned by hand, so only what a socket needs is waited for.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import re
import signal
import urllib.request
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from reconciler.controller.once import give_turns
from reconciler.model.documents import Desired
from reconciler.model.errors import ProviderError, Unavailable
from reconciler.model.keys import RecordingKey
from reconciler.model.moments import Clock
from reconciler.model.records import Record
from reconciler.model.statuses import Outcome, Phase
from reconciler.model.work import Priority
from reconciler.plan.limits import Limits
from reconciler.plan.window import Window
from reconciler.providers.bird import (
    Bird,
    CircuitChange,
    Circuits,
    Connection,
    Listeners,
    RequestMetric,
    Timeouts,
    TransportName,
)
from reconciler.providers.bird.guard import Route
from reconciler.providers.bird.sandbox import DEFAULT_KEY, SandboxServer, SeedRecording, World
from reconciler.providers.bird.sandbox.world import Behaviour
from reconciler.providers.gate.budget import PATIENCE_SECONDS, Budgets
from reconciler.providers.gate.circuit import FAILURES, LONGEST_SECONDS
from reconciler.providers.gate.gate import Gate
from reconciler.providers.gate.lane import REST_SECONDS
from reconciler.reconcile.accounts import UNAUTHORIZED_SECONDS, RefusedKeys
from reconciler.reconcile.observer import Observer
from reconciler.reconcile.parts import Desires, Guards, LiveState, Run, State, TurnSettings
from reconciler.reconcile.surroundings import NoMeters, Turn
from reconciler.reconcile.turn import Reconciler
from reconciler.settings.keys import KEY_FILE_VARIABLE, KeyRing
from reconciler.state.opening import open_store, open_writer
from reconciler.telemetry.alarm import Sparing
from reconciler.telemetry.metrics import ApiState, Metrics
from reconciler.work.queue import Again
from reconciler.work.workers import Workers
from tests.world.bench import Lines, Time
from tests.world.clocks import FakeClock
from tests.world.documents import document as written
from tests.world.fault_proxy import FaultProxy
from tests.world.foreign_api import ForeignApi, running
from tests.world.ids import WORKSPACE, numbered, recording
from tests.world.nouns import document, key
from tests.world.shell import KEY as SHELL_KEY
from tests.world.shell import Shell
from tests.world.sockets import a_server, both_transports, full_queue, read_request, response
from tests.world.started import Started, eventually

#: Gets the good answer, and answers what it likes; false closes the connection.
Act = Callable[[asyncio.StreamWriter, bytes], Awaitable[bool]]
ACCESS_KEY = "canary-access-key-5150"


@dataclass
class Fault:
    """What the next request of a method meets."""

    act: Act
    takes_effect: bool = True


@dataclass
class Api:
    """Recordings behind a raw socket: each answer may be spoiled byte by byte."""

    statuses: dict[RecordingKey, str] = field(default_factory=dict)
    accepted_key: str = ACCESS_KEY
    #: Method, workspace and status of each request that arrived.
    requests: list[tuple[str, str]] = field(default_factory=list)
    faults: dict[str, deque[Fault]] = field(default_factory=lambda: {"GET": deque(), "PATCH": deque()})
    #: What every request of a workspace meets.
    always: dict[str, Act] = field(default_factory=dict)

    def add(self, key: RecordingKey, status: str = "ongoing") -> None:
        self.statuses[key] = status

    def methods(self) -> list[str]:
        return [method for method, _ in self.requests]

    def count(self, workspace_id: str) -> int:
        return sum(workspace == workspace_id for _, workspace in self.requests)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await read_request(reader)
            method, target = request.split(b" ", 2)[:2]
            parts = target.decode().partition("?")[0].split("/")
            workspace = parts[2]
            self.requests.append((method.decode(), workspace))
            fault = self.faults[method.decode()]
            met = fault.popleft() if fault else None
            act = self.always.get(workspace) or (met.act if met else None)
            presented = re.search(rb"(?i)\r\nauthorization: AccessKey ([^\r]*)\r\n", request)
            if presented is None or presented[1].decode() != self.accepted_key:
                good = response("401 Unauthorized", b'{"code": "Unauthorized", "message": "no"}')
            else:
                good = self._answer(method.decode(), parts, request, met is None or met.takes_effect)
            if act is not None:
                if not await act(writer, good):
                    return
            else:
                writer.write(good)
            await writer.drain()

    def _answer(self, method: str, parts: list[str], request: bytes, takes_effect: bool) -> bytes:
        if method == "PATCH":
            key = RecordingKey(parts[2], parts[4], parts[6], parts[8])
            if takes_effect:
                self.statuses[key] = json.loads(request.partition(b"\r\n\r\n")[2])["status"]
            return response("202 Accepted", b'{"status": "accepted"}')
        entries = [
            {"id": key.recording_id, "status": status}
            for key, status in self.statuses.items()
            if (key.workspace_id, key.channel_id, key.call_id) == (parts[2], parts[4], parts[6])
        ]
        return response("200 OK", json.dumps({"results": entries}).encode())


# What an answer may be.


def instead(raw: bytes) -> Act:
    """Answer these bytes in place of the good answer."""

    async def act(writer: asyncio.StreamWriter, _good: bytes) -> bool:
        writer.write(raw)
        return True

    return act


def a_response(status: str, body: bytes = b"", **headers: str) -> Act:
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
    return instead(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{''.join(lines)}\r\n".encode() + body)


async def never(_writer: asyncio.StreamWriter, _good: bytes) -> bool:
    await asyncio.Event().wait()
    return False


async def cut_off(writer: asyncio.StreamWriter, good: bytes) -> bool:
    writer.write(good[: len(good) - 5])
    await writer.drain()
    return False


async def cut_off_in_the_status_line(writer: asyncio.StreamWriter, good: bytes) -> bool:
    writer.write(good[:7])
    await writer.drain()
    return False


async def hang_up(_writer: asyncio.StreamWriter, _good: bytes) -> bool:
    return False


async def reset(writer: asyncio.StreamWriter, _good: bytes) -> bool:
    writer.transport.abort()
    return False


async def of_100_megabytes(writer: asyncio.StreamWriter, _good: bytes) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(1600):
        writer.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
        await writer.drain()
    return False


PAGE = b"<html><body>Call +1 (500) 555-0006 for help</body></html>"
#: Name -> what is answered, and the words that the one line has, for a read.
OF_A_READ: dict[str, tuple[Act, str]] = {
    "never": (never, "no complete answer in time"),
    "cut off in the body": (cut_off, "broke"),
    "cut off in the status line": (cut_off_in_the_status_line, "broke"),
    "hung up": (hang_up, "broke"),
    "reset": (reset, "broke"),
    "503": (a_response("503 Service Unavailable"), "answered 503"),
    "HTML error page": (a_response("502 Bad Gateway", PAGE, Content_Type="text/html"), "answered 502"),
    "HTML page with 200": (a_response("200 OK", PAGE, Content_Type="text/html"), "not JSON by its Content-Type"),
    "wrong type": (a_response("200 OK", b'{"results": []}', Content_Type="text/plain"), "not JSON by its Content-Type"),
    "invalid JSON": (a_response("200 OK", b'{"results": [', Content_Type="application/json"), "not valid JSON"),
    "another shape": (a_response("200 OK", b'"yes"', Content_Type="application/json"), "holds no list of results"),
    "202 where 200 was due": (a_response("202 Accepted", b"{}"), "answered 202"),
    "redirect": (a_response("307 Temporary Redirect", Location="/elsewhere"), "a redirect, which is never followed"),
    "100 MB": (of_100_megabytes, "larger than"),
    "not HTTP": (instead(b"SSH-2.0 hello\r\n\r\n"), "broke"),
}
#: The same for a PATCH; a 202 counts as soon as its status line and headers are there.
OF_A_PATCH: dict[str, tuple[Act, str]] = {
    "never": (never, "no complete answer in time"),
    "cut off in the status line": (cut_off_in_the_status_line, "broke"),
    "hung up": (hang_up, "broke"),
    "reset": (reset, "broke"),
    "503": (a_response("503 Service Unavailable"), "answered 503"),
    "HTML error page": (a_response("502 Bad Gateway", PAGE, Content_Type="text/html"), "answered 502"),
    "200 where 202 was due": (
        a_response("200 OK", b'{"status": "paused"}'),
        "answered 200, which this request is never",
    ),
    "redirect": (a_response("307 Temporary Redirect", Location="/elsewhere"), "a redirect, which is never followed"),
    "not HTTP": (instead(b"SSH-2.0 hello\r\n\r\n"), "broke"),
}


class Scene:
    """The real parts on a clock that is turned by hand."""

    def __init__(
        self,
        folder: Path,
        address: str,
        *,
        transport: TransportName = "aiohttp",
        timeouts: Timeouts | None = None,
        rate: float = 0.0,
        concurrency: int = 32,
        real_time: bool = False,
        patient: bool = False,
        key_ring: KeyRing | None = None,
        access_key: str = ACCESS_KEY,
    ) -> None:
        self.time = Time()
        self.gate_clock = FakeClock()
        self.documents: dict[RecordingKey, Desired] = {}
        self.log = Lines()
        self.metrics: list[RequestMetric] = []
        self.circuit_changes: list[CircuitChange] = []
        state = f"sqlite:///{folder / 'state.db'}"
        self.writer = open_writer(state, holder="test")
        self.store = open_store(state)
        loop = asyncio.get_running_loop()
        self.clock = Clock(lambda: datetime.now(UTC), loop.time, lambda: 0.5) if real_time else self.time.clock
        self.budget = Budgets(
            rate,
            concurrency=concurrency,
            # On a clock that is turned by hand nobody waits at the gate: its time stands still meanwhile.
            patience_seconds=None if patient else PATIENCE_SECONDS if real_time else 0.0,
            clock=None if real_time else self.gate_clock,
        )
        self.bird = Bird(
            api_url=address,
            key_for=key_ring.key_for if key_ring else lambda _: access_key,
            gate=Gate(self.budget, Circuits(self.clock.monotonic, lambda: 0.5, on_change=self.circuit_changes.append)),
            before_write=lambda: None,
            now=self.clock.now,
            connection=Connection(transport, timeouts or Timeouts()),
            listeners=Listeners(self.metrics.append),
        )
        clock, sparing = self.clock, Sparing(self.log, self.clock.monotonic)
        self.reconciler = Reconciler(
            Desires("/srv", self.documents.get, revision_of=lambda _key: None, newest_revision=lambda: None),
            State(self.writer.load(self.documents), self.writer),
            LiveState(Observer(self.bird, clock.now), self.bird, {}),
            Guards(
                window=Window(Limits()),
                managed=self.store.count_last_applied,
                postponed=self.bird.postponed,
                refused_keys=RefusedKeys(
                    clock,
                    sparing,
                    key_ring.fingerprint if key_ring else lambda _: None,
                    authorized_again=lambda _workspace_id: None,
                ),
                expected=None,
            ),
            TurnSettings(confirm_seconds=30.0),
            Run(clock, self.log, sparing, NoMeters(), run_id="run", command="reconciler"),
        )

    async def aclose(self) -> None:
        await self.bird.aclose()
        self.writer.close()
        self.store.close()

    def declare(self, *keys: RecordingKey, status: str = "paused") -> None:
        for number, each in enumerate(keys, 1):
            self.documents[each] = document(number, status)._replace(key=each)

    async def pass_by(self, seconds: float) -> None:
        self.time.pass_by(seconds)
        await self.gate_clock.advance(seconds)

    async def turn(self, key: RecordingKey, priority: Priority = Priority.EDIT) -> Turn:
        return await self.reconciler.reconcile(key, priority)

    async def run_for(self, seconds: float, *keys: RecordingKey) -> int:
        """Give recordings turns as a queue would, for so long on their clock; return how many turns there were."""
        due = [(self.time.elapsed, number, each, Priority.EDIT) for number, each in enumerate(keys)]
        end, turns = self.time.elapsed + seconds, 0
        while due and due[0][0] <= end:
            at, number, each, priority = heapq.heappop(due)
            if at > self.time.elapsed:
                await self.pass_by(at - self.time.elapsed)
            turn = await self.turn(each, priority)
            turns += 1
            if turn.again is not None:
                again = turn.again
                heapq.heappush(due, (self.time.elapsed + again.after_seconds, number, each, again.priority))
        await self.pass_by(max(0.0, end - self.time.elapsed))
        return turns

    async def until_idle(self, key: RecordingKey) -> Turn:
        """Give a recording turns, letting the time pass that each of them asks for, until one asks for none."""
        for _ in range(30):
            turn = await self.turn(key)
            if turn.again is None:
                return turn
            await self.pass_by(turn.again.after_seconds)
        raise AssertionError(f"still busy: {self.row(key)}")

    def row(self, key: RecordingKey) -> Record:
        record = self.store.get(key)
        assert record is not None
        return record


@asynccontextmanager
async def a_scene(folder: Path, api: Api, **options: object) -> AsyncIterator[Scene]:
    async with a_server(api.serve) as address:
        scene = Scene(folder, address, **options)  # type: ignore[arg-type]  # passed on as they are
        try:
            yield scene
        finally:
            await scene.aclose()


KEY = key(1)
#: Long enough for a loopback server on a busy machine, short enough for one that never answers.
SHORT = Timeouts(read=0.5, total=5.0)


# One fault at a time.


@pytest.mark.parametrize("name", OF_A_READ)
async def test_a_read_that_goes_wrong_is_one_request_one_line_and_a_later_try(tmp_path: Path, name: str):
    act, words = OF_A_READ[name]
    api = Api()
    api.add(KEY)
    api.faults["GET"].append(Fault(act))
    async with a_scene(tmp_path, api, timeouts=SHORT) as scene:
        scene.declare(KEY)
        turn = await scene.turn(KEY)
        assert (turn.outcome, len(api.requests)) == (Outcome.FAILED, 1)
        assert turn.again is not None
        assert isinstance(turn.error, Unavailable)
        assert [line.event for line in scene.log] == ["retry_scheduled"]
        assert words in str(scene.log[0].values["error"])
        assert "555-0006" not in str(scene.log[0].values)
        assert (scene.row(KEY).phase, scene.row(KEY).error) == (Phase.BLIND, str(turn.error))
        await scene.pass_by(turn.again.after_seconds)
        await scene.until_idle(KEY)
        assert api.methods() == ["GET", "GET", "PATCH", "GET"]
        assert (api.statuses[KEY], scene.row(KEY).phase, scene.row(KEY).error) == ("paused", Phase.APPLIED, "")


@pytest.mark.parametrize("takes_effect", [True, False], ids=["with effect", "without"])
@pytest.mark.parametrize("name", OF_A_PATCH)
async def test_a_patch_that_goes_wrong_is_one_line_and_not_sent_again_before_a_look(
    tmp_path: Path, name: str, takes_effect: bool
):
    act, words = OF_A_PATCH[name]
    api = Api()
    api.add(KEY)
    api.faults["PATCH"].append(Fault(act, takes_effect))
    async with a_scene(tmp_path, api, timeouts=SHORT) as scene:
        scene.declare(KEY)
        turn = await scene.turn(KEY)
        assert turn.outcome is Outcome.FAILED
        assert turn.again is not None
        assert api.methods() == ["GET", "PATCH"]
        assert scene.log.words == ["patch_sent", "retry_scheduled"]
        assert words in str(scene.log[1].values["error"])
        assert "555-0006" not in str(scene.log[1].values)
        await scene.pass_by(turn.again.after_seconds)
        await scene.until_idle(KEY)
        assert re.fullmatch(
            "GET PATCH (GET )+" + ("" if takes_effect else "PATCH (GET )+"), f"{' '.join(api.methods())} "
        )
        assert (api.statuses[KEY], scene.row(KEY).phase) == ("paused", Phase.APPLIED)


async def test_a_202_whose_body_is_cut_off_or_no_json_is_accepted_all_the_same(tmp_path: Path):
    api = Api()
    keys = [key(number, call=number) for number in (1, 2)]
    api.faults["PATCH"].extend([Fault(cut_off), Fault(a_response("202 Accepted", PAGE, Content_Type="text/html"))])
    async with a_scene(tmp_path, api) as scene:
        scene.declare(*keys)
        for each in keys:
            api.add(each)
            await scene.until_idle(each)
        assert api.methods().count("PATCH") == 2
        assert scene.log.words == ["patch_sent", "patch_accepted", "applied"] * 2


async def test_a_status_word_that_nobody_knows_is_waited_for_and_said_once(tmp_path: Path):
    api = Api()
    api.add(KEY, "transcoding")
    async with a_scene(tmp_path, api) as scene:
        scene.declare(KEY)
        for _ in range(3):
            turn = await scene.turn(KEY)
            assert turn.again is not None
            await scene.pass_by(turn.again.after_seconds)
        assert [(line.level, line.event, line.values["live"]) for line in scene.log] == [
            ("warning", "waiting", "transcoding")
        ]
        assert api.methods() == ["GET"] * 3
        api.statuses[KEY] = "ongoing"
        await scene.until_idle(KEY)
        assert api.statuses[KEY] == "paused"


HTTP_DATE = format_datetime(datetime(2026, 11, 22, 18, 0, 20, tzinfo=UTC), usegmt=True)


@pytest.mark.parametrize(
    ("value", "rest"),
    [
        (None, REST_SECONDS),
        ("20", 20.0),
        (HTTP_DATE, 20.0),
        ("86400", 60.0),
        ("9" * 30, 60.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 60.0),
        ("Mon, 01 Jan 2001 00:00:00 GMT", 0.0),
        ("0", 0.0),
        ("-7", REST_SECONDS),
        ("soon", REST_SECONDS),
    ],
)
@pytest.mark.parametrize("method", ["GET", "PATCH"])
async def test_after_a_429_its_workspace_rests_as_it_was_told_and_another_goes_on(
    tmp_path: Path, method: str, value: str | None, rest: float
):
    api = Api()
    header = "" if value is None else f"Retry-After: {value}\r\n"
    answer = f"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n{header}\r\n"
    api.faults[method].append(Fault(instead(answer.encode()), takes_effect=False))
    other, same = key(2, workspace=9), key(3, call=33)
    for each in (KEY, other, same):
        api.add(each)
    async with a_scene(tmp_path, api, rate=45.0) as scene:
        scene.declare(KEY, other, same)
        turn = await scene.turn(KEY)
        assert turn.again is not None
        assert turn.again.after_seconds >= (rest if rest != REST_SECONDS else 0.0), "an unreadable one says nothing"
        assert scene.log.words[-1] == "throttled"
        assert scene.row(KEY).sent is None, "a 429 says that it was not processed"
        asked = api.count(KEY.workspace_id)
        held = await scene.turn(same)
        if rest:
            assert held.again is not None
            assert held.again.after_seconds == pytest.approx(rest, abs=0.15)
            assert held.again.priority is Priority.EDIT, "it is as urgent as it was"
            assert api.count(KEY.workspace_id) == asked
            assert scene.store.get(same) is None, "nothing is known, so nothing is written"
        await scene.run_for(2.0, other)
        assert api.statuses[other] == "paused"
        assert scene.budget.rate(other.workspace_id) == 45.0
        assert scene.budget.rate(KEY.workspace_id) < 45.0
        await scene.run_for(rest + 20.0, KEY, same)
        assert {api.statuses[each] for each in (KEY, same)} == {"paused"}
        assert len(scene.log.of("throttled")) == 1


# Storms.


def workspace_keys(count: int, workspace: int) -> list[RecordingKey]:
    return [key(number, call=number, workspace=workspace) for number in range(1, count + 1)]


async def test_in_a_storm_of_errors_a_workspace_is_left_alone_and_the_others_go_on(tmp_path: Path):
    api = Api()
    ill, well = workspace_keys(60, 1), workspace_keys(10, 2)
    for each in (*ill, *well):
        api.add(each)
    api.always[ill[0].workspace_id] = a_response("503 Service Unavailable")
    async with a_scene(tmp_path, api) as scene:
        scene.declare(*ill, *well)
        minutes = 5
        await scene.run_for(60.0 * minutes, *ill, *well)
        assert all(api.statuses[each] == "paused" for each in well)
        asked = api.count(ill[0].workspace_id)
        most = FAILURES + 8 + 60 * minutes / (LONGEST_SECONDS / 2)
        assert FAILURES < asked <= most, f"{asked} requests in {minutes} minutes, for 60 recordings"
        assert [change.opened for change in scene.circuit_changes] == [True]
        assert scene.bird.open_circuits == 1
        lines = Counter(line.event for line in scene.log if line.level != "debug" and "error" in line.values)
        assert lines["retry_scheduled"] <= asked, "of those that could not even ask nothing is said"
        api.always.clear()
        await scene.run_for(120.0, *ill)
        assert all(api.statuses[each] == "paused" for each in ill)
        assert [change.opened for change in scene.circuit_changes] == [True, False]
        assert api.methods().count("PATCH") == 70


async def test_while_only_patches_fail_few_are_sent_and_reads_go_on(tmp_path: Path):
    api = Api()
    keys = workspace_keys(30, 1)
    for each in keys:
        api.add(each)
    api.faults["PATCH"].extend([Fault(a_response("503 Service Unavailable"), takes_effect=False)] * 10_000)
    async with a_scene(tmp_path, api) as scene:
        scene.declare(*keys)
        minutes = 5
        await scene.run_for(60.0 * minutes, *keys)
        patches = api.methods().count("PATCH")
        assert FAILURES < patches <= FAILURES + 8 + 60 * minutes / (LONGEST_SECONDS / 2)
        assert [(change.requests, change.opened) for change in scene.circuit_changes] == [("patch", True)]
        events = Counter(event.event for event in scene.store.history(limit=100_000))
        assert events["patch_sent"] == patches, "one that an open circuit stopped was not sent"
        api.faults["PATCH"].clear()
        await scene.run_for(180.0, *keys)
        assert all(api.statuses[each] == "paused" for each in keys)


async def test_4xx_answers_and_429_open_no_circuit(tmp_path: Path):
    api = Api()
    for act in (a_response("404 Not Found"), a_response("422 Unprocessable", b"{}"), a_response("429 Too Many")):
        api.faults["GET"].extend([Fault(act)] * (2 * FAILURES))
    api.add(KEY)
    async with a_scene(tmp_path, api) as scene:
        for _ in range(6 * FAILURES):
            with suppress(ProviderError):
                await scene.bird.list_recordings(KEY.call, priority=Priority.EDIT)
            await scene.pass_by(60.0)
        assert len(api.requests) == 6 * FAILURES
        assert scene.circuit_changes == []


# Workers share one gate: what one workspace meets must not hold up another.


async def workers_bring(scene: Scene, keys: list[RecordingKey], until: Callable[[], bool]) -> None:
    """Let the workers of a daemon run turns of these keys, in their order, until something holds."""
    raised: list[Exception] = []

    def failed(_key: RecordingKey, error: Exception) -> None:
        raised.append(error)

    done = asyncio.Event()

    async def turn(each: RecordingKey, priority: Priority) -> Again | None:
        result = await scene.turn(each, priority)
        if until():
            done.set()
        return result.again

    workers = Workers(turn, concurrency=8, now=scene.clock.monotonic, failed=failed, group_of=lambda _key: None)
    for each in keys:
        workers.add(each, Priority.EDIT)
    stop = asyncio.Event()
    # Turns that still wait for a server that never answers are given up.
    working = asyncio.create_task(workers.work(stop, drain_seconds=0.05))
    try:
        async with asyncio.timeout(60):
            await done.wait()
    finally:
        stop.set()
        await working
    assert raised == []


@pytest.mark.parametrize("trouble", ["429", "stalled"])
async def test_an_edit_passes_the_many_edits_of_a_workspace_in_trouble(tmp_path: Path, trouble: str):
    api = Api()
    many, one = workspace_keys(300, 1), key(1, workspace=2)
    for each in (*many, one):
        api.add(each)
    api.always[many[0].workspace_id] = (
        never if trouble == "stalled" else a_response("429 Too Many Requests", Retry_After="60")
    )
    # Whoever waited for the other workspace would wait for a minute.
    timeouts = Timeouts(read=60.0, total=60.0)
    async with a_scene(tmp_path, api, real_time=True, rate=45.0, concurrency=8, timeouts=timeouts) as scene:
        scene.declare(*many, one)
        await workers_bring(scene, [*many, one], lambda: api.statuses[one] == "paused")
        assert api.count(many[0].workspace_id) <= 8


async def test_an_edit_passes_the_many_edits_of_a_busy_workspace(tmp_path: Path):
    api = Api()
    many, one = workspace_keys(400, 1), key(1, workspace=2)
    for each in (*many, one):
        api.add(each)
    async with a_scene(tmp_path, api, real_time=True, rate=20.0, concurrency=8) as scene:
        scene.declare(*many, one)
        await workers_bring(scene, [*many, one], lambda: api.statuses[one] == "paused")
        paused = sum(api.statuses[each] == "paused" for each in many)
        assert paused < 100, f"{paused} of 400 edits of the busy workspace came first"


async def test_a_storm_of_429_is_met_with_a_trickle_of_requests_and_the_others_go_on(tmp_path: Path):
    api = Api()
    stormy, well = workspace_keys(60, 1), workspace_keys(20, 2)
    for each in (*stormy, *well):
        api.add(each)
    api.always[stormy[0].workspace_id] = a_response("429 Too Many Requests")
    async with a_scene(tmp_path, api, real_time=True, rate=200.0, concurrency=8) as scene:
        scene.declare(*stormy, *well)
        await workers_bring(scene, [*stormy, *well], lambda: all(api.statuses[each] == "paused" for each in well))
        asked = api.count(stormy[0].workspace_id)
        assert asked < len(stormy), f"{asked} requests: not even one for each recording"
        scene.reconciler.sparing.end()
        lines = [line for line in scene.log.of("throttled") if line.level == "warning"]
        assert sum(line.values.get("more", 1) for line in lines) == asked, "each is told, or counted"
        api.always.clear()
        await workers_bring(scene, stormy, lambda: all(api.statuses[each] == "paused" for each in stormy))
        assert api.methods().count("PATCH") == 80


# A key that is refused.


async def test_a_refused_key_is_tried_at_once_when_its_file_changes(tmp_path: Path):
    api = Api()
    keys = workspace_keys(5, 1)
    for each in keys:
        api.add(each)
    file = tmp_path / "key"
    file.write_text("an-old-key\n")
    ring = KeyRing({KEY_FILE_VARIABLE: str(file)})
    async with a_scene(tmp_path, api, key_ring=ring) as scene:
        scene.declare(*keys)
        for each in keys:
            turn = await scene.turn(each)
            assert (turn.phase, scene.row(each).reason) == (Phase.BLIND, "key_refused")
        assert api.methods() == ["GET"], "one finds out for all"
        assert scene.reconciler.refused_keys.try_new() == []
        file.write_text("a-wrong-key\n")
        assert scene.reconciler.refused_keys.try_new() == [keys[0].workspace_id]
        assert scene.reconciler.refused_keys.try_new() == []
        for each in keys:
            await scene.turn(each)
        assert api.methods() == ["GET", "GET"], "one tries it for all"
        file.unlink()
        assert scene.reconciler.refused_keys.try_new() == [keys[0].workspace_id]
        for each in keys:
            await scene.turn(each)
        assert len(api.requests) == 2, "without a key nothing leaves"
        file.write_text(f"{ACCESS_KEY}\n")
        assert scene.reconciler.refused_keys.try_new() == [keys[0].workspace_id]
        for each in keys:
            await scene.until_idle(each)
        assert {api.statuses[each] for each in keys} == {"paused"}
        assert scene.reconciler.refused_keys.workspaces == frozenset()
        assert [line.event for line in scene.log if "authorized" in line.event] == ["unauthorized", "authorized_again"]
        assert all(secret not in str(scene.log) for secret in (ACCESS_KEY, "an-old-key", "a-wrong-key"))


async def test_without_a_new_key_a_refused_one_is_tried_once_a_minute(tmp_path: Path):
    api = Api(accepted_key="another")
    keys = workspace_keys(20, 1)
    async with a_scene(tmp_path, api) as scene:
        scene.declare(*keys)
        await scene.run_for(10 * UNAUTHORIZED_SECONDS, *keys)
        assert 9 <= len(api.requests) <= 12
        assert len(scene.log.of("unauthorized")) == 1
        assert scene.circuit_changes == [], "a refusal is an answer"


# The pools that cancelled requests once emptied, under the whole stack.


@both_transports
async def test_after_two_hundred_cancelled_turns_against_a_stalled_server_the_next_is_served(
    tmp_path: Path, transport: TransportName
):
    api = Api()
    keys = workspace_keys(200, 1)
    for each in keys:
        api.add(each)
    api.always[KEY.workspace_id] = never
    timeouts = Timeouts(read=1.0, pool=2.0, total=2.0)
    async with a_scene(tmp_path, api, real_time=True, transport=transport, concurrency=8, timeouts=timeouts) as scene:
        scene.declare(*keys)
        tasks = [asyncio.create_task(scene.turn(each)) for each in keys]
        while len(api.requests) < 7:  # noqa: ASYNC110 - the server has no event for what is waited for
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        api.always.clear()
        await workers_bring(scene, keys[:10], lambda: all(api.statuses[each] == "paused" for each in keys[:10]))
        assert scene.bird.in_flight <= 7


@both_transports
async def test_after_connects_that_hang_the_next_turn_is_served(tmp_path: Path, transport: TransportName):
    hanging = ExitStack()
    listening = hanging.enter_context(full_queue())
    api = Api()
    keys = workspace_keys(24, 1)
    for each in keys:
        api.add(each)
    timeouts = Timeouts(connect=0.3, pool=0.3)
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    scene = Scene(tmp_path, address, real_time=True, transport=transport, concurrency=8, timeouts=timeouts)
    scene.declare(*keys)
    turns = await asyncio.gather(*(scene.turn(each) for each in keys))
    codes = {turn.error.code for turn in turns if isinstance(turn.error, Unavailable)}
    assert "connect" in codes
    assert codes <= {"connect", "no_room", "circuit_open"}
    hanging.close()
    async with a_server(api.serve, listening):
        await workers_bring(scene, keys, lambda: all(status == "paused" for status in api.statuses.values()))
    await scene.aclose()


# What a network does, by the proxy.


async def test_through_a_network_that_gets_worse_and_better_all_end_as_desired_and_nothing_is_sent_in_vain(
    tmp_path: Path,
):
    api = Api()
    keys = workspace_keys(30, 1)
    for each in keys:
        api.add(each)
    async with a_server(api.serve) as address:
        host, _, port = address.removeprefix("http://").rpartition(":")
        async with FaultProxy(host, int(port)) as proxy:
            scene = Scene(tmp_path, proxy.url, timeouts=Timeouts(connect=1.0, read=0.3, total=2.0))
            scene.declare(*keys)
            faults = proxy.faults
            for number, each in enumerate(keys):
                faults.cut_after = (None, 40, 150, None)[number % 4]
                faults.reset = number % 8 > 3
                faults.refuse = number % 5 == 4
                faults.stall = number % 15 == 14
                await scene.turn(each)
            faults.cut_after, faults.reset, faults.refuse, faults.stall = None, False, False, False
            faults.delay_answer = 0.001
            faults.bytes_per_second = 200_000
            await scene.run_for(300.0, *keys)
            await scene.aclose()
    assert set(api.statuses.values()) == {"paused"}
    assert api.methods().count("PATCH") == 30, "each took effect, so a look after a lost answer showed it"


# Confirmation costs few reads.


async def test_confirming_a_thousand_patches_on_a_hundred_calls_takes_far_fewer_reads(tmp_path: Path):
    calls = 100
    keys = [key(call * 100 + number, call=call) for call in range(1, calls + 1) for number in range(10)]
    world = World(Behaviour(settle_ms=200))
    world.seed(SeedRecording(each) for each in keys)
    async with SandboxServer(world) as server:
        scene = Scene(tmp_path, server.url, real_time=True, patient=True, access_key=DEFAULT_KEY)
        scene.declare(*keys)
        turns = await give_turns(
            keys,
            scene.reconciler.reconcile,
            clock=scene.clock,
            concurrency=32,
            give_up_seconds=60.0,
            look_again_seconds=30.0,
            progress=lambda: None,
            stop=asyncio.Event(),
        )
        await scene.aclose()
    requests = Counter(metric.method for metric in scene.metrics)
    figure = f"{requests['GET']} reads for {requests['PATCH']} patches on {calls} calls, first looks included"
    print(figure)
    assert {turn.outcome for turn in turns.values()} == {Outcome.APPLIED}
    assert requests["PATCH"] == len(keys)
    assert requests["GET"] < len(keys) / 2, figure


# What is measured of it.


def test_the_measures_of_the_api_are_bounded_and_readable():
    metrics = Metrics("1")
    metrics.watch_api(lambda: ApiState(least_rate=22.5, open_circuits=2, in_flight=7))
    for status in ("200", "429", "429", "503", "timeout", "999", "000", "12345678901"):
        metrics.requested("GET", Route.CALL_RECORDINGS.value, status, 0.2)
    samples = [
        sample
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        if sample.name.startswith("reconciler_api_")
    ]
    values = {sample.name: sample.value for sample in samples if not sample.labels}
    assert values == {
        "reconciler_api_throttles_total": 2.0,
        "reconciler_api_least_rate_requests_per_second": 22.5,
        "reconciler_api_open_circuits": 2.0,
        "reconciler_api_requests_in_flight": 7.0,
    }
    counts = {s.labels["status"]: s.value for s in samples if s.name == "reconciler_api_request_seconds_count"}
    assert counts == {"200": 1.0, "429": 2.0, "503": 1.0, "timeout": 1.0, "other": 3.0}


# At the installed command.


def one_document_each(shell: Shell, api: ForeignApi, count: int) -> list[str]:
    """Declare so many recordings, each on a call of its own; return their IDs."""
    for number in range(count):
        ids = {"call": numbered(100 + number), "recording": numbered(200 + number)}
        shell.write(f"desired_state/{number}.yaml", written(name=f"r-{number}", **ids))
        api.seed([recording(call=ids["call"], recording_id=ids["recording"])])
    return [numbered(200 + number) for number in range(count)]


def daemon_options(api: ForeignApi) -> tuple[str, ...]:
    periods = ("--resync-seconds", "3600", "--poll-seconds", "3600")
    return ("--api-url", api.url, "--log-format", "json", "--listen", "127.0.0.1:0", *periods)


def metrics_of(daemon: Started) -> dict[str, float]:
    """Return every sample of the daemon's page that has no label."""
    address = daemon.wait_for("listening")["address"]
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {sample.name: sample.value for family in families for sample in family.samples if not sample.labels}


def test_the_daemon_says_once_that_a_workspace_is_left_alone_and_brings_all_back(tmp_path: Path):
    with running(key=SHELL_KEY) as api:
        shell = Shell(tmp_path)
        recordings = one_document_each(shell, api, 30)
        api.fault("answer", status=503, times=-1)
        with shell.start("run", *daemon_options(api)) as daemon:
            opened = daemon.wait_for("circuit_opened")
            assert (opened["workspace_id"], opened["requests"], opened["last"]) == (WORKSPACE, "all", "http_503")
            samples = metrics_of(daemon)
            assert samples["reconciler_api_open_circuits"] == 1.0
            assert samples["reconciler_api_least_rate_requests_per_second"] == 45.0
            assert samples["reconciler_api_throttles_total"] == 0.0
            api.mend()
            daemon.wait_for("circuit_closed")
            eventually(lambda: {api.statuses()[each] for each in recordings} == {"paused"})
            assert metrics_of(daemon)["reconciler_api_open_circuits"] == 0.0
            assert len(daemon.events("circuit_opened")) == 1
            daemon.signal(signal.SIGTERM)
            assert daemon.ended() == 0
        assert sorted(each for each, _ in api.patches()) == sorted(recordings)
        assert shell.leaks() == []


@pytest.mark.parametrize("command", [("apply", "--yes"), ("run", "--once")], ids=["apply", "run-once"])
def test_a_command_that_sends_says_once_that_a_workspace_is_left_alone(tmp_path: Path, command: tuple[str, ...]):
    with running(key=SHELL_KEY) as api:
        shell = Shell(tmp_path)
        one_document_each(shell, api, 30)
        api.fault("answer", status=503, times=-1)
        done = shell(*command, "--api-url", api.url, "--log-format", "json", "--give-up-seconds", "3")
        lines = [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]
        (opened,) = (line for line in lines if line["event"] == "circuit_opened")
        assert (opened["workspace_id"], opened["last"]) == (WORKSPACE, "http_503")
        assert done.code == 3
        assert api.patches() == []


def test_the_daemon_goes_on_by_itself_when_the_key_file_is_mended(tmp_path: Path):
    with running(key=SHELL_KEY) as api:
        shell = Shell(tmp_path)
        recordings = one_document_each(shell, api, 5)
        file = tmp_path / "key"
        file.write_text("an-old-key")
        shell.env = {"BIRD_ACCESS_KEY_FILE": str(file)}
        with shell.start("run", *daemon_options(api)) as daemon:
            daemon.wait_for("unauthorized")
            # As a secret's mount does it: another file takes the place.
            (tmp_path / "new").write_text(SHELL_KEY)
            (tmp_path / "new").replace(file)
            daemon.wait_for("authorized_again")
            eventually(lambda: {api.statuses()[each] for each in recordings} == {"paused"})
            refused = [entry for entry in api.requests() if "AccessKey an-old-key" in str(entry["headers"])]
            assert len(refused) <= 5, "no more than were on their way together"
            assert len(daemon.events("unauthorized")) == 1
            daemon.signal(signal.SIGTERM)
            assert daemon.ended() == 0
        file.unlink()
        assert shell.leaks() == []
