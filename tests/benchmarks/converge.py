"""What a convergence makes of the PATCH rate that its transport could reach: by `apply`, and by the daemon.

No recording has been applied, and no rate is set. The rate counts from the first PATCH that came in until every
recording is confirmed and recorded: the end of `apply`, or the last request of the daemon. The floor is a bare
`httpx.AsyncClient` on the same transport (httpx-aiohttp), as many requests at once, to the same server.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from .fast_bird import FastBird, fast_bird
from .figures import Figure, Target, arguments, publish
from .measure import COMMAND, floor, run
from .resident import daemon, wait_until_quiet
from .scene import CHANNEL, DOCUMENTS, PER_CALL, WORKSPACE, call_id, recording_id, scene

FULL = 10_000
#: The default of `concurrency`.
CONCURRENCY = 32
APPLY = (COMMAND, "apply", DOCUMENTS, "--yes", "--rate-limit", "0", "--override-limits", "--log-format", "json")
#: It is ready when all has come to its end; to be asked fifty times a second meanwhile would cost it a twentieth.
READY_EVERY_SECONDS = 0.5


def main() -> None:
    parser = arguments(__doc__ or "", recordings=FULL, repeats=3)
    options = parser.parse_args()
    calls = -(-options.recordings // PER_CALL)
    bare: list[float] = []
    applied: list[float] = []
    whole: list[float] = []
    followed: list[float] = []
    with fast_bird(calls=calls, recordings=PER_CALL) as api:
        for _ in range(options.repeats):
            with scene("sets", options.recordings) as folder:
                bare.append(_bare(api, folder, options.recordings))
                rate, wall = _apply(api, folder, options.recordings)
                requests = api.counts()
            applied.append(rate)
            whole.append(wall)
            with scene("sets", options.recordings) as folder:
                followed.append(_follow(api, folder, options.recordings))
    full = options.recordings == FULL
    least = "bare transport", median(bare)
    targets = (Target(0.5, ratio=True, least=True), Target(1500, least=True)) if full else ()
    publish(
        "converge",
        [
            Figure(
                "apply: recordings a second",
                median(applied),
                "/s",
                *least,
                targets,
                note=f"{options.recordings / median(whole):,.0f} /s by the whole command",
            ),
            Figure("run: recordings a second", median(followed), "/s", *least, targets),
            Figure(
                "apply: requests",
                sum(requests.values()),
                "",
                "a look at each call, a PATCH each, a look at each call",
                2 * calls + options.recordings,
                note=", ".join(f"{count} {kind}" for kind, count in requests.items() if count),
            ),
        ],
        options.out,
        recordings=options.recordings,
    )


def _bare(api: FastBird, folder: Path, number: int) -> float:
    api.reset("ongoing")
    calls = f"{api.url}/workspaces/{WORKSPACE}/channels/{CHANNEL}/calls"
    addresses = folder / "addresses"
    addresses.write_text(
        "".join(f"{calls}/{call_id(each // PER_CALL)}/recordings/{recording_id(each)}\n" for each in range(number))
    )
    return number / floor("patch", folder, str(addresses), str(CONCURRENCY)).wall_seconds


def _apply(api: FastBird, folder: Path, number: int) -> tuple[float, float]:
    api.reset("ongoing")
    done = run((*APPLY, "--api-url", api.url), folder)
    ended = time.monotonic()
    return number / (ended - _first(api.patches(), number)), done.wall_seconds


def _follow(api: FastBird, folder: Path, number: int) -> float:
    api.reset("ongoing")
    with daemon(folder, api.url, "--override-limits", ready_every=READY_EVERY_SECONDS):
        wait_until_quiet(lambda: sum(api.counts().values()))
    return number / (api.last_at() - _first(api.patches(), number))


def _first(patches: Sequence[tuple[float, str]], number: int) -> float:
    if len({identifier for _, identifier in patches}) != number:
        raise RuntimeError(f"{len(patches)} PATCHes for {number} recordings")
    return min(at for at, _ in patches)


if __name__ == "__main__":
    main()
