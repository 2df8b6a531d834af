"""What a checkout leaves out of the work tree: files that are in the index, and that nobody took away.

A sparse checkout leaves files out, a clone without its submodules leaves folders empty. What such a file or folder
declares stays in force. What must never happen in this room: a file that a person deleted counts as one that a checkout
left out.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from reconciler.desired.sources.folder import Source
from reconciler.desired.sources.tree import Tree
from reconciler.git import GitError, Location, index_of, list_unwatched, locate, may_leave_out


class _Left(NamedTuple):
    """What is left out, as it is shown to people."""

    files: frozenset[str] = frozenset()
    #: The folders of submodules.
    submodules: frozenset[str] = frozenset()
    #: Why nobody knows.
    error: str = ""


class Checkout(Source):
    """The files below some paths, as `Source` finds them, and what a checkout of Git leaves out there."""

    def __init__(self, paths: Sequence[str | Path], *, max_file_bytes: int) -> None:
        super().__init__(paths, max_file_bytes=max_file_bytes)
        self._paths = tuple(str(Path(path)) for path in paths)
        # A walk may be made in any thread.
        self._asking = threading.Lock()
        self._places: tuple[str, ...] = ()
        self._located: list[tuple[Location, str, str]] = []
        self._asked_at: object = None
        self._left = _Left()

    def walk(self) -> Tree:
        """Find every file, and what is out of sight, without opening any. May be called from any thread."""
        tree = super().walk()
        with self._asking:
            left = self._leave_out()
        files = left.files - tree.files.keys()
        submodules = sorted(path for path in left.submodules if not _is_filled(path))
        if not (files or submodules or left.error):
            return tree
        warnings = [*tree.warnings]
        if files:
            named = min(files) if len(files) == 1 else f"{min(files)} and {len(files) - 1} more"
            warnings.append(
                f"{named}: left out of the work tree by a sparse checkout; what is declared there stays in force and is"
                " not looked at, until `git sparse-checkout disable` brings it here or a commit takes it away"
            )
        warnings += [
            f"{path}: a submodule that is not checked out; what it held stays in force and is not looked at, until"
            f" `git submodule update --init {path}`"
            for path in submodules
        ]
        if left.error:
            warnings.append(f"whether files are left out of the work tree is not known: {left.error}")
        return tree._replace(
            hidden=files, unseen=tuple(sorted({*tree.unseen, *submodules})), warnings=tuple(sorted(warnings))
        )

    def _leave_out(self) -> _Left:
        """Return what is left out; git is asked where its index has changed since."""
        places = tuple(os.path.realpath(path) for path in self._paths)
        try:
            if places != self._places or not self._located:
                located = [(location, path) for path in self._paths if (location := locate(path)) is not None]
                self._located = [(location, path, index_of(location.repository)) for location, path in located]
                self._places, self._asked_at = places, None
            at = [_stamp(index) for _, _, index in self._located]
            if at != self._asked_at:
                self._left = self._ask()
                self._asked_at = at
        except GitError as error:
            self._left, self._asked_at = _Left(error=str(error)), None
        return self._left

    def _ask(self) -> _Left:
        files: set[str] = set()
        submodules: set[str] = set()
        for location, path, _ in self._located:
            repository = location.repository
            # Where the path leads to today: git follows no link.
            place = os.path.relpath(os.path.realpath(path), repository.root)
            asked = [] if place.startswith(".") else [place]
            if not may_leave_out(repository, asked):
                continue
            left = {file for file, tag in list_unwatched(repository, asked).items() if tag in "Ss"}
            # Imported late: nearly every work tree has all of its files.
            from reconciler.desired.baseline.forest import Forest
            from reconciler.desired.baseline.listing import list_documents

            listing = list_documents(Forest(repository, None, index=True), [(location.path, path)])
            files.update(
                shown for shown, blob in listing.files.items() if blob.repository == repository and blob.path in left
            )
            submodules.update(listing.unread)
        return _Left(frozenset(files), frozenset(submodules))


def _is_filled(folder: str) -> bool:
    """Return whether a submodule is checked out."""
    return os.path.lexists(os.path.join(folder, ".git"))


def _stamp(file: str) -> tuple[int, int, int] | None:
    try:
        status = Path(file).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
