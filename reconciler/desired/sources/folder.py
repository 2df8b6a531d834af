"""The files below some paths: found, stamped and read.

What must never happen in this room: content from outside a given folder is read through a symbolic link; something that
is no regular file is opened.
"""

# Paths are strings and calls go to `os`: at a hundred thousand files pathlib doubles the time of a walk.
# ruff: noqa: PTH114, PTH115, PTH116, PTH117

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.desired.sources.names import is_within, join_shown
from reconciler.desired.sources.refusals import leaves, not_regular, nowhere, raise_fault, unreadable
from reconciler.desired.sources.stamps import FileStamp
from reconciler.desired.sources.tree import Tree
from reconciler.desired.sources.walk import Walks
from reconciler.model import Problem
from reconciler.settings import working_folder

if TYPE_CHECKING:
    import asyncio

#: How long a file must have been quiet before an error in it, or a recording missing from it, counts.
QUIET_SECONDS: Final = 0.3


class Source:
    """The files below some paths, each a folder or a file, in the order given.

    A path that was given is followed wherever it leads, since whoever gives it decides; links *below* a given folder
    must stay inside it. A file that is reached in several ways counts once: under its own name before that of a link,
    and under the path given first.
    """

    def __init__(self, paths: Sequence[str | Path], *, max_file_bytes: int) -> None:
        self._roots = tuple(dict.fromkeys(str(Path(path)) for path in paths))
        self._max_file_bytes = max_file_bytes
        self._walks = Walks(self._roots)
        self._base = working_folder()
        self._tops = tuple(os.path.normpath(os.path.join(self._base, root)) for root in self._roots)

    @property
    def quiet_seconds(self) -> float:
        """How long a file must have been quiet before it is believed to be saved whole."""
        return QUIET_SECONDS

    def revision_of(self, _file: str) -> None:
        """Return None: what people save is no commit yet."""

    @property
    def base(self) -> str:
        """The absolute folder that relative names are relative to: the working directory when this was made."""
        return self._base

    def name_of(self, file: str, base: str) -> str | None:
        """Return what a file is called here that a record calls `file`; None where it lies outside the given paths.

        Whether it is still there does not matter. What lies elsewhere may be declared by others, though nobody can see
        it from here: another checkout, another machine's disk.

        Args:
            file: as recorded.
            base: what it is relative to, as recorded: a folder, a Git source (nothing of which is here), or empty where
                nobody knows; then the present working directory is the best guess.
        """
        if base and not os.path.isabs(base):
            return None
        if base in ("", self._base) and any(is_within(file, root) for root in self._roots):
            return file  # as it nearly always is
        place = os.path.normpath(os.path.join(base or self._base, file))
        for root, top in zip(self._roots, self._tops, strict=True):
            if is_within(place, top):
                return root if place == top else join_shown(root, os.path.relpath(place, top))
        return None

    def walk(self) -> Tree:
        """Find every file, without opening any. May be called from any thread."""
        walk, _ = self._walks.walk()
        return walk.tree()

    def stamp(self, file: str) -> FileStamp | None:
        """Take one file's stamp; None when nothing to read has that name now.

        A link that leads nowhere has a stamp of its own: it is there, and reading it tells what is wrong with it.

        Raises:
            ResourceFault: the system does not say.
        """
        now = time.time_ns()
        try:
            status = os.stat(file)
        except OSError as error:
            raise_fault(file, error)
            try:
                status = os.lstat(file)
            except OSError:
                return None
        return FileStamp.of(status, now) if stat.S_IFMT(status.st_mode) in (stat.S_IFREG, stat.S_IFLNK) else None

    def read(self, file: str) -> bytes | Problem:
        """Read one file that a walk or a change named, or say why not.

        It never waits, as it would for a FIFO, and reads no more than `max_file_bytes`.

        Raises:
            ResourceFault: the system could not, and that says nothing of the file.
        """
        try:
            # Looked at before it is opened, because opening a device can already set it in motion ...
            if not stat.S_ISREG(os.stat(file).st_mode):
                return not_regular(file)
            descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            raise_fault(file, error)
            return nowhere(file) if os.path.islink(file) and error.errno == errno.ENOENT else unreadable(file, error)
        try:
            # ... and again afterwards, because the name may stand for something else by now.
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return not_regular(file)
            outside = self._place_outside(file, descriptor)
            if outside is not None:
                return leaves(file, outside)
            return self._read_bounded(file, descriptor, status.st_size)
        except OSError as error:
            raise_fault(file, error)
            return unreadable(file, error)
        finally:
            os.close(descriptor)

    def _read_bounded(self, file: str, descriptor: int, size: int) -> bytes | Problem:
        if size > self._max_file_bytes:
            return self._too_large(file, size)
        data = os.read(descriptor, size + 1)
        if len(data) == size:
            return data
        # It changes while it is read: take what there is to its end, so far as the limit allows.
        parts = [data]
        total = len(data)
        while data and total <= self._max_file_bytes:
            data = os.read(descriptor, 65536)
            parts.append(data)
            total += len(data)
        return self._too_large(file, total) if total > self._max_file_bytes else b"".join(parts)

    def _too_large(self, file: str, size: int) -> Problem:
        message = f"the file has {size:,} bytes, more than max_file_bytes allows ({self._max_file_bytes:,})"
        return Problem(file, 1, 1, message, rule="too-large")

    def _place_outside(self, file: str, descriptor: int) -> str | None:
        """Where an open file really is, when that is outside of every given folder; None when all is well."""
        if file in self._roots:
            return None
        try:
            place = os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:
            place = os.path.realpath(file)  # no /proc here: as good as the name is still the file's
        layout = self._walks.layout
        if layout is not None and any(is_within(place, real) for real, _ in layout.roots):
            return None
        # Perhaps a root is a link that was turned since the last walk.
        inside = any(is_within(place, os.path.realpath(root)) for root in self._roots)
        return None if inside else place

    def changes(
        self, stop: asyncio.Event, *, poll_seconds: float, warn: Callable[[str], None]
    ) -> AsyncGenerator[frozenset[str] | None, None]:
        """Say what may have changed, until `stop` is set.

        Yields the names of single files, or None for "walk everything": once when watching has begun (so that nothing
        is missed between a first walk and that moment), whenever folders or links moved, when very much changed at
        once, and at the latest every `poll_seconds` or, where that is longer, `POLL_SHARE` times what a walk takes. A
        name says only "look again"; the file may be unchanged or gone.

        Where the system refuses to watch, None comes often instead, `warn` is told why and what helps, and watching is
        tried again once a minute. Given paths that are missing or vanish are watched from when they are there (again).
        """
        # Imported late: only the daemon watches, and no other command shall wait for asyncio.
        from reconciler.desired.sources.watch import Watcher

        return Watcher(self._walks).changes(stop, poll_seconds=poll_seconds, warn=warn)
