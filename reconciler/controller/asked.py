"""What other processes may ask of the daemon: to send once what a limit refused, and to look at everything now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from reconciler.controller.judging import Judge
from reconciler.controller.parts import Following, Waiting
from reconciler.controller.requests import Answer, Desk, RequestRefused
from reconciler.controller.wakes import Wakes
from reconciler.model import Priority, Request
from reconciler.reconcile import Reconciler
from reconciler.telemetry import visible

#: How many names that a request gave and no document has are named in its answer.
MISSING_NAMES: Final = 10


class Asked:
    """Does what is asked for."""

    def __init__(
        self,
        desk: Desk,
        following: Following,
        judge: Judge,
        reconciler: Reconciler,
        waiting: Waiting,
        wakes: Wakes,
    ) -> None:
        self._desk = desk
        self._following = following
        self._judge = judge
        self._reconciler = reconciler
        self._waiting = waiting
        self._wakes = wakes
        desk.serve("approve", self._approve)
        desk.serve("sync", self._sync)

    async def _approve(self, request: Request, about: Mapping[str, Any]) -> Answer:
        answer, keys = await self._judge.approve(self._desk, request, about)
        for key in keys:
            self._waiting.workers.add(key, Priority.EDIT, passes=True)
        return answer

    async def _sync(self, _request: Request, about: Mapping[str, Any]) -> Answer:
        """Look at everything now, or at the recordings of some documents."""
        names = about.get("names")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise RequestRefused("`sync` takes a list of names")
        if not names:
            self._wakes.look_at_everything()
            total = len(self._following.catalog.desired)
            return Answer(f"looking at all {total} recordings now", {"recordings": total})
        wanted = set(names)
        keys = {
            document.name: document.key
            for document in self._following.catalog.desired.values()
            if document.name in wanted
        }
        missing = sorted(wanted - keys.keys())
        if missing:
            raise RequestRefused(f"no document in force is named {', '.join(map(visible, missing[:MISSING_NAMES]))}")
        self._reconciler.look_afresh()
        for key in sorted(keys.values()):
            self._waiting.workers.add(key, Priority.EDIT)
        count = "1 recording" if len(keys) == 1 else f"{len(keys)} recordings"
        return Answer(f"looking at {count} now", {"recordings": len(keys)})
