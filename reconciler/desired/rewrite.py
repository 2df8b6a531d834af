"""Put new content in the place of a file's old one, whole or not at all.

What must never happen in this room: somebody else's change is written over because it came between the reading and the
writing; a reader sees half a file; a file loses its mode, or a link that leads to it becomes a file.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from reconciler.model import ReconcilerError
from reconciler.settings import read_regular


def replace_file(file: str | Path, expected: bytes | None, content: bytes) -> None:
    """Replace a file's content, provided that it still is what the new content was made from.

    Args:
        file: its path; a link is followed, and stays.
        expected: what it held when it was read; None for a file that was not there.
        content: what it shall hold.

    Raises:
        ReconcilerError: the file has changed meanwhile, or cannot be written; then it is as it was.
    """
    try:
        path = Path(file).resolve()
        mode = path.stat().st_mode & 0o7777 if expected is not None else 0o666 & ~_umask()
        # Begins with a dot and ends unlike a document, so that nothing that watches the folder takes it for one.
        handle, written = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as opened:
                os.fchmod(opened.fileno(), mode)
                if expected is not None:
                    owner = path.stat()
                    with suppress(PermissionError):  # only root can give a file away; anybody's own stays their own
                        os.fchown(opened.fileno(), owner.st_uid, owner.st_gid)
                opened.write(content)
                opened.flush()
                os.fsync(opened.fileno())
            if not _holds(path, expected):
                raise ReconcilerError(f"{file} has changed meanwhile; it was left as it is: try again")
            Path(written).replace(path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(written)  # noqa: PTH108 - the path is text here
    except OSError as error:
        raise ReconcilerError(f"{file} cannot be written: {error.strerror}") from error


def _holds(path: Path, expected: bytes | None) -> bool:
    """Return whether a file holds just that; None for no file at all."""
    if expected is None:
        return not os.path.lexists(path)
    try:
        return read_regular(path, len(expected)) == expected
    except OSError:
        return False  # gone, longer, or something else by now


def _umask() -> int:
    # It can only be asked for by setting it.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
