"""Every noun: what is desired, what is live, what was applied, and what follows from the three.

Values only. No file, no network, no clock, no logging in this room: time is passed in, in aware UTC datetimes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Final, NamedTuple

UUID_PATTERN: Final = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
_UUID = re.compile(UUID_PATTERN)


def parse_uuid(text: str) -> str:
    """Return the UUID in lower case, the form in which IDs are compared and become part of a path.

    Raises:
        ValueError: the text is not a UUID in its 8-4-4-4-12 form.
    """
    if _UUID.fullmatch(text) is None:
        raise ValueError(f"{text[:64]!r} is not a UUID")
    return text.lower()


class Word(StrEnum):
    """A word of a fixed set, hashed as the text that it equals: the library's own hash is ten times slower."""

    __hash__ = str.__hash__


class Status(Word):
    """What a document may ask for: the three values that Bird's update operation takes.

    Source: https://docs.bird.com/api/voice-api/voice-calls-api/update-a-call-recording
    """

    ONGOING = "ongoing"
    PAUSED = "paused"
    COMPLETED = "completed"


class LiveStatus(Word):
    """What a recording may be: Bird's seven published values, and two words of ours.

    Source: https://docs.bird.com/api/voice-api/voice-calls-api/update-a-call-recording
    """

    ACCEPTED = "accepted"
    ONGOING = "ongoing"
    PAUSED = "paused"
    COMPLETED = "completed"
    AVAILABLE = "available"
    ABSENT = "absent"
    FAILED = "failed"
    #: Ours: Bird knows no such recording, neither on the call nor among the workspace's recordings.
    GONE = "gone"
    #: Ours: Bird answered a word that this program does not know; the word itself is kept beside it.
    UNKNOWN = "unknown"


#: Which live statuses meet a desired one. That `available` (media ready) meets `completed` is assumed.
SATISFIES: Final[Mapping[Status, frozenset[LiveStatus]]] = {
    Status.ONGOING: frozenset({LiveStatus.ONGOING}),
    Status.PAUSED: frozenset({LiveStatus.PAUSED}),
    Status.COMPLETED: frozenset({LiveStatus.COMPLETED, LiveStatus.AVAILABLE}),
}
#: Statuses that nothing leads out of (assumed: Bird publishes the words, not the transitions).
FINAL: Final = frozenset({LiveStatus.COMPLETED, LiveStatus.AVAILABLE, LiveStatus.ABSENT, LiveStatus.FAILED})


class Drift(Word):
    """What to do when the live status has moved away from what was applied."""

    #: Correct it, except that a pause made by somebody else is never resumed.
    SAFE = "safe"
    #: Correct it always.
    HEAL = "heal"
    #: Only say so.
    REPORT = "report"


class CallKey(NamedTuple):
    """Names one call. A tuple, because hundreds of thousands are hashed and compared as dictionary keys."""

    workspace_id: str
    channel_id: str
    call_id: str


class RecordingKey(NamedTuple):
    """Names one recording by the four lower-case UUIDs of its path. Build it with `of` from text of unknown form."""

    workspace_id: str
    channel_id: str
    call_id: str
    recording_id: str

    @classmethod
    def of(cls, workspace_id: str, channel_id: str, call_id: str, recording_id: str) -> RecordingKey:
        """Build a key from four UUIDs in either case.

        Raises:
            ValueError: one of them is not a UUID.
        """
        return cls(parse_uuid(workspace_id), parse_uuid(channel_id), parse_uuid(call_id), parse_uuid(recording_id))

    @property
    def call(self) -> CallKey:
        return CallKey(self.workspace_id, self.channel_id, self.call_id)


#: What an event has in place of a recording that is about none.
NO_RECORDING: Final = RecordingKey("", "", "", "")


def status_line(key: RecordingKey, status: Status) -> str:
    """Return a recording and a status of it as one text: the form in which a hundred thousand are compared at once."""
    return f"{key[0]} {key[1]} {key[2]} {key[3]} {status.value}"


def key_of_line(line: str) -> RecordingKey:
    """Return the recording of a `status_line`."""
    return RecordingKey(*line.split(" ")[:4])


@dataclass(frozen=True, slots=True)
class Suspend:
    """A document's request to be left alone until a moment, and why."""

    reason: str
    until: datetime


#: Labels of a document, sorted by their names. Documents with the same labels share one object, since there are few of
#: these and many of those.
Labels = tuple[tuple[str, str], ...]


