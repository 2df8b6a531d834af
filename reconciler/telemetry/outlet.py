"""A text stream that makes nobody wait: a thread of its own does the writing, and the waiting.

Whoever reads a log may stand still: a stopped `tee`, a terminal held by Ctrl-S, a container's full log driver. What
must never happen here: a writer that waits for that reader, a queue that grows without a bound, or a text that is
dropped and never counted.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, TextIO

#: How many characters wait at most: some ten thousand lines.
_MOST_WAITING: Final = 2 * 1024 * 1024
#: Between two writes the thread rests for so long, so that a busy program wakes it a hundred times a second and not a
#: thousand times; a line is on its way within that time.
_REST_SECONDS: Final = 0.01
#: Of a terminal that does not know its own width.
_COLUMNS: Final = 80
#: Clears the line that the cursor is in.
_CLEAR: Final = "\r\x1b[K"


class Outlet:
    """Takes text for a file descriptor, and writes it in its own thread as fast as somebody reads it.

    On a terminal it can show one more line below all text, such as a progress bar: text is written above it.
    """

    def __init__(self, stream: TextIO, *, most_waiting: int = _MOST_WAITING) -> None:
        """Take over a stream, which nobody else shall write to while something waits here.

        Args:
            stream: one with a file descriptor.
            most_waiting: characters; what comes while so many wait is dropped and counted.

        Raises:
            OSError: it has no file descriptor.
            ValueError: it is closed.
        """
        self.stream = stream
        self._descriptor = stream.fileno()
        self._encoding = stream.encoding or "utf-8"
        self._terminal = stream.isatty()
        self._most_waiting = most_waiting
        #: Told, in this outlet's thread, how many lines were dropped, once text flows again.
        self.on_dropped: Callable[[int], object] = lambda _lines: None
        self._changed = threading.Condition()
        self._waiting: deque[str] = deque()
        self._characters = 0
        self._dropped = 0
        self._resting = True
        self._thread: threading.Thread | None = None
        self._below = ""
        self._shown = ""

    def isatty(self) -> bool:
        """Return whether a person may be reading."""
        return self._terminal

    def write(self, text: str) -> int:
        """Take text, and return at once."""
        with self._changed:
            if self._characters + len(text) > self._most_waiting:
                self._dropped += text.count("\n")
                return len(text)
            self._waiting.append(text)
            self._characters += len(text)
            self._wake()
        return len(text)

    def flush(self) -> None:
        """Do nothing: what was taken is on its way."""

    def show_below(self, line: str) -> None:
        """Show a line below all text, in place of the last such line; empty for none. Terminals only."""
        with self._changed:
            self._below = line
            self._wake()

    def drain(self, seconds: float = 1.0) -> bool:
        """Wait until all that was taken is written, for so many seconds at most; return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._resting and not self._waiting, seconds)

    def _wake(self) -> None:
        if self._thread is None:
            # A daemon thread: a program must end although nobody reads its log.
            self._thread = threading.Thread(target=self._run, name="outlet", daemon=True)
            self._thread.start()
        if self._resting:
            self._resting = False
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._waiting and self._below == self._shown:
                    self._resting = True
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: not self._resting)
                text = "".join(self._waiting)
                self._waiting.clear()
                self._characters = 0
                below = self._below
            self._put(self._laid_out(text, below))
            with self._changed:
                dropped, self._dropped = self._dropped, 0
            if dropped:
                self.on_dropped(dropped)
            time.sleep(_REST_SECONDS)  # in the writer's own thread: a line at a time would cost a call each

    def _laid_out(self, text: str, below: str) -> str:
        """Return what brings a terminal from the line that it shows below to text above and the new line below."""
        if not (self._shown or below):
            return text
        cleared = _CLEAR if self._shown else ""
        self._shown = below
        # What would wrap into a second row could not be cleared.
        return f"{cleared}{text}{below[: max(1, self._columns() - 1)]}"

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._descriptor).columns or _COLUMNS
        except OSError:
            return _COLUMNS

    def _put(self, text: str) -> None:
        left = memoryview(text.encode(self._encoding, "backslashreplace"))
        try:
            while left:
                try:
                    left = left[os.write(self._descriptor, left) :]
                except BlockingIOError:  # somebody else has made it non-blocking
                    waiting = select.poll()
                    waiting.register(self._descriptor, select.POLLOUT)
                    waiting.poll()
        except OSError:
            pass  # the disk is full, or nobody will ever read it: the work goes on
