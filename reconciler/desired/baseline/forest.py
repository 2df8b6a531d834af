"""The tree of a commit, or of the index, with those of its submodules in their places; links are followed within it.

What must never happen in this room: the work tree is asked what a path means; a place outside of the tree is looked at.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterable
from typing import Final, NamedTuple

from reconciler.desired.sources.links import MAX_LINKS
from reconciler.git import Entry, GitError, LacksObjects, Repository, list_index, list_tree, read_blobs, resolve, sizes

#: More than any path has.
_LINK_BYTES: Final = 4096


class Blob(NamedTuple):
    """The content of one file, and who holds it."""

    repository: Repository
    #: Its path there.
    path: str
    #: Hexadecimal.
    id: str


class Outside(NamedTuple):
    """What a path leads to that leaves the tree."""

    target: str


class Forest:
    """One tree, read as far as it is asked for."""

    def __init__(self, repository: Repository, commit: str | None, *, index: bool = False, heads: bool = False) -> None:
        """Read nothing yet.

        Args:
            repository: whose tree it is.
            commit: hexadecimal; None for a tree without anything, or for the index.
            index: whether the index is the tree.
            heads: whether of submodules the commits count that are checked out, and not those that are recorded.
        """
        self._repository = repository
        self._commit = commit
        self._index = index
        self._heads = heads
        #: Submodules that can be entered: their repositories and commits, by their places.
        self._mounts: dict[str, tuple[Repository, str]] = {}
        self._known: dict[str, Entry] = {}
        self._folders: set[str] = {""}
        #: Places below which all is known.
        self._listed: set[str] = set()
        self._targets: dict[str, str] = {}

    def blob(self, file: Entry) -> Blob:
        """Return the content of a file."""
        mount = self._mount_of(file.path)
        path = file.path[len(mount) + 1 :] if mount else file.path
        return Blob(self.repository_of(file.path), path, file.id)

    def repository_of(self, path: str) -> Repository:
        """Return the repository that holds the blob of a path."""
        mount = self._mount_of(path)
        return self._mounts[mount][0] if mount else self._repository

    def below(self, folder: str) -> list[Entry]:
        """Return the files and links below a folder, those of its submodules included, and submodules without content.

        Raises:
            GitError: they cannot be read.
        """
        if folder not in self._listed:
            self._list(folder)
        within = f"{folder}/" if folder else ""
        return [entry for path, entry in self._known.items() if path.startswith(within)]

    def _list(self, folder: str) -> None:
        self._listed.add(folder)
        for entry in self._ask(folder, below=True):
            if entry.is_submodule and self._enter(entry):
                self._list(entry.path)
            else:
                self._learn(entry)

    def _learn(self, entry: Entry) -> None:
        self._known[entry.path] = entry
        parent = posixpath.dirname(entry.path)
        while parent not in self._folders:
            self._folders.add(parent)
            parent = posixpath.dirname(parent)

    def follow(self, path: str) -> Entry | Outside | None:
        """Return where a path leads to in the end: a file, a folder, a submodule without content; None for nowhere.

        Raises:
            GitError: it cannot be read.
        """
        parts = path.split("/")[::-1]
        current = ""
        links = 0
        while parts:
            part = parts.pop()
            if part in ("", "."):
                continue
            if part == "..":
                if not current:
                    return Outside(path)
                current = posixpath.dirname(current)
                continue
            entry = self._at(f"{current}/{part}" if current else part)
            if entry is None:
                return None
            if entry.is_link:
                links += 1
                if links > MAX_LINKS:
                    return None
                target = self.target(entry)
                if target.startswith("/"):
                    # One that is absolute, and leads into this very work tree.
                    root = f"{self._repository.root}/"
                    if not target.startswith(root):
                        return Outside(target)
                    target, current = target[len(root) :], ""
                parts.extend(reversed(target.split("/")))
                continue
            if not entry.is_folder and parts:
                return entry if entry.is_submodule else None
            current = entry.path
        return self._at(current)

    def target(self, link: Entry) -> str:
        """Return where a link says that it leads."""
        if link.path not in self._targets:
            self.read_links([link])
        return self._targets[link.path]

    def read_links(self, links: Iterable[Entry]) -> None:
        """Read where links lead, with one git for all of a repository."""
        by_repository: dict[Repository, list[Entry]] = {}
        for link in links:
            if link.path not in self._targets:
                by_repository.setdefault(self.repository_of(link.path), []).append(link)
        for repository, those in by_repository.items():
            known = sizes(repository, [link.id for link in those])
            lacking = [link.path for link in those if link.id not in known]
            if lacking:
                raise LacksObjects(f"the repository lacks the link {lacking[0]}, as a partial clone may")
            short = [link for link in those if known[link.id] <= _LINK_BYTES]
            contents = read_blobs(repository, [(link.id, known[link.id]) for link in short])
            self._targets |= {link.path: "" for link in those}  # a longer one leads nowhere
            self._targets |= {link.path: os.fsdecode(content) for link, content in zip(short, contents, strict=True)}

    def _at(self, path: str) -> Entry | None:
        """Return what stands at a path whose parents are folders."""
        if path not in self._known and path not in self._folders and not self._is_listed(path):
            if self._index and not self._mount_of(path):
                self._list(path)
                return self._at(path)
            for entry in self._ask(path, below=False):
                if not (entry.is_submodule and self._enter(entry)):
                    if entry.is_folder:
                        self._folders.add(entry.path)
                    else:
                        self._learn(entry)
        if path in self._folders:
            return Entry(path, stat.S_IFDIR, "")
        return self._known.get(path)

    def _is_listed(self, path: str) -> bool:
        if "" in self._listed:
            return True
        while path and path not in self._listed:
            path = posixpath.dirname(path)
        return bool(path)

    def _mount_of(self, path: str) -> str:
        return max((mount for mount in self._mounts if f"{path}/".startswith(f"{mount}/")), key=len, default="")

    def _ask(self, path: str, *, below: bool) -> list[Entry]:
        mount = self._mount_of(path)
        if mount:
            repository, commit = self._mounts[mount]
            found = list_tree(repository, commit, path[len(mount) + 1 :], below=below)
            return [entry._replace(path=f"{mount}/{entry.path}") for entry in found]
        if self._index:
            return list_index(self._repository, path)
        return [] if self._commit is None else list_tree(self._repository, self._commit, path, below=below)

    def _enter(self, submodule: Entry) -> bool:
        """Make the tree of a submodule part of this one, where its commit is here; return whether it is."""
        root = f"{self._repository.root}/{submodule.path}"
        # A link in the work tree may lead to any other repository.
        if os.path.realpath(root) != root or not os.path.lexists(f"{root}/.git"):
            return False
        repository = Repository(root)
        try:
            commit = resolve(repository, "HEAD" if self._heads else submodule.id)
        except GitError:
            return False
        if commit is None:
            return False
        self._mounts[submodule.path] = (repository, commit)
        self._folders.add(submodule.path)
        return True
