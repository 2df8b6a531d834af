"""A bare mirror of one branch: shallow, without what is too large, without a work tree. Kept under the state folder.

Objects are read as they are stored. What must never happen in this room: a file of the repository is written to disk
under its own name; an object that is not here is fetched when it is read; the accepted revision moves by itself.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import heapify, heappop, heappush
from itertools import takewhile
from pathlib import Path
from typing import Final, NamedTuple

from reconciler.mirror.address import Address
from reconciler.mirror.command import SAFELY, GitCommand, GitFailed
from reconciler.model import Revision
from reconciler.scrub import scrub

#: The revision in force; the one last fetched stands beside it until it is accepted.
_ACCEPTED: Final = "refs/reconciler/accepted"
_FETCHED: Final = "refs/reconciler/fetched"
#: How many commits are fetched first, and how many when the revision in force is not among them.
_DEPTHS: Final = (1, 16)
#: A name that no settings of the user speak of, as some do of `origin`.
_REMOTE: Final = "reconciler-source"
#: How much of blobs is read in one go.
_BLOB_BYTES: Final = 32 * 1024 * 1024
#: Of a commit, as much as its header and a signature can have; what its author says beyond that nobody shows.
_COMMIT_BYTES: Final = 1024 * 1024
#: The latest second that a date of ours can be.
_LAST_SECOND: Final = 253_402_300_799
#: Of a subject or an author, as much as a line of a log can hold.
_TEXT_CHARACTERS: Final = 200


class Entry(NamedTuple):
    """One entry of a commit's tree."""

    #: The type and permission bits, as `stat` has them.
    mode: int
    #: Of the object, hexadecimal.
    id: str

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.mode)


@dataclass(frozen=True, slots=True)
class Way:
    """What lies between the revision in force and another one."""

    #: The commits that the other one has and the one in force has not, the newest first.
    commits: tuple[str, ...]
    #: Whether these are all there are, as far back as the two meet or history begins.
    complete: bool
    #: Whether the one in force is not among the other one's ancestors: history was rewritten.
    rewritten: bool


