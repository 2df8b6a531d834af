"""A long run in little time: a million turns, with all that happens in months, and nothing that may grow does.

Time is compressed by short periods: resyncs follow one another, agents overrule, people edit, break and mend files,
recordings come and go, calls end, requests fail. The daemon is watched from the inside, and the state file, with a
small retention of the history, from the outside.

By hand, from the top folder: `python -m tests.campaigns.soak --turns 1000000 --recordings 20000`.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from reconciler.state.opening import open_store
from reconciler.state.sqlite.retention import LINES_BETWEEN
from tests.world.scene import Scene, Subject, set_of, subjects

from . import watched

PER_CALL = 10
#: Recordings with a file of their own, which people edit; the others stand in sets of this many.
ALONE = 100
IN_SET = 500
SAMPLES = 40
#: The part of the samples that is warming up: caches fill, every recording has been seen.
WARM_UP = 0.3
#: How much each figure may grow from the beginning (after warming up) to the end: a share of it, and so many more. What
#: a request or a turn under way holds comes and goes; of a million turns, a leak of one object in a hundred would show.
TOLERANCES = {
    "objects": (0.01, 1000),
    "tasks": (0.0, 70),
    "descriptors": (0.0, 40),
    "threads": (0.0, 6),
    "resident_bytes": (0.05, 8_000_000),
    "state_bytes": (0.10, 1_000_000),
    # Folded into the file at 16 MiB, and then written from its beginning again.
    "log_bytes": (0.0, 20_000_000),
}


@dataclass
class Soak:
    """What was done, what there was of everything in the beginning and in the end, and what grew."""

    recordings: int
    history_rows: int
    turns: int = 0
    seconds: float = 0.0
    edits: int = 0
    overruled: int = 0
    came_and_went: int = 0
    calls_ended: int = 0
    files_broken: int = 0
    patches: int = 0
    history_lines: int = 0
    before: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)
    #: Everything in here is a broken promise.
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return json.dumps(asdict(self), indent=1)


class _Soak:
    def __init__(self, scene: Scene, figures: Soak, seed: int) -> None:
        self._scene = scene
        self._figures = figures
        self._chance = random.Random(seed)
        everything = subjects(figures.recordings, per_call=PER_CALL)
        self._alone = dict.fromkeys(everything[:ALONE], "ongoing")
        self._sets = [everything[start : start + IN_SET] for start in range(ALONE, len(everything), IN_SET)]
        self._next = figures.recordings + 1
        self._broken = False
        self._samples: list[dict[str, Any]] = []

    def run(self, turns: int) -> None:
        scene, figures = self._scene, self._figures
        scene.sandbox.seed(subject.seed() for group in (*self._sets, self._alone) for subject in group)
        for number, group in enumerate(self._sets):
            scene.write(f"set-{number:03}.yaml", set_of(f"set-{number:03}", (one.item("ongoing") for one in group)))
        for subject in self._alone:
            self._save(subject)
        # A fault now and then, as the network has them.
        scene.sandbox.control("POST", "settings", {"settle_ms": 50, "fault_rate": 0.001})
        file = scene.folder / "samples"
        file.touch()
        resync = str(max(1, figures.recordings // 1000))
        options = scene.options("--listen", "off", "--resync-seconds", resync, "--poll-seconds", "5")
        rows = ("--history-rows", str(figures.history_rows))
        command = (sys.executable, watched.__file__, str(file), str(turns // SAMPLES), "run", *options, *rows)
        with scene.start(*command, str(scene.documents)) as daemon:
            started = time.monotonic()
            while len(self._samples) < SAMPLES:
                assert daemon.process.poll() is None, daemon.said()
                self._disturb()
                self._take_samples(file)
            figures.seconds = round(time.monotonic() - started, 1)
            daemon.process.terminate()
            if daemon.ended() != 0:
                figures.wrong.append(f"the daemon exited {daemon.process.returncode}: {daemon.said()}")
        figures.patches = sum(item["patches"] for item in scene.sandbox.state().values())
        self._judge()

    def _disturb(self) -> None:
        """Do some of what happens in a day."""
        chance, scene, figures = self._chance, self._scene, self._figures
        time.sleep(0.05)  # the pace of the disturbances; nothing is claimed of it
        subject = chance.choice(list(self._alone))
        match chance.randrange(8):
            case 0 | 1 | 2:
                self._alone[subject] = "paused" if self._alone[subject] == "ongoing" else "ongoing"
                self._save(subject)
                figures.edits += 1
            case 3 | 4:
                # An agent resumes what is to be paused, or pauses what is to go on (which is reported, and left alone).
                scene.sandbox.control(
                    "POST", "set", {"recordingId": subject.recording, "status": chance.choice(["ongoing", "paused"])}
                )
                figures.overruled += 1
            case 5:
                self._replace(subject)
            case 6:
                # Its document stays for a while, and says what can no longer be.
                scene.sandbox.control("POST", "end_call", {"callId": subject.call})
                figures.calls_ended += 1
            case 7:
                self._broken = not self._broken
                scene.write("broken.yaml", "kind: [" if self._broken else "# nothing\n")
                figures.files_broken += self._broken

    def _replace(self, gone: Subject) -> None:
        """Let one document go and another one come."""
        scene, figures = self._scene, self._figures
        (come,) = subjects(1, first=self._next)
        self._next += 1
        scene.sandbox.seed([come.seed()])
        del self._alone[gone]
        (scene.documents / f"{gone.name}.yaml").unlink()
        self._alone[come] = "paused"
        self._save(come)
        figures.came_and_went += 1

    def _save(self, subject: Subject) -> None:
        self._scene.write(f"{subject.name}.yaml", subject.document(self._alone[subject]))

    def _take_samples(self, file: Path) -> None:
        lines = file.read_text(encoding="ascii").splitlines(keepends=True)
        for line in lines[len(self._samples) :]:
            if line.endswith("\n"):
                sizes = {"state_bytes": "state.db", "log_bytes": "state.db-wal"}
                outside = {figure: (self._scene.folder / name).stat().st_size for figure, name in sizes.items()}
                self._samples.append(json.loads(line) | outside)

    def _judge(self) -> None:
        figures = self._figures
        warm = self._samples[int(len(self._samples) * WARM_UP) :]
        third = len(warm) // 3
        figures.turns = self._samples[-1]["turns"]
        for name, (share, more) in TOLERANCES.items():
            before, after = _least(warm[:third], name), _least(warm[-third:], name)
            figures.before[name], figures.after[name] = before, after
            if after > before * (1 + share) + more:
                course = [entry[name] for entry in self._samples]
                figures.wrong.append(f"{name} grew from {before:,} to {after:,}: {course}")
        with open_store(self._scene.state) as store:
            figures.history_lines = len(store.history(limit=10 * figures.history_rows))
        if figures.history_lines > figures.history_rows + LINES_BETWEEN + 1000:
            figures.wrong.append(f"the history has {figures.history_lines} lines, asked for {figures.history_rows}")


def _least(samples: Sequence[dict[str, Any]], name: str) -> int:
    """Return the least of a figure, which is what was held all the time: what is under way comes on top of it."""
    return min(int(entry[name]) for entry in samples)


def soak(folder: Path, *, turns: int, recordings: int, history_rows: int, seed: int = 1) -> Soak:
    """Run a soak in an empty folder, and return what it came to."""
    figures = Soak(recordings, history_rows)
    with Scene(folder) as scene:
        _Soak(scene, figures, seed).run(turns)
    return figures


def main() -> int:
    """Run a soak by hand and print its figures; the exit code is 1 when something grew."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=1_000_000)
    parser.add_argument("--recordings", type=int, default=20_000)
    parser.add_argument("--history-rows", type=int, default=5_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        figures = soak(
            Path(temporary),
            turns=options.turns,
            recordings=options.recordings,
            history_rows=options.history_rows,
        )
    print(figures)
    return 1 if figures.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
