"""Whether a revision may come into force: the commits on the way to it, and their signatures.

What must never happen in this room: a commit passes for good that was not looked at; what came into force unjudged is
the ground on which something else is judged.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from reconciler.git import GitFailed, Mirror, Verdict, Verifier, Way
from reconciler.model import InForce, Revision
from reconciler.telemetry import scrub

#: Of the commits that are refused, so many are named.
REFUSED_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class Refused:
    """A commit that may not change anything, and why."""

    revision: Revision
    why: str

    def as_log(self) -> dict[str, str]:
        """Return what a line of the log says of it."""
        return {
            "revision": self.revision.id,
            "author": self.revision.author,
            "subject": scrub(self.revision.subject),
            "why": self.why,
        }


class Judge:
    """Judges the revisions of a mirror by the keys of a verifier."""

    def __init__(self, mirror: Mirror, verifier: Verifier) -> None:
        self._mirror = mirror
        self._verifier = verifier

    @property
    def mode(self) -> str:
        """Whether signatures are looked at, and whether they decide."""
        return self._verifier.mode

    @property
    def enforces(self) -> bool:
        """Whether a revision that is refused may not come into force."""
        return self._verifier.mode == "enforce"

    def is_good(self, commit: str) -> bool:
        """Return whether a commit is good by itself.

        Raises:
            SettingsError: a file of keys cannot be read now, or names nobody.
            GitFailed: git cannot be run.
        """
        (verdict,) = self._verifier.judge(self._mirror, [commit])
        return verdict.good

    def way(self, before: str, newest: str, stop: threading.Event) -> Way:
        """Return what lies between the revision in force, empty before the first, and the newest one.

        Raises:
            GitFailed: it cannot be found out, and all commits on it have to be judged.
        """
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

    def judge(self, newest: str, way: Way, base: InForce | None) -> tuple[Refused, ...]:
        """Return the commits whose signatures are not good enough.

        Args:
            newest: the revision that is to come into force.
            way: the commits on the way to it.
            base: the revision in force.

        Raises:
            SettingsError: a file of keys cannot be read now, or names nobody.
            GitFailed: git cannot be run.
        """
        verifier = self._verifier
        if verifier.mode == "off":
            return ()
        commits: Sequence[str] = (newest,) if verifier.scope == "tip" else way.commits or (newest,)
        if verifier.scope == "all" and base is not None and not base.judged:
            # What came into force unjudged is no ground to judge on.
            commits = tuple(dict.fromkeys((*commits, base.revision)))
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
