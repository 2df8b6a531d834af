"""Every setting in one table: its name, its default, its bounds and what it is for; and the keys to the API.

An option, a line of `reconciler.yaml` and an environment variable are three ways to say the same setting; the table
here is what all three are made from. Flags beat the environment, which beats the file, which beats the default. This
room reads no documents and opens no connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from reconciler.errors import SettingsError
from reconciler.model import parse_uuid

ENVIRONMENT_PREFIX: Final = "RECONCILER_"
DEFAULT_FILE: Final = "reconciler.yaml"
#: Under this name a command keeps which settings file it read, for its messages.
SETTINGS_PATH: Final = "reconciler.settings_path"
KEY_VARIABLE: Final = "BIRD_ACCESS_KEY"
KEY_FILE_VARIABLE: Final = "BIRD_ACCESS_KEY_FILE"

#: The shortest token that is taken: fewer characters could be found by trying.
TOKEN_CHARACTERS: Final = 16

Kind = Literal["text", "whole", "number", "choice", "flag", "paths"]


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
        ),
        Setting(
            "log_level",
            "choice",
            "info",
            "What is logged: this level and above.",
            ("debug", "info", "warning", "error"),
        ),
        Setting("allow_http", "flag", False, "Send the key unencrypted, over http:// to another machine."),
        Setting("no_color", "flag", False, "No colours on a terminal."),
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
        ),
        Setting("concurrency", "whole", 32, "Requests in flight at once.", minimum=1, maximum=1000),
        Setting(
            "confirm_seconds",
            "number",
            30.0,
            "How long the effect of a PATCH is waited for.",
            minimum=0.1,
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
            90.0,
            "How many days the history is kept; 0 for ever.",
            minimum=0,
            maximum=36_500,
        ),
        Setting(
            "history_rows",
            "whole",
            1_000_000,
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
            "File with the token that /status asks for; required when listen is not on loopback.",
        ),
        Setting(
            "max_irreversible",
            "whole",
            25,
            "PATCHes to completed in a run, or in ten minutes of the daemon.",
            minimum=0,
        ),
        Setting(
            "max_resumes",
            "whole",
            25,
            "Resumes of pauses made by somebody else in a run, or in ten minutes of the daemon.",
            minimum=0,
        ),
        Setting(
            "max_change_percent",
            "number",
            50.0,
            "Share of the recordings with an applied status that may change at once, pauses apart.",
            minimum=0,
            maximum=100,
        ),
        Setting(
            "max_pause_percent",
            "number",
            100.0,
            "Share of them that may pause at once; 100 for no limit, since a late pause is what must not happen.",
            minimum=0,
            maximum=100,
        ),
        Setting("min_managed", "whole", 20, "From how many such recordings the two shares count.", minimum=0),
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
        Setting("hook_limit", "whole", 60, "Deliveries that the hook takes in a minute.", minimum=1),
        Setting("max_file_bytes", "whole", 32 * 1024 * 1024, "Largest file that is read.", minimum=1),
        Setting("max_depth", "whole", 32, "Deepest nesting in a document.", minimum=1, maximum=200),
        Setting("max_aliases", "whole", 64, "Most YAML aliases in a file.", minimum=0),
    )
}


#: Options of single commands that a settings file may hold as well, with the name that the command's code gives them.
COMMAND_OPTIONS: Final = {
    "all": "show_all",
    "base": "base",
    "call": "call",
    "channel": "channel",
    "commit": "commit",
    "detailed_exitcode": "detailed_exitcode",
    "expect_digest": "expect_digest",
    "fault_rate": "fault_rate",
    "format": "output",
    "import_workspace": "workspace",
    "latency_ms": "latency_ms",
    "limit": "limit",
    "message": "message",
    "no_refresh": "no_refresh",
    "once": "once",
    "out": "out",
    "out_dir": "out_dir",
    "plan": "plan_file",
    "port": "port",
    "reason": "reason",
    "refresh": "refresh",
    "report": "reports",
    "root": "root",
    "sandbox": "sandbox",
    "sandbox_rate_limit": "sandbox_rate_limit",
    "seed": "seeds",
    "settle_ms": "settle_ms",
    "until": "until",
    "yes": "yes",
}


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where a workspace's key is found: the name of a variable or of a file, never the key."""

    variable: str | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """A parsed `reconciler.yaml`: settings by name, and the source of each workspace's key."""

    values: Mapping[str, object] = field(default_factory=dict)
    workspaces: Mapping[str, KeySource] = field(default_factory=dict)


