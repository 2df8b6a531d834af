"""Workspaces that rest, because their API does not answer or their access key is refused, and who finds out about it.

All keys of such a workspace lie aside in the work queue, whatever their number, and one question after the other asks
whether it is over: soon after one another while an edit waits, ever more seldom while none does. Where only PATCHes
fail, looks go on, and the question is a PATCH: one key gets its turn for all that wait.

What must never happen here: a workspace that rests and is not asked about, questions whose number grows with that of
the recordings, a place of the gate that hangs on an API which never answers, or a workspace's rest that holds up
another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from reconciler.model import CallKey, Clock, CredentialRefused, Priority, ProviderError, RecordingKey, Resting
from reconciler.providers import CircuitChange
from reconciler.reconcile import UNAUTHORIZED_SECONDS

#: While an edit waits, a question leaves this often, in seconds: the first PATCH shall leave within a second of the
#: API's return, and three requests a second are a burden to nobody.
HURRY_SECONDS: Final = 0.35
#: While none does, the questions come ever more seldom, down to one in so many seconds.
LONGEST_SECONDS: Final = 15.0
#: A question is given up after so long, in seconds, since the next may be answered at once where this one hangs for
#: ever. One of each workspace is not, for an API that is slow answers as well.
SHORT_SECONDS: Final = 1.0
#: Questions under way over all workspaces: those that are given up soon, and those that are not. They take places of
#: the gate, and those of the workspaces that are well must not be among them.
SHORT_QUESTIONS: Final = 4
PATIENT_QUESTIONS: Final = 2
#: When a turn that was to find out has sent nothing, the next one follows after so long, in seconds.
NEXT_SECONDS: Final = 1.0

_EDITS: Final = frozenset({Priority.PAUSE, Priority.EDIT})


class Cause(StrEnum):
    """Why a workspace rests."""

    #: Requests fail one after the other.
    API = "api_away"
    #: PATCHes do, while looks are answered.
    PATCHES = "patches_fail"
    #: The access key is refused.
    KEY = "key_refused"


@dataclass(slots=True)
class _Rest:
    cause: Cause
    #: Whether looks rest too; else only what waits for a PATCH.
    looks: bool
    since: datetime
    #: In words, with the API's own where there are any.
    reason: str
    #: When it is to be asked next, and not before when, on the monotonic clock.
    due: float
    not_before: float
    asked: int = 0
    asked_at: float = float("-inf")
    #: Whether the question that is not given up is under way.
    patient: bool = False


class Queue(Protocol):
    """What is needed of the work queue's workers."""

    def rest(self, group: str, /) -> None: ...
    def wake(self, group: str, /) -> None: ...
    def wake_one(self, group: str, /) -> RecordingKey | None: ...
    def first_at_rest(self, group: str, /) -> RecordingKey | None: ...
    def waits(self, group: str, priorities: Collection[Priority], /) -> bool: ...


@dataclass(frozen=True, slots=True)
class Questions:
    """How to find out whether a workspace is answered again."""

    #: Asks about a call for the answer's sake. Raises `CredentialRefused` or another `ProviderError` where it got none.
    probe: Callable[[CallKey], Awaitable[None]]
    #: Told the workspace that was answered, and the refusal of a key.
    answered: Callable[[str], None]
    refused: Callable[[CredentialRefused], None]
    #: Answers in how many seconds a PATCH to a workspace may find out; 0 where it may now.
    patch_seconds: Callable[[str], float]


