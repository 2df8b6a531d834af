"""Every setting, in sections: what a command may be told, once for the option, the variable, the file and the pages.

To add a setting, write it into its section here, with its type, default, bounds and help, and name it where a command
takes its options (`cli/options`). The table, the JSON Schema and the reference follow.

A settings file that was found in the working directory, and not named by anybody, may be the work of a stranger: the
working directory is often the checkout of a pull request. What it says may narrow what this program does and change how
it looks, never redirect it. What must never happen here: `found` on a setting that such a file could use to send a key
elsewhere, to lift a limit, or to have a file written or read in another place.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from reconciler.settings.keys import KeyRing, KeySource
from reconciler.settings.setting import Section, Setting, choice, flag, number, text, whole

LogFormat = Literal["auto", "text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
Transport = Literal["aiohttp", "httpx"]
Verify = Literal["off", "warn", "enforce"]
VerifyScope = Literal["all", "tip"]


class ApiSettings(Section):
    """Which API is asked, and how it is reached."""

    api_url = text("https://api.bird.com", "Address of the Bird API.")
    allow_http = flag("Send the key unencrypted, over http:// to another machine.")
    transport: Setting[Transport] = choice(
        "aiohttp", "The HTTP transport below httpx; httpx is the slower fallback.", ("aiohttp", "httpx")
    )


class StoreSettings(Section):
    """Where the state is kept, how long its history is, and who waits for it."""

    state = text("sqlite:///.reconciler/state.db", "Where the state is kept.")
    cache_dir = text("", "Folder for what can be made again, the index and the mirror; empty for that of the state.")
    wait_seconds = number(
        0.0,
        "How long to wait for another writer to give the state back, before exit 6; a standby waits long.",
        minimum=0,
        unit="seconds",
    )
    history_days = number(
        400.0, "How many days the history is kept; 0 for ever.", minimum=0, maximum=36_500, unit="days"
    )
    history_rows = whole(0, "How many lines of the history are kept, the newest; 0 for all.", minimum=0)


class LogSettings(Section):
    """How the program speaks of what it does."""

    log_format: Setting[LogFormat] = choice(
        "auto",
        "How logs look; auto is text on a terminal and JSON elsewhere.",
        ("auto", "text", "json"),
        found="any",
    )
    log_level: Setting[LogLevel] = choice(
        "info", "What is logged: this level and above.", ("debug", "info", "warning", "error"), found="any"
    )
    no_color = flag("No colours on a terminal.", found="any")


class PaceSettings(Section):
    """How fast requests leave, and how long is waited for what comes of them."""

    rate_limit = number(
        45.0,
        "Requests per second and workspace, reads and writes together; 0 for no limit.",
        minimum=0,
        unit="requests per second",
        found="lower but not to 0",
    )
    concurrency = whole(32, "Requests in flight at once.", minimum=1, maximum=1000, found="lower")
    confirm_seconds = number(30.0, "How long the effect of a PATCH is waited for.", minimum=0.1, unit="seconds")
    call_seconds = number(
        15300.0,
        "How long a call may live, and so how long a recording that is not found is looked for.",
        minimum=0,
        unit="seconds",
    )
    give_up_seconds = number(
        120.0,
        "How long plan, apply and run --once try again what fails before they give up on it.",
        minimum=0,
        unit="seconds",
    )


class DaemonSettings(Section):
    """How often the daemon looks by itself, and when it calls itself unwell."""

    resync_seconds = number(300.0, "How often every recording is looked at.", minimum=1, unit="seconds")
    poll_seconds = number(
        30.0,
        "How often files are compared without an event; less often past 20,000 files.",
        minimum=0.1,
        unit="seconds",
    )
    health_seconds = number(
        120.0, "Without progress for this long although work is due, /healthz fails.", minimum=1, unit="seconds"
    )


class PageSettings(Section):
    """Where the daemon's page is, who may read it, and how much its readers may ask of it."""

    listen = text("127.0.0.1:8420", "Where health, metrics and status are served; off for nowhere.")
    token_file = text(
        "",
        "File with the token that /status and /metrics ask for; required when listen is not on loopback.",
        names_secret=True,
    )
    metrics_open = flag("Let /metrics ask for no token.")
    allowed_hosts = text("", "Names by which the page may be called, besides localhost; between commas.")
    listen_connections = whole(
        128,
        "Connections to the page at once, half of them without a request; the oldest makes room.",
        minimum=8,
        maximum=100_000,
    )
    listen_head_seconds = number(
        5.0, "How long a connection may take to send the head of a request.", minimum=0.1, unit="seconds"
    )
    listen_head_bytes = whole(
        16 * 1024,
        "Largest part of a request's head that is kept until the rest comes.",
        minimum=1024,
        unit="bytes",
    )
    listen_answer_seconds = number(
        30.0, "How long it may take from there until the answer has been fetched.", minimum=0.1, unit="seconds"
    )


