"""The tests themselves: where they may take what they need from, and when they may look at a clock."""

from __future__ import annotations

import ast

from tests.conftest import LONG
from tests.house.rooms import FLOORS
from tests.world.places import CHECKOUT


def test_every_test_module_has_a_place_and_every_folder_of_unit_is_a_room() -> None:
    tests = CHECKOUT / "tests"
    assert {path.parent.name for path in (tests / "unit").rglob("test_*.py")} <= FLOORS.keys()
    homeless = sorted(
        path.name for folder in (tests, tests / "unit", tests / "world") for path in folder.glob("test_*.py")
    )
    assert not homeless, f"{homeless}: see the folders that docs/develop.md names"


def test_no_test_module_imports_another() -> None:
    """What two of them need is in `tests.world` or in a conftest, so that each can be moved, split or taken away."""
    between = []
    for path in sorted((CHECKOUT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module or ''}.{alias.name}" for alias in node.names]
            else:
                continue
            modules = {part for name in names for part in name.split(".") if part.startswith("test_")}
            between += [f"{path.relative_to(CHECKOUT)}:{node.lineno} imports {module}" for module in sorted(modules)]
    assert not between, "\n".join(between)


def test_no_test_counts_from_the_moment_of_its_import() -> None:
    """The last of many tests runs long after all were imported: what was seven minutes ago is half an hour ago then."""
    early = []
    for path in sorted((CHECKOUT / "tests").rglob("*.py")):
        waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
        while waiting:
            node = waiting.pop()
            if isinstance(node, ast.Attribute) and node.attr in ("now", "utcnow", "today", "time", "monotonic"):
                early.append(f"{path.relative_to(CHECKOUT)}:{node.lineno} reads the clock at its import")
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                waiting += [*node.args.defaults, *(each for each in node.args.kw_defaults if each)]
                waiting += [] if isinstance(node, ast.Lambda) else node.decorator_list
            else:
                waiting += ast.iter_child_nodes(node)
    assert not early, "\n".join(early)


def test_the_tests_that_a_run_begins_with_are_there() -> None:
    assert {f"test_{name}" for name in LONG} <= {path.stem for path in (CHECKOUT / "tests").rglob("test_*.py")}
