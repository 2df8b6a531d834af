"""Values of the state to rows and back, in one form for every kind of state.

Enumerations are stored as their text, times as microseconds since 1970 in UTC, errors and details cut to a bound.

What must never happen here: a value that does not come back as it went in.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, TypeVar

from reconciler.model import Drift, Event, Labels, Phase, Record, RecordingKey, Resting, Revision, Status, Suspend
from reconciler.state.base import SentPatch, Standing

#: How much of an error's or an event's own words is kept: enough for a sentence, too little to bloat the file.
TEXT_CHARACTERS: Final = 1000

#: The columns of each table in the order of its rows, as the newest layout has them.
KEY: Final = ("workspace_id", "channel_id", "call_id", "recording_id")
RECORDING: Final = (
    *KEY,
    *(
        "name",
        "file",
        "line",
        "desired",
        "drift",
        "suspend_reason",
        "suspend_until",
        "phase",
        "last_applied",
        "applied_at",
    ),
    *(
        "sent",
        "sent_at",
        "accepted_at",
        "confirm_by",
        "live",
        "observed_at",
        "rejected",
        "rejected_live",
        "attempts",
        "due_at",
        "error",
        "revision",
    ),
    *("base", "labels", "reason", "phase_since", "unmet_since", "missing_since", "first_sent_at", "restored"),
)
EVENT: Final = (
    *("at", "event", *KEY, "name", "cause", "revision", "from_status", "to_status", "requested_at", "request_ms"),
    *("answer", "outcome", "irreversible", "resumes_foreign", "run_id", "detail"),
    *("reason", "by_kind", "by_text", "last_seen", "last_seen_at"),
)
REVISION: Final = ("id", "author", "subject", "committed_at")
RESTING: Final = ("workspace_id", "since", "cause", "reason", "blind")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Word = TypeVar("Word", bound=StrEnum)
#: What a database takes and gives.
Row = tuple[Any, ...]


def micros(at: datetime) -> int:
    """Return an aware datetime as whole microseconds since 1970, exactly.

    Raises:
        TypeError: the datetime is naive.
    """
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def moment(value: int) -> datetime:
    """Return whole microseconds since 1970 as a datetime in UTC, exactly (a float would lose the last digits)."""
    return _EPOCH + timedelta(0, 0, value)


def _micros(at: datetime | None) -> int | None:
    return None if at is None else micros(at)


def _moment(value: int | None) -> datetime | None:
    return None if value is None else _EPOCH + timedelta(0, 0, value)


def _text(word: StrEnum | None) -> str | None:
    return None if word is None else str(word)


def _words(kind: type[Word]) -> dict[str, Word]:
    # A dictionary rather than a call of the class: five times faster, and a start reads 100,000 rows.
    return {str(word): word for word in kind}


_STATUS: Final = _words(Status)
_STATUS_OR_NONE: Final[dict[str | None, Status | None]] = {None: None} | _STATUS
_DRIFT: Final = _words(Drift)
_PHASE: Final = _words(Phase)


def recording_row(record: Record) -> Row:
    """Return the row of a record.

    Raises:
        TypeError: one of its times is naive.
    """
    return (
        *record.key,
        record.name,
        record.file,
        record.line,
        str(record.desired),
        str(record.drift),
        None if record.suspend is None else record.suspend.reason,
        None if record.suspend is None else micros(record.suspend.until),
        str(record.phase),
        _text(record.last_applied),
        _micros(record.applied_at),
        _text(record.sent),
        _micros(record.sent_at),
        _micros(record.accepted_at),
        _micros(record.confirm_by),
        record.live,
        _micros(record.observed_at),
        _text(record.rejected),
        record.rejected_live,
        record.attempts,
        _micros(record.due_at),
        record.error[:TEXT_CHARACTERS],
        record.revision,
        record.base,
        _labels_text(record.labels),
        record.reason,
        _micros(record.phase_since),
        _micros(record.unmet_since),
        _micros(record.missing_since),
        _micros(record.first_sent_at),
        record.restored,
    )


# As many as are in force at once; they are few, since people group by them.
@lru_cache(maxsize=4096)
def _labels_text(labels: Labels) -> str:
    return json.dumps(dict(labels)) if labels else ""


@lru_cache(maxsize=4096)
def _labels(text: str) -> Labels:
    found = json.loads(text) if text else {}
    if not isinstance(found, dict):
        raise TypeError("labels are a mapping")
    return tuple(sorted(found.items()))


def line_of(row: Row) -> str | None:
    """Return the `status_line` of a row of a record; None where something is on its way, or nothing was applied."""
    if row[12] is None or row[14] is not None:
        return None
    return " ".join((*row[:4], row[12]))


def recording_from_row(row: Row) -> Record:
    """Return the record of a row.

    Raises:
        KeyError: a status or phase is a word that this program does not know.
        TypeError, ValueError, OverflowError: labels or a time are none that can have been written.
    """
    return Record(
        RecordingKey(row[0], row[1], row[2], row[3]),
        row[4],
        row[5],
        row[6],
        _STATUS[row[7]],
        _DRIFT[row[8]],
        None if row[10] is None else Suspend(row[9], moment(row[10])),
        _PHASE[row[11]],
        _STATUS_OR_NONE[row[12]],
        _moment(row[13]),
        _STATUS_OR_NONE[row[14]],
        _moment(row[15]),
        _moment(row[16]),
        _moment(row[17]),
        row[18],
        _moment(row[19]),
        _STATUS_OR_NONE[row[20]],
        row[21],
        row[22],
        _moment(row[23]),
        row[24],
        row[25],
        row[26],
        _labels(row[27]),
        row[28],
        _moment(row[29]),
        _moment(row[30]),
        _moment(row[31]),
        _moment(row[32]),
        bool(row[33]),
    )


def standing_from_row(row: Row) -> Standing:
    """Return how a recording stands, of a row of `selects.standings`.

    Raises:
        KeyError: a status or phase is a word that this program does not know.
    """
    return Standing(
        RecordingKey(row[0], row[1], row[2], row[3]),
        row[4],
        row[5],
        _PHASE[row[6]],
        _STATUS[row[7]],
        _STATUS_OR_NONE[row[8]],
        _STATUS_OR_NONE[row[9]],
        row[10],
        _moment(row[11]),
        _moment(row[12]),
    )


def event_row(event: Event) -> Row:
    """Return the row of an event.

    Raises:
        TypeError: one of its times is naive.
    """
    return (
        micros(event.at),
        event.event,
        *event.key,
        event.name,
        event.cause,
        event.revision,
        event.from_status,
        event.to_status,
        _micros(event.requested_at),
        event.request_ms,
        event.answer,
        event.outcome,
        event.irreversible,
        event.resumes_foreign,
        event.run_id,
        event.detail[:TEXT_CHARACTERS],
        event.reason,
        event.by_kind,
        event.by_text[:TEXT_CHARACTERS],
        event.last_seen,
        _micros(event.last_seen_at),
    )


def event_from_row(row: Row) -> Event:
    """Return the event of a row."""
    return Event(
        moment(row[0]),
        row[1],
        RecordingKey(row[2], row[3], row[4], row[5]),
        row[6],
        row[7],
        row[8],
        row[9],
        row[10],
        _moment(row[11]),
        row[12],
        row[13],
        row[14],
        bool(row[15]),
        bool(row[16]),
        row[17],
        row[18],
        row[19],
        row[20],
        row[21],
        row[22],
        _moment(row[23]),
    )


def revision_row(revision: Revision) -> Row:
    """Return the row of a commit.

    Raises:
        TypeError: its time is naive.
    """
    return revision.id, revision.author, revision.subject, micros(revision.committed_at)


def revision_from_row(row: Row) -> Revision:
    """Return the commit of a row."""
    return Revision(row[0], row[1], row[2], moment(row[3]))


def resting_row(resting: Resting) -> Row:
    """Return the row of a workspace that rests.

    Raises:
        TypeError: its time is naive.
    """
    return (
        resting.workspace_id,
        micros(resting.since),
        resting.cause,
        resting.reason[:TEXT_CHARACTERS],
        resting.blind,
    )


def resting_from_row(row: Row) -> Resting:
    """Return the workspace that rests of a row."""
    return Resting(row[0], moment(row[1]), row[2], row[3], bool(row[4]))


def patch_from_row(row: Row) -> SentPatch:
    """Return what the safety limits count, of a row of `selects.PATCHES`."""
    return SentPatch(moment(row[0]), RecordingKey(row[1], row[2], row[3], row[4]), bool(row[5]), bool(row[6]))
