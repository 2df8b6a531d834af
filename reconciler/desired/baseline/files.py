"""Documents out of a repository's objects: what is asked of a source, a walk and then one file after the other.

What must never happen in this room: a file's content is made up where it cannot be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from reconciler.desired.baseline.forest import Blob
from reconciler.desired.baseline.listing import Listing
from reconciler.desired.sources.stamps import FileStamp
from reconciler.desired.sources.tree import Tree
from reconciler.git import Repository, read_blobs, sizes
from reconciler.model import Problem, ReconcilerError

#: Of blobs: nothing about them changes, and nothing about them can be looked up.
_STAMP: Final = FileStamp(0, 0, 0, 0, 0, 0)
#: How much is read ahead of whoever asks, so that one git answers for many files.
_AHEAD_BYTES: Final = 8 * 1024 * 1024
#: Said of files that are on neither side, because nobody needs to fetch them for it.
ABSENT: Final = "the same at both, not here, as in a partial clone, and not looked at"


class LackingObjects(ReconcilerError):
    """Contents are not in the repository, as in a partial clone; `files` says how they are shown."""

    def __init__(self, files: list[str]) -> None:
        self.files = files
        super().__init__(f"the repository lacks the content of {counted(files)}, as a partial clone does")


class GitFiles:
    """The files of a listing."""

    def __init__(self, listing: Listing, max_file_bytes: int) -> None:
        """Read nothing yet.

        Args:
            listing: of a commit's tree, or of the index.
            max_file_bytes: larger files are refused.
        """
        self._listing = listing
        self._max_file_bytes = max_file_bytes
        self._places = {(blob.repository, blob.path) for blob in listing.files.values()}
        self._waiting: list[str] = []
        self._sizes: dict[str, int] = {}
        self._ahead: dict[str, bytes] = {}

    @property
    def folders(self) -> frozenset[str]:
        """The given paths that are folders."""
        return frozenset(self._listing.folders)

    def holds(self, file: str, other: GitFiles) -> bool:
        """Return whether a file of another listing is in this one too, under whatever name."""
        blob = other._listing.files.get(file)
        return blob is not None and (blob.repository, blob.path) in self._places

    def apart_from(self, other: GitFiles) -> GitFiles:
        """Return these files without those of another listing."""
        apart = {file: blob for file, blob in self._listing.files.items() if not other.holds(file, self)}
        rest = GitFiles(replace(self._listing, files=apart), self._max_file_bytes)
        rest._sizes = self._sizes
        return rest

    def walk(self) -> Tree:
        """Name every file."""
        listing = self._listing
        return Tree(
            files=dict.fromkeys(listing.files, _STAMP),
            problems=tuple(sorted(listing.problems, key=lambda problem: problem.file)),
            warnings=tuple(sorted(listing.warnings)),
            vanished_roots=(),
            unseen=(),
        )

    def prepare(self, files: list[str]) -> None:
        """Find out how large some files are; they can then be read, best in this order.

        Raises:
            LackingObjects: some are not here.
            GitError: git cannot be asked.
        """
        by_repository: dict[Repository, list[str]] = {}
        for file in files:
            blob = self._listing.files[file]
            if blob.id not in self._sizes:
                by_repository.setdefault(blob.repository, []).append(blob.id)
        for repository, identifiers in by_repository.items():
            self._sizes |= sizes(repository, identifiers)
        lacking = [file for file in files if self._listing.files[file].id not in self._sizes]
        if lacking:
            raise LackingObjects(lacking)
        self._waiting = files[::-1]

    def read(self, file: str) -> bytes | Problem:
        """Return what a file holds, or why not.

        Raises:
            LackingObjects: it is not here.
            GitError: git cannot be asked.
        """
        if file not in self._ahead:
            if file not in self._waiting:
                self.prepare(sorted(self._listing.files))
            if self._sizes[self._listing.files[file].id] > self._max_file_bytes:
                return self._too_large(file)
            self._read_ahead(file)
        return self._ahead.pop(file)

    def _too_large(self, file: str) -> Problem:
        size = self._sizes[self._listing.files[file].id]
        message = f"the file has {size:,} bytes, more than max_file_bytes allows ({self._max_file_bytes:,})"
        return Problem(file, 1, 1, message, rule="too-large")

    def _read_ahead(self, file: str) -> None:
        """Read a file, and those that come after it."""
        while self._waiting[-1] != file:
            self._waiting.pop()
        repository = self._listing.files[file].repository
        wanted: list[tuple[str, Blob, int]] = []
        total = 0
        while self._waiting:
            blob = self._listing.files[self._waiting[-1]]
            size = self._sizes[blob.id]
            if size <= self._max_file_bytes:
                if wanted and (blob.repository != repository or total + size > _AHEAD_BYTES):
                    break
                wanted.append((self._waiting[-1], blob, size))
                total += size
            self._waiting.pop()
        contents = read_blobs(repository, [(blob.id, size) for _, blob, size in wanted])
        self._ahead = {name: content for (name, _, _), content in zip(wanted, contents, strict=True)}


def lacking(root: str, reference: str, what: str) -> str:
    """Return why something of a commit cannot be read, and what helps.

    Args:
        root: of the repository's work tree.
        reference: the commit, as it was asked for.
        what: is not here.
    """
    import shlex  # late: only a refusal quotes

    remedy = f"git -C {shlex.quote(root)} diff {shlex.quote(reference)} >/dev/null"
    return (
        f"{what} of {reference} is not in the repository {root}, which is a partial clone; fetch it first: `{remedy}`"
    )


def readable(
    root: str,
    reference: str,
    before: Listing,
    after: Listing,
    max_file_bytes: int,
) -> tuple[GitFiles, list[str]]:
    """Return the files of a listing that can be read, and those that are the same on the other side, and not here.

    The latter are taken off both listings.

    Args:
        root: of the repository's work tree.
        reference: the other side, as it was asked for.
        before: the other side.
        after: this side.
        max_file_bytes: larger files are refused.

    Raises:
        ReconcilerError: a file that is not the same is not here.
    """
    files = GitFiles(after, max_file_bytes)
    try:
        files.prepare(sorted(after.files))
    except LackingObjects as error:
        for file in error.files:
            if before.files.get(file) != after.files[file]:
                raise ReconcilerError(lacking(root, reference, file)) from error
            del before.files[file], after.files[file]
        files = GitFiles(after, max_file_bytes)
        files.prepare(sorted(after.files))
        return files, error.files
    return files, []


def counted(files: Sequence[str]) -> str:
    """Return the first of some files, and how many more there are."""
    return files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
