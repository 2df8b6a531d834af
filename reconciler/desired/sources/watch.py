"""What moves below the given paths, as the operating system tells it, with a walk wherever it cannot. Owns watchfiles.

What must never happen in this room: a change is lost for good (whatever the watcher misses, the poll finds).
"""

# Paths are strings and calls go to `os`: at a hundred thousand files pathlib doubles the time of a walk.
# ruff: noqa: PTH116, PTH120

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from reconciler.desired.sources.names import SUFFIXES
from reconciler.desired.sources.tree import Layout
from reconciler.desired.sources.walk import Walks

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
#: With a watcher, a walk is there for what the system did not tell of, and takes no more than this part of a core: at
#: rest nothing else would take as much. It is felt from some twenty thousand files on.
POLL_SHARE: Final = 300.0


class Watcher:
    """Watches what a source's walks have met."""

    def __init__(self, walks: Walks) -> None:
        self._walks = walks

    async def changes(
        self, stop: asyncio.Event, *, poll_seconds: float, warn: Callable[[str], None]
    ) -> AsyncGenerator[frozenset[str] | None, None]:
        """See `Source.changes`."""
        feed = _Feed(asyncio.get_running_loop(), warn)
        executor = ThreadPoolExecutor(1, thread_name_prefix="source-watch")
        watching = feed.loop.run_in_executor(executor, self._watch, feed)
        watching.add_done_callback(lambda _: feed.wake.set())
        stopping = asyncio.ensure_future(stop.wait())
        stopping.add_done_callback(lambda _: feed.wake.set())
        walked_at = feed.loop.time()
        try:
            while True:
                seconds = self._fallback_seconds(poll_seconds) if feed.refused else self._backup_seconds(poll_seconds)
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
        return min(poll_seconds, max(FALLBACK_SECONDS, FALLBACK_SHARE * self._walks.seconds))

    def _backup_seconds(self, poll_seconds: float) -> float:
        return max(poll_seconds, POLL_SHARE * self._walks.cpu_seconds)

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
        layout = self._walks.last_layout()
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
                    stale = _Stale(self._walks.begun, time.monotonic() + WALK_PATIENCE_SECONDS)
                watched, layout = layout.watched, self._walks.last_layout()
                if layout.watched is not watched and layout.watched != watched:
                    return
                if stale is not None and (self._walks.ended > stale.walk or time.monotonic() > stale.until):
                    return

    def _events(self, layout: Layout, stop: threading.Event) -> Generator[Iterable[tuple[object, str]], None, None]:
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
        return [_identity(root) for root in self._walks.roots]

    def _meaning(self, paths: Iterable[str]) -> tuple[frozenset[str] | None, bool]:
        """Read events: the names of the files concerned, or None for a walk; and whether watched folders moved."""
        layout = self._walks.last_layout()
        # A walk under way may know more than the last one did, so what is unknown counts as a reason to walk again.
        walking = self._walks.begun != self._walks.ended
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


def _identity(root: str) -> tuple[int, int] | None:
    try:
        status = os.stat(root)
        if not stat.S_ISDIR(status.st_mode):
            # A file is saved by putting another in its place; what is watched is its folder.
            status = os.stat(os.path.dirname(root) or ".")
    except OSError:
        return None
    return status.st_dev, status.st_ino
