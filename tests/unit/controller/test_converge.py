"""Looking at many calls and converging many recordings, once: what is retried, what is given up, what is reported."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

import pytest

from reconciler.controller.observing import Observed, observe_all
from reconciler.controller.once import give_turns
from reconciler.model.actions import Reason, Rule
from reconciler.model.errors import (
    CredentialRefused,
    ProviderError,
    Rejected,
    SettingsError,
    StoreError,
    Unanswered,
)
from reconciler.model.keys import CallKey, RecordingKey
from reconciler.model.moments import Clock
from reconciler.model.statuses import Live, Outcome, Phase
from reconciler.model.work import Priority
from reconciler.plan.limits import Refusal
from reconciler.reconcile.observer import Observer
from reconciler.reconcile.surroundings import Turn
from reconciler.work.queue import Again
from tests.world.nouns import NOW, key
from tests.world.virtual_loop import run_virtually

WORKSPACES = 2


def wall() -> datetime:
    return NOW + timedelta(seconds=asyncio.get_running_loop().time())


def clock() -> Clock:
    return Clock(wall, asyncio.get_running_loop().time, lambda: 0.5)


def unavailable(*, retry_after: float | None = None) -> Unanswered:
    return Unanswered("503", code="http_503", status=503, retry_after=retry_after)


def unauthorized(call: CallKey) -> CredentialRefused:
    return CredentialRefused("the key was refused", status=401, workspace_id=call.workspace_id)


class Api:
    """Answers `ongoing` for everything, unless a call has a fault: then what the fault makes of the number of tries."""

    def __init__(self, faults: dict[CallKey, Callable[[int], Exception | None]] | None = None) -> None:
        self.faults = faults or {}
        self.reads: Counter[CallKey] = Counter()
        self.read_at: dict[CallKey, list[float]] = {}
        self.in_flight = self.most = 0

    async def observe_call(self, call: CallKey, wanted: Collection[str], *, priority: Priority) -> dict[str, Live]:
        assert priority in (Priority.EDIT, Priority.RETRY)
        self.reads[call] += 1
        self.read_at.setdefault(call, []).append(asyncio.get_running_loop().time())
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            await asyncio.sleep(0.1)
        finally:
            self.in_flight -= 1
        fault = self.faults.get(call)
        error = None if fault is None else fault(self.reads[call])
        if error is not None:
            raise error
        return {recording_id: Live.from_word("ongoing", wall()) for recording_id in wanted}


async def look_at(
    keys: list[RecordingKey],
    api: Api,
    *,
    give_up_seconds: float = 120.0,
    concurrency: int = 8,
    stop: asyncio.Event | None = None,
    ticks: list[None] | None = None,
    observer: Observer | None = None,
) -> Observed:
    seen = [] if ticks is None else ticks
    return await observe_all(
        keys,
        api,
        observer or Observer(api, wall),
        clock=clock(),
        concurrency=concurrency,
        give_up_seconds=give_up_seconds,
        progress=lambda: seen.append(None),
        stop=stop or asyncio.Event(),
    )


def test_each_call_is_read_once_however_many_recordings_it_has() -> None:
    async def main() -> None:
        api, ticks = Api(), list[None]()
        keys = [key(number, call=number // 10) for number in range(1000)]
        observed = await look_at(keys, api, ticks=ticks)
        assert set(api.reads.values()) == {1}
        assert (len(api.reads), len(ticks), api.most) == (100, 100, 8)
        assert set(observed.live) == set(keys)
        assert observed.failures == {}
        assert observed.unread(keys) == frozenset()

    run_virtually(main())


def test_a_patch_that_follows_at_once_need_not_look_again() -> None:
    async def main() -> None:
        api = Api()
        observer = Observer(api, wall)
        await look_at([key(1)], api, observer=observer)
        live = await observer.observe(key(1), since=NOW, priority=Priority.EDIT)
        assert live.word == "ongoing"
        assert sum(api.reads.values()) == 1

    run_virtually(main())


def test_what_fails_for_a_while_is_read_in_the_end() -> None:
    async def main() -> None:
        call = key(1).call
        api = Api({call: lambda tries: unavailable(retry_after=7.0) if tries < 3 else None})
        observed = await look_at([key(1), key(2, call=9)], api)
        assert set(observed.live) == {key(1), key(2, call=9)}
        first, second, third = api.read_at[call]
        assert second - first >= 7.0, "Retry-After is obeyed"
        assert third - second >= 7.0

    run_virtually(main())


def test_what_keeps_failing_is_given_up_and_said_to_be_unread() -> None:
    async def main() -> None:
        call = key(1).call
        api, ticks = Api({call: lambda _tries: unavailable()}), list[None]()
        keys = [key(1), key(2), key(3, call=9)]
        observed = await look_at(keys, api, give_up_seconds=30.0, ticks=ticks)
        assert 30.0 <= asyncio.get_running_loop().time() <= 60.0
        assert isinstance(observed.failures[call], Unanswered)
        assert observed.unread(keys) == {key(1), key(2)}
        assert not observed.unauthorized
        assert set(observed.live) == {key(3, call=9)}
        assert len(ticks) == 2

    run_virtually(main())


def test_a_refusal_of_the_request_is_not_repeated() -> None:
    async def main() -> None:
        call = key(1).call
        api = Api({call: lambda _tries: Rejected("no", status=400, code="bad")})
        observed = await look_at([key(1)], api)
        assert isinstance(observed.failures[call], Rejected)
        assert api.reads == {call: 1}

    run_virtually(main())


def test_a_workspace_that_refuses_the_key_is_left_alone_and_the_others_are_read() -> None:
    async def main() -> None:
        keys = [key(number, call=number, workspace=1 + number % WORKSPACES) for number in range(100)]
        refused = [each for each in keys if each.workspace_id == keys[0].workspace_id]
        api, ticks = Api({each.call: lambda _tries: unauthorized(refused[0].call) for each in refused}), list[None]()
        observed = await look_at(keys, api, concurrency=4, ticks=ticks)
        assert sum(api.reads[each.call] for each in refused) <= 4
        assert set(observed.live) == set(keys) - set(refused)
        assert observed.unread(keys) == set(refused)
        assert observed.unauthorized
        assert len(ticks) == len(keys)

    run_virtually(main())


def test_what_is_no_failure_of_the_api_ends_the_look() -> None:
    async def main() -> None:
        api = Api({key(1).call: lambda _tries: SettingsError("no access key")})
        with pytest.raises(SettingsError):
            await look_at([key(1), key(2, call=9)], api)

    run_virtually(main())


def test_a_stop_ends_the_look_at_once_and_breaks_off_reads_in_flight() -> None:
    async def main() -> None:
        stop = asyncio.Event()
        api = Api()
        keys = [key(number, call=number) for number in range(100)]
        asyncio.get_running_loop().call_later(0.15, stop.set)
        observed = await look_at(keys, api, concurrency=2, stop=stop)
        assert (len(observed.live), sum(api.reads.values())) == (2, 4)
        assert api.in_flight == 0

    run_virtually(main())


def test_nothing_to_look_at_ends_at_once() -> None:
    async def main() -> None:
        assert await look_at([], Api()) == Observed()

    run_virtually(main())


# Converging.

Script = Callable[[RecordingKey, int], Turn]


async def converge_by(
    script: Script,
    keys: list[RecordingKey],
    *,
    give_up_seconds: float = 120.0,
    stop: asyncio.Event | None = None,
    ticks: list[None] | None = None,
) -> tuple[dict[RecordingKey, Turn], Counter[RecordingKey]]:
    taken: Counter[RecordingKey] = Counter()
    seen = [] if ticks is None else ticks

    async def reconcile(each: RecordingKey, _priority: Priority) -> Turn:
        taken[each] += 1
        await asyncio.sleep(0.01)
        return script(each, taken[each])

    turns = await give_turns(
        keys,
        reconcile,
        clock=clock(),
        concurrency=4,
        give_up_seconds=give_up_seconds,
        look_again_seconds=30.0,
        progress=lambda: seen.append(None),
        stop=stop or asyncio.Event(),
    )
    return turns, taken


CONFIRMING = Turn(Phase.CONFIRMING, Again(0.1, Priority.CONFIRM))
APPLIED = Turn(Phase.APPLIED, outcome=Outcome.APPLIED)


def test_each_recording_gets_turns_until_it_is_applied() -> None:
    async def main() -> None:
        keys, ticks = [key(number) for number in range(50)], list[None]()
        turns, taken = await converge_by(lambda _key, turn: APPLIED if turn == 3 else CONFIRMING, keys, ticks=ticks)
        assert turns == dict.fromkeys(keys, APPLIED)
        assert set(taken.values()) == {3}
        assert len(ticks) == 50

    run_virtually(main())


@pytest.mark.parametrize("phase", [Phase.HELD, Phase.WAITING, Phase.REFUSED, Phase.UNCONFIRMED])
def test_what_waits_for_somebody_else_is_left_after_one_turn(phase: Phase) -> None:
    async def main() -> None:
        left = Turn(phase, Again(3600.0, Priority.RESYNC))
        turns, taken = await converge_by(lambda _key, _turn: left, [key(1)])
        assert (turns, taken) == ({key(1): left}, {key(1): 1})
        assert asyncio.get_running_loop().time() < 1.0

    run_virtually(main())


def test_what_is_not_found_is_looked_for_until_the_time_is_up_and_then_left() -> None:
    async def main() -> None:
        missing = Turn(Phase.WAITING, Again(7.0, Priority.RETRY), reason=Reason.NOT_FOUND)
        turns, taken = await converge_by(lambda _key, _turn: missing, [key(1)])
        assert turns == {key(1): missing}
        assert taken[key(1)] == 6, "at 0, 7, 14, 21, 28 and 30 seconds"
        assert 30.0 <= asyncio.get_running_loop().time() < 31.0

    run_virtually(main())


def test_what_appears_late_is_brought_to_its_end() -> None:
    async def main() -> None:
        missing = Turn(Phase.WAITING, Again(1.0, Priority.RETRY), reason=Reason.NOT_FOUND)
        turns, _ = await converge_by(lambda _key, turn: APPLIED if turn == 4 else missing, [key(1)])
        assert turns == {key(1): APPLIED}

    run_virtually(main())


@pytest.mark.parametrize("reason", [Reason.CONTRADICTED, Reason.EDIT])
def test_a_doubt_of_a_moment_is_waited_out(reason: Reason) -> None:
    async def main() -> None:
        doubted = Turn(Phase.WAITING, Again(0.25, Priority.CONFIRM), reason=reason)
        turns, _ = await converge_by(lambda _key, turn: APPLIED if turn == 3 else doubted, [key(1)])
        assert turns == {key(1): APPLIED}

    run_virtually(main())


def test_a_refused_key_is_not_waited_for() -> None:
    async def main() -> None:
        refused = Turn(None, Again(60.0, Priority.RETRY), Outcome.FAILED, unauthorized(key(1).call))
        turns, taken = await converge_by(lambda _key, _turn: refused, [key(1)])
        assert (turns, taken) == ({key(1): refused}, {key(1): 1})

    run_virtually(main())


@pytest.mark.parametrize("error", [unavailable(), ProviderError("odd"), StoreError("the disk is full")], ids=repr)
def test_what_keeps_failing_is_tried_until_it_is_given_up(error: ProviderError | StoreError) -> None:
    async def main() -> None:
        failed = Turn(Phase.FAILED, Again(5.0, Priority.RETRY), Outcome.FAILED, error)
        turns, taken = await converge_by(lambda _key, _turn: failed, [key(1)], give_up_seconds=30.0)
        assert turns == {key(1): failed}
        assert taken[key(1)] == 7

    run_virtually(main())


def test_a_confirmation_is_waited_for_beyond_the_patience_with_failures() -> None:
    async def main() -> None:
        turns, _ = await converge_by(
            lambda _key, turn: APPLIED if turn == 100 else CONFIRMING, [key(1)], give_up_seconds=0.0
        )
        assert turns == {key(1): APPLIED}

    run_virtually(main())


def test_a_recording_that_fails_does_not_hold_up_the_others() -> None:
    async def main() -> None:
        failed = Turn(Phase.FAILED, Again(5.0, Priority.RETRY), Outcome.FAILED, unavailable())
        keys = [key(number) for number in range(20)]
        finished: list[float] = []

        def script(each: RecordingKey, turn: int) -> Turn:
            if each == key(7) and turn < 5:
                return failed
            finished.append(asyncio.get_running_loop().time())
            return APPLIED

        turns, _ = await converge_by(script, keys)
        assert turns == dict.fromkeys(keys, APPLIED)
        assert finished[-2] < 1.0 < finished[-1]

    run_virtually(main())


def test_a_refusal_is_in_the_last_turn() -> None:
    async def main() -> None:
        refusal = Refusal(Rule.RESUMES, 26, 25, "max_resumes: 25")
        refused = Turn(Phase.REFUSED, Again(60.0, Priority.RESYNC), Outcome.SKIPPED, refusal=refusal)
        turns, _ = await converge_by(lambda _key, _turn: refused, [key(1)])
        assert turns[key(1)].refusal is refusal

    run_virtually(main())


def test_a_stop_ends_it_and_only_what_came_to_an_end_is_returned() -> None:
    async def main() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(1.0, stop.set)
        turns, _ = await converge_by(
            lambda each, _turn: APPLIED if each == key(1) else CONFIRMING, [key(1), key(2)], stop=stop
        )
        assert turns == {key(1): APPLIED}

    run_virtually(main())


def test_an_error_that_is_no_outcome_ends_everything() -> None:
    async def main() -> None:
        def script(each: RecordingKey, _turn: int) -> Turn:
            if each == key(2):
                raise ValueError("a mistake in the program")
            return CONFIRMING

        with pytest.raises(ValueError, match="a mistake in the program"):
            await converge_by(script, [key(1), key(2)])

    run_virtually(main())
