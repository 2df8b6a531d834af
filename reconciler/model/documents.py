"""What the documents declare, where they came from, and what is wrong with one."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from reconciler.model.keys import RecordingKey
from reconciler.model.statuses import Drift, Status


@dataclass(frozen=True, slots=True)
class Suspend:
    """A document's request to be left alone until a moment, and why."""

    reason: str
    until: datetime


#: Labels of a document, sorted by their names. Documents with the same labels share one object, since there are few of
#: these and many of those.
Labels = tuple[tuple[str, str], ...]


class Desired(NamedTuple):
    """What one document (or one item of a set) asks for, and where it stands.

    A tuple, because a hundred thousand are made at once: in a third of the time of a frozen dataclass. Annotations are
    for those who read the files: nothing here does, so they are checked and not kept.
    """

    key: RecordingKey
    name: str
    status: Status
    #: The path of the file as it is shown to people, and the 1-based line of the field that is edited: `status:`.
    file: str
    line: int
    drift: Drift = Drift.SAFE
    suspend: Suspend | None = None
    labels: Labels = ()
    #: The 1-based line where the document or item begins; 0 where that is not known, as from a record.
    begins: int = 0

    @property
    def first_line(self) -> int:
        """Where the document or item begins, as near as is known."""
        return self.begins or self.line


@dataclass(frozen=True, slots=True)
class Revision:
    """A Git commit that documents came from, as people know it."""

    #: Hexadecimal.
    id: str
    #: Name and address, as the commit itself says; on one line.
    author: str
    #: The first line of its message.
    subject: str
    committed_at: datetime


class InForce(NamedTuple):
    """The revision of a Git source that is in force."""

    revision: str
    #: Whether it came into force because its signature, and those of all on the way to it, were good.
    judged: bool


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in one document.

    `line` and `column` are 1-based; 0 where the problem concerns the file as a whole is written as 1.
    """

    file: str
    line: int
    column: int
    message: str
    #: RFC 6901, from the document's root; empty where no value is concerned.
    pointer: str = ""
    #: What to do about it, such as ``did you mean `paused`?``; part of the shown line.
    hint: str = ""
    #: A short constant word per kind of mistake, such as `duplicate-key`, for machine-readable reports.
    rule: str = field(default="schema", compare=False)

    def __str__(self) -> str:
        message = f"{self.message}, {self.hint}" if self.hint else self.message
        pointer = f" [{self.pointer}]" if self.pointer else ""
        return f"{self.file}:{self.line}:{self.column}: {message}{pointer}"
