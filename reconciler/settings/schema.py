"""The JSON Schema of a settings file, from the sections: shipped as `schemas/settings.schema.json`.

It describes the form in which values are written: what it takes the program takes, while the program also takes a
number that stands in quotes. What must never happen here: a rule of its own, or a word that the sections do not hold.
"""

from __future__ import annotations

from typing import Any, Final

from reconciler.model import UUID_PATTERN
from reconciler.settings.sections import SECTIONS
from reconciler.settings.setting import Found, Setting
from reconciler.settings.table import COMMAND_OPTIONS, DEFAULT_FILE, CommandOption

Schema = dict[str, Any]

_TYPES: Final = {"text": "string", "choice": "string", "whole": "integer", "number": "number", "flag": "boolean"}
_FOUND: Final[dict[Found, str]] = {
    "refused": "A settings file that was merely found may not say it.",
    "any": "A settings file that was merely found may say it.",
    "lower": "A settings file that was merely found may say at most the default.",
    "lower but not to 0": "A settings file that was merely found may say at most the default, and not 0.",
}
_EXAMPLES: Final[dict[str, object]] = {"text": "text", "whole": 1, "number": 1, "flag": True}
_WORKSPACE: Final = "3fa85f64-5717-4562-b3fc-2c963f66afa6"


def settings_schema() -> Schema:
    """Return the schema of a settings file; `$defs/found` is that of one that was found and that nobody named."""
    each: dict[str, Schema] = {
        setting.name: _of_setting(setting) for section in SECTIONS for setting in section.settings
    }
    each |= {name: _of_option(name, option) for name, option in COMMAND_OPTIONS.items()}
    written = {spelling: name for name in each for spelling in (name, name.replace("_", "-"))}
    workspaces = _of_workspaces()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:reconciler:schema:v1:settings",
        "title": "Settings",
        "description": (
            f"A settings file, such as {DEFAULT_FILE}: the one that --config or RECONCILER_CONFIG names may say all of"
            " this. One that was merely found in the working directory may say what narrows: #/$defs/found. Options"
            " beat the environment, which beats the file. Dashes and underscores in names are the same."
        ),
        "type": "object",
        "properties": {
            **{spelling: {"$ref": f"#/$defs/{name}"} for spelling, name in written.items()},
            "workspaces": workspaces,
        },
        "additionalProperties": False,
        "examples": [{"state": "sqlite:////var/lib/reconciler/state.db", "rate_limit": 20, "log-format": "json"}],
        "$defs": {**each, "found": _of_found(written)},
    }


def _of_found(written: dict[str, str]) -> Schema:
    """Return the schema of a file that was found: of each setting that may stand in it, what it may be lowered to."""
    narrowed: dict[str, Schema] = {}
    for section in SECTIONS:
        for setting in section.settings:
            if setting.found == "any":
                narrowed[setting.name] = {}
            elif setting.found != "refused":
                narrowed[setting.name] = {"maximum": _figure(setting.default)}
            if setting.found == "lower but not to 0":
                narrowed[setting.name]["exclusiveMinimum"] = 0
    narrowed |= {name: {} for name, option in COMMAND_OPTIONS.items() if option.found == "any"}
    return {
        "title": "Found settings",
        "description": (
            f"A {DEFAULT_FILE} that was found in the working directory, and not named, may be the work of whoever wrote"
            " the change that is looked at: it may narrow what the program does, and change how it looks."
        ),
        "type": "object",
        "properties": {
            spelling: {"$ref": f"#/$defs/{name}", **narrowed[name]}
            for spelling, name in written.items()
            if name in narrowed
        },
        "additionalProperties": False,
        "examples": [{"rate_limit": 20, "log_format": "json"}],
    }


def _of_setting(setting: Setting[Any]) -> Schema:
    about = [setting.help]
    if setting.unit and not setting.name.endswith(setting.unit):
        about.append(f"In {setting.unit}.")
    if setting.names_secret:
        about.append("The secret itself never stands in the settings.")
    found: Schema = {
        "title": _title(setting.name),
        "description": " ".join([*about, f"Also {setting.option} and {setting.variable}.", _FOUND[setting.found]]),
        "type": _TYPES[setting.kind],
    }
    if setting.choices:
        found["enum"] = list(setting.choices)
    if setting.minimum is not None:
        found["minimum"] = _figure(setting.minimum)
    if setting.maximum is not None:
        found["maximum"] = _figure(setting.maximum)
    default = _figure(setting.default)
    return {**found, "default": default, "examples": [default]}


def _of_option(name: str, option: CommandOption) -> Schema:
    found: Schema = {
        "title": _title(name),
        "description": f"As an option of single commands. {_FOUND[option.found]}",
        "type": _TYPES[option.kind],
        "examples": [_EXAMPLES[option.kind]],
    }
    if option.repeatable:
        found["type"] = [found["type"], "array"]
        found["items"] = {
            "title": _title(name),
            "description": "One of several.",
            "type": _TYPES[option.kind],
            "examples": [_EXAMPLES[option.kind]],
        }
    return found


def _of_workspaces() -> Schema:
    where = {
        "access_key_env": ("The name of the variable that holds the key.", "BIRD_KEY_SALES"),
        "access_key_file": ("The path of the file that holds the key.", "/run/secrets/bird-support"),
    }
    return {
        "title": "Workspaces",
        "description": (
            "For a workspace, by its ID, that has an access key of its own: where it is. The key itself never stands in"
            f" the settings. {_FOUND['refused']}"
        ),
        "type": "object",
        "propertyNames": {"pattern": f"^{UUID_PATTERN}$"},
        "additionalProperties": {
            "title": "Access key",
            "description": "Either the name of a variable or the path of a file.",
            "type": "object",
            "properties": {
                name: {
                    "title": _title(name),
                    "description": about,
                    "type": "string",
                    "minLength": 1,
                    "examples": [example],
                }
                for name, (about, example) in where.items()
            },
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
            "examples": [{name: example} for name, (_, example) in where.items()],
        },
        "examples": [{_WORKSPACE: {"access_key_env": "BIRD_KEY_SALES"}}],
    }


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _figure(value: object) -> object:
    """Return a number as it is written: without a fraction where it has none."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