class LimitSettings(Section):
    """How much may change at once before a person must say that it is meant."""

    max_irreversible = whole(
        25, "PATCHes to completed in a run, or in ten minutes of the daemon.", minimum=0, found="lower"
    )
    max_resumes = whole(
        25,
        "Resumes of pauses made by somebody else in a run, or in ten minutes of the daemon.",
        minimum=0,
        found="lower",
    )
    max_change_percent = number(
        50.0,
        "Share of the recordings with an applied status that may change at once, pauses apart.",
        minimum=0,
        maximum=100,
        unit="percent",
        found="lower",
    )
    max_pause_percent = number(
        100.0,
        "Share of them that may pause at once; 100 for no limit, since a late pause is what must not happen.",
        minimum=0,
        maximum=100,
        unit="percent",
        found="lower",
    )
    min_managed = whole(20, "From how many such recordings the two shares count.", minimum=0, found="lower")
    override_limits = flag(
        "Send even what a safety limit would refuse: in this run, or of what the daemon finds at its start."
    )
    allow_empty = flag("Release every recording when the paths hold no document at all.")


class SourceSettings(Section):
    """The Git branch that holds the documents, where files do not."""

    git = text("", "Address of the Git repository that run reads in place of PATH...; empty for files.")
    branch = text("", "Its branch; empty for the one that the repository itself names.")
    path = text("", "Folder or file in it that holds the documents; empty for all of it.")
    git_interval = number(30.0, "Seconds between two looks at the branch.", minimum=0.5, unit="seconds")
    git_depth = whole(
        256,
        "How many commits back the revision in force is looked for in a new one's history.",
        minimum=2,
        maximum=100_000,
    )
    git_timeout_seconds = number(120.0, "How long a fetch may take.", minimum=1, unit="seconds")
    git_token_file = text("", "File with the token for an https:// address; else Git's own helpers.", names_secret=True)


class SignatureSettings(Section):
    """Whose commits may come into force."""

    verify: Setting[Verify] = choice(
        "off", "Signatures of commits: not looked at, only warned of, or needed.", ("off", "warn", "enforce")
    )
    verify_scope: Setting[VerifyScope] = choice(
        "all", "Which are judged: all commits since the revision in force, or only the tip.", ("all", "tip")
    )
    allowed_signers = text("", "File with the SSH keys that may sign, as ssh-keygen(1) has it.")
    gpg_keyring = text("", "File with the GPG keys that may sign, as gpg --export writes it.")


class HookSettings(Section):
    """Who may say that the branch has moved, and how much of what they send is read."""

    hook_secret_file = text(
        "", "File with the secret of POST /hooks/git; without one there is none.", names_secret=True
    )
    hook_max_bytes = whole(1024 * 1024, "Largest delivery that the hook reads.", minimum=1024, unit="bytes")
    hook_seconds = number(10.0, "How long a delivery may take to arrive.", minimum=0.1, unit="seconds")
    hook_at_once = whole(4, "Deliveries that are read at once.", minimum=1, maximum=1000)
    hook_limit = whole(60, "Deliveries without the secret answered in a minute.", minimum=1)


class DocumentSettings(Section):
    """How much one file of documents may ask of this program."""

    max_file_bytes = whole(32 * 1024 * 1024, "Largest file that is read.", minimum=1, unit="bytes", found="lower")
    max_depth = whole(32, "Deepest nesting in a document.", minimum=1, maximum=200, found="lower")
    max_aliases = whole(64, "Most YAML aliases in a file.", minimum=0, found="lower")
    max_documents = whole(200_000, "Most documents in a file.", minimum=1, found="lower")
    max_keys = whole(10_000, "Most keys in one mapping of a file.", minimum=1, found="lower")


class Settings:
    """The settings of one invocation: flags, environment, file and defaults, already put in order."""

    def __init__(self, values: Mapping[str, object], workspaces: Mapping[str, KeySource] | None = None) -> None:
        """Take the values by the settings' names.

        Args:
            values: of each setting for which the command has an option.
            workspaces: for the workspaces that have an access key of their own, where it is.
        """
        self.api: Final = ApiSettings(values)
        self.store: Final = StoreSettings(values)
        self.log: Final = LogSettings(values)
        self.pace: Final = PaceSettings(values)
        self.daemon: Final = DaemonSettings(values)
        self.page: Final = PageSettings(values)
        self.limits: Final = LimitSettings(values)
        self.source: Final = SourceSettings(values)
        self.signatures: Final = SignatureSettings(values)
        self.hook: Final = HookSettings(values)
        self.documents: Final = DocumentSettings(values)
        #: One for all parts of a command: what hides keys in its log knows each that its requests have used.
        self.keys: Final = KeyRing(os.environ, workspaces)
        self._values: Final = values

    def given(self) -> Iterator[tuple[Setting[Any], object]]:
        """Yield each setting for which the command has an option, with the value that holds."""
        for section in SECTIONS:
            for setting in section.settings:
                if setting.name in self._values:
                    yield setting, self._values[setting.name]


#: Every section, in the order in which the settings are listed anywhere.
SECTIONS: Final = (
    ApiSettings,
    StoreSettings,
    LogSettings,
    PaceSettings,
    DaemonSettings,
    PageSettings,
    LimitSettings,
    SourceSettings,
    SignatureSettings,
    HookSettings,
    DocumentSettings,
)
