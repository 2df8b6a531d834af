"""The schema of a settings file: what it takes the program takes, of a file that was named and of a found one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

import click
import jsonschema
import pytest

from reconciler.cli.commands import doctor
from reconciler.cli.program import COMMANDS, cli
from reconciler.desired.shipped import read_schema
from reconciler.model.errors import SettingsError
from reconciler.settings.content import read_settings
from reconciler.settings.schema import settings_schema
from reconciler.settings.setting import Setting
from reconciler.settings.table import COMMAND_OPTIONS, SETTINGS

SCHEMA = settings_schema()
NAMED = jsonschema.Draft202012Validator(SCHEMA)
FOUND = jsonschema.Draft202012Validator({**SCHEMA["$defs"]["found"], "$defs": SCHEMA["$defs"]})
WORKSPACE = "3fa85f64-5717-4562-b3fc-2c963f66afa6"


def values_for(setting: Setting[Any]) -> Iterator[object]:
    """Values at, within and beyond the bounds of a setting, and of other kinds."""
    yield from (setting.default, True, False, 0, 1, -1, 0.5, 5.5, 10**30, "", "text", None, [1], {"a": 1})
    for bound in (setting.minimum, setting.maximum, setting.default):
        if isinstance(bound, int | float):
            yield from (bound, bound - 1, bound + 1, bound + 0.5)
    yield from setting.choices


def is_taken(setting: Setting[Any], value: object, *, found: bool) -> bool:
    """Whether a line of the file reaches a command as a value."""
    option = next(each for each in doctor.command.params if each.name == setting.name)
    try:
        (read,) = read_settings({setting.name: value}, "reconciler.yaml", found=found).values.values()
        option.type_cast_value(click.Context(doctor.command), read)
    except (SettingsError, click.BadParameter):
        return False
    return True


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("found", [False, True], ids=["named", "found"])
def test_what_the_schema_takes_the_program_takes(name: str, found: bool) -> None:
    schema = FOUND if found else NAMED
    taken = 0
    for value in values_for(SETTINGS[name]):
        if schema.is_valid({name: value}):
            assert is_taken(SETTINGS[name], value, found=found), value
            taken += 1
    assert bool(taken) == (not found or SETTINGS[name].found != "refused")


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("found", [False, True], ids=["named", "found"])
def test_what_the_schema_refuses_of_the_right_kind_the_program_refuses(name: str, found: bool) -> None:
    schema = FOUND if found else NAMED
    kinds: dict[str, tuple[type, ...]] = {"whole": (int,), "number": (int, float), "flag": (bool,)}
    for value in values_for(SETTINGS[name]):
        of_its_kind = isinstance(value, kinds.get(SETTINGS[name].kind, (str,)))
        if isinstance(value, bool) and SETTINGS[name].kind != "flag":
            of_its_kind = False
        if of_its_kind and not schema.is_valid({name: value}):
            assert not is_taken(SETTINGS[name], value, found=found), value


def test_a_name_is_taken_with_dashes_and_with_underscores_and_no_other_is() -> None:
    assert NAMED.is_valid({"rate_limit": 5, "log-format": "json", "detailed-exitcode": True})
    assert not NAMED.is_valid({"rate_limt": 5})
    assert not NAMED.is_valid({"access_key": "x"})
    assert not FOUND.is_valid({"state": "sqlite:///elsewhere.db"})
    assert not FOUND.is_valid({"workspaces": {}})
    assert {name.replace("-", "_") for name in SCHEMA["properties"]} == {*SETTINGS, *COMMAND_OPTIONS, "workspaces"}


@pytest.mark.parametrize(
    ("workspaces", "valid"),
    [
        ({WORKSPACE: {"access_key_env": "A"}}, True),
        ({WORKSPACE.upper(): {"access_key_file": "/run/key"}}, True),
        ({}, True),
        ({WORKSPACE: {}}, False),
        ({WORKSPACE: {"access_key": "A"}}, False),
        ({WORKSPACE: {"access_key_env": ""}}, False),
        ({WORKSPACE: {"access_key_env": "A", "access_key_file": "B"}}, False),
        ({"acme": {"access_key_env": "A"}}, False),
    ],
    ids=str,
)
def test_where_keys_are_is_taken_as_the_program_takes_it(workspaces: object, valid: bool) -> None:
    assert NAMED.is_valid({"workspaces": workspaces}) == valid
    try:
        read_settings({"workspaces": workspaces}, "reconciler.yaml")
    except SettingsError:
        assert not valid
    else:
        assert valid


def options_of_commands() -> Iterator[click.Option]:
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        for each in getattr(command, "commands", {"": command}).values():
            yield from (option for option in each.params if isinstance(option, click.Option))


@pytest.mark.parametrize("name", COMMAND_OPTIONS)
def test_the_kind_of_a_commands_option_is_that_of_its_option(name: str) -> None:
    row = COMMAND_OPTIONS[name]
    options = [option for option in options_of_commands() if option.name == row.parameter]
    assert options
    for option in options:
        kind = "flag" if option.is_flag else "text"
        if isinstance(option.type, click.IntRange):
            kind = "whole"
        elif isinstance(option.type, click.FloatRange):
            kind = "number"
        assert (kind, option.multiple) == (row.kind, row.repeatable)


def test_the_shipped_schema_is_what_the_sections_say() -> None:
    shipped = json.loads(read_schema("settings.schema.json"))
    assert shipped == SCHEMA, "write it anew: make docs"
    assert cast("dict[str, Any]", shipped)["$defs"]["rate_limit"]["default"] == 45
