"""A world of recordings, a clock and a log in memory, and a bench on which the real store, observer and turns stand.

The world answers as the API client would, one level above HTTP: values and errors of ours. A PATCH it accepts takes
effect later on the bench's clock, in the order in which it was accepted, and every fault can come with or without
effect. Nothing here waits: time passes when a test says so.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from time import monotonic
from typing import Any

from reconciler.controller.standing import Standings
from reconciler.model.actions import Action, Rule
from reconciler.model.documents import Desired
from reconciler.model.errors import CredentialRefused, Rejected, StoreError, Throttled, Unanswered, Unreached
from reconciler.model.keys import CallKey, RecordingKey
from reconciler.model.moments import Clock
from reconciler.model.records import Event, Record
from reconciler.model.statuses import FINAL, Live, LiveStatus, Status
from reconciler.model.work import Priority
from reconciler.plan.limits import Limits
from reconciler.plan.window import Window
from reconciler.providers.bird import Accepted
from reconciler.reconcile.accounts import RefusedKeys
from reconciler.reconcile.observer import Observer
from reconciler.reconcile.parts import Desires, Guards, LiveState, Run, State, TurnSettings
from reconciler.reconcile.surroundings import Turn
from reconciler.reconcile.turn import Reconciler
from reconciler.state.base import Log, OwnRecords, Store, Writer
from reconciler.state.opening import open_store, open_writer
from reconciler.state.receipts import Receipt
from reconciler.telemetry.alarm import Sparing
from reconciler.telemetry.metrics import Metrics
from tests.world.nouns import NOW


class Killed(BaseException):
    """The process dies here: nothing that runs after it may catch this."""


class Time:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        #: Seconds that pass with each look at the clock, for what must hold although time never stands still.
        self.tick = 0.0

    def now(self) -> datetime:
        self.elapsed += self.tick
        return NOW + timedelta(seconds=self.elapsed)

    def monotonic(self) -> float:
        self.elapsed += self.tick
        return self.elapsed

    def pass_by(self, seconds: float) -> None:
        self.elapsed += seconds

    @property
    def clock(self) -> Clock:
        # Asked anew at each look, so that a test may set the clock under those who hold it.
        return Clock(lambda: self.now(), lambda: self.monotonic(), lambda: 0.5)


class RealTime(Time):
    """The real clock, which a test may still put forward."""

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.elapsed)

    def monotonic(self) -> float:
        return monotonic() + self.elapsed


@dataclass(frozen=True)
class Line:
    """One line of the log."""

    level: str
    event: str
    values: dict[str, Any]


class Lines(list[Line]):
    """A log that keeps its lines."""

    def debug(self, event: str, /, **values: object) -> None:
        self.append(Line("debug", event, values))

    def info(self, event: str, /, **values: object) -> None:
        self.append(Line("info", event, values))

    def warning(self, event: str, /, **values: object) -> None:
        self.append(Line("warning", event, values))

    def error(self, event: str, /, **values: object) -> None:
        self.append(Line("error", event, values))

    @property
    def words(self) -> list[str]:
        return [line.event for line in self]

    def of(self, event: str) -> list[Line]:
        return [line for line in self if line.event == event]


class Fault(StrEnum):
    """What a request may meet. Those with an effect are for a PATCH alone."""

    NOT_FOUND = "404"
    CONFLICT = "409"
    INVALID = "422"
    INVALID_WITH_EFFECT = "422 with effect"
    THROTTLED = "429"
    SERVER_ERROR = "503"
    SERVER_ERROR_WITH_EFFECT = "503 with effect"
    TIMEOUT = "timeout"
    TIMEOUT_WITH_EFFECT = "timeout with effect"
    REFUSED = "connection refused"
    UNAUTHORIZED = "401"
    FORBIDDEN = "403"
    KILLED = "killed"
    KILLED_WITH_EFFECT = "killed with effect"

    @property
    def takes_effect(self) -> bool:
        return self.value.endswith("with effect")

    def error(self, workspace_id: str, retry_after: float | None) -> BaseException:
        word = self.value.removesuffix(" with effect")
        match word:
            case "404" | "409" | "422":
                return Rejected(f"answered {word} Fault{word}", status=int(word), code=f"Fault{word}")
            case "401" | "403":
                return CredentialRefused(f"answered {word}", status=int(word), workspace_id=workspace_id)
            case "429":
                return Throttled("answered 429", retry_after=retry_after)
            case "503":
                return Unanswered("answered 503", code="http_503", status=503, retry_after=retry_after)
            case "timeout":
                return Unanswered("no answer in time", code="timeout")
            case "killed":
                return Killed()
            case _:
                return Unreached("cannot connect")


@dataclass
class Recording:
    """One recording as it is, and what was accepted for it and is yet to come."""

    word: str
    #: Who brought about the present word: `bird`, `agent` or `us`.
    by: str = "bird"
    active: bool = True
    coming: list[tuple[datetime, str]] = field(default_factory=list)

    @property
    def final(self) -> bool:
        return not self.active or self.word in FINAL

    def settle(self, now: datetime) -> None:
        while self.coming and self.coming[0][0] <= now:
            _, word = self.coming.pop(0)
            if not self.final:
                self.word, self.by = word, "us"


class World:
    """Recordings, and the API before them: `observe_call` and `set_status` as the client has them."""

    def __init__(self, time: Time) -> None:
        self._time = time
        self.recordings: dict[RecordingKey, Recording] = {}
        #: Calls that are known to have ended, which proves that their recordings have, and where recordings moved to.
        self.ended_calls: set[CallKey] = set()
        self.moved: dict[RecordingKey, str] = {}
        #: Seconds from a 202 to its effect.
        self.settle_seconds = 0.05
        #: Whether a look shows `accepted` while a change is under way.
        self.shows_accepted = False
        #: What the next PATCHes and the next looks meet; past their end all is well.
        self.patch_faults: deque[Fault | None] = deque()
        self.look_faults: deque[Fault | None] = deque()
        #: The status of the key in both kinds of request: whether it is refused, for reads and for writes.
        self.key_refused: Fault | None = None
        self.writes_refused: Fault | None = None
        self.retry_after: float | None = None
        #: Every PATCH and every look that arrived, in order.
        self.patches: list[tuple[RecordingKey, str]] = []
        self.looks: list[CallKey] = []
        #: Every question that was asked for the answer's sake.
        self.probes: list[CallKey] = []
        #: How urgent the last look was.
        self.urgency: Priority | None = None
        #: Asked before a PATCH is answered, and before a look is.
        self.on_patch: Callable[[RecordingKey, Status], None] = lambda _key, _status: None
        self.on_look: Callable[[CallKey], None] = lambda _call: None
        #: While these are not set, a PATCH waits for its answer, or a look.
        self.patch_gate: asyncio.Event | None = None
        self.look_gate: asyncio.Event | None = None
        self._in_flight: set[RecordingKey] = set()

    def add(self, key: RecordingKey, word: str = "ongoing", *, active: bool = True) -> None:
        self.recordings[key] = Recording(word, active=active)

    def set(self, key: RecordingKey, word: str, *, by: str = "agent") -> None:
        """Let an agent, or Bird itself, change a recording now."""
        recording = self.recordings[key]
        recording.word, recording.by = word, by

    def word(self, key: RecordingKey) -> str:
        recording = self.recordings[key]
        recording.settle(self._time.now())
        return recording.word

    def end_call(self, call: CallKey) -> None:
        """End a call: its recordings are among the workspace's now, and what was under way has no effect."""
        self.ended_calls.add(call)
        for key, recording in self.recordings.items():
            if key.call == call:
                recording.settle(self._time.now())
                recording.coming.clear()
                recording.active = False
                recording.word = recording.word if recording.word in FINAL else "available"

    async def observe_call(self, call: CallKey, wanted: Collection[str], *, priority: Priority) -> dict[str, Live]:
        self.looks.append(call)
        self.urgency = priority
        asked_at = self._time.now()
        gate = self.look_gate
        await asyncio.sleep(0)
        if gate is not None:
            await gate.wait()
        self.on_look(call)
        fault = self.key_refused or (self.look_faults.popleft() if self.look_faults else None)
        if fault is not None:
            raise fault.error(call.workspace_id, self.retry_after)
        return {recording_id: self._live(RecordingKey(*call, recording_id), asked_at) for recording_id in wanted}

    def _live(self, key: RecordingKey, asked_at: datetime) -> Live:
        recording = self.recordings.get(key)
        ended = key.call in self.ended_calls
        if recording is None:
            return Live.gone(asked_at, "no such recording", ended=ended, moved_to=self.moved.get(key))
        recording.settle(self._time.now())
        word = "accepted" if recording.coming and self.shows_accepted else recording.word
        return Live.from_word(word, asked_at, active=recording.active, ended=ended)

    async def probe(self, call: CallKey) -> None:
        """Answer whether anybody is there, as a look of this call would find."""
        self.probes.append(call)
        if self.key_refused is not None:
            raise self.key_refused.error(call.workspace_id, self.retry_after)

    async def set_status(self, key: RecordingKey, status: Status) -> Accepted:
        assert key not in self._in_flight, "two requests of one recording at the same time"
        self._in_flight.add(key)
        self.patches.append((key, status.value))
        try:
            gate = self.patch_gate
            self.on_patch(key, status)
            await asyncio.sleep(0)
            if gate is not None:
                await gate.wait()
            return self._answer(key, status)
        finally:
            self._in_flight.discard(key)

    def _answer(self, key: RecordingKey, status: Status) -> Accepted:
        now = self._time.now()
        refused = self.key_refused or self.writes_refused
        fault = refused or (self.patch_faults.popleft() if self.patch_faults else None)
        if fault is not None and not fault.takes_effect:
            raise fault.error(key.workspace_id, self.retry_after)
        recording = self.recordings.get(key)
        if recording is not None:
            recording.settle(now)
        if recording is None or not recording.active:
            raise Fault.NOT_FOUND.error(key.workspace_id, None)
        if recording.final or recording.word == LiveStatus.ACCEPTED:
            raise Fault.INVALID.error(key.workspace_id, None)
        due = now + timedelta(seconds=self.settle_seconds)
        if recording.coming:
            due = max(due, recording.coming[-1][0])
        recording.coming.append((due, status.value))
        if fault is not None:
            raise fault.error(key.workspace_id, self.retry_after)
        return Accepted(202, 1.0, now)


