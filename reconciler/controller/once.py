"""Bring many recordings to what is desired, once: the one program of `apply` and of `run --once`.

Look at everything, make the plan, have it reviewed, then give each recording turns until it is at its end. Turns come
from the work queue, so that a command waits, retries and shares looks exactly as the daemon does; since it ends, what
keeps failing is given up after a while and reported.

What must never happen here: a PATCH before the plan has been reviewed, or for what the plan withholds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol

from reconciler.controller.observing import Observed, look
from reconciler.controller.pace import Pace, Progress, work_through
from reconciler.model import (
    Action,
    Clock,
    CredentialRefused,
    Desired,
    LeaseLost,
    Outcome,
    Phase,
    Postponed,
    Priority,
    Reason,
    Record,
    RecordingKey,
    Status,
)
from reconciler.plan import Limits, Plan, make_plan
from reconciler.providers import Accepted
from reconciler.reconcile import LiveReader, LiveState, Observer, Reconciler, Sender, Turn
from reconciler.work import Again


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a convergence starts from: the documents, what is recorded, and the limits that the plan is held against."""

    desired: tuple[Desired, ...]
    records: Mapping[RecordingKey, Record]
    limits: Limits
    #: How long a call may live, in seconds.
    call_seconds: float
    #: The Git commit of all documents; None where that is not known.
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class Agreed:
    """A plan that may be sent."""

    plan: Plan
    #: Ends the convergence early once it is set; turns under way end first.
    stop: asyncio.Event
    #: The actions that were approved, where nothing but these may be sent.
    expected: Mapping[RecordingKey, Action] | None = None


class Operator(Protocol):
    """Whoever started the program: is shown the progress and the plan, and says whether it may be sent."""

    def reading(self, calls: int, /) -> AbstractContextManager[Progress]:
        """Show the progress of reading so many calls."""
        ...

    async def review(self, plan: Plan, observed: Observed, /) -> Agreed | None:
        """Show the plan, and answer what of it may be sent; None for nothing."""
        ...

    def converging(self, recordings: int, /) -> AbstractContextManager[Progress]:
        """Show the progress of bringing so many recordings to their end."""
        ...


class Api(LiveReader, Sender, Protocol):
    """What a convergence needs of the API client."""


#: Makes what does the turns, given the live state as the plan saw it, and the actions that alone may be sent.
MakeReconciler = Callable[[LiveState, Mapping[RecordingKey, Action] | None], Reconciler]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a convergence ended."""

    plan: Plan
    observed: Observed
    #: The last turn of each recording that came to an end.
    turns: Mapping[RecordingKey, Turn]
    #: The recordings to which a PATCH was sent, and those whose PATCH was accepted.
    sent: frozenset[RecordingKey]
    accepted: frozenset[RecordingKey]
    #: Whether somebody asked to stop.
    interrupted: bool


async def converge(
    wanted: Wanted,
    api: Api,
    operator: Operator,
    make_reconciler: MakeReconciler,
    *,
    clock: Clock,
    pace: Pace,
) -> Ended | None:
    """Look, plan, have the plan reviewed, and send it; return how that ended, None where it may not be sent.

    Args:
        wanted: what is desired and what is recorded.
        api: the API client.
        operator: sees the plan before anything is sent.
        make_reconciler: makes what does the turns.
        clock: time and chance.
        pace: how much is done at once, and for how long.

    Raises:
        ReconcilerError: what `operator` or a turn raises.
    """
    observer = Observer(api, clock.now)
    observed = await look(
        wanted.desired, wanted.records, api, observer, clock=clock, pace=pace, reading=operator.reading
    )
    plan = make_plan(
        wanted.desired,
        observed.records(wanted.records),
        observed.live,
        now=clock.now(),
        limits=wanted.limits,
        revision=wanted.revision,
        unread=observed.unread(document.key for document in wanted.desired),
        call_seconds=wanted.call_seconds,
    )
    agreed = await operator.review(plan, observed)
    if agreed is None:
        return None
    plan = agreed.plan
    tally = _Tally(api)
    reconciler = make_reconciler(LiveState(observer, tally, observed.live), agreed.expected)
    keys = [action.key for action in plan.actions if action.key not in plan.withheld]
    with operator.converging(len(keys)) as progress:
        turns = await give_turns(
            keys,
            reconciler.reconcile,
            clock=clock,
            concurrency=pace.turns_at_once,
            give_up_seconds=pace.give_up_seconds,
            look_again_seconds=pace.look_again_seconds,
            progress=progress,
            stop=agreed.stop,
        )
    return Ended(
        plan, observed, turns, frozenset(tally.sent), frozenset(tally.accepted), interrupted=agreed.stop.is_set()
    )


class _Tally:
    """Sends what it is given, and knows what was sent and what was accepted."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self.sent: set[RecordingKey] = set()
        self.accepted: set[RecordingKey] = set()

    async def set_status(self, key: RecordingKey, status: Status) -> Accepted:
        """See `reconciler.reconcile.Sender`."""
        self.sent.add(key)
        try:
            accepted = await self._sender.set_status(key, status)
        except (Postponed, LeaseLost):  # it never left
            self.sent.discard(key)
            raise
        self.accepted.add(key)
        return accepted


async def give_turns(
    keys: Iterable[RecordingKey],
    reconcile: Callable[[RecordingKey, Priority], Awaitable[Turn]],
    *,
    clock: Clock,
    concurrency: int,
    give_up_seconds: float,
    look_again_seconds: float,
    progress: Progress,
    stop: asyncio.Event,
) -> dict[RecordingKey, Turn]:
    """Give each recording turns until it is applied, or refused, or has nothing left to wait for.

    Args:
        keys: the recordings.
        reconcile: does one turn.
        clock: time and chance.
        concurrency: how many turns run at once.
        give_up_seconds: how long what keeps failing is tried again.
        look_again_seconds: how long a recording that is not found is looked for.
        progress: told once for each recording.
        stop: ends it early; turns that are running then end first.

    Returns:
        The last turn of each recording that came to an end.
    """
    turns: dict[RecordingKey, Turn] = {}
    started = clock.monotonic()

    async def turn(key: RecordingKey, priority: Priority) -> Again | None:
        result = await reconcile(key, priority)
        elapsed = clock.monotonic() - started
        exhausted = result.outcome is Outcome.FAILED and elapsed >= give_up_seconds
        if result.again is not None and result.reason is Reason.NOT_FOUND and result.phase is Phase.WAITING:
            left = look_again_seconds - elapsed
            # The last look comes when the time is up, not when the growing waits would have it.
            if left > 0:
                return replace(result.again, after_seconds=min(result.again.after_seconds, left))
        elif result.again is not None and not exhausted and not _settled(result):
            return result.again
        turns[key] = result
        progress()
        return None

    await work_through(keys, turn, Priority.EDIT, clock, concurrency, stop)
    return turns


def _settled(turn: Turn) -> bool:
    """Return whether coming back would only wait for somebody or something outside this command."""
    if turn.phase is Phase.WAITING:
        # A doubt, or a request of an earlier process, is over in moments; until then nothing has been decided.
        return turn.reason in (None, Reason.NOT_CONTROLLABLE)
    return turn.phase in (Phase.HELD, Phase.REFUSED, Phase.UNCONFIRMED) or isinstance(turn.error, CredentialRefused)
