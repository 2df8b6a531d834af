"""How long commands take to start: whole processes, against a bare interpreter and one that imports click and PyYAML.

The targets in milliseconds are for a machine whose bare interpreter takes 9 ms and whose click and PyYAML take 38 ms;
on another one the ratio tells more.
"""

from __future__ import annotations

import sys
from functools import partial

from .figures import Figure, Target, arguments, publish
from .measure import COMMAND, Run, in_turns, run
from .scene import DOCUMENTS, scene

FLOOR = "python -c 'import click, yaml'"


def main() -> None:
    options = arguments(__doc__ or "", repeats=25).parse_args()
    with scene("files", 1) as folder:
        file = next((folder / DOCUMENTS).rglob("*.yaml"))
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            FLOOR: [sys.executable, "-c", "import click, yaml"],
            "reconciler --version": [COMMAND, "--version"],
            "reconciler --help": [COMMAND, "--help"],
            "reconciler validate FILE": [COMMAND, "validate", str(file)],
        }
        for command in commands.values():
            run(command, folder)  # so that all bytecode is there
        taken = in_turns(options.repeats, {name: partial(run, command, folder) for name, command in commands.items()})
    bare = taken["python -c pass"]
    publish(
        "startup",
        [
            _figure("reconciler --version", taken, bare, 80),
            _figure("reconciler --help", taken, bare, 80),
            _figure("reconciler validate FILE", taken, bare, 130),
        ],
        options.out,
    )


def _figure(name: str, taken: dict[str, Run], bare: Run, milliseconds: float) -> Figure:
    ours, least = taken[name], taken[FLOOR]
    return Figure(
        f"{name}: CPU",
        ours.cpu_seconds * 1000,
        "ms",
        FLOOR,
        least.cpu_seconds * 1000,
        (Target(milliseconds),),
        note=f"wall {ours.wall_seconds * 1000:.0f} ms, ratio {ours.wall_seconds / least.wall_seconds:.2f};"
        f" {ours.cpu_seconds / bare.cpu_seconds:.1f} times the bare interpreter's {bare.cpu_seconds * 1000:.1f} ms",
    )


if __name__ == "__main__":
    main()
