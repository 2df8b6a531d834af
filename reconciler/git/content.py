"""What a repository holds: commits, the entries of their trees and of the index, and blobs, as they are stored.

What must never happen in this room: a name that git would take for an option or a pattern; a blob that is larger than
anybody asked for is read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from reconciler.git.ask import GitError
from reconciler.git.repositories import LacksObjects, Repository
from reconciler.model import Revision
from reconciler.telemetry import scrub, visible

#: How much of blobs is read in one go.
_CHUNK_BYTES: Final = 32 * 1024 * 1024
#: Of an author or a subject, as much as a line can hold.
_TEXT_CHARACTERS: Final = 200
#: The latest second that a date of ours can be.
_LAST_SECOND: Final = 253_402_300_799


class Entry(NamedTuple):
    """One entry of a tree or of the index."""

    #: From where the listing begins: the root, or the folder whose tree alone was read.
    path: str
    #: The type and permission bits, as `stat` has them; those of a submodule are none that `stat` knows.
    mode: int
    #: Of the blob, hexadecimal; of a submodule its commit.
    id: str

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.mode)

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_submodule(self) -> bool:
        return self.mode == 0o160000


def resolve(repository: Repository, reference: str) -> str | None:
    """Return the commit that a reference names, hexadecimal; None where it names none.

    Raises:
        GitError: git cannot be asked.
    """
    if not reference or "\0" in reference:
        return None
    try:
        said = repository.ask("rev-parse", "--verify", "--quiet", "--end-of-options", f"{reference}^{{commit}}")
    except GitError:
        repository.ask("rev-parse", "--git-dir")  # raises where nothing at all can be asked
        return None
    return said.decode().strip()


def is_shallow(repository: Repository) -> bool:
    """Return whether a clone leaves out history, and so may lack a commit that its origin has."""
    try:
        return repository.ask("rev-parse", "--is-shallow-repository").strip() == b"true"
    except GitError:
        return False


def is_unborn(repository: Repository) -> bool:
    """Return whether `HEAD` is a branch that has no commit yet."""
    try:
        return bool(repository.ask("symbolic-ref", "--quiet", "HEAD"))
    except GitError:
        return False


def merge_base(repository: Repository, one: str, other: str) -> str | None:
    """Return where the histories of two commits meet; None where they do not, or not as far as they are here."""
    try:
        return repository.ask("merge-base", one, other).decode().strip()
    except GitError:
        return None


def list_unwatched(repository: Repository, paths: Sequence[str]) -> dict[str, str]:
    """Return the files below some paths of which git was told not to look at the work tree, from the root.

    Returns:
        Their tags: `S` for one that a sparse checkout leaves out (skip-worktree), another letter where it is assumed to
        be unchanged.

    Raises:
        GitError: the index cannot be read.
    """
    said = repository.ask("ls-files", "-v", "-z", "--", *(path for path in paths if path))
    lines = (line for line in said.split(b"\0")[:-1] if not line.startswith((b"H", b"M")))
    return {os.fsdecode(line[2:]): chr(line[0]) for line in lines}


def may_leave_out(repository: Repository, paths: Sequence[str]) -> bool:
    """Return whether the index holds a submodule, or a file that git was told not to look at, below some paths.

    Raises:
        GitError: the index cannot be read.
    """
    said = repository.ask("ls-files", "--stage", "-v", "-z", "--", *(path for path in paths if path))
    # Each entry begins with its tag and its mode.
    return any(not entry.startswith((b"H 1006", b"H 1007", b"H 120")) for entry in said.split(b"\0")[:-1])


def index_of(repository: Repository) -> str:
    """Return where the index of a repository is.

    Raises:
        GitError: git cannot be asked.
    """
    said = os.fsdecode(repository.ask("rev-parse", "--git-path", "index").removesuffix(b"\n"))
    return os.path.join(repository.root, said)


def list_addable(repository: Repository, paths: Sequence[str]) -> set[str]:
    """Return the files below some paths that git does not know and does not ignore, from the root.

    Another repository in there is one entry, which ends with a slash.

    Raises:
        GitError: git cannot be asked.
    """
    options = ("--others", "--exclude-standard", "-z", "--")
    said = repository.ask("ls-files", *options, *(path for path in paths if path))
    return {os.fsdecode(name) for name in said.split(b"\0")[:-1]}


def describe(repository: Repository, commit: str) -> Revision:
    """Return whose commit it is and what it says of itself, as it is stored: nothing is run to judge it.

    Raises:
        GitError: it cannot be read.
    """
    return revision_from(commit, repository.ask("cat-file", "commit", commit))


def revision_from(commit: str, raw: bytes) -> Revision:
    """Return whose commit it is and what it says of itself.

    Args:
        commit: its ID, hexadecimal.
        raw: as it is stored, or the beginning of it. Whoever makes a commit may write anything there.
    """
    author, _, _ = header_field(raw, b"author ").partition(b"> ")
    subject, _, _ = raw.partition(b"\n\n")[2].lstrip().partition(b"\n")
    return Revision(commit, _line(author + b">"), _line(subject), datetime.fromtimestamp(committed_at(raw), UTC))


def committed_at(raw: bytes) -> int:
    """Return when a commit was made, as its committer says, in seconds since 1970; 0 where that is no time."""
    said = header_field(raw, b"committer ").rpartition(b"> ")[2].partition(b" ")[0]
    return min(int(said), _LAST_SECOND) if said.isdigit() and len(said) < 20 else 0


def header_field(raw: bytes, name: bytes) -> bytes:
    """Return what the first line of a commit's header that begins with a name says; `? <> 0 +0000` without one."""
    head, _, _ = raw.partition(b"\n\n")
    return next((line[len(name) :] for line in head.split(b"\n") if line.startswith(name)), b"? <> 0 +0000")


