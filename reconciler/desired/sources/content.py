"""The documents of one revision of a branch: named, stamped and read, as a folder's files are.

What must never happen in this room: a link of the repository is followed out of what the source has; a folder that is
gone, or a link or submodule in place of one, looks like a folder without documents.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from reconciler.desired.sources.names import SUFFIXES, is_nameable
from reconciler.desired.sources.stamps import FileStamp
from reconciler.desired.sources.tree import Tree
from reconciler.git import Entry, Mirror
from reconciler.model import Problem

#: Of what the follower is about to ask for, so much is read in one go and held until then.
AHEAD_BYTES: Final = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Content:
    """The documents of one revision, by their paths from the repository's root."""

    revision: str
    entries: Mapping[str, Entry]
    #: Links that are no documents, and submodules: what was below such a place before is out of sight.
    closed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Step:
    """What comes with the next revision."""

    content: Content
    #: The documents that have to be read.
    fresh: Mapping[str, Entry]
    #: The documents that are new, different or gone, each with the commit that changed it last.
    changed_by: Mapping[str, str]


class Below:
    """Which entries of a repository are documents: those below a path, by the rules by which a folder is walked."""

    def __init__(self, path: str) -> None:
        """Take the path from the repository's root, of a folder or a file; empty for all of it."""
        self._path = path

    def covers(self, file: str) -> bool:
        """Return whether a path is that of the source or below it."""
        return not self._path or file == self._path or file.startswith(f"{self._path}/")

    def is_hidden(self, file: str) -> bool:
        """Return whether a name on the way to a file begins with a dot."""
        rest = file if not self._path or file == self._path else file[len(self._path) + 1 :]
        return rest.startswith(".") or "/." in rest

    def documents(self, entries: Mapping[str, Entry | None]) -> dict[str, Entry]:
        """Return those of some entries that a folder's walk would find: no hidden name on the way, the right ending."""
        found = {}
        for file, entry in entries.items():
            if entry is None or not file.endswith(SUFFIXES) or self.is_hidden(file):
                continue
            if entry.is_file or entry.is_link:
                found[shown(file)] = entry if is_nameable(file) else entry._replace(mode=0)
        return found

    def closed(self, entries: Mapping[str, Entry | None]) -> frozenset[str]:
        """Return the links and submodules among some entries, behind which documents may be that are not read."""
        return frozenset(
            file
            for file, entry in entries.items()
            if entry is not None
            and not (entry.is_file or (entry.is_link and file.endswith(SUFFIXES)) or self.is_hidden(file))
        )


