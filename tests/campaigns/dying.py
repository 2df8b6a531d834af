"""The real daemon in a process that kills itself at a named point of a turn.

Each line on standard input is a JSON object: `point`, `count`, `sandbox` (its URL), `arguments` (of `reconciler`),
`folder` (the working directory) and `log` (a file for what it writes). For each, a process of its own runs the command,
with hooks around what a turn reads, writes and sends; when `count` recordings have come to the point, it ends by
SIGKILL. The answer is a line with its return code, as `subprocess` counts. The product knows nothing of this: the hooks
are put around its parts here, where the command takes them from. The processes are forked, so that all this is imported
but once.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
import urllib.request
from collections.abc import Awaitable
from datetime import datetime
from typing import Any

from reconciler.cli import daemon, program, running
from reconciler.controller import once
from reconciler.model.keys import RecordingKey
from reconciler.model.records import Event, Record
from reconciler.model.statuses import Live, Status
from reconciler.model.work import Priority
from reconciler.providers.bird import Accepted
from reconciler.reconcile.observer import Observer
from reconciler.reconcile.parts import Desires, LiveState, State
from reconciler.reconcile.surroundings import Sender, Writer
from reconciler.reconcile.turn import Reconciler

#: Where a turn can be cut off, in its order.
POINTS = (
    "looked",  # the live state is read, nothing is decided
    "decided",  # the PATCH is decided, its intent not handed to the writer
    "intent_handed_in",  # the writer has the intent, and the disk perhaps
    "intent_saved",  # the intent is on disk
    "before_send",  # the lease was asked, the PATCH has not left
    "sent",  # the API has the PATCH, its answer is not here
    "answered",  # the answer is here and not handed to the writer
    "acceptance_saved",  # the acceptance is on disk
    "observed",  # a read shows the effect, nothing is decided on it
    "outcome_handed_in",  # the writer has the outcome, and the disk perhaps
    "outcome_saved",  # the outcome is on disk
)


class Death:
    """Waits at a point until all who are to be there have come, and then ends the process."""

    def __init__(self, point: str, count: int, sandbox: str) -> None:
        self.point = point
        self.sandbox = sandbox
        #: Recordings whose PATCH was sent by this process: their next look is one for the effect.
        self.sent: dict[RecordingKey, Status] = {}
        self._count = count
        self._here: set[RecordingKey] = set()

    async def at(self, point: str, key: RecordingKey) -> None:
        """Stay here for ever if this is the point."""
        if point != self.point:
            return
        self._here.add(key)
        if len(self._here) == self._count:
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.Event().wait()

    def wait_for(self, key: RecordingKey) -> None:
        """Wait, in a thread, until the API has the recording's PATCH."""
        while not self._arrived(key):
            time.sleep(0.01)  # a look in between, until it holds

    def _arrived(self, key: RecordingKey) -> bool:
        with urllib.request.urlopen(f"{self.sandbox}/_sandbox/requests?method=PATCH", timeout=30) as answer:
            requests = json.load(answer)["requests"]
        return any(request["path"].endswith(key.recording_id) for request in requests)


DEATH: Death


class _Pen:
    """The writer of the turns."""

    def __init__(self, inner: Writer) -> None:
        self._inner = inner

    async def save(self, record: Record, *events: Event) -> None:
        words = {event.event for event in events}
        if "patch_sent" in words:
            await DEATH.at("decided", record.key)
        elif "patch_accepted" in words:
            await DEATH.at("answered", record.key)
        receipt = self._inner.save(record, *events)
        if "patch_sent" in words:
            await DEATH.at("intent_handed_in", record.key)
        elif "applied" in words:
            await DEATH.at("outcome_handed_in", record.key)
        await receipt
        if "patch_sent" in words:
            await DEATH.at("intent_saved", record.key)
        elif "patch_accepted" in words:
            await DEATH.at("acceptance_saved", record.key)
        elif "applied" in words:
            await DEATH.at("outcome_saved", record.key)

    def release(self, key: RecordingKey, *events: Event) -> Awaitable[None]:
        return self._inner.release(key, *events)

    def lease_valid(self) -> bool:
        return self._inner.lease_valid()


class _Voice:
    """The sender of the turns."""

    def __init__(self, inner: Sender) -> None:
        self._inner = inner

    async def set_status(self, key: RecordingKey, status: Status) -> Accepted:
        await DEATH.at("before_send", key)
        DEATH.sent[key] = status
        if DEATH.point != "sent":
            return await self._inner.set_status(key, status)
        # The test has told the sandbox to hold the answer back.
        sending = asyncio.ensure_future(self._inner.set_status(key, status))
        await asyncio.to_thread(DEATH.wait_for, key)
        await DEATH.at("sent", key)
        return await sending


class _Eyes(Observer):
    """The looks of the turns."""

    async def observe(self, key: RecordingKey, *, since: datetime, priority: Priority) -> Live:
        live = await super().observe(key, since=since, priority=priority)
        if key not in DEATH.sent:
            await DEATH.at("looked", key)
        elif live.satisfies(DEATH.sent[key]):
            await DEATH.at("observed", key)
        return live


class _Dying(Reconciler):
    """The real turns, with the hooks around their parts."""

    def __init__(self, desires: Desires, state: State, live_state: LiveState, *rest: Any) -> None:
        dying = live_state._replace(sender=_Voice(live_state.sender))
        super().__init__(desires, state._replace(writer=_Pen(state.writer)), dying, *rest)


def run_once(order: dict[str, Any]) -> int:
    """Run the command in a process of its own; return its return code, negative for a signal."""
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    global DEATH
    DEATH = Death(order["point"], order["count"], order["sandbox"])
    os.chdir(order["folder"])
    log = os.open(order["log"], os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        program.main(order["arguments"])
    finally:
        os._exit(99)


if __name__ == "__main__":
    # Set by name: each module takes the parts that it puts together from its own namespace.
    vars(running).update(Reconciler=_Dying)
    vars(daemon).update(Observer=_Eyes)
    vars(once).update(Observer=_Eyes)
    for line in sys.stdin:
        print(run_once(json.loads(line)), flush=True)
