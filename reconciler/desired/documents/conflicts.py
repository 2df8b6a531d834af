"""What no two documents may share: a name, a recording. Over all files, since each file is valid by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final, NamedTuple

from reconciler.desired.documents.wording import cut
from reconciler.model import Desired, Problem, RecordingKey

#: How many conflicts of one file are told: a copy of a large file has as many as documents.
MOST_CONFLICTS: Final = 1000


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

    def pointers(self) -> dict[tuple[str | RecordingKey, int], str]:
        """Return the JSON pointer of each claim of a recording's document or item, by the claim and its line.

        The claims of sets, which are names, have none here: they stand in `/metadata/name`.
        """
        found: dict[tuple[str | RecordingKey, int], str] = {}
        items: dict[str, int] = {}
        for desired in self.desired:
            # Only an item of a set has a slash in its name; items stand in their set's order.
            owner, slash, _ = desired.name.partition("/")
            index = items[owner] = items.get(owner, -1) + 1
            line = desired.first_line
            found.setdefault((desired.name, line), f"/spec/recordings/{index}/name" if slash else "/metadata/name")
            place = f"/spec/recordings/{index}/recordingId" if slash else "/spec/recordingId"
            found.setdefault((desired.key, line), place)
        return found


def conflict(claim: str | RecordingKey, later: Place, earlier: Place, *, pointer: str = "") -> Problem:
    """Word the conflict of two places that claim one name or one recording.

    Which of the two is the copy nobody knows, so the words name both and blame neither.
    """
    where = f"{earlier.file}:{earlier.line}"
    if isinstance(claim, RecordingKey):
        message = f"duplicate recording {claim.recording_id}, also declared in {where}"
        return Problem(later.file, later.line, 1, message, pointer, "keep one of the two", rule="duplicate-recording")
    message = f"duplicate name `{cut(claim)}`, also given in {where}"
    hint = "names are unique over all documents: if one is a copy of the other, rename or delete the copy"
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
        found: list[Problem] = []
        pointers: Mapping[tuple[str | RecordingKey, int], str] | None = None
        for claim, line in documents.claims():
            place = Place(documents.file, line)
            holder = holders.setdefault(claim, place)
            # By identity: two documents in flow style may begin on one line.
            if holder is not place and (place, holder) not in told:
                told.add((place, holder))
                pointers = documents.pointers() if pointers is None else pointers
                found.append(conflict(claim, place, holder, pointer=pointers.get((claim, line), "/metadata/name")))
        problems.extend(in_bounds(sorted(found, key=attrgetter("line"))))
    return problems


def in_bounds(found: Sequence[Problem]) -> Sequence[Problem]:
    """Return the conflicts of one file, of very many only the first, and that there are more."""
    if len(found) <= MOST_CONFLICTS:
        return found
    shown = found[:MOST_CONFLICTS]
    message = f"only some problems are explained: {len(found) - MOST_CONFLICTS:,} more conflicts are in this file"
    return [*shown, Problem(shown[-1].file, found[MOST_CONFLICTS].line, 1, message, rule="too-many")]
