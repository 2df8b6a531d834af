"""What the daemon takes when nothing happens: memory, CPU, and the time from its start until it is ready.

Everything has been applied and nothing drifts; every recording has its own file. The digest poll is on, as it is by
default; the resync is put off, since its cost is the request budget's to say. Floors: the same daemon with a single
recording, and for the CPU one walk and stat a poll.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from .cold_plan import FULL, PLAN
from .fast_bird import FastBird, fast_bird
from .figures import Figure, Target, arguments, publish, seconds
from .measure import floor, run
from .resident import daemon, wait_for_first_looks
from .scene import DOCUMENTS, PER_CALL, scene
from .warm_plan import SETTLED_SECONDS

#: The default of `poll_seconds`.
POLL_SECONDS = 30.0


class Rest(NamedTuple):
    """What was seen of one daemon."""

    ready_seconds: float
    ready_cpu_seconds: float
    resident_bytes: int
    #: Of a core, while nothing happened.
    share: float


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
            time.sleep(SETTLED_SECONDS)  # a younger file would be read again
            run(PLAN, folder)  # whoever starts a daemon has planned before, or has run it before
            found = _watched(folder, api, options.seconds)
    full = options.recordings == FULL
    publish(
        "at_rest",
        [
            seconds(
                "daemon, start to ready, warm",
                found.ready_seconds,
                "one recording",
                least.ready_seconds,
                *([Target(3)] if full else []),
                note=f"CPU {found.ready_cpu_seconds:.2f} s, ratio"
                f" {found.ready_cpu_seconds / least.ready_cpu_seconds:.2f}",
            ),
            Figure(
                "daemon at rest: resident memory",
                found.resident_bytes / 1e6,
                "MB",
                "one recording",
                least.resident_bytes / 1e6,
                (Target(250),) if full else (),
                note=f"{(found.resident_bytes - least.resident_bytes) / options.recordings:.0f} bytes a recording",
            ),
            Figure(
                "daemon at rest: CPU",
                found.share * 100,
                "% of a core",
                f"walk and stat every {POLL_SECONDS:.0f} s",
                walk.cpu_seconds / POLL_SECONDS * 100,
                (Target(1),) if full else (),
            ),
        ],
        options.out,
        recordings=options.recordings,
    )


def _watched(folder: Path, api: FastBird, watch_seconds: float) -> Rest:
    with daemon(folder, api.url) as resident:
        wait_for_first_looks(folder, api)
        began, busy = time.monotonic(), resident.cpu_seconds()
        time.sleep(watch_seconds)  # the time that is measured
        share = (resident.cpu_seconds() - busy) / max(time.monotonic() - began, 1e-3)
        return Rest(resident.ready_seconds, resident.ready_cpu_seconds, resident.resident_bytes(), share)


if __name__ == "__main__":
    main()
