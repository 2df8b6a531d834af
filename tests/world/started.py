"""A command that goes on, and the log events that it has written so far."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: How long a wait may take before it counts as failed. Every wait ends as soon as what it waits for is there.
PATIENCE_SECONDS = 110.0


class Started:
    """A process that writes to a log."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    @property
    def text(self) -> str:
        """All that it wrote."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def said(self) -> str:
        """Return the end of what it wrote."""
        return self.text[-4000:]

    def events(self, *words: str) -> list[dict[str, Any]]:
        """Return the log events written so far, of these words or all."""
        found = []
        for line in self.text.splitlines(keepends=True):
            if line.startswith("{") and line.endswith("\n"):
                event = json.loads(line)
                if not words or event["event"] in words:
                    found.append(event)
        return found

    def wait_for(self, word: str, count: int = 1, **values: object) -> dict[str, Any]:
        """Wait until events of this word with these values have been logged `count` times; return the last of them."""

        def matching() -> list[dict[str, Any]]:
            return [event for event in self.events(word) if values.items() <= event.items()]

        def there() -> bool:
            alive = self.process.poll() is None
            enough = len(matching()) >= count
            assert alive or enough, self.said()
            return enough

        eventually(there, lambda: f"no {word} {values} in\n{self.said()}")
        return matching()[-1]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it as a power cut does."""
        self.process.kill()
        self.process.wait()

    def ended(self) -> int:
        """Return the exit code, once it has ended."""
        return self.process.wait(PATIENCE_SECONDS)


@contextmanager
def started(command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> Iterator[Started]:
    """Start a command that goes on, in a folder; kill it at the end if it is still there."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        yield Started(process, log)
    finally:
        process.kill()
        process.wait()


def eventually(holds: Callable[[], bool], why: Callable[[], str] = lambda: "") -> None:
    """Wait until something holds. The wait ends as soon as it does, so its length is no claim."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < until, why()
        time.sleep(0.01)  # a look in between, until it holds
