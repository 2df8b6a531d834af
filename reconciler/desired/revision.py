"""Which Git commit the documents are, file by file: the bytes that were read are held against those of the commit.

What git says of a work tree is not asked: it knows nothing of files that it ignores, that are behind a link, or that it
was told not to look at. What must never happen in this room: a commit is named for bytes that it does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from reconciler.desired.sources.names import SUFFIXES
from reconciler.git import (
    DIGEST_BYTES,
    WIDE_BYTES,
    Repository,
    content_digest,
    describe,
    is_same,
    list_raw,
    locate,
    resolve,
)
from reconciler.model import Problem, ReconcilerError, Revision


class Revisions(NamedTuple):
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
        held = _blobs(repository, commit, given)
    except ReconcilerError as error:
        return Revisions(repository, error=str(error))
    begin, end = (0, WIDE_BYTES) if len(commit) == 2 * WIDE_BYTES else (WIDE_BYTES, DIGEST_BYTES)
    # In one go: a hundred thousand small texts of their own would take as long as all the rest.
    text = digests.hex()
    unlike = [
        (place, file)
        for place, file in enumerate(files)
        if held.get(file) != text[2 * (place * DIGEST_BYTES + begin) : 2 * (place * DIGEST_BYTES + end)]
    ]
    edited = {
        file
        for place, file in unlike
        if file not in held
        or not _differs_in_line_ends(file, digests[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES], held[file], read)
    }
    missing = frozenset(held.keys() - set(files))
    return Revisions(repository, commit, missing.union(edited), missing)


def _blobs(repository: Repository, commit: str, given: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    """Return the IDs of the documents of a commit, hexadecimal, as they are shown."""
    if len(given) == 1 and (plain := _plain_blobs(repository, commit, *given[0])) is not None:
        return plain
    # Imported late: most folders hold nothing but files.
    from reconciler.desired.baseline.forest import Forest
    from reconciler.desired.baseline.listing import list_documents

    return {file: blob.id for file, blob in list_documents(Forest(repository, commit), given).files.items()}


def _plain_blobs(repository: Repository, commit: str, path: str, shown: str) -> dict[str, str] | None:
    """Return the same for a folder that holds nothing but files, a fifth of the time; None for any other."""
    lines = list_raw(repository, commit, path)
    within = f"{path}/" if path else ""
    # Of each line: the mode and `blob`, the ID, a tab and the path.
    name = 12 + len(commit) + 1
    rest = name + len(within)
    if not all(line.startswith("100") and line.startswith(within, name) for line in lines):
        return None
    prefix = "" if shown == "." else f"{shown.removesuffix('/')}/"
    return {
        prefix + line[rest:]: line[12 : name - 1]
        for line in lines
        if line.endswith(SUFFIXES) and line[rest] != "." and "/." not in line[rest:]
    }


def _differs_in_line_ends(file: str, digest: bytes, identifier: str, read: Callable[[str], bytes | Problem]) -> bool:
    data = read(file)
    # It may have changed since; what was read then counts.
    return not isinstance(data, Problem) and content_digest(data) == digest and is_same(data, identifier)
