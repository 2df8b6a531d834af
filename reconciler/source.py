"""Which files of desired state there are, what is in them, and which of them changed since.

The tree below the given paths is walked, single files are read, and the operating system is asked to say when something
moves. Owns watchfiles. What a file means is not decided here (`documents` does), nor what follows from it (`catalog`).

What must never happen in this room: content from outside a given folder is read through a symbolic link; something that
is no regular file is opened; a change is lost for good (whatever the watcher misses, the poll finds); a folder that
cannot be seen right now looks like a folder whose files were deleted.
"""

# Paths are strings and calls go to `os`: at a hundred thousand files pathlib doubles the time of a walk.
# ruff: noqa: PTH100, PTH114, PTH115, PTH116, PTH120

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
import threading
import time
import unicodedata
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from reconciler.documents import DocumentLimits, FileDocuments, cross_check, parse_documents
from reconciler.model import Desired, Problem

SUFFIXES: Final = (".yaml", ".yml")

#: How far a file's times must lie in the past before an equal stamp proves equal content (Git's "racy" rule). Two
#: seconds is the coarsest clock of a file system in use (FAT); local ones tick every few milliseconds.
SETTLED_NS: Final = 2_000_000_000
#: How long a file must have been quiet before an error in it, or a recording missing from it, counts.
QUIET_SECONDS: Final = 0.3
#: As many links in one path as Linux follows.
MAX_LINKS: Final = 40

#: Milliseconds: how long watchfiles waits for a burst to end, and how often it looks. With these an event comes about
#: 17 ms after the write at 0.5 % of a core; its own defaults take 76 ms.
DEBOUNCE_MS: Final = 50
STEP_MS: Final = 10
#: How often the watching thread looks whether the given paths still are what they were: it bounds how late a swapped or
#: re-created root is noticed, at ten `stat` calls a second for each given path.
HEARTBEAT_MS: Final = 100
#: Past this many files at once one walk is cheaper than naming each, and finds what an overflowing queue dropped.
MANY_FILES: Final = 1000
#: How long the watcher waits for the walk it asked for before it starts anew without it.
WALK_PATIENCE_SECONDS: Final = 2.0
#: How often watching is tried again after the system refused it.
RETRY_SECONDS: Final = 60.0
#: Without a watcher the tree is walked often enough to feel prompt, yet takes no more than a twentieth of a core.
FALLBACK_SECONDS: Final = 1.0
FALLBACK_SHARE: Final = 20.0


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

    #: Sorted by name.
    files: Mapping[str, FileStamp]
    #: Entries that were refused, one problem each; its `file` is the entry.
    problems: tuple[Problem, ...]
    #: Entries that were skipped, in words.
    warnings: tuple[str, ...]
    #: Given paths that are not there.
    vanished_roots: tuple[str, ...]
    #: Folders and links that could not be looked into, vanished roots among them.
    unseen: tuple[str, ...]

    def hides(self, file: str) -> bool:
        """Whether the absence of `file` from `files` proves nothing, so that what it last said stays in force."""
        return any(name == "." or file == name or file.startswith(_within(name)) for name in self.unseen)


@dataclass(frozen=True, slots=True)
class Loaded:
    """All documents below the given paths, for a command."""

    #: Sorted by name; empty when there is any problem, so that nobody acts on half of it.
    desired: tuple[Desired, ...]
    #: Those of all files, sorted by file, line and column.
    problems: tuple[Problem, ...]
    warnings: tuple[str, ...]
    #: How many files were read.
    files: int


def load_documents(source: Source, limits: DocumentLimits) -> Loaded:
    """Walk, read, parse and cross-check everything. A given path that is not there is a problem like any other."""
    tree, parsed = parse_tree(source, limits)
    return gather(tree, parsed, cross_check(parsed))


def parse_tree(source: Source, limits: DocumentLimits) -> tuple[Tree, list[FileDocuments]]:
    """Walk, read and parse everything, each file by itself."""
    tree = source.walk()
    parsed: list[FileDocuments] = []
    for file in tree.files:
        data = source.read(file)
        parsed.append(
            FileDocuments(file, (), (data,)) if isinstance(data, Problem) else parse_documents(data, file, limits)
        )
    return tree, parsed


