"""What is below the given paths: one walk, the stamps of the files it met, and where links lead.

What must never happen in this room: a file is opened; a link that leaves its folder is followed; a folder that cannot
be seen right now looks like a folder whose files were deleted.
"""

# Paths are strings and calls go to `os`: at a hundred thousand files pathlib doubles the time of a walk.
# ruff: noqa: PTH100, PTH115, PTH116, PTH120

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
import time
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple

from reconciler.model import Problem, ResourceFault

SUFFIXES: Final = (".yaml", ".yml")
#: Said of a file whose name looks like that of a document, and is none.
WRONG_CASE: Final = "not read, since only .yaml and .yml in small letters are endings of documents: rename it"

#: How far a file's times must lie in the past before an equal stamp proves equal content (Git's "racy" rule). Two
#: seconds is the coarsest clock of a file system in use (FAT); local ones tick every few milliseconds.
SETTLED_NS: Final = 2_000_000_000
#: How long a file must have been quiet before an error in it, or a recording missing from it, counts.
QUIET_SECONDS: Final = 0.3
#: As many links in one path as Linux follows.
MAX_LINKS: Final = 40


class FileStamp(NamedTuple):
    """What tells whether a file changed, without reading it. A tuple, because hundreds of thousands are kept."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int
    #: The wall clock when the stamp was taken, in nanoseconds; not part of what is compared.
    read_at_ns: int

    @classmethod
    def of(cls, status: os.stat_result, read_at_ns: int) -> FileStamp:
        mtime_ns = status.st_mtime_ns
        ctime_ns = status.st_ctime_ns
        if ctime_ns == mtime_ns:
            ctime_ns = mtime_ns  # one number in memory instead of two equal ones, for most files there are
        return cls(status.st_size, mtime_ns, ctime_ns, status.st_ino, status.st_dev, read_at_ns)

    @property
    def settled(self) -> bool:
        """Whether the file's last change is old enough that a later one must show in its times."""
        return self.read_at_ns - max(self.mtime_ns, self.ctime_ns) > SETTLED_NS

    def proves_unchanged_since(self, earlier: FileStamp) -> bool:
        """Whether a file that was read just after `earlier` was taken surely holds the same bytes now.

        False is no proof of a change: it means that the file has to be read again and its stamp replaced by this one.
        """
        return self[:5] == earlier[:5] and earlier.settled


@dataclass(frozen=True, slots=True)
class Tree:
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
            name == "." or file == name or file.startswith(_within(name)) for name in self.unseen
        )


@dataclass(frozen=True, slots=True)
class Layout:
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
                rest = folder[len(_within(real)) :]
                if not rest.startswith(".") and "/." not in rest:
                    return join_shown(join_shown(shown, rest) if rest else shown, name)
        return None


