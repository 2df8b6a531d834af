"""What a change is: the documents at a Git commit, and those that are to take their place.

The former are read out of the repository's objects; the latter are the work tree's files as a commit would have them,
or those of the index or of another commit. Both are found by the same rules as those on disk, each in its own tree: a
link or a submodule means what it means there. What must never happen in this room: another repository than the one that
the paths are in answers; a document that its schema refuses counts as one that was there; what cannot be read counts as
one that is not there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler.desired.baseline.files import ABSENT, GitFiles, LackingObjects, counted, lacking, readable
from reconciler.desired.baseline.forest import Forest
from reconciler.desired.baseline.listing import Listing, list_documents
from reconciler.desired.baseline.sight import Checkout
from reconciler.desired.baseline.worktree import WorkTree
from reconciler.desired.documents import DocumentLimits, FileDocuments, Patience, cross_check, parse_documents
from reconciler.desired.index import Columns
from reconciler.desired.load import Files, Loaded
from reconciler.desired.sources import Source
from reconciler.git import (
    DIGEST_BYTES,
    LacksObjects,
    Location,
    Repository,
    blob_of,
    is_shallow,
    is_unborn,
    locate,
    merge_base,
    resolve,
)
from reconciler.model import Desired, Problem, ReconcilerError
from reconciler.telemetry import visible

__all__ = [
    "Baseline",
    "Change",
    "Checkout",
    "Compared",
    "Forest",
    "list_documents",
    "read_baseline",
    "read_change",
    "read_staged",
]


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


@dataclass(frozen=True, slots=True)
class _Tree:
    """Some given paths in one repository."""

    repository: Repository
    #: The paths from its root, each with how it is shown.
    given: tuple[tuple[str, str], ...]

    def at(self, reference: str, commit: str | None) -> Listing:
        try:
            return list_documents(Forest(self.repository, commit), self.given)
        except LacksObjects as error:
            raise ReconcilerError(lacking(self.repository.root, reference, "a folder")) from error

    def staged(self) -> Listing:
        return list_documents(Forest(self.repository, None, index=True), self.given)


@dataclass(frozen=True, slots=True)
class Compared:
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
        return _read(self.reference, self.commit, self._before, limits, after)


def read_baseline(reference: str, paths: Sequence[str], limits: DocumentLimits) -> Baseline:
    """Read the documents that a commit holds below some paths.

    Args:
        reference: a branch, tag or commit, as git takes it.
        paths: files or folders, there now or not, all in one repository.
        limits: what one file may ask of this program.

    Raises:
        ReconcilerError: there is no such commit, or a path is in no repository or in another one.
    """
    tree = _locate(paths, reference)
    commit = _find_commit(tree.repository, reference)
    return _read(reference, commit, tree.at(reference, commit), limits, None)


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
    tree = _locate(paths, reference)
    commit = _find_commit(tree.repository, reference)
    if compared.to:
        other = _find_commit(tree.repository, compared.to)
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
    tree = _locate(paths, compared.to or compared.base)
    repository = tree.repository
    listing = tree.at(compared.to, _find_commit(repository, compared.to)) if compared.to else tree.staged()
    files = GitFiles(listing, max_file_bytes)
    try:
        files.prepare(sorted(listing.files))
    except LackingObjects:
        before = tree.at(compared.base, _find_commit(repository, compared.base))
        files, absent = readable(repository.root, compared.base, before, listing, max_file_bytes)
        listing.warnings.append(f"{counted(absent)}: {ABSENT}")
    listing.warnings.extend(_not_here(shown) for shown in listing.unread)
    return files


def _change_of(
    reference: str, commit: str | None, tree: _Tree, before: Listing, after: Listing, max_file_bytes: int
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


def _locate(paths: Sequence[str], reference: str) -> _Tree:
    found: list[tuple[Location, str]] = []
    for path in paths:
        location = locate(path, (reference,))
        if location is None and not found:
            raise ReconcilerError(f"{path} is in no work tree: not a git repository, nor any folder above it")
        if location is None or (found and location.repository.root != found[0][0].repository.root):
            raise ReconcilerError(f"{path} is not in the repository {found[0][0].repository.root}, as {paths[0]} is")
        found.append((location, str(Path(path))))
    return _Tree(found[0][0].repository, tuple((location.path, shown) for location, shown in found))


def _find_commit(repository: Repository, reference: str) -> str | None:
    """Return the commit that a reference names; None for `HEAD` before the first commit.

    Raises:
        ReconcilerError: it names none; the message says what helps.
    """
    found = resolve(repository, reference)
    if found is None and not (reference == "HEAD" and is_unborn(repository)):
        remote = f"origin/{reference}"
        hint = (
            f"did you mean `{remote}`?"
            if resolve(repository, remote)
            else "this clone is shallow: fetch it first, as by `git fetch origin BRANCH`, or clone with more depth"
            if is_shallow(repository)
            else "`git branch --all` and `git tag` list what there is, and `git fetch` brings what is new elsewhere"
        )
        raise ReconcilerError(f"`{visible(reference[:200])}` names no commit in {repository.root}; {hint}")
    return found


def _read(
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
