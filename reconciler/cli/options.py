"""Options made from the table of settings, and the values that a command's parts are built from."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
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
    SETTINGS,
    SETTINGS_PATH,
    SMALL_BYTES,
    KeyRing,
    Setting,
    SettingsFile,
    has_working_directory,
    read_regular,
    read_settings,
)

if TYPE_CHECKING:
    from reconciler.plan import Limits

F = TypeVar("F", bound=Callable[..., Any])

COMMON: Final = ("api_url", "state", "log_format", "log_level", "no_color")
DOCUMENTS: Final = ("max_file_bytes", "max_depth", "max_aliases", "max_documents", "max_keys")
REACH: Final = (
    *("allow_http", "transport", "rate_limit", "concurrency"),
    *("confirm_seconds", "give_up_seconds", "call_seconds"),
)
#: A Git branch in place of files.
GIT: Final = ("git", "branch", "path", "git_interval", "git_depth", "git_timeout_seconds", "git_token_file")
SIGNATURES: Final = ("verify", "verify_scope", "allowed_signers", "gpg_keyring")
HOOK: Final = ("hook_secret_file", "hook_max_bytes", "hook_seconds", "hook_at_once", "hook_limit")
#: The daemon's page.
PAGE: Final = (
    *("listen", "token_file", "metrics_open", "allowed_hosts"),
    *("listen_connections", "listen_head_seconds", "listen_head_bytes", "listen_answer_seconds"),
)
#: What takes the lease on the state.
WRITING: Final = ("wait_seconds", "allow_empty", "history_days", "history_rows")
LIMITS: Final = (
    *("max_irreversible", "max_resumes", "max_change_percent", "max_pause_percent", "min_managed"),
    "override_limits",
)
#: The state of runs against the embedded sandbox: never mixed with that of the real API, since the IDs are the same.
SANDBOX_STATE: Final = "sqlite:///.reconciler/sandbox-state.db"
#: Where documents are unless somebody says otherwise.
DEFAULT_FOLDER: Final = "desired_state"
_GIVEN: Final = "reconciler.settings"
_FILE: Final = "reconciler.settings_file"
#: The largest settings file that is read, in bytes: a workspace with a key of its own takes some hundred.
_FILE_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Values:
    """The settings of one invocation: flags, environment, file and defaults, already put in order."""

    settings: dict[str, Any]
    file: SettingsFile
    #: One for all parts of a command: what hides keys in its log knows each that its requests have used.
    key_ring: KeyRing = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key_ring", KeyRing(os.environ, self.file.workspaces))
        if variables := [source.variable for source in self.file.workspaces.values() if source.variable]:
            from reconciler.git import withhold  # late: hardly anybody names one

            withhold(variables)

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - each setting has the type that its kind says
        return self.settings[name]

    @property
    def document_limits(self) -> DocumentLimits:
        return DocumentLimits(
            self["max_file_bytes"], self["max_depth"], self["max_aliases"], self["max_documents"], self["max_keys"]
        )

    @property
    def limits(self) -> Limits:
        """The limits of a command, which `--override-limits` lifts for as long as it runs."""
        from reconciler.plan import Limits  # here, since only what sends has limits

        return Limits.lifted() if self["override_limits"] else self.daemon_limits

    @property
    def daemon_limits(self) -> Limits:
        """The limits of a daemon, for which `--override-limits` lifts them of what it finds at its start alone."""
        from reconciler.plan import Limits

        percent = self["max_pause_percent"]
        return Limits(
            self["max_irreversible"],
            self["max_resumes"],
            self["max_change_percent"],
            self["min_managed"],
            None if percent >= 100 else percent,
        )

    @property
    def color(self) -> bool:
        """Whether text for people may be coloured at all."""
        return not self["no_color"] and not os.environ.get("NO_COLOR")


def values() -> Values:
    """Return the settings of the command that runs, as click has gathered them."""
    context = click.get_current_context()
    return Values(context.meta.get(_GIVEN, {}), context.meta.get(_FILE, SettingsFile()))


def setting_options(*names: str, without: tuple[str, ...] = ()) -> Callable[[F], F]:
    """Add `--config` and an option for each named setting to a command.

    The values reach the command's code through `values`, not as its parameters.
    """

    def decorate(function: F) -> F:
        for name in reversed([name for name in names if name not in without]):
            function = _option(SETTINGS[name])(function)
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


def _option(setting: Setting) -> Callable[[F], F]:
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
    content = read_settings(load_plain(data, given), given, found=found)
    context.meta[_FILE] = content
    context.meta[SETTINGS_PATH] = given
    context.default_map = {**(context.default_map or {}), **content.values}


def state_url(settings: Values, *, sandbox: bool) -> str:
    """Return where the state is; the embedded sandbox has one of its own unless somebody names another."""
    source = click.get_current_context().get_parameter_source("state")
    if sandbox and source in (None, ParameterSource.DEFAULT):
        return SANDBOX_STATE
    return str(settings["state"])


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


def api_name(settings: Values, *, sandbox: bool) -> str:
    """Return which API is asked, as a saved plan names it: scheme, host and path, or `sandbox`; never a user."""
    if sandbox:
        return "sandbox"
    address = urlsplit(settings["api_url"])
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
