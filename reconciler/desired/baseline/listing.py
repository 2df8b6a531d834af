"""Which documents a tree holds below some paths, by the rules by which a walk finds those on disk.

The same suffixes count, hidden names do not; a given path is followed wherever it leads in the tree, a link below one
must stay inside of it; what is reached in several ways counts once. What must never happen in this room: a content is
read; what is there and cannot be read goes unnamed.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field

from reconciler.desired.baseline.forest import Blob, Forest, Outside
from reconciler.desired.sources.names import SUFFIXES, WRONG_CASE, differs_in_case, is_nameable, is_within
from reconciler.desired.sources.refusals import cycle, leaves, nowhere, unnameable
from reconciler.git import Entry
from reconciler.model import Problem, ReconcilerError


@dataclass(frozen=True, slots=True)
class Listing:
    """The documents of a tree. Files are named as they are shown to people: the given path joined with the rest."""

    files: dict[str, Blob] = field(default_factory=dict)
    #: Names and links that are refused, as on disk.
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    #: Submodules whose commit is not here: their commits, by their shown paths.
    unread: dict[str, str] = field(default_factory=dict)
    #: The given paths that are there, and those of them that are folders.
    present: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)


def list_documents(forest: Forest, given: Sequence[tuple[str, str]]) -> Listing:
    """Find the documents of a tree.

    Args:
        forest: the tree.
        given: the paths from its root, each with how it is shown.

    Raises:
        ReconcilerError: a given path leads out of the tree, or the tree cannot be read.
    """
    walk = _Walk(forest)
    singles = []
    for path, shown in given:
        entry = forest.follow(path)
        if isinstance(entry, Outside):
            raise ReconcilerError(f"{shown} leads out of the repository there, to {entry.target[:200]!r}")
        if entry is None:
            continue
        walk.listing.present.add(shown)
        if entry.is_folder:
            walk.listing.folders.add(shown)
            walk.visit_folder(shown, entry.path, (entry.path, shown))
        elif entry.is_submodule:
            walk.listing.unread[shown] = entry.id
        else:
            singles.append((entry, shown))
    walk.visit_links()
    for entry, shown in singles:
        walk.take(entry, shown)
    return walk.listing


class _Walk:
    def __init__(self, forest: Forest) -> None:
        self._forest = forest
        self.listing = Listing()
        self._seen: set[str] = set()
        self._visited: set[str] = set()
        self._links: list[tuple[str, Entry, tuple[str, str]]] = []

    def take(self, entry: Entry, shown: str) -> None:
        """Take in a file that is not known under another name yet."""
        if entry.path not in self._seen:
            self._seen.add(entry.path)
            self.listing.files[shown] = self._forest.blob(entry)

    def visit_folder(self, shown: str, folder: str, root: tuple[str, str]) -> None:
        """Take in a folder and all below it, keeping the links for later."""
        self._visited.add(folder)
        prefix = "" if shown == "." else f"{shown.removesuffix('/')}/"
        for entry in self._forest.below(folder):
            rest = entry.path[len(folder) + 1 :] if folder else entry.path
            if f"/{rest}".count("/."):
                continue
            name = prefix + rest
            if entry.is_submodule:
                self.listing.unread[name] = entry.id
            elif entry.is_link:
                self._links.append((name, entry, root))
            elif not rest.endswith(SUFFIXES):
                if differs_in_case(rest):
                    self.listing.warnings.append(f"{name}: {WRONG_CASE}")
            elif not is_nameable(rest):
                self.listing.problems.append(unnameable(name))
            else:
                self.take(entry, name)

    def visit_links(self) -> None:
        """Follow the links: first those to folders, so that each file is known under its own name before a link's."""
        to_files: list[tuple[str, Entry]] = []
        while self._links:
            links = sorted(self._links)
            self._links = []
            self._forest.read_links(link for _, link, _ in links)
            for shown, link, root in links:
                self._visit_link(shown, link, root, to_files)
        for shown, entry in sorted(to_files):
            self.take(entry, shown)

    def _visit_link(self, shown: str, link: Entry, root: tuple[str, str], to_files: list[tuple[str, Entry]]) -> None:
        candidate = shown.endswith(SUFFIXES)
        found = self._forest.follow(link.path)
        problems = self.listing.problems
        if found is None:
            if candidate:
                problems.append(nowhere(shown))
        elif isinstance(found, Outside):
            problems.append(leaves(shown, found.target, root[1]))
        elif not candidate and not found.is_folder:
            if differs_in_case(shown):
                self.listing.warnings.append(f"{shown}: {WRONG_CASE}")
        elif not _is_within(found.path, root[0]):
            problems.append(leaves(shown, found.path, root[1]))
        elif found.is_submodule:
            self.listing.unread[shown] = found.id
        elif not found.is_folder:
            to_files.append((shown, found))
        elif _is_within(posixpath.dirname(link.path), found.path):
            problems.append(cycle(shown))
        elif not any(_is_reached(found.path, folder) for folder in self._visited):
            self.visit_folder(shown, found.path, root)


def _is_within(path: str, folder: str) -> bool:
    return not folder or is_within(path, folder)


def _is_reached(path: str, folder: str) -> bool:
    """Return whether a walk of a folder comes by a path: it is below it, and no name on the way is hidden."""
    rest = path[len(folder) :] if folder else f"/{path}"
    return _is_within(path, folder) and "/." not in rest
