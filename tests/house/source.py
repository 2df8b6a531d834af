"""The source of the package, read and parsed once, not imported: a broken room cannot hide which rule it broke."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.world.places import CHECKOUT

PACKAGE = CHECKOUT / "reconciler"


def name_of(path: Path) -> str:
    """The dotted name of a module, such as `reconciler.state.sqlite.writer`."""
    parts = path.relative_to(CHECKOUT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


TREES = {name_of(path): ast.parse(path.read_bytes()) for path in sorted(PACKAGE.rglob("*.py"))}


def room_of(module: str) -> str:
    return module.split(".")[1]


def imported_names(module: str) -> Iterator[str]:
    """Every dotted name that a module imports, in functions and for types too; `from a import b` gives `a.b`."""
    is_package = (CHECKOUT / Path(*module.split("."))).is_dir()
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def own_imports(module: str) -> set[str]:
    """The modules of ours that a module imports."""
    found = set()
    for imported in imported_names(module):
        if imported.split(".")[0] != "reconciler":
            continue
        parts = imported.split(".")
        while len(parts) > 1 and ".".join(parts) not in TREES:
            parts.pop()
        found.add(".".join(parts) if len(parts) > 1 else "reconciler.__init__")
    return found


def foreign_imports(module: str) -> set[str]:
    """The top-level names of all else that a module imports."""
    return {imported.split(".")[0] for imported in imported_names(module)} - {"reconciler"}


def is_face(module: str) -> bool:
    return module.count(".") == 1 and module != "reconciler.__main__"
