"""The two sides of a change: the documents at a commit, and those that are to take their place.

The new side is the work tree, the index or another commit. What must never happen in this room: what cannot be read on
one side counts as deleted; a submodule that changed and is not here goes unnamed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from reconciler.desired.baseline.commit import Baseline, read_listing
from reconciler.desired.baseline.files import ABSENT, GitFiles, LackingObjects, counted, readable
from reconciler.desired.baseline.listing import Listing
from reconciler.desired.baseline.paths import GivenPaths, find_commit, locate_paths
from reconciler.desired.baseline.worktree import WorkTree
from reconciler.desired.documents.limits import DocumentLimits
from reconciler.desired.load import Files, Loaded
from reconciler.desired.sources.folder import Source
from reconciler.git import (
    merge_base,
)
from reconciler.model import ReconcilerError


class Compared(NamedTuple):
    """What a change is between."""

    #: A branch, tag or commit, as git takes it.
    base: str
    #: Whether the index takes the place of the work tree.
    staged: bool = False
    #: A commit that takes the place of the index; empty for none.
    to: str = ""
    #: Whether the base is where the histories of both commits meet, for a branch that the other one has moved on from.
    meet: bool = False


class Change:
    """The documents at a commit, and those that are to take their place."""

    def __init__(
        self,
        reference: str,
        commit: str | None,
        before: Listing,
        after: Files,
        warnings: Sequence[str],
        *,
        differs: bool = True,
    ) -> None:
        """Put the parts together; `read_change` finds them."""
        self.reference = reference
        self.commit = commit
        #: What is to be loaded.
        self.after = after
        #: What is in neither side, in words.
        self.warnings = tuple(warnings)
        #: Whether any file differs, as far as that is known before any is read.
        self.differs = differs
        self._before = before

    def before(self, limits: DocumentLimits, after: Loaded | None = None) -> Baseline:
        """Return the documents at the commit.

        Args:
            limits: what one file may ask of this program.
            after: what was loaded of the other side. A file that has the same bytes there is not read again.

        Raises:
            ReconcilerError: some of them are not here, or git cannot be asked.
        """
        return read_listing(self.reference, self.commit, self._before, limits, after)


def read_change(compared: Compared, paths: Sequence[str], *, max_file_bytes: int) -> Change:
    """Find the documents at a commit, and those that are to take their place.

    Args:
        compared: the commit, and what is held against it.
        paths: files or folders, there now or at the commit, all in one repository.
        max_file_bytes: larger files are refused.

    Raises:
        ReconcilerError: there is no such commit, a path is in no repository or in another one, or what has changed
            cannot be read.
    """
    reference = compared.base
    tree = locate_paths(paths, reference)
    commit = find_commit(tree.repository, reference)
    if compared.to:
        other = find_commit(tree.repository, compared.to)
        if compared.meet and commit is not None and other is not None:
            commit = merge_base(tree.repository, commit, other) or commit
        return _change_of(
            reference, commit, tree, tree.at(reference, commit), tree.at(compared.to, other), max_file_bytes
        )
    before = tree.at(reference, commit)
    if compared.staged:
        return _change_of(reference, commit, tree, before, tree.staged(), max_file_bytes)
    # A path that was there at the commit and is not any more is a deletion, not a mistake.
    there = [path for path in paths if os.path.lexists(path) or str(Path(path)) not in before.present]
    known = WorkTree(tree.repository, tree.given)
    warnings = _unread(before, known.indexed)
    files = known.files(Source(there, max_file_bytes=max_file_bytes), reference, before, max_file_bytes)
    return Change(reference, commit, before, files, warnings)


def read_staged(compared: Compared, paths: Sequence[str], *, max_file_bytes: int) -> GitFiles:
    """Find the documents of the index, or of the commit that takes its place.

    Args:
        compared: the commit before, and what is read. The former is looked at only in a partial clone: what is the same
            there, and is not here, is left out and named.
        paths: files or folders, all in one repository. Where nothing is, there is no document.
        max_file_bytes: larger files are refused.

    Raises:
        ReconcilerError: a path is in no repository or in another one, there is no such commit, or it cannot be read.
    """
    tree = locate_paths(paths, compared.to or compared.base)
    repository = tree.repository
    listing = tree.at(compared.to, find_commit(repository, compared.to)) if compared.to else tree.staged()
    files = GitFiles(listing, max_file_bytes)
    try:
        files.prepare(sorted(listing.files))
    except LackingObjects:
        before = tree.at(compared.base, find_commit(repository, compared.base))
        files, absent = readable(repository.root, compared.base, before, listing, max_file_bytes)
        listing.warnings.append(f"{counted(absent)}: {ABSENT}")
    listing.warnings.extend(_not_here(shown) for shown in listing.unread)
    return files


def _change_of(
    reference: str, commit: str | None, tree: GivenPaths, before: Listing, after: Listing, max_file_bytes: int
) -> Change:
    warnings = _unread(before, after)
    # No mistake: a hook is there before the first document and after the last one, and no commit may be refused for it.
    warnings.extend(
        f"{shown}: nothing is there on either side, so there is no document to look at"
        for _, shown in tree.given
        if shown not in before.present | after.present
    )
    differs = before.files != after.files or bool(after.problems)
    if not differs:
        return Change(reference, commit, before, GitFiles(after, max_file_bytes), warnings, differs=False)
    files, absent = readable(tree.repository.root, reference, before, after, max_file_bytes)
    if absent:
        warnings.append(f"{counted(absent)}: {ABSENT}")
    return Change(reference, commit, before, files, warnings)


def _unread(before: Listing, after: Listing) -> list[str]:
    """Say which submodules are on neither side.

    Raises:
        ReconcilerError: the change concerns one whose content is not here.
    """
    for shown in sorted(before.unread.keys() | after.unread.keys()):
        one, other = before.unread.get(shown), after.unread.get(shown)
        if one != other:
            commit = other or one
            raise ReconcilerError(
                f"{shown} is a submodule, and its commit {commit} is not here, so that nobody can tell what the change"
                f" of it does; check it out, as by `git submodule update --init {shown}`, and fetch that commit, as by"
                f" `git -C {shown} fetch origin {commit}`"
            )
    return [_not_here(shown) for shown in sorted(before.unread)]


def _not_here(submodule: str) -> str:
    return (
        f"{submodule}: a submodule whose commit is not here, so that its documents are not looked at; see"
        f" `git submodule update --init {submodule}`"
    )