def gather(tree: Tree, parsed: Sequence[FileDocuments], conflicts: Iterable[Problem]) -> Loaded:
    """Put together what a walk, its files and the checks between files came to."""
    problems = [Problem(root, 1, 1, "no such file or folder", rule="missing") for root in tree.vanished_roots]
    problems.extend(tree.problems)
    for documents in parsed:
        problems.extend(documents.problems)
    problems.extend(conflicts)
    problems.sort(key=lambda problem: (problem.file, problem.line, problem.column))
    desired = () if problems else (each for documents in parsed for each in documents.desired)
    return Loaded(
        desired=tuple(sorted(desired, key=lambda each: each.name)),
        problems=tuple(problems),
        warnings=tree.warnings,
        files=len(tree.files),
    )


class Source:
    """The files below some paths, each a folder or a file, in the order given.

    A path that was given is followed wherever it leads, since whoever gives it decides; links *below* a given folder
    must stay inside it. A file that is reached in several ways counts once: under its own name before that of a link,
    and under the path given first.
    """

    def __init__(self, paths: Sequence[str | Path], *, max_file_bytes: int) -> None:
        self._roots = tuple(dict.fromkeys(str(Path(path)) for path in paths))
        self._max_file_bytes = max_file_bytes
        self._layout: _Layout | None = None
        # One walk at a time, numbered, so that the watching thread can tell a walk that is under way or came later.
        self._walk_lock = threading.Lock()
        self._walks_begun = 0
        self._walks_ended = 0
        self._walk_seconds = 0.0

    @property
    def quiet_seconds(self) -> float:
        """How long a file must have been quiet before it is believed to be saved whole."""
        return QUIET_SECONDS

    def revision_of(self, _file: str) -> None:
        """Return None: what people save is no commit yet."""

    def covers(self, file: str) -> bool:
        """Return whether a document that stood in `file` would be found here, if it still stood anywhere.

        A file that is there and lies outside the given paths still declares what it declares: nobody took that away,
        and a command that was given other paths must not take it for released.
        """
        place = os.path.abspath(file)
        if any(_is_within(place, os.path.abspath(root)) for root in self._roots):
            return True
        return not os.path.lexists(place)

    def walk(self) -> Tree:
        """Find every file, without opening any. May be called from any thread."""
        walk, _ = self._walk()
        return walk.tree()

    def _walk(self) -> tuple[_Walk, _Layout]:
        with self._walk_lock:
            self._walks_begun += 1
            started = time.monotonic()
            walk = _Walk(time.time_ns())
            walk.visit(self._roots)
            layout = self._layout = walk.layout()
            self._walk_seconds = time.monotonic() - started
            self._walks_ended += 1
        return walk, layout

    def _last_layout(self) -> _Layout:
        layout = self._layout
        return self._walk()[1] if layout is None else layout

    def stamp(self, file: str) -> FileStamp | None:
        """Take one file's stamp; None when nothing to read has that name now.

        A link that leads nowhere has a stamp of its own: it is there, and reading it tells what is wrong with it.
        """
        now = time.time_ns()
        try:
            status = os.stat(file)
        except OSError:
            try:
                status = os.lstat(file)
            except OSError:
                return None
        return FileStamp.of(status, now) if stat.S_IFMT(status.st_mode) in (stat.S_IFREG, stat.S_IFLNK) else None

    def read(self, file: str) -> bytes | Problem:
        """Read one file that a walk or a change named, or say why not.

        It never waits, as it would for a FIFO, and reads no more than `max_file_bytes`.
        """
        try:
            # Looked at before it is opened, because opening a device can already set it in motion ...
            if not stat.S_ISREG(os.stat(file).st_mode):
                return _not_regular(file)
            descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            return _nowhere(file) if os.path.islink(file) and error.errno == errno.ENOENT else _unreadable(file, error)
        try:
            # ... and again afterwards, because the name may stand for something else by now.
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return _not_regular(file)
            outside = self._place_outside(file, descriptor)
            if outside is not None:
                return _leaves(file, outside)
            return self._read_bounded(file, descriptor, status.st_size)
        except OSError as error:
            return _unreadable(file, error)
        finally:
            os.close(descriptor)

    def _read_bounded(self, file: str, descriptor: int, size: int) -> bytes | Problem:
        if size > self._max_file_bytes:
            return self._too_large(file, size)
        data = os.read(descriptor, size + 1)
        if len(data) == size:
            return data
        # It changes while it is read: take what there is to its end, so far as the limit allows.
        parts = [data]
        total = len(data)
        while data and total <= self._max_file_bytes:
            data = os.read(descriptor, 65536)
            parts.append(data)
            total += len(data)
        return self._too_large(file, total) if total > self._max_file_bytes else b"".join(parts)

    def _too_large(self, file: str, size: int) -> Problem:
        message = f"the file has {size} bytes, more than max_file_bytes allows ({self._max_file_bytes})"
        return Problem(file, 1, 1, message, rule="too-large")

    def _place_outside(self, file: str, descriptor: int) -> str | None:
        """Where an open file really is, when that is outside of every given folder; None when all is well."""
        if file in self._roots:
            return None
        try:
            place = os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:
            place = os.path.realpath(file)  # no /proc here: as good as the name is still the file's
        layout = self._layout
        if layout is not None and any(_is_within(place, real) for real, _ in layout.roots):
            return None
        # Perhaps a root is a link that was turned since the last walk.
        inside = any(_is_within(place, os.path.realpath(root)) for root in self._roots)
        return None if inside else place

    async def changes(
        self, stop: asyncio.Event, *, poll_seconds: float, warn: Callable[[str], None]
    ) -> AsyncGenerator[frozenset[str] | None, None]:
        """Say what may have changed, until `stop` is set.

        Yields the names of single files, or None for "walk everything": once when watching has begun (so that nothing
        is missed between a first walk and that moment), whenever folders or links moved, when very much changed at
        once, and at the latest every `poll_seconds`. A name says only "look again"; the file may be unchanged or gone.

        Where the system refuses to watch, None comes often instead, `warn` is told why and what helps, and watching is
        tried again once a minute. Given paths that are missing or vanish are watched from when they are there (again).
        """
        feed = _Feed(asyncio.get_running_loop(), warn)
        executor = ThreadPoolExecutor(1, thread_name_prefix="source-watch")
        watching = feed.loop.run_in_executor(executor, self._watch, feed)
        watching.add_done_callback(lambda _: feed.wake.set())
        stopping = asyncio.ensure_future(stop.wait())
        stopping.add_done_callback(lambda _: feed.wake.set())
        walked_at = feed.loop.time()
        try:
            while True:
                seconds = self._fallback_seconds(poll_seconds) if feed.refused else poll_seconds
                try:
                    async with asyncio.timeout_at(walked_at + seconds):
                        await feed.wake.wait()
                except TimeoutError:
                    feed.take_note(None)
                if stop.is_set():
                    return
                if watching.done():
                    watching.result()  # it ends only by a fault of its own, and that must be seen
                seen = feed.hand_over()
                if seen is None:
                    walked_at = feed.loop.time()
                if seen is None or seen:
                    yield seen
        finally:
            feed.stop.set()
            stopping.cancel()
            await asyncio.wait({watching})
            executor.shutdown()  # the work has ended, so this waits for no more than the thread's own end

    def _fallback_seconds(self, poll_seconds: float) -> float:
        return min(poll_seconds, max(FALLBACK_SECONDS, FALLBACK_SHARE * self._walk_seconds))

    def _watch(self, feed: _Feed) -> None:
        """Feed what the operating system reports, in a thread, until `feed.stop` is set."""
        while not feed.stop.is_set():
            try:
                self._watch_layout(feed)
            # Any error of watchfiles' own is a RuntimeError.
            except (OSError, RuntimeError) as error:
                # Broken while it ran, as by a name that is not UTF-8, or begun when a folder had just gone away.
                broken = feed.started or isinstance(error, FileNotFoundError)
                if not broken:
                    feed.refuse(error)
                feed.post(None)
                feed.stop.wait(HEARTBEAT_MS / 1000 if broken else RETRY_SECONDS)

    def _watch_layout(self, feed: _Feed) -> None:
        """Watch the folders that the last walk met, until they are no longer the right ones.

        Each folder by itself, not recursively: a link that points out of the tree is not followed, hidden folders such
        as `.git` cost nothing, and folders made later are picked up by the walk that their event causes, so that none
        slips through between its making and the watch on it.
        """
        layout = self._last_layout()
        roots = self._root_identities()
        stale: _Stale | None = None
        feed.started = False
        with contextlib.closing(self._events(layout, feed.stop)) as events_in_turn:
            for events in events_in_turn:
                if not feed.started:
                    feed.start()
                    feed.post(None)
                seen, folders_moved = self._meaning({path for _, path in events})
                now_roots = self._root_identities()
                if now_roots != roots:
                    roots = now_roots
                    seen, folders_moved = None, True
                if seen is None or seen:
                    feed.post(seen)
                if folders_moved:
                    stale = _Stale(self._walks_begun, time.monotonic() + WALK_PATIENCE_SECONDS)
                watched, layout = layout.watched, self._last_layout()
                if layout.watched is not watched and layout.watched != watched:
                    return
                if stale is not None and (self._walks_ended > stale.walk or time.monotonic() > stale.until):
                    return

    def _events(self, layout: _Layout, stop: threading.Event) -> Generator[Iterable[tuple[object, str]], None, None]:
        """Yield what moved, and nothing at every heartbeat. The first yield comes when the watch stands."""
        from watchfiles import watch  # here, because its import takes 60 ms that only the daemon shall pay

        # One that may not be read cannot be watched either. The walk has said so, and its parent tells when that ends.
        folders = [folder for folder in layout.watched if os.access(folder, os.R_OK)]
        if not folders:
            while not stop.is_set():
                yield ()
                stop.wait(HEARTBEAT_MS / 1000)
            return
        yield from watch(
            *folders,
            watch_filter=None,
            debounce=DEBOUNCE_MS,
            step=STEP_MS,
            stop_event=stop,
            rust_timeout=HEARTBEAT_MS,
            yield_on_timeout=True,
            raise_interrupt=False,
            recursive=False,
            ignore_permission_denied=False,  # else watchfiles 1.3 is silent about exhausted limits, too
        )

    def _root_identities(self) -> list[tuple[int, int] | None]:
        """What each given path is right now: a folder's identity, for a file that of its folder, None for nothing."""
        return [_identity(root) for root in self._roots]

    def _meaning(self, paths: Iterable[str]) -> tuple[frozenset[str] | None, bool]:
        """Read events: the names of the files concerned, or None for a walk; and whether watched folders moved."""
        layout = self._last_layout()
        # A walk under way may know more than the last one did, so what is unknown counts as a reason to walk again.
        walking = self._walks_begun != self._walks_ended
        files: set[str] = set()
        everything = folders_moved = False
        for path in paths:
            folder, name = os.path.split(path)
            if path in layout.folders or path in layout.watched:
                everything = folders_moved = True
                continue
            if path in layout.waypoints:
                everything = True
                continue
            shown = layout.singles.get(path) or layout.shown(folder, name)
            try:
                mode = os.lstat(path).st_mode
            except OSError:
                mode = None
            if shown is None or not (name.endswith(SUFFIXES) or path in layout.singles):
                # Hidden, a temporary or backup file, gone before anybody looked: no concern, unless it is a new folder.
                everything |= walking or (shown is not None and mode is not None and not stat.S_ISREG(mode))
            elif mode is None and path in layout.singles:
                everything = True  # a given path that vanishes is for a walk to judge
            elif mode is None or stat.S_ISREG(mode):
                files.add(shown)
            else:
                everything = True
        if everything or len(files) > MANY_FILES:
            return None, folders_moved
        return frozenset(files), folders_moved


