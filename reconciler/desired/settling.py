"""Which files may be in the middle of being saved, and when each will have been quiet for long enough to be believed.

Editors, copies and checkouts write in pieces. What must never happen in this room: an error or a release counts before
its file has been quiet; a file is forgotten, so that what it holds never counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Final

from reconciler.desired.documents.conflicts import FileDocuments
from reconciler.model import RecordingKey
from reconciler.telemetry import Alarm

#: How soon what the system could not read is tried again.
FAULT_SECONDS: Final = 1.0


class Settling:
    """The files that are not believed yet, each with the moment when it will have been quiet."""

    def __init__(self, quiet_seconds: float, monotonic: Callable[[], float], unreadable: Alarm) -> None:
        """Begin without any file.

        Args:
            quiet_seconds: how long a file must have been quiet; 0 where contents arrive whole.
            monotonic: the clock, in seconds.
            unreadable: is raised while the system cannot read some file; here it is ended.
        """
        self._quiet_seconds = quiet_seconds
        self._monotonic = monotonic
        self._unreadable = unreadable
        self._due: dict[str, float] = {}
        self._moved = asyncio.Event()
        #: Files that the system could not read at the last try: their time says when to try again.
        self._faulty: set[str] = set()
        #: What unsettled files claim that others hold. It names files that have settled since, too.
        self._claimed: dict[RecordingKey, str] = {}

    @property
    def due(self) -> Mapping[str, float]:
        """The unsettled files, each with the moment when it will have been quiet."""
        return self._due

    def look(self) -> None:
        """Look again at once: the time may have come for some file."""
        self._moved.set()

    def is_quiet(self, file: str, now: float) -> bool:
        """Whether a file has been quiet since it was found to be doubtful, so that what it holds counts."""
        return self._quiet_seconds == 0 or (file not in self._faulty and self._due.get(file, now + 1) <= now)

    def wait(self, file: str, now: float) -> None:
        """Believe a file once it has been quiet from now on."""
        self._due[file] = now + self._quiet_seconds
        self.look()

    def try_again(self, file: str, now: float) -> None:
        """Look again soon at a file that the system could not read."""
        self._due[file] = now + FAULT_SECONDS
        self._faulty.add(file)
        self.look()

    def hold(self, file: str, now: float) -> None:
        """Count a file as unsettled, though it has been quiet, until `settle` is called for it."""
        self._due[file] = now

    def could_be_read(self, file: str) -> None:
        """Note that the system can read a file."""
        self._faulty.discard(file)

    def settle(self, file: str) -> None:
        """Wait for a file no longer."""
        self._due.pop(file, None)

    def claim(self, documents: FileDocuments) -> None:
        """Note what a file that waits would take from others."""
        self._claimed.update((item.key, documents.file) for item in documents.desired)

    def claimants(self, keys: Collection[RecordingKey]) -> set[str]:
        """Return the waiting files that claim any of some recordings."""
        return {self._claimed[key] for key in self._claimed.keys() & set(keys)} & self._due.keys()

    def tidy(self) -> None:
        """Forget the claims once no file waits."""
        if not self._due:
            self._claimed.clear()

    async def ask(
        self, look_at: Callable[[list[str]], None], is_held: Callable[[], bool], explained_apart: Collection[str]
    ) -> None:
        """Have each unsettled file looked at again when it has been quiet, whatever it then holds; never end.

        Args:
            look_at: told of the files.
            is_held: whether all have to wait: what is taken away may have moved to a file that nobody has read yet.
            explained_apart: files that are quiet, and of which an explanation will come by itself.
        """
        asked: dict[str, float] = {}
        while True:
            self._moved.clear()
            now = self._monotonic()
            held = is_held()
            quiet = [
                file
                for file, due in self._due.items()
                if due <= now and asked.get(file) != due and file not in explained_apart and not held
            ]
            if quiet:
                asked = {file: self._due[file] for file in quiet}
                look_at(quiet)
            due = min((due for due in self._due.values() if due > now), default=None)
            self._unreadable.look()
            if self._unreadable.raised:
                due = min(due or now + FAULT_SECONDS, now + FAULT_SECONDS)
            try:
                async with asyncio.timeout(None if due is None else due - now):
                    await self._moved.wait()
            except TimeoutError:
                pass
