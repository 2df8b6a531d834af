"""How long `plan --no-refresh` takes when nothing is remembered: against PyYAML's fast stock loader on the same bytes.

Whole processes, with validation, cross-checks, decision and report, in three layouts: streams of documents, sets, and
one document a file. Nothing has been applied, so that every recording is a line of the report; once more for streams
with all of it applied, when the report is one line.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from .figures import Figure, Target, arguments, publish, seconds
from .measure import COMMAND, Run, floor, in_turns, run
from .scene import DOCUMENTS, STATE, Layout, scene

PLAN = (COMMAND, "plan", "--no-refresh", DOCUMENTS)
#: What the targets are for.
FULL = 100_000
WORDS: dict[Layout, str] = {
    "stream": "streams of 1,000 documents",
    "sets": "sets of 1,000",
    "files": "one document a file",
}


def main() -> None:
    options = arguments(__doc__ or "", recordings=FULL, repeats=3).parse_args()
    cases: list[tuple[Layout, bool]] = [("stream", False), ("sets", False), ("files", False), ("stream", True)]
    found = []
    for layout, applied in cases:
        found += _measured(layout, options.recordings, options.repeats, applied=applied)
    publish("cold_plan", found, options.out, recordings=options.recordings)


def _measured(layout: Layout, recordings: int, repeats: int, *, applied: bool) -> list[Figure]:
    with scene(layout, recordings, applied=applied) as folder:
        tasks = {
            "floor": partial(floor, "load", folder, str(folder / DOCUMENTS)),
            "plan": partial(cold, folder),
        }
        taken = in_turns(repeats, tasks)
    what = f"cold plan, {WORDS[layout]}{', all applied' if applied else ''}"
    full = recordings == FULL
    # One document a file has its walk, its opens and its reads on top: its ratio is told, and has no target.
    ratio = (Target(1.25, ratio=True),) if full and layout != "files" else ()
    plan, least = taken["plan"], taken["floor"]
    return [
        seconds(
            f"{what}: CPU",
            plan.cpu_seconds,
            "yaml.load_all, CSafeLoader",
            least.cpu_seconds,
            *ratio,
            note=f"wall {plan.wall_seconds:.2f} s, ratio {plan.wall_seconds / least.wall_seconds:.2f}",
        ),
        Figure(
            f"{what}: peak memory",
            plan.peak_bytes / 1e6,
            "MB",
            "the loader's process, keeping nothing",
            least.peak_bytes / 1e6,
            (Target(350),) if full else (),
        ),
    ]


def cold(folder: Path) -> Run:
    """Plan with nothing remembered but what was applied."""
    for path in (folder / STATE).glob("*") if (folder / STATE).is_dir() else ():
        if not path.name.startswith("state.db"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return run(PLAN, folder)


if __name__ == "__main__":
    main()
