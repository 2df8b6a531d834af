"""The plan as a value: what is in it, in which order, with which counts and which digest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.actions import Action, ActionKind, Rule
from reconciler.model.documents import Desired
from reconciler.model.keys import RecordingKey
from reconciler.model.records import Record
from reconciler.model.statuses import Live, Status
from reconciler.plan.decision import decide
from reconciler.plan.limits import Limits
from reconciler.plan.plan import (
    Plan,
    Summary,
    digest_line,
    digest_of,
    hold_against,
    line_of,
    make_plan,
    narrow,
    summarise,
)
from tests.world.nouns import NOW, document, key, look, record

LIMITS = Limits()


def plan_of(
    desired: list[Desired], records: list[Record], live: dict[RecordingKey, Live] | None, **changes: object
) -> Plan:
    applied = {kept.key: kept for kept in records}
    return make_plan(desired, applied, live, now=NOW, limits=LIMITS, **changes)  # type: ignore[arg-type]  # by name


def digest(actions: Sequence[Action], **bound: Any) -> str:
    return Plan(NOW, None, refreshed=True, actions=tuple(actions), summary=Summary(), **bound).digest


def test_every_document_and_every_record_without_one_is_decided() -> None:
    desired = [document(3), document(1), document(2)]
    records = [record(1, last_applied=Status.PAUSED), record(9, last_applied=Status.PAUSED)]
    live = {key(1): look("paused"), key(2): look("ongoing"), key(3): look("accepted")}
    plan = plan_of(desired, records, live, revision="4b825dc")
    assert [(action.name, action.kind, action.reason) for action in plan.actions] == [
        ("card-001", "noop", "in_sync"),
        ("card-002", "patch", "edit"),
        ("card-003", "wait", "not_controllable"),
        ("card-009", "release", "removed"),
    ]
    assert (plan.revision, plan.refreshed, plan.created_at) == ("4b825dc", True, NOW)
    assert [action.name for action in plan.patches] == ["card-002"]


def test_without_a_look_last_applied_is_compared_alone() -> None:
    records = [record(1, last_applied=Status.PAUSED), record(2, last_applied=Status.ONGOING)]
    plan = plan_of([document(1), document(2), document(3)], records, None)
    assert not plan.refreshed
    assert [action.kind for action in plan.actions] == ["noop", "patch", "patch"]
    assert all(action.live is None for action in plan.actions)


def test_what_could_not_be_read_is_left_out_and_not_released() -> None:
    records = [record(1, last_applied=Status.PAUSED), record(2)]
    plan = plan_of([document(1), document(2)], records, {key(2): look("paused")}, unread=frozenset({key(1)}))
    assert [action.key for action in plan.actions] == [key(2)]


def test_counts_follow_the_actions() -> None:
    live = {
        key(1): look("ongoing"),
        key(2): look("ongoing"),
        key(3): look("paused"),
        key(4): look("paused"),
        key(5): look("ongoing"),
    }
    desired = [
        document(1),
        document(2),
        document(3, "completed"),
        document(4, "ongoing"),
        document(5, "ongoing"),
    ]
    records = [record(2, last_applied=Status.PAUSED), record(8), record(9)]
    summary = plan_of(desired, records, live).summary
    assert (summary.patch, summary.noop, summary.release, summary.wait, summary.hold, summary.report) == (
        4,
        1,
        2,
        0,
        0,
        0,
    )
    assert (summary.drift, summary.irreversible, summary.resumes) == (1, 1, 1)


@pytest.mark.parametrize(
    ("kind", "changes"), [(kind, kind in (ActionKind.PATCH, ActionKind.RELEASE)) for kind in ActionKind]
)
def test_only_a_patch_or_a_release_is_a_change(kind: ActionKind, changes: bool) -> None:
    action = decide(key(), document(), None, None, NOW)._replace(kind=kind)
    assert summarise([action]).changes is changes


def test_a_reported_drift_counts_as_drift() -> None:
    records = [record(1, "ongoing", last_applied=Status.ONGOING)]
    summary = plan_of([document(1, "ongoing")], records, {key(1): look("paused")}).summary
    assert (summary.report, summary.drift, summary.patch) == (1, 1, 0)


def test_a_plan_past_a_limit_withholds_that_kind_and_keeps_the_rest() -> None:
    ends = [document(number, "completed") for number in range(26)]
    live = {kept.key: look("ongoing") for kept in [*ends, document(90)]}
    plan = plan_of([*ends, document(90)], [], live)
    assert [refusal.rule for refusal in plan.refusals] == [Rule.IRREVERSIBLE]
    assert plan.withheld == {document.key for document in ends}
    assert [action.key for action in plan.patches] == [key(90)]
    assert plan.summary.patch == 27, "the summary tells what is wanted"


def test_the_share_of_changes_is_of_all_records_with_an_applied_status() -> None:
    records = [record(number, last_applied=Status.PAUSED) for number in range(20)]
    records += [record(number) for number in range(20, 40)]
    live = {kept.key: look("paused") for kept in records}
    desired = [document(number, "ongoing") for number in range(11)]
    desired += [document(number, "paused") for number in range(11, 40)]
    assert [refusal.count for refusal in plan_of(desired, records, live).refusals] == [11]
    assert plan_of(desired[1:], records, live).refusals == ()


def test_a_plan_may_be_held_against_other_limits() -> None:
    plan = plan_of([document(1, "completed")], [], {key(1): look("ongoing")})
    assert plan.refusals == ()
    held = hold_against(plan, Limits(max_irreversible=0), 0)
    assert held.withheld == {key(1)}
    assert held.patches == ()
    assert held.actions == plan.actions
    assert hold_against(held, Limits.lifted(), 0) == plan


def test_a_narrowed_plan_keeps_the_chosen_actions_and_those_that_send_nothing() -> None:
    live = {key(1): look("ongoing"), key(2): look("ongoing"), key(3): look("paused")}
    plan = plan_of([document(1), document(2), document(3)], [record(9)], live)
    narrowed = narrow(plan, {key(2)})
    assert [action.key for action in narrowed.actions] == [key(2), key(3)]
    assert (narrowed.summary.patch, narrowed.summary.noop, narrowed.summary.release) == (1, 1, 0)


worlds = st.lists(
    st.tuples(
        st.integers(0, 30),
        st.sampled_from(list(Status)),
        st.sampled_from(["accepted", "ongoing", "paused", "completed", "failed", "gone", "odd"]),
        st.sampled_from([None, *Status]),
    ),
    unique_by=lambda drawn: drawn[0],
    max_size=12,
)


def actions_of(drawn: list[tuple[int, Status, str, Status | None]]) -> list[Action]:
    return [
        decide(
            key(number),
            document(number, status),
            record(number, last_applied=last_applied),
            look(word),
            NOW,
        )
        for number, status, word, last_applied in drawn
    ]


@given(worlds, st.randoms(use_true_random=False))
def test_the_digest_knows_neither_order_nor_time_nor_place(
    drawn: list[tuple[int, Status, str, Status | None]], shuffler: Random
) -> None:
    actions = actions_of(drawn)
    moved = [
        action._replace(
            file="elsewhere.yaml",
            line=action.line + 40,
            live=None if action.live is None else replace(action.live, observed_at=NOW + timedelta(days=1)),
        )
        for action in actions
    ]
    shuffler.shuffle(moved)
    assert digest(moved) == digest(actions)
    assert digest(actions) == digest([action for action in actions if action.kind is not ActionKind.NOOP])


def test_the_digest_covers_the_decision_and_all_three_states() -> None:
    action = decide(key(), document(), record(last_applied=Status.ONGOING), look("ongoing"), NOW)
    changed = [
        action._replace(desired=Status.COMPLETED),
        action._replace(last_applied=None),
        action._replace(live=look("accepted")),
        action._replace(live=None),
        action._replace(kind=ActionKind.WAIT),
        action._replace(name="another"),
        action._replace(key=key(2)),
    ]
    digests = {digest([each]) for each in [action, *changed]}
    digests |= {digest([action], api="sandbox"), digest([action], paths=("a",)), digest([action], paths=("a", "b"))}
    assert len(digests) == len(changed) + 4


def test_two_unknown_words_have_two_digests() -> None:
    one, other = (decide(key(), document(), None, look(word), NOW) for word in ("odd", "odder"))
    assert digest([one]) != digest([other])


def test_a_line_of_the_digest_cannot_be_forged_by_a_name() -> None:
    first = line_of(key(), 'a","patch', ("edit", "x"), (None, None, None))
    second = line_of(key(), "a", ("patch", "edit"), ("x", None, None))
    assert first != second
    bound: dict[str, Any] = {"api": "sandbox", "paths": ["a"]}
    assert digest_of([first, second], **bound) == digest_of([second, first], **bound)
    assert digest_of([], **bound).startswith("sha256:")


def test_the_line_of_an_action_is_that_of_its_saved_form() -> None:
    action = decide(key(), document(), record(last_applied=Status.ONGOING), look("ongoing"), NOW)
    saved = line_of(key(), "card-001", ("patch", "edit"), ("paused", "ongoing", "ongoing"))
    assert digest_line(action) == saved


@given(worlds, st.randoms(use_true_random=False))
def test_the_same_world_makes_the_same_plan_in_whatever_order_it_is_given(
    drawn: list[tuple[int, Status, str, Status | None]], shuffler: Random
) -> None:
    desired = [document(number, status) for number, status, _, _ in drawn if number % 3]
    records = [record(number, last_applied=last_applied) for number, _, _, last_applied in drawn]
    records += [record(number, name="same-name", last_applied=Status.PAUSED) for number in (50, 51, 52)]
    live = {key(number): look(word) for number, _, word, _ in drawn}
    plan = plan_of(desired, records, live)
    assert [action.name for action in plan.actions] == sorted(action.name for action in plan.actions)
    for shuffled in (desired, records):
        shuffler.shuffle(shuffled)
    assert plan_of(desired, records, live) == plan
