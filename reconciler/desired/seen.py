"""What the last looks at the files showed: their stamps, what may not be read, what is out of sight.

What must never happen in this room: files that cannot be seen right now count as deleted; a change goes unnoticed
because two looks overlap.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Final, Protocol

from reconciler.desired.readings import Reading
from reconciler.desired.settling import FAULT_SECONDS
from reconciler.desired.sources.stamps import FileStamp
from reconciler.desired.sources.tree import Tree
from reconciler.model import Problem, ResourceFault
from reconciler.telemetry import Alarm, Log

#: Of a file that has not been seen, or not since it went out of sight: it proves nothing about any later one.
_UNSEEN: Final = FileStamp(0, 0, 0, 0, 0, 0)


class Walkable(Protocol):
    """What is asked of a source here."""

    def walk(self) -> Tree: ...


class Seen:
    """The files that were seen, and what was said of those that could not be."""

    def __init__(self, source: Walkable, log: Log, unreadable: Alarm) -> None:
        """Begin without any file.

        Args:
            source: is walked.
            log: where it is said that places went out of sight, or are not read.
            unreadable: is raised while the system cannot walk.
        """
        self._source = source
        self._log = log
        self._unreadable = unreadable
        self._stamps: dict[str, FileStamp] = {}
        self._refused: dict[str, Problem] = {}
        self._vanished: frozenset[str] = frozenset()
        #: What was said of the last walk.
        self._warned: frozenset[str] = frozenset()

    @property
    def files(self) -> int:
        """How many files there are."""
        return len(self._stamps)

    @property
    def refused(self) -> Mapping[str, Problem]:
        """Entries that may not be read at all, such as links that leave the folder."""
        return self._refused

    @property
    def vanished(self) -> frozenset[str]:
        """Given paths that are missing now; what they held stays in force."""
        return self._vanished

    def begin(self, tree: Tree, readings: Iterable[Reading], out_of_sight: Iterable[str]) -> None:
        """Take in the first walk.

        Args:
            tree: its result.
            readings: what its files hold.
            out_of_sight: files of which only records tell. They are judged when the place that they were in is back.
        """
        self._stamps = {reading.file: reading.stamp for reading in readings if reading.stamp is not None}
        self._stamps.update(dict.fromkeys(out_of_sight, _UNSEEN))
        self._refused = {problem.file: problem for problem in tree.problems}

    def take_stamp(self, reading: Reading) -> None:
        """Note the stamp of a file that was read; of one that is gone, that it is."""
        if reading.stamp is None:
            self._stamps.pop(reading.file, None)
        else:
            self._stamps[reading.file] = reading.stamp

    def lose(self, file: str) -> None:
        """Note that a file went out of sight."""
        self._stamps[file] = _UNSEEN

    async def changed_files(self) -> frozenset[str]:
        """Walk the tree and return the files whose stamps do not prove that they are as they were."""
        while True:
            try:
                tree, changed = await asyncio.to_thread(self._walk_and_compare)
                break
            except ResourceFault as fault:
                self._unreadable.met(fault)
                await asyncio.sleep(FAULT_SECONDS)
        self.note(tree)
        refused = {problem.file: problem for problem in tree.problems}
        changed.update(
            file for file in refused.keys() | self._refused.keys() if refused.get(file) != self._refused.get(file)
        )
        self._refused = refused
        # What cannot be seen right now is a mount or a checkout that went away, not a thousand releases.
        changed.update(file for file in self._stamps.keys() - tree.files.keys() if not tree.hides(file))
        return frozenset(changed)

    def _walk_and_compare(self) -> tuple[Tree, set[str]]:
        # In one go and off the loop: with 100,000 files the comparison alone would hold up an edit for 70 ms. What is
        # taken in meanwhile has a newer stamp than the walk saw, and is looked at once more.
        tree = self._source.walk()
        changed = set()
        for file, stamp in tree.files.items():
            before = self._stamps.get(file)
            if before is None or not stamp.proves_unchanged_since(before):
                changed.add(file)
        return tree, changed

    async def hidden(self, gone: Collection[str]) -> frozenset[str]:
        """Return those of some missing files that are out of sight with the place they were in, and so not deleted."""
        try:
            tree = await asyncio.to_thread(self._source.walk)
        except ResourceFault as fault:
            self._unreadable.met(fault)
            return frozenset(gone)  # nobody can say that they are deleted
        self.note(tree)
        return frozenset(file for file in gone if tree.hides(file))

    def note(self, tree: Tree) -> None:
        """Say what a walk could not see, and what is not read; each once."""
        self.note_vanished(tree)
        self.note_warnings(tree)

    def note_vanished(self, tree: Tree) -> None:
        """Say which given paths went away or came back."""
        vanished = frozenset(tree.vanished_roots)
        for path in vanished - self._vanished:
            self._log.error("source_vanished", path=path, detail="what it held stays in force until it is back")
        for path in self._vanished - vanished:
            self._log.info("source_back", path=path)
        self._vanished = vanished

    def note_warnings(self, tree: Tree) -> None:
        """Say what is not read, once, and again when it was read in between."""
        for warning in sorted(set(tree.warnings) - self._warned):
            self._log.warning("source_warning", detail=warning)
        self._warned = frozenset(tree.warnings)
