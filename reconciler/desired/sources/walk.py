"""One walk over what is below the given paths: the files with their stamps, and where links lead.

What must never happen in this room: a file is opened; a link that leaves its folder is followed; a folder that cannot
be seen right now looks like a folder whose files were deleted.
"""

# Paths are strings and calls go to `os`: at a hundred thousand files pathlib doubles the time of a walk.
# ruff: noqa: PTH100, PTH116, PTH120

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from reconciler.desired.sources.links import circling_links, follow
from reconciler.desired.sources.names import SUFFIXES, WRONG_CASE, beginning_of, differs_in_case, is_nameable, is_within
from reconciler.desired.sources.refusals import cycle, leaves, not_regular, nowhere, unnameable, unreadable
from reconciler.desired.sources.stamps import FileStamp
from reconciler.desired.sources.tree import Layout, Tree
from reconciler.model import Problem


class _Link(NamedTuple):
    """A symbolic link that was met: its shown and its real path, and the given folder it was met in."""

    shown: str
    real: str
    root: tuple[str, str]


class _Places:
    """Where things really are, as far as a walk has come: a `Layout` in the making."""

    def __init__(self) -> None:
        self.roots: list[tuple[str, str]] = []
        self.folders: set[str] = set()
        self.linked: list[tuple[str, str]] = []
        self.singles: dict[str, str] = {}
        self._waypoints: set[str] = set()
        #: Folders that hold a given file or a waypoint: to be watched, though not all of their files count.
        self._beside: set[str] = set()

    def remember_way(self, target: str, passed: Sequence[str], root: str) -> None:
        """Note what a link depends on, so that an event on any of it is known to matter, and where to watch for it."""
        for place in (*passed, target):
            while is_within(place, root) and place != root:
                self._waypoints.add(place)
                place = os.path.dirname(place)
                self._beside.add(place)

    def remember_single(self, place: str, steps: Sequence[str]) -> None:
        """Note where a given file is, and the links that it is reached by with what they lead to."""
        self._beside.add(os.path.dirname(place))
        for step in steps:
            self._waypoints.add(step)
            self._beside.add(os.path.dirname(step))

    def layout(self) -> Layout:
        return Layout(
            roots=tuple(self.roots),
            linked=tuple(self.linked),
            singles=self.singles,
            folders=frozenset(self.folders),
            waypoints=frozenset(self._waypoints),
            watched=frozenset(self.folders | self._beside),
        )


class Walks:
    """The walks of one source, numbered, so that the watching thread can tell one that is under way or came later."""

    def __init__(self, roots: tuple[str, ...]) -> None:
        self.roots = roots
        # One at a time.
        self.lock = threading.Lock()
        self.begun = 0
        self.ended = 0
        self.seconds = 0.0
        self.cpu_seconds = 0.0
        self.layout: Layout | None = None

    def walk(self) -> tuple[Walk, Layout]:
        """Walk the tree, after any walk that is under way. Any thread may call it."""
        with self.lock:
            self.begun += 1
            started, busy = time.monotonic(), time.thread_time()
            walk = Walk(time.time_ns())
            try:
                walk.visit(self.roots)
            finally:
                self.ended += 1
            layout = self.layout = walk.layout()
            self.seconds = time.monotonic() - started
            self.cpu_seconds = time.thread_time() - busy
        return walk, layout

    def last_layout(self) -> Layout:
        """Return what the last walk learned; walk where there was none."""
        layout = self.layout
        return self.walk()[1] if layout is None else layout


