"""What a state holds after some weeks: a record for each thing that can have become of a recording."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any

from reconciler.model.keys import RecordingKey
from reconciler.model.records import Record
from reconciler.model.statuses import Phase, Status
from tests.world.ids import numbered

COMMIT = "0a6a9bfae71c" + "0" * 28
LONG = "l" * 253


def before(now: datetime, **span: float) -> datetime:
    return now - timedelta(**span)


def key(number: int, call: int | None = None) -> RecordingKey:
    return RecordingKey.of(
        numbered(1), numbered(2), numbered(1000 + number if call is None else call), numbered(number)
    )


def record(now: datetime, number: int, name: str, **changes: Any) -> Record:
    plain = Record(
        *(key(number), name, f"rec/{name}.yaml", 3, Status.PAUSED),
        phase=Phase.APPLIED,
        last_applied=Status.PAUSED,
        applied_at=before(now, days=2),
        live="paused",
        observed_at=before(now, minutes=2),
        phase_since=before(now, days=2),
        reason="in_sync",
        base="/srv",
    )
    return plain._replace(**changes)


def records(now: datetime) -> list[Record]:
    ago = partial(before, now)
    return [
        record(now, 1, "held", phase=Phase.HELD, reason="suspended", live="ongoing"),
        record(now, 2, "kept", labels=(("team", "billing"),)),
        record(
            now, 3, "stuck", phase=Phase.UNCONFIRMED, live="ongoing", error="accepted, but not paused within 30 s " * 4
        ),
        record(now, 4, "left", phase=Phase.ENDED, reason="ended", live="available", phase_since=ago(hours=2)),
        record(now, 5, "just-left", phase=Phase.ENDED, reason="ended", live="available", phase_since=ago(minutes=5)),
        record(now, 6, "too-late", phase=Phase.ENDED, reason="ended_before_effect", phase_since=ago(days=3)),
        record(
            now,
            7,
            "agent",
            phase=Phase.DRIFTED,
            reason="foreign_pause",
            phase_since=ago(minutes=7),
            revision=COMMIT,
        ),
        record(now, 8, LONG, revision=COMMIT),
        record(now, 9, "sets/a-1", labels=(("shift", "late"), ("team", "billing"))),
    ]
