"""Where a Git repository is: which addresses are taken, and how one is shown.

Pure text. What must never happen in this room: a secret that is part of an address is passed on, to a process list, a
log or the state; a protocol that runs a program or sends unencrypted is taken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import SplitResult, unquote, urlsplit

from reconciler.model import SettingsError

Protocol = Literal["https", "ssh", "file"]

#: What Git takes for `[user@]host:path`: a colon before the first slash.
_SHORT: Final = re.compile(
    r"(?:(?P<user>[^@/:]+)@)?(?P<host>[A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\]):(?P<path>[^:-].*)"
)
_INSTEAD: Final = {
    "file": "name the folder by its path",
    "http": "use https://, since http:// is neither encrypted nor signed",
    "git": "use https:// or ssh://, since git:// is neither encrypted nor signed",
}


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a repository, without anything that must not be shown."""

    #: What Git is given.
    url: str
    #: What people are shown.
    shown: str
    protocol: Protocol
    #: Scheme, host and port of an https address, which a token is bound to; empty elsewhere.
    origin: str = ""
    #: The user name; of an https address Git asks the credential helpers for this user's password.
    user: str = ""


def parse_address(text: str) -> Address:
    """Return the address that a person gave: `https://`, `ssh://`, `[user@]host:path`, or the path of a folder here.

    Raises:
        SettingsError: it is none of these, or holds a password.
    """
    if not text or text.startswith("-") or not text.isprintable():
        raise SettingsError("git: this is no address of a repository")
    if "://" in text:
        return _parse_url(text)
    head, _, _ = text.partition("/")
    if ":" in head:
        # In brackets an address of IPv6 may stand, and nowhere else two colons: they would name a program.
        short = None if "::" in re.sub(r"\[[0-9A-Fa-f:.]+\]", "", head) else _SHORT.fullmatch(text)
        if short is None:
            raise SettingsError(f"git: {_NONE}")
        return Address(text, f"{short['host']}:{short['path']}", "ssh", user=short["user"] or "")
    path = str(Path(text).absolute())
    return Address(path, path, "file")


_NONE: Final = "an address is https://..., ssh://..., user@host:path, or the path of a folder on this machine"


def _parse_url(text: str) -> Address:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise SettingsError(f"git: {_NONE}") from None
    if parts.scheme not in ("https", "ssh"):
        raise SettingsError(f"git: {_INSTEAD.get(parts.scheme, _NONE)}")
    user = unquote(parts.username or "")
    if parts.password is not None or ":" in user:
        raise SettingsError(
            "git: the address holds a password, which a process list would show: take it out, and name a file that"
            " holds it with --git-token-file, or give it to one of Git's credential helpers"
        )
    # ssh would take for an option what begins with a dash.
    dashed = user.startswith("-") or (parts.hostname or "").startswith("-") or not user.isprintable()
    if parts.query or parts.fragment or not parts.hostname or not parts.path.strip("/") or dashed:
        raise SettingsError(f"git: {_NONE}")
    host = _host(parts, port)
    shown = f"{parts.scheme}://{host}{parts.path}"
    if parts.scheme == "ssh":
        return Address(text, shown, "ssh", user=user)
    return Address(shown, shown, "https", f"https://{host}", user)


def _host(parts: SplitResult, port: int | None) -> str:
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    return host if port is None else f"{host}:{port}"
