"""Commit one file with the user's own git: their name, their signature, their hooks.

What must never happen in this room: anything is committed besides the one change to the one file, whatever else is
edited or staged there; a file is edited whose commit git would refuse, where that can be told beforehand.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from reconciler.git.ask import GitError, check_version, run_before_the_user
from reconciler.git.blobs import is_same
from reconciler.git.content import list_index, list_tree, resolve
from reconciler.git.repositories import Location, Repository, locations
from reconciler.model import ReconcilerError
from reconciler.settings import read_regular

#: While one of these is there, git commits all that is staged or nothing.
_UNDER_WAY = {"MERGE_HEAD": "a merge", "CHERRY_PICK_HEAD": "a cherry-pick or a rebase"}


def check_committable(file: str, most_bytes: int) -> None:
    """Make sure that a commit of this file would hold nothing but the edit that is about to be made.

    Args:
        file: its path; a link is followed.
        most_bytes: the largest size of a file that is read.

    Raises:
        ReconcilerError: the file is in no repository, is not tracked, or has edits that are not committed; or git would
            refuse to commit it alone.
    """
    location = _locate(file)
    repository, path = location.repository, location.path
    _check_work_tree(repository, file)
    for name, what in _UNDER_WAY.items():
        if resolve(repository, name) is not None:
            raise ReconcilerError(
                f"{file} cannot be committed by itself while {what} is under way; end that first, or leave out --commit"
            )
    # A capital letter, but S: neither assumed to be unchanged, nor left out of a sparse checkout.
    if not repository.ask("ls-files", "-v", "-z", "--", path).startswith(b"H"):
        raise ReconcilerError(
            f"{file} cannot be committed: git was told not to look at it (skip-worktree, as of a sparse checkout, or"
            f" assume-unchanged); undo that by `git update-index --no-skip-worktree --no-assume-unchanged {path}`, or"
            " leave out --commit"
        )
    if not _is_as_committed(location, file, most_bytes):
        raise ReconcilerError(
            f"{file} has edits that are not committed, which --commit would take along; commit or stash them first,"
            " or leave out --commit"
        )


def _locate(file: str) -> Location:
    """Return where the repository is that tracks a file; the outermost, so that no content answers in its place."""
    try:
        for location in reversed(list(locations(os.path.realpath(file)))):
            entries = list_index(location.repository, location.path)
            if any(entry.path == location.path and entry.is_file for entry in entries):
                return location
    except GitError as error:
        raise ReconcilerError(f"{file} cannot be committed: {error}; or leave out --commit") from error
    raise ReconcilerError(f"{file} cannot be committed: git does not know it; add it first, or leave out --commit")


def _check_work_tree(repository: Repository, file: str) -> None:
    said = os.fsdecode(repository.ask("rev-parse", "--show-toplevel").removesuffix(b"\n"))
    if os.path.realpath(said) != repository.root:
        raise ReconcilerError(
            f"{file} cannot be committed: the repository in {repository.root} says that its files are in {said}"
            " (core.worktree); leave out --commit"
        )


def _is_as_committed(location: Location, file: str, most_bytes: int) -> bool:
    """Return whether a file is in the work tree, the index and the last commit alike, line ends aside."""
    repository, path = location.repository, location.path
    (staged,) = list_index(repository, path)
    head = resolve(repository, "HEAD")
    if head is None or list_tree(repository, head, path, below=False) != [staged]:
        return False
    try:
        mode = Path(file).stat().st_mode
        if not is_same(read_regular(file, most_bytes), staged.id):
            return False
    except OSError as error:
        raise ReconcilerError(f"{file} cannot be read: {error.strerror}") from error
    if bool(mode & stat.S_IXUSR) == bool(staged.mode & stat.S_IXUSR):
        return True
    try:
        return repository.ask("config", "--type=bool", "--get", "core.fileMode").strip() == b"false"
    except GitError:
        return False  # it is not said, and then counts


def commit_file(file: str, message: str) -> str:
    """Commit the change to one file, and only that, and return the new commit's short name.

    What git and its hooks have to say goes to standard error; they may ask for a passphrase on the terminal.

    Raises:
        ReconcilerError: git refused; the file stays edited.
    """
    location = _locate(file)
    repository = location.repository
    check_version()
    command = ["commit", "--quiet", f"--message={message}", "--", location.path]
    try:
        code = run_before_the_user(command, repository.environment(), folder=repository.root)
    except OSError as error:
        raise ReconcilerError(f"git cannot be run: {error.strerror}; {file} is edited and not committed") from error
    if code == 0:
        return repository.ask("rev-parse", "--short", "HEAD").decode(errors="replace").strip()
    raise ReconcilerError(f"git did not commit (it ended with {code}); {file} is edited and not committed")
