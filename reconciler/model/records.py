"""What this program remembers: the record of a recording, what happened, and what is asked of a writer."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from reconciler.model.actions import Rule
from reconciler.model.documents import Labels, Suspend
from reconciler.model.keys import RecordingKey
from reconciler.model.statuses import Drift, Phase, Status


class Record(NamedTuple):
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


class Line(NamedTuple):
    """One line of the history, and its number, which grows in the order of writing."""

    seq: int
    event: Event


class Seen(NamedTuple):
    """Who holds the state, or did when last heard of."""

    #: Whether it may still be at work: neither proven to be dead, nor silent for longer than its state lease.
    alive: bool
    since: datetime
    host: str
    process: int
    #: The command.
    holder: str


class Size(NamedTuple):
    """How large the state is, and what its disk has left."""

    #: The file and its log.
    bytes: int
    free_bytes: int
    #: How fast the history grows, by what the last days brought; None where there is too little of it to tell.
    bytes_per_day: float | None

    @property
    def days_left(self) -> float | None:
        """For how many days the disk holds what comes in, at the present pace; None where that is not known."""
        return None if not self.bytes_per_day else self.free_bytes / self.bytes_per_day
