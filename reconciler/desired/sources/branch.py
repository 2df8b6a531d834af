"""The files of a branch, as its newest good commit has them: what a follower reads in place of a folder.

A commit is taken in whole: fetched, judged, and only then in force. What must never happen in this room: a commit whose
signature is refused, or that was not judged, changes anything; a repository that is out of reach, or a branch that is
gone, looks like one without documents.
"""

from __future__ import annotations

import asyncio
import os
import posixpath
import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from reconciler.desired.sources.names import SUFFIXES, WRONG_CASE, differs_in_case, is_nameable
from reconciler.desired.sources.stamps import FileStamp
from reconciler.desired.sources.tree import Tree
from reconciler.git import Address, Entry, GitFailed, GitUnavailable, Mirror, Verdict, Verifier, Way
from reconciler.model import InForce, Problem, ReconcilerError, Revision, SettingsError
from reconciler.telemetry import Log, scrub

#: However many hooks come, a fetch begins no sooner than so long after the last one did.
LEAST_SECONDS: Final = 1.0
#: Of the commits that are refused, so many are named.
REFUSED_NAMED: Final = 10
#: Of the links that one revision brings, so many are looked at and named. Nobody makes as many.
LINKS_NAMED: Final = 100
#: Of what the follower is about to ask for, so much is read in one go and held until then.
AHEAD_BYTES: Final = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Refused:
    """A commit that may not change anything, and why."""

    revision: Revision
    why: str


@dataclass(frozen=True, slots=True)
class SourceState:
    """Where the source stands, for people."""

    #: The repository's address, without user information.
    address: str
    #: Empty for the branch that the repository itself names.
    branch: str
    path: str
    verify: str
    #: The revision in force; None before the first.
    revision: Revision | None = None
    #: The last fetch that went well.
    fetched_at: datetime | None = None
    #: Why the last one did not; empty when it did.
    error: str = ""
    #: The newest revision while it is refused, and which of its commits are the reason.
    refused_revision: Revision | None = None
    refused: tuple[Refused, ...] = ()


@dataclass(frozen=True, slots=True)
class _Content:
    """The documents of one revision, by their paths from the repository's root."""

    revision: str
    entries: Mapping[str, Entry]
    #: Links that are no documents, and submodules: what was below such a place before is out of sight.
    closed: frozenset[str] = frozenset()


