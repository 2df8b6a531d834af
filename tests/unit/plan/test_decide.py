"""The decision, held against the contract's table: row by row, then every combination against a second spelling of it.

Left out of the combinations: two recordings (the decision knows one), and clocks (time is passed in).
"""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.actions import Action
from reconciler.model.documents import Desired, Suspend
from reconciler.model.records import Record
from reconciler.model.statuses import Drift, Live, Status
from reconciler.plan.decision import awaits_confirmation, decide, effective_last_applied
from tests.world.nouns import NOW, document, key, look, record

SECOND = timedelta(seconds=1)
DESIRED = ("ongoing", "paused", "completed")
#: Bird's seven words, in a recording that is on its call, and in one that is found among the workspace's only.
WORDS = ("accepted", "ongoing", "paused", "completed", "available", "absent", "failed", "transcoding")
LOOKS = {
    **{word: look(word) for word in WORDS},
    **{f"{word}, no longer active": look(word, active=False) for word in WORDS},
    "gone": look("gone"),
    "gone, its call has ended": look("gone", ended=True),
    "gone, on another call": look("gone", moved_to=key(call=4).call_id),
    "not looked at": None,
}


def suspended(seconds: float) -> Suspend:
    return Suspend("incident 4411", NOW + timedelta(seconds=seconds))


def on_its_way(status: str, seconds_left: float = 10.0, **changes: Any) -> dict[str, Any]:
    """The columns of a record whose PATCH to `status` is not yet confirmed."""
    confirm_by = NOW + timedelta(seconds=seconds_left)
    return {"sent": Status(status), "sent_at": NOW - 20 * SECOND, "confirm_by": confirm_by, **changes}


def confirmed(status: str) -> dict[str, Any]:
    return {"last_applied": Status(status)}


def missing_for(seconds: float) -> Record:
    """A record of a recording that was first not found so long ago."""
    return record(missing_since=NOW - timedelta(seconds=seconds))


def seen(word: str, seconds: float, last_applied: str | None = None) -> Record:
    """A record of a recording in order, whose last look showed a word so long ago."""
    at = NOW - timedelta(seconds=seconds)
    return record(live=word, observed_at=at, **confirmed(last_applied or word))


ENDED = look("gone", ended=True)
ENDED_UNSEEN = "ended_before_effect"
MOVED = look("gone", moved_to=key(call=4).call_id)


class Row(NamedTuple):
    """One example of a row of the table."""

    row: int
    story: str
    desired: Desired | None
    applied: Record | None
    live: Live | None
    action: str
    reason: str