class _Stale(NamedTuple):
    """A watch on folders that have moved: it is renewed after the next walk, or when that does not come."""

    walk: int
    until: float


class _Feed:
    """What the watching thread saw and the iterator has not handed on; merged, so that a slow reader is not flooded."""

    def __init__(self, loop: asyncio.AbstractEventLoop, warn: Callable[[str], None]) -> None:
        self.loop = loop
        self.wake = asyncio.Event()
        self.stop = threading.Event()
        #: Of the thread: whether the watch it tries to set up stands.
        self.started = False
        #: Whether the system refuses to watch.
        self.refused = False
        self._warn = warn
        self._files: set[str] = set()
        self._everything = False

    def post(self, seen: frozenset[str] | None) -> None:
        self.loop.call_soon_threadsafe(self.take_note, seen)

    def start(self) -> None:
        self.started = True
        if self.refused:
            self.refused = False
            self.loop.call_soon_threadsafe(self._warn, "file watching works again")

    def refuse(self, error: Exception) -> None:
        if not self.refused:
            self.refused = True
            self.loop.call_soon_threadsafe(self._warn, _refusal(error))

    def take_note(self, seen: frozenset[str] | None) -> None:
        if seen is None:
            self._everything = True
        else:
            self._files |= seen
            self._everything |= len(self._files) > MANY_FILES
        self.wake.set()

    def hand_over(self) -> frozenset[str] | None:
        seen = None if self._everything else frozenset(self._files)
        self._everything = False
        self._files.clear()
        self.wake.clear()
        return seen