class Pen:
    """A writer that can be told to refuse, or to die, before or after a write reaches the disk."""

    def __init__(self, writer: Writer, *, blocking: bool) -> None:
        self.writer = writer
        self._blocking = blocking
        self.before: Callable[[tuple[Event, ...]], None] = lambda _events: None
        self.after: Callable[[tuple[Event, ...]], None] = lambda _events: None
        self.leased = True

    async def save(self, record: Record, *events: Event) -> None:
        self.before(events)
        await self._kept(self.writer.save(record, *events))
        self.after(events)

    async def release(self, key: RecordingKey, *events: Event) -> None:
        self.before(events)
        await self._kept(self.writer.release(key, *events))
        self.after(events)

    async def _kept(self, receipt: Receipt) -> None:
        if self._blocking:
            # The loop stands still meanwhile, so that what runs next does not depend on how fast the disk is.
            receipt.result()
            await asyncio.sleep(0)
        else:
            await receipt

    def lease_valid(self) -> bool:
        return self.leased and self.writer.lease_valid()

    def refuse(self, times: int = 1, *, event: str | None = None) -> None:
        """Refuse the next writes, of any kind or of one event, as a full disk does."""
        left = times

        def before(events: tuple[Event, ...]) -> None:
            nonlocal left
            if left and (event is None or event in {each.event for each in events}):
                left -= 1
                raise StoreError("the disk is full")

        self.before = before


