"""The safety limits: what a whole plan may change, and what the daemon may send in a span of time.

Aspects: what counts, a whole plan, the names of what is refused, and the daemon's window: change sets, approval, what
is said across a restart, and the override. With the daemon around it, `test_approve.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.actions import Action, ActionKind, Reason, Rule
from reconciler.model.keys import RecordingKey
from reconciler.model.records import Judged
from reconciler.model.statuses import Phase, Status
from reconciler.plan.limits import Limits, Refusal, kinds_of, name_of_items, withhold
from reconciler.plan.window import ChangeSet, Verdict, Window
from tests.world.nouns import NOW, key, look, patch

LIMITS = Limits()
MINUTE = timedelta(minutes=1)
#: Makes the action of the recording with a number.
Make = Callable[[int], Action]


def ending(number: int) -> Action:
    return patch(number, "completed", irreversible=True)


def resuming(number: int) -> Action:
    return patch(number, "ongoing", resumes=True, foreign=True, live=look("paused"))


def editing(number: int) -> Action:
    return patch(number, "ongoing", last_applied=Status.PAUSED)


def pausing(number: int) -> Action:
    return patch(number, "paused", last_applied=Status.ONGOING)


def drifting(number: int) -> Action:
    return patch(number, "ongoing", last_applied=Status.ONGOING, reason=Reason.DRIFT)


def keys(numbers: Iterable[int]) -> list[RecordingKey]:
    return [key(number) for number in numbers]


def edits(numbers: Iterable[int]) -> ChangeSet:
    """A change set in which each of the recordings has an applied status that its document now differs from."""
    changed = keys(numbers)
    return ChangeSet.of(changed, [(each, Status.ONGOING, Status.PAUSED) for each in changed])


def pauses(numbers: Iterable[int]) -> ChangeSet:
    """The same in the direction that does no harm."""
    changed = keys(numbers)
    return ChangeSet.of(changed, [(each, Status.PAUSED, Status.ONGOING) for each in changed])


def refusals(window: Window, change: ChangeSet, managed: int, now: datetime) -> list[Refusal]:
    return [refused.refusal for refused in window.announce(change, managed, now).refused]


def named(refusal: Refusal, numbers: Iterable[int], status: Status = Status.ONGOING) -> Refusal:
    """The refusal under the name of its content."""
    return replace(refusal, name=name_of_items(refusal.rule, dict.fromkeys(keys(numbers), status)))


def ends(numbers: Iterable[int]) -> ChangeSet:
    """A change set that wants each of the recordings, of which nothing is known yet, completed."""
    changed = keys(numbers)
    return ChangeSet.of(changed, [(each, Status.COMPLETED, None) for each in changed])


# What counts.


def test_a_patch_counts_towards_each_rule_that_it_touches() -> None:
    every = patch(1, "completed", irreversible=True, foreign=True, last_applied=Status.PAUSED)
    assert kinds_of(every) == (Rule.IRREVERSIBLE, Rule.RESUMES, Rule.CHANGES)
    assert kinds_of(patch()) == ()
    assert kinds_of(pausing(1)) == (Rule.PAUSES,)
    assert kinds_of(patch(1, "ongoing", resumes=True)) == (), "a resume of our own pause is free"


@pytest.mark.parametrize("kind", [kind for kind in ActionKind if kind is not ActionKind.PATCH])
def test_only_patches_count(kind: ActionKind) -> None:
    assert kinds_of(patch(kind=kind, irreversible=True, foreign=True, last_applied=Status.PAUSED)) == ()


@pytest.mark.parametrize(
    ("managed", "percent", "allowed"),
    [(19, 50.0, None), (20, 50.0, 10), (21, 50.0, 10), (100, 33.3, 33), (1000, 0.1, 1), (20, 0.0, 0), (20, None, None)],
)
def test_how_many_may_change_at_once(managed: int, percent: float | None, allowed: int | None) -> None:
    for rule, limits in (
        (Rule.CHANGES, Limits(max_change_percent=percent)),
        (Rule.PAUSES, Limits(max_pause_percent=percent)),
    ):
        allowance = limits.allowance(rule, managed)
        assert (None if allowance is None else allowance[0]) == allowed


# A whole plan.


def test_exactly_as_many_as_are_allowed_pass() -> None:
    plan = [ending(number) for number in range(25)] + [resuming(number) for number in range(25, 50)]
    plan += [editing(number) for number in range(50, 60)]
    assert withhold(plan, 20, LIMITS) == ((), frozenset())


@pytest.mark.parametrize(
    ("rule", "make", "count", "allowed", "setting"),
    [
        (Rule.IRREVERSIBLE, ending, 26, 25, "max_irreversible: 25"),
        (Rule.RESUMES, resuming, 26, 25, "max_resumes: 25"),
        (Rule.CHANGES, editing, 11, 10, "max_change_percent: 50 of 20"),
        (Rule.CHANGES, drifting, 11, 10, "max_change_percent: 50 of 20"),
    ],
)
def test_one_more_and_none_of_that_kind_pass(rule: Rule, make: Make, count: int, allowed: int, setting: str) -> None:
    plan = [make(number) for number in range(count)] + [patch(count)]
    refused = Refusal(rule, count, allowed, setting)
    wanted = make(0).desired
    assert wanted is not None
    assert withhold(plan, 20, LIMITS) == ((named(refused, range(count), wanted),), frozenset(keys(range(count))))


def test_below_twenty_managed_recordings_everything_may_change() -> None:
    plan = [editing(number) for number in range(19)]
    assert withhold(plan, 19, LIMITS) == ((), frozenset())
    assert withhold(plan, 20, LIMITS)[0][0].count == 19


@pytest.mark.parametrize("percent", [None, 99.9])
def test_everything_may_pause_at_once_unless_somebody_must_record_everything(percent: float | None) -> None:
    plan = [pausing(number) for number in range(100)] + [editing(number) for number in range(100, 150)]
    refused, withheld = withhold(plan, 100, Limits(max_pause_percent=percent))
    assert [refusal.rule for refusal in refused] == ([] if percent is None else [Rule.PAUSES])
    assert len(withheld) == (0 if percent is None else 100)
    for refusal in refused:
        assert "would pause at once, at most 99 may (max_pause_percent: 99.9 of 100)" in str(refusal)


def test_several_limits_are_refused_together() -> None:
    plan = [patch(number, "completed", irreversible=True, last_applied=Status.PAUSED) for number in range(26)]
    refusals, withheld = withhold(plan, 26, LIMITS)
    assert [refusal.rule for refusal in refusals] == [Rule.IRREVERSIBLE, Rule.CHANGES]
    assert withheld == frozenset(keys(range(26)))


def test_a_limit_of_none_is_lifted_and_one_of_zero_forbids() -> None:
    plan = [make(number) for number in range(0, 90, 3) for make in (ending, resuming, editing)]
    assert withhold(plan, 30, Limits.lifted()) == ((), frozenset())
    strict = Limits(max_irreversible=0, max_resumes=0, max_change_percent=0, min_managed=0)
    assert len(withhold([ending(1), resuming(2), editing(3)], 1, strict)[1]) == 3


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        (Rule.IRREVERSIBLE, "ended for good"),
        (Rule.RESUMES, "somebody else made"),
        (Rule.CHANGES, "change at once"),
        (Rule.PAUSES, "pause at once"),
    ],
)
def test_a_refusal_names_the_rule_the_numbers_the_setting_and_what_lifts_it(rule: Rule, word: str) -> None:
    text = str(Refusal(rule, 26, 25, "max_x: 25", "0123456789ab"))
    for part in (word, "26", "at most 25", "max_x: 25", "--override-limits"):
        assert part in text
    assert "`reconciler approve 0123456789ab --reason TEXT`" in text
    assert "`reconciler approve`" in str(Refusal(rule, 26, 25, "max_x: 25")), "the name comes once all is known"


def test_a_log_line_of_a_refusal_says_the_same_key_by_key() -> None:
    assert Refusal(Rule.RESUMES, 26, 25, "max_resumes: 25", "0123456789ab").as_log() == {
        "refusal": "0123456789ab",
        "rule": "resumes",
        "count": 26,
        "allowed": 25,
        "setting": "max_resumes: 25",
        "approve": "reconciler approve 0123456789ab --reason TEXT",
        "override": "--override-limits",
    }


# The name of what is refused.


def test_a_name_is_of_the_content_alone() -> None:
    items = dict.fromkeys(keys(range(30)), Status.ONGOING)
    name = name_of_items(Rule.CHANGES, items)
    assert re.fullmatch(r"[0-9a-f]{12}", name)
    assert name_of_items(Rule.CHANGES, dict(reversed(items.items()))) == name
    assert name == "1379060fa1b3", "the same in every process, on every host and in every version"


@pytest.mark.parametrize("other", ["one less", "one more", "another status", "another rule"])
def test_other_content_has_another_name(other: str) -> None:
    items = dict.fromkeys(keys(range(30)), Status.ONGOING)
    name = name_of_items(Rule.CHANGES, items)
    changed = {
        "one less": dict.fromkeys(keys(range(29)), Status.ONGOING),
        "one more": dict.fromkeys(keys(range(31)), Status.ONGOING),
        "another status": items | {key(3): Status.COMPLETED},
        "another rule": items,
    }[other]
    assert name_of_items(Rule.PAUSES if other == "another rule" else Rule.CHANGES, changed) != name


# The daemon's window.


@pytest.mark.parametrize(("rule", "make"), [(Rule.IRREVERSIBLE, ending), (Rule.RESUMES, resuming)])
def test_the_window_lets_25_pass_and_frees_itself_after_ten_minutes(rule: Rule, make: Make) -> None:
    window = Window(LIMITS)
    assert [window.admit(make(number), 0, NOW) for number in range(25)] == [None] * 25
    refusal = window.admit(make(25), 0, NOW + 10 * MINUTE)
    assert refusal is not None
    assert (refusal.rule, refusal.count, refusal.allowed) == (rule, 26, 25)
    assert window.admit(make(25), 0, NOW + 10 * MINUTE + timedelta(microseconds=1)) is None


def test_asking_again_about_one_recording_counts_it_once() -> None:
    window = Window(LIMITS)
    for _ in range(3):
        assert [window.admit(ending(number), 0, NOW) for number in range(25)] == [None] * 25
    assert window.admit(ending(25), 0, NOW) is not None
    assert window.admit(ending(3), 0, NOW) is None, "what is counted already may be sent again"


def test_what_is_refused_does_not_count() -> None:
    window = Window(Limits(max_irreversible=1, max_resumes=1))
    both = patch(1, "completed", irreversible=True, foreign=True)
    assert window.admit(ending(0), 0, NOW) is None
    assert window.admit(both, 0, NOW) is not None
    assert window.admit(resuming(2), 0, NOW) is None, "the refused one took no resume away"


def test_what_an_earlier_process_sent_counts() -> None:
    window = Window(Limits(max_irreversible=2, max_resumes=1))
    window.remember(Rule.IRREVERSIBLE, key(1), NOW - 9 * MINUTE)
    window.remember(Rule.IRREVERSIBLE, key(2), NOW - 11 * MINUTE)
    window.remember(Rule.RESUMES, key(3), NOW - 9 * MINUTE)
    assert window.admit(ending(4), 0, NOW) is None
    assert window.admit(ending(5), 0, NOW) is not None
    assert window.admit(resuming(6), 0, NOW) is not None
    assert window.admit(ending(5), 0, NOW + 2 * MINUTE) is None


def test_a_lifted_window_lets_everything_pass() -> None:
    window = Window(Limits.lifted())
    assert refusals(window, edits(range(100)), 100, NOW) == refusals(window, ends(range(100)), 100, NOW) == []
    for make in (ending, resuming, drifting):
        assert [window.admit(make(number), 100, NOW) for number in range(100)] == [None] * 100
    assert window.gather(NOW) == Verdict()


def test_a_change_set_knows_its_edits_and_what_it_would_end() -> None:
    states = [
        (key(1), Status.PAUSED, None),
        (key(2), Status.PAUSED, Status.PAUSED),
        (key(3), Status.PAUSED, Status.ONGOING),
        (key(4), Status.COMPLETED, None),
        (key(5), Status.COMPLETED, Status.PAUSED),
        (key(6), Status.COMPLETED, Status.COMPLETED),
    ]
    change = ChangeSet.of(keys(range(7)), states)
    assert change.changed == set(keys(range(7)))
    assert change.counted == {
        Rule.CHANGES: {key(5): Status.COMPLETED},
        Rule.PAUSES: {key(3): Status.PAUSED},
        Rule.IRREVERSIBLE: dict.fromkeys(keys([4, 5]), Status.COMPLETED),
    }


def test_a_change_set_that_changes_too_much_has_all_its_edits_refused() -> None:
    window = Window(LIMITS)
    (refusal,) = refusals(window, edits(range(11)), 20, NOW)
    assert refusal == named(Refusal(Rule.CHANGES, 11, 10, "max_change_percent: 50 of 20"), range(11))
    assert [window.admit(editing(number), 20, NOW + 60 * MINUTE) for number in range(11)] == [refusal] * 11
    assert window.admit(patch(12), 20, NOW) is None, "a new recording of the same change set is no change at once"


def test_a_change_set_of_exactly_half_passes() -> None:
    window = Window(LIMITS)
    assert refusals(window, edits(range(10)), 20, NOW) == []
    assert [window.admit(editing(number), 20, NOW) for number in range(10)] == [None] * 10


def test_a_change_set_that_would_end_too_many_ends_none() -> None:
    window = Window(LIMITS)
    (refusal,) = refusals(window, ends(range(26)), 0, NOW)
    expected = Refusal(Rule.IRREVERSIBLE, 26, 25, "max_irreversible: 25")
    assert refusal == named(expected, range(26), Status.COMPLETED)
    assert [window.admit(ending(number), 0, NOW) for number in range(26)] == [refusal] * 26
    assert window.admit(patch(30), 0, NOW) is None


def test_what_was_ended_lately_counts_beside_what_a_change_set_would_end() -> None:
    window = Window(LIMITS)
    assert refusals(window, ends(range(25)), 0, NOW) == []
    assert [window.admit(ending(number), 0, NOW) for number in range(20)] == [None] * 20
    assert refusals(window, ends(range(15, 25)), 0, NOW + MINUTE) == [], "five of these have been sent already"
    (refusal,) = refusals(window, ends(range(30, 36)), 0, NOW + MINUTE)
    assert refusal.count == 31, "the five that are on their way will be sent as well"
    for number in range(25):
        window.turned(key(number), Phase.APPLIED)
    assert refusals(window, ends(range(30, 36)), 0, NOW + 11 * MINUTE) == []


def test_a_change_set_may_pass_two_limits() -> None:
    change = ChangeSet.of(keys(range(26)), [(each, Status.COMPLETED, Status.PAUSED) for each in keys(range(26))])
    assert [refusal.rule for refusal in refusals(Window(LIMITS), change, 26, NOW)] == [Rule.CHANGES, Rule.IRREVERSIBLE]


def test_a_refused_edit_is_forgotten_once_its_document_changes_again() -> None:
    window = Window(LIMITS)
    window.announce(edits(range(20)), 20, NOW)
    later = NOW + MINUTE
    (rest,) = window.announce(edits(range(5)), 20, later).refused
    assert set(rest.items) == set(keys(range(5, 20))), "what did not change again stays refused"
    assert window.admit(editing(4), 20, later) is None
    assert window.admit(editing(5), 20, later) is not None


def test_one_change_that_arrives_in_pieces_is_seen_as_one() -> None:
    window = Window(LIMITS)
    assert refusals(window, edits(range(6)), 20, NOW) == []
    (refusal,) = refusals(window, edits(range(6, 12)), 20, NOW + timedelta(seconds=5))
    assert refusal.count == 12
    assert refusals(window, edits(range(6, 12)), 20, NOW + timedelta(seconds=5.001)) == []


def test_saving_the_same_edits_again_counts_them_once() -> None:
    window = Window(LIMITS)
    for second in range(4):
        assert refusals(window, edits(range(6)), 20, NOW + timedelta(seconds=second)) == []
    assert refusals(window, edits(range(10)), 20, NOW + timedelta(seconds=4)) == []
    assert refusals(window, edits([11]), 20, NOW + timedelta(seconds=9)), "all ten were just saved"


def test_a_recording_that_is_saved_again_does_not_keep_the_others_in_the_burst() -> None:
    window = Window(LIMITS)
    for second, numbers in ((0, range(1)), (1, range(1, 10)), (4, range(1)), (7, range(10, 19))):
        assert refusals(window, edits(numbers), 20, NOW + timedelta(seconds=second)) == []


def test_a_refused_piece_does_not_free_what_went_before_it() -> None:
    window = Window(LIMITS)
    assert refusals(window, edits(range(10)), 20, NOW) == []
    assert refusals(window, edits(range(15)), 20, NOW)
    assert refusals(window, edits([20]), 20, NOW)


def test_a_busy_shift_in_which_each_recording_changes_once_is_no_mass_change() -> None:
    window = Window(LIMITS)
    for number in range(20):
        now = NOW + timedelta(seconds=number)
        assert refusals(window, edits([number]), 20, now) == []
        assert window.admit(editing(number), 20, now) is None


def test_drift_is_counted_for_each_resync() -> None:
    window = Window(LIMITS)
    window.begin_resync()
    assert [window.admit(drifting(number), 20, NOW) for number in range(10)] == [None] * 10
    assert window.admit(drifting(3), 20, NOW) is None
    refusal = window.admit(drifting(10), 20, NOW + 60 * MINUTE)
    assert refusal == Refusal(Rule.CHANGES, 11, 10, "max_change_percent: 50 of 20")
    assert window.admit(editing(10), 20, NOW) is None, "an edit is no drift"
    window.begin_resync()
    assert window.admit(drifting(10), 20, NOW) is None


steps = st.lists(
    st.tuples(st.integers(0, 8), st.floats(0, 400, allow_nan=False), st.sampled_from([ending, resuming])), max_size=60
)


@given(steps, st.integers(0, 3))
def test_no_ten_minutes_ever_hold_more_than_is_allowed(steps: list[tuple[int, float, Make]], allowed: int) -> None:
    window = Window(Limits(max_irreversible=allowed, max_resumes=allowed))
    now, admitted = NOW, []
    for number, seconds, make in steps:
        now += timedelta(seconds=seconds)
        if window.admit(make(number), 0, now) is None:
            admitted.append((now, make, number))
    for at, make, _ in admitted:
        within = {number for then, kind, number in admitted if kind is make and at <= then <= at + Window.SPAN}
        assert len(within) <= allowed


@given(st.lists(st.tuples(st.sets(st.integers(0, 29)), st.floats(0, 7, allow_nan=False)), max_size=20))
def test_no_burst_of_edits_ever_changes_more_than_is_allowed(pieces: list[tuple[set[int], float]]) -> None:
    window = Window(LIMITS)
    now, passed = NOW, list[tuple[datetime, set[int]]]()
    for numbers, seconds in pieces:
        now += timedelta(seconds=seconds)
        told = window.announce(edits(numbers), 30, now).refused
        refused = any(set(keys(numbers)) & each.items.keys() for each in told)
        admitted = {number for number in numbers if window.admit(editing(number), 30, now) is None}
        assert admitted == (set() if refused else numbers)
        passed.append((now, admitted))
    for at, _ in passed:
        assert len(set().union(*(numbers for then, numbers in passed if at <= then <= at + Window.BURST))) <= 15


# What is refused as a whole, and how it comes to pass.


def judged_of(verdict: Verdict) -> list[Judged]:
    """What a store would hold after a verdict."""
    return [*verdict.passed, *(each for refused in verdict.refused for each in refused.judged())]


def test_pauses_are_never_refused_as_a_change_set_unless_that_is_asked_for() -> None:
    assert refusals(Window(LIMITS), pauses(range(250)), 292, NOW) == []
    (refusal,) = refusals(Window(Limits(max_pause_percent=50)), pauses(range(250)), 292, NOW)
    assert (refusal.rule, refusal.count, refusal.allowed) == (Rule.PAUSES, 250, 146)


def test_pauses_take_no_place_from_other_changes() -> None:
    window = Window(LIMITS)
    assert refusals(window, pauses(range(20)), 40, NOW) == []
    assert refusals(window, edits(range(20, 40)), 40, NOW) == []
    drift_back = [patch(number, "paused", last_applied=Status.PAUSED, reason=Reason.DRIFT) for number in range(40)]
    assert [window.admit(action, 40, NOW) for action in drift_back] == [None] * 40


@pytest.mark.parametrize(("change", "make"), [(edits(range(250)), editing), (ends(range(250)), ending)])
def test_what_is_approved_passes_once_and_as_it_was(change: ChangeSet, make: Make) -> None:
    window = Window(LIMITS)
    (refused,) = window.announce(change, 292, NOW).refused
    assert list(window.refused) == [refused]
    verdict = window.lift(refused)
    assert verdict is not None
    assert {each.key for each in verdict.passed} == change.changed
    assert verdict.lifted == [refused.name]
    assert [window.admit(make(number), 292, NOW) for number in range(250)] == [None] * 250
    assert not window.refused
    assert window.lift(refused) is None, "once"
    later = NOW + 20 * MINUTE
    for number in range(250):
        window.turned(key(number), Phase.APPLIED)
    (again,) = window.announce(change, 292, later).refused
    assert window.admit(make(3), 292, later) == again.refusal, "the same asked for anew is refused anew"


def test_what_is_approved_passes_however_long_the_api_is_away() -> None:
    window = Window(LIMITS)
    (refused,) = window.announce(ends(range(250)), 292, NOW).refused
    window.lift(refused)
    assert [window.admit(ending(number), 292, NOW + 60 * MINUTE) for number in range(250)] == [None] * 250


def test_content_that_changed_has_another_name_and_the_old_one_lifts_nothing() -> None:
    window = Window(LIMITS)
    (refused,) = window.announce(edits(range(250)), 292, NOW).refused
    verdict = window.announce(ends([3]), 292, NOW + MINUTE)
    (rest,) = verdict.refused
    assert verdict.lifted == [refused.name]
    assert rest.items == {each: Status.ONGOING for each in keys(range(250)) if each != key(3)}
    assert rest.refusal.count == 250, "what was counted when it was judged"
    assert window.lift(refused) is None
    assert window.admit(editing(4), 292, NOW + MINUTE) == rest.refusal
    assert window.lift(rest) is not None


def test_what_is_taken_back_is_refused_no_more() -> None:
    window = Window(LIMITS)
    (refused,) = window.announce(edits(range(250)), 292, NOW).refused
    back = ChangeSet.of(keys(range(250)), [(each, Status.PAUSED, Status.PAUSED) for each in keys(range(250))])
    verdict = window.announce(back, 292, NOW + MINUTE)
    assert (verdict.lifted, verdict.refused, window.refused) == ([refused.name], [], ())


def test_what_lost_its_documents_is_refused_no_more_and_keeps_its_name_until_then() -> None:
    window = Window(LIMITS)
    (refused,) = window.announce(edits(range(250)), 292, NOW).refused
    assert not window.drop_gone(set(keys([3])))
    assert window.refused_as(refused.name) is refused
    assert window.drop_gone(set(keys([300]))).lifted == [refused.name]
    assert window.admit(editing(3), 292, NOW) is None


def test_drift_back_from_what_was_refused_is_corrected() -> None:
    window = Window(LIMITS)
    window.announce(edits(range(11)), 20, NOW)
    assert window.admit(editing(3), 20, NOW) is not None
    assert window.admit(drifting(3), 20, NOW) is None, "somebody brought it about, and somebody else undid that"


# Across a restart.


def test_after_a_restart_what_was_refused_has_the_same_name_and_what_passed_is_not_counted_again() -> None:
    before = Window(LIMITS)
    first = before.announce(edits(range(11)), 20, NOW)
    second = before.announce(edits(range(11, 17)), 20, NOW + MINUTE)
    third = before.announce(ends(range(100, 120)), 20, NOW + MINUTE)
    assert (len(first.refused), len(second.passed), len(third.passed)) == (1, 6, 20)
    judged = [each for verdict in (first, second, third) for each in judged_of(verdict)]

    after = Window(LIMITS)
    verdict = after.resume(judged, {first.refused[0].name: first.refused[0]}, 20)
    assert [refused.name for refused in verdict.refused] == [first.refused[0].name]
    everything = ChangeSet.of(
        keys([*range(17), *range(100, 120)]),
        [
            *((each, Status.ONGOING, Status.PAUSED) for each in keys(range(17))),
            *((each, Status.COMPLETED, None) for each in keys(range(100, 120))),
        ],
    )
    assert not any(everything.without(judged).counted.values())
    assert [window_admits(after, editing(number)) for number in (3, 12)] == [False, True]
    assert all(window_admits(after, ending(number)) for number in range(100, 120))


def window_admits(window: Window, action: Action) -> bool:
    return window.admit(action, 20, NOW) is None


def test_what_is_refused_passes_after_a_restart_with_settings_that_allow_it() -> None:
    (refused,) = Window(LIMITS).announce(edits(range(11)), 20, NOW).refused
    window = Window(Limits(max_change_percent=60))
    verdict = window.resume(refused.judged(), {refused.name: refused}, 20)
    assert (verdict.lifted, verdict.refused, len(verdict.passed)) == ([refused.name], [], 11)
    assert window.admit(editing(3), 20, NOW) is None


def test_of_what_was_refused_only_what_is_still_asked_for_stays_refused() -> None:
    (refused,) = Window(LIMITS).announce(edits(range(11)), 20, NOW).refused
    window = Window(LIMITS)
    verdict = window.resume(list(refused.judged())[1:], {refused.name: refused}, 20)
    assert verdict.lifted == [refused.name]
    assert [len(each.items) for each in verdict.refused] == [10]
    assert Window(LIMITS).resume([], {refused.name: refused}, 20).lifted == [refused.name]


# What is held back one by one.


def gathered(window: Window, *, looks: int = 3) -> list[Verdict]:
    return [verdict for _ in range(looks) if (verdict := window.gather(NOW))]


def test_what_is_held_back_one_by_one_is_told_once_it_is_known_and_can_be_approved() -> None:
    window = Window(LIMITS)
    for number in range(40):
        window.admit(resuming(number), 0, NOW)
        if number == 30:
            assert not window.gather(NOW), "not while it grows"
    (verdict,) = gathered(window)
    (refused,) = verdict.refused
    assert refused.items == dict.fromkeys(keys(range(25, 40)), Status.ONGOING)
    assert (refused.refusal.rule, refused.whole, list(refused.judged())) == (Rule.RESUMES, False, [])
    assert gathered(window) == [], "once"
    assert window.lift(refused) is not None
    assert [window.admit(resuming(number), 0, NOW) for number in range(25, 40)] == [None] * 15
    assert gathered(window) == []


def test_what_time_lets_pass_is_refused_no_more() -> None:
    window = Window(LIMITS)
    for number in range(27):
        window.admit(resuming(number), 0, NOW)
    gathered(window)
    window.turned(key(26), Phase.APPLIED)
    assert window.admit(resuming(25), 0, NOW + 11 * MINUTE) is None
    (verdict,) = gathered(window)
    assert (len(verdict.lifted), verdict.refused, window.refused) == (1, [], ())


def test_what_never_comes_to_rest_is_told_all_the_same() -> None:
    window = Window(Limits(max_resumes=0))
    told = 0
    for number in range(60):
        window.admit(resuming(number), 0, NOW)
        told += bool(window.gather(NOW))
    assert 2 <= told <= 6


# What is meant from the start.


def test_an_override_lets_pass_what_is_found_at_the_start_and_no_more() -> None:
    window = Window(LIMITS)
    verdict = window.override(window.announce(edits(range(20)), 20, NOW), keys(range(60)))
    assert (verdict.refused, len(verdict.passed), window.refused) == ([], 20, ())
    assert [window.admit(editing(number), 20, NOW) for number in range(20)] == [None] * 20
    assert [window.admit(resuming(number), 20, NOW) for number in range(20, 60)] == [None] * 40
    assert window.overridden == 60
    for number in range(60):
        window.turned(key(number), Phase.CONFIRMING)
    assert window.overridden == 60
    assert refusals(window, ends(range(30)), 20, NOW + MINUTE), "a change that comes later is none of it"
    assert window.overridden == 30
    for number in range(30, 60):
        window.turned(key(number), Phase.APPLIED)
    assert window.overridden == 0
    assert window.admit(resuming(70), 20, NOW + MINUTE) is not None
