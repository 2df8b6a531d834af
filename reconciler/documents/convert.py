"""Validated values to `Desired`. Whatever comes here has passed the schema; nothing here checks a second time."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

from reconciler.model import Desired, Drift, RecordingKey, Status, Suspend
from reconciler.scrub import scrub

_DATE_TIME: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?(?:[Zz]|([-+])([0-9]{2}):([0-9]{2}))"
)
_STATUS: Final = {status.value: status for status in Status}
_DRIFT: Final = {drift.value: drift for drift in Drift}


def parse_date_time(text: str) -> datetime:
    """Read a date and time with a zone (RFC 3339) as UTC. Digits past the microsecond are dropped.

    Raises:
        ValueError: the text has another form, or names no moment of the calendar. A leap second is none to Python.
    """
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        raise ValueError("not of the form 2026-12-01T00:00:00Z")
    *parts, fraction, sign, hours, minutes = match.groups()
    zone = UTC
    if sign is not None:
        if int(hours) > 23 or int(minutes) > 59:
            raise ValueError("no such time zone")
        offset = timedelta(hours=int(hours), minutes=int(minutes))
        zone = timezone(-offset if sign == "-" else offset)
    year, month, day, hour, minute, second = map(int, parts)
    microsecond = int((fraction or "0")[:6].ljust(6, "0"))
    try:
        moment = datetime(year, month, day, hour, minute, second, microsecond, tzinfo=zone)
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("out of the calendar's range") from error


def is_date_time(text: str) -> bool:
    """Say whether `parse_date_time` can read it: what `format: date-time` means to the gate and to the explainer."""
    try:
        parse_date_time(text)
    except ValueError:
        return False
    return True


def recording(document: dict[str, Any], file: str, line: int) -> Desired:
    """Convert a document of kind `CallRecording`."""
    spec = document["spec"]
    return Desired(
        # Workspaces and channels are few and named by every recording: interned, they take no memory.
        RecordingKey(
            sys.intern(spec["workspaceId"].lower()),
            sys.intern(spec["channelId"].lower()),
            spec["callId"].lower(),
            spec["recordingId"].lower(),
        ),
        document["metadata"]["name"],
        _STATUS[spec["status"]],
        file,
        line,
        _DRIFT[spec.get("drift", "safe")],
        _suspend(spec.get("suspend")),
    )


def recordings(document: dict[str, Any], file: str, item_lines: list[int]) -> Iterator[Desired]:
    """Convert a document of kind `CallRecordingSet`."""
    spec = document["spec"]
    prefix = f"{document['metadata']['name']}/"
    workspace_id = sys.intern(spec["workspaceId"].lower())
    channel_id = sys.intern(spec["channelId"].lower())
    drift = _DRIFT[spec.get("drift", "safe")]
    for item, line in zip(spec["recordings"], item_lines, strict=True):
        yield Desired(
            RecordingKey(workspace_id, channel_id, item["callId"].lower(), item["recordingId"].lower()),
            prefix + item["name"],
            _STATUS[item["status"]],
            file,
            line,
            _DRIFT[item["drift"]] if "drift" in item else drift,
            _suspend(item.get("suspend")),
        )


def _suspend(value: dict[str, str] | None) -> Suspend | None:
    # The one free text that is recorded: people write numbers of callers into reasons.
    return None if value is None else Suspend(scrub(value["reason"]), parse_date_time(value["until"]))
