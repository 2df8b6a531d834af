"""The real daemon in a process that counts, from the inside, what must not grow.

`watched.py FILE EVERY ARGUMENTS...` runs `reconciler ARGUMENTS...` and appends a line of JSON to FILE whenever EVERY
more turns have begun.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from reconciler import cli
from reconciler.cli import run
from reconciler.model import Priority, RecordingKey
from reconciler.reconcile import Reconciler, Turn

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def sample(turns: int) -> dict[str, Any]:
    """Return what there is of everything just now."""
    gc.collect()
    return {
        "turns": turns,
        "objects": len(gc.get_objects()),
        "tasks": len(asyncio.all_tasks()),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "resident_bytes": int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES,
    }


def write(entry: dict[str, Any]) -> None:
    """Append a line for the process outside."""
    with FILE.open("a", encoding="ascii") as file:
        file.write(json.dumps(entry) + "\n")


class _Watched(Reconciler):
    """The real turns, counted."""

    turns = 0

    async def reconcile(self, key: RecordingKey, priority: Priority) -> Turn:
        self.turns += 1
        if self.turns % EVERY == 0:
            write(sample(self.turns))
        return await super().reconcile(key, priority)


if __name__ == "__main__":
    FILE = Path(sys.argv[1])
    EVERY = int(sys.argv[2])
    # Set by name: the command's module takes its parts from its own namespace.
    vars(run).update(Reconciler=_Watched)
    cli.main(sys.argv[3:])