TABLE = [
    Row(1, "no document", None, record(), None, "release", "removed"),
    Row(1, "no document, whatever is live", None, record(), look("ongoing"), "release", "removed"),
    Row(2, "suspended", document(suspend=suspended(1)), None, look("ongoing"), "hold", "suspended"),
    Row(2, "suspended, in sync", document(suspend=suspended(1)), None, look("paused"), "hold", "suspended"),
    Row(2, "suspended, ended", document(suspend=suspended(1)), None, look("failed"), "hold", "suspended"),
    Row(2, "until is now", document(suspend=suspended(0)), None, look("ongoing"), "patch", "edit"),
    Row(2, "until has passed", document(suspend=suspended(-1)), None, look("ongoing"), "patch", "edit"),
    Row(3, "paused is paused", document(), None, look("paused"), "noop", "in_sync"),
    Row(3, "ongoing is ongoing", document(status="ongoing"), None, look("ongoing"), "noop", "in_sync"),
    Row(3, "completed is completed", document(status="completed"), None, look("completed"), "noop", "in_sync"),
    Row(3, "available is completed", document(status="completed"), None, look("available"), "noop", "in_sync"),
    Row(
        3,
        "available off its call",
        document(status="completed"),
        None,
        look("available", active=False),
        "noop",
        "in_sync",
    ),
    Row(3, "while it is confirmed", document(), record(**on_its_way("paused")), look("paused"), "noop", "in_sync"),
    Row(4, "ended at first sight", document(), None, look("completed"), "report", "ended_before_effect"),
    Row(
        4,
        "ended while it is confirmed",
        document(),
        record(**on_its_way("paused")),
        look("available"),
        "report",
        "ended_before_effect",
    ),
    Row(4, "ended after it was applied", document(), record(**confirmed("paused")), look("failed"), "report", "ended"),
    Row(
        4,
        "ended after another was applied",
        document(),
        record(**confirmed("ongoing")),
        look("absent"),
        "report",
        "ended_before_effect",
    ),
    Row(4, "gone with its call", document(), record(**confirmed("paused")), ENDED, "report", "ended"),
    Row(4, "gone with its call, never seen", document(), None, ENDED, "report", "ended_before_effect"),
    Row(
        4,
        "no longer active, its call has ended",
        document(),
        record(**confirmed("paused")),
        look("ongoing", active=False, ended=True),
        "report",
        "ended",
    ),
    Row(4, "final among the workspace's", document(), None, look("absent", active=False), "report", ENDED_UNSEEN),
    Row(5, "on another call", document(), record(**confirmed("paused")), MOVED, "report", "moved"),
    Row(5, "on another call, never seen", document(), None, MOVED, "report", "moved"),
    Row(6, "not found", document(), None, look("gone"), "wait", "not_found"),
    Row(6, "not found any more", document(), record(**confirmed("paused")), look("gone"), "wait", "not_found"),
    Row(6, "no longer active", document(), None, look("ongoing", active=False), "wait", "not_found"),
    Row(6, "unknown and no longer active", document(), None, look("odd", active=False), "wait", "not_found"),
    Row(6, "not found for almost a call", document(), missing_for(15299.9), look("gone"), "wait", "not_found"),
    Row(6, "not found since a moment ahead", document(), missing_for(-3600), look("gone"), "wait", "not_found"),
    Row(
        6,
        "not found while it is confirmed",
        document(),
        record(**on_its_way("paused")),
        look("gone"),
        "wait",
        "not_found",
    ),
    Row(
        7, "not found for as long as a call lives", document(), missing_for(15300), look("gone"), "report", "not_found"
    ),
    Row(8, "not started", document(), None, look("accepted"), "wait", "not_controllable"),
    Row(8, "an unknown word", document(), None, look("transcoding"), "wait", "not_controllable"),
    Row(
        8, "even sent before", document(), record(**on_its_way("paused")), look("accepted"), "wait", "not_controllable"
    ),
    Row(9, "sent", document(), record(**on_its_way("paused")), look("ongoing"), "wait", "confirming"),
    Row(9, "sent, not looked at", document(), record(**on_its_way("paused")), None, "wait", "confirming"),
    Row(
        9,
        "sent again after drift",
        document(),
        record(**on_its_way("paused", last_applied=Status.PAUSED)),
        look("ongoing"),
        "wait",
        "confirming",
    ),
    Row(9, "the deadline is now", document(), record(**on_its_way("paused", 0)), look("ongoing"), "patch", "edit"),
    Row(10, "one look against another", document(), seen("paused", 4.9), look("ongoing"), "wait", "contradicted"),
    Row(10, "against a younger one", document(), seen("paused", -4.9), look("ongoing"), "wait", "contradicted"),
    Row(10, "under report", document(drift=Drift.REPORT), seen("paused", 1), look("ongoing"), "wait", "contradicted"),
    Row(10, "under heal", document(drift=Drift.HEAL), seen("paused", 1), look("ongoing"), "wait", "contradicted"),
    Row(
        10,
        "a foreign pause by one look",
        document(status="ongoing"),
        seen("ongoing", 1),
        look("paused"),
        "wait",
        "contradicted",
    ),
    Row(
        11,
        "drift under report",
        document(drift=Drift.REPORT),
        record(**confirmed("paused")),
        look("ongoing"),
        "report",
        "drift",
    ),
    Row(
        11,
        "a foreign pause under report",
        document(status="ongoing", drift=Drift.REPORT),
        record(**confirmed("ongoing")),
        look("paused"),
        "report",
        "drift",
    ),
    Row(
        12,
        "a foreign pause",
        document(status="ongoing"),
        record(**confirmed("ongoing")),
        look("paused"),
        "report",
        "foreign_pause",
    ),
    Row(
        13,
        "a foreign pause under heal",
        document(status="ongoing", drift=Drift.HEAL),
        record(**confirmed("ongoing")),
        look("paused"),
        "patch",
        "drift",
    ),
    Row(13, "two looks that agree", document(), seen("ongoing", 1, "paused"), look("ongoing"), "patch", "drift"),
    Row(13, "one look after a while", document(), seen("paused", 5.1), look("ongoing"), "patch", "drift"),
    Row(13, "a foreign resume", document(), record(**confirmed("paused")), look("ongoing"), "patch", "drift"),
    Row(
        13,
        "ended by us, yet ongoing",
        document(status="completed"),
        record(**confirmed("completed")),
        look("ongoing"),
        "patch",
        "drift",
    ),
    Row(14, "not looked at", document(), record(**confirmed("paused")), None, "noop", "in_sync"),
    Row(15, "an edit is no contradiction", document(), seen("ongoing", 1), look("ongoing"), "patch", "edit"),
    Row(15, "first seen", document(), None, look("ongoing"), "patch", "edit"),
    Row(15, "first seen, not looked at", document(), None, None, "patch", "edit"),
    Row(15, "edited", document(), record(**confirmed("ongoing")), look("ongoing"), "patch", "edit"),
    Row(
        15,
        "edited back to ongoing",
        document(status="ongoing"),
        record(**confirmed("paused")),
        look("paused"),
        "patch",
        "edit",
    ),
    Row(15, "edited, not looked at", document(), record(**confirmed("ongoing")), None, "patch", "edit"),
    Row(
        15,
        "drift and edit at once is an edit",
        document(status="completed"),
        record(**confirmed("ongoing")),
        look("paused"),
        "patch",
        "edit",
    ),
    Row(
        15,
        "edited while another is confirmed",
        document(status="ongoing"),
        record(**on_its_way("paused")),
        look("paused"),
        "patch",
        "edit",
    ),
    Row(
        15,
        "a pause of ours that is unconfirmed is not foreign",
        document(status="ongoing"),
        record(**on_its_way("paused", last_applied=Status.ONGOING)),
        look("paused"),
        "patch",
        "edit",
    ),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"row {row.row}: {row.story}")
