"""What the documents said at a commit, which is one side of a change.

What must never happen in this room: a document that its schema refuses counts as one that was there; a file that cannot
be read counts as one that is not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from reconciler.desired.baseline.files import GitFiles, LackingObjects, counted, lacking
from reconciler.desired.baseline.listing import Listing
from reconciler.desired.baseline.paths import find_commit, locate_paths
from reconciler.desired.documents.conflicts import FileDocuments, cross_check
from reconciler.desired.documents.limits import DocumentLimits, Patience
from reconciler.desired.documents.parse import parse_documents
from reconciler.desired.index.columns import Columns
from reconciler.desired.load import Loaded
from reconciler.git import (
    DIGEST_BYTES,
    blob_of,
)
from reconciler.model import Desired, Problem, ReconcilerError


class Baseline(NamedTuple):
    """What the documents said at a commit."""

    #: As it was asked for, such as `main`.
    reference: str
    #: Hexadecimal; None before the first commit.
    commit: str | None
    #: Sorted by name; empty when there is any problem.
    desired: tuple[Desired, ...]
    #: Those of all files, sorted by file, line and column; each `file` begins with the reference and a colon.
    problems: tuple[Problem, ...]
    #: The given paths that were there.
    present: frozenset[str]


def read_baseline(reference: str, paths: Sequence[str], limits: DocumentLimits) -> Baseline:
    """Read the documents that a commit holds below some paths.

    Args:
        reference: a branch, tag or commit, as git takes it.
        paths: files or folders, there now or not, all in one repository.
        limits: what one file may ask of this program.

    Raises:
        ReconcilerError: there is no such commit, or a path is in no repository or in another one.
    """
    tree = locate_paths(paths, reference)
    commit = find_commit(tree.repository, reference)
    return read_listing(reference, commit, tree.at(reference, commit), limits, None)


def read_listing(
    reference: str, commit: str | None, listing: Listing, limits: DocumentLimits, after: Loaded | None
) -> Baseline:
    kept, others = _divided(listing, after)
    files = GitFiles(listing, limits.max_file_bytes)
    try:
        files.prepare(others)
    except LackingObjects as error:
        root = listing.files[error.files[0]].repository.root
        raise ReconcilerError(lacking(root, reference, counted(error.files))) from error
    parsed = []
    patience = Patience()
    for file in others:
        data = files.read(file)
        parsed.append(
            FileDocuments(file, (), (data,))
            if isinstance(data, Problem)
            else parse_documents(data, file, limits, patience)
        )
    columns = Columns() if after is None else after.columns
    columns = columns.merged(kept, [each for each in parsed if not each.problems])
    columns.check()
    problems = [problem for problem in listing.problems if problem.rule == "file-name"]
    problems += [problem for each in parsed for problem in each.problems]
    problems += () if columns.unambiguous else cross_check(columns.documents())
    return Baseline(
        reference=reference,
        commit=commit,
        desired=() if problems else tuple(sorted(columns.desired(), key=_name)),
        problems=tuple(
            replace(problem, file=f"{reference}:{problem.file}")
            for problem in sorted(problems, key=lambda problem: (problem.file, problem.line, problem.column))
        ),
        present=frozenset(listing.present),
    )


def _divided(listing: Listing, after: Loaded | None) -> tuple[list[int], list[str]]:
    """Return the places of the files that have the same bytes on the other side, and the other files, both sorted."""
    kept = []
    same = set()
    for place, file in enumerate(() if after is None else after.columns.files):
        blob = listing.files.get(file)
        if blob is not None and after is not None:
            digest = after.digests[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES]
            if blob_of(digest, wide=len(blob.id) == 64).hex() == blob.id:
                kept.append(place)
                same.add(file)
    return kept, sorted(listing.files.keys() - same)


def _name(document: Desired) -> str:
    return document.name
