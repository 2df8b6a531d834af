"""Whose signature a commit must carry before it may change anything.

Git's exit code alone is the verdict: what it prints is for people. What must never happen in this room: a key that was
not named here is trusted, because the user or the machine happens to know it.
"""

from __future__ import annotations

import os
import re
import tempfile
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from reconciler.git.ask import TookTooLong, run_tool
from reconciler.git.mirror.repository import Mirror
from reconciler.model import SettingsError
from reconciler.settings import read_regular, stamp_of
from reconciler.telemetry import scrub

Mode = Literal["off", "warn", "enforce"]
Scope = Literal["all", "tip"]

#: A key is imported, and a file of signers read, in milliseconds.
_TOOL_SECONDS: Final = 30
#: The largest file of allowed signers that is read, in bytes.
_SIGNERS_BYTES: Final = 4 * 1024 * 1024


def _string(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


#: A signature in the form of OpenSSH's PROTOCOL.sshsig, by a key of zeros: it signs nothing and is in no file.
_NOBODYS_SIGNATURE: Final = (
    b"-----BEGIN SSH SIGNATURE-----\n"
    + b64encode(
        b"SSHSIG\0\0\0\1"
        + _string(_string(b"ssh-ed25519") + _string(bytes(32)))
        + b"".join(map(_string, (b"git", b"", b"sha512")))
        + _string(_string(b"ssh-ed25519") + _string(bytes(64)))
    )
    + b"\n-----END SSH SIGNATURE-----\n"
)


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
            SettingsError: no key is named though signatures are to be looked at, a file is not there, or that of the
                allowed signers names nobody or cannot be read by ssh-keygen.
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
        self._check_signers()

    def judge(self, mirror: Mirror, commits: Sequence[str]) -> list[Verdict]:
        """Look at each commit's signature; what was found before still holds while the keys are the same.

        Raises:
            SettingsError: a file of keys cannot be read now, or names nobody.
            GitFailed: git cannot be run.
        """
        stamps = self._stamps()
        if stamps != self._known_by:
            self._known_by, self._known = (), {}
            self._check_signers()
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
                stamps.append(stamp_of(path))
            except OSError as error:
                raise SettingsError(f"{name}: {path} cannot be read: {error.strerror}") from None
        return tuple(stamps)

    def _check_signers(self) -> None:
        """Refuse a file in which nobody is named, or an entry is none: everybody's signature would be "unknown"."""
        path = self._files.get("allowed_signers")
        if path is None:
            return
        form = "an entry is a line such as `ada@example.org ssh-ed25519 AAAAC3...`, see ssh-keygen(1)"
        try:
            data = read_regular(path, _SIGNERS_BYTES)
        except OSError as error:
            raise SettingsError(f"allowed_signers: {path} cannot be read: {error.strerror}") from None
        if b"\0" in data:
            raise SettingsError(f"allowed_signers: {path} is no text; {form}")
        lines = [line.strip() for line in data.split(b"\n")]
        if all(not line or line.startswith(b"#") for line in lines):
            raise SettingsError(f"allowed_signers: {path} names nobody; {form}")
        for number, why in _complaints(path):
            # Some versions complain of empty lines, which mean nothing.
            if 0 < number <= len(lines) and lines[number - 1]:
                raise SettingsError(f"allowed_signers: {path}:{number}: ssh-keygen cannot read it: {why}; {form}")

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
            done = run_tool(command, _TOOL_SECONDS)
        except (OSError, TookTooLong) as error:
            raise SettingsError(f"gpg_keyring: gpg cannot be run: {_why(error)}; install gnupg") from error
        if done.code != 0:
            said = _first_line(done.said.decode(errors="replace"))
            raise SettingsError(f"gpg_keyring: gpg cannot import {keyring}: {said}")


def _complaints(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a file of allowed signers that ssh-keygen cannot read, and why.

    It reads the file to its end when it is asked who may sign with a key that nobody has, as git asks it.

    Raises:
        SettingsError: it cannot be run.
    """
    with tempfile.NamedTemporaryFile(suffix=".sig") as signature:
        signature.write(_NOBODYS_SIGNATURE)
        signature.flush()
        command = ["ssh-keygen", "-Y", "find-principals", "-f", str(path), "-s", signature.name]
        try:
            done = run_tool(command, _TOOL_SECONDS)
        except (OSError, TookTooLong) as error:
            why = f"ssh-keygen cannot be run: {_why(error)}; install the client of OpenSSH"
            raise SettingsError(f"allowed_signers: {why}") from error
    said = done.said.decode(errors="replace")
    return [
        (int(number), scrub(why.strip())) for number, why in re.findall(r"^.*:(\d{1,9}): (.+)$", said, re.MULTILINE)
    ]


def _why(error: Exception) -> str:
    """Return why a program could not be run."""
    return "it took too long" if isinstance(error, TookTooLong) else type(error).__name__


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