def _refusal(error: Exception) -> str:
    text = str(error)
    if "watch limit" in text:
        text = "too many folders for fs.inotify.max_user_watches, raise it with sysctl"
    elif "Too many open files" in text:
        text = "too many watchers or open files, raise fs.inotify.max_user_instances with sysctl, or `ulimit -n`"
    return f"cannot watch the files, walking them often instead: {text[:200]}"


@dataclass(frozen=True, slots=True)
class _Layout:
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
            if _is_within(folder, real):
                rest = folder[len(_within(real)) :]
                if not rest.startswith(".") and "/." not in rest:
                    return _join(_join(shown, rest) if rest else shown, name)
        return None


class _Link(NamedTuple):
    """A symbolic link that was met: its shown and its real path, and the given folder it was met in."""

    shown: str
    real: str
    root: tuple[str, str]


class _Walk:
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
                self._refuse(_unreadable(root, error))
                continue
            if stat.S_ISDIR(status.st_mode):
                real = os.path.realpath(root)
                self._roots.append((real, root))
                self._visit_folder(root, real, (real, root))
            elif stat.S_ISREG(status.st_mode):
                files.append((root, status))
            else:
                self._problems.append(_not_regular(root))
        self._visit_links()
        # After the folders, so that a file that is given and also lies in a given folder counts as the folder's.
        for root, status in files:
            self._visit_single(root, status)

    def tree(self) -> Tree:
        return Tree(
            files={file: self._files[file] for file in sorted(self._files)},
            problems=tuple(sorted(self._problems, key=lambda problem: problem.file)),
            warnings=tuple(sorted(self._warnings)),
            vanished_roots=tuple(self._vanished),
            unseen=tuple(sorted(self._unseen)),
        )

    def layout(self) -> _Layout:
        return _Layout(
            roots=tuple(self._roots),
            linked=tuple(self._linked),
            singles=self._singles,
            folders=frozenset(self._folders),
            waypoints=frozenset(self._waypoints),
            watched=frozenset(self._folders | self._beside),
        )

    def _visit_folder(self, shown: str, real: str, root: tuple[str, str]) -> None:
        """Take in a folder and all below it, keeping the links for later; a folder met before is left out."""
        stack = [(shown, real)]
        while stack:
            shown, real = stack.pop()
            if real in self._folders:
                continue
            self._folders.add(real)
            prefix = "" if shown == "." else _within(shown)
            try:
                with os.scandir(real) as entries:
                    for entry in entries:
                        name = entry.name
                        if name[0] == ".":
                            continue
                        candidate = name.endswith(SUFFIXES)
                        # Nearly all there is, so with not one call more than it needs.
                        if candidate and entry.is_file(follow_symlinks=False) and is_nameable(name):
                            self._add_file(prefix + name, entry)
                        else:
                            self._visit_other(entry, candidate, prefix, real, root, stack)
            except FileNotFoundError:
                # It went away after its parent was listed. Only a given folder must not pass for an empty one.
                if shown == root[1]:
                    self._vanish(shown)
            except OSError as error:
                self._refuse(_unreadable(shown, error))

    def _add_file(self, shown: str, entry: os.DirEntry[str]) -> None:
        try:
            self._files[shown] = FileStamp.of(entry.stat(follow_symlinks=False), self._now_ns)
        except FileNotFoundError:
            pass  # it went away after its folder was listed

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
        if not (candidate or is_link or is_folder):
            return
        shown = prefix + name
        if not is_nameable(name):
            self._refuse(_unnameable(shown))
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
                self._refuse(_cycle(shown))

    def _visit_link(self, link: _Link, to_files: list[tuple[_Link, str, os.stat_result]]) -> None:
        candidate = link.shown.endswith(SUFFIXES)
        root, root_shown = link.root
        try:
            target, passed = _follow(link.real)
        except OSError as error:
            self._refuse(_unreadable(link.shown, error))
            return
        try:
            status = os.lstat(target)
        except OSError:
            status = None
        leads_to_folder = status is not None and stat.S_ISDIR(status.st_mode)
        inside = _is_within(target, root)
        if inside:
            self._remember_way(target, passed, root)
        if not candidate and not leads_to_folder:
            # A link that names no document. Where it leads nowhere, it may have led to a folder of documents before.
            if status is None:
                self._unseen.append(link.shown)
        elif not inside:
            self._refuse(_leaves(link.shown, target, root_shown))
        elif status is None:
            self._refuse(_nowhere(link.shown))
        elif leads_to_folder:
            parent = os.path.dirname(link.real)
            if _is_within(parent, target):
                self._refuse(_cycle(link.shown))
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
            self._refuse(_unreadable(root, error))  # it was turned into a cycle since it was looked at
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
            while _is_within(place, root) and place != root:
                self._waypoints.add(place)
                place = os.path.dirname(place)
                self._beside.add(place)

    def _vanish(self, root: str) -> None:
        self._vanished.append(root)
        self._unseen.append(root)

    def _refuse(self, problem: Problem) -> None:
        self._problems.append(problem)
        self._unseen.append(problem.file)


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


