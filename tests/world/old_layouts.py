"""State files as earlier versions made them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from uuid import UUID

from reconciler.model.keys import RecordingKey
from reconciler.state.sqlite import schema


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def key(number: int) -> RecordingKey:
    return RecordingKey.of(*(str(UUID(int=part)) for part in (1, 2, number // 3, number)))


def old_layout(path: Path, layout: int) -> None:
    """Make a state as the version that wrote this layout did: its own columns, and nothing of later ones."""
    path.parent.mkdir(mode=0o700)
    with closing(sqlite3.connect(path)) as old:
        old.execute("PRAGMA journal_mode = WAL")
        for statement in (each for steps in schema.MIGRATIONS[:layout] for each in steps):
            old.execute(statement)
        for number, phase, live in ((0, "applied", "paused"), (1, "confirming", None), (2, "held", "ongoing")):
            sent = (None, None, None, None) if number != 1 else ("paused", 5_000_000, 6_000_000, 36_000_000)
            suspend = ("incident 4411", 1_900_000_000_000_000) if phase == "held" else (None, None)
            applied = ("paused", 7_000_000) if phase == "applied" else (None, None)
            old.execute(
                "INSERT INTO recordings (workspace_id, channel_id, call_id, recording_id, name, file, line, desired,"
                " drift, suspend_reason, suspend_until, phase, last_applied, applied_at, sent, sent_at, accepted_at,"
                " confirm_by, live, observed_at, rejected, rejected_live, attempts, due_at, error, revision)"
                f" VALUES ({', '.join('?' * 26)})",
                (
                    *(*key(number), f"card-{number}", "desired_state/cards.yaml", number, "paused", "safe", *suspend),
                    *(phase, *applied, *sent, live, 8_000_000, None, None, number, None, "", "c" * 40),
                ),
            )
            old.execute(
                "INSERT INTO history (at, event, workspace_id, channel_id, call_id, recording_id, name, cause,"
                " revision, from_status, to_status, requested_at, request_ms, answer, outcome, irreversible,"
                f" resumes_foreign, run_id, detail) VALUES ({', '.join('?' * 19)})",
                (
                    *(5_000_000 + number, "patch_sent", *key(number), f"card-{number}", "edit", "c" * 40, "ongoing"),
                    *("paused", 5_000_000, 12.5, "202", None, 0, 1, "run-1", "a word"),
                ),
            )
        if layout >= 2:
            old.execute("INSERT INTO revisions VALUES (?, 'Ada <ada@example.org>', 'Pause', 4000000)", ("c" * 40,))
        old.execute(f"PRAGMA user_version = {layout}")
        old.commit()
