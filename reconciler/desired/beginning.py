"""The first look at everything, which also knows what earlier runs recorded.

What must never happen in this room: a recording is released because its file is invalid, or out of sight, at the moment
when the program starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from reconciler.desired.documents.conflicts import FileDocuments
from reconciler.desired.documents.limits import DocumentLimits, Patience
from reconciler.desired.index.file import Index
from reconciler.desired.load import Files, parse_files
from reconciler.desired.readings import Reading, Readings
from reconciler.desired.sources.tree import Tree
from reconciler.model import Desired, Record

#: How much time of the processor the start may take to explain what is invalid, before anything is in force.
_PATIENCE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Beginning:
    """What the first look found."""

    tree: Tree
    readings: tuple[Reading, ...]
    #: What each file holds now, also those that may not be read.
    contents: Mapping[str, FileDocuments]


def read_everything(source: Files, readings: Readings, limits: DocumentLimits, index: Index | None) -> Beginning:
    """Walk and read all files.

    Args:
        source: of the files.
        readings: reads those that the index does not know.
        limits: what one file may ask of this program.
        index: what earlier runs read; only for files whose stamps prove that their bytes are the same.

    Raises:
        ResourceFault: the system cannot read some file.
    """
    tree = source.walk()
    patience = Patience(_PATIENCE_SECONDS)
    refused = {problem.file: problem for problem in tree.problems}
    found = []
    unknown: Iterable[str] = tree.files
    if index is not None:
        parsed = parse_files(source, tree, limits, index, explain=False)
        found = [Reading(each.file, tree.files[each.file], each) for each in parsed.columns.documents()]
        # Once more: one of them may have gone away after the walk, which is no mistake.
        unknown = [each.file for each in parsed.refused]
    for reading in readings.read(unknown, {}):
        if reading.fault is not None:
            raise reading.fault
        if reading.refused is not None:
            reading = replace(reading, documents=readings.explain(reading.refused, patience))
        found.append(reading)
    contents = {reading.file: reading.documents for reading in found if reading.documents is not None}
    for file, problem in refused.items():
        contents[file] = FileDocuments(file, (), (problem,))
    return Beginning(tree, tuple(found), contents)


def remembered(
    beginning: Beginning, records: Iterable[Record], name_of: Callable[[str, str], str | None]
) -> dict[str, FileDocuments | None]:
    """Return, for each file that is invalid or out of sight now, what our records say it held when it was valid.

    Args:
        beginning: what the first look found.
        records: what earlier runs recorded.
        name_of: says what a file of a record, and what it is relative to, is called here; None for one of elsewhere.
    """
    tree, contents = beginning.tree, beginning.contents
    broken = {file for file, documents in contents.items() if documents.problems}
    if not (broken or tree.unseen or tree.hidden):
        return {}
    elsewhere = {item.key for documents in contents.values() for item in documents.desired}
    in_force: dict[str, list[Desired]] = {}
    for record in records:
        if record.key in elsewhere:
            continue
        file = name_of(record.file, record.base)
        if file is not None and (file in broken or (file not in contents and tree.hides(file))):
            in_force.setdefault(file, []).append(document_of(record, file))
    return {file: FileDocuments(file, tuple(desired), ()) for file, desired in in_force.items()}


def document_of(record: Record, file: str) -> Desired:
    """Return what a recording's document asked for when it was last valid; `file` is what its file is called now."""
    return Desired(
        record.key, record.name, record.desired, file, record.line, record.drift, record.suspend, record.labels
    )
