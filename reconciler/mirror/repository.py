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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from reconciler.mirror.address import Address
from reconciler.mirror.command import GitCommand, GitFailed
from reconciler.model import Revision

#: The revision in force; the one last fetched stands beside it until it is accepted.
_ACCEPTED: Final = "refs/reconciler/accepted"
_FETCHED: Final = "refs/reconciler/fetched"
#: How many commits are fetched first, and how many when the revision in force is not among them.
_DEPTHS: Final = (1, 16)
#: How many blobs are held in memory at once.
_BLOBS: Final = 2000
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
        self._filter = f"blob:limit={max_file_bytes + 1}"

    @property
    def depth(self) -> int:
        """How many commits back the revision in force is looked for."""
        return self._depths[-1]

    def open(self) -> bool:
        """Make the mirror where there is none, and one anew where what is there cannot be read.

        Returns:
            Whether one was thrown away.

        Raises:
            GitFailed: it cannot be made.
        """
        if (self.folder / "HEAD").exists() and self._is_whole():
            return False
        there = self.folder.exists()
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            self.folder.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise GitFailed(f"{self.folder} cannot be made: {error.strerror}") from error
        # No template: nothing that some machine adds to every repository belongs here.
        self._command.ask("init", "--quiet", "--bare", "--template=", "--initial-branch=none", str(self.folder))
        return there

    def _is_whole(self) -> bool:
        accepted = self.accepted
        try:
            if accepted is not None:
                self._command.ask("ls-tree", "-r", "-z", "--name-only", accepted)
            else:
                self._command.ask("rev-parse", "--git-dir")
        except GitFailed:
            return False
        return True

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
        self._fetch(1, self._filter, stop)
        return self._command.ask("rev-parse", "--verify", f"{_FETCHED}^{{commit}}").decode().strip()

    def _fetch(self, depth: int, what: str, stop: threading.Event) -> None:
        source = f"refs/heads/{self._branch}" if self._branch else "HEAD"
        # Given for this one command: with them in the mirror's own settings, reading would fetch what is not here.
        settings = {
            "remote.origin.url": self._url,
            "remote.origin.promisor": "true",
            "remote.origin.partialclonefilter": what,
        }
        options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", f"--depth={depth}")
        self._remove_old_locks()
        self._command.fetch(
            *options, f"--filter={what}", "origin", f"+{source}:{_FETCHED}", settings=settings, stop=stop
        )

    def _remove_old_locks(self) -> None:
        """Remove the lock files of a git that was killed: older than any that lives could be."""
        before = time.time() - self._timeout_seconds - 60
        for lock in (*self.folder.glob("*.lock"), *self.folder.glob("refs/**/*.lock")):
            try:
                if lock.stat().st_mtime < before:
                    lock.unlink()
            except OSError:
                pass  # somebody else was faster, or it cannot be: git will say so

    def tidy(self) -> None:
        """Let git pack what many fetches have left, when it finds that worth its while."""
        settings = {"remote.origin.promisor": "true", "remote.origin.partialclonefilter": self._filter}
        self._command.run("gc", "--auto", "--quiet", settings=settings)

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
            self._fetch(depth, "blob:none", stop)
            found = self._walk(old, new)
        return found

    def _walk(self, old: str, new: str) -> Way:
        with self._objects() as read:
            known = {old}
            stack = [old]
            while stack and len(known) < self.depth:
                for parent in _parents(read(stack.pop())):
                    if parent not in known:
                        known.add(parent)
                        stack.append(parent)
            seen: set[str] = set()
            commits: list[tuple[int, str]] = []
            complete, met = True, new == old
            stack = [] if new in known else [new]
            while stack and len(commits) < self.depth:
                commit = stack.pop()
                raw = read(commit)
                if raw is None:
                    complete = False
                    continue
                commits.append((_committed_at(raw), commit))
                for parent in _parents(raw):
                    met = met or parent == old
                    if parent not in known and parent not in seen:
                        seen.add(parent)
                        stack.append(parent)
        commits.sort(key=lambda each: -each[0])
        return Way(tuple(commit for _, commit in commits), complete and not stack, rewritten=not met)

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
        newest, known = way.commits[0], set(way.commits)
        # Of a merge only what it changed by itself: all else was changed by a commit that it brings.
        options = ("-z", "--format=%x01%H", "--name-only", "--no-renames", "--diff-merges=combined")
        said = self._command.ask("log", *options, f"-{len(known)}", newest, "--", *([path] if path else []))
        last: dict[str, str] = {}
        for part in said.split(b"\x01")[1:]:
            head, _, names = part.partition(b"\0")
            commit = head.decode()
            if commit in known:
                for name in names.split(b"\0"):
                    last.setdefault(os.fsdecode(name.removeprefix(b"\n")), commit)
        return last

    def blobs(self, identifiers: Sequence[str]) -> Iterator[tuple[str, bytes | None]]:
        """Yield blobs with their content, None for one that was too large to be fetched."""
        for first in range(0, len(identifiers), _BLOBS):
            asked = identifiers[first : first + _BLOBS]
            said = self._command.ask("cat-file", "--batch", stdin="".join(f"{each}\n" for each in asked).encode())
            at = 0
            for identifier in asked:
                end = said.index(b"\n", at)
                words = said[at:end].split()
                at = end + 1
                if len(words) == 3:
                    size = int(words[2])
                    yield identifier, said[at : at + size]
                    at += size + 1
                else:
                    yield identifier, None

    def verify(self, commit: str, settings: Mapping[str, str], environment: Mapping[str, str]) -> tuple[bool, str]:
        """Return whether a commit carries a good signature, by git's exit code alone, and what git said of it."""
        done = self._command.run("verify-commit", commit, settings=settings, environment=environment)
        return done.returncode == 0, done.stderr.decode(errors="replace")

    @contextmanager
    def _objects(self) -> Iterator[_Reader]:
        reader = _Reader(self._command.environment({"core.hooksPath": "/dev/null", "protocol.allow": "never"}))
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
        """Return an object's content; None when it is not here."""
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
            content = answers.read(size + 1)
        except OSError as error:
            raise GitFailed(f"the mirror cannot be read: {error.strerror}") from error
        if len(content) != size + 1:
            raise GitFailed("the mirror cannot be read: an object ends too early")
        return content[:-1]

    def close(self) -> None:
        """End the git that was asked."""
        self._process.kill()
        self._process.communicate()


def _parents(raw: bytes | None) -> list[str]:
    """Return what a commit names as its parents; none when it is not here."""
    if raw is None:
        return []
    head, _, _ = raw.partition(b"\n\n")
    return [line[7:].decode() for line in head.split(b"\n") if line.startswith(b"parent ")]


def _committed_at(raw: bytes) -> int:
    return int(_field(raw, b"committer ").rpartition(b"> ")[2].split()[0] or b"0")


def _field(raw: bytes, name: bytes) -> bytes:
    head, _, _ = raw.partition(b"\n\n")
    return next((line[len(name) :] for line in head.split(b"\n") if line.startswith(name)), b"x <> 0 +0000")


def _described(commit: str, raw: bytes) -> Revision:
    author, _, _ = _field(raw, b"author ").partition(b"> ")
    subject, _, _ = raw.partition(b"\n\n")[2].lstrip().partition(b"\n")
    return Revision(commit, _line(author + b">"), _line(subject), datetime.fromtimestamp(_committed_at(raw), UTC))


def _line(text: bytes) -> str:
    """Return foreign text as one line that a terminal and a log can show."""
    shown = "".join(each if each.isprintable() else " " for each in text.decode(errors="replace"))
    return shown.strip()[:_TEXT_CHARACTERS]
