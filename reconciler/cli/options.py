"""Options made from the table of settings, and the values that a command's parts are built from."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

from reconciler.desired import DocumentLimits, load_plain, parse_label
from reconciler.model import SettingsError
from reconciler.settings import (
    CONFIG_VARIABLE,
    DEFAULT_FILE,
    NO_WORKING_DIRECTORY,
    SETTINGS_PATH,
    SMALL_BYTES,
    ApiSettings,
    DocumentSettings,
    KeySource,
    LimitSettings,
    LogSettings,
    PaceSettings,
    Setting,
    Settings,
    StoreSettings,
    has_working_directory,
    read_regular,
)

if TYPE_CHECKING:
    from reconciler.plan import Limits

F = TypeVar("F", bound=Callable[..., Any])

#: What every command takes.
COMMON: Final[tuple[Setting[Any], ...]] = (ApiSettings.api_url, StoreSettings.state, *LogSettings.settings)
DOCUMENTS: Final = DocumentSettings.settings
REACH: Final[tuple[Setting[Any], ...]] = (ApiSettings.allow_http, ApiSettings.transport, *PaceSettings.settings)
#: What takes the index, or a mirror.
CACHE: Final[tuple[Setting[Any], ...]] = (StoreSettings.cache_dir,)
#: What takes the state lease.
WRITING: Final[tuple[Setting[Any], ...]] = (
    StoreSettings.wait_seconds,
    LimitSettings.allow_empty,
    StoreSettings.history_days,
    StoreSettings.history_rows,
)
#: What bounds how much changes at once.
LIMITS: Final = tuple(each for each in LimitSettings.settings if each is not LimitSettings.allow_empty)
#: The state of runs against the embedded sandbox: never mixed with that of the real API, since the IDs are the same.
SANDBOX_STATE: Final = "sqlite:///.reconciler/sandbox-state.db"
#: Where documents are unless somebody says otherwise.
DEFAULT_FOLDER: Final = "desired_state"
_GIVEN: Final = "reconciler.settings"
_WORKSPACES: Final = "reconciler.workspaces"
#: The largest settings file that is read, in bytes: a workspace with a key of its own takes some hundred.
_FILE_BYTES: Final = 1024 * 1024


def given_settings() -> Settings:
    """Return the settings of the command that runs, as click has gathered them."""
    context = click.get_current_context()
    workspaces: Mapping[str, KeySource] = context.meta.get(_WORKSPACES, {})
    if variables := [source.variable for source in workspaces.values() if source.variable]:
        from reconciler.git import withhold  # late: hardly anybody names one

        withhold(variables)
    return Settings(context.meta.get(_GIVEN, {}), workspaces)


def source_of(setting: Setting[Any]) -> ParameterSource:
    """Return who set a setting of the command that runs."""
    return click.get_current_context().get_parameter_source(setting.name) or ParameterSource.DEFAULT


def bad_value(setting: Setting[Any], why: str) -> click.BadParameter:
    """Return the error that a setting of the command that runs cannot be as it is; where it was set is said with it."""
    context = click.get_current_context()
    return click.BadParameter(why, context, next(each for each in context.command.params if each.name == setting.name))


def document_limits(settings: DocumentSettings) -> DocumentLimits:
    """Return how much one file may ask."""
    return DocumentLimits(
        settings.max_file_bytes,
        settings.max_depth,
        settings.max_aliases,
        settings.max_documents,
        settings.max_keys,
    )


def command_limits(settings: LimitSettings) -> Limits:
    """Return the limits of a command, which `--override-limits` lifts for as long as it runs."""
    from reconciler.plan import Limits  # here, since only what sends has limits

    return Limits.lifted() if settings.override_limits else daemon_limits(settings)


def daemon_limits(settings: LimitSettings) -> Limits:
    """Return the limits of a daemon, for which `--override-limits` lifts them of what it finds at its start alone."""
    from reconciler.plan import Limits

    return Limits(
        settings.max_irreversible,
        settings.max_resumes,
        settings.max_change_percent,
        settings.min_managed,
        None if settings.max_pause_percent >= 100 else settings.max_pause_percent,
    )


def in_color(settings: LogSettings) -> bool:
    """Return whether text for people may be coloured at all."""
    return not settings.no_color and not os.environ.get("NO_COLOR")


def setting_options(*settings: Setting[Any], without: tuple[Setting[Any], ...] = ()) -> Callable[[F], F]:
    """Add `--config` and an option for each of some settings to a command.

    The values reach the command's code through `given_settings`, not as its parameters.
    """

    def decorate(function: F) -> F:
        for setting in reversed([setting for setting in settings if setting not in without]):
            function = _option(setting)(function)
        config = click.option(
            "--config",
            type=click.Path(),
            envvar=CONFIG_VARIABLE,
            is_eager=True,
            expose_value=False,
            callback=_read_file,
            help=f"Settings file. {DEFAULT_FILE} in the working directory, merely found, may set but little.",
        )
        return config(function)

    return decorate


def _option(setting: Setting[Any]) -> Callable[[F], F]:
    kinds: dict[str, Any] = {
        "text": click.STRING,
        "whole": click.IntRange(_whole(setting.minimum), _whole(setting.maximum)),
        "number": _Number(setting.minimum, setting.maximum),
        "choice": click.Choice(setting.choices),
        "flag": click.BOOL,
    }
    return click.option(
        setting.option,
        setting.name,
        type=kinds[setting.kind],
        is_flag=setting.kind == "flag",
        default=setting.default,
        envvar=setting.variable,
        show_default=setting.kind != "flag",
        expose_value=False,
        help=setting.help,
        callback=_keep,
    )


class _Number(click.FloatRange):
    """A number that is one: neither `nan` nor `inf`, which pass every comparison that a range makes, or none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401 - click's
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


