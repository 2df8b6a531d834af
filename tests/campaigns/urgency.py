"""Edits while a resync is held back by the rate limit: the PATCH of each must leave at once.

Every recording is in a call of its own, so that the first look at all of them takes minutes at the default rate.
Meanwhile documents are edited, and the sandbox's record of the requests tells when each PATCH came, and after what.

By hand, from the top folder: `python -m tests.campaigns.urgency --recordings 20000 --edits 100`.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.world.scene import Scene, Seen, Subject, set_of, subjects
from tests.world.started import eventually

#: What an on-call person was promised.
PROMISED_MS = 200.0
#: The default: what Bird allows, less a margin.
RATE = 45


@dataclass(frozen=True)
class Urgency:
    """What came of the edits. Milliseconds are from the end of the save to the arrival of the PATCH."""

    recordings: int
    edits: int
    median_ms: float
    p99_ms: float
    most_ms: float
    #: Requests that arrived between the save of an edit and its PATCH, its own look among them, at most and on average.
    most_before_patch: int
    mean_before_patch: float
    #: Requests that arrived between an edit's own look and its PATCH, at most.
    most_between_look_and_patch: int
    #: How many recordings the resync had not come to when the last PATCH arrived: it was going on all the time.
    not_looked_at: int

    def __str__(self) -> str:
        return json.dumps(asdict(self), indent=1)


def measure(folder: Path, *, recordings: int, edits: int, seed: int = 1, rate: int = RATE) -> Urgency:
    """Start a daemon with all recordings to look at, edit documents meanwhile, and return what the sandbox saw."""
    chance = random.Random(seed)
    everything = subjects(recordings)
    # From all over the order in which the resync goes; the last ones are far from their turn.
    edited = chance.sample(everything[recordings // 2 :], edits)
    with Scene(folder) as scene:
        scene.sandbox.seed(subject.seed() for subject in everything)
        alone = set(edited)
        scene.write("all.yaml", set_of("all", (one.item("ongoing") for one in everything if one not in alone)))
        for subject in edited:
            scene.write(f"{subject.name}.yaml", subject.document("ongoing"))
        saved: list[float] = []
        with scene.daemon("--rate-limit", str(rate)) as daemon:
            daemon.wait_for("started")
            eventually(lambda: len(scene.sandbox.requests()) > rate)
            for number, subject in enumerate(edited):
                scene.write(f"{subject.name}.yaml", subject.document("paused"))
                saved.append(time.time())
                eventually(lambda number=number: len(scene.sandbox.requests("PATCH")) > number, daemon.said)  # type: ignore[misc] # the lambda's default
                time.sleep(chance.uniform(0.05, 0.3))  # edits at random distances, as people make them
            daemon.kill()
        return _read(scene.sandbox.requests(), edited, saved, recordings)


def _read(requests: Sequence[Seen], edited: Sequence[Subject], saved: Sequence[float], recordings: int) -> Urgency:
    milliseconds, before, between = [], [], []
    for subject, at in zip(edited, saved, strict=True):
        patch = next(index for index, seen in enumerate(requests) if seen.ids[1] == subject.recording)
        look = max(
            index for index, seen in enumerate(requests[:patch]) if seen.method == "GET" and seen.ids[0] == subject.call
        )
        milliseconds.append((requests[patch].at - at) * 1000)
        before.append(sum(seen.at >= at for seen in requests[:patch]))
        between.append(patch - look - 1)
    looked_at = {seen.ids[0] for seen in requests if seen.method == "GET"}
    return Urgency(
        recordings=recordings,
        edits=len(edited),
        median_ms=round(statistics.median(milliseconds), 1),
        p99_ms=round(sorted(milliseconds)[int((len(milliseconds) - 1) * 0.99)], 1),
        most_ms=round(max(milliseconds), 1),
        most_before_patch=max(before),
        mean_before_patch=round(statistics.mean(before), 1),
        most_between_look_and_patch=max(between),
        not_looked_at=recordings - len(looked_at),
    )


def main() -> int:
    """Measure by hand and print the figures; the exit code is 1 when an edit took longer than was promised."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--recordings", type=int, default=20_000)
    parser.add_argument("--edits", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        figures = measure(Path(temporary), recordings=options.recordings, edits=options.edits)
    print(figures)
    return 1 if figures.p99_ms > PROMISED_MS else 0


if __name__ == "__main__":
    sys.exit(main())
