"""How long `plan --no-refresh` takes when nothing has changed since the last one.

One document a file is told against a bare walk and stat, few large files against the plan of a single recording.

Everything has been applied. The tree is two seconds old or more, so that equal times prove equal content.
"""

from __future__ import annotations

import time
from functools import partial

from .cold_plan import FULL, PLAN, WORDS
from .figures import Figure, Target, arguments, publish, seconds
from .measure import floor, in_turns, run
from .scene import DOCUMENTS, LAYOUTS, Layout, scene

#: A file changed within this time of being read is read again, whatever its times say.
SETTLED_SECONDS = 2.5
ONE = "one recording"


def main() -> None:
    options = arguments(__doc__ or "", recordings=FULL, repeats=5).parse_args()
    found = []
    for layout in LAYOUTS:
        found += _measured(layout, options.recordings, options.repeats)
    publish("warm_plan", found, options.out, recordings=options.recordings)


def _measured(layout: Layout, recordings: int, repeats: int) -> list[Figure]:
    with scene(layout, recordings, applied=True) as folder, scene(layout, 1, applied=True) as single:
        time.sleep(SETTLED_SECONDS)  # a younger file would be read again
        for each in (folder, single):
            run(PLAN, each)
        tasks = {
            "walk": partial(floor, "walk", folder, str(folder / DOCUMENTS)),
            "one": partial(run, PLAN, single),
            "plan": partial(run, PLAN, folder),
        }
        taken = in_turns(repeats, tasks)
    plan, one, walk = taken["plan"], taken["one"], taken["walk"]
    # A hundred files are walked in no time: what a plan of them cannot be quicker than is its own start.
    many = layout == "files"
    least, what = (walk, "walk and stat") if many else (one, ONE)
    full = recordings == FULL
    speed = Target(3, ratio=True) if many else Target(0.6)
    return [
        seconds(
            f"warm plan, {WORDS[layout]}: CPU",
            plan.cpu_seconds,
            what,
            least.cpu_seconds,
            *([speed] if full else []),
            note=f"wall {plan.wall_seconds:.2f} s, ratio {plan.wall_seconds / least.wall_seconds:.2f}",
        ),
        Figure(
            f"warm plan, {WORDS[layout]}: peak memory",
            plan.peak_bytes / 1e6,
            "MB",
            ONE,
            one.peak_bytes / 1e6,
            (Target(200),) if full else (),
        ),
    ]


if __name__ == "__main__":
    main()
