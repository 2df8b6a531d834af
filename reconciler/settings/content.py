"""What a settings file says: each line held against the table, and where the access keys of workspaces are.

What must never happen here: a file that was found in the working directory, and not named by anybody, says more than
the table allows it; a key that somebody wrote in place of a name stands in an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from reconciler.model import SettingsError, parse_uuid
from reconciler.settings.keys import KeySource
from reconciler.settings.setting import Found, Setting
from reconciler.settings.table import COMMAND_OPTIONS, CONFIG_VARIABLE, SETTINGS

#: No setting has a longer name: what is longer is neither compared with them nor quoted whole.
_LONGEST_NAME: Final = 64


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """A parsed `reconciler.yaml`: settings by name, and the source of each workspace's key."""

    values: Mapping[str, object] = field(default_factory=dict)
    workspaces: Mapping[str, KeySource] = field(default_factory=dict)


def read_settings(content: object, file: str, *, found: bool = False) -> SettingsFile:
    """Check the content of a settings file.

    Args:
        content: the parsed YAML: a mapping of setting names (with dashes or underscores) to values, and `workspaces`, a
            mapping of workspace IDs to `{access_key_env: NAME}` or `{access_key_file: PATH}`. None for an empty file.
        file: how messages call it.
        found: whether it was found in the working directory, and nobody has named it.

    Raises:
        SettingsError: an unknown name, one that is said twice, a value of the wrong kind, a key given by value, or, in
            a file that was found, anything that such a file may not say.
    """
    if content is None:
        return SettingsFile()
    if not isinstance(content, Mapping):
        raise SettingsError(f"{file}: settings are a mapping of names to values")
    values: dict[str, object] = {}
    workspaces: dict[str, KeySource] = {}
    said: set[str] = set()
    for written, value in content.items():
        name = str(written).replace("-", "_")
        option, setting = COMMAND_OPTIONS.get(name), SETTINGS.get(name)
        if name != "workspaces" and option is None and setting is None:
            raise SettingsError(f"{file}: unknown setting `{_shortened(written)}`{_nearest(name)}")
        if name in said:
            raise SettingsError(f"{file}: `{name}` is said twice, with dashes and with underscores")
        said.add(name)
        if found:
            _check_found(name, value, file)
        if option is not None:
            values[option.parameter] = _single(value, name, file, or_list=option.repeatable, as_digits=True)
        elif setting is None:
            workspaces = _read_workspaces(value, file)
        else:
            values[name] = _of_its_kind(_single(value, name, file), setting, file)
    return SettingsFile(values, workspaces)


def _check_found(name: str, value: object, file: str) -> None:
    """Hold a line of a file that was found against what its row in the table allows.

    Raises:
        SettingsError: it is not allowed.
    """
    setting = SETTINGS.get(name)
    option = COMMAND_OPTIONS.get(name)
    allowed: Found = setting.found if setting is not None else option.found if option is not None else "refused"
    if allowed == "any":
        return
    remedy = f"if this file is yours, name it: --config {file}, or {CONFIG_VARIABLE}={file}"
    why = "was found in the working directory, where a stranger may have put it"
    if setting is None or allowed == "refused":
        raise SettingsError(f"{file}: `{name}` may not be set by a settings file that {why}; {remedy}")
    if not _is_lower(setting, value):
        no_zero = " and not 0" if setting.found == "lower but not to 0" else ""
        raise SettingsError(
            f"{file}: `{name}` may be at most {setting.default:.0f}{no_zero} in a settings file that {why}; {remedy}"
        )


def _of_its_kind(value: object, setting: Setting[Any], file: str) -> object:
    """Return a value as an option takes it: a number as its digits, since an option's type would cut a fraction off.

    Raises:
        SettingsError: it is `true` or `false` where neither is meant.
    """
    if isinstance(value, bool) and setting.kind not in ("flag", "choice"):
        what = "a text, so put it in quotes" if setting.kind == "text" else "a number"
        raise SettingsError(f"{file}: `{setting.name}` takes {what}")
    return _as_digits(value) if setting.kind != "text" else value


def _single(value: object, name: str, file: str, *, or_list: bool = False, as_digits: bool = False) -> object:
    """Return a value as an option takes it; `as_digits` has a number stand for its digits, as on a command line."""
    if isinstance(value, list) and or_list:
        return [_single(each, name, file, as_digits=as_digits) for each in value]
    if isinstance(value, Mapping | list):
        raise SettingsError(f"{file}: `{name}` takes a single value")
    return _as_digits(value) if as_digits else value


def _as_digits(value: object) -> object:
    """Return the digits of a number; an option that takes none would stumble over it. What is no number stays so."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _is_lower(setting: Setting[Any], value: object) -> bool:
    """Return whether a value is a number, and at or below the setting's default."""
    if isinstance(value, bool):
        return False
    try:
        number = float(str(value))
    except ValueError:
        return False
    # So written that what is no number at all (nan) compares as too much.
    return number <= float(setting.default) and (number > 0 or setting.found == "lower")


def _nearest(name: str) -> str:
    if len(name) > _LONGEST_NAME:
        return ""
    import difflib

    close = difflib.get_close_matches(name, [*SETTINGS, *COMMAND_OPTIONS, "workspaces"], n=1)
    return f", did you mean `{close[0]}`?" if close else ""


def _shortened(written: object) -> str:
    text = str(written)
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}..."


def _read_workspaces(content: object, file: str) -> dict[str, KeySource]:
    if not isinstance(content, Mapping):
        raise SettingsError(f"{file}: `workspaces` is a mapping of workspace IDs")
    workspaces = {}
    for written, value in content.items():
        try:
            workspace_id = parse_uuid(str(written))
        except ValueError as error:
            raise SettingsError(f"{file}: workspaces: {error}") from None
        allowed = {"access_key_env", "access_key_file"}
        if (
            not isinstance(value, Mapping)
            or len(value) != 1
            or not set(value) <= allowed
            or not all(isinstance(name, str) and name for name in value.values())
        ):
            raise SettingsError(
                f"{file}: workspaces.{workspace_id}: say either `access_key_env`, the name of a variable, or"
                " `access_key_file`, the path of a file; the key itself never stands in the settings"
            )
        workspaces[workspace_id] = KeySource(value.get("access_key_env"), value.get("access_key_file"))
    return workspaces
