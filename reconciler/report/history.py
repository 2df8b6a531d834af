"""What happened, and what it proves, for people at a terminal and for programs (`reconciler.history/v2`). Pure.

What must never happen in this room: an arrow between two statuses of which one was only wished for, or a stretch of
time that is called proven although no two looks enclose it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from reconciler.model import NO_RECORDING, Event, Line, RecordingKey, Revision, instant
from reconciler.plan import Look, Stretch, what_happened
from reconciler.telemetry import visible

FORMAT = "reconciler.history/v2"
#: Events that tell of one status, not of a way from one to another.
_SINGLE: Final = frozenset({"released", "in_sync", "suspended"})
#: The IDs of an event that is about no recording, such as what somebody asked the daemon for.
_NO_IDS: Final = dict.fromkeys(("workspaceId", "channelId", "callId", "recordingId"))


class Subject(NamedTuple):
    """A recording whose evidence is asked for, and the last name that it had."""

    key: RecordingKey
    name: str


class Then(NamedTuple):
    """What is known of one moment: the stretch that encloses it, and the looks beside it."""

    subject: Subject
    at: datetime
    stretch: Stretch | None
    before: Look | None
    after: Look | None


def event_line(event: Event, known: Mapping[str, Revision]) -> str:
    """Return an event in one line: when, what, to which recording, from what to what, why, by whom."""
    parts = [instant(event.at), f"{event.event:<14}", visible(event.name), _way(event)]
    why = event.cause or event.reason
    if why:
        parts.append(f"({visible(why)})")
    if event.answer:
        took = "" if event.request_ms is None else f" in {event.request_ms:.0f} ms"
        parts.append(f"answer {visible(event.answer)}{took}")
    if event.detail:
        parts.append(visible(event.detail))
    if event.last_seen is not None and event.last_seen_at is not None:
        parts.append(f"last seen {visible(event.last_seen)} at {instant(event.last_seen_at)}")
    if event.revision is not None:
        revision = known.get(event.revision)
        whose = "" if revision is None else f" by {revision.author}: {revision.subject}"
        parts.append(visible(f"commit {event.revision[:12]}{whose}"))
    if event.by_kind and event.by_kind != "commit":
        asked = f": {event.reason}" if event.key == NO_RECORDING and event.reason else ""
        parts.append(visible(f"by {event.by_text or event.by_kind}{asked}"))
    return "  ".join(part for part in parts if part)


def _way(event: Event) -> str:
    before, after = what_happened(event)
    if event.event in _SINGLE or before == after:
        return visible(after or "")
    return f"{visible(before or '?')} -> {visible(after or '?')}"


def event_data(line: Line, known: Mapping[str, Revision]) -> dict[str, object]:
    """Return an event as one of the JSON document's list."""
    event = line.event
    revision = known.get(event.revision or "")
    before, after = what_happened(event)
    return {
        "seq": line.seq,
        "at": instant(event.at),
        "event": event.event,
        "name": event.name or None,
        **(_NO_IDS if event.key == NO_RECORDING else _ids(event.key)),
        "cause": event.cause,
        "reason": event.reason or None,
        "by": {"kind": event.by_kind, "text": event.by_text} if event.by_kind else None,
        "revision": event.revision,
        "author": None if revision is None else revision.author,
        "subject": None if revision is None else revision.subject,
        "from": before,
        "to": after,
        "lastSeen": event.last_seen,
        "lastSeenAt": _moment(event.last_seen_at),
        "requestedAt": _moment(event.requested_at),
        "requestMs": event.request_ms,
        "answer": event.answer,
        "outcome": event.outcome,
        "irreversible": event.irreversible,
        "resumesForeign": event.resumes_foreign,
        "runId": event.run_id,
        "detail": event.detail,
        "policy": None,
        "claim": None,
        "source": None,
        "doubt": None,
        "resumeBy": None,
        "replica": None,
        "epoch": None,
    }


def stretch_lines(subject: Subject, stretches: Sequence[Stretch]) -> Iterator[str]:
    """Yield a recording's stretches of time as lines: proven ones, and the gaps between them with what bounds them."""
    yield f"{visible(subject.name)}  recording {subject.key.recording_id}  call {subject.key.call_id}"
    for at, each in enumerate(stretches):
        span = f"  {instant(each.start)} to {instant(each.end)}"
        if each.status is None:
            before = stretches[at - 1].status if at else None
            after = stretches[at + 1].status if at + 1 < len(stretches) else None
            yield f"{span}  not proven: {_between(before, after)}"
        elif each.start == each.end:
            yield f"{span}  {visible(each.status)}, seen once"
        else:
            yield f"{span}  {visible(each.status)}, proven"


def _between(before: str | None, after: str | None) -> str:
    if before is None and after is None:
        return "nobody looked"
    if before is None:
        return f"no look before in that time, {visible(after or '')} at its end"
    if after is None:
        return f"{visible(before)} at its beginning, no look since in that time"
    return f"{visible(before)} at its beginning, {visible(after)} at its end"


def then_line(then: Then) -> str:
    """Return what is known of one moment as a line."""
    name = visible(then.subject.name)
    if then.stretch is not None and then.stretch.status is not None:
        what = visible(then.stretch.status)
        return f"{name}  {what}, proven from {instant(then.stretch.start)} to {instant(then.stretch.end)}"
    looks = [
        f"{words} {visible(look.status or '')} at {instant(look.at)}"
        for words, look in (("last seen", then.before), ("next seen", then.after))
        if look is not None
    ]
    return f"{name}  not proven: {', '.join(looks) or 'nobody looked'}"


def stretch_data(subject: Subject, stretch: Stretch) -> dict[str, object]:
    """Return a stretch of time as one of the JSON document's list."""
    return {
        "name": subject.name,
        **_ids(subject.key),
        "status": stretch.status,
        "from": instant(stretch.start),
        "until": instant(stretch.end),
    }


def then_data(then: Then) -> dict[str, object]:
    """Return what is known of one moment as one of the JSON document's list."""
    return {
        "name": then.subject.name,
        **_ids(then.subject.key),
        "at": instant(then.at),
        "status": None if then.stretch is None else then.stretch.status,
        "from": None if then.stretch is None else instant(then.stretch.start),
        "until": None if then.stretch is None else instant(then.stretch.end),
        "lastSeen": None if then.before is None else then.before.status,
        "lastSeenAt": None if then.before is None else instant(then.before.at),
        "nextSeen": None if then.after is None else then.after.status,
        "nextSeenAt": None if then.after is None else instant(then.after.at),
    }


def _ids(key: RecordingKey) -> dict[str, str]:
    return {
        "workspaceId": key.workspace_id,
        "channelId": key.channel_id,
        "callId": key.call_id,
        "recordingId": key.recording_id,
    }


def _moment(at: datetime | None) -> str | None:
    return None if at is None else instant(at)
