"""BENCHMARKS.md out of the JSON that benchmarks wrote: the part between its two marks; the prose around it stays.

python -m tests.benchmarks.table [DIR] [--page FILE]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

from .__main__ import FULL
from .figures import CHECKOUT, DEFAULT_OUT, FORMAT, in_words, measured

BEGIN: Final = "<!-- Figures: made by `make bench-full`, not by hand. -->"
END: Final = "<!-- End of figures. -->"


def main() -> None:
    parser = argparse.ArgumentParser(description="Write what benchmarks found into BENCHMARKS.md.")
    parser.add_argument("results", type=Path, nargs="?", default=DEFAULT_OUT, metavar="DIR", help="where the JSON is")
    parser.add_argument("--page", type=Path, default=CHECKOUT / "BENCHMARKS.md")
    options = parser.parse_args()
    found = {path.stem: json.loads(path.read_text()) for path in options.results.glob("*.json")}
    runs = [found[name] for name in [*FULL, *sorted(found.keys() - FULL.keys())] if name in found]
    page = options.page.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    options.page.write_text(f"{before}{BEGIN}\n\n{figures(runs)}\n{END}{after}")


def figures(runs: list[dict[str, Any]]) -> str:
    """Return a section for each benchmark: when, at which commit and where it ran, and a line for each figure."""
    lines = []
    for run in runs:
        if run["format"] != FORMAT:
            raise ValueError(f"{run['benchmark']}: {run['format']} is not {FORMAT}")
        heading = f"{run['at'][:10]}, commit `{run['commit']}`; {in_words(run['machine'])}."
        lines += [
            f"### {run['benchmark']}",
            "",
            heading,
            "",
            "| figure | measured | floor or peer | ratio | target | |",
            "|---|---|---|---|---|---|",
            *map(row, run["figures"]),
            "",
        ]
        lines += [f"Not measured: {peer}, since {why}.\n" for peer, why in run.get("missing", {}).items()]
    return "\n".join(lines)


def row(figure: dict[str, Any]) -> str:
    """Return one figure as a row; a target that is missed, or a peer that is quicker, is said in bold."""
    floor = "" if figure["floor"] is None else f"{measured(figure['floor'], figure['unit'])}, {figure['floorName']}"
    ratio = "" if figure["ratio"] is None else f"{figure['ratio']:.2f}"
    verdict = ""
    if figure["met"] is not None:
        verdict = "met" if figure["met"] else "**missed**"
    elif figure["peer"]:
        verdict = "ahead" if figure["ratio"] <= 1 else "**behind**"
    name = f"{figure['name']}<br>{figure['note']}" if figure["note"] else figure["name"]
    cells = [name, measured(figure["value"], figure["unit"]), floor, ratio, figure["target"], verdict]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    main()
