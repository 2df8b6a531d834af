"""Commits and trees as they are stored, read one by one: who made them, what came before, where two of them differ.

Whoever can push can make any object. What must never happen in this room: an object that is malformed, or stands for
far more than it holds, ends the daemon or fills its memory.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from heapq import heapify, heappop, heappush
from itertools import takewhile
from typing import IO, Final, NamedTuple

from reconciler.git.content import Entry, committed_at, header_field, revision_from
from reconciler.git.mirror.command import GitFailed
from reconciler.model import Revision

#: Of a commit, as much as its header and a signature can have; what its author says beyond that nobody shows.
_COMMIT_BYTES: Final = 1024 * 1024
#: More than a folder of a million files.
_TREE_BYTES: Final = 128 * 1024 * 1024


class Commit(NamedTuple):
    """What a walk needs of a commit."""

    parents: tuple[str, ...]
    #: Seconds since 1970, as the committer says.
    committed_at: int


class Objects:
    """Reads objects, one after the other, from one git that stays (see `conversation`)."""

    def __init__(self, asked: IO[bytes], answers: IO[bytes]) -> None:
        """Take the pipes: where objects are asked for, and where they come."""
        self._asked = asked
        self._answers = answers

    def commit(self, identifier: str) -> Commit | None:
        """Return a commit as git understands it; None when it is not here.

        Parents stand between the tree and the author. Nothing that looks like one further below is one.
        """
        raw = self._read(identifier, _COMMIT_BYTES)
        if raw is None:
            return None
        lines = raw.partition(b"\n\n")[0].split(b"\n")[1:]
        parents = takewhile(lambda line: line.startswith(b"parent "), lines)
        return Commit(tuple(line[7:].decode("ascii", "replace") for line in parents), committed_at(raw))

    def revision(self, identifier: str) -> Revision:
        """Return whose commit it is and what it says of itself."""
        return revision_from(identifier, self._read(identifier, _COMMIT_BYTES) or b"")

    def tree_of(self, commit: str) -> Entry | None:
        """Return a commit's tree; None when the commit is not here."""
        raw = self._read(commit, _COMMIT_BYTES)
        return None if raw is None else Entry("", stat.S_IFDIR, header_field(raw, b"tree ").decode("ascii", "replace"))

    def at(self, tree: Entry | None, path: str) -> Entry | None:
        """Return what stands at a path, from the tree's root; None when nothing does."""
        found = tree
        for name in path.split("/") if path else ():
            found = self.tree(found.id).get(name) if found is not None and found.is_folder else None
        return found

    def tree(self, identifier: str) -> dict[str, Entry]:
        """Return what a tree holds, by its names.

        Raises:
            GitFailed: it is not here, or is none.
        """
        raw = self._read(identifier, _TREE_BYTES)
        if raw is None or len(raw) == _TREE_BYTES:
            raise GitFailed(f"the tree {identifier} {'is missing' if raw is None else 'is too large'}")
        width = len(identifier) // 2
        found = {}
        at = 0
        while at < len(raw):
            mode, space, _ = raw[at : at + 8].partition(b" ")
            begin = at + len(mode) + 1
            end = raw.find(b"\0", begin)
            if not space or end < 0 or mode.strip(b"01234567") or not mode or end + 1 + width > len(raw):
                raise GitFailed(f"the tree {identifier} is malformed")
            at = end + 1 + width
            name = os.fsdecode(raw[begin:end])
            found[name] = Entry(name, int(mode, 8), raw[end + 1 : at].hex())
        return found

    def _read(self, identifier: str, most_bytes: int) -> bytes | None:
        """Return an object's content, of a longer one the beginning; None when it is not here."""
        asked, answers = self._asked, self._answers
        try:
            asked.write(f"{identifier}\n".encode())
            asked.flush()
            head = answers.readline().split()
            if len(head) != 3 or not head[2].isdigit():
                if head[-1:] == [b"missing"]:
                    return None
                raise GitFailed("the mirror cannot be read: git ended while it was asked")
            size = int(head[2])
            content = answers.read(min(size, most_bytes))
            left = size + 1 - len(content)
            while left > 0 and (more := answers.read(min(left, _COMMIT_BYTES))):
                left -= len(more)
        except OSError as error:
            raise GitFailed(f"the mirror cannot be read: {error.strerror}") from error
        if left:
            raise GitFailed("the mirror cannot be read: an object ends too early")
        return content


def differences(
    objects: Objects, old: Entry | None, new: Entry | None, path: str
) -> Iterator[tuple[str | None, Entry | None, int]]:
    """Yield the files at and below a path that differ between two places, one after the other, and what that cost.

    Only folders that differ are looked into, so that the cost follows the change.

    Args:
        objects: read here.
        old: what stood at the path; None for nothing.
        new: what stands there now; None for nothing.
        path: of both, from the root; empty for the root itself.

    Yields:
        The file's path, or None for a folder that was read; what it is now, None when it is gone; how many entries were
        read for it.
    """
    stack = [(path, old, new)]
    while stack:
        place, before, after = stack.pop()
        if before == after:
            continue
        trees = [objects.tree(each.id) if each is not None and each.is_folder else {} for each in (before, after)]
        yield None, None, len(trees[0]) + len(trees[1])
        if after is not None and not after.is_folder:
            yield place, after, 1
        elif before is not None and not before.is_folder:
            yield place, None, 1
        for name in trees[0].keys() | trees[1].keys():
            one, other = trees[0].get(name), trees[1].get(name)
            if one != other:
                stack.append((f"{place}/{name}" if place else name, one, other))


def newest_first(commits: Mapping[str, Commit]) -> tuple[str, ...]:
    """Return commits with each before its parents, whatever its committer's clock said, and else by date."""
    children = Counter(parent for commit in commits.values() for parent in commit.parents)
    free = [(-commit.committed_at, identifier) for identifier, commit in commits.items() if not children[identifier]]
    heapify(free)
    found = []
    while free:
        _, identifier = heappop(free)
        found.append(identifier)
        for parent in commits[identifier].parents:
            children[parent] -= 1
            if not children[parent] and parent in commits:
                heappush(free, (-commits[parent].committed_at, parent))
    return tuple(found)
