"""Validated values to `Desired`. Whatever comes here has passed the schema; nothing here checks a second time."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

from reconciler.desired.labels import labels_of
from reconciler.model import Desired, Drift, RecordingKey, Status, Suspend
from reconciler.telemetry import scrub

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


def recording(document: dict[str, Any], file: str, line: int, status_lines: Mapping[int, int]) -> Desired:
    """Convert a document of kind `CallRecording`.

    Args:
        document: it.
        file: its path as it shall be shown.
        line: where it begins.
        status_lines: where a mapping has its field `status`, by the identity of the mapping.
    """
    metadata, spec = document["metadata"], document["spec"]
    return Desired(
        # Workspaces and channels are few and named by every recording: interned, they take no memory.
        RecordingKey(
            sys.intern(spec["workspaceId"].lower()),
            sys.intern(spec["channelId"].lower()),
            spec["callId"].lower(),
            spec["recordingId"].lower(),
        ),
        metadata["name"],
        _STATUS[spec["status"]],
        file,
        status_lines[id(spec)],
        _DRIFT[spec.get("drift", "safe")],
        _suspend(spec.get("suspend")),
        labels_of(tuple(metadata["labels"].items())) if "labels" in metadata else (),
        line,
    )


def recordings(
    document: dict[str, Any], file: str, item_lines: list[int], status_lines: Mapping[int, int]
) -> Iterator[Desired]:
    """Convert a document of kind `CallRecordingSet`; each of its recordings has the labels of the set."""
    metadata, spec = document["metadata"], document["spec"]
    prefix = f"{metadata['name']}/"
    labels = labels_of(tuple(metadata["labels"].items())) if "labels" in metadata else ()
    workspace_id = sys.intern(spec["workspaceId"].lower())
    channel_id = sys.intern(spec["channelId"].lower())
    drift = _DRIFT[spec.get("drift", "safe")]
    for item, line in zip(spec["recordings"], item_lines, strict=True):
        yield Desired(
            RecordingKey(workspace_id, channel_id, item["callId"].lower(), item["recordingId"].lower()),
            prefix + item["name"],
            _STATUS[item["status"]],
            file,
            status_lines[id(item)],
            _DRIFT[item["drift"]] if "drift" in item else drift,
            _suspend(item.get("suspend")),
            labels,
            line,
        )


def _suspend(value: dict[str, str] | None) -> Suspend | None:
    # The one free text that is recorded: people write numbers of callers into reasons.
    return None if value is None else Suspend(scrub(value["reason"]), parse_date_time(value["until"]))