class Desired(NamedTuple):
    """What one document (or one item of a set) asks for, and where it stands.

    A tuple, because a hundred thousand are made at once: in a third of the time of a frozen dataclass. Annotations are
    for those who read the files: nothing here does, so they are checked and not kept.
    """

    key: RecordingKey
    name: str
    status: Status
    #: The path of the file as it is shown to people, and the 1-based line of the field that is edited: `status:`.
    file: str
    line: int
    drift: Drift = Drift.SAFE
    suspend: Suspend | None = None
    labels: Labels = ()
    #: The 1-based line where the document or item begins; 0 where that is not known, as from a record.
    begins: int = 0

    @property
    def first_line(self) -> int:
        """Where the document or item begins, as near as is known."""
        return self.begins or self.line


@dataclass(frozen=True, slots=True)
class Live:
    """What the API answered about one recording, and when the question was asked."""

    status: LiveStatus
    #: Bird's own word, equal to `status` unless that is `unknown`.
    word: str
    #: False when the recording was found only among the workspace's recordings, or nowhere: it can no longer be
    #: changed.
    active: bool
    observed_at: datetime
    #: What a person should know beyond the word, such as that Bird does not know the call at all.
    detail: str = ""
    #: Whether it is proven that the recording has ended, whatever its word: its call has.
    ended: bool = False
    #: The ID of the call on which the recording was found instead.
    moved_to: str | None = None

    @classmethod
    def from_word(
        cls, word: str, observed_at: datetime, *, active: bool = True, detail: str = "", ended: bool = False
    ) -> Live:
        """Read Bird's word; one that is not published becomes `unknown` and keeps its text, cut to 64 characters."""
        try:
            status = LiveStatus(word)
        except ValueError:
            status = LiveStatus.UNKNOWN
        if status in _OUR_WORDS:
            return cls(LiveStatus.UNKNOWN, word[:64], active, observed_at, detail, ended)
        return cls(status, word, active, observed_at, detail, ended)

    @classmethod
    def gone(cls, observed_at: datetime, detail: str = "", *, ended: bool = False, moved_to: str | None = None) -> Live:
        """The recording is nowhere to be found, or not where it was looked for.

        Args:
            observed_at: when the question was asked.
            detail: what a person should know.
            ended: whether its call is known to have ended, which proves that the recording has.
            moved_to: the ID of the call on which it was found instead.
        """
        word = LiveStatus.GONE
        return cls(word, word.value, False, observed_at, detail, ended, moved_to)

    @property
    def final(self) -> bool:
        """Whether it is proven that no PATCH can change it any more. Not to be found is no proof: the API may lag."""
        return self.ended or self.status in FINAL

    @property
    def missing(self) -> bool:
        """Whether it is not where it was looked for, with no proof that it has ended."""
        return not self.active and not self.final

    def satisfies(self, status: Status) -> bool:
        return self.status in SATISFIES[status]


_OUR_WORDS: Final = frozenset({LiveStatus.GONE, LiveStatus.UNKNOWN})


class Phase(Word):
    """Where a recording stands in our own record of it."""

    #: Seen in a document, nothing known yet.
    PENDING = "pending"
    #: The intent to send is on disk; whether the PATCH left is not known until the next entry.
    SENDING = "sending"
    #: The API accepted (202); a read has not shown the effect yet.
    CONFIRMING = "confirming"
    #: A read has shown the desired status.
    APPLIED = "applied"
    #: The deadline passed without a read that shows the effect.
    UNCONFIRMED = "unconfirmed"
    #: The API refused, and a read after it did not show the wanted status.
    REJECTED = "rejected"
    #: The last turn failed in a way that waiting may cure.
    FAILED = "failed"
    #: The document is suspended.
    HELD = "held"
    #: Not in a status that can be changed yet.
    WAITING = "waiting"
    #: The live status differs and the document's drift setting says to leave it.
    DRIFTED = "drifted"
    #: A safety limit holds the PATCH back.
    REFUSED = "refused"
    #: Nothing can change it any more, and it did not end as desired.
    ENDED = "ended"
    #: The last look was not answered (the key was refused, the API is away), and the desired status has not been seen.
    #: A recording that was seen as desired keeps its phase: that nobody sees it now is a fact of its workspace.
    BLIND = "blind"


