"""What a benchmark found, for people and as JSON: figure, floor, ratio, target, and the machine it was found on.

A target that is missed is said, never hidden, and ends nothing: figures are for people to judge.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

FORMAT: Final = "reconciler.benchmark/v1"
CHECKOUT: Final = Path(__file__).parents[2]
DEFAULT_OUT: Final = CHECKOUT / "build" / "benchmarks"


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on a figure, or on its ratio to the floor."""

    bound: float
    #: Whether the bound is on the ratio.
    ratio: bool = False
    #: Whether more is better.
    least: bool = False

    def met(self, figure: Figure) -> bool:
        value = figure.ratio if self.ratio else figure.value
        if value is None:
            return False
        return value >= self.bound if self.least else value <= self.bound

    def words(self, unit: str) -> str:
        sign = "≥" if self.least else "≤"
        return f"{sign} {self.bound:g} {'x floor' if self.ratio else unit}".strip()


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing measured, beside the least it could have been."""

    name: str
    value: float
    unit: str
    #: What the floor is, and how much, in the same unit; None where there is none to tell.
    floor_name: str = ""
    floor: float | None = None
    targets: tuple[Target, ...] = ()
    #: What else was seen, such as wall clock beside CPU seconds.
    note: str = ""
    #: Whether the floor is another program that does the same work, and not the least the work can take.
    peer: bool = False

    @property
    def ratio(self) -> float | None:
        return None if not self.floor else self.value / self.floor

    @property
    def met(self) -> bool | None:
        """Whether all targets are met; None without any."""
        return all(target.met(self) for target in self.targets) if self.targets else None

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "floorName": self.floor_name,
            "floor": self.floor,
            "ratio": self.ratio,
            "target": self.target,
            "met": self.met,
            "note": self.note,
            "peer": self.peer,
        }

    @property
    def shown(self) -> str:
        return measured(self.value, self.unit)

    @property
    def target(self) -> str:
        return ", ".join(target.words(self.unit) for target in self.targets)

    def __str__(self) -> str:
        parts = [f"{self.name}: {self.shown}"]
        if self.floor is not None:
            ratio = "" if self.ratio is None else f", ratio {self.ratio:.2f}"
            parts.append(
                f"{'peer' if self.peer else 'floor'} {measured(self.floor, self.unit)} ({self.floor_name}){ratio}"
            )
        if self.targets:
            parts.append(f"target {self.target}: {'met' if self.met else 'MISSED'}")
        return "; ".join([*parts, *filter(None, [self.note])])


def amount(value: float) -> str:
    """Return a number with three digits that matter."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def measured(value: float, unit: str) -> str:
    """Return a number with its unit, where it has one."""
    return f"{amount(value)} {unit}".strip()


def seconds(name: str, taken: float, floor_name: str, floor: float, *targets: Target, note: str = "") -> Figure:
    """Return a figure in seconds."""
    return Figure(name, taken, "s", floor_name, floor, targets, note)


def arguments(description: str, *, recordings: int = 0, repeats: int = 0) -> argparse.ArgumentParser:
    """Return a parser of the options that most benchmarks have; one whose default is 0 is left out."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, metavar="DIR", help="where the JSON goes")
    if recordings:
        parser.add_argument("--recordings", type=int, default=recordings, help="default: %(default)s")
    if repeats:
        parser.add_argument("--repeats", type=int, default=repeats, help="runs of each, in turns; default: %(default)s")
    return parser


def machine() -> dict[str, Any]:
    """Return what has to be known of this machine to read a figure."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "model": model,
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
    }


def in_words(machine: Mapping[str, Any]) -> str:
    """Return the line that says on what machine something was measured."""
    cores = "core" if machine["cores"] == 1 else "cores"
    return (
        f"{machine['cores']} {cores} of {machine['model']}, load {machine['load']}, Python {machine['python']},"
        f" {machine['system']}"
    )


def commit() -> str:
    """Return the commit that was measured, with a `+` where files differ from it; empty without Git."""
    try:
        asked = ["git", "-C", str(CHECKOUT), "describe", "--always", "--abbrev=10", "--dirty=+", "--exclude=*"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def publish(benchmark: str, figures: Iterable[Figure], out: Path, **more: object) -> None:
    """Print the figures, and write them as `<benchmark>.json`; `more` stands beside them."""
    found, here = list(figures), machine()
    for figure in found:
        print(figure)
    print(in_words(here))
    out.mkdir(parents=True, exist_ok=True)
    content = {
        "format": FORMAT,
        "benchmark": benchmark,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": here,
        "figures": [figure.as_json() for figure in found],
        **more,
    }
    (out / f"{benchmark}.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
