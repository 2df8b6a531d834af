"""The next record of a recording, computed from the last one and from what a turn has found out.

Pure: values in, a value out, time passed in. Nothing here decides, and nothing here is saved; each function answers
what the record says once its name has come true. `seen` is a record that already holds the last look.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from reconciler.errors import BirdError
from reconciler.model import Applied, Desired, Live, Phase, RecordingKey, Status

#: Less than this and a clock was corrected; more and it was set.
CLOCK_STEP = timedelta(seconds=1)


# Before the look: what the document says now, and what the clock did meanwhile.


def as_declared(key: RecordingKey, desired: Desired, base: str) -> Applied:
    """Return the first record of a recording, whose document's file is relative to `base`."""
    first = Applied(key, desired.name, desired.file, desired.line, desired.status, desired.drift, desired.suspend)
    return first._replace(base=_base(desired, base), labels=desired.labels)


def as_edited(record: Applied, status: Status, revision: str | None) -> Applied:
    """Return the record with a new desired status, which starts with a clean slate."""
    return record._replace(desired=status, attempts=0, error="", rejected=None, rejected_live=None, revision=revision)


def with_document(record: Applied, desired: Desired, base: str) -> Applied:
    """Return the record with the rest of what the document says now; the same one where nothing is new."""
    base = _base(desired, base)
    if (record.name, record.file, record.base, record.line, record.drift, record.suspend, record.labels) == (
        desired.name,
        desired.file,
        base,
        desired.line,
        desired.drift,
        desired.suspend,
        desired.labels,
    ):
        return record
    return record._replace(
        name=desired.name,
        file=desired.file,
        base=base,
        line=desired.line,
        drift=desired.drift,
        suspend=desired.suspend,
        labels=desired.labels,
    )


def _base(desired: Desired, base: str) -> str:
    # An absolute name is the same from everywhere: a command from another folder has nothing new to record.
    return "/" if desired.file.startswith("/") else base


def as_held(record: Applied, until: datetime, revision: str | None) -> Applied:
    """Return the record of a suspended recording."""
    return record._replace(phase=Phase.HELD, due_at=until, revision=revision)


def within_reach(record: Applied, now: datetime, confirm: timedelta) -> Applied:
    """Bring a deadline back that the clock, having been set back, would reach only after the length of its jump.

    Where there is none, the record itself is returned.
    """
    until = now + confirm
    if record.confirm_by is None or record.confirm_by <= until + CLOCK_STEP:
        return record
    sent_at, accepted_at = (None if at is None else min(at, now) for at in (record.sent_at, record.accepted_at))
    return record._replace(sent_at=sent_at, accepted_at=accepted_at, confirm_by=until)


# After the look.


def with_overtaken(record: Applied, live: Live, now: datetime) -> Applied:
    """Take a PATCH for applied that a newer desired status has overtaken, once a look shows its effect.

    Were it forgotten when the next PATCH goes out, and that one lost, our own pause would look like an agent's.
    """
    if record.sent is None or record.sent is record.desired or not live.satisfies(record.sent):
        return record
    return record._replace(
        last_applied=record.sent,
        applied_at=now,
        sent=None,
        sent_at=None,
        accepted_at=None,
        confirm_by=None,
    )


def as_in_sync(seen: Applied, before: Applied, now: datetime) -> Applied:
    """Return the record of a recording that is as desired: by our PATCH, or as it was found."""
    unchanged = seen.sent is not seen.desired and before.last_applied is seen.desired
    return seen._replace(
        phase=Phase.APPLIED,
        last_applied=seen.desired,
        applied_at=before.applied_at if unchanged else now,
        sent=None,
        sent_at=None,
        accepted_at=None,
        confirm_by=None,
        rejected=None,
        rejected_live=None,
        attempts=0,
        due_at=None,
        error="",
    )


def as_reported(seen: Applied, detail: str, *, ended: bool) -> Applied:
    """Return the record of a recording that is not as desired, and that nothing will be sent to."""
    return seen._replace(
        phase=Phase.ENDED if ended else Phase.DRIFTED,
        sent=None if ended else seen.sent,
        due_at=None,
        attempts=0,
        error=detail,
    )


# A PATCH and its answer.


def as_intended(seen: Applied, now: datetime, grace: timedelta, revision: str | None) -> Applied:
    """Return the record of a PATCH that is about to leave, and that has so long to show an effect if it gets lost."""
    return seen._replace(
        phase=Phase.SENDING,
        sent=seen.desired,
        sent_at=now,
        accepted_at=None,
        confirm_by=now + grace,
        revision=revision,
    )


def as_accepted(intent: Applied, now: datetime, confirm: timedelta) -> Applied:
    """Return the record of a PATCH that the API accepted, which is not yet its effect."""
    return intent._replace(phase=Phase.CONFIRMING, accepted_at=now, confirm_by=now + confirm, error="", due_at=None)


def as_found(seen: Applied, now: datetime) -> Applied:
    """Return the record of a PATCH that was rejected, where the wanted status is there all the same."""
    return seen._replace(
        phase=Phase.APPLIED,
        last_applied=seen.desired,
        applied_at=now,
        sent=None,
        sent_at=None,
        accepted_at=None,
        confirm_by=None,
        attempts=0,
        error="",
    )


def as_rejected(seen: Applied, live: Live, error: BirdError) -> Applied:
    """Return the record of a PATCH that was rejected: kept until either side changes."""
    return seen._replace(
        phase=Phase.ENDED if live.final else Phase.REJECTED,
        rejected=seen.desired,
        rejected_live=live.word,
        attempts=0,
        error=str(error),
    )


# Failures.


def as_failed(record: Applied, error: BirdError) -> Applied:
    """Return the record of a turn that failed before it had anything to send."""
    # A refusal by the API is still the last that is known, and its words are what a person needs.
    if record.phase is Phase.REJECTED:
        return record
    if record.phase in (Phase.SENDING, Phase.CONFIRMING, Phase.UNCONFIRMED):
        return record._replace(error=str(error))
    return record._replace(phase=Phase.FAILED, error=str(error))


def as_not_sent(seen: Applied, error: BirdError) -> Applied:
    """Return the record of a PATCH that was not processed: what was under way before it is under way still."""
    return seen._replace(phase=Phase.FAILED, attempts=seen.attempts + 1, error=str(error))


def as_unanswered(intent: Applied, error: BirdError, confirm_by: datetime | None) -> Applied:
    """Return the record of a PATCH that may have had its effect; until the deadline a look may show it."""
    return intent._replace(attempts=intent.attempts + 1, error=str(error), confirm_by=confirm_by)


def as_unconfirmed(seen: Applied, confirm: timedelta) -> Applied:
    """Return the record of a PATCH that was accepted and then showed no effect."""
    return seen._replace(
        phase=Phase.UNCONFIRMED,
        confirm_by=None,
        attempts=seen.attempts + 1,
        error=f"accepted, but not {seen.desired} within {confirm.total_seconds():g} s",
    )
