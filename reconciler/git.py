"""The user's own git, asked and never told: where a repository begins, what a commit holds, what its files say.

A repository's content is hostile input. Nothing in it may run: objects are read as they are stored, so no hook, filter,
smudge or textconv takes part, and nothing is fetched. What must never happen in this room: anything is written, to the
work tree, the index or the repository.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from reconciler.errors import ReconcilerError

#: A listing of a hundred thousand files takes a second; this only ends what hangs, as on a dead network mount.
_SECONDS: Final = 120
#: What a hook's environment says of the repository that it runs for; the one asked about here may be another.
_FOREIGN: Final = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
#: No watcher, no hook, no transport: a partial clone must not fetch what it lacks, nor ask anybody for a password.
_SAFELY: Final = (
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "protocol.allow=never",
    "--literal-pathspecs",
)


class Entry(NamedTuple):
    """One entry of a commit's tree, by its path from the root of the repository."""

    path: bytes
    #: Whether it is a file: no link, no submodule.
    is_file: bool
    id: str
    #: Bytes; 0 for what has none.
    size: int


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit, or the state before the first one."""

    #: The real path of the work tree's root.
    root: str
    #: Hexadecimal; None before the first commit.
    id: str | None


def ask(folder: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    """Run git in a folder and return what it says.

    Raises:
        OSError: there is no git, or no such folder.
        subprocess.SubprocessError: git says no, or takes too long.
    """
    kept = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    done = subprocess.run(  # noqa: S603 - a fixed program, no shell, revisions and paths where options cannot be
        ["git", *_SAFELY, *arguments],  # noqa: S607 - the user's git
        cwd=folder,
        input=stdin,
        capture_output=True,
        check=True,
        timeout=_SECONDS,
        env={**kept, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_REPLACE_OBJECTS": "1"},
    )
    return done.stdout


def find_commit(folder: Path, reference: str) -> Commit:
    """Return the commit that a reference names in the repository that a folder belongs to.

    `HEAD` before the first commit is a commit without content.

    Raises:
        ReconcilerError: no git, no repository, or no such commit; the message says what helps.
    """
    root = os.fsdecode(_ask_or_explain(folder, "rev-parse", "--show-toplevel").removesuffix(b"\n"))
    found = _verified(folder, reference)
    if found is None and reference == "HEAD" and _is_unborn(folder):
        return Commit(root, None)
    if found is None:
        remote = f"origin/{reference}"
        hint = (
            f"did you mean `{remote}`?"
            if _verified(folder, remote)
            else "a shallow clone lacks it: fetch it first, as by `git fetch origin BRANCH`, or clone with more depth"
        )
        raise ReconcilerError(f"`{reference[:200]}` names no commit in {root}; {hint}")
    return Commit(root, found)


def _verified(folder: Path, reference: str) -> str | None:
    try:
        said = ask(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{reference}^{{commit}}")
    except (OSError, ValueError, subprocess.SubprocessError):
        return None  # a null byte is a ValueError
    return said.decode().strip()


def _is_unborn(folder: Path) -> bool:
    """Return whether `HEAD` is a branch that has no commit yet."""
    try:
        return bool(ask(folder, "symbolic-ref", "--quiet", "HEAD"))
    except (OSError, subprocess.SubprocessError):
        return False


def list_entries(commit: Commit, paths: Sequence[str]) -> list[Entry]:
    """Return all that a commit holds at and below some paths.

    Args:
        commit: of `find_commit`.
        paths: files or folders from the root of the repository; an empty one for all.

    Raises:
        ReconcilerError: the tree cannot be read.
    """
    if commit.id is None:
        return []
    only = [] if "" in paths else paths
    said = _ask_or_explain(Path(commit.root), "ls-tree", "-rlz", "--full-tree", commit.id, "--", *only)
    entries = []
    for line in said.split(b"\0")[:-1]:
        about, _, path = line.partition(b"\t")
        mode, _, identifier, size = about.split()
        entries.append(Entry(path, mode.startswith(b"100"), identifier.decode(), int(size) if size.isdigit() else 0))
    return entries


def read_blobs(commit: Commit, identifiers: Sequence[str]) -> Iterator[bytes]:
    """Yield the content of blobs, in their order.

    Raises:
        ReconcilerError: one of them is not here, as in a partial clone.
    """
    if not identifiers:
        return
    asked = "".join(f"{identifier}\n" for identifier in identifiers).encode()
    said = _ask_or_explain(Path(commit.root), "cat-file", "--batch", stdin=asked)
    at = 0
    for identifier in identifiers:
        end = said.index(b"\n", at)
        words = said[at:end].split()
        if len(words) != 3:
            raise ReconcilerError(
                f"the repository {commit.root} lacks the object {identifier}, as a partial clone may; fetch it first"
            )
        at = end + 1 + int(words[2])
        yield said[end + 1 : at]
        at += 1


def _ask_or_explain(folder: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    try:
        return ask(folder, *arguments, stdin=stdin)
    except FileNotFoundError as error:
        raise ReconcilerError("there is no `git` command, which --base needs: install git") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        # Its first line says what is wrong, as where the repository belongs to somebody else.
        why = "".join(character for character in said[0][:300] if character.isprintable()) if said else "no reason"
        raise ReconcilerError(f"git cannot read the repository of {folder}: {why}") from error
    except (OSError, subprocess.SubprocessError) as error:
        raise ReconcilerError(f"git cannot read the repository of {folder}: {type(error).__name__}") from error
