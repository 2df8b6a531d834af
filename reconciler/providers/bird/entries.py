"""What the objects of Bird's answers say: recordings, calls, and the time of a call. Pure.

What must never happen here: a word from outside that goes on into a log or the state unscrubbed, or a call that counts
as ended without the API having said so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from reconciler.model import UUID_PATTERN, Live, LiveStatus
from reconciler.telemetry import scrub

#: How much earlier and later than its call a recording may be dated, so that clocks which disagree do not hide it.
LOOKUP_MARGIN: Final = timedelta(minutes=5)

#: Call statuses after which nothing is recorded any more (assumed); others, unknown ones too, count as under way.
ENDED_CALL: Final = frozenset({"completed", "no-answer", "busy", "failed"})


def as_live(
    entry: Mapping[str, Any], asked_at: datetime, *, active: bool = True, detail: str = "", ended: bool = False
) -> Live:
    """Read a recording: what is live."""
    word = entry.get("status")
    if not isinstance(word, str):
        word = ""
    live = Live.from_word(word, asked_at, active=active, detail=detail, ended=ended)
    if live.status is not LiveStatus.UNKNOWN:
        return live
    # A word of any length and kind, from outside, on its way into logs and the state.
    return Live.from_word(scrub(word, ""), asked_at, active=active, detail=detail, ended=ended)


def lower(identifier: object) -> str:
    """Return an identifier in lower case; empty where it is none."""
    return identifier.lower() if isinstance(identifier, str) else ""


def is_uuid(text: str) -> bool:
    """Return whether a text is a UUID."""
    return re.fullmatch(UUID_PATTERN, text) is not None


def call_word(record: Mapping[str, Any]) -> str:
    """Return Bird's word for the status of a call, safe to repeat; empty where there is none."""
    word = record.get("status")
    return scrub(word, "")[:64] if isinstance(word, str) else ""


def has_ended(record: Mapping[str, Any] | None) -> bool:
    """Return whether the API says of a call that it has ended. That it does not know the call proves nothing."""
    return record is not None and (call_word(record) in ENDED_CALL or bool(record.get("endedAt")))


def gone_detail(record: Mapping[str, Any] | None) -> str:
    """Say about a call in words why a recording of it may not be there."""
    if record is None:
        return "Bird does not know the call: check workspaceId, channelId and callId, and that the key may view calls"
    word = call_word(record)
    if has_ended(record):
        return f"the call has ended ({word or 'without a status'}) and the workspace has no such recording"
    return f"the call is {word or 'without a status'} but has no such recording: check recordingId"


def period(record: Mapping[str, Any] | None) -> str:
    """Return query parameters for the time of a call, as far as it is known."""
    query = ""
    for parameter, field, margin in (
        ("startAt", "createdAt", -LOOKUP_MARGIN),
        ("endAt", "endedAt", LOOKUP_MARGIN),
    ):
        text = record.get(field) if record is not None else None
        try:
            moment = datetime.fromisoformat(text) if isinstance(text, str) else None
            if moment is not None and moment.tzinfo is not None:
                query += f"&{parameter}={(moment + margin).astimezone(UTC):%Y-%m-%dT%H:%M:%S.000Z}"
        except (ValueError, OverflowError):
            continue
    return query