class Applied(NamedTuple):
    """Our record of one recording: what was last brought about, what is under way, and what was last seen.

    A row of the state store. `last_applied` changes only when a read has shown the status. A tuple, because a turn
    makes four of it: `_replace` takes a third of the time of `dataclasses.replace`.
    """

    key: RecordingKey
    name: str
    file: str
    line: int
    desired: Status
    #: The rest of the document, so that its last valid version outlives the process that read it.
    drift: Drift = Drift.SAFE
    suspend: Suspend | None = None
    phase: Phase = Phase.PENDING
    last_applied: Status | None = None
    applied_at: datetime | None = None
    #: The status of the PATCH that is on its way or not yet confirmed, and when it was sent.
    sent: Status | None = None
    sent_at: datetime | None = None
    #: When the API accepted it (202); None while its fate is unknown.
    accepted_at: datetime | None = None
    #: Until when the effect is waited for before the PATCH counts as unconfirmed.
    confirm_by: datetime | None = None
    #: Bird's word, or `gone`, at the last look, and when that was.
    live: str | None = None
    observed_at: datetime | None = None
    #: A refused status, and the live word beside which it was refused: kept until either changes.
    rejected: Status | None = None
    rejected_live: str | None = None
    #: Turns that failed in a row, and when the next one is due.
    attempts: int = 0
    due_at: datetime | None = None
    #: The last error in words, empty when the last turn went well.
    error: str = ""
    #: The Git commit of the documents, where there is one.
    revision: str | None = None
    #: What `file` is relative to: an absolute folder, or `git:` and the address of the repository for a Git source.
    #: Where an earlier version wrote the record: `git` for some Git source, or empty where nobody knows.
    base: str = ""
    labels: Labels = ()
    #: Why the recording is in its phase: the last decision's reason, or a word for what kept it from being decided.
    reason: str = ""
    #: Since when the recording is in its phase, for this reason.
    phase_since: datetime | None = None
    #: Since when the desired status has been asked for without a look that shows it; None while it holds.
    unmet_since: datetime | None = None
    #: When a look first found neither the recording nor a proof of its end; None while it is found.
    missing_since: datetime | None = None
    #: When the first PATCH to the status that is not confirmed yet was sent; `sent_at` is the last one.
    first_sent_at: datetime | None = None
    #: Whether it comes out of a backup and no look has shown the desired status since: a pause that is found may then
    #: be anybody's, whatever the record says.
    restored: bool = False


class Event(NamedTuple):
    """One line of the history: append-only, never changed."""

    at: datetime
    #: One of the log's event words, such as `patch_sent` or `applied`.
    event: str
    key: RecordingKey
    name: str
    #: Who or what caused it: `edit`, `drift`, `confirm`, `removed` and the like, as the decision's reason says it.
    cause: str = ""
    revision: str | None = None
    from_status: str | None = None
    to_status: str | None = None
    #: When the request left, how long it took in milliseconds, and what was answered, such as `202` or `timeout`.
    requested_at: datetime | None = None
    request_ms: float | None = None
    answer: str | None = None
    outcome: str | None = None
    #: The rule-relevant nature of a PATCH: irreversible, and resuming a pause that this program did not make.
    irreversible: bool = False
    resumes_foreign: bool = False
    run_id: str = ""
    detail: str = ""
    #: Why, as the decision's reason says it.
    reason: str = ""
    #: Who: the kind of author (`commit`, `somebody`, `command` and the like), and in words who it was.
    by_kind: str = ""
    by_text: str = ""
    #: Bird's word at the look before the one that this event tells of, and when that look was: until then the recording
    #: is known to have been so.
    last_seen: str | None = None
    last_seen_at: datetime | None = None


class Resting(NamedTuple):
    """A workspace that is left alone: nothing about its recordings is known that is newer than this."""

    workspace_id: str
    since: datetime
    #: A constant word: `key_refused`, `api_away`, or `patches_fail`.
    cause: str
    #: Why, in words.
    reason: str
    #: Whether it is not looked at either; else only PATCHes wait.
    blind: bool


class Rule(Word):
    """The rules of the safety limits."""

    #: PATCHes that cannot be undone.
    IRREVERSIBLE = "irreversible"
    #: Resumes of pauses that this program did not make.
    RESUMES = "resumes"
    #: The share of recordings that change at once; PATCHes to `paused` are apart from it.
    CHANGES = "changes"
    #: The same share for PATCHes to `paused`, for those who must record everything.
    PAUSES = "pauses"


class Judged(NamedTuple):
    """What a rule said of one recording: that it may be brought to a status, or that this is refused."""

    key: RecordingKey
    rule: Rule
    status: Status
    #: The name of what is refused; None where it was let pass.
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class RefusedSet:
    """What is refused as a whole, as the state keeps it for people to see."""

    #: Digits over its content: the rule, and every recording with the status that is wanted for it.
    name: str
    at: datetime
    rule: Rule
    #: How many recordings it holds back, and how many were counted against the limit when it was judged.
    recordings: int
    count: int
    allowed: int
    #: The setting with its value, such as `max_irreversible: 25`.
    setting: str
    #: The names of some of the documents.
    sample: tuple[str, ...]


