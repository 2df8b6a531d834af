"""How objects are put together: few parameters, and no guard that is off unless somebody remembers to turn it on."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.house.source import TREES, room_of

#: What a constructor takes at most; what belongs together is a frozen value, which may be as wide as what it describes.
PARAMETERS = 7
#: Constructors that take more, and how many: to be cut, never to be added to.
WIDER: dict[str, int] = {}
#: Callables that may be left out: they measure, tell, colour, or give the time.
MAY_BE_LEFT_OUT = {
    "cli.compose.bird.on_notice",
    "cli.compose.bird.on_request",
    "providers.bird.sandbox.world.World.__init__.clock",
    "providers.bird.sandbox.world.World.load.clock",
    "providers.bird.wire.Listeners.on_notice",
    "providers.bird.wire.Listeners.on_request",
    "report.status.status_text.paint",
    "report.text.as_text.paint",
    "report.text.outline_as_text.paint",
    "state.sqlite.lease.LeaseClock.elapsed",
    "state.sqlite.lease.LeaseClock.sleep",
    "state.sqlite.lease.LeaseClock.wall",
}
#: Others, which are to be made required: take one off the list with its default.
STILL_LEFT_OUT = {
    "state.opening.open_writer.on_commit",
    "state.opening.open_writer.on_wait",
    "state.sqlite.held.Terms.on_wait",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def places(tree: ast.AST, name: str) -> Iterator[tuple[str, ast.ClassDef | Function]]:
    """Every class and function below a node, with its dotted name."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{name}.{node.name}", node
            yield from places(node, f"{name}.{node.name}")
        else:
            yield from places(node, name)


def bases(node: ast.ClassDef) -> set[str]:
    return {ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases}


def failures(trees: dict[str, ast.Module]) -> set[str]:
    """The names of all classes that are exceptions, over as many steps as it takes."""
    classes = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    found = {"BaseException", "Exception", "RuntimeError", "ValueError"}
    while more := {node.name for node in classes if bases(node) & found} - found:
        found |= more
    return found


def parameters(function: Function) -> list[ast.arg]:
    taken = function.args
    return [*taken.posonlyargs, *taken.args, *taken.kwonlyargs][1:]


def wide_constructors(trees: dict[str, ast.Module]) -> dict[str, int]:
    """How many parameters those constructors take that take too many; what is a value or an exception is none."""
    exceptions = failures(trees)
    found = {}
    for module, tree in trees.items():
        for name, node in places(tree, module.removeprefix("reconciler.")):
            if not isinstance(node, ast.ClassDef) or node.name in exceptions:
                continue
            for each in node.body:
                if isinstance(each, ast.FunctionDef) and each.name == "__init__":
                    count = len(parameters(each))
                    if count > PARAMETERS:
                        found[name] = count
    return found


def optional_callables(trees: dict[str, ast.Module]) -> set[str]:
    """Every parameter and field that holds a callable and has a default, whether that is None or does nothing."""
    aliases = {
        target.id
        for tree in trees.values()
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("Callable[")
        for target in node.targets
        if isinstance(target, ast.Name)
    }

    def is_callable(annotation: ast.expr | None, default: ast.expr) -> bool:
        if isinstance(default, ast.Lambda):
            return True
        names = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)} if annotation else set()
        return bool(names & ({"Callable"} | aliases))

    found = set()
    for module, tree in trees.items():
        for name, node in places(tree, module.removeprefix("reconciler.")):
            held: list[tuple[str, ast.expr | None, ast.expr]] = []
            if isinstance(node, ast.ClassDef):
                held += [
                    (each.target.id, each.annotation, each.value)
                    for each in node.body
                    if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name) and each.value
                ]
            else:
                taken = node.args
                placed = [*taken.posonlyargs, *taken.args]
                pairs = list(zip(placed[len(placed) - len(taken.defaults) :], taken.defaults, strict=True))
                pairs += [(arg, given) for arg, given in zip(taken.kwonlyargs, taken.kw_defaults, strict=True) if given]
                held += [(arg.arg, arg.annotation, given) for arg, given in pairs]
            found |= {f"{name}.{word}" for word, annotation, given in held if is_callable(annotation, given)}
    return found


def test_no_constructor_takes_more_than_a_person_can_check() -> None:
    found = wide_constructors(TREES)
    assert {name: count for name, count in found.items() if count > WIDER.get(name, 0)} == {}, (
        f"more than {PARAMETERS}: make a frozen value of what belongs together"
    )
    assert {name: count for name, count in WIDER.items() if found.get(name, 0) < count} == {}, (
        "it has become narrower: say so in WIDER"
    )


def test_no_callable_is_off_by_default() -> None:
    """A composition that forgets it would go on without the guard, or without ever hearing what it waits for."""
    trees = {module: tree for module, tree in TREES.items() if room_of(module) != "telemetry"}
    found = optional_callables(trees)
    assert found - MAY_BE_LEFT_OUT - STILL_LEFT_OUT == set(), "make it required"
    assert (MAY_BE_LEFT_OUT | STILL_LEFT_OUT) - found == set(), "it has no default any more: take it off the list"


@pytest.mark.parametrize(
    ("written", "wide", "optional"),
    [
        ("class A:\n def __init__(self, a, b, c, d, e, f, g): ...", {}, set()),
        ("class A:\n def __init__(self, a, b, c, d, *, e, f, g, h): ...", {"m.A": 8}, set()),
        ("class A(Exception): ...\nclass B(A):\n def __init__(self, a, b, c, d, e, f, g, h): ...", {}, set()),
        ("def f(g: Callable[[], None] = lambda: None): ...", {}, {"m.f.g"}),
        ("class A:\n def h(self, *, g: Callable[[], None] | None = None): ...", {}, {"m.A.h.g"}),
        ("G = Callable[[], None]\ndef f(g: G | None = None): ...", {}, {"m.f.g"}),
        ("class A(NamedTuple):\n g: Callable[[], None] | None = None", {}, {"m.A.g"}),
        ("def f(g=lambda: 1): ...", {}, {"m.f.g"}),
        ("def f(g: Callable[[], None], h: int = 1): ...", {}, set()),
    ],
)
def test_the_check_of_constructors_finds_what_is_wrong(written: str, wide: dict[str, int], optional: set[str]) -> None:
    trees = {"reconciler.m": ast.parse(written)}
    assert (wide_constructors(trees), optional_callables(trees)) == (wide, optional)
