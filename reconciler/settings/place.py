"""Where the state is, the file and the folder that a state URL names; and where what can be made again is kept.

Light, because what is kept beside the state is asked for by commands that never open it. What must
never happen here: a URL in an error, since a password may stand in it.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from reconciler.model import SettingsError, StoreError
from reconciler.settings.files import check_inside, write_whole

#: What hides the folder from Git.
_IGNORED: Final = b"*\n"
_MIRRORS: Final = "mirrors"


def state_folder(url: str) -> Path:
    """Return the folder that the state is in, for what belongs beside it.

    Raises:
        StoreError: the URL is of another form.
    """
    return state_path(url).parent


def cache_folder(cache_dir: str, state: str) -> Path:
    """Return the folder for what can be made again: the setting `cache_dir`, or where it is empty that of the state.

    Raises:
        SettingsError: `cache_dir` is no path, or leads out of the working directory by a link.
        StoreError: it is empty, and the state URL is of another form.
    """
    if not cache_dir:
        return state_folder(state)
    if cache_dir.startswith("~"):
        raise SettingsError(f"cache_dir: {cache_dir} would be a folder of that name; only a shell reads ~ as your home")
    try:
        if not cache_dir.startswith("/"):
            check_inside(cache_dir)
        return Path(cache_dir).absolute()
    except FileNotFoundError:
        raise SettingsError(
            f"cache_dir: {cache_dir} is below the working directory, and that has been removed; name an absolute place"
        ) from None
    except (OSError, ValueError) as error:  # no path at all is a ValueError
        reason = (error.strerror if isinstance(error, OSError) else None) or "it is no path"
        raise SettingsError(f"cache_dir: {reason}") from None


def mirrors_folder(cache_dir: str, state: str) -> Path:
    """Return the folder for the mirrors of the one daemon that may write a state.

    A mirror has no lock of its own: whoever holds the state owns it. So daemons that have each a state of their own and
    share a `cache_dir` share no mirror.

    Raises:
        SettingsError: see `cache_folder`.
        StoreError: as well.
    """
    folder = cache_folder(cache_dir, state)
    if not cache_dir:
        return folder / _MIRRORS
    return folder / f"{_MIRRORS}-{hashlib.sha256(os.fsencode(state_path(state))).hexdigest()[:16]}"


def make_state_folder(folder: Path) -> None:
    """Make the folder for the state and for what belongs beside it, unless it is there: then it stays as it is.

    It and the folders above it that were missing are their owner's alone, and it hides itself from Git: what is kept in
    it is nobody's work.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    for place in reversed(missing):
        with suppress(FileExistsError):  # Another process was faster.
            place.mkdir(mode=0o700)
            place.chmod(0o700)  # Whatever the umask took away.
    if missing:
        write_whole(folder / ".gitignore", _IGNORED, mode=0o600)


def is_our_folder(folder: Path) -> bool:
    """Whether a folder was made by `make_state_folder` and is no volume: where it vanishes, it may be made again."""
    ignored = folder / ".gitignore"
    try:
        ours = ignored.is_file() and not ignored.is_symlink() and ignored.stat().st_size == len(_IGNORED)
        return ours and not folder.is_symlink() and not folder.is_mount()
    except OSError:
        return False


def exposed_folder(folder: Path) -> str:
    """Return why others could put a state of their own in the place of the one in a folder; empty where none can.

    The files are their owner's alone, but whoever may write the folder may replace them.
    """
    try:
        found = folder.stat()
    except OSError:
        return ""
    sticky = found.st_mode & stat.S_ISVTX
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky:
        return "others may write it"
    if found.st_uid not in (os.geteuid(), 0):
        return f"it belongs to another user ({found.st_uid})"
    return ""


def state_address(path: Path) -> str:
    """Return the state URL of a file by its absolute path: the same file wherever it is read."""
    return f"sqlite:///{quote(str(path.absolute()))}"


def state_path(url: str) -> Path:
    """Return the file that the state is in, there or not.

    Raises:
        StoreError: the URL is of another form, or leads out of the working directory by a link, or that is gone.
    """
    found = re.fullmatch(r"sqlite:///([^?#]*[^?#/])", url)
    path = unquote(found[1]) if found else ""
    if not path or path == ":memory:" or "\0" in path:
        # Never the URL itself: a password may stand in it.
        scheme = re.match(r"([a-z][a-z0-9+.-]{0,20})://", url, re.IGNORECASE)
        what = "the state URL is not usable"
        if scheme and scheme[1].lower() != "sqlite":
            what = f"a state URL that begins with {scheme[1]}:// is not supported"
        raise StoreError(f"{what}: write sqlite:///relative/path.db or sqlite:////absolute/path.db")
    try:
        if not path.startswith("/"):
            check_inside(path)  # the file itself may be a link as well
        # Absolute at once: the working directory may change.
        return Path(path).absolute()
    except FileNotFoundError:
        raise StoreError(
            f"the state is to be at {path}, below the working directory, and that has been removed; go to another one,"
            " or name an absolute place with --state"
        ) from None
    except OSError as error:
        raise StoreError(f"the state is to be at {path}: {error.strerror}") from error
