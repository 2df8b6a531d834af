"""What the daemon takes when nothing happens: memory, CPU, and the time from its start until it is ready.

Everything has been applied and nothing drifts; every recording has its own file. The digest poll is on, as it is by
default; the resync is put off, since its cost is the request budget's to say. Floors: the same daemon with a single
recording, and for the CPU one walk and stat a poll.
"""

from __future__ import annotations

import time
from pathlib import Path

from .cold_plan import FULL, PLAN
from .fast_bird import FastBird, fast_bird
from .figures import Figure, Target, arguments, publish, seconds
from .measure import floor, run
from .resident import daemon, wait_until_quiet
from .scene import DOCUMENTS, PER_CALL, scene
from .warm_plan import SETTLED_SECONDS

#: The default of `poll_seconds`.
POLL_SECONDS = 30.0


def main() -> None:
    parser = arguments(__doc__ or "", recordings=FULL)
    parser.add_argument("--seconds", type=float, default=2 * POLL_SECONDS, help="of watching; default: %(default)s")
    options = parser.parse_args()
    calls = -(-options.recordings // PER_CALL)
    with fast_bird(calls=calls, recordings=PER_CALL, status="paused") as api:
        with scene("files", 1, applied=True) as folder:
            least = _watched(folder, api, 0)
        with scene("files", options.recordings, applied=True) as folder:
            walk = floor("walk", folder, str(folder / DOCUMENTS))
            time.sleep(SETTLED_SECONDS)
            run(PLAN, folder)  # whoever starts a daemon has planned before, or has run it before
            found = _watched(folder, api, options.seconds)
    full = options.recordings == FULL
    publish(
        "at_rest",
        [
            seconds(
                "daemon, start to ready, warm",
                found[0],
                "one recording",
                least[0],
                *([Target(3)] if full else []),
            ),
            Figure(
                "daemon at rest: resident memory",
                found[1] / 1e6,
                "MB",
                "one recording",
                least[1] / 1e6,
                (Target(250),) if full else (),
                note=f"{(found[1] - least[1]) / options.recordings:.0f} bytes a recording",
            ),
            Figure(
                "daemon at rest: CPU",
                found[2] * 100,
                "% of a core",
                f"walk and stat every {POLL_SECONDS:.0f} s",
                walk.cpu_seconds / POLL_SECONDS * 100,
                (Target(1),) if full else (),
            ),
        ],
        options.out,
        recordings=options.recordings,
    )


def _watched(folder: Path, api: FastBird, watch_seconds: float) -> tuple[float, int, float]:
    """Return seconds until ready, resident bytes, and the share of a core that was taken while nothing happened."""
    with daemon(folder, api.url) as resident:
        wait_until_quiet(lambda: sum(api.counts().values()))
        began, busy = time.monotonic(), resident.cpu_seconds()
        time.sleep(watch_seconds)
        share = (resident.cpu_seconds() - busy) / max(time.monotonic() - began, 1e-3)
        return resident.ready_seconds, resident.resident_bytes(), share


if __name__ == "__main__":
    main()
