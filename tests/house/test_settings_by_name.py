"""Nobody names a setting by a text: a command reads it from its section, where the type checker knows its type.

Only the room of the settings, and the module that makes options of them, know settings by their names.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from reconciler.settings.sections import SECTIONS, Settings
from reconciler.settings.table import SETTINGS
from tests.house.source import TREES

#: Who knows settings by their names.
KNOWING = ("reconciler.settings", "reconciler.cli.options")


def texts_that_look_up(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Each constant text by which something is looked up: an item, an attribute, the source of a parameter."""
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(slice=ast.Constant(value=str() as text)):
                yield node.lineno, text
            case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=str() as text), *_]):
                yield node.lineno, text
            case ast.Call(
                func=ast.Attribute(attr="get" | "get_parameter_source" | "lookup_default"),
                args=[ast.Constant(value=str() as text), *_],
            ):
                yield node.lineno, text


def test_no_command_looks_a_setting_up_by_its_name() -> None:
    found = [
        f"{module}:{line}: {text}"
        for module, tree in TREES.items()
        if module.startswith("reconciler.cli") and not module.startswith(KNOWING)
        for line, text in texts_that_look_up(tree)
        if text in SETTINGS
    ]
    assert not found, "read it from its section, as settings.pace.rate_limit:\n" + "\n".join(found)


def test_the_table_by_names_is_nobody_elses() -> None:
    knowing = {
        module
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.alias)
        and (node.id if isinstance(node, ast.Name) else node.name) == "SETTINGS"
    }
    assert all(module.startswith(KNOWING) for module in knowing), knowing


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('settings["state"]', ["state"]),
        ('getattr(settings.pace, "rate_limit")', ["rate_limit"]),
        ('context.get_parameter_source("git")', ["git"]),
        ("settings.store.state", []),
    ],
)
def test_a_look_up_by_a_text_is_seen(source: str, found: list[str]) -> None:
    assert [text for _, text in texts_that_look_up(ast.parse(source))] == found


def test_settings_are_attributes_of_their_sections_and_no_items() -> None:
    assert not hasattr(Settings, "__getitem__")
    assert not any(hasattr(section, "__getitem__") for section in SECTIONS)


def test_every_setting_is_read_by_somebody() -> None:
    """A setting of which nothing comes is a promise that nobody keeps."""
    read = {
        node.attr
        for module, tree in TREES.items()
        if not module.startswith("reconciler.settings")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and not (isinstance(node.value, ast.Name) and node.value.id.endswith("Settings"))
    }
    assert SETTINGS.keys() - read == set()
