"""What an outage of the API costs the daemon, and how soon it sends what waited, beside the number of recordings.

All recordings have been applied, and the resync is under way when the API goes: connections to it are refused. Then a
few documents are edited, the daemon is watched, and the API comes back on the same port. Floor: the smallest number of
recordings, since an outage shall cost the same whatever it hits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .fast_bird import fast_bird
from .figures import Figure, Target, arguments, publish
from .resident import LOG, daemon, wait_for, wait_for_first_looks
from .scene import PER_CALL, document, scene

SIZES: Final = (100, 10_000, 100_000)
#: Documents that are edited while the API is away, in a file of their own.
EDITS: Final = 5


@dataclass(frozen=True, slots=True)
class Outage:
    """What was seen of one."""

    #: Of a core.
    share: float
    lines_a_minute: float
    grown_bytes: int
    #: From the API's return until the first PATCH came in.
    first_patch_seconds: float


#: What is told: its name, its unit, the least that a floor of it may be, its bound where all recordings are there, and
#: how it follows from what was seen.
MEASURES: Final[tuple[tuple[str, str, float, float, Callable[[Outage], float]], ...]] = (
    ("CPU", "% of a core", 0.01, 2, lambda seen: seen.share * 100),
    ("log", "lines a minute", 0.01, 30, lambda seen: seen.lines_a_minute),
    ("memory that was added", "MB", 0.01, 5, lambda seen: seen.grown_bytes / 1e6),
    ("the API's return to the first PATCH", "s", 0.001, 1, lambda seen: seen.first_patch_seconds),
)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="N", help="of recordings")
    parser.add_argument("--seconds", type=float, default=120.0, help="of the outage; default: %(default)s")
    parser.add_argument(
        "--resync-seconds",
        type=float,
        default=30.0,
        help="how often all is looked at, so that the outage meets a resync that is under way; default: %(default)s",
    )
    options = parser.parse_args()
    found = {size: _outage(size, options.seconds, options.resync_seconds) for size in options.sizes}
    figures = []
    # One thing after the other, so that the sizes stand beside each other.
    for what, unit, least, bound, value in MEASURES:
        floor = max(value(found[min(found)]), least)
        for size, seen in found.items():
            targets = (Target(bound),) if size == SIZES[-1] else ()
            name = f"outage with {size:,} recordings: {what}"
            figures.append(Figure(name, value(seen), unit, f"{min(found):,} recordings", floor, targets))
    publish("outage", figures, options.out, recordings=max(found))


def _outage(size: int, seconds: float, resync_seconds: float) -> Outage:
    calls = -(-size // PER_CALL)
    with scene("stream", size, applied=True) as folder, ExitStack() as stack:
        api = stack.enter_context(fast_bird(calls=calls, recordings=PER_CALL, status="paused"))
        resident = stack.enter_context(daemon(folder, api.url, "--resync-seconds", str(resync_seconds)))
        wait_for_first_looks(folder, api)
        # All edited documents stand in one file, so that they are one change.
        api.stop()
        wait_for(lambda: "circuit_opened" in _log(folder), "the daemon finds the API away")
        _edit(folder)
        wait_for(lambda: _settled(folder), "the edits are taken in")
        lines, busy, memory = _log(folder).count("\n"), resident.cpu_seconds(), resident.resident_bytes()
        began = time.monotonic()
        time.sleep(seconds)  # the outage that is measured
        took = time.monotonic() - began
        share = (resident.cpu_seconds() - busy) / took
        grown = max(0, resident.resident_bytes() - memory)
        said = (_log(folder).count("\n") - lines) / took * 60
        with fast_bird(calls=calls, recordings=PER_CALL, status="paused", port=api.port) as again:
            back_at = time.monotonic()
            wait_for(lambda: bool(again.patches()), "the first PATCH", every=0.1)
            first = min(at for at, _ in again.patches())
            wait_for(lambda: len(again.patches()) >= EDITS, "all PATCHes", every=0.1)
            stack.close()
        return Outage(share, said, grown, max(0.0, first - back_at))


def _edit(folder: Path) -> None:
    file = folder / "desired_state" / "stream-0000.yaml"
    text = file.read_text()
    for number in range(EDITS):
        text = text.replace(document(number), document(number, "ongoing"))
    beside = file.with_name(".stream")
    beside.write_text(text)
    beside.replace(file)


def _settled(folder: Path) -> bool:
    """Tell whether the log has been quiet for a while: what the edits led to has been said."""
    before = _log(folder)
    time.sleep(2.0)  # a look in between, until it holds
    return _log(folder) == before


def _log(folder: Path) -> str:
    return (folder / LOG).read_text()


if __name__ == "__main__":
    main()
