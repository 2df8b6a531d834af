"""The files of a branch, as its newest good commit has them: what a follower reads in place of a folder.

A commit is taken in whole: fetched, judged, and only then in force. What must never happen in this room: a commit whose
signature is refused, or that was not judged, changes anything; a repository that is out of reach, or a branch that is
gone, looks like one without documents.

    mirror (fetched) -> judging (may it?) -> content (its files, in force) -> unread (what of it is not read)
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from reconciler.desired.sources.content import RevisionFiles, Step
from reconciler.desired.sources.judging import Judge, Refused
from reconciler.desired.sources.stamps import FileStamp
from reconciler.desired.sources.tree import Tree
from reconciler.desired.sources.unread import Unread
from reconciler.git import Entry, GitFailed, GitUnavailable, Mirror, Verifier, Way
from reconciler.model import InForce, Problem, ReconcilerError, Revision, SettingsError
from reconciler.telemetry import Log, scrub

#: However many hooks come, a fetch begins no sooner than so long after the last one did.
LEAST_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class BranchSettings:
    """Which documents of which branch are followed, and how."""

    #: The repository's address, without user information, for people.
    address: str
    #: The branch, for people; empty for the one that the repository itself names.
    branch: str
    #: The folder or file in the repository that the documents are in; empty for all of it.
    path: str
    #: How often the branch is looked at without being told.
    interval_seconds: float
    #: Larger files are refused.
    max_file_bytes: int


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


class GitSource:
    """The documents of one branch. Implements what a follower asks of its files."""

    def __init__(
        self,
        mirror: Mirror,
        verifier: Verifier,
        settings: BranchSettings,
        *,
        in_force: InForce | None,
        describe: Callable[..., object],
        now: Callable[[], datetime],
        log: Log,
    ) -> None:
        """Put the parts together; `open` begins.

        Args:
            mirror: of the branch; nobody else uses it.
            verifier: judges the commits.
            settings: which documents are followed, and how.
            in_force: the revision that was in force last, from wherever it came: what is new is judged against it.
            describe: told of each revision that a decision may name, before it can be made, and which is in force.
            now: the time of day.
            log: where changes are said.
        """
        self._mirror = mirror
        self._judge = Judge(mirror, verifier)
        self._settings = settings
        self._base = in_force
        self._describe = describe
        self._now = now
        self._log = log
        self._state = SourceState(settings.address, settings.branch, settings.path, verifier.mode)
        self._files = RevisionFiles(mirror, settings.path, settings.max_file_bytes)
        self._unread = Unread(mirror, self._files.below, log)
        self._nudged: asyncio.Event | None = None
        self._nudged_early = False

    @property
    def state(self) -> SourceState:
        """Where the source stands."""
        return self._state

    @property
    def newest_revision(self) -> str | None:
        """The revision in force."""
        return self._files.revision or None

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
        if not self._files.revision:
            raise ReconcilerError(self._why_not())

    def _resume(self, base: InForce) -> bool:
        """Put the revision in force again that was so last; return whether the mirror could be read.

        Under `enforce` one that came into force unjudged has to be good by itself.
        """
        try:
            if self._judge.enforces and not base.judged:
                if not self._judge.is_good(base.revision):
                    return True
                self._base = base._replace(judged=True)
            everything = self._mirror.entries(base.revision, self._settings.path)
            step = self._files.anew(base.revision, everything)
            if not self._mirror.lacks([entry.id for entry in step.fresh.values()]):
                self._show(step)
                self._unread.say(base.revision, everything)
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
        way = self._judge.way(self._base.revision if self._base is not None else "", newest, never)
        refused = self._judge.judge(newest, way, self._base)
        self._show(self._files.anew(newest, self._mirror.entries(newest, self._settings.path)))
        (revision,) = self._mirror.describe([newest])
        return revision, refused

    def _show(self, step: Step) -> None:
        """Make the files of a revision readable here, whether or not it was in force before."""
        (described,) = self._mirror.describe([step.content.revision])
        self._describe(described)
        self._files.read_ahead(step.fresh)
        self._files.take(step)
        self._state = replace(self._state, revision=described)

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
        return file if self._files.below.covers(file) else None

    def walk(self) -> Tree:
        """Name every file of the revision in force."""
        return self._files.walk()

    def stamp(self, file: str) -> FileStamp | None:
        """Return a stamp that changes with the content; None when the revision in force has no such file."""
        return self._files.stamp(file)

    def read(self, file: str) -> bytes | Problem:
        """Return what the revision in force has in a file, or why not."""
        return self._files.read(file)

    def revision_of(self, file: str) -> str | None:
        """Return the commit that changed a file last; None for one that is as it was at the first look."""
        return self._files.revision_of(file)

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
                    async with asyncio.timeout_at(began + self._settings.interval_seconds):
                        await nudged.wait()
                        if not stop.is_set():
                            await asyncio.sleep(began + LEAST_SECONDS - loop.time())
                except TimeoutError:
                    pass
                if stop.is_set():
                    return
                nudged.clear()
                began = loop.time()
                was_gone, closed = self._files.is_gone, self._files.closed
                changed = await asyncio.to_thread(self._update, ended)
                moved = was_gone or self._files.is_gone or closed != self._files.closed
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
            revision = self._files.revision or None
            self._log.error("source_unreachable", address=self._state.address, error=why, in_force=revision)
            # Once for each new reason, since every byte is read: perhaps it is not the repository.
            if self._mirror.is_damaged():
                self._mirror.renew()
                self._say_renewed()

    def _consider(self, newest: str, stop: threading.Event) -> frozenset[str]:
        if newest == self._files.revision:
            self._state = replace(self._state, refused_revision=None, refused=())
            return frozenset()
        before = self._base.revision if self._base is not None else ""
        way = self._judge.way(before, newest, stop)
        refused = self._judge.judge(newest, way, self._base)
        if refused and self._judge.enforces:
            self._refuse(newest, refused)
            return frozenset()
        for each in refused:
            self._log.warning("revision_unsigned", **each.as_log())
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

    def _refuse(self, newest: str, refused: tuple[Refused, ...]) -> None:
        (revision,) = self._mirror.describe([newest])
        if self._state.refused_revision != revision or self._state.refused != refused:
            for each in refused:
                self._log.error(
                    "revision_refused", **each.as_log(), newest=newest, in_force=self._files.revision or None
                )
        self._state = replace(self._state, refused_revision=revision, refused=refused)

    def _take_in(self, before: str, newest: str, way: Way) -> frozenset[str]:
        """Put a revision in force and return the files that it changed."""
        path = self._settings.path
        found: Mapping[str, Entry | None]
        if not before or not self._files.revision or not self._mirror.has(before):
            # Nothing to compare trees with: the files are compared instead.
            everything = self._mirror.entries(newest, path)
            if not (before or everything) and path:
                # Nothing was ever in force that could stay so: it was never there.
                raise SettingsError(f"path: there is no such folder or file in commit {newest[:12]}: {path}")
            step, found = self._files.anew(newest, everything), everything
        else:
            found = self._mirror.changes(before, newest, path)
            step = self._files.onward(newest, found, self._mirror.touched(way, path))
        self._describe(*self._mirror.describe(sorted({newest, *step.changed_by.values()})))
        self._mirror.note_absent([entry.id for entry in step.fresh.values()])
        self._files.read_ahead(step.fresh)
        # In this order: what could not be put in force is found to differ once more at the next look.
        self._mirror.accept(newest)
        self._base = InForce(newest, self._judge.enforces)
        self._describe(in_force=self._base)
        self._files.take(step)
        self._unread.say(newest, found)
        return frozenset(step.changed_by)