def read_settings(content: object, file: str) -> SettingsFile:
    """Check the content of a settings file.

    Args:
        content: the parsed YAML: a mapping of setting names (with dashes or underscores) to values, and `workspaces`, a
            mapping of workspace IDs to `{access_key_env: NAME}` or `{access_key_file: PATH}`. None for an empty file.
        file: how messages call it.

    Raises:
        SettingsError: an unknown name, a value of the wrong kind, or a key given by value.
    """
    if content is None:
        return SettingsFile()
    if not isinstance(content, Mapping):
        raise SettingsError(f"{file}: settings are a mapping of names to values")
    values: dict[str, object] = {}
    workspaces: dict[str, KeySource] = {}
    for written, value in content.items():
        name = str(written).replace("-", "_")
        if name == "workspaces":
            workspaces = _read_workspaces(value, file)
        elif name in COMMAND_OPTIONS:
            values[COMMAND_OPTIONS[name]] = value
        elif name not in SETTINGS:
            import difflib

            close = difflib.get_close_matches(name, [*SETTINGS, *COMMAND_OPTIONS, "workspaces"], n=1)
            hint = f", did you mean `{close[0]}`?" if close else ""
            raise SettingsError(f"{file}: unknown setting `{written}`{hint}")
        elif isinstance(value, Mapping | list):
            raise SettingsError(f"{file}: `{written}` takes a single value")
        else:
            values[name] = value
    return SettingsFile(values, workspaces)


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


class KeyRing:
    """Finds the access key of a workspace.

    Neither its text nor an error of its own holds a key, not even where somebody wrote the key itself in place of the
    name of a variable or file: errors say which setting gave the name, and not the name.
    """

    def __init__(self, environment: Mapping[str, str], workspaces: Mapping[str, KeySource] | None = None) -> None:
        self._environment = environment
        self._workspaces = workspaces or {}
        self._files: dict[str, tuple[tuple[int, int, int], str]] = {}

    def __repr__(self) -> str:
        return f"KeyRing({len(self._workspaces)} workspaces with a key of their own)"

    def key_for(self, workspace_id: str) -> str:
        """Return the key for a workspace. A key file is read again when it has changed.

        Raises:
            SettingsError: there is none, or it cannot be one.
        """
        source = self._workspaces.get(workspace_id)
        if source is not None and source.variable is not None:
            origin = f"the variable that workspaces.{workspace_id}.access_key_env names"
            return _checked(self._environment.get(source.variable, ""), origin)
        if source is not None and source.file is not None:
            return self._read(source.file, f"the file that workspaces.{workspace_id}.access_key_file names")
        if key := self._environment.get(KEY_VARIABLE):
            return _checked(key, KEY_VARIABLE)
        if path := self._environment.get(KEY_FILE_VARIABLE):
            return self._read(path, f"the file that {KEY_FILE_VARIABLE} names")
        raise SettingsError(
            f"no access key: set {KEY_VARIABLE}, or {KEY_FILE_VARIABLE} to the path of a file that holds it"
        )

    def fingerprint(self, workspace_id: str) -> int | None:
        """Return the `hash` of the present key, which tells it from others in this process; None where none is."""
        try:
            return hash(self.key_for(workspace_id))
        except SettingsError:
            return None

    def secrets(self) -> list[str]:
        """Return every key that can be found now, for the walls that must let none through."""
        found = []
        for workspace_id in ("", *self._workspaces):
            try:
                found.append(self.key_for(workspace_id))
            except SettingsError:
                pass  # what is no key was never sent, and is said where it is asked for
        return found

    def _read(self, path: str, origin: str) -> str:
        try:
            stat = Path(path).stat()
            stamp = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            known = self._files.get(path)
            if known is None or known[0] != stamp:
                known = (stamp, Path(path).read_text(encoding="utf-8"))
                self._files[path] = known
        except (OSError, ValueError) as error:  # not UTF-8, or a path that cannot be one, is a ValueError
            raise SettingsError(f"{origin} cannot be read: {_reason(error)}") from None
        return _checked(known[1], origin)


def read_token(path: str, setting: str = "token_file") -> str:
    """Return the token of the file that a setting names.

    Raises:
        SettingsError: it cannot be read, or is not of `TOKEN_CHARACTERS` or more printable ASCII characters.
    """
    try:
        token = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:  # not UTF-8, or a path that cannot be one, is a ValueError
        raise SettingsError(f"{setting}: the file cannot be read: {_reason(error)}") from None
    if len(token) < TOKEN_CHARACTERS or not token.isascii() or not token.isprintable() or " " in token:
        raise SettingsError(
            f"{setting}: a token has {TOKEN_CHARACTERS} or more printable characters and no space; make one with"
            " `openssl rand -hex 32`"
        )
    return token


def _checked(key: str, origin: str) -> str:
    key = key.strip()
    if not key:
        raise SettingsError(f"no access key: {origin} is not set, or empty")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise SettingsError(f"the access key in {origin} holds characters that no key has; is it the right file?")
    if key.startswith("bk_"):
        raise SettingsError(
            f"the key in {origin} is one for Bird's newest platform (bk_...), which cannot change recordings;"
            " this program needs an access key of api.bird.com"
        )
    return key


def _reason(error: Exception) -> str:
    """Return why a file cannot be read, without its path: what was given for one may be a key by mistake."""
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
