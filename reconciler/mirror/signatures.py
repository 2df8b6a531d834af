"""Whose signature a commit must carry before it may change anything.

Git's exit code alone is the verdict: what it prints is for people. What must never happen in this room: a key that was
not named here is trusted, because the user or the machine happens to know it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from reconciler.errors import SettingsError
from reconciler.mirror.repository import Mirror
from reconciler.scrub import scrub

Mode = Literal["off", "warn", "enforce"]
Scope = Literal["all", "tip"]

#: A key is imported in milliseconds.
_GPG_SECONDS: Final = 30


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of looking at one commit's signature."""

    commit: str
    good: bool
    #: What git said of it, on one line.
    said: str


class Verifier:
    """Judges commits by the keys in a file of allowed signers, in a GPG keyring, or in either."""

    def __init__(self, mode: Mode, scope: Scope, *, allowed_signers: str, gpg_keyring: str, home: Path) -> None:
        """Take the settings.

        Args:
            mode: whether signatures are looked at, and whether they decide.
            scope: all commits since the revision in force, or only the newest.
            allowed_signers: a file as ssh-keygen(1) describes it; empty for none.
            gpg_keyring: a file of public keys, as `gpg --export` writes it; empty for none.
            home: a folder for gpg's own files; made when it is needed.

        Raises:
            SettingsError: no key is named though signatures are to be looked at, or a file is not there.
        """
        if mode != "off" and not (allowed_signers or gpg_keyring):
            raise SettingsError(
                f"verify: {mode} needs the keys that may sign: name them with --allowed-signers or --gpg-keyring"
            )
        self.mode: Final = mode
        self.scope: Final = scope
        self._files = {
            name: Path(path).absolute()
            for name, path in (("allowed_signers", allowed_signers), ("gpg_keyring", gpg_keyring))
            if path and mode != "off"
        }
        self._home = home.absolute()
        self._known: dict[str, Verdict] = {}
        self._known_by: tuple[tuple[int, ...], ...] = ()
        self._stamps()

    def judge(self, mirror: Mirror, commits: Sequence[str]) -> list[Verdict]:
        """Look at each commit's signature; what was found before still holds while the keys are the same.

        Raises:
            SettingsError: a file of keys cannot be read now.
            GitFailed: git cannot be run.
        """
        stamps = self._stamps()
        if stamps != self._known_by:
            self._known_by, self._known = (), {}
            self._import_keyring()
            self._known_by = stamps
        settings = {
            "gpg.minTrustLevel": "undefined",
            "gpg.openpgp.program": "gpg",
            "gpg.program": "gpg",
            "gpg.ssh.allowedSignersFile": str(self._files.get("allowed_signers", os.devnull)),
            "gpg.ssh.program": "ssh-keygen",
            "gpg.x509.program": "false",
        }
        for commit in commits:
            if commit not in self._known:
                good, said = mirror.verify(commit, settings, {"GNUPGHOME": str(self._home)})
                self._known[commit] = Verdict(commit, good, _first_line(said) if good else _reason(said))
        self._known = {commit: self._known[commit] for commit in commits}
        return list(self._known.values())

    def _stamps(self) -> tuple[tuple[int, ...], ...]:
        stamps = []
        for name, path in self._files.items():
            try:
                with path.open("rb") as file:
                    status = os.fstat(file.fileno())
            except OSError as error:
                raise SettingsError(f"{name}: {path} cannot be read: {error.strerror}") from None
            stamps.append((status.st_mtime_ns, status.st_ino, status.st_size))
        return tuple(stamps)

    def _import_keyring(self) -> None:
        """Make gpg's folder anew, with the named keys and no others; without any, so that it knows no key at all."""
        for path in self._home.glob("*") if self._home.is_dir() else ():
            if path.is_file():
                path.unlink()
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        keyring = self._files.get("gpg_keyring")
        if keyring is None:
            return
        command = [
            "gpg",
            "--batch",
            "--quiet",
            "--no-autostart",
            "--homedir",
            str(self._home),
            "--import",
            str(keyring),
        ]
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=_GPG_SECONDS)  # noqa: S603 - no shell
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SettingsError(f"gpg_keyring: gpg cannot be run: {type(error).__name__}; install gnupg") from error
        if done.returncode != 0:
            said = _first_line(done.stderr.decode(errors="replace"))
            raise SettingsError(f"gpg_keyring: gpg cannot import {keyring}: {said}")


def _reason(said: str) -> str:
    """Return why a commit is not good: git calls a signature good, too, whose key may not sign."""
    line = _first_line(said)
    return f"signed by a key that may not sign: {line}" if line.startswith("Good") else line or "no signature"


def _first_line(said: str) -> str:
    """Return what git or gpg said, as one line that may be shown."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    # Of gpg the line with the key or the reason; "Signature made ..." comes before it.
    telling = [line for line in lines if "Good" in line or "BAD" in line or "No p" in line or "expired" in line]
    return scrub("; ".join((telling or lines)[:2]))
