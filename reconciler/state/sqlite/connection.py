"""How the state file is made and opened, and what SQLite's errors mean to a person.

Files are readable by their owner alone. Nothing here may open the file except through SQLite once a connection exists:
closing any other descriptor of it would drop the process's locks, and with them the protection of its data.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from reconciler.model import StoreError
from reconciler.settings import make_state_folder

#: For a writer. FULL, since an intent must be on disk before its PATCH leaves.
WRITER_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
)
#: The write-ahead log may grow to 16 MiB before it is folded into the file: records lie scattered, and each fold writes
#: every touched page once. On a small file system it may take a sixteenth at most, or it would fill that by itself.
_LOG_PAGES: Final = 4000
_LOG_SHARE: Final = 16
_LEAST_LOG_PAGES: Final = 16
#: Seconds to wait for a lock that others hold for moments only. What lasts longer is an error that names itself.
_BUSY_SECONDS: Final = 2.0
#: STRICT tables.
_SQLITE_NEEDED: Final = (3, 37, 0)

_MEANINGS: Final = {
    sqlite3.SQLITE_CORRUPT: (
        "{path} is damaged ({error}): move it aside together with its -wal and -shm files and start again; the live "
        "state is then read afresh, and nothing that is already so is sent again"
    ),
    sqlite3.SQLITE_FULL: "the disk that holds {path} is full: make room; what was not written is tried again",
    sqlite3.SQLITE_READONLY: "{path} cannot be written ({error}): check its mount and its permissions",
    sqlite3.SQLITE_PERM: "{path} cannot be used ({error}): check its permissions",
    sqlite3.SQLITE_CANTOPEN: "{path} cannot be opened ({error}): check that its folder exists and may be written",
    sqlite3.SQLITE_BUSY: "{path} is locked by another program, such as a backup or an SQLite shell: end it",
    sqlite3.SQLITE_IOERR: "the disk failed on {path} ({error}): see the system's log",
}
_MEANINGS[sqlite3.SQLITE_NOTADB] = _MEANINGS[sqlite3.SQLITE_CORRUPT]
_MEANINGS[sqlite3.SQLITE_LOCKED] = _MEANINGS[sqlite3.SQLITE_BUSY]


def store_error(path: Path, error: sqlite3.Error | OSError) -> StoreError:
    """Return the failure as our own: what is wrong, with which file, and what to do. Chain it with ``from``."""
    if isinstance(error, OSError):
        return StoreError(f"{path} cannot be used: {error.strerror or error}")
    return StoreError(_MEANINGS.get(_kind(error), "{path} cannot be used ({error})").format(path=path, error=error))


def is_locked(error: sqlite3.Error) -> bool:
    """Whether another program held the file for too long."""
    return _kind(error) == sqlite3.SQLITE_BUSY


def _kind(error: sqlite3.Error) -> int:
    # An extended code says more than anyone acts upon; its low byte is the kind. What Python itself raises has none.
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system raise inside into `StoreError`."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise store_error(path, error) from error


def identity(path: Path) -> tuple[int, int] | None:
    """Return what tells this file from another one of the same name, or None where there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 (asked at every read: twice as fast as by way of the path object)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(found.st_mode):
        # SQLite would call it a failing disk.
        raise StoreError(f"{path} is not a regular file; name another place with --state, or take it away")
    return found.st_dev, found.st_ino


def log_identity(path: Path) -> tuple[int, int] | None:
    """Return what tells the file's write-ahead log from another one, or None where there is none."""
    return identity(path.with_name(f"{path.name}-wal"))


def check_log(path: Path, former: tuple[int, int] | None) -> None:
    """Refuse a file that was put in another's place while that one's log stayed: SQLite would mix the two.

    Raises:
        StoreError: the log beside the file is the former file's.
    """
    if former is not None and log_identity(path) == former:
        raise StoreError(
            f"{path} was replaced while in use, and the log beside it belongs to the file that was there before: "
            f"remove {path.name}-wal and {path.name}-shm"
        )


