"""What a change of the documents does: the decision about it and its causes, with a look at live state and without.

Which action follows from three states is `test_decide`'s.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.actions import ActionKind
from reconciler.model.documents import Desired, Suspend
from reconciler.model.keys import RecordingKey
from reconciler.model.records import Record
from reconciler.model.statuses import Live, Phase, Status
from reconciler.plan.limits import Limits
from reconciler.plan.plan import Cause, Plan, make_change_plan
from tests.world.nouns import NOW, document, key, look, record

SUSPENDED = Suspend("incident 4411", NOW + timedelta(hours=1))


def change_plan(
    desired: list[Desired],
    before: list[Desired],
    applied: list[Record] | None = None,
    live: dict[int, str] | None = None,
) -> Plan:
    records: dict[RecordingKey, Record] = {each.key: each for each in applied or ()}
    seen: dict[RecordingKey, Live] | None = None
    if live is not None:
        seen = {key(number): look(word) for number, word in live.items()}
    return make_change_plan(desired, before, records, seen, base="b" * 40, now=NOW, limits=Limits())


def told(plan: Plan) -> list[tuple[str, str, str | None]]:
    """What a plan says: of each action its name, what is done, and the cause."""
    assert plan.causes is not None
    return [(action.name, action.kind.value, plan.causes.get(action.key)) for action in plan.actions]


@pytest.mark.parametrize(
    ("now", "before", "expected"),
    [
        ([document()], [document()], [("card-001", "noop", None)]),
        ([document()], [document(status="ongoing")], [("card-001", "patch", "change")]),
        ([document()], [], [("card-001", "patch", "change")]),
        ([], [document()], [("card-001", "release", "change")]),
        ([document(name="renamed", file="moved.yaml")], [document()], [("renamed", "noop", None)]),
        (
            [document(2, name="card-001")],
            [document()],
            [("card-001", "release", "change"), ("card-001", "patch", "change")],
        ),
        ([document(suspend=SUSPENDED)], [document()], [("card-001", "hold", "change")]),
        ([document(suspend=SUSPENDED)], [document(suspend=SUSPENDED)], [("card-001", "hold", "pending")]),
        ([document()], [document(suspend=SUSPENDED)], [("card-001", "patch", "change")]),
        (
            [document(status="completed", suspend=SUSPENDED)],
            [document(suspend=SUSPENDED)],
            [("card-001", "hold", "change")],
        ),
    ],
    ids=["same", "edit", "new", "removed", "renamed", "other recording", "suspends", "suspended", "resumes", "both"],
)
def test_without_a_look_only_the_documents_are_compared(
    now: list[Desired], before: list[Desired], expected: list[tuple[str, str, str | None]]
) -> None:
    assert told(change_plan(now, before)) == expected


def test_with_a_look_change_drift_and_pending_edits_are_told_apart() -> None:
    edited, drifted, pending, waiting, synced = (document(number) for number in (1, 2, 3, 4, 5))
    before = [document(1, "ongoing"), drifted, pending, waiting, synced]
    applied = [
        record(1, "ongoing", last_applied=Status.ONGOING, phase=Phase.APPLIED),
        record(2, last_applied=Status.PAUSED, phase=Phase.APPLIED),
        record(3, "ongoing", last_applied=Status.ONGOING, phase=Phase.APPLIED),
        record(4),
        record(5, last_applied=Status.PAUSED, phase=Phase.APPLIED),
        record(9, name="taken-away-before", last_applied=Status.PAUSED),
    ]
    live = {1: "ongoing", 2: "ongoing", 3: "ongoing", 4: "accepted", 5: "paused"}
    assert told(change_plan([edited, drifted, pending, waiting, synced], before, applied, live)) == [
        ("card-001", "patch", "change"),
        ("card-002", "patch", "drift"),
        ("card-003", "patch", "pending"),
        ("card-004", "wait", "pending"),
        ("card-005", "noop", None),
        ("taken-away-before", "release", "pending"),
    ]


def test_an_edit_of_what_has_drifted_is_because_of_the_change() -> None:
    applied = [record(last_applied=Status.PAUSED)]
    plan = change_plan([document(status="completed")], [document()], applied, {1: "ongoing"})
    assert told(plan) == [("card-001", "patch", "change")]


def test_where_nothing_is_recorded_the_documents_before_stand_in_for_it() -> None:
    plan = change_plan(
        [document(), document(2)], [document(), document(2, "ongoing")], [], {1: "ongoing", 2: "ongoing"}
    )
    assert told(plan) == [("card-001", "patch", "drift"), ("card-002", "patch", "change")]
    assert [action.last_applied for action in plan.actions] == [Status.PAUSED, Status.ONGOING]


def test_a_removed_document_that_was_never_recorded_is_shown() -> None:
    plan = change_plan([document()], [document(), document(2)], [record(last_applied=Status.PAUSED)], {1: "paused"})
    assert told(plan) == [("card-001", "noop", None), ("card-002", "release", "change")]


STATUSES = st.sampled_from(list(Status))


@given(
    documents=st.lists(st.tuples(st.integers(1, 6), STATUSES), unique_by=lambda each: each[0]),
    last_applied=st.dictionaries(st.integers(1, 6), st.none() | STATUSES),
    live=st.dictionaries(st.integers(1, 6), st.sampled_from(["accepted", "ongoing", "paused", "completed", "failed"])),
    refresh=st.booleans(),
)
def test_no_change_is_never_a_cause(
    documents: list[tuple[int, Status]],
    last_applied: dict[int, Status | None],
    live: dict[int, str],
    refresh: bool,
) -> None:
    desired = [document(number, status) for number, status in documents]
    applied = [record(number, last_applied=status) for number, status in last_applied.items()]
    seen = {number: live.get(number, "gone") for number, _ in documents} if refresh else None
    plan = change_plan(desired, desired, applied, seen)
    assert plan.causes is not None
    assert Cause.CHANGE not in plan.causes.values()
    assert plan.causes.keys() == {action.key for action in plan.actions if action.kind is not ActionKind.NOOP}
