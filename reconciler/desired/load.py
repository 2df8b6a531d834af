"""All documents below some paths: found, read where the index does not know them, held against one another.

What must never happen in this room: what a mistake is called, or whether it is found, depends on the index.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from reconciler.desired.documents.conflicts import FileDocuments, cross_check
from reconciler.desired.documents.limits import DocumentLimits, Patience
from reconciler.desired.documents.parse import parse_documents
from reconciler.desired.index.columns import Columns
from reconciler.desired.index.file import Index, Indexed
from reconciler.desired.sources.stamps import CONCLUSIVE_NS, FileStamp
from reconciler.desired.sources.tree import Tree
from reconciler.git import content_digest
from reconciler.model import Desired, Problem

#: Documents of so few bytes are read as fast as an index of them; they get none.
LEAST_BYTES: Final = 64 * 1024
#: The index is written anew once reading again what it lacks costs about as much as the writing: a sixteenth of all.
_SHARE: Final = 16


class Files(Protocol):
    """What is asked of a source here."""

    def walk(self) -> Tree: ...

    def read(self, file: str) -> bytes | Problem: ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """All documents below the given paths, for a command."""

    #: Of all files; empty when there is any problem, so that nobody acts on half of it.
    columns: Columns
    #: Those of all files, sorted by file, line and column.
    problems: tuple[Problem, ...]
    #: The walk that found the files. Each is of its own moment, which makes no difference to what was loaded.
    tree: Tree = field(compare=False)
    #: The digests of the bytes of the files of `columns`, one after the other.
    digests: bytes = b""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was skipped, in words."""
        return self.tree.warnings

    @property
    def files(self) -> int:
        """How many files there are."""
        return len(self.tree.files)

    @property
    def desired(self) -> tuple[Desired, ...]:
        """Every document, sorted by name."""
        return tuple(sorted(self.columns.desired(), key=_name))


class Parsed(NamedTuple):
    """What the files of a walk hold, each by itself."""

    #: Of the valid files.
    columns: Columns
    #: The files that are refused, sorted by name.
    refused: tuple[FileDocuments, ...]
    #: The digests of the bytes of the valid files, one after the other.
    digests: bytes

    def documents(self) -> list[FileDocuments]:
        """Return all files."""
        return [*self.columns.documents(), *self.refused]


def load_documents(source: Files, limits: DocumentLimits, index: Index | None = None) -> Loaded:
    """Walk, read, parse and cross-check everything. A given path that is not there is a problem like any other."""
    with uncollected():
        tree = source.walk()
        parsed = parse_files(source, tree, limits, index)
        conflicts = () if parsed.columns.unambiguous else cross_check(parsed.columns.documents())
        problems = gather_problems(tree, parsed.refused, conflicts)
        if problems:
            return Loaded(Columns(), problems, tree)
        return Loaded(parsed.columns, (), tree, parsed.digests)


def parse_files(
    source: Files, tree: Tree, limits: DocumentLimits, index: Index | None = None, *, explain: bool = True
) -> Parsed:
    """Return what the files of a walk hold; read those of which the index does not prove it.

    Args:
        source: that was walked.
        tree: the walk.
        limits: what one file may ask of this program.
        index: what earlier runs read; where much of it is missing or old, it is written anew.
        explain: whether somebody wants to know what is wrong with a refused file; else its problems have no meaning.
    """
    indexed = None if index is None else index.read()
    reading = _Reading(tree.files, indexed)
    patience = Patience() if explain else Patience(0)
    for file in reading.unproven:
        before = time.time_ns()
        data = source.read(file)
        if isinstance(data, Problem):
            reading.refused.append(FileDocuments(file, (), (data,)))
        else:
            reading.take_or_keep(data, file, limits, before, patience)
    columns = reading.columns()
    columns.check()
    digests = reading.digests(columns)
    if index is not None and reading.deserves_writing:
        index.write(columns, reading.stamps(columns), digests)
    return Parsed(columns, tuple(reading.refused), digests)


@dataclass(slots=True)
class _Known:
    """A valid file that was read again: its digest, and its stamp where an equal one proves equal bytes from now on."""

    digest: bytes
    stamp: FileStamp | None