class GitSource:
    """The documents of one branch. Implements what a follower asks of its files."""

    def __init__(
        self,
        mirror: Mirror,
        verifier: Verifier,
        *,
        address: Address,
        branch: str,
        path: str,
        interval_seconds: float,
        max_file_bytes: int,
        in_force: InForce | None,
        describe: Callable[..., object],
        now: Callable[[], datetime],
        log: Log,
    ) -> None:
        """Put the parts together; `open` begins.

        Args:
            mirror: of the branch; nobody else uses it.
            verifier: judges the commits.
            address: for people.
            branch: for people.
            path: the folder or file in the repository that the documents are in; empty for all of it.
            interval_seconds: how often the branch is looked at without being told.
            max_file_bytes: larger files are refused.
            in_force: the revision that was in force last, from wherever it came: what is new is judged against it.
            describe: told of each revision that a decision may name, before it can be made, and which is in force.
            now: the time of day.
            log: where changes are said.
        """
        self._mirror = mirror
        self._verifier = verifier
        self._path = path
        self._interval_seconds = interval_seconds
        self._max_file_bytes = max_file_bytes
        self._base = in_force
        self._describe = describe
        self._now = now
        self._log = log
        self._state = SourceState(address.shown, branch, path, verifier.mode)
        self._content = _Content("", {})
        #: What was read ahead of the follower, until it asks.
        self._ahead: dict[str, bytes | None] = {}
        #: Which commit changed a file last, of those that changed since the first look.
        self._changed_by: dict[str, str] = {}
        #: What was said of places that are not read, so that each thing is said once.
        self._said: dict[str, str] = {}
        self._nudged: asyncio.Event | None = None
        self._nudged_early = False

    @property
    def state(self) -> SourceState:
        """Where the source stands."""
        return self._state

    @property
    def newest_revision(self) -> str | None:
        """The revision in force."""
        return self._content.revision or None

    @property
    def quiet_seconds(self) -> float:
        """A commit is whole: nothing in it has to be quiet first."""
        return 0.0

    def open(self) -> None:
        """Bring the mirror up to date and take in the first revision.

        Without the repository, the revision that was in force last time stays so.

        Raises:
            ReconcilerError: there is no revision that may be in force.
        """
        renewed = self._mirror.open()
        fetched_at = self._mirror.fetched_at
        if fetched_at is not None:
            self._state = replace(self._state, fetched_at=datetime.fromtimestamp(fetched_at, UTC))
        if self._base is None and (kept := self._mirror.accepted) is not None:
            self._base = InForce(kept, judged=False)
        if self._base is not None and self._mirror.has(self._base.revision):
            renewed = not self._resume(self._base) or renewed
        if renewed:
            self._say_renewed()
        self._update(threading.Event())
        if not self._content.revision:
            raise ReconcilerError(self._why_not())

    def _resume(self, base: InForce) -> bool:
        """Put the revision in force again that was so last; return whether the mirror could be read.

        Under `enforce` one that came into force unjudged has to be good by itself.
        """
        try:
            if self._verifier.mode == "enforce" and not base.judged:
                (verdict,) = self._verifier.judge(self._mirror, [base.revision])
                if not verdict.good:
                    return True
                self._base = base._replace(judged=True)
            everything = self._mirror.entries(base.revision, self._path)
            entries = self._documents(everything)
            if not self._mirror.lacks([entry.id for entry in entries.values()]):
                self._take(base.revision, everything)
                self._say_unread(base.revision, everything)
                return True
        except GitUnavailable:
            raise
        except GitFailed:
            pass  # what is here cannot be read
        self._mirror.renew()
        return False

    def _say_renewed(self) -> None:
        self._log.warning("source_mirror_renewed", detail="it could not be read, and is fetched anew")

    def look(self) -> tuple[Revision, tuple[Refused, ...]]:
        """Fetch the newest commit, judge it, and make its files readable here, whatever the judgement.

        Returns:
            The commit, and those commits that `verify` would refuse.

        Raises:
            ReconcilerError: it cannot be fetched or judged.
        """
        self._mirror.open()
        never = threading.Event()
        newest = self._mirror.fetch(never)
        way = self._way(self._base.revision if self._base is not None else "", newest, never)
        refused = self._judge(newest, way)
        self._take(newest, self._mirror.entries(newest, self._path))
        (revision,) = self._mirror.describe([newest])
        return revision, refused

    def _why_not(self) -> str:
        state = self._state
        if state.error:
            return f"{state.address}: {state.error}"
        first = state.refused[0]
        return (
            f"{state.address}: commit {first.revision.id[:12]} by {first.revision.author} is refused: {first.why}; push"
            " a commit that is signed by a key of --allowed-signers or --gpg-keyring"
        )

    # What a follower asks.

    @property
    def base(self) -> str:
        """What names are relative to: the tree of this repository."""
        return f"git:{self._state.address}"

    def name_of(self, file: str, base: str) -> str | None:
        """Return what a file is called here that a record calls `file`; None where it is not below this path.

        Args:
            file: as recorded.
            base: what it is relative to, as recorded: this repository or another one, `git` where an earlier version
                did not say which, or anything else that is none.
        """
        if base not in (self.base, "git"):
            return None
        return file if not self._path or file == self._path or file.startswith(f"{self._path}/") else None

    @property
    def _is_gone(self) -> bool:
        """Whether the folder of the documents is missing, which is no release of all that it held."""
        return bool(self._path) and not self._content.entries

    def walk(self) -> Tree:
        """Name every file of the revision in force."""
        entries = self._content.entries
        gone = (self._path,) if self._is_gone else ()
        return Tree(
            files={file: _stamp(entries[file], 0) for file in sorted(entries)},
            problems=(),
            warnings=(),
            vanished_roots=gone,
            unseen=(*gone, *sorted(self._content.closed)),
        )

    def stamp(self, file: str) -> FileStamp | None:
        """Return a stamp that changes with the content; None when the revision in force has no such file."""
        entry = self._content.entries.get(file)
        return None if entry is None else _stamp(entry, len(self._ahead.get(file) or b""))

    def read(self, file: str) -> bytes | Problem:
        """Return what the revision in force has in a file, or why not."""
        entry = self._content.entries.get(file)
        if entry is None:
            return Problem(file, 1, 1, "no such file in the revision in force", rule="missing")
        if entry.mode == 0:
            return Problem(file, 1, 1, "the name holds control characters or is not UTF-8", rule="file-name")
        if file in self._ahead:
            data = self._ahead.pop(file)
        else:
            ((_, data),) = self._mirror.blobs([entry.id])
        if data is None:
            message = f"the file has more bytes than max_file_bytes allows ({self._max_file_bytes:,})"
            return Problem(file, 1, 1, message, rule="too-large")
        return self._follow(file, data) if entry.is_link else data

    def revision_of(self, file: str) -> str | None:
        """Return the commit that changed a file last; None for one that is as it was at the first look."""
        return self._changed_by.get(file)

    def nudge(self) -> None:
        """Look at the branch soon: somebody says that it moved."""
        if self._nudged is None:
            self._nudged_early = True
        else:
            self._nudged.set()

    async def changes(
        self,
        stop: asyncio.Event,
        *,
        poll_seconds: float,  # noqa: ARG002 - how often files are compared; a branch has an interval of its own
        warn: Callable[[str], None],  # noqa: ARG002 - nothing here is watched that could refuse
    ) -> AsyncGenerator[frozenset[str] | None, None]:
        """Yield the files that a new revision changed, each time one comes into force, until `stop` is set."""
        loop = asyncio.get_running_loop()
        nudged = self._nudged = asyncio.Event()
        if self._nudged_early:
            nudged.set()
        ended = threading.Event()
        stopping = asyncio.ensure_future(stop.wait())
        # Whoever waits below is woken by the end as well as by a hook.
        stopping.add_done_callback(lambda _: nudged.set())
        began = loop.time()
        try:
            while not stop.is_set():
                try:
                    async with asyncio.timeout_at(began + self._interval_seconds):
                        await nudged.wait()
                        if not stop.is_set():
                            await asyncio.sleep(began + LEAST_SECONDS - loop.time())
                except TimeoutError:
                    pass
                if stop.is_set():
                    return
                nudged.clear()
                began = loop.time()
                was_gone, closed = self._is_gone, self._content.closed
                changed = await asyncio.to_thread(self._update, ended)
                moved = was_gone or self._is_gone or closed != self._content.closed
                if changed or moved:
                    # What went out of sight, or came back, only a walk tells.
                    yield None if moved else changed
                await asyncio.to_thread(self._tidy, ended)
        finally:
            ended.set()
            stopping.cancel()

    def _tidy(self, stop: threading.Event) -> None:
        try:
            self._mirror.tidy(stop)
        except GitFailed as error:
            if not stop.is_set():
                self._log.warning("source_warning", detail=f"the mirror could not be tidied: {error}")

    # How a revision comes into force.

    def _update(self, stop: threading.Event) -> frozenset[str]:
        """Fetch, judge and take in; return the files that changed."""
        try:
            newest = self._mirror.fetch(stop)
            changed = self._consider(newest, stop)
        except (GitFailed, SettingsError) as error:
            if not stop.is_set():
                self._note_failure(str(error))
            return frozenset()
        if self._state.error:
            self._log.info("source_reachable_again", address=self._state.address)
        self._state = replace(self._state, fetched_at=self._now(), error="")
        return changed

    def _note_failure(self, why: str) -> None:
        known = self._state.error
        self._state = replace(self._state, error=why)
        if known != why:
            revision = self._content.revision or None
            self._log.error("source_unreachable", address=self._state.address, error=why, in_force=revision)
            # Once for each new reason, since every byte is read: perhaps it is not the repository.
            if self._mirror.is_damaged():
                self._mirror.renew()
                self._say_renewed()

    def _consider(self, newest: str, stop: threading.Event) -> frozenset[str]:
        if newest == self._content.revision:
            self._state = replace(self._state, refused_revision=None, refused=())
            return frozenset()
        before = self._base.revision if self._base is not None else ""
        way = self._way(before, newest, stop)
        refused = self._judge(newest, way)
        if refused and self._verifier.mode == "enforce":
            self._refuse(newest, refused)
            return frozenset()
        for each in refused:
            self._log.warning("revision_unsigned", **_as_log(each))
        (revision,) = self._mirror.describe([newest])
        if before and way.rewritten:
            self._log.warning("source_rewritten", before=before, revision=newest, author=revision.author)
        changed = self._take_in(before, newest, way)
        self._state = replace(self._state, revision=revision, refused_revision=None, refused=())
        self._log.info(
            "source_revision",
            revision=newest,
            before=before or None,
            author=revision.author,
            subject=scrub(revision.subject),
            files=len(changed),
        )
        return changed

    def _way(self, before: str, newest: str, stop: threading.Event) -> Way:
        if not before:
            return Way((newest,), complete=True, rewritten=False)
        if newest == before:
            return Way((), complete=True, rewritten=False)
        try:
            return self._mirror.way(before, newest, stop)
        except GitFailed:
            if self._verifier.mode != "off" and self._verifier.scope == "all":
                raise
            # Only who changed what is less exact without the commits between.
            return Way((newest,), complete=False, rewritten=False)

    def _judge(self, newest: str, way: Way) -> tuple[Refused, ...]:
        """Return the commits whose signatures are not good enough."""
        verifier = self._verifier
        if verifier.mode == "off":
            return ()
        commits: Sequence[str] = (newest,) if verifier.scope == "tip" else way.commits or (newest,)
        if verifier.scope == "all" and self._base is not None and not self._base.judged:
            # What came into force unjudged is no ground to judge on.
            commits = tuple(dict.fromkeys((*commits, self._base.revision)))
        bad = [verdict for verdict in verifier.judge(self._mirror, commits) if not verdict.good]
        refused = self._explain(bad)
        if verifier.scope == "all" and not way.complete:
            (revision,) = self._mirror.describe([newest])
            why = (
                f"its history does not meet the revision in force within {self._mirror.depth} commits, so that not all"
                " of it can be judged; raise --git-depth, or judge the tip alone with --verify-scope tip"
            )
            refused = (*refused, Refused(revision, why))
        return refused

    def _explain(self, bad: Sequence[Verdict]) -> tuple[Refused, ...]:
        revisions = self._mirror.describe([verdict.commit for verdict in bad[:REFUSED_NAMED]])
        return tuple(Refused(revision, verdict.said) for revision, verdict in zip(revisions, bad, strict=False))

    def _refuse(self, newest: str, refused: tuple[Refused, ...]) -> None:
        (revision,) = self._mirror.describe([newest])
        if self._state.refused_revision != revision or self._state.refused != refused:
            for each in refused:
                self._log.error(
                    "revision_refused", **_as_log(each), newest=newest, in_force=self._content.revision or None
                )
        self._state = replace(self._state, refused_revision=revision, refused=refused)

    def _take_in(self, before: str, newest: str, way: Way) -> frozenset[str]:
        """Put a revision in force and return the files that it changed."""
        judged = InForce(newest, self._verifier.mode == "enforce")
        if not before or not self._content.revision or not self._mirror.has(before):
            # Nothing to compare trees with: the files are compared instead.
            everything = self._mirror.entries(newest, self._path)
            if not (before or everything) and self._path:
                # Nothing was ever in force that could stay so: it was never there.
                raise SettingsError(f"path: there is no such folder or file in commit {newest[:12]}: {self._path}")
            entries = self._documents(everything)
            known = self._content.entries
            changed = frozenset(file for file in known.keys() | entries.keys() if known.get(file) != entries.get(file))
            self._changed_by.update(dict.fromkeys(changed, newest) if known else {})
            self._mirror.note_absent([entry.id for entry in entries.values()])
            self._take(newest, everything)
            self._put_in_force(judged)
            self._say_unread(newest, everything)
            return changed
        found = self._mirror.changes(before, newest, self._path)
        changes = {_shown(file) for file in found}
        touched = self._mirror.touched(way, self._path)
        fresh = self._documents({file: entry for file, entry in found.items() if entry is not None})
        entries = {file: entry for file, entry in self._content.entries.items() if file not in changes} | fresh
        changed = frozenset(file for file in changes if file in fresh or file in self._content.entries)
        changed_by = {file: touched.get(file, newest) for file in changed}
        self._describe(*self._mirror.describe(sorted({newest, *changed_by.values()})))
        self._mirror.note_absent([entry.id for entry in fresh.values()])
        self._read_ahead(fresh)
        # What is gone, or was renamed, would add up over the months.
        self._changed_by = {file: commit for file, commit in (self._changed_by | changed_by).items() if file in entries}
        self._put_in_force(judged)
        closed = (self._content.closed - found.keys()) | self._closed(found)
        self._content = _Content(newest, entries, closed)
        self._say_unread(newest, found)
        return changed

    def _put_in_force(self, newest: InForce) -> None:
        self._base = newest
        self._mirror.accept(newest.revision)
        self._describe(in_force=newest)

    def _take(self, revision: str, everything: dict[str, Entry]) -> None:
        entries = self._documents(everything)
        (described,) = self._mirror.describe([revision])
        self._describe(described)
        self._read_ahead(entries)
        self._content = _Content(revision, entries, self._closed(everything))
        self._state = replace(self._state, revision=described)

    def _read_ahead(self, entries: Mapping[str, Entry]) -> None:
        """Read what the follower is about to ask for, with one git for all of it."""
        self._ahead.clear()
        held = 0
        by_id: dict[str, list[str]] = {}
        for file, entry in entries.items():
            by_id.setdefault(entry.id, []).append(file)
        for identifier, data in self._mirror.blobs(list(by_id)):
            held += len(data or b"")
            if held > AHEAD_BYTES:
                return  # the rest is read when it is asked for, file by file
            for file in by_id[identifier]:
                self._ahead[file] = data

    def _documents(self, entries: Mapping[str, Entry]) -> dict[str, Entry]:
        """Return those of some entries that a folder's walk would find: no hidden name on the way, the right ending."""
        found = {}
        for file, entry in entries.items():
            if file.endswith(SUFFIXES) and not self._is_hidden(file) and (entry.is_file or entry.is_link):
                found[_shown(file)] = entry if is_nameable(file) else entry._replace(mode=0)
        return found

    def _is_hidden(self, file: str) -> bool:
        rest = file if not self._path or file == self._path else file[len(self._path) + 1 :]
        return rest.startswith(".") or "/." in rest

    def _closed(self, entries: Mapping[str, Entry | None]) -> frozenset[str]:
        """Return the links and submodules among some entries, behind which documents may be that are not read."""
        return frozenset(
            file
            for file, entry in entries.items()
            if entry is not None
            and not (entry.is_file or (entry.is_link and file.endswith(SUFFIXES)) or self._is_hidden(file))
        )

    def _say_unread(self, revision: str, entries: Mapping[str, Entry | None]) -> None:
        """Say once of what looks like documents, or a place of documents, that it is not read.

        Args:
            revision: in force now.
            entries: of it, or those that it changed.
        """
        for file in [file for file, entry in entries.items() if entry is None]:
            self._said.pop(file, None)
        self._say_links(revision, entries)
        unread = {}
        for file, entry in entries.items():
            if entry is not None and not self._is_hidden(file):
                if entry.is_submodule:
                    unread[file] = "a submodule, which a Git source does not read; what was there before stays in force"
                elif not entry.is_folder and differs_in_case(file):
                    unread[file] = WRONG_CASE
        self._say_once({file: unread[file] for file in sorted(unread) if is_nameable(file)})

    def _say_links(self, revision: str, entries: Mapping[str, Entry | None]) -> None:
        """Say of each link to a folder, once, that it is not followed: else what is behind it would be missed."""
        links = [
            file
            for file, entry in entries.items()
            if entry is not None and entry.is_link and not (file.endswith(SUFFIXES) or self._is_hidden(file))
        ]
        asked = sorted(filter(is_nameable, links))[:LINKS_NAMED]
        try:
            found = self._mirror.ways_out(revision, asked) if asked else {}
        except GitFailed:
            return  # a word of warning less
        gone = [file for file, entry in entries.items() if entry is None]
        for file in asked:
            # One that leads nowhere matters where documents were before.
            if file not in found and any(each.startswith(f"{file}/") for each in gone):
                found[file] = "nothing that is there"
        self._say_once(
            {
                file: f"a link to {where}, and what is there is not followed in a Git source"
                for file, where in found.items()
            }
        )

    def _say_once(self, words: Mapping[str, str]) -> None:
        """Say of some places why they are not read, except for what was said of them before."""
        for file in [file for file, why in words.items() if self._said.get(file) != why][:LINKS_NAMED]:
            self._said[file] = words[file]
            self._log.warning("source_warning", detail=f"{file}: {words[file]}")

    def _follow(self, file: str, data: bytes) -> bytes | Problem:
        """Return the content of a link: none, since what it leads to counts under its own name; or what is wrong."""
        target = os.fsdecode(data)
        place = posixpath.normpath(posixpath.join(posixpath.dirname(file), target))
        if place in self._content.entries and not self._content.entries[place].is_link:
            return b""
        message = f"symbolic link to {target[:200]!r}: in a Git source a link may only lead to a document of the source"
        return Problem(file, 1, 1, message, rule="link-outside")


def _shown(file: str) -> str:
    """Return a path that fits into a line of text."""
    return file if is_nameable(file) else file.encode("unicode_escape").decode("ascii")


def _stamp(entry: Entry, size: int) -> FileStamp:
    # The object's ID in place of the file's number: equal ones mean equal bytes, whatever any clock says.
    return FileStamp(size, 0, 0, int(entry.id[:15], 16), 0, 1 << 62)


def _as_log(refused: Refused) -> dict[str, str]:
    revision = refused.revision
    return {
        "revision": revision.id,
        "author": revision.author,
        "subject": scrub(revision.subject),
        "why": refused.why,
    }
