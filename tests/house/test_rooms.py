"""Which way imports run, through which faces, who owns which package, and what touches nothing."""

from __future__ import annotations

import ast
import importlib
import sys
from graphlib import TopologicalSorter

import pytest

from tests.house.rooms import FLOORS, IMPURE, ONLY_FROM, OWNERS, PURE, ROOT
from tests.house.source import PACKAGE, TREES, foreign_imports, imported_names, is_face, own_imports, room_of


def test_the_root_holds_the_rooms_and_nothing_else() -> None:
    # A folder of bytecode alone is what an older commit left in this checkout.
    found = {path.name for path in PACKAGE.iterdir() if path.is_file() or [*path.rglob("*.py")]} - {"__pycache__"}
    assert found == ROOT | FLOORS.keys(), "a new module goes into a room; see FLOORS"


def test_no_code_stands_in_a_package_itself() -> None:
    """Whoever looks for a function looks for a module with a name; a package says what is in it, and may give names."""
    codes = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in sorted(PACKAGE.glob("*/**/__init__.py"))
        for node in ast.parse(path.read_bytes()).body
        if isinstance(node, codes)
    ]
    assert not found, "give it a module:\n" + "\n".join(found)


def test_imports_run_downward_and_in_no_circle() -> None:
    upward = []
    rooms: dict[str, set[str]] = {}
    for module in TREES:
        if (room := room_of(module)) not in FLOORS:
            continue
        few = next((few for name, few in ONLY_FROM.items() if f"{module}.".startswith(f"reconciler.{name}.")), None)
        for imported in sorted(own_imports(module)):
            other = room_of(imported)
            if other in (room, "__init__"):
                continue
            rooms.setdefault(room, set()).add(other)
            if FLOORS[other] > FLOORS[room] or (few is not None and other not in few):
                upward.append(f"{module} imports {imported}")
    assert not upward, "not downward by FLOORS and ONLY_FROM:\n" + "\n".join(upward)
    TopologicalSorter(rooms).prepare()  # raises CycleError, which names the circle


def test_no_import_circle_within_a_room() -> None:
    graph = {module: {other for other in own_imports(module) if room_of(other) == room_of(module)} for module in TREES}
    faced = [module for module, others in graph.items() if f"reconciler.{room_of(module)}" in others - {module}]
    assert not faced, f"{faced}: inside of its room a module is imported by its own name, not through the face"
    TopologicalSorter({module: others - {module} for module, others in graph.items()}).prepare()


def test_no_command_knows_another() -> None:
    """What two commands need stands beside them, in a module that says what it is for."""
    commands = "reconciler.cli.commands."
    related = [
        f"{module} imports {imported}"
        for module in TREES
        for imported in sorted(own_imports(module) - {module})
        if module.startswith("reconciler.cli.") and imported.startswith(commands)
    ]
    assert sum(module.startswith(commands) for module in TREES) > 10
    assert not related, "a command is a leaf:\n" + "\n".join(related)


def test_rooms_meet_through_their_faces_alone() -> None:
    around = [
        f"{module} imports {imported}"
        for module in TREES
        for imported in sorted(own_imports(module))
        if room_of(imported) in FLOORS.keys() - {room_of(module)} and not is_face(imported)
    ]
    assert not around, "import it from the room:\n" + "\n".join(around)


@pytest.mark.parametrize("room", sorted(FLOORS))
def test_a_face_gives_what_it_declares_and_somebody_uses_each_of_it(room: str) -> None:
    """The type checker reads one list and the interpreter the other."""
    module = f"reconciler.{room}"
    declared = {
        (node.module, alias.name)
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(f"{module}.")
        for alias in node.names
    }
    call = next(node for node in ast.walk(TREES[module]) if isinstance(node, ast.Call))
    given = ast.literal_eval(call.args[1])
    assert {(f"{module}.{owner}", name) for owner, names in given.items() for name in names} == declared
    used = {imported for other in TREES if room_of(other) != room for imported in imported_names(other)}
    unused = sorted(name for _, name in declared if f"{module}.{name}" not in used)
    assert not unused, f"no other room asks for {unused}"
    face = importlib.import_module(module)
    assert all(getattr(face, name) is not None for _, name in declared)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = face.nothing


def test_each_package_has_its_owner() -> None:
    strangers = [
        f"{module} imports {imported}"
        for module in TREES
        for imported in sorted(foreign_imports(module))
        if (imported in OWNERS or imported not in sys.stdlib_module_names)
        and room_of(module) not in OWNERS.get(imported, set())
    ]
    assert not strangers, "not theirs by OWNERS in tests/house/rooms.py:\n" + "\n".join(strangers)


def test_the_pure_core_reads_no_clock_and_touches_nothing() -> None:
    impure = []
    assert {f"reconciler.{name}" for name in PURE} <= TREES.keys()
    pure = [module for module in TREES if any(f"{module}.".startswith(f"reconciler.{name}.") for name in PURE)]
    for module in pure:
        impure += [f"{module} imports {name}" for name in sorted(foreign_imports(module) & (IMPURE | set(OWNERS)))]
        for node in ast.walk(TREES[module]):
            if isinstance(node, ast.AsyncFunctionDef | ast.AsyncWith | ast.AsyncFor):
                impure.append(f"{module}:{node.lineno} is async")
            if isinstance(node, ast.Attribute) and node.attr in ("now", "utcnow", "today"):
                impure.append(f"{module}:{node.lineno} reads the clock")
    assert not impure, "\n".join(impure)
