"""Copies of a state: made beside a living writer, whole and consistent, and marked as what they are.

A copy is complete before it has its name. It holds nobody's state lease, and its records say that they come out of a
backup: of what happened after it nobody knows. What must never happen in this room: a file that was there is replaced
without being asked for, or something half made stands under the name of a backup.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from reconciler.model import StoreError
from reconciler.settings import check_inside, state_path
from reconciler.state.sqlite import connection as files
from reconciler.state.sqlite import schema

#: Pages in one step: between two steps the writer is let in, and what it writes is taken along.
_PAGES = 4096


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds."""

    path: Path
    bytes: int
    recordings: int
    events: int


def back_up(url: str, target: Path, *, force: bool) -> Backup:
    """Copy a state to a file of mode 0600, beside a running daemon or without one.

    Args:
        url: as for `open_store`.
        target: the file to make; its folder must be there.
        force: replace a file of that name.

    Raises:
        StoreError: there is no state, the copy is not whole, or the file cannot be made or is there already.
    """
    path = state_path(url)
    if files.identity(path) is None:
        raise StoreError(f"there is no state at {path}: nothing is backed up")
    if not force and os.path.lexists(target):
        raise StoreError(f"{target} is there already: name another file, or replace it with --force")
    with files.explained(target):
        check_inside(target.parent)
    if target.is_dir():
        raise StoreError(f"{target} is a folder: name a file in it")
    part = target.with_name(f".{target.name[:200]}.{os.urandom(8).hex()}.new")
    try:
        with files.explained(path):
            source, _ = files.open_as_it_is(path)
            with closing(source):
                _check(source, path)
                _copy(source, part)
        with files.explained(target):
            recordings, events = _prepare(part)
            size = part.stat().st_size
            _put_in_place(part, target, force=force)
    except BaseException:
        for left in (part, *(part.with_name(f"{part.name}{end}") for end in ("-wal", "-shm", "-journal"))):
            with suppress(OSError):
                left.unlink()
        raise
    return Backup(target, size, recordings, events)


def _check(source: sqlite3.Connection, path: Path) -> None:
    if schema.layout_version(source, path) == 0:
        raise StoreError(f"{path} holds nothing yet: nothing is backed up")


def _copy(source: sqlite3.Connection, part: Path) -> None:
    try:
        descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"{part.parent} cannot take a backup: {error.strerror}") from error
    with os.fdopen(descriptor):
        os.fchmod(descriptor, 0o600)  # whatever the umask took away
    with closing(sqlite3.connect(part)) as copy:
        source.backup(copy, pages=_PAGES)


def _prepare(part: Path) -> tuple[int, int]:
    """Bring a copy to the newest layout, mark it, make it one file, and prove that it is whole."""
    with closing(files.open_for_writing(part, schema.layout_version)) as copy:
        schema.migrate(copy, part, keep_copy=False)
        with files.transaction(copy):
            copy.execute("DELETE FROM lease")
            copy.execute("UPDATE recordings SET restored = 1")
        faults = [text for (text,) in copy.execute("PRAGMA integrity_check(1)") if text != "ok"]
        if faults:
            raise StoreError(f"the copy is not whole ({faults[0]}): run `reconciler state check`")
        counts = [copy.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("recordings", "history")]  # noqa: S608 (constants)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file: nothing of it is left in a log
    return counts[0], counts[1]


def _put_in_place(part: Path, target: Path, *, force: bool) -> None:
    descriptor = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if force:
        part.replace(target)
    else:
        try:
            os.link(part, target)  # unlike a rename it replaces nothing, whoever was faster
        except FileExistsError:
            raise StoreError(f"{target} is there already: name another file, or replace it with --force") from None
        part.unlink()
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