class _Reading:
    """Which files of a walk an index proves, and what was found in the others."""

    def __init__(self, files: Mapping[str, FileStamp], indexed: Indexed | None) -> None:
        self._files = files
        self._indexed = indexed
        #: Places in the index of the files whose content is as it was, proven by their stamps or read again.
        self._kept: list[int] = []
        self._fresh: list[FileDocuments] = []
        self._known: dict[str, _Known] = {}
        self._places: dict[str, int] = {}
        self.refused: list[FileDocuments] = []
        #: Sorted by name.
        self.unproven: Sequence[str] = ()
        if indexed is None:
            self.unproven = sorted(files)
        else:
            self._compare(indexed)

    def _compare(self, indexed: Indexed) -> None:
        files = indexed.columns.files
        if indexed.proves(self._files):
            self._kept = list(range(len(files)))
            self.unproven = ()
            return
        # A walk takes all its stamps at one moment.
        proven = indexed.proven(next(iter(self._files.values())).read_at_ns if self._files else 0)
        self._places = {file: place for place, file in enumerate(files)}
        unproven = []
        for file, stamp in self._files.items():
            before = proven.get(file)
            if before is not None and before[:5] == stamp[:5]:
                self._kept.append(self._places[file])
            else:
                unproven.append(file)
        self.unproven = sorted(unproven)

    def take_or_keep(self, data: bytes, file: str, limits: DocumentLimits, before: int, patience: Patience) -> None:
        """Parse a file, unless the index knows these bytes under this name.

        Args:
            before: the wall clock just before the file was read, in nanoseconds.
        """
        digest = content_digest(data)
        place = self._places.get(file)
        if place is not None and self._indexed is not None and self._indexed.digest(place) == digest:
            self._kept.append(place)
        else:
            documents = parse_documents(data, file, limits, patience)
            if documents.problems:
                self.refused.append(documents)
                return
            self._fresh.append(documents)
        stamp = self._files[file]
        conclusive = before - max(stamp.mtime_ns, stamp.ctime_ns) > CONCLUSIVE_NS
        self._known[file] = _Known(digest, stamp if conclusive else None)

    def columns(self) -> Columns:
        """Return what the valid files declare."""
        if self._indexed is None:
            return Columns.of(self._fresh)
        self._kept.sort()
        return self._indexed.columns.merged(self._kept, self._fresh)

    @property
    def deserves_writing(self) -> bool:
        """Whether the index lacks so much that it is better written anew."""
        if not self._known:
            return False
        total = sum(stamp.size for stamp in self._files.values())
        lacking = sum(self._files[file].size for file in self._known)
        if total < LEAST_BYTES:
            return False
        return lacking * _SHARE >= total or len(self._known) * _SHARE >= len(self._files)

    def stamps(self, columns: Columns) -> list[FileStamp | None]:
        """Return the stamp of each valid file, as the index takes it."""
        known = (self._known.get(file) for file in columns.files)
        return [
            self._files[file] if each is None else each.stamp for file, each in zip(columns.files, known, strict=True)
        ]

    def digests(self, columns: Columns) -> bytes:
        """Return the digest of each valid file, one after the other."""
        indexed = self._indexed
        if indexed is not None and columns is indexed.columns and not self._known:
            return indexed.digests
        known = (self._known.get(file) for file in columns.files)
        return b"".join(
            each.digest if each is not None else b"" if indexed is None else indexed.digest(self._places[file])
            for file, each in zip(columns.files, known, strict=True)
        )


def gather_problems(tree: Tree, parsed: Iterable[FileDocuments], conflicts: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return what is wrong with a walk, its files and between files, sorted by file, line and column."""
    problems = [Problem(root, 1, 1, "no such file or folder", rule="missing") for root in tree.vanished_roots]
    problems.extend(tree.problems)
    for documents in parsed:
        problems.extend(documents.problems)
    problems.extend(conflicts)
    problems.sort(key=lambda problem: (problem.file, problem.line, problem.column))
    return tuple(problems)


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep Python from searching for cycles of garbage while many values are made that have none.

    It searches all there is again and again as more is made: a third of the time of a plan of 100,000 recordings.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _name(document: Desired) -> str:
    return document.name
