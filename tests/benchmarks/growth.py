"""How costs grow with the number of recordings: plan, memory, daemon, an edit, requests; and the exponent of each.

Streams of a thousand documents, all applied, and beside them twenty files of one document each, which are edited one
after the other. An exponent is the slope of the logarithms by least squares: 0 does not grow, 1 is proportional.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import linear_regression, median

from .cold_plan import PLAN, cold
from .fast_bird import FastBird, fast_bird
from .figures import Figure, Target, arguments, measured, publish
from .measure import COMMAND, in_turns, run
from .resident import daemon, wait_for, wait_for_first_looks, wait_until_quiet
from .scene import DOCUMENTS, PER_CALL, document, scene
from .warm_plan import SETTLED_SECONDS

#: A little more than linear is noise, or a logarithm.
LINEAR, LEVEL = 1.1, 0.1
#: What is measured at each size, its unit, and how it may grow.
MEASURES: Mapping[str, tuple[str, float]] = {
    "cold plan, CPU": ("s", LINEAR),
    "cold plan, peak memory": ("MB", LINEAR),
    "warm plan, CPU": ("s", LINEAR),
    "warm plan, peak memory": ("MB", LINEAR),
    "refreshed plan, CPU": ("s", LINEAR),
    "refreshed plan, requests": ("", 1.0001),
    "daemon, start to ready": ("s", LINEAR),
    "daemon, resident memory": ("MB", LINEAR),
    "edit to PATCH, median": ("ms", LEVEL),
    "edit, requests": ("", LEVEL),
}
EDITED = "edited"
BETWEEN_EDITS_SECONDS = 0.25


def main() -> None:
    parser = arguments(__doc__ or "", repeats=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="default: %(default)s")
    parser.add_argument("--edits", type=int, default=20, help="default: %(default)s")
    options = parser.parse_args()
    table = {size: _measured(size, options.repeats, options.edits) for size in options.sizes}
    print(f"{'recordings':>26} " + " ".join(f"{size:>12,}" for size in table) + "     exponent")
    figures = []
    for name, (unit, most) in MEASURES.items():
        values = [row[name] for row in table.values()]
        slope = exponent(list(table), values)
        shown = " ".join(f"{measured(value, unit):>12}" for value in values)
        print(f"{name:>26} {shown} {slope:12.2f}")
        note = " → ".join(measured(value, unit) for value in values)
        figures.append(Figure(f"growth of {name}: exponent", slope, "", targets=(Target(most),), note=note))
    publish("growth", figures, options.out, sizes=options.sizes, table={str(size): row for size, row in table.items()})


def exponent(sizes: Sequence[int], values: Sequence[float]) -> float:
    """Return the slope of the logarithms, by least squares."""
    return linear_regression([math.log(size) for size in sizes], [math.log(value) for value in values]).slope


def _measured(size: int, repeats: int, edits: int) -> dict[str, float]:
    calls = -(-(size + edits) // PER_CALL)
    with (
        scene("stream", size, applied=True) as folder,
        fast_bird(calls=calls, recordings=PER_CALL, status="paused") as api,
    ):
        _write_edited(folder, size, edits, "paused")
        time.sleep(SETTLED_SECONDS)  # a younger file would be read again
        first = in_turns(repeats, {"cold": lambda: cold(folder)})["cold"]
        warm = in_turns(repeats, {"warm": lambda: run(PLAN, folder)})["warm"]
        refreshed = run((COMMAND, "plan", DOCUMENTS, "--api-url", api.url, "--rate-limit", "0"), folder)
        asked = sum(api.counts().values())
        latency, requests, ready, resident = _edited(folder, api, size, edits)
    return {
        "cold plan, CPU": first.cpu_seconds,
        "cold plan, peak memory": first.peak_bytes / 1e6,
        "warm plan, CPU": warm.cpu_seconds,
        "warm plan, peak memory": warm.peak_bytes / 1e6,
        "refreshed plan, CPU": refreshed.cpu_seconds,
        "refreshed plan, requests": asked,
        "daemon, start to ready": ready,
        "daemon, resident memory": resident / 1e6,
        "edit to PATCH, median": latency * 1000,
        "edit, requests": requests,
    }


def _write_edited(folder: Path, size: int, edits: int, status: str) -> None:
    (folder / DOCUMENTS / EDITED).mkdir()
    for number in range(size, size + edits):
        _edited_file(folder, number).write_text(document(number, status))


def _edited_file(folder: Path, number: int) -> Path:
    return folder / DOCUMENTS / EDITED / f"r-{number:07}.yaml"


def _edited(folder: Path, api: FastBird, size: int, edits: int) -> tuple[float, float, float, int]:
    """Edit file after file under the daemon.

    Returns:
        the median of seconds from the end of the save to the PATCH, requests an edit, seconds until the daemon was
        ready, and its resident bytes.
    """
    # An agent's pause is what the edited recordings are in: they have not been applied, and are in sync.
    with daemon(folder, api.url, "--max-resumes", str(edits)) as resident:
        wait_for_first_looks(folder, api)
        memory = resident.resident_bytes()
        api.reset()
        saved = {}
        for number in range(size, size + edits):
            _edited_file(folder, number).write_text(document(number, "ongoing"))
            saved[f"00000000-0000-4000-9000-{number:012x}"] = time.monotonic()
            time.sleep(BETWEEN_EDITS_SECONDS)  # so that none is joined with the one before it
        wait_for(lambda: {identifier for _, identifier in api.patches()} >= saved.keys(), "every edit's PATCH")
        wait_until_quiet(lambda: sum(api.counts().values()))
        requests = sum(api.counts().values()) / edits
        latency = median(at - saved[identifier] for at, identifier in api.patches())
    return latency, requests, resident.ready_seconds, memory


if __name__ == "__main__":
    main()
