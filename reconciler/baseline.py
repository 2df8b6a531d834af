"""The documents as they were at a Git commit: what a change is held against.

They are read out of the repository's objects, never by way of the work tree, and found by the same rules as those on
disk: below the same paths, by the same suffixes, hidden names left out. Links and submodules are left out as well: what
a link inside of a folder leads to stands there under its own name. What must never happen in this room: a file is read
from disk, or a document that its schema refuses counts as one that was there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.documents import DocumentLimits, FileDocuments, cross_check, parse_documents
from reconciler.errors import ReconcilerError
from reconciler.git import Commit, Entry, find_commit, list_entries, read_blobs
from reconciler.model import Desired, Problem
from reconciler.source import SUFFIXES


@dataclass(frozen=True, slots=True)
class Baseline:
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
    places = [os.path.realpath(path) for path in paths]
    commit = find_commit(_nearest_folder(places[0]), reference)
    roots = {_in_repository(commit, place): shown for place, shown in zip(reversed(places), reversed(paths), strict=True)}
    entries = list_entries(commit, list(roots))
    wanted: dict[str, Entry] = {}
    present = set()
    for entry in entries:
        path = os.fsdecode(entry.path)
        for root, given in sorted(roots.items(), key=lambda each: each[0] == path):
            shown = _shown(path, root, given)
            if shown is not None and entry.is_file:
                present.add(given)
                # The same bytes may be reached by two given paths: they count once, under the first.
                if entry not in wanted.values():
                    wanted[shown] = entry
    return _parsed(reference, commit, wanted, frozenset(present), limits)
