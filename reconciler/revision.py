"""Which Git commit the documents are, file by file: the bytes that were read are held against those of the commit.

What git says of a work tree is not asked: it knows nothing of files that it ignores, that are behind a link, or that it
was told not to look at. What must never happen in this room: a commit is named for bytes that it does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.baseline import Forest, list_documents
from reconciler.blobs import DIGEST_BYTES, blob_of, content_digest, is_same
from reconciler.errors import ReconcilerError
from reconciler.git import Repository, describe, locate, resolve
from reconciler.model import Problem, Revision


@dataclass(frozen=True, slots=True)
class Revisions:
    """Which files are as the last commit has them."""

    repository: Repository | None = None
    #: The commit, hexadecimal; None outside of Git and before the first.
    commit: str | None = None
    #: The files that were read and are not what the commit holds, or that only the commit holds.
    other: frozenset[str] = frozenset()
    #: Of these, the ones that only the commit holds.
    missing: frozenset[str] = frozenset()
    #: Why nothing could be found out, where there is a repository; empty when all went well.
    error: str = ""

    @property
    def whole(self) -> str | None:
        """The commit, where all documents are as it has them."""
        return None if self.other else self.commit

    def of(self, file: str) -> str | None:
        """Return the commit that holds a file as it was read."""
        return None if file in self.other else self.commit

    def describe(self) -> Revision | None:
        """Return whose commit it is and what it says of itself; None where git does not tell."""
        if self.repository is None or self.commit is None:
            return None
        try:
            return describe(self.repository, self.commit)
        except ReconcilerError:
            return None


def find_revisions(
    paths: Sequence[str], files: Sequence[str], digests: bytes, read: Callable[[str], bytes | Problem]
) -> Revisions:
    """Hold files that were read against the last commit of the repository that they are in.

    Args:
        paths: as they were given. Those in another repository than the first have no commit.
        files: that were read, as they are shown.
        digests: of their bytes, one after the other.
        read: reads a file once more, where line ends may be all that differs.
    """
    repository = None
    try:
        location = locate(paths[0])
        if location is None:
            return Revisions()
        repository = location.repository
        commit = resolve(repository, "HEAD")
        if commit is None:
            return Revisions(repository)
        given = [(location.path, str(Path(paths[0])))]
        for path in paths[1:]:
            other = locate(path)
            if other is not None and other.repository.root == repository.root:
                given.append((other.path, str(Path(path))))
        listing = list_documents(Forest(repository, commit), given)
    except ReconcilerError as error:
        return Revisions(repository, error=str(error))
    unlike = set()
    for place, file in enumerate(files):
        blob = listing.files.get(file)
        digest = digests[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES]
        if blob is None or not (_is_blob(digest, blob.id) or _differs_in_line_ends(file, digest, blob.id, read)):
            unlike.add(file)
    missing = frozenset(listing.files.keys() - set(files))
    return Revisions(repository, commit, missing.union(unlike), missing)


def _is_blob(digest: bytes, identifier: str) -> bool:
    return blob_of(digest, wide=len(identifier) == 64).hex() == identifier


def _differs_in_line_ends(file: str, digest: bytes, identifier: str, read: Callable[[str], bytes | Problem]) -> bool:
    data = read(file)
    # It may have changed since; what was read then counts.
    return not isinstance(data, Problem) and content_digest(data) == digest and is_same(data, identifier)
