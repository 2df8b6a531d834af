"""All benchmarks, one after the other, each in a process of its own.

One that fails does not stop the others; it is named in the end, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from .figures import CHECKOUT, DEFAULT_OUT

#: Benchmark -> its options where all of them together may take ten minutes; those that are not here take longer.
QUICK: Final[Mapping[str, tuple[str, ...]]] = {
    "startup": (),
    "cold_plan": ("--repeats", "2"),
    "warm_plan": ("--repeats", "3"),
    "at_rest": ("--seconds", "35"),
    "converge": (),
    # A switch of half of all recordings is one that the daemon refuses.
    "edit_latency": ("--recordings", "10000", "--edits", "100", "--switched", "1000"),
    "growth": ("--sizes", "1000", "10000", "--repeats", "1"),
    "outage": ("--seconds", "30"),
}
#: The same where time does not matter: more runs, more to compare with, and a million recordings.
FULL: Final[Mapping[str, tuple[str, ...]]] = {
    "startup": (),
    "cold_plan": (),
    "warm_plan": (),
    "memory": (),
    "at_rest": (),
    "converge": (),
    "edit_latency": (),
    "growth": ("--sizes", "1000", "10000", "100000", "1000000", "--repeats", "1"),
    "outage": (),
    "peers": (),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="the long forms, the peers, and a million recordings")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, metavar="DIR", help="where the JSON goes")
    options = parser.parse_args()
    began = time.monotonic()
    failed = []
    for name, given in (FULL if options.full else QUICK).items():
        print(f"\n{name}", flush=True)
        command = [sys.executable, "-m", f"tests.benchmarks.{name}", *given, "--out", str(options.out.absolute())]
        if subprocess.run(command, cwd=CHECKOUT, check=False).returncode:
            failed.append(name)
    print(f"\n{(time.monotonic() - began) / 60:.1f} minutes; JSON in {options.out}")
    if failed:
        print(f"failed: {', '.join(failed)}")
        sys.exit(1)


if __name__ == "__main__":
    main()
