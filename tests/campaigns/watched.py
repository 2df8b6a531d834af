"""The real daemon in a process that counts, from the inside, what must not grow.

`watched.py FILE EVERY ARGUMENTS...` runs `reconciler ARGUMENTS...` and appends a line of JSON to FILE whenever EVERY
more turns have begun. A line gives the least of each figure since the line before: what is held all the time, without
what requests and turns under way hold, which comes and goes and is most at the very moment in which a turn begins.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import threading
from pathlib import Path

from reconciler.cli import program, running
from reconciler.model.keys import RecordingKey
from reconciler.model.work import Priority
from reconciler.reconcile.surroundings import Turn
from reconciler.reconcile.turn import Reconciler

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
#: How long the loop runs between two looks.
_PAUSE_SECONDS = 0.02


def look() -> dict[str, int]:
    """Return what there is of everything just now."""
    gc.collect()
    return {
        "objects": len(gc.get_objects()),
        "tasks": len(asyncio.all_tasks()),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "resident_bytes": int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES,
    }


class _Watched(Reconciler):
    """The real turns, counted."""

    turns = 0
    _looking: asyncio.Task[None] | None = None

    async def reconcile(self, key: RecordingKey, priority: Priority) -> Turn:
        self.turns += 1
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        return await super().reconcile(key, priority)

    async def _look(self) -> None:
        written = 0
        least: dict[str, int] = {}
        while True:
            now = look()
            least = {figure: min(count, least.get(figure, count)) for figure, count in now.items()}
            if self.turns - written >= EVERY:
                written = self.turns
                write({"turns": written, **least})
                least = {}
            await asyncio.sleep(_PAUSE_SECONDS)  # the pace of the looks; nothing is claimed of it


def write(entry: dict[str, int]) -> None:
    """Append a line for the process outside."""
    with FILE.open("a", encoding="ascii") as file:
        file.write(json.dumps(entry) + "\n")


if __name__ == "__main__":
    FILE = Path(sys.argv[1])
    EVERY = int(sys.argv[2])
    # Set by name: the module that puts a run together takes its parts from its own namespace.
    vars(running).update(Reconciler=_Watched)
    program.main(sys.argv[3:])