class Desk:
    """What a turn reads, with the history at hand: the loop stands still meanwhile, as for `Pen`."""

    def __init__(self, records: OwnRecords, log: Log) -> None:
        self.get = records.get
        self._log = log

    async def last_event(self, key: RecordingKey) -> str | None:
        return self._log.last_event(key)


class Bench:
    """Turns on the real store and the real observer, in a world that is all in memory."""

    def __init__(
        self,
        folder: Path,
        *,
        limits: Limits | None = None,
        confirm_seconds: float = 30.0,
        blocking: bool = False,
        time: Time | None = None,
        desired: Callable[[RecordingKey], Desired | None] | None = None,
        expected: Mapping[RecordingKey, Action] | None = None,
    ) -> None:
        self.url = f"sqlite:///{folder / 'state.db'}"
        self.time = time or Time()
        self.world = World(self.time)
        self._blocking = blocking
        self.documents: dict[RecordingKey, Desired] = {}
        self._desired = desired or self.documents.get
        self._expected = expected
        self.log = Lines()
        self.metrics = Metrics("test")
        self.limits = limits or Limits()
        self.confirm_seconds = confirm_seconds
        self.authorized: list[str] = []
        self.on_authorized: Callable[[str], None] = self.authorized.append
        self.first_looks: dict[RecordingKey, Live] = {}
        #: Whether the process that starts next looks on, as the daemon does.
        self.watches = True
        self.store: Store = open_store(self.url)
        self.start()

    def start(self) -> None:
        """Start as a process does: with the state file and nothing else."""
        self.standings = Standings()
        self.pen = Pen(open_writer(self.url, holder="test"), blocking=self._blocking)
        self.records = self.pen.writer.load(self.documents)
        self.window = Window(self.limits)
        for patch in self.store.patches_since(self.time.now() - Window.SPAN):
            if patch.irreversible:
                self.window.remember(Rule.IRREVERSIBLE, patch.key, patch.at)
            if patch.resumes_foreign:
                self.window.remember(Rule.RESUMES, patch.key, patch.at)
        self.observer = Observer(self.world, self.time.clock.now)
        clock, sparing = self.time.clock, Sparing(self.log, self.time.clock.monotonic)
        self.reconciler = Reconciler(
            Desires("/srv", self._desired, revision_of=lambda _key: None, newest_revision=lambda: None),
            State(Desk(self.records, self.store) if self._blocking else self.records, self.standings.watch(self.pen)),
            LiveState(self.observer, self.world, self.first_looks),
            Guards(
                window=self.window,
                managed=self.records.count_last_applied,
                postponed=lambda _workspace_id: None,
                refused_keys=RefusedKeys(
                    clock,
                    sparing,
                    fingerprint=lambda _workspace_id: None,
                    authorized_again=lambda workspace_id: self.on_authorized(workspace_id),
                ),
                expected=self._expected,
            ),
            TurnSettings(self.confirm_seconds, watches=self.watches),
            Run(clock, self.log, sparing, self.metrics, run_id="run", command="reconciler"),
        )

    def restart(self) -> None:
        """End this process and start another on the same state file."""
        self.pen.writer.close()
        self.start()

    def close(self) -> None:
        self.pen.writer.close()
        self.store.close()

    def declare(self, *documents: Desired) -> None:
        self.documents.update({document.key: document for document in documents})

    async def turn(self, key: RecordingKey, priority: Priority = Priority.EDIT) -> Turn:
        return await self.reconciler.reconcile(key, priority)

    async def until_idle(self, key: RecordingKey, *, turns: int = 40) -> Turn:
        """Give a recording turns, letting the time pass that each of them asks for, until one asks for none."""
        for _ in range(turns):
            turn = await self.turn(key)
            if turn.again is None:
                return turn
            self.time.pass_by(turn.again.after_seconds)
        raise AssertionError(f"still busy after {turns} turns: {self.row(key)}")

    def row(self, key: RecordingKey) -> Record:
        """Read our record of a recording, which must be there."""
        record = self.store.get(key)
        assert record is not None
        return record

    def history(self, *, oldest_first: bool = True) -> list[Event]:
        events = self.store.history(limit=100_000)
        return events[::-1] if oldest_first else events

    def words(self) -> list[str]:
        """Return the event words of the history, oldest first."""
        return [event.event for event in self.history()]


def statuses(patches: Iterable[tuple[RecordingKey, str]]) -> list[str]:
    """Return the statuses that were sent, in order."""
    return [status for _, status in patches]
