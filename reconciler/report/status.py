"""What the state knows, for people at a terminal and for programs (`reconciler.status/v2`). Pure.

What must never happen in this room: a state that nobody keeps looks like one that is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter

from reconciler.model import (
    Phase,
    Reason,
    Record,
    RefusedSet,
    Resting,
    Revision,
    Seen,
    Size,
    instant,
    is_ordinary_end,
    is_past,
    urgency,
)
from reconciler.report.columns import UNBOUNDED, Column, age, byte_count, table, wrapped
from reconciler.report.refusals import refusal_data, refusal_line, refusal_of
from reconciler.report.text import Paint, plain
from reconciler.telemetry import visible

FORMAT = "reconciler.status/v2"
#: Below so many days of room it is time to act.
LEAST_DAYS = 30
#: On a terminal the end of a file's path is enough to know it by.
_PLACE = 60
_FOREIGN = frozenset({Reason.DRIFT.value, Reason.FOREIGN_PAUSE.value})
_COLUMNS = (
    Column("NAME"),
    Column("DESIRED", 1),
    Column("APPLIED", 3),
    Column("LIVE"),
    Column("PHASE"),
    Column("SINCE"),
    Column("SEEN", 4),
    Column("BY", 2),
    Column("WHERE", 5),
)


@dataclass(frozen=True, slots=True)
class StateSeen:
    """The state that was read."""

    #: Its address, absolute so that it is the same wherever it is read, and the file.
    url: str
    path: str
    writer: Seen | None
    size: Size | None
    #: Workspaces that are left alone.
    resting: Sequence[Resting]
    #: When it was read, aware.
    read_at: datetime
    #: What the safety limits refuse as a whole.
    refusals: Sequence[RefusedSet] = ()

    @property
    def blind(self) -> dict[str, Resting]:
        """Workspaces that are not looked at, by their IDs."""
        return {each.workspace_id: each for each in self.resting if each.blind}


def in_order(records: Sequence[Record]) -> list[Record]:
    """Return records with those first that somebody should look at first, and by name among equals."""
    keyed = [
        (urgency(record.phase, record.desired, ordinary_end=is_ordinary_end(record)), record.name, record)
        for record in records
    ]
    return [record for *_, record in sorted(keyed, key=itemgetter(0, 1))]


def current(records: Sequence[Record], now: datetime) -> list[Record]:
    """Return records without those whose calls ended by themselves, long enough ago that nobody asks any more."""
    return [record for record in records if not (is_ordinary_end(record) and is_past(record.phase_since, now))]


def author(record: Record, known: Mapping[str, Revision]) -> tuple[str, str] | None:
    """Return whose doing it is that a recording stands as it does: a kind and words; None where nobody knows."""
    if record.phase is Phase.DRIFTED and record.reason in (*_FOREIGN, ""):
        return "somebody", "somebody else, past this program"
    if record.revision is not None:
        revision = known.get(record.revision)
        words = f"commit {record.revision[:12]}"
        return "commit", words if revision is None else f"{words} by {revision.author}: {revision.subject}"
    if record.sent is not None or record.last_applied is not None:
        return "command", "files without a commit"
    return None


def status_data(
    state: StateSeen, records: Sequence[Record], known: Mapping[str, Revision], left_out: int
) -> dict[str, object]:
    """Return the state as the document of `--format json`."""
    writer, size = state.writer, state.size
    return {
        "format": FORMAT,
        "state": state.url,
        "writer": None
        if writer is None
        else {
            "alive": writer.alive,
            "since": instant(writer.since),
            "host": writer.host,
            "process": writer.process,
            "holder": writer.holder,
        },
        "stateBytes": None if size is None else size.bytes,
        "stateDaysLeft": None if size is None or size.days_left is None else round(size.days_left, 1),
        "resting": [
            {
                "workspaceId": each.workspace_id,
                "since": instant(each.since),
                "cause": each.cause,
                "reason": each.reason,
                "blind": each.blind,
            }
            for each in state.resting
        ],
        "refusals": [refusal_data(each) for each in state.refusals],
        "leftOut": left_out,
        "recordings": [_recording(record, known) for record in records],
    }


def _recording(record: Record, known: Mapping[str, Revision]) -> dict[str, object]:
    by = author(record, known)
    return {
        "name": record.name,
        "workspaceId": record.key.workspace_id,
        "channelId": record.key.channel_id,
        "callId": record.key.call_id,
        "recordingId": record.key.recording_id,
        "desired": record.desired.value,
        "lastApplied": record.last_applied,
        "appliedAt": _moment(record.applied_at),
        "sent": record.sent,
        "sentAt": _moment(record.sent_at),
        "acceptedAt": _moment(record.accepted_at),
        "confirmBy": _moment(record.confirm_by),
        "live": record.live,
        "observedAt": _moment(record.observed_at),
        "phase": record.phase.value,
        "reason": record.reason or None,
        "since": _moment(record.phase_since),
        "unmetSince": _moment(record.unmet_since),
        "by": None if by is None else {"kind": by[0], "text": by[1]},
        "labels": dict(record.labels),
        "policy": None,
        "resumeBy": None,
        "attempts": record.attempts,
        "dueAt": _moment(record.due_at),
        "error": record.error,
        "file": record.file,
        "base": record.base or None,
        "line": record.line,
        "revision": record.revision,
    }


def _moment(at: datetime | None) -> str | None:
    return None if at is None else instant(at)


def status_text(
    state: StateSeen,
    records: Sequence[Record],
    known: Mapping[str, Revision],
    *,
    left_out: int,
    width: int,
    paint: Paint = plain,
    narrowed: bool = False,
) -> str:
    """Return the state as text that fits a terminal: which state it is, who keeps it, then what is most urgent.

    Args:
        state: what was read, and when.
        records: in the order in which they are shown.
        known: the commits that they name.
        left_out: how many more there are, whose calls ended by themselves.
        width: of the terminal.
        paint: colours a text for its role.
        narrowed: whether a selection is why there are none.
    """
    lines = [*wrapped(_heading(state), width, ""), *wrapped(_kept(state), width, "")]
    days = None if state.size is None else state.size.days_left
    if days is not None and days < LEAST_DAYS:
        room = f"Its disk holds {days:.0f} more days of history at the present pace: make room, or keep less history."
        lines += [paint(line, "danger") for line in wrapped(room, width, "")]
    for each in state.resting:
        what = "not looked at" if each.blind else "sent nothing"
        text = f"Workspace {each.workspace_id} is {what} since {instant(each.since)}: {visible(each.reason)}"
        lines += [paint(line, "danger") for line in wrapped(text, width, "")]
    for refused in state.refusals:
        lines += [paint(line, "danger") for line in wrapped(f"Limit: {refusal_line(refused)}", width, "")]
    said = _said_above(state)
    shared = _shared_errors(records)
    for error, count in shared.items():
        if error not in said:
            lines += [paint(line, "danger") for line in wrapped(f"{count} recordings: {visible(error)}", width, "")]
    lines.append("")
    if records:
        place = UNBOUNDED if width == UNBOUNDED else _PLACE
        rows = [_row(record, known, state.read_at, place) for record in records]
        heading, *texts = table(_COLUMNS, rows, width)
        lines.append(paint(heading, "heading"))
        for record, text in zip(records, texts, strict=True):
            quiet = record.phase is Phase.APPLIED or is_ordinary_end(record)
            lines.append(text if quiet else paint(text, "change"))
            if record.error and record.error not in shared and record.error not in said:
                lines += [paint(line, "danger") for line in wrapped(visible(record.error), width)]
    elif narrowed:
        lines.append("No recording that the state knows is among those that were asked for.")
    elif not left_out:
        lines.append("No recordings are known yet: nothing has been applied.")
    if left_out:
        calls = "1 recording whose call" if left_out == 1 else f"{left_out} recordings whose calls"
        lines += wrapped(f"{calls} ended by itself over an hour ago: not shown; --all shows all.", width, "")
    return "\n".join(lines) + "\n"


def _shared_errors(records: Sequence[Record]) -> dict[str, int]:
    """Return the errors that stand under several recordings, each with how many: one cause is read once."""
    counts = Counter(record.error for record in records if record.error)
    return {error: count for error, count in counts.items() if count > 1}


def _said_above(state: StateSeen) -> set[str]:
    """Return the errors that the line of a workspace at rest, or of what a limit refuses, says for all at once."""
    return {each.reason for each in state.resting} | {str(refusal_of(each)) for each in state.refusals}


def _heading(state: StateSeen) -> str:
    if state.size is None:
        return f"State: {visible(state.path)}"
    days = state.size.days_left
    room = "" if days is None else f"; its disk holds {min(days, 99_999):.0f} more days of history"
    return f"State: {visible(state.path)} ({byte_count(state.size.bytes)}{room})"


def _kept(state: StateSeen) -> str:
    writer = state.writer
    if writer is None:
        return "No daemon is alive: this is what the last command left, and nothing keeps it so."
    whose = f"`{visible(writer.holder)}` (process {writer.process} on {visible(writer.host)}"
    if writer.alive:
        return f"Held by {whose}, since {instant(writer.since)})."
    return f"No daemon is alive: {whose}, since {instant(writer.since)}) ended without giving the state back."


def _row(record: Record, known: Mapping[str, Revision], now: datetime, place: int) -> tuple[str, ...]:
    by = author(record, known)
    where = f"{visible(record.file)}:{record.line}"
    return (
        visible(record.name),
        record.desired.value,
        record.last_applied or "-",
        visible(record.live or "-"),
        record.phase.value,
        age(record.phase_since or record.applied_at, now),
        age(record.observed_at, now),
        "-" if by is None else _short(by, record, known),
        where if len(where) <= place else f"...{where[3 - place :]}",
    )


def _short(by: tuple[str, str], record: Record, known: Mapping[str, Revision]) -> str:
    """Return who it was in a word or two: an author's name without the address, which `history` has."""
    if by[0] != "commit":
        return by[0]
    revision = known.get(record.revision or "")
    name = "" if revision is None else revision.author.partition("<")[0].strip()
    return visible(name)[:24] or (record.revision or "")[:12]
