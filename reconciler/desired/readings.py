"""What single files hold now: read for the one who follows them, the same bytes parsed once and explained once.

A file that is invalid is first only refused, which costs as much as reading a valid one; why, is said when there is
time for that. What must never happen in this room: a file that the system could not read passes for one that is
invalid, or for one that is gone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from reconciler.desired.documents.conflicts import FileDocuments
from reconciler.desired.documents.limits import DocumentLimits, Patience
from reconciler.desired.documents.parse import Refused, parse_quickly
from reconciler.desired.sources.stamps import FileStamp
from reconciler.model import Problem, ResourceFault


class Readable(Protocol):
    """What is asked of a source here."""

    def stamp(self, file: str) -> FileStamp | None: ...

    def read(self, file: str) -> bytes | Problem: ...

    def revision_of(self, file: str) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Reading:
    """What one file holds now, and the stamp it had just before it was read; no stamp when there is no such file."""

    file: str
    stamp: FileStamp | None
    #: Of an invalid file that is not explained yet, one problem that says so.
    documents: FileDocuments | None
    #: What is to be explained.
    refused: Refused | None = None
    #: Why nothing is known of the file now; then everything else here means nothing.
    fault: ResourceFault | None = None


@dataclass(slots=True)
class _Judged:
    """An invalid file that is known by its bytes."""

    digest: bytes
    #: Why it is invalid, once that has been found out.
    explained: FileDocuments | None = None


class Readings:
    """Reads files, and remembers of the invalid ones what was found out."""

    def __init__(self, source: Readable, limits: DocumentLimits) -> None:
        self._source = source
        self._limits = limits
        self._judged: dict[str, _Judged] = {}

    def size(self, file: str) -> int:
        """Return how many bytes a file has now; 0 where there is none, or nobody knows."""
        try:
            stamp = self._source.stamp(file)
        except ResourceFault:
            return 0
        return 0 if stamp is None else stamp.size

    def read(self, files: Iterable[str], refused: Mapping[str, Problem]) -> Iterator[Reading]:
        """Read files, in their order.

        Args:
            files: their names.
            refused: of these that a walk met and that may not be read at all, why.
        """
        for file in files:
            try:
                yield self._read(file, refused.get(file))
            except ResourceFault as fault:
                yield Reading(file, None, None, fault=fault)

    def read_now(self, files: Iterable[str], refused: Mapping[str, Problem]) -> list[Reading]:
        """Read files at once, as `read` does."""
        return list(self.read(files, refused))

    def explain(self, refused: Refused, patience: Patience | None = None) -> FileDocuments:
        """Say why a file is invalid; any thread may ask."""
        found = refused.explain(patience)
        judged = self._judged.get(refused.file)
        if judged is not None and judged.digest == _digest(refused.data):
            judged.explained = found
        return found

    def _read(self, file: str, problem: Problem | None) -> Reading:
        stamp = self._source.stamp(file)
        if stamp is None:
            self._judged.pop(file, None)
            return Reading(file, None, None if problem is None else FileDocuments(file, (), (problem,)))
        data = self._source.read(file)
        if isinstance(data, Problem):
            return Reading(file, stamp, FileDocuments(file, (), (data,)))
        judged = self._judged.get(file)
        digest = b"" if judged is None else _digest(data)
        if judged is not None and judged.digest == digest:
            if judged.explained is not None:
                return Reading(file, stamp, judged.explained)
            return Reading(file, stamp, _unexplained(file), Refused(data, file, self._limits, None))
        found = parse_quickly(data, file, self._limits)
        if isinstance(found, Refused):
            self._judged[file] = _Judged(digest or _digest(data))
            # What the reader met may be as large as the file, and there may be many such files.
            return Reading(file, stamp, _unexplained(file), found._replace(reason=None))
        self._judged.pop(file, None)
        revision = self._source.revision_of(file)
        return Reading(file, stamp, replace(found, revision=revision) if revision else found)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _unexplained(file: str) -> FileDocuments:
    return FileDocuments(file, (), (Problem(file, 1, 1, "is not valid", rule="unexplained"),))
