"""The result of one walk: which files there are, and where things really are.

What must never happen in this room: a folder that cannot be seen right now looks like a folder whose files were
deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from reconciler.desired.sources.names import beginning_of, is_within, join_shown
from reconciler.desired.sources.stamps import FileStamp
from reconciler.model import Problem


class Tree(NamedTuple):
    """The result of one walk. Files are named as they are shown to people: the given path joined with the rest."""

    #: In no particular order: sorting a hundred thousand names takes as long as half of their `stat`.
    files: Mapping[str, FileStamp]
    #: Entries that were refused, one problem each; its `file` is the entry.
    problems: tuple[Problem, ...]
    #: Entries that were skipped, in words.
    warnings: tuple[str, ...]
    #: Given paths that are not there.
    vanished_roots: tuple[str, ...]
    #: Folders and links that could not be looked into, vanished roots among them.
    unseen: tuple[str, ...]
    #: Files that are not there, and that nobody took away.
    hidden: AbstractSet[str] = frozenset()

    def hides(self, file: str) -> bool:
        """Whether the absence of `file` from `files` proves nothing, so that what it last said stays in force."""
        return file in self.hidden or any(
            name == "." or file == name or file.startswith(beginning_of(name)) for name in self.unseen
        )


class Layout(NamedTuple):
    """What the last walk learned about where things really are, to read the events of the operating system."""

    #: Given folders: real path and shown path.
    roots: tuple[tuple[str, str], ...]
    #: Folders reached only through a link: real path and the link's shown path.
    linked: tuple[tuple[str, str], ...]
    #: Given files: the real path of their folder joined with their name, and their shown path.
    singles: Mapping[str, str]
    #: Real paths of all folders whose files count.
    folders: frozenset[str]
    #: Real paths that some link passes through or leads to: when one of them moves, names mean something else.
    waypoints: frozenset[str]
    #: Real paths of the folders to watch.
    watched: frozenset[str]

    def shown(self, folder: str, name: str) -> str | None:
        """The shown path of a name in a real folder; None when it is hidden or lies elsewhere."""
        if name.startswith("."):
            return None
        for real, shown in (*self.roots, *self.linked):
            if is_within(folder, real):
                rest = folder[len(beginning_of(real)) :]
                if not rest.startswith(".") and "/." not in rest:
                    return join_shown(join_shown(shown, rest) if rest else shown, name)
        return None
