"""How long `plan --no-refresh` takes when nothing has changed since the last one: against a bare walk and stat.

Everything has been applied. The tree is two seconds old or more, so that equal times prove equal content.
"""

from __future__ import annotations

import time
from functools import partial

from .cold_plan import FULL, PLAN, WORDS
from .figures import Figure, Target, arguments, publish, seconds
from .measure import floor, in_turns, run
from .scene import DOCUMENTS, Layout, scene

#: A file changed within this time of being read is read again, whatever its times say.
SETTLED_SECONDS = 2.5


def main() -> None:
    options = arguments(__doc__ or "", recordings=FULL, repeats=5).parse_args()
    found = []
    layouts: tuple[Layout, ...] = ("stream", "sets", "files")
    for layout in layouts:
        found += _measured(layout, options.recordings, options.repeats)
    publish("warm_plan", found, options.out, recordings=options.recordings)


def _measured(layout: Layout, recordings: int, repeats: int) -> list[Figure]:
    with scene(layout, recordings, applied=True) as folder:
        time.sleep(SETTLED_SECONDS)
        run(PLAN, folder)
        tasks = {
            "floor": partial(floor, "walk", folder, str(folder / DOCUMENTS)),
            "plan": partial(run, PLAN, folder),
        }
        taken = in_turns(repeats, tasks)
    full = recordings == FULL
    speed = Target(3, ratio=True) if layout == "files" else Target(0.6)
    plan, least = taken["plan"], taken["floor"]
    return [
        seconds(
            f"warm plan, {WORDS[layout]}: wall",
            plan.wall_seconds,
            "walk and stat",
            least.wall_seconds,
            *([speed] if full else []),
            note=f"CPU {plan.cpu_seconds:.2f} s, ratio {plan.cpu_seconds / max(least.cpu_seconds, 1e-6):.2f}",
        ),
        Figure(
            f"warm plan, {WORDS[layout]}: peak memory",
            plan.peak_bytes / 1e6,
            "MB",
            "the walking process",
            least.peak_bytes / 1e6,
            (Target(200),) if full else (),
        ),
    ]


if __name__ == "__main__":
    main()
