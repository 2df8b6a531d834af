"""Every setting in one table: its name, its default, its bounds, what it is for, and who may set it.

An option, a line of `reconciler.yaml` and an environment variable are three ways to say the same setting; the table
here is what all three are made from. Flags beat the environment, which beats the file, which beats the default. This
room opens nothing.

A settings file that was found in the working directory, and not named by anybody, may be the work of a stranger: the
working directory is often the checkout of a pull request. What it says may narrow what this program does and change how
it looks, never redirect it. What must never happen here: a setting that such a file may set because nobody thought of
it. So each row says whether it may, and says no unless it is told otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from reconciler.model import SettingsError, parse_uuid
from reconciler.settings.keys import KeySource

ENVIRONMENT_PREFIX: Final = "RECONCILER_"
DEFAULT_FILE: Final = "reconciler.yaml"
#: Under this name a command keeps which settings file it read, for its messages.
SETTINGS_PATH: Final = "reconciler.settings_path"
#: Names the settings file, as `--config` does.
CONFIG_VARIABLE: Final = "RECONCILER_CONFIG"
#: No setting has a longer name: what is longer is neither compared with them nor quoted whole.
_LONGEST_NAME: Final = 64

Kind = Literal["text", "whole", "number", "choice", "flag", "paths"]
#: What a settings file that was found may do to a setting: nothing; say any value, since none redirects anything or
#: sends more; or lower it, to the default at most.
Found = Literal["refused", "any", "lower"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. Its option is `--<name with dashes>`, its variable `RECONCILER_<NAME>`."""

    name: str
    kind: Kind
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    #: A safe default: nobody who adds a setting has to think of it.
    found: Found = "refused"
    #: Whether 0 means that there is no bound, which is more than any default.
    zero_is_unbounded: bool = False

    @property
    def option(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return ENVIRONMENT_PREFIX + self.name.upper()


SETTINGS: Final = {
    setting.name: setting
    for setting in (
        Setting("api_url", "text", "https://api.bird.com", "Address of the Bird API."),
        Setting("state", "text", "sqlite:///.reconciler/state.db", "Where the state is kept."),
        Setting(
            "log_format",
            "choice",
            "auto",
            "How logs look; auto is text on a terminal and JSON elsewhere.",
            ("auto", "text", "json"),
            found="any",
        ),
        Setting(
            "log_level",
            "choice",
            "info",
            "What is logged: this level and above.",
            ("debug", "info", "warning", "error"),
            found="any",
        ),
        Setting("allow_http", "flag", False, "Send the key unencrypted, over http:// to another machine."),
        Setting("no_color", "flag", False, "No colours on a terminal.", found="any"),
        Setting(
            "transport",
            "choice",
            "aiohttp",
            "The HTTP transport below httpx; httpx is the slower fallback.",
            ("aiohttp", "httpx"),
        ),
        Setting(
            "rate_limit",
            "number",
            45.0,
            "Requests per second and workspace, reads and writes together; 0 for no limit.",
            minimum=0,
            found="lower",
            zero_is_unbounded=True,
        ),
        Setting("concurrency", "whole", 32, "Requests in flight at once.", minimum=1, maximum=1000, found="lower"),
        Setting(
            "confirm_seconds",
            "number",
            30.0,
            "How long the effect of a PATCH is waited for.",
            minimum=0.1,
        ),
        Setting(
            "call_seconds",
            "number",
            15300.0,
            "How long a call may live, and so how long a recording that is not found is looked for.",
            minimum=0,
        ),
        Setting(
            "give_up_seconds",
            "number",
            120.0,
            "How long plan, apply and run --once try again what fails before they give up on it.",
            minimum=0,
        ),
        Setting("resync_seconds", "number", 300.0, "How often every recording is looked at.", minimum=1),
        Setting(
            "poll_seconds",
            "number",
            30.0,
            "How often files are compared without an event; less often past 20,000 files.",
            minimum=0.1,
        ),
        Setting(
            "health_seconds",
            "number",
            120.0,
            "Without progress for this long although work is due, /healthz fails.",
            minimum=1,
        ),
        Setting(
            "wait_seconds",
            "number",
            0.0,
            "How long to wait for another writer to give the state back, before exit 6; a standby waits long.",
            minimum=0,
        ),
        Setting(
            "history_days",
            "number",
            400.0,
            "How many days the history is kept; 0 for ever.",
            minimum=0,
            maximum=36_500,
        ),
        Setting(
            "history_rows",
            "whole",
            0,
            "How many lines of the history are kept, the newest; 0 for all.",
            minimum=0,
        ),
        Setting(
            "listen",
            "text",
            "127.0.0.1:8420",
            "Where health, metrics and status are served; off for nowhere.",
        ),
        Setting(
            "token_file",
            "text",
            "",
            "File with the token that /status and /metrics ask for; required when listen is not on loopback.",
        ),
        Setting(
            "metrics_open",
            "flag",
            False,
            "Let /metrics ask for no token.",
        ),
        Setting(
            "allowed_hosts",
            "text",
            "",
            "Names by which the page may be called, besides localhost; between commas.",
        ),
        Setting(
            "listen_connections",
            "whole",
            128,
            "Connections to the page at once, half of them without a request; the oldest makes room.",
            minimum=8,
            maximum=100_000,
        ),
        Setting(
            "listen_head_seconds",
            "number",
            5.0,
            "How long a connection may take to send the head of a request.",
            minimum=0.1,
        ),
        Setting(
            "listen_head_bytes",
            "whole",
            16 * 1024,
            "Largest part of a request's head that is kept until the rest comes.",
            minimum=1024,
        ),
        Setting(
            "listen_answer_seconds",
            "number",
            30.0,
            "How long it may take from there until the answer has been fetched.",
            minimum=0.1,
        ),
        Setting(
            "max_irreversible",
            "whole",
            25,
            "PATCHes to completed in a run, or in ten minutes of the daemon.",
            minimum=0,
            found="lower",
        ),
        Setting(
            "max_resumes",
            "whole",
            25,
            "Resumes of pauses made by somebody else in a run, or in ten minutes of the daemon.",
            minimum=0,
            found="lower",
        ),
        Setting(
            "max_change_percent",
            "number",
            50.0,
            "Share of the recordings with an applied status that may change at once, pauses apart.",
            minimum=0,
            maximum=100,
            found="lower",
        ),
        Setting(
            "max_pause_percent",
            "number",
            100.0,
            "Share of them that may pause at once; 100 for no limit, since a late pause is what must not happen.",
            minimum=0,
            maximum=100,
            found="lower",
        ),
        Setting(
            "min_managed",
            "whole",
            20,
            "From how many such recordings the two shares count.",
            minimum=0,
            found="lower",
        ),
        Setting(
            "override_limits",
            "flag",
            False,
            "Send even what a safety limit would refuse: in this run, or of what the daemon finds at its start.",
        ),
        Setting("allow_empty", "flag", False, "Release every recording when the paths hold no document at all."),
        Setting(
            "git", "text", "", "Address of the Git repository that run reads in place of PATH...; empty for files."
        ),
        Setting("branch", "text", "", "Its branch; empty for the one that the repository itself names."),
        Setting("path", "text", "", "Folder or file in it that holds the documents; empty for all of it."),
        Setting("git_interval", "number", 30.0, "Seconds between two looks at the branch.", minimum=0.5),
        Setting(
            "git_depth",
            "whole",
            256,
            "How many commits back the revision in force is looked for in a new one's history.",
            minimum=2,
            maximum=100_000,
        ),
        Setting("git_timeout_seconds", "number", 120.0, "How long a fetch may take.", minimum=1),
        Setting("git_token_file", "text", "", "File with the token for an https:// address; else Git's own helpers."),
        Setting(
            "verify",
            "choice",
            "off",
            "Signatures of commits: not looked at, only warned of, or needed.",
            ("off", "warn", "enforce"),
        ),
        Setting(
            "verify_scope",
            "choice",
            "all",
            "Which are judged: all commits since the revision in force, or only the tip.",
            ("all", "tip"),
        ),
        Setting("allowed_signers", "text", "", "File with the SSH keys that may sign, as ssh-keygen(1) has it."),
        Setting("gpg_keyring", "text", "", "File with the GPG keys that may sign, as gpg --export writes it."),
        Setting("hook_secret_file", "text", "", "File with the secret of POST /hooks/git; without one there is none."),
        Setting("hook_max_bytes", "whole", 1024 * 1024, "Largest delivery that the hook reads.", minimum=1024),
        Setting("hook_seconds", "number", 10.0, "How long a delivery may take to arrive.", minimum=0.1),
        Setting("hook_at_once", "whole", 4, "Deliveries that are read at once.", minimum=1, maximum=1000),
        Setting("hook_limit", "whole", 60, "Deliveries without the secret answered in a minute.", minimum=1),
        Setting("max_file_bytes", "whole", 32 * 1024 * 1024, "Largest file that is read.", minimum=1, found="lower"),
        Setting("max_depth", "whole", 32, "Deepest nesting in a document.", minimum=1, maximum=200, found="lower"),
        Setting("max_aliases", "whole", 64, "Most YAML aliases in a file.", minimum=0, found="lower"),
        Setting("max_documents", "whole", 200_000, "Most documents in a file.", minimum=1, found="lower"),
        Setting("max_keys", "whole", 10_000, "Most keys in one mapping of a file.", minimum=1, found="lower"),
    )
}


@dataclass(frozen=True, slots=True)
class CommandOption:
    """An option of single commands that a settings file may hold as well."""

    #: The name that the command's code gives it.
    parameter: str
    #: What a settings file that was found may do to it; it has no default that could be lowered.
    found: Literal["refused", "any"] = "refused"
    #: Whether it takes a list as well.
    repeatable: bool = False


COMMAND_OPTIONS: Final = {
    "all": CommandOption("show_all", found="any"),
    "base": CommandOption("base"),
    "call": CommandOption("call"),
    "channel": CommandOption("channel"),
    "commit": CommandOption("commit"),
    "detailed_exitcode": CommandOption("detailed_exitcode", found="any"),
    "expect_digest": CommandOption("expect_digest"),
    "fault_rate": CommandOption("fault_rate"),
    "format": CommandOption("output", found="any"),
    "import_workspace": CommandOption("workspace"),
    "latency_ms": CommandOption("latency_ms"),
    "limit": CommandOption("limit", found="any"),
    "message": CommandOption("message"),
    "no_refresh": CommandOption("no_refresh"),
    "once": CommandOption("once"),
    "out": CommandOption("out"),
    "out_dir": CommandOption("out_dir"),
    "plan": CommandOption("plan_file"),
    "port": CommandOption("port"),
    "reason": CommandOption("reason"),
    "refresh": CommandOption("refresh"),
    "report": CommandOption("reports", repeatable=True),
    "root": CommandOption("root"),
    "sandbox": CommandOption("sandbox"),
    "sandbox_rate_limit": CommandOption("sandbox_rate_limit"),
    "seed": CommandOption("seeds", repeatable=True),
    "settle_ms": CommandOption("settle_ms"),
    "until": CommandOption("until"),
    "yes": CommandOption("yes"),
}


#: What Kubernetes sets for each Service of a namespace: https://kubernetes.io/docs/concepts/services-networking/service/
#: So a Service called `reconciler` or `reconciler-x` gives names that begin as ours do.
_LINK_NAME: Final = re.compile(r".*_(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT_\d+_[A-Z]+(?:_[A-Z]+)?)")
_LINK_VALUE: Final = re.compile(r"(?:tcp|udp|sctp)://.*", re.IGNORECASE)


def is_service_link(name: str, value: str) -> bool:
    """Return whether an environment variable is one that an orchestrator sets for a service, by its name and value.

    The one form of name that a setting may have as well is `..._PORT`: of such a variable the value tells.
    """
    if _LINK_NAME.fullmatch(name) is not None:
        return True
    return name.endswith("_PORT") and _LINK_VALUE.fullmatch(value) is not None


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
        SettingsError: an unknown name, a value of the wrong kind, a key given by value, or, in a file that was found,
            anything that such a file may not say.
    """
    if content is None:
        return SettingsFile()
    if not isinstance(content, Mapping):
        raise SettingsError(f"{file}: settings are a mapping of names to values")
    values: dict[str, object] = {}
    workspaces: dict[str, KeySource] = {}
    for written, value in content.items():
        name = str(written).replace("-", "_")
        option, setting = COMMAND_OPTIONS.get(name), SETTINGS.get(name)
        if name != "workspaces" and option is None and setting is None:
            raise SettingsError(f"{file}: unknown setting `{_shortened(written)}`{_nearest(name)}")
        if found:
            _check_found(name, value, file)
        if option is not None:
            values[option.parameter] = _single(value, name, file, or_list=option.repeatable, as_digits=True)
        elif setting is None:
            workspaces = _read_workspaces(value, file)
        else:
            values[name] = _single(value, name, file, as_digits=setting.kind == "flag")
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
        no_zero = " and not 0" if setting.zero_is_unbounded else ""
        raise SettingsError(
            f"{file}: `{name}` may be at most {setting.default:.0f}{no_zero} in a settings file that {why}; {remedy}"
        )


def _single(value: object, name: str, file: str, *, or_list: bool = False, as_digits: bool = False) -> object:
    """Return a value as an option takes it; `as_digits` has a number stand for its digits, as on a command line."""
    if isinstance(value, list) and or_list:
        return [_single(each, name, file, as_digits=as_digits) for each in value]
    if isinstance(value, Mapping | list):
        raise SettingsError(f"{file}: `{name}` takes a single value")
    if not as_digits or isinstance(value, bool) or not isinstance(value, int | float):
        return value
    # An option that takes no number would stumble over one.
    return str(int(value) if float(value).is_integer() else value)


def _is_lower(setting: Setting, value: object) -> bool:
    """Return whether a value is a number, and at or below the setting's default."""
    if isinstance(value, bool):
        return False
    try:
        number = float(str(value))
    except ValueError:
        return False
    # So written that what is no number at all (nan) compares as too much.
    return number <= float(setting.default) and (number > 0 or not setting.zero_is_unbounded)


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