def _identity(root: str) -> tuple[int, int] | None:
    try:
        status = os.stat(root)
        if not stat.S_ISDIR(status.st_mode):
            # A file is saved by putting another in its place; what is watched is its folder.
            status = os.stat(os.path.dirname(root) or ".")
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _within(folder: str) -> str:
    """What the paths of all that is in a folder begin with."""
    return folder if folder.endswith("/") else f"{folder}/"


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(_within(folder))


def _join(folder: str, name: str) -> str:
    return name if folder == "." else f"{_within(folder)}{name}"


def is_nameable(name: str) -> bool:
    """Whether a name can stand in one line of text: no control characters, no line ends, only UTF-8."""
    return name.isprintable() or not any(
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name
    )


def _unnameable(path: str) -> Problem:
    shown = path.encode("unicode_escape").decode("ascii")
    return Problem(shown, 1, 1, "the name holds control characters or is not UTF-8", rule="file-name")


def _not_regular(file: str) -> Problem:
    return Problem(file, 1, 1, "not a regular file", rule="not-a-file")


def _unreadable(file: str, error: OSError) -> Problem:
    if error.errno == errno.ELOOP:
        return _cycle(file)
    return Problem(file, 1, 1, f"cannot be read: {error.strerror or error}", rule="unreadable")


def _cycle(file: str) -> Problem:
    return Problem(file, 1, 1, "symbolic link that leads back to itself", rule="link-cycle")


def _nowhere(file: str) -> Problem:
    return Problem(file, 1, 1, "symbolic link to nothing", rule="link-to-nothing")


def _leaves(file: str, target: str, root: str = "the given folders") -> Problem:
    return Problem(file, 1, 1, f"symbolic link leaves {root}: it leads to {target[:200]!r}", rule="link-outside")
