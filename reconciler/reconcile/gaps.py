"""Times in which nobody looked: what was seen before one and is seen after it proves nothing of what lies between.

A process that looks once and ends, such as an `apply` that a timer starts, meets a gap at each recording each time. To
tell of each would fill the history with as many events as looks: the first is told as `seen_once`, after which nothing
is proven, and the next process that looks on tells that it does.

A gap begins where no look at a recording was answered for longer than looks are apart, since the API was away, the key
refused, or no process ran. It is told from looks that are merely slow, as where there are more recordings than the
budget has room for in a period: then others of the workspace are answered meanwhile.

What must never happen here: memory that grows with the number of recordings.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from reconciler.model import Live, Record


class Gaps:
    """Remembers of each workspace when it was last answered, and when it was answered again after a gap."""

    def __init__(self, apart: timedelta, began: datetime) -> None:
        """Begin as a process does, which has seen nothing.

        Args:
            apart: how far looks may lie apart and still prove what was between them.
            began: when this process did.
        """
        self._apart = apart
        self._began = began
        self._answered: dict[str, datetime] = {}
        self._back: dict[str, datetime] = {}

    def ends(self, before: Record, live: Live, *, failed: bool) -> bool:
        """Return whether a look that shows what the one before it showed is the first after a gap.

        Nothing leads out of a final status, so that no gap between two looks that show it leaves a doubt.

        Args:
            before: the record with the look before.
            live: the look.
            failed: whether looks at this recording were asked for and not answered since.
        """
        workspace_id, at = before.key.workspace_id, live.observed_at
        last = self._answered.get(workspace_id)
        if last is None or at - last > self._apart:
            self._back[workspace_id] = at
        self._answered[workspace_id] = at if last is None else max(at, last)
        if before.observed_at is None or not _agree(before, live):
            return False
        if at - before.observed_at <= self._apart:
            return False
        return failed or before.observed_at < self._back[workspace_id]

    def first_look(self, before: Record, live: Live) -> bool:
        """Return whether a look shows what the one before it showed, and that one was another process's."""
        return before.observed_at is not None and before.observed_at < self._began and _agree(before, live)


def _agree(before: Record, live: Live) -> bool:
    return before.live == live.word and not (live.final or live.missing)