@contextmanager
def making(path: Path) -> Iterator[None]:
    """Make an empty file of mode 0600 if there is none, and folders of mode 0700 to hold it.

    What is done inside is done by one process at a time, so that none sees a file that another has half prepared.
    """
    make_state_folder(path.parent)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        if identity(path) is None:
            for left_over in ("-wal", "-shm"):  # Of a file removed without them: they would be taken for this one's.
                path.with_name(f"{path.name}{left_over}").unlink(missing_ok=True)
            made = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            os.fchmod(made, 0o600)  # Whatever the umask took away. SQLite gives its own files the mode of this one.
            os.close(made)
            os.fsync(directory)  # The file's name must outlive a power cut as its rows do.
        yield
    finally:
        os.close(directory)


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open an existing file. The connection cannot change any row.

    Not SQLite's own read-only mode: that one leaves its -wal and -shm files behind.
    """
    connection = _connect(path)
    connection.execute("PRAGMA query_only = ON")
    return connection


def open_as_it_is(path: Path) -> tuple[sqlite3.Connection, str]:
    """Open an existing file for reading, wherever it lies.

    Beside its file a reader keeps a map of the write-ahead log. Where it may not make one, as in a backup or on an
    auditor's mount, the file is read without, and together with a log that holds more it is read as a copy.

    Returns:
        The connection, which cannot change any row, and in words how the file was taken, if not in the ordinary way.

    Raises:
        StoreError: it is being written at this moment by somebody whose work cannot be followed from here.
    """
    connection = open_for_reading(path)
    try:
        connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.DatabaseError as error:
        connection.close()
        if not isinstance(error, sqlite3.OperationalError):
            raise
        if _kind(error) not in _NO_PLACE or os.access(path.parent, os.W_OK) or not os.access(path, os.R_OK):
            raise
    else:
        return connection, ""
    log = path.with_name(f"{path.name}-wal")
    if not log.exists() or log.stat().st_size == 0:
        unchanging = sqlite3.connect(
            f"{path.as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None, check_same_thread=False
        )
        return unchanging, f"{path.parent} may only be read: the state is shown as its file holds it"
    return _copied(
        path, log
    ), f"{path.parent} may only be read: the state is shown as a copy of its file and log holds it"


#: What SQLite answers where a folder may not be written.
_NO_PLACE: Final = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)


def _copied(path: Path, log: Path) -> sqlite3.Connection:
    """Open a copy of a file and its log, which is gone with the connection."""
    import shutil  # here, since next to no reader needs them
    import tempfile

    before = _stamps(path, log)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.name)
        shutil.copyfile(path, copy)
        shutil.copyfile(log, copy.with_name(log.name))
        if _stamps(path, log) != before:
            raise StoreError(f"{path} is being written at this moment, in a folder that may only be read from here")
        connection = open_for_reading(copy)
        try:
            connection.execute("PRAGMA user_version").fetchone()  # from now on it has both files open
        except BaseException:
            connection.close()
            raise
    return connection


def _stamps(*files: Path) -> list[tuple[int, int]]:
    return [(status.st_size, status.st_mtime_ns) for status in (file.stat() for file in files)]


def open_for_writing(path: Path, check: Callable[[sqlite3.Connection, Path], object]) -> sqlite3.Connection:
    """Open an existing file, ready for durable commits.

    Args:
        path: of the file.
        check: raises where it is not ours. Asked before anything is set, since to set the form of the log writes to the
            file.
    """
    connection = _connect(path)
    try:
        check(connection, path)
        _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def open_for_asking(path: Path) -> sqlite3.Connection:
    """Open an existing file for one small write beside the writer: it must outlive a crash of this process alone."""
    connection = _connect(path)
    try:
        connection.execute("PRAGMA synchronous = NORMAL")
        # The writer folds its log by itself; to do so here would have it wait.
        connection.execute("PRAGMA wal_autocheckpoint = 0")
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    for pragma in WRITER_PRAGMAS:
        connection.execute(pragma)
    if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        raise StoreError(f"{path} lies where readers would have to wait for the writer: keep it on a local disk")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_log_pages(connection, path)}")


def _log_pages(connection: sqlite3.Connection, path: Path) -> int:
    page_bytes: int = connection.execute("PRAGMA page_size").fetchone()[0]
    disk = os.statvfs(path.parent)
    share = disk.f_blocks * disk.f_frsize // _LOG_SHARE // page_bytes
    return min(_LOG_PAGES, max(_LEAST_LOG_PAGES, share))


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what happens inside as one, or nothing of it. It has the write lock from its start."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # After some errors SQLite has rolled back by itself.
            connection.execute("ROLLBACK")
        raise


def _connect(path: Path) -> sqlite3.Connection:
    if sqlite3.sqlite_version_info < _SQLITE_NEEDED:
        raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old: 3.37 or later is needed")
    for beside in ("-wal", "-shm", "-journal"):
        identity(path.with_name(f"{path.name}{beside}"))  # SQLite would wait for ever at a pipe
    # Used by several threads in turn, never at once. No implicit transactions: each is spelled where it begins.
    return sqlite3.connect(
        f"{path.as_uri()}?mode=rw", uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