class Judgements(NamedTuple):
    """What the limits have newly said, in the order in which it is written down."""

    #: Recordings of which nothing that was said before holds any more.
    forgotten: Collection[RecordingKey] = ()
    #: Names of what is refused no more.
    lifted: Collection[str] = ()
    judged: Collection[Judged] = ()
    refused: Collection[RefusedSet] = ()


class Request(NamedTuple):
    """What another process asks of the one that holds the state. All of it but the number was written by that one."""

    id: int
    at: datetime
    #: The command, such as `approve`.
    kind: str
    #: What the command was given; a JSON object if whoever wrote it kept to the form.
    about: str
    #: The system's user who asks, and why.
    by: str
    reason: str
    taken_at: datetime | None = None
    #: `done`, `refused` or `withdrawn`; None while it is open.
    outcome: str | None = None
    #: A JSON object.
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Revision:
    """A Git commit that documents came from, as people know it."""

    #: Hexadecimal.
    id: str
    #: Name and address, as the commit itself says; on one line.
    author: str
    #: The first line of its message.
    subject: str
    committed_at: datetime


class InForce(NamedTuple):
    """The revision of a Git source that is in force."""

    revision: str
    #: Whether it came into force because its signature, and those of all on the way to it, were good.
    judged: bool


class ActionKind(Word):
    PATCH = "patch"
    WAIT = "wait"
    HOLD = "hold"
    REPORT = "report"
    RELEASE = "release"
    NOOP = "noop"


class Reason(Word):
    REMOVED = "removed"
    SUSPENDED = "suspended"
    IN_SYNC = "in_sync"
    ENDED_BEFORE_EFFECT = "ended_before_effect"
    ENDED = "ended"
    #: Found on another call, which nobody has declared.
    MOVED = "moved"
    #: Not to be found, with no proof that it has ended.
    NOT_FOUND = "not_found"
    NOT_CONTROLLABLE = "not_controllable"
    CONFIRMING = "confirming"
    #: One look says otherwise than the one of a moment ago; another will tell which of them was right.
    CONTRADICTED = "contradicted"
    DRIFT = "drift"
    FOREIGN_PAUSE = "foreign_pause"
    EDIT = "edit"


#: Reasons that leave a desired status which nobody has ever seen, and which no PATCH can bring about now.
LOST: Final = frozenset({Reason.NOT_FOUND, Reason.MOVED, Reason.ENDED_BEFORE_EFFECT})


class Action(NamedTuple):
    """The decision about one recording, with all that it was made from, so that nobody has to ask again.

    A tuple for the same reason as `Desired`.
    """

    kind: ActionKind
    reason: Reason
    key: RecordingKey
    name: str
    file: str
    line: int
    desired: Status | None
    last_applied: Status | None
    #: None when live was not looked at.
    live: Live | None
    irreversible: bool = False
    #: A PATCH from a live pause to `ongoing`; `foreign` when that pause was not made by this program.
    resumes: bool = False
    foreign: bool = False

    @property
    def drifted(self) -> bool:
        """Whether live has moved away from what was applied, whatever is done about it."""
        return self.reason in (Reason.DRIFT, Reason.FOREIGN_PAUSE)

    @property
    def lost(self) -> bool:
        """Whether the desired status could not be brought about if all stayed as it was seen."""
        return self.reason in LOST


class Outcome(Word):
    """What became of one action."""

    APPLIED = "applied"
    UNCONFIRMED = "unconfirmed"
    REJECTED = "rejected"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in one document.

    `line` and `column` are 1-based; 0 where the problem concerns the file as a whole is written as 1.
    """

    file: str
    line: int
    column: int
    message: str
    #: RFC 6901, from the document's root; empty where no value is concerned.
    pointer: str = ""
    #: What to do about it, such as ``did you mean `paused`?``; part of the shown line.
    hint: str = ""
    #: A short constant word per kind of mistake, such as `duplicate-key`, for machine-readable reports.
    rule: str = field(default="schema", compare=False)

    def __str__(self) -> str:
        message = f"{self.message}, {self.hint}" if self.hint else self.message
        pointer = f" [{self.pointer}]" if self.pointer else ""
        return f"{self.file}:{self.line}:{self.column}: {message}{pointer}"


class Priority(IntEnum):
    """How urgent a piece of work or a request is; the lower goes first."""

    #: A PATCH, once decided, goes before every read.
    WRITE = 0
    #: A document changed and wants a pause: somebody is about to say what must not be heard.
    PAUSE = 1
    #: A document changed.
    EDIT = 2
    #: A PATCH was accepted and its effect is looked for.
    CONFIRM = 3
    #: Something failed and is tried again.
    RETRY = 4
    #: The periodic look at everything.
    RESYNC = 5
