"""A bare mirror of one branch: shallow, without what is too large, without a work tree. Its folder is one state's own.

Objects are read as they are stored. What must never happen in this room: a file of the repository is written to disk
under its own name; an object that is not here is fetched when it is read; the accepted revision moves by itself.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reconciler.git.ask import conversation
from reconciler.git.content import Entry, entries_from
from reconciler.git.mirror.address import Address
from reconciler.git.mirror.command import SAFELY, GitCommand, GitFailed, GitUnavailable
from reconciler.git.mirror.objects import Commit, Objects, differences, newest_first
from reconciler.model import Revision
from reconciler.settings import read_regular, write_whole

#: The revision in force; the one last fetched stands beside it until it is accepted.
_ACCEPTED: Final = "refs/reconciler/accepted"
_FETCHED: Final = "refs/reconciler/fetched"
#: How many commits are fetched first, and how many when the revision in force is not among them.
_DEPTHS: Final = (1, 16)
#: A name that no settings of the user speak of, as some do of `origin`.
_REMOTE: Final = "reconciler-source"
#: How much of blobs is read in one go.
_BLOB_BYTES: Final = 32 * 1024 * 1024
#: Each fetch leaves a line about where it ended, of which all later ones tell the server: some 1,600 are enough.
_SHALLOW_BYTES: Final = 64 * 1024
#: How many entries of trees are compared for one question. Nobody changes as many; a few objects can be nested so that
#: they stand for billions.
_COMPARED: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Way:
    """What lies between the revision in force and another one."""

    #: The commits that the other one has and the one in force has not, the newest first.
    commits: tuple[str, ...]
    #: Whether these are all there are, as far back as the two meet or history begins.
    complete: bool
    #: Whether the one in force is not among the other one's ancestors: history was rewritten.
    rewritten: bool


#: Beside git's own files: the blobs that were left out for their size; the moment of the last good fetch.
_ABSENT: Final = "left-out"
_FETCHED_AT: Final = "fetched-at"
#: The largest list of such blobs that is read, in bytes: a million of them.
_ABSENT_BYTES: Final = 64 * 1024 * 1024


class Mirror:
    """One branch of one repository. One thread at a time may use it."""

    def __init__(
        self,
        folder: Path,
        address: Address,
        branch: str,
        *,
        max_file_bytes: int,
        token_file: str,
        timeout_seconds: float,
        depth: int,
    ) -> None:
        """Name the mirror; `open` makes it.

        Args:
            folder: the mirrors' folder; each address, branch and limit has its own in there.
            address: of the repository.
            branch: its name; empty for the one that the repository itself names.
            max_file_bytes: larger files are not fetched.
            token_file: for an https address; empty for the user's own credential helpers.
            timeout_seconds: how long a fetch may take.
            depth: how many commits back the revision in force is looked for.
        """
        what = "\0".join((address.url, branch, str(max_file_bytes)))
        self.folder = folder.absolute() / hashlib.sha256(what.encode()).hexdigest()[:16]
        self._branch = branch
        self._url = address.url
        self._depths = (*(deep for deep in _DEPTHS if deep < depth), depth)
        self._timeout_seconds = timeout_seconds
        self._command = GitCommand(self.folder, address, token_file=token_file, timeout_seconds=timeout_seconds)
        self._max_file_bytes = max_file_bytes
        # The same for every fetch: what one left out, the next one would be thought to have.
        self._remote = {
            f"remote.{_REMOTE}.promisor": "true",
            f"remote.{_REMOTE}.partialclonefilter": f"blob:limit={max_file_bytes + 1}",
        }

    @property
    def depth(self) -> int:
        """How many commits back the revision in force is looked for."""
        return self._depths[-1]

    def open(self) -> bool:
        """Make the mirror where there is none, and one anew where what is there cannot be read.

        Returns:
            Whether one was thrown away.

        Raises:
            GitFailed: it cannot be made, or git cannot be run.
        """
        if (self.folder / "HEAD").exists():
            # Whoever opens the mirror holds the state, so that no git of ours that lives has made these.
            self._remove_leftovers(before=None)
            if self._is_whole():
                return False
        there = self.folder.exists()
        self.renew()
        return there

    def renew(self, *, object_format: str = "sha1") -> None:
        """Throw away what is here and make an empty mirror.

        Raises:
            GitFailed: it cannot be made.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            self.folder.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise GitFailed(f"{self.folder} cannot be made: {error.strerror}") from error
        # No template: nothing that some machine adds to every repository belongs here.
        options = ("--bare", "--template=", "--initial-branch=none", f"--object-format={object_format}")
        self._command.ask("init", "--quiet", *options, str(self.folder))

    def _is_whole(self) -> bool:
        """Return whether the files of the revision in force can be named.

        Raises:
            GitFailed: nobody can tell now. What is here may hold what was judged, and is not thrown away for that.
        """
        if self._command.run("rev-parse", "--verify", "--quiet", _ACCEPTED).code != 0:
            return not (self.folder / _ACCEPTED).exists()
        return self._command.run("ls-tree", "-r", "-z", "--name-only", _ACCEPTED).code == 0

    @property
    def accepted(self) -> str | None:
        """The revision in force, hexadecimal; None before the first."""
        done = self._command.run("rev-parse", "--verify", "--quiet", f"{_ACCEPTED}^{{commit}}")
        return done.answer.decode().strip() if done.code == 0 else None

    def accept(self, commit: str) -> None:
        """Make a commit the revision in force."""
        self._command.ask("update-ref", _ACCEPTED, commit)

    def fetch(self, stop: threading.Event) -> str:
        """Fetch the branch's newest commit with its files, and return its ID.

        Raises:
            GitFailed: the repository cannot be reached, the branch is not there, or it took too long.
        """
        try:
            self._fetch(1, stop)
        except GitFailed as error:
            # Only the repository can tell which kind of IDs it has; git has no option that asks.
            if "server sha256" not in str(error) or self.accepted is not None:
                raise
            self.renew(object_format="sha256")
            self._fetch(1, stop)
        write_whole(self.folder / _FETCHED_AT, b"", mode=0o600)  # its time is what counts
        return self._command.ask("rev-parse", "--verify", f"{_FETCHED}^{{commit}}").decode().strip()

    def _fetch(self, depth: int, stop: threading.Event) -> None:
        source = f"refs/heads/{self._branch}" if self._branch else "HEAD"
        # Given for this one command: with them in the mirror's own settings, reading would fetch what is not here.
        settings = {f"remote.{_REMOTE}.url": self._url, **self._remote}
        options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", f"--depth={depth}")
        self._remove_leftovers(time.time() - self._timeout_seconds - 60)
        self._command.fetch(*options, _REMOTE, f"+{source}:{_FETCHED}", settings=settings, stop=stop)

    def _remove_leftovers(self, before: float | None) -> None:
        """Remove what a git left that was killed: its locks, and packs that it had not received to their end.

        Args:
            before: only those that have not been written since this time of day; None for all.
        """
        parts = ("*.lock", "refs/**/*.lock", "objects/pack/tmp_*")
        for leftover in (found for part in parts for found in self.folder.glob(part)):
            try:
                if before is None or leftover.stat().st_mtime < before:
                    leftover.unlink()
            except OSError:
                pass  # somebody else was faster, or it cannot be: git will say so

    def has(self, commit: str) -> bool:
        """Return whether a commit is here with its tree."""
        return self._command.run("cat-file", "-e", f"{commit}^{{tree}}").code == 0

    def is_damaged(self) -> bool:
        """Return whether the mirror is gone, or a pack is not what it was when it came: every byte is read."""
        if not (self.folder / "HEAD").is_file():
            return True
        packs = {pack.with_suffix("") for pack in (self.folder / "objects" / "pack").glob("*.pack")}
        for pack in sorted(packs):
            index = pack.with_suffix(".idx")
            if not index.exists() or self._command.run("verify-pack", str(index)).code != 0:
                return True
        return False

    def lacks(self, identifiers: Sequence[str]) -> bool:
        """Return whether a blob is missing that was here when it was last looked for."""
        missing = {identifier for identifier, size in self._sizes(identifiers) if size is None}
        return not missing <= self._absent()

    def note_absent(self, identifiers: Sequence[str]) -> None:
        """Note which blobs a fetch left out for their size, so that one that is lost later is told from them."""
        missing = {identifier for identifier, size in self._sizes(identifiers) if size is None}
        if missing:
            known = self._absent() | missing
            write_whole(self.folder / _ABSENT, "".join(f"{each}\n" for each in sorted(known)).encode(), mode=0o600)

    def _absent(self) -> set[str]:
        try:
            return set(read_regular(self.folder / _ABSENT, _ABSENT_BYTES).decode("ascii").split())
        except (OSError, UnicodeDecodeError):
            return set()

    @property
    def fetched_at(self) -> float | None:
        """When a fetch last went well, in seconds since 1970; None for never."""
        try:
            return (self.folder / _FETCHED_AT).stat().st_mtime
        except OSError:
            return None

    def tidy(self, stop: threading.Event) -> None:
        """Let git pack what many fetches have left, when it finds that worth its while.

        Raises:
            GitFailed: it could not, or `stop` was set.
        """
        self._command.tend("gc", "--auto", "--quiet", settings=self._remote, stop=stop)
        shallow = self.folder / "shallow"
        if shallow.exists() and shallow.stat().st_size > _SHALLOW_BYTES:
            self._command.tend("prune", "--expire=now", settings=self._remote, stop=stop)

    def way(self, old: str, new: str, stop: threading.Event) -> Way:
        """Find the commits between the revision in force and a fetched one, fetching older ones as far as needed.

        Git's own walk ends where the mirror is shallow; this one reads what the commits themselves name as parents.

        Raises:
            GitFailed: older commits could not be fetched, or what is here cannot be read.
        """
        found = self._walk(old, new)
        for depth in self._depths[1:]:
            if found.complete:
                break
            self._fetch(depth, stop)
            found = self._walk(old, new)
        return found

    def _walk(self, old: str, new: str) -> Way:
        with self._objects() as objects:
            known = {old}
            stack = [old]
            while stack and len(known) < self.depth:
                commit = objects.commit(stack.pop())
                for parent in () if commit is None else commit.parents:
                    if parent not in known:
                        known.add(parent)
                        stack.append(parent)
            commits: dict[str, Commit] = {}
            seen: set[str] = set()
            complete, met = True, new == old
            stack = [] if new in known else [new]
            while stack and len(commits) < self.depth:
                identifier = stack.pop()
                commit = objects.commit(identifier)
                if commit is None:
                    complete = False
                    continue
                commits[identifier] = commit
                for parent in commit.parents:
                    met = met or parent == old
                    if parent not in known and parent not in seen:
                        seen.add(parent)
                        stack.append(parent)
        return Way(newest_first(commits), complete and not stack, rewritten=not met)

    def describe(self, commits: Sequence[str]) -> list[Revision]:
        """Say of commits whose they are and what they say of themselves."""
        with self._objects() as objects:
            return [objects.revision(commit) for commit in commits]

    def entries(self, commit: str, path: str) -> dict[str, Entry]:
        """Return all files and links of a commit at and below a path, by their paths from the repository's root.

        Args:
            commit: hexadecimal.
            path: a folder or a file, from the root; empty for all.
        """
        said = self._command.ask("ls-tree", "-r", "-z", "--full-tree", commit, "--", *([path] if path else []))
        return {entry.path: entry for entry in entries_from(said)}

    def ways_out(self, commit: str, links: Sequence[str]) -> dict[str, str]:
        """Return where those of some links lead that lead to no file of the commit, in words, by the links' paths.

        One that leads nowhere is left out.

        Args:
            commit: hexadecimal.
            links: paths from the root, without line ends.
        """
        asked = "".join(f"{commit}:{link}\n" for link in links).encode()
        said = self._command.ask("cat-file", "--batch-check", "--follow-symlinks", stdin=asked)
        at = 0
        found = {}
        for link in links:
            words = said[at : (end := said.index(b"\n", at))].split()
            at = end + 1
            if words[1:2] == [b"tree"] and words[2].isdigit():
                found[link] = "a folder"
            elif words[0] in (b"symlink", b"dangling", b"loop", b"notdir"):
                # So many bytes more, and a line end: where the link leads, or its own path.
                at += int(words[1]) + 1
                if words[0] == b"symlink":
                    found[link] = "a place outside the repository"
        return found

    def changes(self, old: str, new: str, path: str) -> dict[str, Entry | None]:
        """Return what differs between two commits at and below a path, None for what is gone.

        Raises:
            GitFailed: more than a million entries differ.
        """
        with self._objects() as objects:
            places = [objects.at(objects.tree_of(commit), path) for commit in (old, new)]
            changed: dict[str, Entry | None] = {}
            compared = 0
            for file, entry, cost in differences(objects, places[0], places[1], path):
                compared += cost
                if compared > _COMPARED:
                    raise GitFailed(f"more than {_COMPARED:,} files differ from the revision in force; see --path")
                if file is not None:
                    changed[file] = entry
        return changed

    def touched(self, way: Way, path: str) -> dict[str, str]:
        """Return which of the commits on a way was the last to change each file at and below a path.

        Of a merge only what it changed by itself: all else was changed by a commit that it brings. Where a million
        entries differ, older commits are not asked any more.
        """
        last: dict[str, str] = {}
        compared = 0
        with self._objects() as objects:
            for identifier in way.commits if len(way.commits) > 1 else ():
                commit = objects.commit(identifier)
                parents = () if commit is None else commit.parents
                mine = objects.at(objects.tree_of(identifier), path)
                own: set[str] | None = None
                for parent in parents or (None,):
                    before = None if parent is None else objects.at(objects.tree_of(parent), path)
                    files = set()
                    for file, _, cost in differences(objects, before, mine, path):
                        compared += cost
                        if compared > _COMPARED:
                            return last
                        if file is not None:
                            files.add(file)
                    own = files if own is None else own & files
                for file in own or ():
                    last.setdefault(file, identifier)
        return last

    def blobs(self, identifiers: Sequence[str]) -> Iterator[tuple[str, bytes | None]]:
        """Yield blobs with their content, None for one that is larger than is taken, whether it was fetched or not."""
        asked: list[str] = []
        held = 0
        for identifier, size in self._sizes(identifiers):
            if size is None or size > self._max_file_bytes:
                yield identifier, None
                continue
            if asked and held + size > _BLOB_BYTES:
                yield from self._read(asked, held)
                asked, held = [], 0
            asked.append(identifier)
            held += size
        if asked:
            yield from self._read(asked, held)

    def _sizes(self, identifiers: Sequence[str]) -> Iterator[tuple[str, int | None]]:
        """Yield the sizes of blobs, None for one that is not here."""
        asked = "".join(f"{each}\n" for each in identifiers).encode()
        said = self._command.ask("cat-file", "--batch-check", stdin=asked)
        for identifier, line in zip(identifiers, said.splitlines(), strict=True):
            words = line.split()
            yield identifier, int(words[2]) if len(words) == 3 else None

    def _read(self, identifiers: Sequence[str], total: int) -> Iterator[tuple[str, bytes]]:
        asked = "".join(f"{each}\n" for each in identifiers).encode()
        # Before each stands a line with its ID, type and size.
        said = self._command.ask("cat-file", "--batch", stdin=asked, most_bytes=total + 120 * len(identifiers))
        at = 0
        for identifier in identifiers:
            begin = said.index(b"\n", at) + 1
            at = begin + int(said[at:begin].split()[2]) + 1
            yield identifier, said[begin : at - 1]

    def verify(self, commit: str, settings: Mapping[str, str], environment: Mapping[str, str]) -> tuple[bool, str]:
        """Return whether a commit carries a good signature, by git's exit code alone, and what git said of it."""
        done = self._command.run("verify-commit", commit, settings=settings, environment=environment)
        return done.code == 0, done.said.decode(errors="replace")

    @contextmanager
    def _objects(self) -> Iterator[Objects]:
        with ExitStack() as stack:
            try:
                talking = conversation(["cat-file", "--batch"], self._command.environment(SAFELY))
                pipes = stack.enter_context(talking)
            except OSError as error:
                raise GitUnavailable(f"git cannot be run: {error.strerror or type(error).__name__}") from error
            yield Objects(*pipes)
