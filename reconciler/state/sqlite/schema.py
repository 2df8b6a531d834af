"""The layout of the state file, version by version, and the way from any older one to the newest.

Migrations run forward only, each in one transaction, after a copy was made. A file that a newer program wrote, or that
is not ours at all, must never be touched.
"""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from reconciler.model import StoreError
from reconciler.state.sqlite import judgements
from reconciler.state.sqlite.connection import transaction

#: Marks the file as ours in its header ("RCNC"), so that another program's database is never mistaken for a state.
APPLICATION_ID: Final = 0x52434E43

#: Refuses to delete any line of the history; only `retention` lifts it, inside its own transaction.
HISTORY_GUARD: Final = """
    CREATE TRIGGER history_is_never_deleted BEFORE DELETE ON history
    BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END
    """

_VERSION_1: Final = (
    # The columns of the state lease are read before a migration decides anything: later versions may add to them, and
    # never take any away.
    """
    CREATE TABLE lease (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        token TEXT NOT NULL,            -- random, known to the holder alone
        host TEXT NOT NULL,
        machine TEXT NOT NULL,          -- boot and process namespace; empty where they cannot be known
        pid INTEGER NOT NULL,
        pid_started TEXT NOT NULL,      -- tells a process from a later one of the same number; empty where unknown
        holder TEXT NOT NULL,           -- the command, for people
        acquired_at INTEGER NOT NULL,   -- all times: microseconds since 1970, UTC
        lasts INTEGER NOT NULL,         -- microseconds from one extension to the end
        expires_at INTEGER NOT NULL,
        expires_elapsed INTEGER NOT NULL  -- the same moment in microseconds since the machine's start
    ) STRICT
    """,
    """
    CREATE TABLE recordings (
        workspace_id TEXT NOT NULL,
        channel_id TEXT NOT NULL,
        call_id TEXT NOT NULL,
        recording_id TEXT NOT NULL,
        name TEXT NOT NULL,
        file TEXT NOT NULL,
        line INTEGER NOT NULL,
        desired TEXT NOT NULL,
        drift TEXT NOT NULL,
        suspend_reason TEXT,
        suspend_until INTEGER,
        phase TEXT NOT NULL,
        last_applied TEXT,
        applied_at INTEGER,
        sent TEXT,
        sent_at INTEGER,
        accepted_at INTEGER,
        confirm_by INTEGER,
        live TEXT,
        observed_at INTEGER,
        rejected TEXT,
        rejected_live TEXT,
        attempts INTEGER NOT NULL,
        due_at INTEGER,
        error TEXT NOT NULL,
        revision TEXT,
        PRIMARY KEY (workspace_id, channel_id, call_id, recording_id)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE history (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        event TEXT NOT NULL,
        workspace_id TEXT NOT NULL,
        channel_id TEXT NOT NULL,
        call_id TEXT NOT NULL,
        recording_id TEXT NOT NULL,
        name TEXT NOT NULL,
        cause TEXT NOT NULL,
        revision TEXT,
        from_status TEXT,
        to_status TEXT,
        requested_at INTEGER,
        request_ms REAL,
        answer TEXT,
        outcome TEXT,
        irreversible INTEGER NOT NULL,
        resumes_foreign INTEGER NOT NULL,
        run_id TEXT NOT NULL,
        detail TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX history_by_name ON history (name)",
    "CREATE INDEX history_patches ON history (at) WHERE event = 'patch_sent'",
    """
    CREATE TRIGGER history_is_never_changed BEFORE UPDATE ON history
    BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END
    """,
    HISTORY_GUARD,
    # A count kept as rows come and go: the safety limits ask for it at every decision, among 100,000 rows.
    "CREATE TABLE totals (id INTEGER PRIMARY KEY CHECK (id = 1), last_applied INTEGER NOT NULL) STRICT",
    "INSERT INTO totals VALUES (1, 0)",
    """
    CREATE TRIGGER totals_insert AFTER INSERT ON recordings WHEN new.last_applied IS NOT NULL
    BEGIN UPDATE totals SET last_applied = last_applied + 1; END
    """,
    """
    CREATE TRIGGER totals_delete AFTER DELETE ON recordings WHEN old.last_applied IS NOT NULL
    BEGIN UPDATE totals SET last_applied = last_applied - 1; END
    """,
    """
    CREATE TRIGGER totals_update AFTER UPDATE ON recordings
    WHEN (old.last_applied IS NULL) <> (new.last_applied IS NULL)
    BEGIN UPDATE totals SET last_applied = last_applied + iif(new.last_applied IS NULL, -1, 1); END
    """,
    f"PRAGMA application_id = {APPLICATION_ID}",
)

_VERSION_2: Final = (
    # Whose commits stand in the history, and what they say of themselves: a mirror may be gone when somebody asks.
    """
    CREATE TABLE revisions (
        id TEXT PRIMARY KEY,
        author TEXT NOT NULL,
        subject TEXT NOT NULL,
        committed_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    # What later commits are judged against, wherever they come from: the mirror that it was read from may be another.
    """
    CREATE TABLE source (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        revision TEXT NOT NULL,
        judged INTEGER NOT NULL
    ) STRICT
    """,
)

_VERSION_3: Final = (
    # What a record's file is relative to, what the document was labelled, and since when what holds.
    "ALTER TABLE recordings ADD COLUMN base TEXT NOT NULL DEFAULT ''",
    # Of a state that has followed a Git source, no command that reads files may take the records for its own.
    "UPDATE recordings SET base = 'git' WHERE EXISTS (SELECT 1 FROM source)",
    "ALTER TABLE recordings ADD COLUMN labels TEXT NOT NULL DEFAULT ''",  # a JSON object; empty for none
    "ALTER TABLE recordings ADD COLUMN reason TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE recordings ADD COLUMN phase_since INTEGER",
    "ALTER TABLE recordings ADD COLUMN unmet_since INTEGER",
    "ALTER TABLE recordings ADD COLUMN missing_since INTEGER",
    "ALTER TABLE recordings ADD COLUMN first_sent_at INTEGER",
    "ALTER TABLE recordings ADD COLUMN restored INTEGER NOT NULL DEFAULT 0",
    # Who did it and why, and until when the status before was seen: intervals are proven by both ends.
    "ALTER TABLE history ADD COLUMN reason TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE history ADD COLUMN by_kind TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE history ADD COLUMN by_text TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE history ADD COLUMN last_seen TEXT",
    "ALTER TABLE history ADD COLUMN last_seen_at INTEGER",
    "CREATE INDEX history_by_recording ON history (recording_id)",
    "CREATE INDEX history_by_call ON history (call_id)",
    "CREATE INDEX history_by_time ON history (at)",
    # Workspaces that are left alone: of none of their recordings is anything known that is newer. One row of each, for
    # they may have a hundred thousand recordings.
    """
    CREATE TABLE resting (
        workspace_id TEXT PRIMARY KEY,
        since INTEGER NOT NULL,
        cause TEXT NOT NULL,            -- key_refused, api_away or patches_fail
        reason TEXT NOT NULL,           -- in words
        blind INTEGER NOT NULL          -- whether they are not looked at either; else only PATCHes wait
    ) STRICT, WITHOUT ROWID
    """,
    # What is asked of the process that holds the state: written by any other, taken and answered by that one.
    """
    CREATE TABLE requests (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        kind TEXT NOT NULL CHECK (length(kind) <= 64),       -- the command, such as approve or sync
        about TEXT NOT NULL CHECK (length(about) <= 65536),  -- a JSON object: what the command was given
        by TEXT NOT NULL CHECK (length(by) <= 256),          -- the system's user who asks
        reason TEXT NOT NULL CHECK (length(reason) <= 1000),
        taken_at INTEGER,
        outcome TEXT,                   -- done, refused or withdrawn
        answer TEXT                     -- a JSON object
    ) STRICT
    """,
    "CREATE INDEX requests_by_time ON requests (at)",
    "CREATE INDEX requests_open ON requests (at) WHERE taken_at IS NULL AND outcome IS NULL",
    *judgements.TABLES,
)

#: The statements that lead from version n to n + 1, at index n. Append to it; never change what has been released.
MIGRATIONS: tuple[tuple[str, ...], ...] = (_VERSION_1, _VERSION_2, _VERSION_3)


#: What SQLite keeps for itself in any file.
_SQLITE_S_OWN: Final = frozenset({("table", "sqlite_sequence"), ("table", "sqlite_stat1"), ("table", "sqlite_stat4")})
#: Of what does not belong into a file so many things are named.
_MOST_NAMED: Final = 5
_COMMENT: Final = re.compile(r"--[^\n]*")
#: Digests over what each layout consists of, by its version. A file that has one of them holds nothing foreign, and a
#: process need not build that layout in memory to find out, which takes longer than all else that opens a file.
KNOWN_DIGESTS: Final = {
    1: "0ba9426e44559d6187f283d7f83e497c99b46b785d9cfb2cc4a3b05265d5954c",
    2: "f8c21bbde0b44d59c8b86e215b18f5381be037e280c95b242681b84801e7b772",
    3: "e2645943f40e6ddd0c569decf9e6c9ed81d51680381ef28122272f1609789b9e",
}


def layout_version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the layout's version, 0 for a file that holds nothing yet.

    Raises:
        StoreError: the file was written by a newer program, is another program's database, or holds a trigger, a view
            or anything else that the layout does not: to read a row might then run whatever somebody put there, for
            ever.
    """
    version = version_of(connection, path)
    if version and (foreign := foreign_parts(connection, version)):
        raise StoreError(
            f"{path} holds what no reconciler put there: {', '.join(foreign)}. Nothing of it is read; see "
            "`reconciler state check`, and put a backup in its place or take away what is foreign"
        )
    return version


def version_of(connection: sqlite3.Connection, path: Path) -> int:
    """Return the layout's version by the file's header alone, 0 for a file that holds nothing yet.

    Raises:
        StoreError: the file was written by a newer program, or is another program's database.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    if owner != APPLICATION_ID:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if tables or version:
            raise StoreError(
                f"{path} is the database of another program, not a state file: name another file with --state"
            )
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path} was written by a newer reconciler (layout {version}; this one knows {len(MIGRATIONS)}): "
            "use that version, or name another file with --state"
        )
    return int(version)


