"""Files outside of what is declared: read with a bound and without waiting, written whole or not at all.

Settings, keys, tokens, plans, reports and what lies beside the state: wherever a path may have been put there by
somebody else, it goes through here. What must never happen in this room: an `open` that waits, as for a FIFO or a
device; a read without a bound; a write through a link, into a file that was there before, or half done.
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