class _Link(NamedTuple):
    """A symbolic link that was met: its shown and its real path, and the given folder it was met in."""

    shown: str
    real: str
    root: tuple[str, str]


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
        self._roots: list[tuple[str, str]] = []
        self._folders: set[str] = set()
        self._links: list[_Link] = []
        self._linked: list[tuple[str, str]] = []
        self._folder_links: list[tuple[str, str, str]] = []
        self._aliases: set[str] = set()
        self._singles: dict[str, str] = {}
        self._waypoints: set[str] = set()
        self._beside: set[str] = set()

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
                self._roots.append((real, root))
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
        return Layout(
            roots=tuple(self._roots),
            linked=tuple(self._linked),
            singles=self._singles,
            folders=frozenset(self._folders),
            waypoints=frozenset(self._waypoints),
            watched=frozenset(self._folders | self._beside),
        )

    def _visit_folder(self, shown: str, real: str, root: tuple[str, str]) -> None:
        """Take in a folder and all below it, keeping the links for later; a folder met before is left out."""
        files, now_ns, new = self._files, self._now_ns, tuple.__new__
        stack = [(shown, real)]
        while stack:
            shown, real = stack.pop()
            if real in self._folders:
                continue
            self._folders.add(real)
            prefix = "" if shown == "." else _within(shown)
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
            self._links.append(_Link(shown, f"{_within(real)}{name}", root))
        elif is_folder:
            stack.append((shown, f"{_within(real)}{name}"))
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
            for shown in _circling_links(self._folders, self._folder_links):
                self._refuse(cycle(shown))

    def _visit_link(self, link: _Link, to_files: list[tuple[_Link, str, os.stat_result]]) -> None:
        candidate = link.shown.endswith(SUFFIXES)
        root, root_shown = link.root
        try:
            target, passed = _follow(link.real)
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
            self._remember_way(target, passed, root)
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
            if target not in self._folders:
                self._linked.append((target, link.shown))
                self._visit_folder(link.shown, target, link.root)
        elif stat.S_ISREG(status.st_mode):
            to_files.append((link, target, status))
        else:
            self._warnings.append(f"{link.shown}: skipped, it is not a regular file")

    def _visit_single(self, root: str, status: os.stat_result) -> None:
        folder, name = os.path.split(os.path.abspath(root))
        place = f"{_within(os.path.realpath(folder))}{name}"
        try:
            target, passed = _follow(place)
        except OSError as error:
            self._refuse(unreadable(root, error))  # it was turned into a cycle since it was looked at
            return
        self._beside.add(os.path.dirname(place))
        for step in (*passed, target) if passed else ():
            self._waypoints.add(step)
            self._beside.add(os.path.dirname(step))
        if self._counted(target):
            return
        self._aliases.add(target)
        self._singles[place] = root
        self._files[root] = FileStamp.of(status, self._now_ns)

    def _counted(self, target: str) -> bool:
        """Whether the file at a real path counts already, under its own name or that of another link."""
        folder, name = os.path.split(target)
        own = folder in self._folders and not name.startswith(".") and name.endswith(SUFFIXES)
        return own or target in self._aliases

    def _remember_way(self, target: str, passed: Sequence[str], root: str) -> None:
        """Note what a link depends on, so that an event on any of it is known to matter, and where to watch for it."""
        for place in (*passed, target):
            while is_within(place, root) and place != root:
                self._waypoints.add(place)
                place = os.path.dirname(place)
                self._beside.add(place)

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


def _follow(path: str) -> tuple[str, list[str]]:
    """Follow a path whose folder is real to where it leads, there or not; return that and the links passed on the way.

    Raises:
        OSError: `ELOOP`, when it does not end.
    """
    current, name = os.path.split(path)
    parts = [name]
    passed: list[str] = []
    while parts:
        part = parts.pop()
        if part in ("", "."):
            continue
        if part == "..":
            current = os.path.dirname(current)
            continue
        place = f"{_within(current)}{part}"
        try:
            target = os.readlink(place)
        except OSError:
            current = place  # no link
            continue
        passed.append(place)
        if len(passed) > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        if target.startswith("/"):
            current = "/"
        parts.extend(reversed(target.split("/")))
    return current, passed


def _circling_links(folders: Iterable[str], links: Iterable[tuple[str, str, str]]) -> list[str]:
    """Name the links by which one can come back to a folder one came from.

    Args:
        folders: real paths of all folders.
        links: the real path of the folder that a link is in, that of the folder it leads to, and its shown path.
    """
    ways: dict[str, list[tuple[str, str]]] = {}
    for folder in folders:
        ways.setdefault(os.path.dirname(folder), []).append((folder, ""))
    for parent, target, shown in links:
        ways.setdefault(parent, []).append((target, shown))
    circling: dict[str, None] = {}
    left: set[str] = set()
    for start in sorted(folders):
        # Each folder on the way from `start`, with the last link that was taken to get there.
        way = {start: ""}
        stack = [(start, iter(sorted(ways.get(start, ()))))] if start not in left else []
        while stack:
            folder, exits = stack[-1]
            step = next(exits, None)
            if step is None:
                stack.pop()
                del way[folder]
                left.add(folder)
                continue
            target, link = step[0], step[1] or way[folder]
            if target in way:
                circling[link] = None
            elif target not in left:
                way[target] = link
                stack.append((target, iter(sorted(ways.get(target, ())))))
    return list(circling)