def foreign_parts(connection: sqlite3.Connection, version: int) -> list[str]:
    """Name what a file holds beside the layout of that version, or otherwise than it; a few of them, in words."""
    found = _parts(connection)
    if KNOWN_DIGESTS.get(version) == _digest(found):
        return []
    expected = _layout(version)
    return [
        f"the {kind} {name}" if (kind, name) not in expected else f"another {kind} {name}"
        for kind, name, text in found
        if expected.get((kind, name)) != text and (kind, name) not in _SQLITE_S_OWN
    ][:_MOST_NAMED]


def missing_parts(connection: sqlite3.Connection, version: int) -> list[str]:
    """Name what the layout of a version holds and a file does not; a few of them, in words."""
    found = {(kind, name) for kind, name, _ in _parts(connection)}
    return [f"the {kind} {name}" for kind, name in _layout(version) if (kind, name) not in found][:_MOST_NAMED]


def digest(version: int) -> str:
    """Return what `KNOWN_DIGESTS` says of a layout, computed anew."""
    return _digest([(kind, name, text) for (kind, name), text in _layout(version).items()])


def _digest(parts: list[tuple[str, str, str]]) -> str:
    ours = sorted(part for part in parts if part[:2] not in _SQLITE_S_OWN)
    return sha256(repr(ours).encode()).hexdigest()


