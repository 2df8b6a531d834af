"""Single files held against the rest of their tree: for a hook that is given only what a commit touches.

The given files are read and validated; of the others only what no two documents may share matters. So their bytes are
searched for the names and recordings of the given files, and only a file in which one of these stands is parsed; where
there is an index of the tree, that is asked, and only files that it does not know are read. What must never happen in
this room: a file is passed over that would have been found in conflict.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Final

from reconciler.desired.documents.conflicts import FileDocuments, Place, conflict, cross_check
from reconciler.desired.documents.limits import DocumentLimits
from reconciler.desired.documents.parse import Refused, parse_quickly
from reconciler.desired.index.columns import Columns
from reconciler.desired.index.file import Index
from reconciler.desired.load import Files, Loaded, gather_problems, parse_files
from reconciler.desired.sources.folder import Source
from reconciler.desired.sources.stamps import FileStamp
from reconciler.desired.sources.tree import Tree
from reconciler.model import Problem, RecordingKey

#: What names and IDs are made of; whatever stands beside one in YAML is not of it.
_WORDS: Final = re.compile(rb"[0-9a-z.-]+")
#: Begins an escape in a quoted text, in which a name can hide from the search.
_ESCAPE: Final = b"\\"


def load_against(
    files: Source, root: Source, folder: Path, limits: DocumentLimits, index: Index | None = None
) -> Loaded:
    """Load some files, and name what they take that another file of their tree has already.

    Args:
        files: the given files.
        root: the tree below `folder`. Given files that lie outside of it are loaded all the same.
        folder: where the tree begins.
        limits: what one file may ask of this program.
        index: what earlier commands read of the tree; where there is none yet, its files are searched.

    Returns:
        As `load_documents` does, of the given files alone: a mistake inside another file is that file's own.
    """
    tree = files.walk()
    parsed = parse_files(files, tree, limits).documents()
    places = {file: Path(file).resolve() for file in tree.files}
    within = folder.resolve()
    members = [documents for documents in parsed if places[documents.file].is_relative_to(within)]
    problems = cross_check(parsed)
    if members:
        given = {(stamp.inode, stamp.device): places[file] for file, stamp in tree.files.items()}
        if index is not None and index.exists():
            problems += _conflicts(members, _known_others(root, given, members, limits, index))
        else:
            problems += _conflicts(members, _others(root, given, _words(members), limits))
    return _loaded(tree, parsed, problems)


def load_among(files: Files, others: Files, is_member: Callable[[str], bool], limits: DocumentLimits) -> Loaded:
    """Load some files, and name what they take that others have already: `load_against` where these are known apart.

    Args:
        files: the given files.
        others: the rest of their tree.
        is_member: answers whether a given file is in the tree.
        limits: what one file may ask of this program.
    """
    tree, rest = files.walk(), others.walk()
    # What is not looked at there may be in conflict, so it is named as well.
    tree = tree._replace(warnings=tuple(sorted({*tree.warnings, *rest.warnings})))
    parsed = parse_files(files, tree, limits).documents()
    problems = cross_check(parsed)
    members = [documents for documents in parsed if is_member(documents.file)]
    if members:
        problems += _conflicts(members, _holding(others, sorted(rest.files), _words(members), limits))
    return _loaded(tree, parsed, problems)


def _loaded(tree: Tree, parsed: Sequence[FileDocuments], problems: Sequence[Problem]) -> Loaded:
    found = gather_problems(tree, parsed, problems)
    valid = sorted((each for each in parsed if not each.problems), key=attrgetter("file"))
    return Loaded(Columns() if found else Columns.of(valid), found, tree)


def _words(members: Sequence[FileDocuments]) -> frozenset[bytes]:
    """Return what must stand in a file that takes something these files have, in lower case.

    The item of a set has the set's name in its own, so the set's is enough.
    """
    return frozenset(
        (claim.recording_id if isinstance(claim, RecordingKey) else claim.partition("/")[0]).encode()
        for documents in members
        for claim, _ in documents.claims()
    )


def _others(
    root: Source, given: Mapping[tuple[int, int], Path], words: frozenset[bytes], limits: DocumentLimits
) -> Iterator[FileDocuments]:
    """Yield the other files of the tree that may take one of the words."""
    files = root.walk().files
    yield from _holding(root, sorted(file for file in files if not _is_given(file, files[file], given)), words, limits)


def _holding(
    source: Files, files: Sequence[str], words: frozenset[bytes], limits: DocumentLimits
) -> Iterator[FileDocuments]:
    """Yield those of some files in which one of the words stands, or may."""
    for file in files:
        data = source.read(file)
        if not isinstance(data, Problem) and (_ESCAPE in data or not words.isdisjoint(_WORDS.findall(data.lower()))):
            documents = parse_quickly(data, file, limits)
            if not isinstance(documents, Refused):  # what is wrong with another file, it says itself
                yield documents


def _known_others(
    root: Source,
    given: Mapping[tuple[int, int], Path],
    members: Sequence[FileDocuments],
    limits: DocumentLimits,
    index: Index,
) -> Iterator[FileDocuments]:
    """Yield the other files of the tree that take something of the given ones, as far as possible without a look."""
    tree = root.walk()
    claims = {claim for documents in members for claim, _ in documents.claims()}
    for documents in parse_files(root, tree, limits, index).columns.claiming(claims):
        if not _is_given(documents.file, tree.files[documents.file], given):
            yield documents


def _is_given(file: str, stamp: FileStamp, given: Mapping[tuple[int, int], Path]) -> bool:
    same = given.get((stamp.inode, stamp.device))
    return same is not None and Path(file).resolve() == same


def _conflicts(members: Sequence[FileDocuments], others: Iterator[FileDocuments]) -> list[Problem]:
    holders: dict[str | RecordingKey, Place] = {}
    for documents in others:
        for claim, line in documents.claims():
            holders.setdefault(claim, Place(documents.file, line))
    problems = []
    for documents in members:
        # A document that repeats both the name and the recording of another is one mistake.
        told: set[tuple[int, Place]] = set()
        for claim, line in documents.claims():
            holder = holders.get(claim)
            if holder is not None and (line, holder) not in told:
                told.add((line, holder))
                problems.append(conflict(claim, Place(documents.file, line), holder))
    return problems
