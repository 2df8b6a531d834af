"""What takes seconds, done in a thread and behind all else: reading a huge file, finding out why a file is invalid.

What must never happen in this room: an edit of one file waits for another file; what was read first comes in after what
was read later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, KeysView
from typing import Final, NamedTuple

from reconciler.desired.documents.conflicts import FileDocuments
from reconciler.desired.documents.parse import Refused
from reconciler.desired.readings import Reading

#: A file of so many bytes is read for itself, behind all others, where files are saved one by one: valid or not, it may
#: take seconds. What is taken away from other files meanwhile waits for it, since it may have moved there.
HUGE_BYTES: Final = 512 * 1024


class HugeFiles:
    """The huge files that wait to be read, and the one that is being read."""

    def __init__(self) -> None:
        self._unread: dict[str, None] = {}
        #: One that is being read, or was and is not taken in yet.
        self._in_flight: str | None = None
        self._wake = asyncio.Event()

    @property
    def pending(self) -> bool:
        """Whether the content of any is not known yet."""
        return bool(self._unread) or self._in_flight is not None

    def set_apart(self, files: Collection[str], size: Callable[[str], int] | None) -> Collection[str]:
        """Return those of some files that can be read now; the huge ones among them are read by themselves.

        So is one that was huge and is being read: what was read first must not come in after what was read later.

        Args:
            files: to be read.
            size: of a file now, in bytes; None where huge ones are read like all others.
        """
        apart = {file for file in files if file in self._unread or file == self._in_flight}
        if size is not None:
            apart.update(file for file in files if size(file) >= HUGE_BYTES)
        if not apart:
            return files
        self._unread.update(dict.fromkeys(apart))
        self._wake.set()
        return [file for file in files if file not in apart]

    def taken_in(self) -> None:
        """Go on with the next one: what was read has been taken in."""
        self._in_flight = None
        self._wake.set()

    async def read_in_turn(
        self, read: Callable[[Collection[str]], Collection[Reading]], tell: Callable[[Reading], None]
    ) -> None:
        """Read them in a thread, the next one once the last one has been taken in; never end.

        Args:
            read: reads files; called in a thread.
            tell: told of each that was read.
        """
        while True:
            self._wake.clear()
            if self._in_flight is None and self._unread:
                file = self._in_flight = next(iter(self._unread))
                del self._unread[file]  # saved once more from now on, it is read once more
                for reading in await asyncio.to_thread(read, [file]):
                    tell(reading)
            await self._wake.wait()


class Explained(NamedTuple):
    """What was found out about an invalid file, and what about it was asked."""

    refused: Refused
    documents: FileDocuments


class Explanations:
    """Invalid files that have been quiet and are being explained, or wait for it."""

    def __init__(self) -> None:
        self._unexplained: dict[str, Refused] = {}
        self._wake = asyncio.Event()

    @property
    def files(self) -> KeysView[str]:
        """The files that wait for an explanation."""
        return self._unexplained.keys()

    def has(self, refused: Refused) -> bool:
        """Return whether just these bytes of a file are being explained, or wait for it."""
        asked = self._unexplained.get(refused.file)
        return asked is not None and asked.data == refused.data

    def want(self, refused: Refused) -> None:
        """Have a file explained."""
        self._unexplained[refused.file] = refused
        self._wake.set()

    def forget(self, file: str) -> None:
        """Explain a file no longer: it holds something else by now."""
        self._unexplained.pop(file, None)

    def take(self, explained: Explained) -> bool:
        """Return whether an explanation is still of what its file holds; it is not waited for any more then."""
        file = explained.documents.file
        if self._unexplained.get(file) is not explained.refused:
            return False
        del self._unexplained[file]
        return True

    async def explain_in_turn(
        self, explain: Callable[[Refused], FileDocuments], tell: Callable[[Explained], None]
    ) -> None:
        """Find out why files are invalid, one after the other, in a thread; never end.

        Args:
            explain: says what is wrong with a file; called in a thread.
            tell: told of each explanation.
        """
        while True:
            self._wake.clear()
            for file, refused in list(self._unexplained.items()):
                if self._unexplained.get(file) is refused:
                    tell(Explained(refused, await asyncio.to_thread(explain, refused)))
            await self._wake.wait()
