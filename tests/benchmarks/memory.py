"""Peak memory of commands over a tree: whole processes, against the same command with a single recording."""

from __future__ import annotations

from .cold_plan import FULL, PLAN
from .figures import Figure, Target, arguments, publish
from .measure import COMMAND, run
from .scene import DOCUMENTS, scene

COMMANDS = {
    "validate": (COMMAND, "validate", DOCUMENTS),
    "plan": PLAN,
    "plan --all --report json": (*PLAN, "--all", "--report", "json"),
    "plan --out": (*PLAN, "--out", "saved.plan"),
    "status": (COMMAND, "status"),
}
#: The targets there are: for the plan, when nothing is remembered.
TARGETS = {"plan": 350.0}


def main() -> None:
    options = arguments(__doc__ or "", recordings=FULL).parse_args()
    with scene("stream", 1, applied=True) as folder:
        least = {name: run(command, folder) for name, command in COMMANDS.items()}
    found = []
    for name, command in COMMANDS.items():
        with scene("stream", options.recordings, applied=True) as folder:
            peak = run(command, folder).peak_bytes
        found.append(
            Figure(
                f"{name}: peak memory",
                peak / 1e6,
                "MB",
                "one recording",
                least[name].peak_bytes / 1e6,
                (Target(TARGETS[name]),) if name in TARGETS and options.recordings == FULL else (),
                note=f"{(peak - least[name].peak_bytes) / options.recordings:.0f} bytes a recording",
            )
        )
    publish("memory", found, options.out, recordings=options.recordings)


if __name__ == "__main__":
    main()