def _within(folder: str) -> str:
    """What the paths of all that is in a folder begin with."""
    return folder if folder.endswith("/") else f"{folder}/"


def is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(_within(folder))


def join_shown(folder: str, name: str) -> str:
    """Return how a name in a folder is shown, where the folder is shown so."""
    return name if folder == "." else f"{_within(folder)}{name}"


def is_nameable(name: str) -> bool:
    """Whether a name can stand in one line of text: no control characters, no line ends, only UTF-8."""
    return name.isprintable() or not any(
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name
    )


def differs_in_case(name: str) -> bool:
    """Whether a name ends as that of a document does, but for the case of its letters."""
    return not name.endswith(SUFFIXES) and name.lower().endswith(SUFFIXES)


def unnameable(path: str) -> Problem:
    shown = path.encode("unicode_escape").decode("ascii")
    reading = sys.getfilesystemencoding()
    try:
        told = path.encode(reading, sys.getfilesystemencodeerrors()).decode("utf-8")
    except UnicodeError:
        told = ""
    if told != path and is_nameable(told) and told:
        # The name is a good one, but not by the locale, in which each of its bytes became a character of its own.
        message = f"the name is UTF-8, and this process reads names as {reading}, by its locale"
        return Problem(told, 1, 1, message, hint="set LC_ALL=C.UTF-8, or PYTHONUTF8=1", rule="file-name")
    return Problem(shown, 1, 1, "the name holds control characters or is not UTF-8", rule="file-name")


def not_regular(file: str) -> Problem:
    return Problem(file, 1, 1, "not a regular file", rule="not-a-file")


#: What says something of the system and nothing of the file: too few descriptors, too little memory ...
_SCARCE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN})
#: ... and a disk or a mount that does not answer, which may be so for one folder while all others can be walked.
_BROKEN: Final = frozenset({errno.EIO, errno.ETIMEDOUT, errno.ESTALE, errno.EHOSTDOWN, errno.ENOTCONN})


def raise_fault(file: str, error: OSError) -> None:
    """Raise what kept a file from being read as a fault of the system, where it is one.

    Raises:
        ResourceFault: nothing is known of the file.
    """
    if error.errno in _SCARCE or error.errno in _BROKEN:
        raise _fault(file, error) from error


def _fault(file: str, error: OSError) -> ResourceFault:
    advice = ""
    if error.errno == errno.EMFILE:
        advice = ": this process may have no more open at once, raise the limit with `ulimit -n` or LimitNOFILE="
    elif error.errno == errno.ENFILE:
        advice = ": the whole system may have no more open at once, raise fs.file-max with sysctl"
    return ResourceFault(f"{file[:500]} cannot be read now: {error.strerror or error}{advice}")


def unreadable(file: str, error: OSError) -> Problem:
    """Word why a file or folder cannot be read.

    Raises:
        ResourceFault: there is too little of something, which says nothing of the file.
    """
    if error.errno in _SCARCE:
        raise _fault(file, error) from error
    if error.errno == errno.ELOOP:
        return cycle(file)
    return Problem(file, 1, 1, f"cannot be read: {error.strerror or error}", rule="unreadable")


def cycle(file: str) -> Problem:
    return Problem(file, 1, 1, "symbolic link that leads back to itself", rule="link-cycle")


def nowhere(file: str) -> Problem:
    return Problem(file, 1, 1, "symbolic link to nothing", rule="link-to-nothing")


def leaves(file: str, target: str, root: str = "the given folders") -> Problem:
    return Problem(file, 1, 1, f"symbolic link leaves {root}: it leads to {target[:200]!r}", rule="link-outside")
