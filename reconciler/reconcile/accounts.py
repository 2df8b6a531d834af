"""Workspaces whose access key was refused: left alone for a while, and then tried by one turn for all the others.

What must never happen here: a request from every recording of a workspace that has just refused one, or a line in the
log for each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from reconciler.model import Clock, CredentialRefused, Outcome, Priority
from reconciler.reconcile.record import CLOCK_STEP
from reconciler.reconcile.surroundings import Turn
from reconciler.telemetry import Sparing
from reconciler.work import Again

#: How long sending to a workspace stops after its access key was refused.
UNAUTHORIZED_SECONDS = 60.0


@dataclass(slots=True)
class _Refused:
    """A workspace whose access key was refused."""

    #: The `hash` of that access key; None when there was none.
    fingerprint: int | None
    #: Until when it is left alone.
    until: datetime
    #: Whether only a PATCH was refused. Then reads go on, and nothing but the answer to a PATCH shows an improvement.
    reads: bool


class RefusedKeys:
    """What is known of the workspaces that refused an access key and have not taken one since."""

    def __init__(
        self,
        clock: Clock,
        sparing: Sparing,
        fingerprint: Callable[[str], int | None],
        authorized_again: Callable[[str], None],
    ) -> None:
        """Begin with none.

        Args:
            clock: time and chance.
            sparing: where it is said that a key is refused, and that it is taken again.
            fingerprint: answers the `hash` of a workspace's present key; None when there is none.
            authorized_again: told the workspace whose key is taken again, so that what waited for it comes back.
        """
        self._clock = clock
        self._sparing = sparing
        self._fingerprint = fingerprint
        self._authorized_again = authorized_again
        self._refused: dict[str, _Refused] = {}

    @property
    def workspaces(self) -> frozenset[str]:
        """Workspaces that refused the access key and have not taken one since."""
        return frozenset(self._refused)

    def looks(self, workspace_id: str) -> bool:
        """Whether a workspace refuses the access key for looks as well, and not only for PATCHes."""
        refused = self._refused.get(workspace_id)
        return refused is not None and not refused.reads

    def try_new(self) -> list[str]:
        """Let the next turn of each refused workspace try its access key, if that has changed; return them."""
        changed = []
        for workspace_id, refused in self._refused.items():
            fingerprint = self._fingerprint(workspace_id)
            if fingerprint != refused.fingerprint:
                refused.fingerprint = fingerprint
                refused.until = self._clock.now()
                changed.append(workspace_id)
        return changed

    def rest_before_look(self, workspace_id: str, now: datetime) -> timedelta | None:
        """Return how long a look has to wait; None when it may leave, and try the access key for all others."""
        refused = self._refused.get(workspace_id)
        if refused is None or refused.reads:
            return None
        if _is_ahead(refused.until, now):
            return refused.until - now
        # The other recordings of the workspace go on waiting while this one looks.
        refused.until = now + timedelta(seconds=UNAUTHORIZED_SECONDS)
        return None

    def look_answered(self, workspace_id: str) -> None:
        """Go on with a workspace that refused looks, now that one was answered; of its PATCHes a look says nothing."""
        refused = self._refused.get(workspace_id)
        if refused is not None and not refused.reads:
            self.taken(workspace_id)

    def rest_before_patch(self, workspace_id: str, now: datetime) -> timedelta | None:
        """Return how long a PATCH has to wait; None when it may leave."""
        refused = self._refused.get(workspace_id)
        return refused.until - now if refused is not None and _is_ahead(refused.until, now) else None

    def seconds_before_patch(self, workspace_id: str) -> float:
        """Return in how many seconds a PATCH to a workspace may leave; 0 where it may now."""
        rest = self.rest_before_patch(workspace_id, self._clock.now())
        return 0.0 if rest is None else rest.total_seconds()

    def patch_leaves(self, workspace_id: str, now: datetime) -> None:
        """Note that a PATCH leaves; where one was refused before, all others wait for the answer to this one."""
        refused = self._refused.get(workspace_id)
        if refused is not None:
            refused.until = now + timedelta(seconds=UNAUTHORIZED_SECONDS)

    def taken(self, workspace_id: str) -> None:
        """Go on with a workspace that takes its access key, whatever it refused before."""
        if self._refused.pop(workspace_id, None) is not None:
            self._sparing.say("info", "authorized_again", workspace_id=workspace_id)
            self._authorized_again(workspace_id)

    def refuse(self, error: CredentialRefused, *, reads: bool) -> Turn:
        """Leave the workspace alone for a while, say so once, and return what the turn that found out came to.

        Args:
            error: the refusal.
            reads: whether it was a PATCH that was refused, so that reads may go on.
        """
        until = self._clock.now() + timedelta(seconds=UNAUTHORIZED_SECONDS)
        before = self._refused.get(error.workspace_id)
        if before is None:
            self._sparing.say(
                "error",
                "unauthorized",
                workspace_id=error.workspace_id,
                status=error.status,
                again_seconds=UNAUTHORIZED_SECONDS,
                error=str(error),
            )
        still_reads = reads and (before is None or before.reads)
        self._refused[error.workspace_id] = _Refused(error.fingerprint, until, still_reads)
        return Turn(None, Again(UNAUTHORIZED_SECONDS, Priority.RETRY), Outcome.FAILED, error)

    def look_refused(self, error: CredentialRefused) -> None:
        """Note that a look which no turn asked for was refused for its key."""
        self.refuse(error, reads=False)

    def blocked(self, workspace_id: str, rest: timedelta) -> Turn:
        """Return what a turn came to that has to wait for the workspace."""
        error = CredentialRefused(
            f"the key of workspace {workspace_id} was refused; nothing is sent to it for now",
            status=401,
            workspace_id=workspace_id,
        )
        again = Again(rest.total_seconds() + self._clock.random(), Priority.RETRY)
        return Turn(None, again, Outcome.FAILED, error)


def _is_ahead(until: datetime, now: datetime) -> bool:
    """Return whether a workspace's rest is not over; one that is longer than any was begun before a clock's jump."""
    return now < until <= now + timedelta(seconds=UNAUTHORIZED_SECONDS) + CLOCK_STEP
