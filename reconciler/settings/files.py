"""Files outside of what is declared: read with a bound and without waiting, written whole or not at all.

Settings, keys, tokens, plans, reports and what lies beside the state: wherever a path may have been put there by
somebody else, it goes through here. What must never happen in this room: an `open` that waits, as for a FIFO or a
device; a read without a bound; a write through a link, into a file that was there before, or half done; a folder that
comes into being because its name was mistyped.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

#: Enough for a key, a token, a settings file or a list of signers.
SMALL_BYTES: Final = 64 * 1024
#: What is said where `has_working_directory` does not hold.
NO_WORKING_DIRECTORY: Final = "the working directory has been removed; go to one that is there, and try again"


def read_regular(path: str | os.PathLike[str], most: int = SMALL_BYTES) -> bytes:
    """Return what a regular file holds, a link to one included.

    Args:
        path: of the file.
        most: the largest size in bytes that is read.

    Raises:
        OSError: it cannot be opened, is no regular file (`EINVAL`), or is larger (`EFBIG`); `strerror` says so.
    """
    # Looked at before it is opened, because opening a device can already set it in motion ...
    _check_regular(os.stat(path))  # noqa: PTH116 - the path may be text or a `Path`
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        # ... and again afterwards, because the name may stand for something else by now.
        _check_regular(os.fstat(descriptor))
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most:,} bytes")
    return data


def stamp_of(path: str | os.PathLike[str]) -> tuple[int, int, int]:
    """Return what tells that a regular file has not changed since: its time, its identity and its size.

    Raises:
        OSError: it may not be read, or is no regular file.
    """
    _check_regular(os.stat(path))  # noqa: PTH116 - as above
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    _check_regular(status)
    return status.st_mtime_ns, status.st_ino, status.st_size


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")


def write_whole(
    path: str | os.PathLike[str], content: bytes, *, mode: int | None = None, durable: bool = False
) -> None:
    """Put a file in the place of whatever has that name: a link there is replaced, never followed.

    The content is written to a new file under a random name in the same folder, which then takes the name over.

    Args:
        path: of the file; its folder must be there.
        content: what it shall hold.
        mode: its permission bits; None for those of any new file of this process.
        durable: whether a power cut right after the return may not lose it.

    Raises:
        OSError: it cannot be written; then what had that name is as it was, and nothing else is left behind.
    """
    target = Path(path)
    # Begins with a dot and ends unlike a document, so that nothing that watches the folder takes it for one.
    written = target.with_name(f".{target.name[:200]}.{os.urandom(8).hex()}.new")
    flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY | os.O_CLOEXEC
    descriptor = os.open(written, flags, 0o666 if mode is None else mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if mode is not None:
                os.fchmod(descriptor, mode)  # whatever the umask took away
            file.write(content)
            if durable:
                file.flush()
                os.fsync(descriptor)
        written.replace(target)
    except BaseException:
        with suppress(OSError):
            written.unlink()
        raise


def write_new(path: str | os.PathLike[str], content: bytes, *, mode: int = 0o666) -> None:
    """Write a file where there is none: nothing is overwritten, and a link there counts as a file.

    Raises:
        OSError: it cannot be written (`FileExistsError` where something has that name); then it is not there.
    """
    flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY | os.O_CLOEXEC
    descriptor = os.open(path, flags, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except BaseException:
        with suppress(OSError):
            os.unlink(path)  # noqa: PTH108 - the path may be text or a `Path`
        raise


def write_named(name: str, content: bytes) -> None:
    """Write where somebody said: a file, whole or not at all, or a stream of this process or a device below /dev.

    The folder must be there: else each typing mistake would make one.

    Raises:
        OSError: it cannot be written, or leads out of the working directory by a link; `strerror` says so.
    """
    if _is_stream(name):
        # Added, not put in place of what the stream holds so far: /dev/stdout may be a file.
        descriptor = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        return
    path = Path(name)
    check_inside(path.parent)
    if not path.parent.is_dir():
        raise OSError(errno.ENOENT, f"there is no folder {path.parent}")
    if path.is_dir():
        raise OSError(errno.EISDIR, "it is a folder")
    write_whole(path, content)


def append_regular(path: str, content: bytes) -> None:
    """Add to a regular file that others write to as well.

    Raises:
        OSError: it cannot be written, is a link, or no regular file.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666)
    with os.fdopen(descriptor, "ab") as file:
        _check_regular(os.fstat(descriptor))
        file.write(content)


def check_inside(place: str | os.PathLike[str]) -> None:
    """Refuse a place below the working directory that is not below it in truth, for a link on the way.

    The working directory may be a checkout, or a folder of one, and then all links of the checkout are the work of
    whoever wrote the change.

    Args:
        place: a folder or a file, there or not.

    Raises:
        OSError: it leads out.
    """
    here = os.path.realpath(os.curdir)
    named, real = os.path.abspath(place), os.path.realpath(place)  # noqa: PTH100 - links in the first are not resolved
    for folder, name in ((here, "working directory"), (_checkout(here), "checkout")):
        if _is_below(named, folder) and not _is_below(real, folder):
            raise OSError(errno.ELOOP, f"it leads out of the {name} by a link; name the place that it leads to")


def _checkout(folder: str) -> str:
    """Return the root of the checkout that a folder is in: where a `.git` is, which no commit can hold; or itself."""
    place = Path(folder)
    return str(next((each for each in (place, *place.parents) if os.path.lexists(each / ".git")), place))


def working_folder() -> str:
    """Return the working directory; the root where it was removed, since then only absolute paths lead anywhere."""
    try:
        return os.getcwd()  # noqa: PTH109 - text, which paths are joined to
    except FileNotFoundError:
        return "/"


def has_working_directory() -> bool:
    """Return whether the working directory is still there: a process may outlive it."""
    try:
        return bool(os.getcwd())  # noqa: PTH109 - only whether there is one
    except OSError:
        return False


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _is_stream(name: str) -> bool:
    """Return whether a path names a device, or a stream that this process was given, by one of their usual names."""
    if not name.startswith(("/dev/", "/proc/self/fd/")) or os.path.normpath(name) != name:
        return False
    try:
        kind = os.lstat(name).st_mode
    except OSError:
        return False
    # /dev/shm holds common files and folders; /dev/stdout is a link, and /dev/fd/63 is below one.
    streams = ("/dev/stdin", "/dev/stdout", "/dev/stderr")
    return stat.S_ISCHR(kind) or name in streams or name.startswith(("/dev/fd/", "/proc/self/fd/"))
