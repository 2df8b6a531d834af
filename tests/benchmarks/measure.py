"""Running commands and measuring them: wall and CPU seconds, peak memory; medians of runs that take turns.

Whatever is compared is run in turns, so that a noisy machine is noisy for all of it. CPU seconds are user and system
together, of the process and of its children.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

HERE: Final = Path(__file__).parent
#: The installed command, beside the interpreter that runs the benchmark.
COMMAND: Final = str(Path(sys.executable).with_name("reconciler"))
KEY: Final = "benchmark-key"


@dataclass(frozen=True, slots=True)
class Run:
    """What one run took."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    #: What was written to standard output.
    text: str = ""


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment without the developer's settings and keys, and without what slows Python down."""
    dropped = ("RECONCILER_", "BIRD_", "PYTHON", "COVERAGE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {**kept, "BIRD_ACCESS_KEY": KEY, "NO_COLOR": "1", **(more or {})}


def run(command: Sequence[str], folder: Path, *, variables: Mapping[str, str] | None = None) -> Run:
    """Run a command in a folder to its end.

    Raises:
        RuntimeError: it ended with another exit code; the message ends with what it said.
    """
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        taken = Path(scratch, "taken")
        subprocess.run(
            [sys.executable, "-I", "-S", str(HERE / "launch.py"), str(taken), *command],
            cwd=folder,
            env=environment(variables),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            check=True,
        )
        wall, cpu, peak, code = taken.read_text().split()
        out.seek(0)
        text = out.read().decode(errors="replace")
        if int(code) != 0:
            err.seek(0)
            said = err.read().decode(errors="replace")
            raise RuntimeError(f"exit code {code} of {' '.join(command)}\n{text[-2000:]}\n{said[-2000:]}")
        return Run(float(wall), float(cpu), int(peak), text)


def floor(name: str, folder: Path, *arguments: str) -> Run:
    """Run one of `floors.py`, in a process of its own: the seconds are those that it measured around the work."""
    done = run([sys.executable, str(HERE / "floors.py"), name, *arguments], folder)
    wall, cpu = json.loads(done.text)
    return Run(wall, cpu, done.peak_bytes)


def in_turns(repeats: int, tasks: Mapping[str, Callable[[], Run]]) -> dict[str, Run]:
    """Run every task so many times, in turns, and return the medians of each; of the memory, the peak."""
    runs: dict[str, list[Run]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            runs[name].append(task())
    return {
        name: Run(
            median(each.wall_seconds for each in done),
            median(each.cpu_seconds for each in done),
            max(each.peak_bytes for each in done),
            done[-1].text,
        )
        for name, done in runs.items()
    }
