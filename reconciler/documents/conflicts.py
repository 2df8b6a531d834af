"""What no two documents may share: a name, a recording. Over all files, since each file is valid by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from reconciler.documents.wording import cut
from reconciler.model import Desired, Problem, RecordingKey


class Place(NamedTuple):
    """Where a document or item begins; its order is that of files and lines."""

    file: str
    line: int


@dataclass(frozen=True, slots=True)
class FileDocuments:
    """What one file declares, or why it is refused."""

    file: str
    #: In the order of the file; empty when there are problems.
    desired: tuple[Desired, ...]
    #: In the order of the file.
    problems: tuple[Problem, ...]
    #: The name and line of each `CallRecordingSet`: names of documents too, though no recording has them.
    sets: tuple[tuple[str, int], ...] = ()
    #: The Git commit that gave the file this content, where a commit did.
    revision: str | None = None

    def claims(self) -> Iterator[tuple[str | RecordingKey, int]]:
        """Yield whatever this file takes for itself, a name or a recording, each with its line."""
        yield from self.sets
        for desired in self.desired:
            yield desired.name, desired.first_line
            yield desired.key, desired.first_line

    def pointer_to(self, claim: str | RecordingKey, line: int) -> str:
        """Return the JSON pointer of what is claimed, from the root of the document that claims it."""
        field = "recordingId" if isinstance(claim, RecordingKey) else "name"
        items: dict[str, int] = {}
        for desired in self.desired:
            # Only an item of a set has a slash in its name; items stand in their set's order.
            owner, slash, _ = desired.name.partition("/")
            index = items[owner] = items.get(owner, -1) + 1
            if desired.first_line == line and claim in (desired.name, desired.key):
                if slash:
                    return f"/spec/recordings/{index}/{field}"
                return "/spec/recordingId" if field == "recordingId" else "/metadata/name"
        return "/metadata/name"


def conflict(claim: str | RecordingKey, later: Place, earlier: Place, *, pointer: str = "") -> Problem:
    """Word the conflict of two places that claim one name or one recording."""
    where = f"{earlier.file}:{earlier.line}"
    if isinstance(claim, RecordingKey):
        message = f"duplicate recording {claim.recording_id}, already declared in {where}"
        return Problem(later.file, later.line, 1, message, pointer, "keep one of the two", rule="duplicate-recording")
    message = f"duplicate name `{cut(claim)}`, already given in {where}"
    hint = "names are unique over all documents"
    return Problem(later.file, later.line, 1, message, pointer, hint, rule="duplicate-name")


def cross_check(files: Iterable[FileDocuments]) -> list[Problem]:
    """Return a problem for each place that claims what an earlier one has, in order of file and line.

    Files count in the order of their names, whatever order they come in. A document that repeats both the name and the
    recording of another is one mistake.
    """
    holders: dict[str | RecordingKey, Place] = {}
    problems: list[Problem] = []
    for documents in sorted(files, key=attrgetter("file")):
        told: set[tuple[Place, Place]] = set()
        found = []
        for claim, line in documents.claims():
            place = Place(documents.file, line)
            holder = holders.setdefault(claim, place)
            # By identity: two documents in flow style may begin on one line.
            if holder is not place and (place, holder) not in told:
                told.add((place, holder))
                pointer = documents.pointer_to(claim, line)
                found.append(conflict(claim, place, holder, pointer=pointer))
        problems.extend(sorted(found, key=attrgetter("line")))
    return problems
