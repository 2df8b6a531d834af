"""The access keys to the API, and the tokens: which variable or file holds them, and what cannot be one.

What must never happen here: a key or a token in an error or a representation, not even one that somebody wrote in place
of the name of a file; a look for one that waits, as opening a FIFO does, since it would hold up the event loop and with
it every pause and every signal.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from reconciler.model import SettingsError
from reconciler.settings.files import read_regular

KEY_VARIABLE: Final = "BIRD_ACCESS_KEY"
KEY_FILE_VARIABLE: Final = "BIRD_ACCESS_KEY_FILE"

#: The shortest token that is taken: fewer characters could be found by trying.
TOKEN_CHARACTERS: Final = 16
#: How many keys of one file stay hidden in words: the present one, and those before it, which an answer that is still
#: under way may quote.
_REMEMBERED: Final = 4


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where a workspace's key is found: the name of a variable or of a file, never the key."""

    variable: str | None = None
    file: str | None = None


class KeyRing:
    """Finds the access key of a workspace.

    Neither its text nor an error of its own holds a key, not even where somebody wrote the key itself in place of the
    name of a variable or file: errors say which setting gave the name, and not the name.
    """

    def __init__(self, environment: Mapping[str, str], workspaces: Mapping[str, KeySource] | None = None) -> None:
        self._environment = environment
        #: For the workspaces that have a key of their own, where it is.
        self.workspaces: Final = workspaces or {}
        #: What each key file held when it was last read, and what told that it had not changed since.
        self._files: dict[str, tuple[tuple[int, int, int], str]] = {}
        #: The keys that files have held, the newest last.
        self._handed_out: dict[str, list[str]] = {}
        self._all_read = False

    def __repr__(self) -> str:
        return f"KeyRing({len(self.workspaces)} workspaces with a key of their own)"

    def key_for(self, workspace_id: str) -> str:
        """Return the key for a workspace. A key file is read again when it has changed.

        Raises:
            SettingsError: there is none, or it cannot be one.
        """
        source = self.workspaces.get(workspace_id)
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
        """Return the keys that can be found, for the walls that must let none through.

        It is asked for each line of a log, so files are read for it the first time only. A key that comes later is
        known from the moment that anybody gets it from here, and before that no text can hold it.
        """
        if not self._all_read:
            self._all_read = True
            for workspace_id in ("", *self.workspaces):
                try:
                    self.key_for(workspace_id)
                except SettingsError:
                    pass  # what is no key was never sent, and is said where it is asked for
        return [*self._of_variables(), *(key for keys in self._handed_out.values() for key in keys)]

    def _of_variables(self) -> Iterator[str]:
        for name in (KEY_VARIABLE, *(source.variable for source in self.workspaces.values() if source.variable)):
            try:
                yield _checked(self._environment.get(name, ""), name)
            except SettingsError:
                pass  # as above

    def _read(self, path: str, origin: str) -> str:
        try:
            status = os.stat(path)  # noqa: PTH116 - what was given for a path may be a key, or no path at all
            stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
            known = self._files.get(path)
            if known is None or known[0] != stamp:
                known = (stamp, _decoded(read_regular(path)))
                self._files[path] = known
        except (OSError, ValueError) as error:  # not UTF-8, or a path that cannot be one, is a ValueError
            also = f", or the access key into {KEY_VARIABLE}" if _is_no_file(error) else ""
            raise SettingsError(f"{origin} cannot be read: {_reason(error)}{also}") from None
        key = _checked(known[1], origin)
        handed_out = self._handed_out.setdefault(path, [])
        if key not in handed_out:
            self._handed_out[path] = [*handed_out, key][-_REMEMBERED:]
        return key


def read_token(path: str, setting: str = "token_file") -> str:
    """Return the token of the file that a setting names.

    Raises:
        SettingsError: it cannot be read, or is not of `TOKEN_CHARACTERS` or more printable ASCII characters.
    """
    try:
        token = _decoded(read_regular(path)).strip()
    except (OSError, ValueError) as error:  # not UTF-8, or a path that cannot be one, is a ValueError
        raise SettingsError(f"{setting}: the file cannot be read: {_reason(error)}") from None
    if len(token) < TOKEN_CHARACTERS or not token.isascii() or not token.isprintable() or " " in token:
        raise SettingsError(
            f"{setting}: a token has {TOKEN_CHARACTERS} or more printable characters and no space; make one with"
            " `openssl rand -hex 32`"
        )
    return token


class _ByteOrderMark(ValueError):
    """The file begins with a mark that some editors write and no header can carry."""


def _decoded(data: bytes) -> str:
    """Return the text of a small file.

    Raises:
        ValueError: it is not UTF-8, or begins with a byte order mark.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _ByteOrderMark("it begins with the byte order mark of UTF-16; save it as UTF-8 without one")
    if data.startswith(b"\xef\xbb\xbf"):
        raise _ByteOrderMark("it begins with a byte order mark, as some editors write it; save it as UTF-8 without one")
    return data.decode()


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


def _reason(error: OSError | ValueError) -> str:
    """Return why a file cannot be read, without its path: what was given for one may be a key by mistake."""
    if isinstance(error, _ByteOrderMark):
        return str(error)
    if _is_no_file(error):
        # As a shell's <(...) is, too: it can be read once, and a key is read again whenever it may have changed.
        return "it is not a regular file; a pipe can be read only once, so put what it would give into a file"
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


def _is_no_file(error: OSError | ValueError) -> bool:
    return isinstance(error, OSError) and error.errno == errno.EINVAL