def _line(text: bytes) -> str:
    """Return foreign text as one line that a terminal, a log and the state can hold."""
    return visible(scrub(text.decode(errors="replace").strip()))[:_TEXT_CHARACTERS]


def list_tree(repository: Repository, commit: str, path: str, *, below: bool) -> list[Entry]:
    """Return what stands at a path in a commit's tree, or all files, links and submodules below it.

    Args:
        repository: that holds the commit.
        commit: hexadecimal.
        path: from the root; empty for the root, below which alone can be asked.
        below: whether a folder's content is wanted, or the entry itself.

    Raises:
        GitError: the tree cannot be read, as where a partial clone lacks it.
    """
    options = ("-r",) if below else ()
    said = repository.ask("ls-tree", *options, "-z", "--full-tree", commit, "--", *([path] if path else []))
    return entries_from(said)


def entries_from(listing: bytes) -> list[Entry]:
    """Return the entries that `git ls-tree -z` lists."""
    entries = []
    for line in listing.split(b"\0")[:-1]:
        about, _, name = line.partition(b"\t")
        mode, _, identifier = about.split()
        entries.append(Entry(os.fsdecode(name), int(mode, 8), identifier.decode()))
    return entries


def list_raw(repository: Repository, commit: str, path: str) -> list[str]:
    """Return all that a commit holds below a path, each as a line of `git ls-tree`: a value for each takes longer.

    Raises:
        GitError: the tree cannot be read.
    """
    said = repository.ask("ls-tree", "-r", "-z", "--full-tree", commit, "--", *([path] if path else []))
    return os.fsdecode(said).split("\0")[:-1]


def list_index(repository: Repository, path: str) -> list[Entry]:
    """Return what the index holds at a path or below it.

    Raises:
        GitError: it cannot be read, or holds conflicts of a merge: then nobody knows what the commit will be.
    """
    entries = []
    for line in repository.ask("ls-files", "--stage", "-z", "--", *([path] if path else [])).split(b"\0")[:-1]:
        about, _, name = line.partition(b"\t")
        mode, identifier, stage = about.split()
        if stage != b"0":
            raise GitError(f"{visible(os.fsdecode(name))} has conflicts that are not resolved yet")
        entries.append(Entry(os.fsdecode(name), int(mode, 8), identifier.decode()))
    return entries


def sizes(repository: Repository, identifiers: Sequence[str]) -> dict[str, int]:
    """Return the sizes of blobs in bytes, without those that are not here.

    Raises:
        GitError: git cannot be asked.
    """
    wanted = list(dict.fromkeys(identifiers))
    if not wanted:
        return {}
    asked = "".join(f"{each}\n" for each in wanted).encode()
    try:
        said = repository.ask("cat-file", "--batch-check", stdin=asked)
    except LacksObjects:
        said = repository.ask_of_objects("cat-file", "--batch-check", stdin=asked)
    words = (line.split() for line in said.splitlines())
    return {each[0].decode(): int(each[2]) for each in words if len(each) == 3}


def read_blobs(repository: Repository, wanted: Sequence[tuple[str, int]]) -> Iterator[bytes]:
    """Yield the content of blobs in their order, some megabytes at a time.

    Args:
        repository: that holds them.
        wanted: their IDs and sizes, as `sizes` gives them.

    Raises:
        GitError: one of them cannot be read.
    """
    begin = 0
    while begin < len(wanted):
        end, total = begin, 0
        while end < len(wanted) and (end == begin or total + wanted[end][1] <= _CHUNK_BYTES):
            total += wanted[end][1]
            end += 1
        asked = "".join(f"{identifier}\n" for identifier, _ in wanted[begin:end]).encode()
        said = repository.ask("cat-file", "--batch", stdin=asked)
        at = 0
        for identifier, size in wanted[begin:end]:
            at = said.find(b"\n", at) + 1
            if at == 0 or len(said) < at + size:
                raise GitError(f"the object {identifier} cannot be read")
            yield said[at : at + size]
            at += size + 1
        begin = end