class Mirror:
    """One branch of one repository. One thread at a time may use it."""

    def __init__(
        self,
        folder: Path,
        address: Address,
        branch: str,
        *,
        judged: bool,
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
            judged: whether only commits with a good signature come into force; such a mirror is one of its own.
            max_file_bytes: larger files are not fetched.
            token_file: for an https address; empty for the user's own credential helpers.
            timeout_seconds: how long a fetch may take.
            depth: how many commits back the revision in force is looked for.
        """
        what = "\0".join((address.url, branch, str(judged), str(max_file_bytes)))
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
        if (self.folder / "HEAD").exists() and self._is_whole():
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
        if self._command.run("rev-parse", "--verify", "--quiet", _ACCEPTED).returncode != 0:
            return not (self.folder / _ACCEPTED).exists()
        return self._command.run("ls-tree", "-r", "-z", "--name-only", _ACCEPTED).returncode == 0

    @property
    def accepted(self) -> str | None:
        """The revision in force, hexadecimal; None before the first."""
        done = self._command.run("rev-parse", "--verify", "--quiet", f"{_ACCEPTED}^{{commit}}")
        return done.stdout.decode().strip() if done.returncode == 0 else None

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
        return self._command.ask("rev-parse", "--verify", f"{_FETCHED}^{{commit}}").decode().strip()

    def _fetch(self, depth: int, stop: threading.Event) -> None:
        source = f"refs/heads/{self._branch}" if self._branch else "HEAD"
        # Given for this one command: with them in the mirror's own settings, reading would fetch what is not here.
        settings = {f"remote.{_REMOTE}.url": self._url, **self._remote}
        options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", f"--depth={depth}")
        self._remove_old_locks()
        self._command.fetch(*options, _REMOTE, f"+{source}:{_FETCHED}", settings=settings, stop=stop)

    def _remove_old_locks(self) -> None:
        """Remove the lock files of a git that was killed: older than any that lives could be."""
        before = time.time() - self._timeout_seconds - 60
        for lock in (*self.folder.glob("*.lock"), *self.folder.glob("refs/**/*.lock")):
            try:
                if lock.stat().st_mtime < before:
                    lock.unlink()
            except OSError:
                pass  # somebody else was faster, or it cannot be: git will say so

    def tidy(self, stop: threading.Event) -> None:
        """Let git pack what many fetches have left, when it finds that worth its while.

        Raises:
            GitFailed: it could not, or `stop` was set.
        """
        self._command.tend("gc", "--auto", "--quiet", settings=self._remote, stop=stop)

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
        with self._objects() as read:
            known = {old}
            stack = [old]
            while stack and len(known) < self.depth:
                commit = _parsed(read(stack.pop()))
                for parent in () if commit is None else commit.parents:
                    if parent not in known:
                        known.add(parent)
                        stack.append(parent)
            commits: dict[str, _Commit] = {}
            seen: set[str] = set()
            complete, met = True, new == old
            stack = [] if new in known else [new]
            while stack and len(commits) < self.depth:
                identifier = stack.pop()
                commit = _parsed(read(identifier))
                if commit is None:
                    complete = False
                    continue
                commits[identifier] = commit
                for parent in commit.parents:
                    met = met or parent == old
                    if parent not in known and parent not in seen:
                        seen.add(parent)
                        stack.append(parent)
        return Way(_newest_first(commits), complete and not stack, rewritten=not met)

    def describe(self, commits: Sequence[str]) -> list[Revision]:
        """Say of commits whose they are and what they say of themselves."""
        revisions = []
        with self._objects() as read:
            for commit in commits:
                raw = read(commit) or b""
                revisions.append(_described(commit, raw))
        return revisions

    def entries(self, commit: str, path: str) -> dict[str, Entry]:
        """Return all files and links of a commit at and below a path, by their paths from the repository's root.

        Args:
            commit: hexadecimal.
            path: a folder or a file, from the root; empty for all.
        """
        said = self._command.ask("ls-tree", "-r", "-z", "--full-tree", commit, "--", *([path] if path else []))
        entries = {}
        for line in said.split(b"\0")[:-1]:
            about, _, name = line.partition(b"\t")
            mode, _, identifier = about.split()
            entries[os.fsdecode(name)] = Entry(int(mode, 8), identifier.decode())
        return entries

    def changes(self, old: str, new: str, path: str) -> dict[str, Entry | None]:
        """Return what differs between two commits at and below a path, None for what is gone."""
        said = self._command.ask("diff-tree", "-r", "-z", "--no-renames", old, new, "--", *([path] if path else []))
        fields = said.split(b"\0")[:-1]
        changed: dict[str, Entry | None] = {}
        for about, name in zip(fields[::2], fields[1::2], strict=True):
            _, mode, _, identifier, letter = about.split()
            changed[os.fsdecode(name)] = None if letter == b"D" else Entry(int(mode, 8), identifier.decode())
        return changed

    def touched(self, way: Way, path: str) -> dict[str, str]:
        """Return which of the commits on a way was the last to change each file at and below a path."""
        if len(way.commits) < 2:
            return {}
        # Of a merge only what it changed by itself: all else was changed by a commit that it brings.
        options = ("--stdin", "--root", "-r", "-z", "--raw", "--no-renames", "-c")
        asked = "".join(f"{commit}\n" for commit in way.commits).encode()
        said = self._command.ask("diff-tree", *options, "--", *([path] if path else []), stdin=asked)
        last: dict[str, str] = {}
        commit = ""
        fields = iter(said.split(b"\0")[:-1])
        for field in fields:
            if field.startswith(b":"):
                last.setdefault(os.fsdecode(next(fields)), commit)
            else:
                commit = field.decode()
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
        return done.returncode == 0, done.stderr.decode(errors="replace")

    @contextmanager
    def _objects(self) -> Iterator[_Reader]:
        reader = _Reader(self._command.environment(SAFELY))
        try:
            yield reader
        finally:
            reader.close()


class _Reader:
    """Reads objects, one after the other, from one git that stays."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        try:
            self._process = subprocess.Popen(
                ["git", "cat-file", "--batch"],  # noqa: S607 - the user's git
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
        except OSError as error:
            raise GitFailed(f"git cannot be run: {error.strerror or type(error).__name__}") from error

    def __call__(self, identifier: str) -> bytes | None:
        """Return a commit, of a very long one the beginning; None when it is not here."""
        asked, answers = self._process.stdin, self._process.stdout
        if asked is None or answers is None:
            raise GitFailed("git has no pipes")
        try:
            asked.write(f"{identifier}\n".encode())
            asked.flush()
            head = answers.readline().split()
            if len(head) != 3:
                if head[1:] == [b"missing"]:
                    return None
                raise GitFailed("the mirror cannot be read: git ended while it was asked")
            size = int(head[2])
            content = answers.read(min(size, _COMMIT_BYTES))
            left = size + 1 - len(content)
            while left > 0 and (more := answers.read(min(left, _COMMIT_BYTES))):
                left -= len(more)
        except OSError as error:
            raise GitFailed(f"the mirror cannot be read: {error.strerror}") from error
        if left:
            raise GitFailed("the mirror cannot be read: an object ends too early")
        return content

    def close(self) -> None:
        """End the git that was asked."""
        self._process.kill()
        self._process.communicate()


class _Commit(NamedTuple):
    """What a walk needs of a commit."""

    parents: tuple[str, ...]
    #: Seconds since 1970, as the committer says.
    committed_at: int


def _parsed(raw: bytes | None) -> _Commit | None:
    """Return a commit as git understands it; None when it is not here.

    Parents stand between the tree and the author. Nothing that looks like one further below is one.
    """
    if raw is None:
        return None
    lines = raw.partition(b"\n\n")[0].split(b"\n")[1:]
    parents = takewhile(lambda line: line.startswith(b"parent "), lines)
    return _Commit(tuple(line[7:].decode("ascii", "replace") for line in parents), _committed_at(raw))


def _newest_first(commits: Mapping[str, _Commit]) -> tuple[str, ...]:
    """Return commits with each before its parents, whatever its committer's clock said, and else by date."""
    children = Counter(parent for commit in commits.values() for parent in commit.parents)
    free = [(-commit.committed_at, identifier) for identifier, commit in commits.items() if not children[identifier]]
    heapify(free)
    found = []
    while free:
        _, identifier = heappop(free)
        found.append(identifier)
        for parent in commits[identifier].parents:
            children[parent] -= 1
            if not children[parent] and parent in commits:
                heappush(free, (-commits[parent].committed_at, parent))
    return tuple(found)


def _committed_at(raw: bytes) -> int:
    said = _field(raw, b"committer ").rpartition(b"> ")[2].partition(b" ")[0]
    # Whoever makes a commit may write anything there.
    return min(int(said), _LAST_SECOND) if said.isdigit() and len(said) < 20 else 0


def _field(raw: bytes, name: bytes) -> bytes:
    head, _, _ = raw.partition(b"\n\n")
    return next((line[len(name) :] for line in head.split(b"\n") if line.startswith(name)), b"? <> 0 +0000")


def _described(commit: str, raw: bytes) -> Revision:
    author, _, _ = _field(raw, b"author ").partition(b"> ")
    subject, _, _ = raw.partition(b"\n\n")[2].lstrip().partition(b"\n")
    return Revision(commit, _line(author + b">"), _line(subject), datetime.fromtimestamp(_committed_at(raw), UTC))


def _line(text: bytes) -> str:
    """Return foreign text as one line that a terminal, a log and the state can hold."""
    shown = "".join(each if each.isprintable() else " " for each in text.decode(errors="replace"))
    return scrub(shown.strip())[:_TEXT_CHARACTERS]