class Walk:
    """One walk under way."""

    def __init__(self, now_ns: int) -> None:
        self._now_ns = now_ns
        self._files: dict[str, FileStamp] = {}
        self._problems: list[Problem] = []
        self._warnings: list[str] = []
        self._vanished: list[str] = []
        self._unseen: list[str] = []
        #: Links that were met and are not followed yet.
        self._links: list[_Link] = []
        #: Of each link to a folder: the folder that it is in, the one that it leads to, and its shown path.
        self._folder_links: list[tuple[str, str, str]] = []
        #: Real paths of files that count under the name of a link or as given ones.
        self._aliases: set[str] = set()
        self._places = _Places()

    def visit(self, roots: Sequence[str]) -> None:
        files: list[tuple[str, os.stat_result]] = []
        for root in roots:
            try:
                status = os.stat(root)
            except (FileNotFoundError, NotADirectoryError):
                self._vanish(root)
                continue
            except OSError as error:
                self._refuse(unreadable(root, error))
                continue
            if stat.S_ISDIR(status.st_mode):
                real = os.path.realpath(root)
                self._places.roots.append((real, root))
                self._visit_folder(root, real, (real, root))
            elif stat.S_ISREG(status.st_mode):
                files.append((root, status))
            else:
                self._problems.append(not_regular(root))
        self._visit_links()
        # After the folders, so that a file that is given and also lies in a given folder counts as the folder's.
        for root, status in files:
            self._visit_single(root, status)

    def tree(self) -> Tree:
        return Tree(
            files=self._files,
            problems=tuple(sorted(self._problems, key=lambda problem: problem.file)),
            warnings=tuple(sorted(self._warnings)),
            vanished_roots=tuple(self._vanished),
            unseen=tuple(sorted(self._unseen)),
        )

    def layout(self) -> Layout:
        return self._places.layout()

    def _visit_folder(self, shown: str, real: str, root: tuple[str, str]) -> None:
        """Take in a folder and all below it, keeping the links for later; a folder met before is left out."""
        files, now_ns, new = self._files, self._now_ns, tuple.__new__
        stack = [(shown, real)]
        while stack:
            shown, real = stack.pop()
            if real in self._places.folders:
                continue
            self._places.folders.add(real)
            prefix = "" if shown == "." else beginning_of(shown)
            try:
                with _open_folder(real) as folder, os.scandir(folder) as entries:
                    for entry in entries:
                        name = entry.name
                        if name[0] == ".":
                            continue
                        candidate = name.endswith(SUFFIXES)
                        # Nearly all there is, so with not one call more than it needs.
                        if (
                            candidate
                            and entry.is_file(follow_symlinks=False)
                            and (name.isprintable() or is_nameable(name))
                        ):
                            try:
                                status = entry.stat(follow_symlinks=False)
                            except FileNotFoundError:
                                continue  # it went away after its folder was listed
                            mtime_ns = status.st_mtime_ns
                            ctime_ns = status.st_ctime_ns
                            if ctime_ns == mtime_ns:
                                ctime_ns = mtime_ns  # see `FileStamp.of`
                            stamp = (status.st_size, mtime_ns, ctime_ns, status.st_ino, status.st_dev, now_ns)
                            files[prefix + name] = new(FileStamp, stamp)
                        else:
                            self._visit_other(entry, candidate, prefix, real, root, stack)
            except FileNotFoundError:
                # It went away after its parent was listed. Only a given folder must not pass for an empty one.
                if shown == root[1]:
                    self._vanish(shown)
            except OSError as error:
                self._refuse(unreadable(shown, error))

    def _visit_other(
        self,
        entry: os.DirEntry[str],
        candidate: bool,
        prefix: str,
        real: str,
        root: tuple[str, str],
        stack: list[tuple[str, str]],
    ) -> None:
        """Keep a folder or a link for later; refuse or skip what is called a document and cannot be one."""
        name = entry.name
        is_link = entry.is_symlink()
        is_folder = not is_link and entry.is_dir(follow_symlinks=False)
        shown = prefix + name
        if not (candidate or is_link or is_folder):
            if differs_in_case(name) and is_nameable(name):
                self._warnings.append(f"{shown}: {WRONG_CASE}")
            return
        if not is_nameable(name):
            self._refuse(unnameable(shown))
        elif is_link:
            self._links.append(_Link(shown, f"{beginning_of(real)}{name}", root))
        elif is_folder:
            stack.append((shown, f"{beginning_of(real)}{name}"))
        else:
            self._warnings.append(f"{shown}: skipped, it is not a regular file")

    def _visit_links(self) -> None:
        """Follow the links: first those to folders, so that each file is known under its own name before a link's."""
        to_files: list[tuple[_Link, str, os.stat_result]] = []
        while self._links:
            links = sorted(self._links)
            self._links = []
            for link in links:
                self._visit_link(link, to_files)
        for link, target, status in sorted(to_files, key=lambda each: each[0]):
            if not self._counted(target):
                self._aliases.add(target)
                self._files[link.shown] = FileStamp.of(status, self._now_ns)
        if self._folder_links:
            for shown in circling_links(self._places.folders, self._folder_links):
                self._refuse(cycle(shown))

    def _visit_link(self, link: _Link, to_files: list[tuple[_Link, str, os.stat_result]]) -> None:
        candidate = link.shown.endswith(SUFFIXES)
        root, root_shown = link.root
        try:
            target, passed = follow(link.real)
        except OSError as error:
            self._refuse(unreadable(link.shown, error))
            return
        try:
            status = os.lstat(target)
        except OSError:
            status = None
        leads_to_folder = status is not None and stat.S_ISDIR(status.st_mode)
        inside = is_within(target, root)
        if inside:
            self._places.remember_way(target, passed, root)
        if not candidate and not leads_to_folder:
            if differs_in_case(link.shown):
                self._warnings.append(f"{link.shown}: {WRONG_CASE}")
            # A link that names no document. Where it leads nowhere, it may have led to a folder of documents before.
            if status is None:
                self._unseen.append(link.shown)
        elif not inside:
            self._refuse(leaves(link.shown, target, root_shown))
        elif status is None:
            self._refuse(nowhere(link.shown))
        elif leads_to_folder:
            parent = os.path.dirname(link.real)
            if is_within(parent, target):
                self._refuse(cycle(link.shown))
                return
            self._folder_links.append((parent, target, link.shown))
            if target not in self._places.folders:
                self._places.linked.append((target, link.shown))
                self._visit_folder(link.shown, target, link.root)
        elif stat.S_ISREG(status.st_mode):
            to_files.append((link, target, status))
        else:
            self._warnings.append(f"{link.shown}: skipped, it is not a regular file")

    def _visit_single(self, root: str, status: os.stat_result) -> None:
        folder, name = os.path.split(os.path.abspath(root))
        place = f"{beginning_of(os.path.realpath(folder))}{name}"
        try:
            target, passed = follow(place)
        except OSError as error:
            self._refuse(unreadable(root, error))  # it was turned into a cycle since it was looked at
            return
        self._places.remember_single(place, (*passed, target) if passed else ())
        if self._counted(target):
            return
        self._aliases.add(target)
        self._places.singles[place] = root
        self._files[root] = FileStamp.of(status, self._now_ns)

    def _counted(self, target: str) -> bool:
        """Whether the file at a real path counts already, under its own name or that of another link."""
        folder, name = os.path.split(target)
        own = folder in self._places.folders and not name.startswith(".") and name.endswith(SUFFIXES)
        return own or target in self._aliases

    def _vanish(self, root: str) -> None:
        self._vanished.append(root)
        self._unseen.append(root)

    def _refuse(self, problem: Problem) -> None:
        self._problems.append(problem)
        self._unseen.append(problem.file)


@contextmanager
def _open_folder(path: str) -> Iterator[int]:
    """Open a folder: from there its files are found by their names alone, a fifth quicker than by whole paths."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
