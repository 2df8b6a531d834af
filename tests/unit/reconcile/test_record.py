"""Each next record of a recording: what it remembers, what it forgets, and when there is nothing new to save.

Aspects: where a record must stay as it is, down to being the same one, and what is under way or refused meanwhile. Left
out: that each is asked for at the right moment, which `test_reconcile` holds turns to.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from reconciler.model.actions import Reason
from reconciler.model.documents import Suspend
from reconciler.model.errors import CredentialRefused, ProviderError, Rejected, Throttled, Unanswered
from reconciler.model.records import Record
from reconciler.model.statuses import Phase, Status
from reconciler.reconcile.record import (
    CLOCK_STEP,
    as_accepted,
    as_blind,
    as_declared,
    as_edited,
    as_failed,
    as_found,
    as_in_sync,
    as_intended,
    as_not_sent,
    as_rejected,
    as_unanswered,
    as_unconfirmed,
    as_waiting,
    standing,
    with_document,
    with_look,
    with_overtaken,
    within_reach,
)
from tests.world.nouns import NOW, document, look, record

CONFIRM = timedelta(seconds=30)
BEFORE = NOW - timedelta(minutes=5)
ERROR = Unanswered("no answer", code="timeout")
#: A PATCH that was accepted a second ago.
UNDER_WAY = record(
    phase=Phase.CONFIRMING,
    sent=Status.PAUSED,
    sent_at=NOW - timedelta(seconds=1),
    accepted_at=NOW - timedelta(seconds=1),
    confirm_by=NOW + CONFIRM,
)


def test_a_document_that_says_nothing_new_leaves_the_very_same_record() -> None:
    known = as_declared(document().key, document(), "/srv", NOW)
    assert known == record(base="/srv", reason="edit", phase_since=NOW, unmet_since=NOW)
    assert with_document(known, document(), "/srv") is known


def test_what_a_document_says_beside_its_status_touches_nothing_under_way() -> None:
    suspended = document(line=9, suspend=Suspend("incident", NOW))
    assert with_document(UNDER_WAY, suspended, "/srv") == UNDER_WAY._replace(
        base="/srv", line=9, suspend=suspended.suspend
    )


def test_a_new_desired_status_forgets_what_became_of_the_old_one_but_not_what_was_sent() -> None:
    failed = UNDER_WAY._replace(attempts=4, error="no answer", rejected=Status.PAUSED, rejected_live="ongoing")
    assert as_edited(failed, Status.ONGOING, "abc", NOW) == UNDER_WAY._replace(
        desired=Status.ONGOING,
        revision="abc",
        phase=Phase.PENDING,
        reason="edit",
        phase_since=NOW,
        unmet_since=NOW,
    )


@pytest.mark.parametrize("confirm_by", [None, NOW, NOW + CONFIRM, NOW + CONFIRM + CLOCK_STEP])
def test_a_deadline_that_this_clock_can_have_set_stays(confirm_by: datetime | None) -> None:
    waiting = UNDER_WAY._replace(confirm_by=confirm_by)
    assert within_reach(waiting, NOW, CONFIRM) is waiting


def test_a_deadline_from_before_the_clock_was_set_back_is_brought_within_reach() -> None:
    hour = timedelta(hours=1)
    of_before = UNDER_WAY._replace(sent_at=NOW + hour, accepted_at=None, confirm_by=NOW + hour)
    brought = within_reach(of_before, NOW, CONFIRM)
    assert (brought.sent_at, brought.accepted_at, brought.confirm_by) == (NOW, None, NOW + CONFIRM)


@pytest.mark.parametrize(
    ("before", "word"),
    [
        (record(desired=Status.ONGOING), "paused"),
        (UNDER_WAY, "paused"),
        (UNDER_WAY._replace(desired=Status.COMPLETED), "ongoing"),
    ],
    ids=["nothing sent", "not overtaken", "no effect yet"],
)
def test_a_patch_is_overtaken_only_with_its_effect_and_by_another_status(before: Record, word: str) -> None:
    assert with_overtaken(before, look(word), NOW) is before


def test_the_effect_of_an_overtaken_patch_is_ours() -> None:
    overtaken = with_overtaken(UNDER_WAY._replace(desired=Status.ONGOING), look("paused"), NOW)
    assert (overtaken.last_applied, overtaken.applied_at) == (Status.PAUSED, NOW)
    assert (overtaken.sent, overtaken.sent_at, overtaken.accepted_at, overtaken.confirm_by) == (None,) * 4


@pytest.mark.parametrize(
    ("sent", "last_applied", "applied_at"),
    [(None, Status.PAUSED, BEFORE), (None, Status.ONGOING, NOW), (Status.PAUSED, Status.PAUSED, NOW)],
    ids=["as before", "found so", "confirmed"],
)
def test_when_a_status_was_applied_is_kept_until_it_is_brought_about_anew(
    sent: Status | None, last_applied: Status, applied_at: datetime
) -> None:
    before = record(sent=sent, last_applied=last_applied, applied_at=BEFORE)
    after = as_in_sync(before, before, NOW)
    assert (after.phase, after.last_applied, after.applied_at) == (Phase.APPLIED, Status.PAUSED, applied_at)


def test_an_intent_knows_nothing_yet_of_its_acceptance() -> None:
    intent = as_intended(UNDER_WAY, Reason.EDIT, NOW, timedelta(seconds=3), "abc")
    assert (intent.sent, intent.sent_at, intent.accepted_at) == (Status.PAUSED, NOW, None)
    assert intent.confirm_by == NOW + timedelta(seconds=3)


def test_what_was_not_sent_leaves_what_was_under_way_and_what_may_have_been_keeps_its_intent() -> None:
    not_sent = as_not_sent(UNDER_WAY, ERROR, NOW)
    assert not_sent == standing(UNDER_WAY, Phase.FAILED, "api_away", NOW)._replace(attempts=1, error=str(ERROR))
    lost = as_unanswered(UNDER_WAY, ERROR, NOW)
    assert lost == UNDER_WAY._replace(attempts=1, error=str(ERROR), confirm_by=NOW)


@pytest.mark.parametrize(("word", "phase"), [("ongoing", Phase.REJECTED), ("failed", Phase.ENDED)])
def test_a_rejection_is_kept_beside_what_was_live(word: str, phase: Phase) -> None:
    rejected = as_rejected(record(attempts=2), look(word), ERROR, NOW)
    assert (rejected.phase, rejected.rejected, rejected.rejected_live) == (phase, Status.PAUSED, word)
    assert (rejected.attempts, rejected.error) == (0, str(ERROR))


def test_a_rejected_status_that_is_there_all_the_same_is_applied() -> None:
    found = as_found(UNDER_WAY._replace(error="conflict"), NOW)
    assert (found.phase, found.last_applied, found.applied_at, found.sent) == (Phase.APPLIED, Status.PAUSED, NOW, None)
    assert found.error == ""


#: A PATCH under way, what the API has refused or a limit has, and what is over: a look that fails changes none of it.
KEPT = {Phase.SENDING, Phase.CONFIRMING, Phase.UNCONFIRMED, Phase.REJECTED, Phase.REFUSED, Phase.ENDED, Phase.HELD}


@pytest.mark.parametrize("phase", Phase)
def test_a_look_without_an_answer_blinds_what_is_owed_and_hides_nothing_that_was_answered(phase: Phase) -> None:
    known = record(phase=phase, error="the words of before")
    blind = as_blind(known, ERROR, NOW)
    assert blind.phase is (phase if phase in KEPT or phase is Phase.APPLIED else Phase.BLIND)
    if phase in (Phase.APPLIED, Phase.REJECTED, Phase.REFUSED, Phase.ENDED):
        assert blind is known  # nothing to write, however many there are
    else:
        assert blind.error == str(ERROR)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Unanswered("no answer", code="timeout"), "api_away"),
        (CredentialRefused("answered 401", status=401, workspace_id="w"), "key_refused"),
        (Rejected("answered 422", status=422, code="Invalid"), "request_refused"),
    ],
)
def test_blindness_has_its_reason(error: ProviderError, reason: str) -> None:
    assert as_blind(record(), error, NOW).reason == reason


def test_a_look_that_waits_for_its_share_of_the_budget_is_no_blindness() -> None:
    throttled = Throttled("answered 429")
    assert as_blind(record(), throttled, NOW).phase is Phase.PENDING


@pytest.mark.parametrize("phase", Phase)
def test_a_patch_that_cannot_leave_hides_neither_a_rejection_nor_one_under_way(phase: Phase) -> None:
    known = record(phase=phase, error="the words of before")
    failed = as_failed(known, ERROR, NOW)
    under_way = phase in (Phase.SENDING, Phase.CONFIRMING, Phase.UNCONFIRMED)
    assert failed.phase is (phase if under_way or phase is Phase.REJECTED else Phase.FAILED)
    assert failed.error == (known.error if phase is Phase.REJECTED else str(ERROR))


# Why and since when.


def test_since_when_a_recording_stands_as_it_does_is_kept_until_phase_or_reason_change() -> None:
    waits = as_waiting(record(), Reason.NOT_FOUND, "", BEFORE)
    assert (waits.phase_since, waits.reason) == (BEFORE, "not_found")
    assert as_waiting(waits, Reason.NOT_FOUND, "", NOW).phase_since == BEFORE
    assert as_waiting(waits, Reason.NOT_CONTROLLABLE, "", NOW).phase_since == NOW


@pytest.mark.parametrize("phase", Phase)
def test_what_is_owed_is_owed_since_it_was_first_not_seen(phase: Phase) -> None:
    nothing_owed = phase in (Phase.APPLIED, Phase.HELD, Phase.ENDED)
    assert standing(record(unmet_since=BEFORE), phase, "", NOW).unmet_since == (None if nothing_owed else BEFORE)
    assert standing(record(), phase, "", NOW).unmet_since == (None if nothing_owed else NOW)


def test_an_edit_is_owed_since_it_was_asked_for_whatever_was_owed_before() -> None:
    assert as_edited(record(unmet_since=BEFORE), Status.ONGOING, None, NOW).unmet_since == NOW


@pytest.mark.parametrize(
    "phase",
    [each for each in Phase if each not in {Phase.APPLIED, Phase.ENDED, Phase.REJECTED, Phase.REFUSED, Phase.HELD}],
)
def test_unconfirmed_holds_whatever_is_tried_meanwhile(phase: Phase) -> None:
    unconfirmed = as_unconfirmed(UNDER_WAY, CONFIRM, timedelta(seconds=1), BEFORE)
    held = standing(unconfirmed, phase, "another", NOW)
    assert (held.phase, held.reason, held.phase_since) == (Phase.UNCONFIRMED, "no_effect", BEFORE)


def test_unconfirmed_ends_with_a_new_desired_status() -> None:
    unconfirmed = as_unconfirmed(UNDER_WAY, CONFIRM, timedelta(seconds=1), BEFORE)
    assert as_edited(unconfirmed, Status.ONGOING, None, NOW).phase is Phase.PENDING


def test_when_a_patch_was_first_sent_is_kept_while_it_is_sent_again() -> None:
    first = as_intended(record(), Reason.EDIT, BEFORE, CONFIRM, None)
    unconfirmed = as_unconfirmed(as_accepted(first, BEFORE, CONFIRM), CONFIRM, timedelta(seconds=1), NOW)
    again = as_accepted(as_intended(unconfirmed, Reason.EDIT, NOW, CONFIRM, None), NOW, CONFIRM)
    assert (again.first_sent_at, again.sent_at, again.phase) == (BEFORE, NOW, Phase.UNCONFIRMED)
    other = as_intended(again._replace(desired=Status.ONGOING), Reason.EDIT, NOW, CONFIRM, None)
    assert other.first_sent_at == NOW
    assert as_in_sync(again, again, NOW).first_sent_at is None


def test_since_when_a_recording_is_not_found_is_kept_until_it_is() -> None:
    missing = with_look(record(missing_since=BEFORE), look("gone"))
    assert (missing.missing_since, missing.observed_at) == (BEFORE, NOW)
    assert with_look(record(), look("gone")).missing_since == NOW
    for found in (look("paused"), look("gone", ended=True), look("gone", moved_to="another"), look("failed")):
        assert with_look(missing, found).missing_since is None