class Rests:
    """Which workspaces rest, and the job that asks about them."""

    def __init__(
        self,
        queue: Queue,
        questions: Questions,
        clock: Clock,
        some_call: Callable[[str], CallKey | None],
        changed: Callable[[str, Resting | None], None],
    ) -> None:
        """Begin with none.

        Args:
            queue: where keys lie aside.
            questions: how to find out.
            clock: time.
            some_call: names a call of a workspace; None where there is none.
            changed: told of each workspace that begins to rest, for another cause or no more.
        """
        self._queue = queue
        self._questions = questions
        self._clock = clock
        self._some_call = some_call
        self._changed = changed
        self._rests: dict[str, dict[Cause, _Rest]] = {}
        self._asking: set[asyncio.Task[None]] = set()
        self._short = 0
        self._patient = 0
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._rests)

    def __iter__(self) -> Iterator[Resting]:
        """Yield how each workspace rests, by its ID."""
        return (self._resting(workspace_id) for workspace_id in sorted(self._rests))

    def looks_rest(self, workspace_id: str) -> bool:
        """Whether a workspace is not even looked at."""
        return any(rest.looks for rest in self._rests.get(workspace_id, {}).values())

    def patches_rest(self, workspace_id: str) -> bool:
        """Whether no PATCH leaves to a workspace."""
        return workspace_id in self._rests

    def begin(self, workspace_id: str, cause: Cause, reason: str, *, looks: bool, seconds: float) -> None:
        """Let a workspace rest, or note that it rests for this cause too.

        Args:
            workspace_id: the workspace.
            cause: why.
            reason: why, in words.
            looks: whether looks rest too.
            seconds: how long it is not asked about.
        """
        causes = self._rests.setdefault(workspace_id, {})
        rest = causes.get(cause)
        if rest is not None and rest.looks == looks:
            return
        not_before = self._clock.monotonic() + seconds
        causes[cause] = _Rest(cause, looks, self._clock.now(), reason, not_before, not_before)
        self._settle(workspace_id)

    def end(self, workspace_id: str, cause: Cause) -> None:
        """Note that a cause holds no more; with the last one all keys of the workspace come back."""
        causes = self._rests.get(workspace_id, {})
        if causes.pop(cause, None) is None:
            return
        if not causes:
            del self._rests[workspace_id]
        if not self.looks_rest(workspace_id):
            # What waits for another cause finds that out in a turn of its own.
            self._queue.wake(workspace_id)
        if cause is Cause.API:
            # Where one workspace is answered, the others may be: they share an address.
            for others in self._rests.values():
                for rest in others.values():
                    if rest.cause is Cause.API:
                        rest.due = self._clock.monotonic()
        self._settle(workspace_id)

    def circuit_changed(self, change: CircuitChange) -> None:
        """Leave a workspace alone whose requests fail one after the other, or go on with it."""
        looks = change.requests == "all"
        cause = Cause.API if looks else Cause.PATCHES
        if change.opened:
            what = "request" if looks else "PATCH"
            reason = f"the API does not answer: {what} after {what} failed ({change.code})"
            self.begin(change.workspace_id, cause, reason, looks=looks, seconds=change.seconds)
        else:
            self.end(change.workspace_id, cause)

    def key_taken(self, workspace_id: str) -> None:
        """Go on with a workspace that takes its access key again."""
        self.end(workspace_id, Cause.KEY)

    def ask_now(self, workspace_id: str) -> None:
        """Ask about a workspace at once: its key has changed."""
        for rest in self._rests.get(workspace_id, {}).values():
            rest.due = rest.not_before = self._clock.monotonic()
        self._wake.set()

    def edit_came(self, workspace_id: str) -> None:
        """Ask soon about a workspace to which somebody wants to send something."""
        for rest in self._rests.get(workspace_id, {}).values():
            if rest.cause is Cause.API:
                rest.due = min(rest.due, max(rest.not_before, rest.asked_at + HURRY_SECONDS))
                # The edit has a turn of its own before it waits here: the next question must not think that none does.
                rest.asked = 0
        self._wake.set()

    async def ask(self) -> None:
        """Ask about what rests, for ever."""
        try:
            while True:
                self._wake.clear()
                seconds = self._ask_due()
                try:
                    async with asyncio.timeout(seconds):
                        await self._wake.wait()
                except TimeoutError:
                    pass
        finally:
            for task in self._asking:
                task.cancel()
            await asyncio.gather(*self._asking, return_exceptions=True)

    def _settle(self, workspace_id: str) -> None:
        if self.looks_rest(workspace_id):
            self._queue.rest(workspace_id)
        self._changed(workspace_id, self._resting(workspace_id) if workspace_id in self._rests else None)
        self._wake.set()

    def _resting(self, workspace_id: str) -> Resting:
        causes = self._rests[workspace_id]
        # What a person must do something about comes first, and looks before PATCHes.
        told = next(causes[cause] for cause in (Cause.KEY, Cause.API, Cause.PATCHES) if cause in causes)
        since = min(rest.since for rest in causes.values())
        return Resting(workspace_id, since, told.cause.value, told.reason, self.looks_rest(workspace_id))

    def _ask_due(self) -> float | None:
        """Ask about whatever is due; return in how many seconds to look again, None where nothing rests."""
        now = self._clock.monotonic()
        due = sorted(
            (not self._is_urgent(workspace_id), rest.due, workspace_id, rest.cause)
            for workspace_id, causes in self._rests.items()
            for rest in causes.values()
            if rest.due <= now
        )
        for _, _, workspace_id, cause in due:
            rest = self._rests[workspace_id][cause]
            if rest.looks:
                self._start_question(workspace_id, rest, now)
            else:
                self._let_one_try(workspace_id, rest, now)
        nearest = min((rest.due for causes in self._rests.values() for rest in causes.values()), default=None)
        # What found no place is due already, and waits for one.
        return None if nearest is None else max(HURRY_SECONDS / 2, nearest - now)

    def _is_urgent(self, workspace_id: str) -> bool:
        return self._queue.waits(workspace_id, _EDITS)

    def _let_one_try(self, workspace_id: str, rest: _Rest, now: float) -> None:
        left = self._questions.patch_seconds(workspace_id)
        if left <= 0:
            self._queue.wake_one(workspace_id)
        rest.due = now + max(left, NEXT_SECONDS)

    def _start_question(self, workspace_id: str, rest: _Rest, now: float) -> None:
        key = self._queue.first_at_rest(workspace_id)
        call = self._some_call(workspace_id) if key is None else key.call
        patient = not rest.patient and self._patient < PATIENT_QUESTIONS
        if call is None or not (patient or self._short < SHORT_QUESTIONS):
            rest.due = now + (LONGEST_SECONDS if call is None else 0.0)
            return
        # Counted here, since the task begins only once this is over.
        rest.patient |= patient
        self._patient += patient
        self._short += not patient
        task = asyncio.create_task(self._question(workspace_id, rest, call, patient=patient))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        rest.asked += 1
        rest.asked_at = now
        if rest.cause is Cause.KEY:
            rest.due = now + UNAUTHORIZED_SECONDS
        elif self._is_urgent(workspace_id):
            rest.due = now + HURRY_SECONDS
        else:
            rest.due = now + min(LONGEST_SECONDS, HURRY_SECONDS * 2.0 ** min(rest.asked, 8))

    async def _question(self, workspace_id: str, rest: _Rest, call: CallKey, *, patient: bool) -> None:
        try:
            async with asyncio.timeout(None if patient else SHORT_SECONDS):
                await self._questions.probe(call)
        except CredentialRefused as error:
            self._questions.refused(error)
        except (ProviderError, TimeoutError):
            pass
        else:
            self._questions.answered(workspace_id)
        finally:
            self._patient -= patient
            self._short -= not patient
            if patient:
                rest.patient = False
            self._wake.set()