def test_the_table_row_by_row(row: Row) -> None:
    action = decide(key(), row.desired, row.applied, row.live, NOW)
    assert (action.kind, action.reason) == (row.action, row.reason)


def test_every_row_has_an_example() -> None:
    assert {row.row for row in TABLE} == set(range(1, 16))


class Case(NamedTuple):
    """One combination, in the contract's own words."""

    desired: str
    live: str
    last_applied: str | None
    sent: str | None
    within_deadline: bool
    drift: str
    suspended: str


def expected(case: Case) -> tuple[str, str]:
    """The contract's table, spelled a second time and in words, so that a slip in one spelling is seen."""
    looked = case.live != "not looked at"
    word = case.live.removesuffix(", no longer active")
    active = word == case.live and not case.live.startswith("gone")
    # The one refinement: while another status is on its way, last-applied is not the last word.
    last = case.last_applied if case.sent in (None, case.last_applied) else None
    differs = looked and word not in {
        "ongoing": ["ongoing"],
        "paused": ["paused"],
        "completed": ["completed", "available"],
    }.get(case.desired, [])
    if case.suspended == "until later":
        return "hold", "suspended"
    if looked and not differs:
        return "noop", "in_sync"
    if looked and word in ("completed", "available", "absent", "failed", "gone, its call has ended"):
        return "report", "ended" if last == case.desired else "ended_before_effect"
    if word == "gone, on another call":
        return "report", "moved"
    if looked and not active:
        return "wait", "not_found"
    if looked and word in ("accepted", "transcoding"):
        return "wait", "not_controllable"
    if case.sent == case.desired and case.within_deadline:
        return "wait", "confirming"
    if last == case.desired and differs and case.drift == "report":
        return "report", "drift"
    if last == case.desired == "ongoing" and word == "paused" and case.drift == "safe":
        return "report", "foreign_pause"
    if last == case.desired and differs:
        return "patch", "drift"
    if not looked and last == case.desired:
        return "noop", "in_sync"
    return "patch", "edit"


def decided(case: Case) -> Action:
    until = {"no": None, "until later": suspended(1), "until earlier": suspended(-1)}[case.suspended]
    wanted = document(status=case.desired, drift=Drift(case.drift), suspend=until)
    applied = None
    if case.last_applied is not None or case.sent is not None:
        applied = record(last_applied=None if case.last_applied is None else Status(case.last_applied))
    if applied is not None and case.sent is not None:
        applied = applied._replace(**on_its_way(case.sent, 1 if case.within_deadline else -1))
    return decide(key(), wanted, applied, LOOKS[case.live], NOW)


CASES = [
    Case(desired, live, last_applied, sent, within_deadline, drift, suspension)
    for desired, live, last_applied, sent, within_deadline, drift, suspension in product(
        DESIRED, LOOKS, (None, *DESIRED), (None, *DESIRED), (True, False), Drift, ("no", "until later", "until earlier")
    )
    if sent is not None or not within_deadline
]


@pytest.mark.parametrize("desired", DESIRED)
@pytest.mark.parametrize("live", LOOKS)
def test_every_combination_is_decided_as_the_contract_says(desired: str, live: str) -> None:
    wrong = []
    cases = [case for case in CASES if case.desired == desired and case.live == live]
    for case in cases:
        action = decided(case)
        if (action.kind, action.reason) != expected(case):
            wrong.append(f"{case}: {action.kind} ({action.reason}), not {expected(case)}")
    assert not wrong, "\n".join(wrong)
    assert len(cases) == 4 * 7 * 3 * 3


