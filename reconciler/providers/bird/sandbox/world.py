"""The simulated calls and recordings: a plain value store whose time is passed in.

It knows what Bird's recordings do: a change is accepted now and takes effect later, a call that ends takes its
recordings with it, nothing leads out of a final status. It must never know of HTTP, read a clock of its own accord, or
wait: what is due is worked out when somebody looks. Where Bird's documentation is silent, the rule is *assumed* and
says so.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, Final

from reconciler.model import FINAL, CallKey, LiveStatus, RecordingKey, Status

#: Says what a dumped world is, so that another file is not taken for one.
FORMAT: Final = "reconciler.sandbox/v1"
#: Bird's seven words. The model's other two are its own and cannot be seeded.
BIRD_STATUSES: Final = frozenset(LiveStatus) - {LiveStatus.GONE, LiveStatus.UNKNOWN}
#: What an update may start from (assumed): out of `accepted` and out of a final status nothing leads.
_CONTROLLABLE: Final = frozenset({LiveStatus.ONGOING, LiveStatus.PAUSED})
#: The longest wait that can be asked for: a day.
_DAY_MS: Final = 86_400_000
_SEQUENCE: Final = attrgetter("sequence")


class NotKnown(LookupError):
    """There is no such workspace, channel, call or active recording."""


class NotControllable(Exception):
    """The recording is in a status that no update leads out of."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the simulated API behaves. Replace it as a whole to change it at run time.

    Raises:
        ValueError: a number is outside its range.
    """

    #: Milliseconds from accepting a change until it shows, and from `completed` until `available`.
    settle_ms: float = 200
    #: Milliseconds that every answer is held back.
    latency_ms: float = 0
    #: The share of requests that fail, 0 to 1: a 503, an answer cut off, a connection closed before or after the
    #: effect.
    fault_rate: float = 0
    #: Where the sequence of those failures starts; the same seed and the same requests fail alike.
    fault_seed: int = 1
    #: Requests in any one second and workspace; 0 for no limit.
    rate_limit: int = 0

    def __post_init__(self) -> None:
        for name, most in (("settle_ms", _DAY_MS), ("latency_ms", _DAY_MS), ("fault_rate", 1), ("rate_limit", 10**9)):
            # Written so that a NaN is refused as well.
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be between 0 and {most}")


@dataclass(frozen=True, slots=True)
class SeedRecording:
    """A recording to begin with, and its call where that is not known yet.

    Raises:
        ValueError: the status is none of Bird's words, the direction none of its two, or the time out of range.
    """

    key: RecordingKey
    status: LiveStatus = LiveStatus.ONGOING
    #: Milliseconds after which an `accepted` recording becomes `ongoing`; None: it stays until somebody changes it.
    accepted_ms: float | None = None
    #: Whether the call is over: the recording is then found among the workspace's recordings only.
    call_ended: bool = False
    #: Milliseconds until anybody can read it, and its call where that is not known yet: an API shows a new one late.
    appears_ms: float = 0
    #: The numbers of both sides; empty for ones of the ranges that are reserved for fiction.
    from_number: str = ""
    to_number: str = ""
    direction: str = "incoming"

    def __post_init__(self) -> None:
        if self.accepted_ms is not None and not 0 <= self.accepted_ms <= _DAY_MS:
            raise ValueError(f"accepted_ms must be between 0 and {_DAY_MS}")
        if not 0 <= self.appears_ms <= _DAY_MS:
            raise ValueError(f"appears_ms must be between 0 and {_DAY_MS}")
        if self.status not in BIRD_STATUSES:
            raise ValueError(f"{self.status.value!r} is not a status of Bird's")
        if self.direction not in ("incoming", "outgoing"):
            raise ValueError(f"{self.direction!r} is not a direction, which is incoming or outgoing")


class Call:
    """One call. Read by everyone, changed by its world alone."""

    __slots__ = ("created_at", "direction", "ended_at", "from_number", "key", "recordings", "sequence", "to_number")

    def __init__(
        self,
        key: CallKey,
        sequence: int,
        created_at: datetime,
        *,
        from_number: str,
        to_number: str,
        direction: str,
        ended_at: datetime | None = None,
    ) -> None:
        self.key = key
        self.sequence = sequence
        self.created_at = created_at
        self.from_number = from_number
        self.to_number = to_number
        self.direction = direction
        self.ended_at = ended_at
        #: In the order of their sequence.
        self.recordings: list[Recording] = []

    @property
    def status(self) -> str:
        return "ongoing" if self.ended_at is None else "completed"


class Recording:
    """One recording. Read by everyone, changed by its world alone."""

    __slots__ = (
        "call",
        "created_at",
        "ended_at",
        "key",
        "moved",
        "patches",
        "pending",
        "sequence",
        "status",
        "updated_at",
    )

    def __init__(
        self, key: RecordingKey, sequence: int, call: Call, status: str, created_at: datetime, updated_at: datetime
    ) -> None:
        self.key = key
        self.sequence = sequence
        self.call = call
        #: Bird's word, or any other that a test has set.
        self.status = status
        self.created_at = created_at
        self.updated_at = updated_at
        self.ended_at: datetime | None = None
        #: Changes to come, soonest first: when, and the status then.
        self.pending: list[tuple[datetime, str]] = []
        #: How many updates were accepted.
        self.patches = 0
        #: Whether it was moved here from another call.
        self.moved = False

    @property
    def final(self) -> bool:
        return self.status in FINAL

    @property
    def over(self) -> bool:
        """Whether it belongs to the workspace's recordings rather than to the call's active ones."""
        return self.final or self.call.ended_at is not None


class World:
    """All calls and recordings of the sandbox.

    Not for several threads at once; the server has one.

    Args:
        behaviour: how it behaves; may be replaced at any time.
        clock: answers the present moment as an aware UTC datetime.
    """

    def __init__(
        self, behaviour: Behaviour | None = None, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.behaviour = behaviour or Behaviour()
        self.clock = clock
        self.clear()

    def clear(self) -> None:
        """Forget every call and recording."""
        self._sequence = 0
        #: Recordings that nobody can read yet, and from when on.
        self._coming: list[tuple[datetime, SeedRecording]] = []
        self._calls: dict[CallKey, Call] = {}
        self._recordings: dict[str, Recording] = {}
        self._workspace_calls: dict[str, list[Call]] = {}
        self._channel_calls: dict[tuple[str, str], list[Call]] = {}
        self._calls_by_id: dict[tuple[str, str], list[Call]] = {}
        self._workspace_recordings: dict[str, list[Recording]] = {}

    def seed(self, recordings: Iterable[SeedRecording]) -> int:
        """Add the recordings whose IDs are not known yet; those that are known stay as they are.

        A recording that is put into a call that has ended, or that says its call has, ends with it.

        Returns:
            How many were added, those that appear later among them.
        """
        now = self.clock()
        added = 0
        for seed in recordings:
            if seed.key.recording_id in self._recordings:
                continue
            if seed.appears_ms:
                due = now + timedelta(milliseconds=seed.appears_ms)
                self._coming.append((due, replace(seed, appears_ms=0)))
                added += 1
                continue
            call = self._calls.get(seed.key.call) or self._add_call(_new_call(seed, self._next(), now))
            recording = Recording(seed.key, self._next(), call, seed.status.value, now, now)
            if recording.final:
                recording.ended_at = now
            elif seed.status is LiveStatus.ACCEPTED and seed.accepted_ms is not None:
                recording.pending.append((now + timedelta(milliseconds=seed.accepted_ms), LiveStatus.ONGOING.value))
            self._add_recording(recording)
            added += 1
            if call.ended_at is not None:
                self._end_recording(recording, now)
            elif seed.call_ended:
                self._end(call, now)
        return added

    def appear(self) -> None:
        """Show what has become readable by now; to be called before anything is looked up."""
        now = self.clock()
        due = [seed for at, seed in self._coming if at <= now]
        self._coming = [(at, seed) for at, seed in self._coming if at > now]
        self.seed(due)

    def move(self, recording_id: str, call_id: str) -> Recording:
        """Put a recording on another call of its channel, as a transfer may; among the workspace's it is found then.

        Raises:
            NotKnown: there is no such recording.
        """
        recording = self._recordings.get(recording_id)
        if recording is None:
            raise NotKnown("there is no such recording")
        before = recording.call
        key = recording.key._replace(call_id=call_id)
        call = self._calls.get(key.call)
        if call is None:
            call = Call(
                key.call,
                self._next(),
                self.clock(),
                from_number=before.from_number,
                to_number=before.to_number,
                direction=before.direction,
            )
            self._add_call(call)
        before.recordings.remove(recording)
        recording.key, recording.call, recording.moved = key, call, True
        # The newest of its call and of its workspace, since lists are in the order of their sequence.
        recording.sequence = self._next()
        call.recordings.append(recording)
        listed = self._workspace_recordings[key.workspace_id]
        listed.remove(recording)
        listed.append(recording)
        return recording

    def call(self, key: CallKey) -> Call:
        """Return one call, also when it has ended.

        Raises:
            NotKnown: there is no such call.
        """
        call = self._calls.get(key)
        if call is None:
            raise NotKnown("there is no such call")
        return call

    def calls(self, workspace_id: str, channel_id: str | None = None, *, after: int = 0) -> Iterator[Call]:
        """Yield the calls of a workspace, or of one channel, whose sequence is greater than `after`, in its order.

        Raises:
            NotKnown: no such workspace or channel has been seeded.
        """
        found = (
            self._workspace_calls.get(workspace_id)
            if channel_id is None
            else self._channel_calls.get((workspace_id, channel_id))
        )
        if found is None:
            raise NotKnown("there is no such workspace" if channel_id is None else "there is no such channel")
        return iter(found[bisect_right(found, after, key=_SEQUENCE) :])

    def active_recordings(self, key: CallKey, *, after: int = 0) -> Iterator[Recording]:
        """Yield the recordings of a call that goes on, as long as they are not over.

        Raises:
            NotKnown: there is no such call, or it has ended (assumed: Bird documents 404 without a reason).
        """
        call = self._active_call(key)
        now = self.clock()
        start = bisect_right(call.recordings, after, key=_SEQUENCE)
        return (recording for recording in call.recordings[start:] if not self._settled(recording, now).over)

    def call_recording(self, key: RecordingKey) -> Recording:
        """Return one recording of a call that goes on, also when it has been completed there.

        That a completed recording is still read here while its call goes on is assumed: Bird names no other place to
        see what an update has done.

        Raises:
            NotKnown: there is no such call or recording, or the call has ended.
        """
        self._active_call(key.call)
        recording = self._recordings.get(key.recording_id)
        if recording is None or recording.key != key:
            raise NotKnown("the call has no such recording")
        return self._settled(recording, self.clock())

    def change(self, key: RecordingKey, status: Status) -> Recording:
        """Accept an update: it takes effect once it has settled, after all that was accepted before it.

        Asking for the status that the recording already has is accepted (assumed) and changes nothing.

        Raises:
            NotKnown: there is no such call or recording, or the call has ended.
            NotControllable: the recording is `accepted`, final, or in an unknown status (assumed).
        """
        recording = self.call_recording(key)
        if recording.status not in _CONTROLLABLE:
            raise NotControllable(f"a recording that is {recording.status} cannot become {status.value}")
        recording.patches += 1
        due = self.clock() + self._settle_time()
        if recording.pending:
            due = max(due, recording.pending[-1][0])
        recording.pending.append((due, status.value))
        self._settled(recording, self.clock())
        return recording

    def past_recordings(self, workspace_id: str, *, call_id: str | None = None, after: int = 0) -> Iterator[Recording]:
        """Yield the recordings of a workspace, or of its calls with one ID, that are over.

        That a live recording is not among them is assumed, but for one that was moved from another call.

        Raises:
            NotKnown: no such workspace has been seeded.
        """
        found: Sequence[Recording] | None = self._workspace_recordings.get(workspace_id)
        if found is None:
            raise NotKnown("there is no such workspace")
        if call_id is not None:
            calls = self._calls_by_id.get((workspace_id, call_id), [])
            found = sorted((recording for call in calls for recording in call.recordings), key=_SEQUENCE)
        now = self.clock()
        start = bisect_right(found, after, key=_SEQUENCE)
        return (recording for recording in found[start:] if self._settled(recording, now).over or recording.moved)

    def past_recording(self, workspace_id: str, recording_id: str) -> Recording:
        """Return one recording that is over.

        Raises:
            NotKnown: the workspace has no such recording, or it is still active.
        """
        recording = self._recordings.get(recording_id)
        if recording is None or recording.key.workspace_id != workspace_id:
            raise NotKnown("there is no such recording")
        if not self._settled(recording, self.clock()).over:
            raise NotKnown("the recording is still active")
        return recording

    def set_status(self, recording_id: str, word: str) -> Recording:
        """Change a recording at once, as an agent, a call flow or a fault at Bird may: to any word, from any status.

        Raises:
            NotKnown: there is no such recording.
        """
        recording = self._recordings.get(recording_id)
        if recording is None:
            raise NotKnown("there is no such recording")
        now = self.clock()
        self._become(self._settled(recording, now), word, now)
        if not recording.final:
            recording.ended_at = None
        return recording

    def end_call(self, call_id: str) -> int:
        """Hang up every call of that ID: its live recordings become `completed`, and `available` once settled.

        Returns:
            How many calls ended now.

        Raises:
            NotKnown: there is no such call.
        """
        calls = [call for key, call in self._calls.items() if key.call_id == call_id]
        if not calls:
            raise NotKnown("there is no such call")
        now = self.clock()
        live = [call for call in calls if call.ended_at is None]
        for call in live:
            self._end(call, now)
        return len(live)

    def recordings(self) -> Iterator[Recording]:
        """Yield every recording as it is now, in the order in which they were added."""
        self.appear()
        now = self.clock()
        return (self._settled(recording, now) for recording in self._recordings.values())

    def dump(self) -> dict[str, Any]:
        """Return all calls and recordings, with what is still to settle, as values that JSON can hold."""
        return {
            "format": FORMAT,
            "calls": [
                {
                    **call.key._asdict(),
                    "from_number": call.from_number,
                    "to_number": call.to_number,
                    "direction": call.direction,
                    "created_at": call.created_at.isoformat(),
                    "ended_at": call.ended_at and call.ended_at.isoformat(),
                }
                for call in self._calls.values()
            ],
            "recordings": [
                {
                    **recording.key._asdict(),
                    "status": recording.status,
                    "created_at": recording.created_at.isoformat(),
                    "updated_at": recording.updated_at.isoformat(),
                    "ended_at": recording.ended_at and recording.ended_at.isoformat(),
                    "pending": [[due.isoformat(), word] for due, word in recording.pending],
                    "patches": recording.patches,
                }
                for recording in self.recordings()
            ],
        }

    @classmethod
    def load(
        cls,
        data: dict[str, Any],
        behaviour: Behaviour | None = None,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> World:
        """Rebuild a world from what `dump` returned. What fell due meanwhile shows at the first look.

        Raises:
            ValueError: the data is not a dumped world.
        """
        world = cls(behaviour, clock=clock)
        try:
            if data["format"] != FORMAT:
                raise ValueError(f"the format is {str(data['format'])[:64]!r}, not {FORMAT!r}")
            for row in data["calls"]:
                world._add_call(_call_from(row, world._next()))
            for row in data["recordings"]:
                key = _key_from(row)
                world._add_recording(_recording_from(row, key, world._next(), world._calls[key.call]))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a dumped sandbox: {type(error).__name__} at {str(error)[:64]}") from error
        return world

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def _add_call(self, call: Call) -> Call:
        key = call.key
        self._calls[key] = call
        self._workspace_calls.setdefault(key.workspace_id, []).append(call)
        self._channel_calls.setdefault((key.workspace_id, key.channel_id), []).append(call)
        self._calls_by_id.setdefault((key.workspace_id, key.call_id), []).append(call)
        return call

    def _add_recording(self, recording: Recording) -> None:
        self._recordings[recording.key.recording_id] = recording
        recording.call.recordings.append(recording)
        self._workspace_recordings.setdefault(recording.key.workspace_id, []).append(recording)

    def _active_call(self, key: CallKey) -> Call:
        call = self.call(key)
        if call.ended_at is not None:
            raise NotKnown("the call has ended")
        return call

    def _end(self, call: Call, now: datetime) -> None:
        call.ended_at = now
        for recording in call.recordings:
            self._end_recording(recording, now)

    def _end_recording(self, recording: Recording, now: datetime) -> None:
        if not self._settled(recording, now).final:
            self._become(recording, LiveStatus.COMPLETED.value, now)

    def _settle_time(self) -> timedelta:
        return timedelta(milliseconds=self.behaviour.settle_ms)

    def _settled(self, recording: Recording, now: datetime) -> Recording:
        """Bring what has fallen due into effect."""
        while recording.pending and recording.pending[0][0] <= now:
            due, word = recording.pending.pop(0)
            self._become(recording, word, due)
        return recording

    def _become(self, recording: Recording, word: str, at: datetime) -> None:
        if word == recording.status:
            return
        recording.status = word
        recording.updated_at = at
        if recording.final:
            # What was accepted before and would take effect after the end has no effect any more.
            recording.pending.clear()
            recording.ended_at = recording.ended_at or at
            if word == LiveStatus.COMPLETED:
                recording.pending.append((at + self._settle_time(), LiveStatus.AVAILABLE.value))


def _new_call(seed: SeedRecording, sequence: int, now: datetime) -> Call:
    # Only numbers that belong to nobody: 07700 900000-900999 (Ofcom) and 555-0100 to 555-0199 (NANP).
    digits = int(seed.key.call_id[:8], 16)
    return Call(
        seed.key.call,
        sequence,
        now,
        from_number=seed.from_number or f"+447700900{digits % 1000:03}",
        to_number=seed.to_number or f"+120255501{digits % 100:02}",
        direction=seed.direction,
    )


def _key_from(row: dict[str, Any]) -> RecordingKey:
    return RecordingKey.of(row["workspace_id"], row["channel_id"], row["call_id"], row["recording_id"])


def _call_from(row: dict[str, Any], sequence: int) -> Call:
    return Call(
        CallKey(row["workspace_id"], row["channel_id"], row["call_id"]),
        sequence,
        _moment(row["created_at"]),
        from_number=row["from_number"],
        to_number=row["to_number"],
        direction=row["direction"],
        ended_at=None if row["ended_at"] is None else _moment(row["ended_at"]),
    )


def _recording_from(row: dict[str, Any], key: RecordingKey, sequence: int, call: Call) -> Recording:
    recording = Recording(
        key,
        sequence,
        call,
        row["status"],
        _moment(row["created_at"]),
        _moment(row["updated_at"]),
    )
    recording.ended_at = None if row["ended_at"] is None else _moment(row["ended_at"])
    recording.pending = [(_moment(due), word) for due, word in row["pending"]]
    recording.patches = row["patches"]
    return recording


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text[:64]!r} has no time zone")
    return moment