class RevisionFiles:
    """The files of the revision in force, as a follower asks for them."""

    def __init__(self, mirror: Mirror, path: str, max_file_bytes: int) -> None:
        """Begin without a revision.

        Args:
            mirror: holds the contents.
            path: of the source, from the repository's root; empty for all of it.
            max_file_bytes: larger files are refused.
        """
        self.below: Final = Below(path)
        self._mirror = mirror
        self._path = path
        self._max_file_bytes = max_file_bytes
        self._content = Content("", {})
        #: What was read ahead of the follower, until it asks.
        self._ahead: dict[str, bytes | None] = {}
        #: Which commit changed a file last, of those that changed since the first look.
        self._changed_by: dict[str, str] = {}

    @property
    def revision(self) -> str:
        """The revision in force; empty before the first."""
        return self._content.revision

    @property
    def closed(self) -> frozenset[str]:
        """Links that are no documents, and submodules: what was below such a place before is out of sight."""
        return self._content.closed

    @property
    def is_gone(self) -> bool:
        """Whether the folder of the documents is missing, which is no release of all that it held."""
        return bool(self._path) and not self._content.entries

    def anew(self, revision: str, everything: Mapping[str, Entry]) -> Step:
        """Return the step to a revision of which all entries are given; every file is compared."""
        entries, known = self.below.documents(everything), self._content.entries
        changed = (file for file in known.keys() | entries.keys() if known.get(file) != entries.get(file))
        content = Content(revision, entries, self.below.closed(everything))
        return Step(content, entries, dict.fromkeys(changed, revision))

    def onward(self, revision: str, found: Mapping[str, Entry | None], touched: Mapping[str, str]) -> Step:
        """Return the step to a revision by what differs in it.

        Args:
            revision: the next one.
            found: what differs, None for what is gone.
            touched: the commits that changed files last, as far as they are known.
        """
        changes = {shown(file) for file in found}
        fresh = self.below.documents(found)
        known = self._content.entries
        entries = {file: entry for file, entry in known.items() if file not in changes} | fresh
        changed_by = {file: touched.get(file, revision) for file in changes if file in fresh or file in known}
        closed = (self._content.closed - found.keys()) | self.below.closed(found)
        return Step(Content(revision, entries, closed), fresh, changed_by)

    def take(self, step: Step) -> None:
        """Put a revision in force."""
        if self._content.revision:
            # What is gone, or was renamed, would add up over the months.
            together = self._changed_by | dict(step.changed_by)
            self._changed_by = {file: commit for file, commit in together.items() if file in step.content.entries}
        self._content = step.content

    def read_ahead(self, entries: Mapping[str, Entry]) -> None:
        """Read what the follower is about to ask for, with one git for all of it."""
        self._ahead.clear()
        held = 0
        by_id: dict[str, list[str]] = {}
        for file, entry in entries.items():
            by_id.setdefault(entry.id, []).append(file)
        for identifier, data in self._mirror.blobs(list(by_id)):
            held += len(data or b"")
            if held > AHEAD_BYTES:
                return  # the rest is read when it is asked for, file by file
            for file in by_id[identifier]:
                self._ahead[file] = data

    def walk(self) -> Tree:
        """Name every file of the revision in force."""
        entries = self._content.entries
        gone = (self._path,) if self.is_gone else ()
        return Tree(
            files={file: _stamp(entries[file], 0) for file in sorted(entries)},
            problems=(),
            warnings=(),
            vanished_roots=gone,
            unseen=(*gone, *sorted(self._content.closed)),
        )

    def stamp(self, file: str) -> FileStamp | None:
        """Return a stamp that changes with the content; None when the revision in force has no such file."""
        entry = self._content.entries.get(file)
        return None if entry is None else _stamp(entry, len(self._ahead.get(file) or b""))

    def read(self, file: str) -> bytes | Problem:
        """Return what the revision in force has in a file, or why not."""
        entry = self._content.entries.get(file)
        if entry is None:
            return Problem(file, 1, 1, "no such file in the revision in force", rule="missing")
        if entry.mode == 0:
            return Problem(file, 1, 1, "the name holds control characters or is not UTF-8", rule="file-name")
        if file in self._ahead:
            data = self._ahead.pop(file)
        else:
            ((_, data),) = self._mirror.blobs([entry.id])
        if data is None:
            message = f"the file has more bytes than max_file_bytes allows ({self._max_file_bytes:,})"
            return Problem(file, 1, 1, message, rule="too-large")
        return self._follow(file, data) if entry.is_link else data

    def revision_of(self, file: str) -> str | None:
        """Return the commit that changed a file last; None for one that is as it was at the first look."""
        return self._changed_by.get(file)

    def _follow(self, file: str, data: bytes) -> bytes | Problem:
        """Return the content of a link: none, since what it leads to counts under its own name; or what is wrong."""
        target = os.fsdecode(data)
        place = posixpath.normpath(posixpath.join(posixpath.dirname(file), target))
        if place in self._content.entries and not self._content.entries[place].is_link:
            return b""
        message = f"symbolic link to {target[:200]!r}: in a Git source a link may only lead to a document of the source"
        return Problem(file, 1, 1, message, rule="link-outside")


def shown(file: str) -> str:
    """Return a path that fits into a line of text."""
    return file if is_nameable(file) else file.encode("unicode_escape").decode("ascii")


def _stamp(entry: Entry, size: int) -> FileStamp:
    # The object's ID in place of the file's number: equal ones mean equal bytes, whatever any clock says.
    return FileStamp(size, 0, 0, int(entry.id[:15], 16), 0, 1 << 62)
