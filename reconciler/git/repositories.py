"""The repositories that people work in: which one a path is in, asked and never told.

A repository's content is hostile input: it must choose neither which repository is asked nor what runs. Git itself
takes any folder with `HEAD`, `objects` and `refs` for a repository and believes its settings, and such a folder can be
committed like any other. So the repository is found here, by the `.git` that no commit can hold, git is started in its
root, and folders that only look like a repository are refused. What must never happen in this room: a repository inside
of another one's content answers in its place; anything is written to one of them.
"""

# Paths are strings: links in them must stay as they were given.
# ruff: noqa: PTH112, PTH114, PTH119, PTH120

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from reconciler.git.ask import (
    NO_GIT,
    QUESTION_SECONDS,
    QUIETLY,
    GitError,
    TookTooLong,
    check_version,
    own_environment,
    reason_of,
    run_whole,
)
from reconciler.settings import read_regular, working_folder, write_whole
from reconciler.telemetry import visible


class LacksObjects(GitError):
    """The repository is a partial clone, and what was asked for is not here."""


class Repository(NamedTuple):
    """A repository with a work tree."""

    #: The real path of the work tree's root.
    root: str
    #: Where the repository itself is, when the environment named it; empty for the `.git` in the root.
    git_dir: str = ""
    #: The index, when the environment named one, as for a commit under way; empty for the repository's own.
    index_file: str = ""

    def ask(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """Run git on it and return what it says.

        Raises:
            GitError: there is no git, it says no, or it takes too long.
        """
        return _ask(self.root, {**self.environment(), **QUIETLY}, arguments, stdin)

    def ask_of_objects(self, *arguments: str, stdin: bytes) -> bytes:
        """Run git on its objects alone, so that those that are not here are missing, and no more is known of them.

        Of a partial clone some versions of git end at the first object that they would have to fetch. In a repository
        without settings, made for this question, there is nowhere to fetch from.

        Raises:
            GitError: see `ask`.
        """
        import tempfile  # late: a plan without a base waits for no archives and random numbers, which it brings with it

        objects = os.path.join(self.root, os.fsdecode(self.ask("rev-parse", "--git-path", "objects").rstrip(b"\n")))
        wide = self.ask("rev-parse", "--show-object-format").strip() == b"sha256"
        with tempfile.TemporaryDirectory(prefix="reconciler-git-") as folder:
            for name in ("objects", "refs"):
                Path(folder, name).mkdir()
            write_whole(Path(folder, "HEAD"), b"ref: refs/heads/none\n")
            settings = b"[core]\nrepositoryformatversion = 1\nbare = true\n"
            write_whole(Path(folder, "config"), settings + (b"[extensions]\nobjectFormat = sha256\n" if wide else b""))
            environment = {**own_environment(), **QUIETLY, "GIT_DIR": folder, "GIT_OBJECT_DIRECTORY": objects}
            return _ask(folder, environment, arguments, stdin)

    def environment(self) -> dict[str, str]:
        """Return the environment in which git finds this repository and no other."""
        kept = own_environment()
        if self.index_file:
            kept["GIT_INDEX_FILE"] = self.index_file
        if self.git_dir:
            return {**kept, "GIT_DIR": self.git_dir, "GIT_WORK_TREE": self.root}
        # No GIT_DIR, with which git would not ask whether the repository belongs to somebody else. It starts in the
        # root, and does not look above it.
        return {**kept, "GIT_CEILING_DIRECTORIES": str(Path(self.root).parent)}


class Location(NamedTuple):
    """Where a path is in a repository."""

    repository: Repository
    #: From the root, as the commits call it, links on the way not resolved; empty for the root.
    path: str


def _ask(folder: str, environment: Mapping[str, str], arguments: Sequence[str], stdin: bytes = b"") -> bytes:
    check_version()
    try:
        done = run_whole(arguments, environment, folder=folder, stdin=stdin)
    except (OSError, TookTooLong) as error:
        if isinstance(error, FileNotFoundError) and error.filename == "git":
            raise GitError(NO_GIT) from error
        why = f"it took longer than {QUESTION_SECONDS} s" if isinstance(error, TookTooLong) else type(error).__name__
        raise GitError(f"git cannot read the repository {visible(folder)}: {why}") from error
    if done.code != 0:
        why = reason_of(done.said) or f"it ended with {done.code}"
        # It is kept from fetching what a partial clone leaves out.
        kind = LacksObjects if b"promisor" in done.said or b"transport '" in done.said else GitError
        raise kind(f"git cannot read the repository {visible(folder)}: {why}")
    return done.answer


# Which repository a path is in.


def locate(path: str, references: Sequence[str] = ()) -> Location | None:
    """Return where a path is: in the outermost repository that knows the place, so that no content answers for another.

    A submodule is a place in the repository that holds it. A path that a repository holds by way of a link is where the
    link is; one that none knows is looked for where it really is.

    Args:
        path: a file or folder, there or not.
        references: commits that may know the place, beside `HEAD` and the index.

    Raises:
        GitError: git cannot be asked.
    """
    places = list(_places(path))
    located = [list(locations(place)) for place in places]
    nearest = next((those[0] for those in located if those), None)
    if len(places) == 1 and len(located[0]) < 2:
        return nearest  # there is no other
    return next((each for those in located for each in reversed(those) if _knows(each, references)), nearest)


def _places(path: str) -> Iterator[str]:
    """Yield what a path may be called, links in it resolved from none to all."""
    lexical = _lexical(path)
    parent = os.path.join(os.path.realpath(os.path.dirname(lexical)), os.path.basename(lexical))
    yield from dict.fromkeys((lexical, parent, os.path.realpath(lexical)))


def _lexical(path: str) -> str:
    """Return an absolute path in which links are as they were given, as far as `..` allows."""
    parts = os.path.join(working_folder(), path).split("/")
    climbed = len(parts) - parts[::-1].index("..") if ".." in parts else 0
    begin = os.path.realpath("/".join(parts[:climbed])) if climbed else "/"
    return os.path.join(begin, *(part for part in parts[climbed:] if part not in ("", ".")))


def locations(place: str) -> Iterator[Location]:
    """Yield where an absolute path is in each repository whose work tree it lies in, the innermost first."""
    ceilings = {ceiling.rstrip("/") for ceiling in os.environ.get("GIT_CEILING_DIRECTORIES", "").split(os.pathsep)}
    named = _named_by_environment()
    begin = folder = place if os.path.isdir(place) and not os.path.islink(place) else os.path.dirname(place)
    while True:
        root, own = os.path.realpath(folder), os.path.join(folder, ".git")
        if named is not None and named.root == root:
            yield Location(named, place[len(folder) :].strip("/"))
        elif os.path.lexists(own):
            yield Location(Repository(root), place[len(folder) :].strip("/"))
        parent = os.path.dirname(folder)
        if parent == folder or (parent in ceilings and folder != begin):
            return
        folder = parent


def _named_by_environment() -> Repository | None:
    """Return the repository that the environment names, as people do and as git does for hooks and aliases.

    None where it names none, or one without a work tree here.
    """
    git_dir, work_tree, index_file = (os.environ.get(f"GIT_{name}", "") for name in ("DIR", "WORK_TREE", "INDEX_FILE"))
    folder = working_folder()
    if not git_dir and index_file:
        # A hook of a commit under way: git names the index that the commit is made of, and starts it in the root.
        git_dir = _own_git_dir(folder) or ""
    if not git_dir:
        return None
    git_dir = os.path.realpath(os.path.join(folder, git_dir))
    index_file = os.path.join(folder, index_file) if index_file else ""
    root = os.path.realpath(os.path.join(folder, work_tree)) if work_tree else _toplevel(folder, git_dir)
    if root is None:
        return None
    # Where its own `.git` names it as well, git shall look whose it is.
    return Repository(root, "" if _own_git_dir(root) == git_dir else git_dir, index_file)


def _toplevel(folder: str, git_dir: str) -> str | None:
    """Return the root of the work tree of a repository, which is in its settings or the working directory."""
    for root in (folder, *map(str, Path(folder).parents)):
        if _own_git_dir(root) == git_dir:
            return os.path.realpath(root)
    environment = {**own_environment(), **QUIETLY, "GIT_DIR": git_dir}
    try:
        said = _ask(folder, environment, ("rev-parse", "--show-toplevel"))
    except GitError:
        return None
    return os.path.realpath(os.fsdecode(said.removesuffix(b"\n")))


def _own_git_dir(root: str) -> str | None:
    """Return where the `.git` of a folder leads to: it is a folder, or a file that names one."""
    own = os.path.join(root, ".git")
    if os.path.isdir(own):
        return os.path.realpath(own)
    try:
        named = read_regular(own).decode(errors="surrogateescape")
    except OSError:
        return None
    return os.path.realpath(os.path.join(root, named.removeprefix("gitdir:").strip()))


def _knows(location: Location, references: Sequence[str]) -> bool:
    """Return whether a repository holds something at a place, or a link or a submodule on the way to it."""
    if not location.path:
        return True
    parts = location.path.split("/")
    ways = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    for reference in dict.fromkeys(("HEAD", *references)):
        if reference.startswith("-"):
            continue
        try:
            said = location.repository.ask("ls-tree", "-z", "--full-tree", reference, "--", *ways)
        except GitError:
            continue  # no such commit
        for line in said.split(b"\0")[:-1]:
            about, _, name = line.partition(b"\t")
            path = os.fsdecode(name)
            if path == location.path or (path in ways and not about.startswith(b"040000")):
                return True
    try:
        return bool(location.repository.ask("ls-files", "-z", "--", location.path))
    except GitError:
        return False
