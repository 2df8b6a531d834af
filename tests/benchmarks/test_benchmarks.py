"""The benchmarks work: each runs at a tiny size and says what it should. What they measure does not matter here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reconciler.desired.documents.parse import parse_documents
from tests.benchmarks.__main__ import FULL, QUICK
from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.growth import exponent
from tests.benchmarks.measure import run
from tests.benchmarks.scene import LAYOUTS, Layout, line_of, place, write_tree
from tests.benchmarks.table import BEGIN, END
from tests.world.places import CHECKOUT

#: The least that each can be run at.
TINY = {
    "startup": ["--repeats", "1"],
    "cold_plan": ["--recordings", "40", "--repeats", "1"],
    "warm_plan": ["--recordings", "40", "--repeats", "1"],
    "memory": ["--recordings", "40"],
    "at_rest": ["--recordings", "40", "--seconds", "0.1"],
    "growth": ["--sizes", "25", "50", "--edits", "2", "--repeats", "1"],
    "converge": ["--recordings", "40", "--repeats", "1"],
    # Long enough that the log can be quiet for two seconds between two resyncs, which is waited for.
    "outage": ["--sizes", "20", "--seconds", "0.1", "--resync-seconds", "8"],
    "edit_latency": ["--recordings", "40", "--small", "20", "--edits", "3", "--switched", "10"],
    "peers": ["--peers", "curl", "--patches", "10", "--repeats", "1"],  # the others would install packages
}


def test_every_benchmark_is_run_in_full_and_here() -> None:
    folder = CHECKOUT / "tests" / "benchmarks"
    published = re.compile(r"^    publish\(", re.MULTILINE)
    scripts = {path.stem for path in folder.glob("*.py") if published.search(path.read_text())}
    assert FULL.keys() == TINY.keys() == scripts
    assert QUICK.keys() <= FULL.keys()


@pytest.mark.parametrize("name", TINY)
def test_a_benchmark_prints_figures_with_their_floors_and_writes_json(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", f"tests.benchmarks.{name}", *TINY[name], "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads((tmp_path / f"{name}.json").read_text())
    assert found["format"] == "reconciler.benchmark/v1"
    assert found["benchmark"] == name
    assert found["machine"].keys() == {"cores", "model", "load", "python", "system"}
    assert found["figures"] or found["missing"]
    for figure in found["figures"]:
        assert figure["name"] in done.stdout
        assert figure["ratio"] is None or figure["ratio"] >= 0
        assert "exponent" in figure["name"] or figure["floor"] > 0
    assert "Python 3." in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_tree_declares_what_it_should_where_it_should(layout: Layout, tmp_path: Path) -> None:
    root = write_tree(tmp_path, layout, 1003)
    declared: dict[str, tuple[str, int]] = {}
    for path in root.rglob("*.yaml"):
        parsed = parse_documents(path.read_bytes(), str(path.relative_to(tmp_path)))
        assert parsed.problems == ()
        declared |= {each.name: (each.file, each.line) for each in parsed.desired}
    expected = {}
    for number in range(1003):
        name, file = place(layout, number)
        expected[name] = (file, line_of(layout, number))
    assert declared == expected


def test_the_page_keeps_its_prose_and_says_what_is_missed(tmp_path: Path) -> None:
    figures = [
        Figure("quick", 1.0, "s", "least", 2.0, (Target(1.25, ratio=True),)),
        Figure("slow", 3.0, "s", "least", 2.0, (Target(1.25, ratio=True), Target(2)), note="a | b"),
        Figure("sends", 3.0, "s", "curl", 2.0, peer=True),
    ]
    run = {
        "format": "reconciler.benchmark/v1",
        "benchmark": "invented",
        "at": "2026-11-22T12:00:00+00:00",
        "commit": "abc",
        "machine": {"cores": 2, "model": "M", "load": 0.5, "python": "3.11.7", "system": "S"},
        "figures": [figure.as_json() for figure in figures],
        "missing": {"octodns": "it is not there"},
    }
    (tmp_path / "invented.json").write_text(json.dumps(run))
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    command = [sys.executable, "-m", "tests.benchmarks.table", str(tmp_path), "--page", str(page)]
    subprocess.run(command, cwd=CHECKOUT, check=True, timeout=60)
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    assert "2026-11-22, commit `abc`; 2 cores of M, load 0.5, Python 3.11.7, S." in text
    assert "| quick | 1 s | 2 s, least | 0.50 | ≤ 1.25 x floor | met |" in text
    assert "| slow<br>a \\| b | 3 s | 2 s, least | 1.50 | ≤ 1.25 x floor, ≤ 2 s | **missed** |" in text
    assert "| sends | 3 s | 2 s, curl | 1.50 |  | **behind** |" in text
    assert "Not measured: octodns, since it is not there." in text


def test_the_page_has_the_marks_that_figures_go_between() -> None:
    page = (CHECKOUT / "BENCHMARKS.md").read_text()
    assert page.index(BEGIN) < page.index(END)


def test_the_memory_of_whoever_measures_is_not_taken_for_that_of_the_command(tmp_path: Path) -> None:
    ballast = b"x" * 200_000_000
    assert run([sys.executable, "-S", "-c", "pass"], tmp_path).peak_bytes < len(ballast) / 2


def test_a_command_that_fails_ends_the_benchmark_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"exit code 3 of .*\n\s*beyond repair"):
        run([sys.executable, "-c", "import sys; print('beyond repair', file=sys.stderr); sys.exit(3)"], tmp_path)


def test_exponents_are_those_of_the_powers() -> None:
    sizes = [1_000, 10_000, 100_000]
    assert exponent(sizes, [7.0, 7.0, 7.0]) == pytest.approx(0)
    assert exponent(sizes, [0.5 * size for size in sizes]) == pytest.approx(1)
    assert exponent(sizes, [size**1.5 for size in sizes]) == pytest.approx(1.5)
