"""The safety limits: what a whole plan may change, and what the daemon may send in a span of time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import pytest
from examples import NOW, key, look, patch
from hypothesis import given
from hypothesis import strategies as st

from reconciler.limits import ChangeSet, Limits, Refusal, Rule, Window, kinds_of, withhold
from reconciler.model import Action, ActionKind, Reason, RecordingKey, Status

LIMITS = Limits()
MINUTE = timedelta(minutes=1)
#: Makes the action of the recording with a number.
Make = Callable[[int], Action]


def ending(number: int) -> Action:
    return patch(number, "completed", irreversible=True)


def resuming(number: int) -> Action:
    return patch(number, "ongoing", resumes=True, foreign=True, live=look("paused"))


def editing(number: int) -> Action:
    return patch(number, last_applied=Status.ONGOING)


def drifting(number: int) -> Action:
    return patch(number, last_applied=Status.PAUSED, reason=Reason.DRIFT)


def keys(numbers: Iterable[int]) -> list[RecordingKey]:
    return [key(number) for number in numbers]


def edits(numbers: Iterable[int]) -> ChangeSet:
    """A change set in which each of the recordings has an applied status that its document now differs from."""
    changed = keys(numbers)
    return ChangeSet.of(changed, [(each, Status.PAUSED, Status.ONGOING) for each in changed])


def ends(numbers: Iterable[int]) -> ChangeSet:
    """A change set that wants each of the recordings, of which nothing is known yet, completed."""
    changed = keys(numbers)
    return ChangeSet.of(changed, [(each, Status.COMPLETED, None) for each in changed])


# What counts.


def test_a_patch_counts_towards_each_rule_that_it_touches() -> None:
    every = patch(1, "completed", irreversible=True, foreign=True, last_applied=Status.PAUSED)
    assert kinds_of(every) == (Rule.IRREVERSIBLE, Rule.RESUMES, Rule.CHANGES)
    assert kinds_of(patch()) == ()
    assert kinds_of(patch(1, "ongoing", resumes=True)) == (), "a resume of our own pause is free"


@pytest.mark.parametrize("kind", [kind for kind in ActionKind if kind is not ActionKind.PATCH])
def test_only_patches_count(kind: ActionKind) -> None:
    assert kinds_of(patch(kind=kind, irreversible=True, foreign=True, last_applied=Status.PAUSED)) == ()


@pytest.mark.parametrize(
    ("managed", "percent", "allowed"),
    [(19, 50.0, None), (20, 50.0, 10), (21, 50.0, 10), (100, 33.3, 33), (1000, 0.1, 1), (20, 0.0, 0), (20, None, None)],
)
def test_how_many_may_change_at_once(managed: int, percent: float | None, allowed: int | None) -> None:
    assert Limits(max_change_percent=percent).changes_allowed(managed) == allowed


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
    assert withhold(plan, 20, LIMITS) == ((Refusal(rule, count, allowed, setting),), frozenset(keys(range(count))))


def test_below_twenty_managed_recordings_everything_may_change() -> None:
    plan = [editing(number) for number in range(19)]
    assert withhold(plan, 19, LIMITS) == ((), frozenset())
    assert withhold(plan, 20, LIMITS)[0][0].count == 19


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


def test_a_refusal_names_the_rule_the_numbers_the_setting_and_the_override() -> None:
    for rule, word in (
        (Rule.IRREVERSIBLE, "ended for good"),
        (Rule.RESUMES, "somebody else made"),
        (Rule.CHANGES, "at once"),
    ):
        text = str(Refusal(rule, 26, 25, "max_x: 25"))
        for part in (word, "26", "at most 25", "max_x: 25", "--override-limits"):
            assert part in text


def test_a_log_line_of_a_refusal_says_the_same_key_by_key() -> None:
    assert Refusal(Rule.RESUMES, 26, 25, "max_resumes: 25").as_log() == {
        "rule": "resumes",
        "count": 26,
        "allowed": 25,
        "setting": "max_resumes: 25",
        "override": "--override-limits",
    }


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
    assert window.announce(edits(range(100)), 100, NOW) == window.announce(ends(range(100)), 100, NOW) == ()
    for make in (ending, resuming, drifting):
        assert [window.admit(make(number), 100, NOW) for number in range(100)] == [None] * 100


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
    assert change.edited == set(keys([3, 5]))
    assert change.ending == set(keys([4, 5]))


def test_a_change_set_that_changes_too_much_has_all_its_edits_refused() -> None:
    window = Window(LIMITS)
    (refusal,) = window.announce(edits(range(11)), 20, NOW)
    assert refusal == Refusal(Rule.CHANGES, 11, 10, "max_change_percent: 50 of 20")
    assert [window.admit(editing(number), 20, NOW + 60 * MINUTE) for number in range(11)] == [refusal] * 11
    assert window.admit(patch(12), 20, NOW) is None, "a new recording of the same change set is no change at once"


def test_a_change_set_of_exactly_half_passes() -> None:
    window = Window(LIMITS)
    assert window.announce(edits(range(10)), 20, NOW) == ()
    assert [window.admit(editing(number), 20, NOW) for number in range(10)] == [None] * 10


def test_a_change_set_that_would_end_too_many_ends_none() -> None:
    window = Window(LIMITS)
    (refusal,) = window.announce(ends(range(26)), 0, NOW)
    assert refusal == Refusal(Rule.IRREVERSIBLE, 26, 25, "max_irreversible: 25")
    assert [window.admit(ending(number), 0, NOW) for number in range(26)] == [refusal] * 26
    assert window.admit(patch(30), 0, NOW) is None


def test_what_was_ended_lately_counts_beside_what_a_change_set_would_end() -> None:
    window = Window(LIMITS)
    assert window.announce(ends(range(25)), 0, NOW) == ()
    assert [window.admit(ending(number), 0, NOW) for number in range(20)] == [None] * 20
    assert window.announce(ends(range(15, 25)), 0, NOW + MINUTE) == (), "five of these have been sent already"
    (refusal,) = window.announce(ends(range(30, 36)), 0, NOW + MINUTE)
    assert refusal.count == 26
    assert window.announce(ends(range(30, 36)), 0, NOW + 11 * MINUTE) == ()


def test_a_change_set_may_pass_two_limits() -> None:
    change = ChangeSet.of(keys(range(26)), [(each, Status.COMPLETED, Status.PAUSED) for each in keys(range(26))])
    refusals = Window(LIMITS).announce(change, 26, NOW)
    assert [refusal.rule for refusal in refusals] == [Rule.CHANGES, Rule.IRREVERSIBLE]


def test_a_refused_edit_is_forgotten_once_its_document_changes_again() -> None:
    window = Window(LIMITS)
    window.announce(edits(range(20)), 20, NOW)
    later = NOW + MINUTE
    assert window.announce(edits(range(5)), 20, later) == ()
    assert window.admit(editing(4), 20, later) is None
    assert window.admit(editing(5), 20, later) is not None


def test_one_change_that_arrives_in_pieces_is_seen_as_one() -> None:
    window = Window(LIMITS)
    assert window.announce(edits(range(6)), 20, NOW) == ()
    (refusal,) = window.announce(edits(range(6, 12)), 20, NOW + timedelta(seconds=5))
    assert refusal.count == 12
    assert window.announce(edits(range(6, 12)), 20, NOW + timedelta(seconds=5.001)) == ()


def test_saving_the_same_edits_again_counts_them_once() -> None:
    window = Window(LIMITS)
    for second in range(4):
        assert window.announce(edits(range(6)), 20, NOW + timedelta(seconds=second)) == ()
    assert window.announce(edits(range(10)), 20, NOW + timedelta(seconds=4)) == ()
    assert window.announce(edits([11]), 20, NOW + timedelta(seconds=9)), "all ten were just saved"


def test_a_recording_that_is_saved_again_does_not_keep_the_others_in_the_burst() -> None:
    window = Window(LIMITS)
    for second, numbers in ((0, range(1)), (1, range(1, 10)), (4, range(1)), (7, range(10, 19))):
        assert window.announce(edits(numbers), 20, NOW + timedelta(seconds=second)) == ()


def test_a_refused_piece_does_not_free_what_went_before_it() -> None:
    window = Window(LIMITS)
    assert window.announce(edits(range(10)), 20, NOW) == ()
    assert window.announce(edits(range(15)), 20, NOW)
    assert window.announce(edits([20]), 20, NOW)


def test_a_busy_shift_in_which_each_recording_changes_once_is_no_mass_change() -> None:
    window = Window(LIMITS)
    for number in range(20):
        now = NOW + timedelta(seconds=number)
        assert window.announce(edits([number]), 20, now) == ()
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
        refusals = window.announce(edits(numbers), 30, now)
        admitted = {number for number in numbers if window.admit(editing(number), 30, now) is None}
        assert admitted == (set() if refusals else numbers)
        passed.append((now, admitted))
    for at, _ in passed:
        assert len(set().union(*(numbers for then, numbers in passed if at <= then <= at + Window.BURST))) <= 15
