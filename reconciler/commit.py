"""Commit one file with the user's own git: their name, their signature, their hooks.

What must never happen in this room: anything is committed besides the one change to the one file, whatever else is
edited or staged there.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from reconciler.errors import ReconcilerError

#: A question to git about one file is answered at once; what takes so long waits for something that will not come.
_SECONDS: Final = 30.0


def check_committable(file: str) -> None:
    """Make sure that a commit of this file would hold nothing but the edit that is about to be made.

    Raises:
        ReconcilerError: the file is in no repository, is not tracked, or has edits that are not committed.
    """
    path = Path(file).resolve()
    tracked = _ask(path, "ls-files", "--error-unmatch", "--", path.name)
    if tracked.returncode != 0:
        said = tracked.stderr.decode(errors="replace").strip().splitlines()
        raise ReconcilerError(
            f"{file} cannot be committed: git does not know it ({said[-1] if said else 'no reason given'});"
            " add it first, or leave out --commit"
        )
    changed = _ask(path, "status", "--porcelain", "--", path.name)
    if changed.returncode != 0 or changed.stdout.strip():
        raise ReconcilerError(
            f"{file} has edits that are not committed, which --commit would take along; commit or stash them first,"
            " or leave out --commit"
        )


def commit_file(file: str, message: str) -> str:
    """Commit the change to one file, and only that, and return the new commit's short name.

    What git and its hooks have to say goes to standard error; they may ask for a passphrase on the terminal.

    Raises:
        ReconcilerError: git refused; the file stays edited.
    """
    path = Path(file).resolve()
    command = _command("commit", "--quiet", f"--message={message}", "--", path.name)
    try:
        # By its number: standard output is for data, and a hook may write anything.
        done = subprocess.run(command, cwd=path.parent, stdout=2, check=False)  # noqa: S603 - no shell, paths after `--`
        if done.returncode == 0:
            return _ask(path, "rev-parse", "--short", "HEAD").stdout.decode(errors="replace").strip()
    except OSError as error:
        raise ReconcilerError(f"git cannot be run: {error.strerror}; {file} is edited and not committed") from error
    raise ReconcilerError(f"git did not commit (it ended with {done.returncode}); {file} is edited and not committed")


def _ask(path: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(  # noqa: S603 - no shell, paths after `--`
            _command(*arguments), cwd=path.parent, capture_output=True, check=False, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ReconcilerError(f"git cannot be asked about {path.name}: {type(error).__name__}") from error


def _command(*arguments: str) -> Sequence[str]:
    # A file's name is a name, never a pattern.
    return ["git", "--literal-pathspecs", *arguments]