def test_marks_follow_from_the_action() -> None:
    for case in CASES:
        action = decided(case)
        patches = action.kind == "patch"
        assert action.irreversible == (patches and case.desired == "completed"), case
        assert action.resumes == (patches and case.desired == "ongoing" and case.live == "paused"), case
        ours = "paused" in (case.last_applied, case.sent)
        assert action.foreign == (action.resumes and not ours), case
        assert action.drifted == (action.reason in ("drift", "foreign_pause")), case
        assert (action.desired, action.last_applied, action.live) == (case.desired, case.last_applied, LOOKS[case.live])


any_case = st.sampled_from(CASES)


@given(any_case)
def test_nothing_is_sent_to_what_is_final_or_not_active(case: Case) -> None:
    live = LOOKS[case.live]
    if live is not None and (live.final or not live.active):
        assert decided(case).kind != "patch"


@given(any_case)
def test_a_foreign_pause_is_never_resumed_under_safe(case: Case) -> None:
    case = case._replace(desired="ongoing", live="paused", last_applied="ongoing", drift="safe")
    if case.sent in (None, "ongoing"):  # a pause of ours under way is not foreign
        assert decided(case).kind != "patch"


@given(any_case)
def test_what_is_suspended_is_never_patched(case: Case) -> None:
    assert decided(case._replace(suspended="until later")).kind == "hold"


@given(any_case)
def test_what_is_in_sync_is_never_patched(case: Case) -> None:
    assert decided(case._replace(live=case.desired)).kind != "patch"


@given(any_case, st.booleans())
def test_after_a_patch_that_was_confirmed_nothing_is_left_to_do(case: Case, looks: bool) -> None:
    if decided(case).kind == "patch":
        after = case._replace(
            last_applied=case.desired,
            sent=None,
            within_deadline=False,
            live=case.desired if looks else "not looked at",
        )
        assert (decided(after).kind, decided(after).reason) == ("noop", "in_sync")


@given(any_case)
def test_what_was_just_sent_is_not_sent_again(case: Case) -> None:
    if decided(case).kind == "patch":
        assert decided(case._replace(sent=case.desired, within_deadline=True)).kind != "patch"


@given(any_case)
def test_an_unknown_or_unstarted_recording_is_left_alone(case: Case) -> None:
    for live in ("accepted", "transcoding", "gone"):
        assert decided(case._replace(live=live)).kind != "patch"


def test_an_action_names_its_document_and_a_release_its_record() -> None:
    wanted = document(7, name="new-name", file="new.yaml", line=70)
    kept = record(7, name="old-name", file="old.yaml", last_applied=Status.PAUSED)
    action = decide(key(7), wanted, kept, look("ongoing"), NOW)
    assert (action.key, action.name, action.file, action.line) == (key(7), "new-name", "new.yaml", 70)
    release = decide(key(7), None, kept, None, NOW)
    assert (release.name, release.file, release.line) == ("old-name", "old.yaml", 7)
    assert (release.desired, release.last_applied, release.live) == (None, "paused", None)


def test_there_is_no_decision_about_nothing() -> None:
    with pytest.raises(ValueError, match="neither a document nor a record"):
        decide(key(), None, None, None, NOW)


def test_last_applied_counts_unless_another_status_is_on_its_way() -> None:
    assert effective_last_applied(None) is None
    assert effective_last_applied(record(**confirmed("paused"))) is Status.PAUSED
    again = record(**on_its_way("paused", last_applied=Status.PAUSED))
    assert effective_last_applied(again) is Status.PAUSED
    overtaken = record(**on_its_way("ongoing", last_applied=Status.PAUSED))
    assert effective_last_applied(overtaken) is None


def test_how_long_a_recording_is_waited_for_is_how_long_a_call_may_live() -> None:
    late = missing_for(60)
    assert decide(key(), document(), late, look("gone"), NOW, call_seconds=61).kind == "wait"
    assert decide(key(), document(), late, look("gone"), NOW, call_seconds=60).kind == "report"


def test_a_patch_without_a_deadline_is_not_waited_for() -> None:
    assert not awaits_confirmation(record(sent=Status.PAUSED), Status.PAUSED, NOW)
    assert not awaits_confirmation(record(**on_its_way("paused")), Status.ONGOING, NOW)
    assert awaits_confirmation(record(**on_its_way("paused")), Status.PAUSED, NOW)