def _whole(bound: float | None) -> int | None:
    return None if bound is None else int(bound)


def _keep(context: click.Context, parameter: click.Parameter, value: object) -> object:
    context.meta.setdefault(_GIVEN, {})[parameter.name] = value
    return value


def _read_file(context: click.Context, _parameter: click.Parameter, given: str | None) -> None:
    found = given is None
    if given is None:
        if not os.path.lexists(DEFAULT_FILE):
            return
        given = DEFAULT_FILE
    elif given in ("", os.devnull):
        return  # said so, there is none, not even one that could be found
    try:
        if found and not Path(given).resolve().is_relative_to(Path.cwd()):
            raise SettingsError(
                f"the settings file {given} is a link that leads out of the working directory; name the file itself"
                " with --config"
            )
        data = read_regular(given, SMALL_BYTES if found else _FILE_BYTES)
    except (OSError, ValueError, RuntimeError) as error:  # no path at all; a link to itself
        reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        raise SettingsError(f"the settings file {given} cannot be read: {reason}") from error
    from reconciler.settings import read_settings  # late: most invocations have no such file

    content = read_settings(load_plain(data, given), given, found=found)
    context.meta[_WORKSPACES] = content.workspaces
    context.meta[SETTINGS_PATH] = given
    context.default_map = {**(context.default_map or {}), **content.values}


def state_url(settings: Settings, *, sandbox: bool) -> str:
    """Return where the state is; the embedded sandbox has one of its own unless somebody names another."""
    if sandbox and source_of(StoreSettings.state) is ParameterSource.DEFAULT:
        return SANDBOX_STATE
    return settings.store.state


class _LabelType(click.ParamType[tuple[str, str]]):
    """`name=value`, as the pair of the two."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:  # noqa: ANN401 - click's
        if isinstance(value, tuple):
            name, text = value
            return name, text  # converted already
        try:
            return parse_label(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def label_option(help_text: str) -> Callable[[F], F]:
    """Add `--label NAME=VALUE`, repeatable; the command's parameter `labels` holds all of them as pairs."""
    return click.option(
        "--label",
        "labels",
        type=_LabelType(),
        multiple=True,
        metavar="NAME=VALUE",
        help=f"{help_text} Repeatable: all must match.",
    )


def api_name(settings: Settings, *, sandbox: bool) -> str:
    """Return which API is asked, as a saved plan names it: scheme, host and path, or `sandbox`; never a user."""
    if sandbox:
        return "sandbox"
    address = urlsplit(settings.api.api_url)
    return f"{address.scheme}://{address.netloc.rpartition('@')[2].lower()}{address.path.rstrip('/')}"


def paths_argument(function: F) -> F:
    """Add `PATH...`, files or folders."""
    return click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path())(function)


def paths_or_default(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Return the given paths, or the folder that documents are in unless somebody says otherwise.

    Raises:
        SettingsError: they are relative to a working directory that is gone.
    """
    paths = paths or (DEFAULT_FOLDER,)
    if not all(path.startswith("/") for path in paths) and not has_working_directory():
        raise SettingsError(NO_WORKING_DIRECTORY)
    return paths


def painter(allowed: bool, stream: Any = None) -> Callable[[str, str], str]:  # noqa: ANN401 - any text stream
    """Return what colours text for a terminal; text for a file or a pipe stays plain."""
    out = sys.stdout if stream is None else stream
    if not allowed or not (out.isatty() or os.environ.get("FORCE_COLOR")):
        return lambda text, _role: text
    colors: dict[str, dict[str, Any]] = {
        "change": {"fg": "yellow"},
        "danger": {"fg": "red", "bold": True},
        "quiet": {"dim": True},
        "heading": {"bold": True},
    }
    return lambda text, role: click.style(text, **colors[role])