@cache
def _layout(version: int) -> dict[tuple[str, str], str]:
    """Return what a file of a layout consists of: by its kind and name, what made it."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        for statements in MIGRATIONS[:version]:
            for statement in statements:
                made.execute(statement)
        return {(kind, name): text for kind, name, text in _parts(made)}


def _parts(connection: sqlite3.Connection) -> list[tuple[str, str, str]]:
    # The rows of `sqlite_schema` are text that is only read here: nothing that stands in them is run by that.
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema LIMIT 1000").fetchall()
    return [(str(kind), str(name), f"{table}: {_plain(str(text or ''))}") for kind, name, table, text in rows]


@lru_cache(maxsize=256)
def _plain(text: str) -> str:
    """Return a statement without its comments and the way it is laid out, in which two of the same may differ."""
    return " ".join(_COMMENT.sub("", text).split())


def create(connection: sqlite3.Connection, path: Path) -> int:
    """Give an empty file the first layout, in which the state lease can be taken. Return the version found before."""
    found = layout_version(connection, path)
    if found == 0:
        _step(connection, path, 1)
    return found


def migrate(connection: sqlite3.Connection, path: Path, *, keep_copy: bool) -> None:
    """Bring the file to the newest layout. Call it with the state lease held.

    Args:
        keep_copy: write `<file>.v<version>.bak` first, for a file that held something before.
    """
    version = layout_version(connection, path)
    if version == len(MIGRATIONS):
        return
    if keep_copy:
        _copy(connection, path.with_name(f"{path.name}.v{version}.bak"))
    for target in range(version + 1, len(MIGRATIONS) + 1):
        _step(connection, path, target)


def _step(connection: sqlite3.Connection, path: Path, target: int) -> None:
    with transaction(connection):
        # Asked again inside: who was stopped for longer than its lease may find the step made by another.
        if layout_version(connection, path) < target:
            for statement in MIGRATIONS[target - 1]:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {target}")


def _copy(connection: sqlite3.Connection, target: Path) -> None:
    # Made complete under another name, so that a copy cut short is never taken for a copy.
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    with closing(sqlite3.connect(part)) as copy:
        connection.backup(copy)
    part.replace(target)
