"""How long an edit takes until its PATCH is on the wire, and a branch switch of many files until all of theirs are.

Every recording has its own file and is in sync. From the end of a save to the moment at which the server has read the
PATCH, on the one clock of the machine. The floor is watchfiles alone, with the daemon's own settings on the same tree:
from the end of a save to its event. The switch unlinks and writes file after file, as Git does.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from watchfiles import watch

from reconciler.desired.sources.watch import DEBOUNCE_MS, STEP_MS

from .fast_bird import FastBird, fast_bird
from .figures import Figure, Target, arguments, publish
from .resident import daemon, wait_for, wait_for_first_looks, wait_until_quiet
from .scene import PER_CALL, document, place, recording_id, scene

FULL = 100_000
SMALL = 1_000
#: Two edits are this far apart, and up to as much more: so that none is joined with the one before it.
BETWEEN_SECONDS = 0.15


def main() -> None:
    parser = arguments(__doc__ or "", recordings=FULL)
    parser.add_argument("--small", type=int, default=SMALL, help="the size to compare with; default: %(default)s")
    parser.add_argument("--edits", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--switched", type=int, default=5_000, help="files of the switch; default: %(default)s")
    options = parser.parse_args()
    small, _, small_floor, _ = _measured(options.small, min(options.edits, options.small), 0)
    edits, requests, floor, switch = _measured(options.recordings, options.edits, options.switched)
    full = options.recordings == FULL
    publish(
        "edit_latency",
        [
            _figure("edit to PATCH, median", median(edits), median(floor), *([Target(25)] if full else [])),
            _figure("edit to PATCH, 99th percentile", late(edits), late(floor), *([Target(100)] if full else [])),
            _figure(f"edit to PATCH among {options.small:,}, median", median(small), median(small_floor)),
            Figure(
                f"edit to PATCH, median: {options.recordings:,} files to {options.small:,}",
                median(edits) / median(small),
                "",
                "as many",
                1.0,
                (Target(1.2),) if full else (),
            ),
            Figure("requests an edit", requests, "", "a look, a PATCH, a look", 3.0),
            Figure(
                f"switch of {options.switched:,} files until the last PATCH",
                switch,
                "s",
                "watchfiles: save to event, median",
                median(floor),
                (Target(5),) if full else (),
            ),
        ],
        options.out,
        recordings=options.recordings,
        edits=options.edits,
        milliseconds=[round(each * 1000, 2) for each in edits],
    )


def late(seconds: Sequence[float]) -> float:
    """Return the 99th percentile: the least that no more than one in a hundred exceeds."""
    return sorted(seconds)[max(0, -(-len(seconds) * 99 // 100) - 1)]


def _figure(name: str, seconds: float, floor: float, *targets: Target) -> Figure:
    return Figure(name, seconds * 1000, "ms", "watchfiles: save to event", floor * 1000, targets)


def _measured(size: int, edits: int, switched: int) -> tuple[list[float], float, list[float], float]:
    """Return the seconds of each edit, requests an edit, the seconds of each event, and the seconds of the switch."""
    chance = random.Random(size)
    numbers = chance.sample(range(size), edits)
    edited = frozenset(numbers)
    calls = -(-size // PER_CALL)
    with (
        scene("files", size, applied=True) as folder,
        fast_bird(calls=calls, recordings=PER_CALL, status="paused") as api,
    ):
        floor = _events(folder, numbers, chance)
        with daemon(folder, api.url):
            wait_for_first_looks(folder, api)
            api.reset()
            saved = {recording_id(number): _save(folder, number, "ongoing", chance) for number in numbers}
            wait_for(lambda: {identifier for _, identifier in api.patches()} >= saved.keys(), "every edit's PATCH")
            taken = [at - saved[identifier] for at, identifier in api.patches()]
            wait_until_quiet(lambda: sum(api.counts().values()))
            requests = sum(api.counts().values()) / edits
            switch = _switch(folder, api, [number for number in range(size) if number not in edited][:switched])
    return taken, requests, floor, switch


def _save(folder: Path, number: int, status: str, chance: random.Random) -> float:
    """Save a file after a pause; return the moment at which that had been done."""
    time.sleep(BETWEEN_SECONDS * (1 + chance.random()))  # as people save: one by one
    (folder / place("files", number)[1]).write_text(document(number, status))
    return time.monotonic()


def _events(folder: Path, numbers: Sequence[int], chance: random.Random) -> list[float]:
    """Return, for each save, the seconds until watchfiles tells of it."""
    folders = sorted({str((folder / place("files", number)[1]).parent) for number in numbers})
    stop, began = threading.Event(), threading.Event()
    seen: dict[str, float] = {}

    def listen() -> None:
        for events in watch(
            *folders,
            watch_filter=None,
            debounce=DEBOUNCE_MS,
            step=STEP_MS,
            stop_event=stop,
            rust_timeout=100,
            yield_on_timeout=True,
            recursive=False,
        ):
            began.set()
            for _, path in events:
                seen.setdefault(path, time.monotonic())

    listening = threading.Thread(target=listen)
    listening.start()
    began.wait()
    time.sleep(1)  # the tree has just been written, and its events may still come
    seen.clear()
    saved = {}
    for number in numbers:
        path = str(folder / place("files", number)[1])
        saved[path] = _save(folder, number, "paused", chance)
    wait_for(lambda: seen.keys() >= saved.keys(), "every save's event")
    stop.set()
    listening.join()
    # The event may come before the save has been noted: a write is told of before the file is closed.
    return [max(seen[path] - at, 0.0001) for path, at in saved.items()]


def _switch(folder: Path, api: FastBird, numbers: Sequence[int]) -> float:
    """Change many files at once; return the seconds from the end of that until the last PATCH."""
    if not numbers:
        return 0.0
    api.reset()
    for number in numbers:
        path = folder / place("files", number)[1]
        path.unlink()
        path.write_text(document(number, "ongoing"))
    ended = time.monotonic()
    wait_for(lambda: api.counts()["patch"] >= len(numbers), "every PATCH of the switch")
    return max(at for at, _ in api.patches()) - ended


if __name__ == "__main__":
    main()
