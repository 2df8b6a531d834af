"""The documents of the work tree, as a commit of all of it would have them.

What Git ignores, and what is another repository's, no commit would hold; of files that Git was told not to look at, as
those that a sparse checkout leaves out, a commit would hold what the index has. What must never happen in this room: a
file that is left out goes unnamed.
"""

# Paths are strings: links in them must stay as they were given.
# ruff: noqa: PTH100

from __future__ import annotations

import os
from collections.abc import Sequence

from reconciler.desired.baseline.files import ABSENT, GitFiles, counted, readable
from reconciler.desired.baseline.forest import Forest
from reconciler.desired.baseline.listing import Listing, list_documents
from reconciler.desired.sources.folder import Source
from reconciler.desired.sources.tree import Tree
from reconciler.git import Repository, list_addable, list_unwatched
from reconciler.model import Problem


class WorkTree:
    """What Git knows of the work tree below some given paths."""

    def __init__(self, repository: Repository, given: Sequence[tuple[str, str]]) -> None:
        """Ask it.

        Args:
            repository: whose work tree it is.
            given: the paths from its root, each with how it is shown.

        Raises:
            GitError: it cannot be asked.
        """
        self._root = repository.root
        forest = Forest(repository, None, index=True, heads=True)
        #: As the index has them; of submodules, as the commits that are checked out.
        self.indexed = list_documents(forest, given)
        # Where the given paths lead to today: what is new there is not in the index yet.
        places = [os.path.relpath(os.path.realpath(os.path.join(self._root, path)), self._root) for path, _ in given]
        inside = ["" if place == "." else place for place in places if place != ".." and not place.startswith("../")]
        everything = "" in inside
        own = [place for place in inside if forest.repository_of(place) == repository]
        asked = [] if everything else own
        self._unwatched = list_unwatched(repository, asked) if own else {}
        self._addable = list_addable(repository, asked) if own else set()
        self._repository = repository
        self._tracked = {blob.path for blob in self.indexed.files.values() if blob.repository == repository}

    def files(self, source: Source, reference: str, before: Listing, max_file_bytes: int) -> WorkFiles:
        """Return the documents.

        Args:
            source: that walks the work tree.
            reference: the other side, as it was asked for.
            before: the other side. What is the same there, and is not here, is on neither side.
            max_file_bytes: larger files are refused.
        """
        unwatched = {
            shown: blob
            for shown, blob in self.indexed.files.items()
            if blob.repository == self._repository and blob.path in self._unwatched
        }
        names = set(unwatched)
        read, absent = readable(self._root, reference, before, Listing(files=unwatched), max_file_bytes)
        return WorkFiles(source, self, read, names, absent)

    def would_hold(self, file: str) -> bool:
        """Return whether a commit of everything would hold a file of the work tree."""
        return file in self.indexed.files or all(map(self._is_addable, (_place(file), os.path.realpath(file))))

    def _is_addable(self, place: str) -> bool:
        path = os.path.relpath(place, self._root)
        return path in self._addable or path in self._tracked


class WorkFiles:
    """The files of the work tree, as a commit of all of them would have them. Answers what is asked of a source."""

    def __init__(
        self, source: Source, tree: WorkTree, indexed: GitFiles, unwatched: set[str], absent: Sequence[str]
    ) -> None:
        self._source = source
        self._tree = tree
        self._indexed = indexed
        self._unwatched = unwatched
        self._absent = absent

    def walk(self) -> Tree:
        """Name every file."""
        tree = self._source.walk()
        files = {file: stamp for file, stamp in tree.files.items() if file not in self._unwatched}
        foreign = sorted(file for file in files if not self._tree.would_hold(file))
        warnings = list(tree.warnings)
        for file in foreign:
            del files[file]
            warnings.append(
                f"{file}: left out, since no commit would hold it: Git ignores it, or it is another repository's"
            )
        indexed = self._indexed.walk().files
        if indexed:
            warnings.append(
                f"{counted(sorted(indexed))}: read from the index, since Git was told not to look at it here"
            )
        if self._absent:
            warnings.append(f"{counted(self._absent)}: {ABSENT}")
        return tree._replace(files={**files, **indexed}, warnings=tuple(sorted(warnings)))

    def read(self, file: str) -> bytes | Problem:
        """Return what a file holds, or why not."""
        return self._indexed.read(file) if file in self._unwatched else self._source.read(file)


def _place(file: str) -> str:
    """Return where a file is, links on the way resolved, itself not."""
    folder, name = os.path.split(os.path.abspath(file))
    return os.path.join(os.path.realpath(folder), name)
