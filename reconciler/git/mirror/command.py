"""The user's own git, run on a mirror: what it may reach, which credentials it finds, and when it is stopped.

A repository's content is hostile input, and so is what a server says. Nothing of either may run: no hook, no filter, no
submodule, no other protocol than the address's own. What must never happen in this room: a secret in an argument or in
a file, since both can be read by others; a question to a person, since nobody is there to answer; a process that
outlives its purpose.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from reconciler.git.ask import (
    QUESTION_SECONDS,
    QUIETLY,
    Ended,
    TookTooLong,
    TooLong,
    is_withheld,
    run_attended,
    run_bounded,
)
from reconciler.git.mirror.address import Address
from reconciler.model import ReconcilerError
from reconciler.telemetry import scrub

#: Of git's own variables those that say how the user reaches a host and where the user's settings are. The others
#: would lead it elsewhere, change what its answers mean, or make it talk about what it sends.
_KEPT: Final = ("GIT_ASKPASS", "GIT_CONFIG_", "GIT_EXEC_PATH", "GIT_HTTP_", "GIT_PROXY_", "GIT_SSH", "GIT_SSL_")
#: `GIT_CONFIG_PARAMETERS` is how one git tells another of its `-c`; a desktop's window has nobody before it.
_FOREIGN: Final = frozenset({"GIT_CONFIG_PARAMETERS", "SSH_ASKPASS"})
#: More than the listing of a million files; a few objects can be nested so that they stand for billions of names.
_ANSWER_BYTES: Final = 128 * 1024 * 1024
#: What holds for every question: nothing that a repository or a server brings may run.
SAFELY: Final = {
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",
    "fetch.recurseSubmodules": "false",
    "gc.autoDetach": "false",
    "maintenance.autoDetach": "false",
    "submodule.recurse": "false",
}
_NONE: Final[Mapping[str, str]] = MappingProxyType({})
#: Says the token when git asks, and to nobody else: git hands this text to a shell, in which both are built in.
_HELPER: Final = (
    '!f() { test "$1" = get || exit 0; printf "%s\\n" "username=$TOKEN_USER" "password=$(cat -- "$TOKEN_FILE")"; }; f'
)


class GitFailed(ReconcilerError):
    """Git did not do what it was asked; the message is what it said, without a secret, on one line."""


class GitUnavailable(GitFailed):
    """Git could not be run, or was ended: which says nothing of what it was asked about."""


class GitCommand:
    """Runs git on one bare repository, for one address."""

    def __init__(self, folder: Path, address: Address, *, token_file: str, timeout_seconds: float) -> None:
        """Prepare the command.

        Args:
            folder: the bare repository.
            address: where fetches go, and nowhere else.
            token_file: a file that holds a token for an https address; empty for the user's own credential helpers.
            timeout_seconds: how long a fetch may take.
        """
        self._folder = folder
        self._address = address
        self._token_file = str(Path(token_file).absolute()) if token_file else ""
        self._timeout_seconds = timeout_seconds

    def ask(self, *arguments: str, stdin: bytes = b"", most_bytes: int = _ANSWER_BYTES) -> bytes:
        """Ask about what is here and return the answer. Nothing is fetched.

        Raises:
            GitFailed: git says no, takes too long, answers more than `most_bytes`, or is not there.
        """
        done = self.run(*arguments, stdin=stdin, most_bytes=most_bytes)
        if done.code != 0:
            raise GitFailed(self._said(done.said) or f"git ended with {done.code}")
        return done.answer

    def run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        most_bytes: int = _ANSWER_BYTES,
        settings: Mapping[str, str] = _NONE,
        environment: Mapping[str, str] = _NONE,
    ) -> Ended:
        """Run git on what is here and return how it ended.

        Raises:
            GitFailed: it takes too long, answers more than `most_bytes`, or is not there.
        """
        given = {**self.environment({**SAFELY, **settings}), **environment}
        try:
            return run_bounded(arguments, given, stdin=stdin, most_bytes=most_bytes)
        except OSError as error:
            raise GitUnavailable(_no_git(error)) from error
        except TooLong as error:
            raise GitFailed(f"git {arguments[0]} answers more than {most_bytes:,} bytes; see --path") from error
        except TookTooLong as error:
            raise GitUnavailable(f"git was killed, or took longer than {QUESTION_SECONDS} s") from error

    def fetch(self, *arguments: str, settings: Mapping[str, str], stop: threading.Event) -> None:
        """Run `git fetch`, the one that reaches out, until it ends, takes too long, or `stop` is set.

        Raises:
            GitFailed: it did not end well.
        """
        configured = {**SAFELY, **settings}
        extra: dict[str, str] = {"GIT_ALLOW_PROTOCOL": self._address.protocol}
        if self._token_file:
            # Bound to the address's own host: where a redirect leads, nobody hears the token.
            configured[f"credential.{self._address.origin}.helper"] = _HELPER
            extra |= {"TOKEN_FILE": self._token_file, "TOKEN_USER": self._address.user or "x-access-token"}
        elif self._address.protocol == "https" and self._address.user:
            configured[f"credential.{self._address.origin}.username"] = self._address.user
        environment = {**self.environment(configured, forget_helpers=bool(self._token_file)), **extra}
        self._attend("fetch", *arguments, environment=environment, stop=stop)

    def tend(self, *arguments: str, settings: Mapping[str, str], stop: threading.Event) -> None:
        """Run a git that works on what is here for as long as a fetch may take, until it ends or `stop` is set.

        Raises:
            GitFailed: it did not end well.
        """
        self._attend(*arguments, environment=self.environment({**SAFELY, **settings}), stop=stop)

    def _attend(self, *arguments: str, environment: Mapping[str, str], stop: threading.Event) -> None:
        try:
            done = run_attended(arguments, environment, seconds=self._timeout_seconds, stop=stop)
        except OSError as error:
            raise GitUnavailable(_no_git(error)) from error
        except TookTooLong as error:
            limit = f"it took longer than git_timeout_seconds allows ({self._timeout_seconds:g} s)"
            raise GitFailed(limit) from error
        if done is None:
            raise GitFailed("it was ended before its time")
        if done.code != 0:
            raise GitFailed(self._said(done.said) or f"git ended with {done.code}")

    def _said(self, stderr: bytes) -> str:
        """Return what git said, in a line: what a server or a helper said goes before git's own conclusion."""
        lines = [line.strip() for line in stderr.decode(errors="replace").splitlines()]
        telling = [
            line for line in lines if line and not line.startswith(("hint:", "Please make sure", "and the repository"))
        ]
        # A warning, such as of a server that knows no filters, is not why it failed.
        telling = [line for line in telling if not line.startswith("warning:")] or telling
        said = "; ".join(telling[:3])
        # ssh names whom it logged in as.
        return scrub(said.replace(f"{self._address.user}@", "") if self._address.user else said)

    def environment(self, settings: Mapping[str, str], *, forget_helpers: bool = False) -> dict[str, str]:
        """Return the environment in which git knows the mirror and these settings, beside the user's own.

        Args:
            settings: by their names; they win over those of any file.
            forget_helpers: whether the user's own credential helpers take no part for the address's host.
        """
        kept = {
            name: value
            for name, value in os.environ.items()
            if (name.startswith(_KEPT) or not name.startswith("GIT_"))
            and not is_withheld(name)
            and name not in _FOREIGN
        }
        pairs = list(settings.items())
        if forget_helpers:
            pairs.insert(0, (f"credential.{self._address.origin}.helper", ""))
        # After those that the user gave in this way, so that these win.
        count = kept.get("GIT_CONFIG_COUNT", "")
        first = int(count) if count.isascii() and count.isdigit() else 0
        configured = {"GIT_CONFIG_COUNT": str(first + len(pairs))}
        for index, (name, value) in enumerate(pairs, first):
            configured[f"GIT_CONFIG_KEY_{index}"] = name
            configured[f"GIT_CONFIG_VALUE_{index}"] = value
        return {
            **kept,
            **configured,
            # No protocol either: that goes before whatever the user's settings say of single ones.
            **QUIETLY,
            "GIT_DIR": str(self._folder),
            "SSH_ASKPASS_REQUIRE": "never",
        }


def _no_git(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no `git` command, which --git needs: install git"
    return f"git cannot be run: {error.strerror or type(error).__name__}"
