"""The standard streams, made so that no command fails by them: closed, full, or with a reader that is gone.

What must never happen here: an error of a stream that ends a command whose work is done or half done; a file or a
socket that takes the number of a closed standard stream, and is then written to by whoever means that stream; a loss
that nobody is told of.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from typing import Final, cast

_BUFFER_BYTES: Final = 64 * 1024


class _Guarded(io.RawIOBase):
    """Writes to a descriptor. After the first failure the rest counts as written, and the failure is kept."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.failure: OSError | None = None
        self.told = False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]  # any buffer
        if self.failure is None:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:
                # Somebody else has made it non-blocking, as a program that shares the terminal may.
                os.set_blocking(self._descriptor, True)
                return self.write(data)
            except OSError as error:
                self.failure = error
        return memoryview(data).nbytes


class _Shown(io.TextIOWrapper):
    """Makes visible what passes: names, values and words from outside may hold marks that turn a line's direction.

    Nothing that this program writes for other programs holds such a character, so that all of it may go this way.
    """

    def write(self, text: str, /) -> int:
        if "##[" in text or "::" in text or not text.replace("\n", "").isprintable():
            from reconciler.telemetry import visible_lines  # late: hardly ever, and `--help` is to need no room below

            super().write(visible_lines(text))
            return len(text)
        return super().write(text)


_out: _Guarded | None = None


def guard() -> None:
    """Take the standard streams over, where they are those of the process; a test's stay as they are."""
    global _out
    # Below what else is opened: a state that had the number of standard output would be written over by texts.
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, which is this one
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False, encoding="utf-8")  # noqa: SIM115 - for as long as the process lives
    _out = None
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is not None and (stream is not getattr(sys, f"__{name}__") or not _is_at(stream, descriptor)):
            continue
        raw = _Guarded(descriptor)
        if descriptor == 1:
            _out = raw
        setattr(
            sys,
            name,
            _Shown(
                io.BufferedWriter(cast("io.RawIOBase", raw), _BUFFER_BYTES),
                # As click has it; but it would go around this object.
                encoding="utf-8" if stream is None or _is_ascii(stream.encoding) else stream.encoding,
                # In a locale that lacks a character, its number is better than no line at all.
                errors="backslashreplace",
                line_buffering=descriptor == 2 or raw.isatty(),
            ),
        )
        if stream is not None:
            stream.flush()


def _is_ascii(encoding: str) -> bool:
    return codecs.lookup(encoding).name == "ascii"


def _is_at(stream: io.TextIOBase, descriptor: int) -> bool:
    try:
        return stream.fileno() == descriptor
    except (OSError, ValueError):
        return False


def abandon() -> None:
    """Let standard output take nothing more: somebody asked to stop, and its reader may stand still for ever."""
    if _out is not None and _out.failure is None:
        _out.failure = BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def lost() -> str:
    """Flush standard output, and return why something of it could not be written; empty where all could.

    A reader that is gone has seen enough, which is no loss. A loss is told once.
    """
    sys.stdout.flush()
    if _out is None or _out.failure is None or _out.told or _out.failure.errno == errno.EPIPE:
        return ""
    _out.told = True
    return _out.failure.strerror or type(_out.failure).__name__
