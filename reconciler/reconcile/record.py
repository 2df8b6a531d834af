"""The next record of a recording, computed from the last one and from what a turn has found out.

Pure: values in, a value out, time passed in. Nothing here decides, and nothing here is saved; each function answers
what the record says once its name has come true. `seen` is a record that already holds the last look.

What must never happen here: a phase that says more than the last answered look did, or one that is set past
`standing`, which alone keeps why and since when a recording stands where it stands.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from reconciler.model import (
    CredentialRefused,
    Desired,
    Live,
    NoRoom,
    Phase,
    ProviderError,
    Reason,
    Record,
    RecordingKey,
    Rejected,
    Status,
    Throttled,
)

#: Less than this and a clock was corrected; more and it was set.
CLOCK_STEP = timedelta(seconds=1)

# Why a recording stands where it stands, beside the reasons of the decision.
KEY_REFUSED: Final = "key_refused"
API_AWAY: Final = "api_away"
THROTTLED: Final = "throttled"
REQUEST_REFUSED: Final = "request_refused"
NO_EFFECT: Final = "no_effect"
REJECTED: Final = "rejected"
SEEN_AGAIN: Final = "seen_again"
SEEN_ONCE: Final = "seen_once"
#: A PATCH to another status, of an earlier process, may still be under way.
EARLIER_REQUEST: Final = "earlier_request"

#: Phases in which nothing is owed: the desired status holds, nobody asks for it now, or nothing can bring it about.
_NOTHING_OWED: Final = frozenset({Phase.APPLIED, Phase.HELD, Phase.ENDED})
#: What ends an unconfirmed PATCH: its effect, the end of the recording, a refusal in so many words, or a suspension.
_SETTLES_UNCONFIRMED: Final = frozenset({Phase.APPLIED, Phase.ENDED, Phase.REJECTED, Phase.REFUSED, Phase.HELD})
#: Phases that a look which is not answered leaves as they are: a PATCH is under way, or what was answered before still
#: holds, since only a change on either side could alter it.
_NOT_BLINDED: Final = frozenset(
    {
        Phase.APPLIED,
        Phase.SENDING,
        Phase.CONFIRMING,
        Phase.UNCONFIRMED,
        Phase.REJECTED,
        Phase.REFUSED,
        Phase.ENDED,
        Phase.HELD,
    }
)


def standing(record: Record, phase: Phase, reason: str, now: datetime) -> Record:
    """Return the record in a phase, for a reason: the one place where a record changes its phase.

    A PATCH that was accepted and then showed no effect stays unconfirmed, whatever is tried meanwhile, until a look
    shows its effect or proves that there will be none.
    """
    if record.phase is Phase.UNCONFIRMED and record.sent is record.desired and phase not in _SETTLES_UNCONFIRMED:
        phase, reason = record.phase, NO_EFFECT
    reason = str(reason)
    unmet_since = None if phase in _NOTHING_OWED else record.unmet_since or now
    unchanged = record.phase is phase and record.reason == reason and record.phase_since is not None
    if unchanged and unmet_since == record.unmet_since:
        return record
    return record._replace(
        phase=phase,
        reason=reason,
        phase_since=record.phase_since if unchanged else now,
        unmet_since=unmet_since,
    )


def why(error: ProviderError) -> str:
    """Return in a word why the API did not do what it was asked for."""
    match error:
        case CredentialRefused():
            return KEY_REFUSED
        case Throttled() | NoRoom():
            return THROTTLED
        case Rejected():
            return REQUEST_REFUSED
        case _:
            return API_AWAY


# Before the look: what the document says now, and what the clock did meanwhile.


def as_declared(key: RecordingKey, desired: Desired, base: str, now: datetime) -> Record:
    """Return the first record of a recording, whose document's file is relative to `base`."""
    first = Record(
        key,
        desired.name,
        desired.file,
        desired.line,
        desired.status,
        desired.drift,
        desired.suspend,
        base=_base(desired, base),
        labels=desired.labels,
    )
    return standing(first, Phase.PENDING, Reason.EDIT, now)


def as_edited(record: Record, status: Status, revision: str | None, now: datetime) -> Record:
    """Return the record with a new desired status, which starts with a clean slate: nobody has seen it hold yet."""
    edited = record._replace(
        desired=status,
        attempts=0,
        due_at=None,
        error="",
        rejected=None,
        rejected_live=None,
        revision=revision,
        unmet_since=now,
        missing_since=None,
        first_sent_at=None,
    )
    return standing(edited, Phase.PENDING, Reason.EDIT, now)


def with_document(record: Record, desired: Desired, base: str) -> Record:
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


def as_held(record: Record, until: datetime, revision: str | None, now: datetime) -> Record:
    """Return the record of a suspended recording."""
    return standing(record, Phase.HELD, Reason.SUSPENDED, now)._replace(due_at=until, revision=revision)


def within_reach(record: Record, now: datetime, confirm: timedelta) -> Record:
    """Bring a deadline back that the clock, having been set back, would reach only after the length of its jump.

    Where there is none, the record itself is returned.
    """
    until = now + confirm
    if record.confirm_by is None or record.confirm_by <= until + CLOCK_STEP:
        return record
    sent_at, accepted_at = (None if at is None else min(at, now) for at in (record.sent_at, record.accepted_at))
    return record._replace(sent_at=sent_at, accepted_at=accepted_at, confirm_by=until)


# After the look.


def with_look(record: Record, live: Live) -> Record:
    """Return the record with what was just seen, and since when the recording has not been found."""
    missing_since = None
    if live.missing and live.moved_to is None:
        missing_since = record.missing_since or live.observed_at
    return record._replace(live=live.word, observed_at=live.observed_at, missing_since=missing_since)


def as_seen_again(record: Record, now: datetime) -> Record:
    """Return the record of a recording whose looks are answered again; what follows from them is decided next."""
    return standing(record, Phase.PENDING, SEEN_AGAIN, now)._replace(error="")


def with_overtaken(record: Record, live: Live, now: datetime) -> Record:
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
        first_sent_at=None,
    )


def as_in_sync(seen: Record, before: Record, now: datetime) -> Record:
    """Return the record of a recording that is as desired: by our PATCH, or as it was found."""
    unchanged = seen.sent is not seen.desired and before.last_applied is seen.desired
    return standing(seen, Phase.APPLIED, Reason.IN_SYNC, now)._replace(
        last_applied=seen.desired,
        applied_at=before.applied_at if unchanged else now,
        sent=None,
        sent_at=None,
        accepted_at=None,
        confirm_by=None,
        first_sent_at=None,
        rejected=None,
        rejected_live=None,
        attempts=0,
        due_at=None,
        error="",
        restored=False,
    )


def as_reported(seen: Record, reason: Reason, detail: str, now: datetime) -> Record:
    """Return the record of a recording that is not as desired, and that nothing will be sent to."""
    ended = reason in (Reason.ENDED, Reason.ENDED_BEFORE_EFFECT)
    lost = reason in (Reason.NOT_FOUND, Reason.MOVED)
    phase = Phase.ENDED if ended else Phase.FAILED if lost else Phase.DRIFTED
    return standing(seen, phase, reason, now)._replace(
        sent=None if ended else seen.sent,
        due_at=None,
        attempts=0,
        error=detail,
    )


def as_drifted(seen: Record, now: datetime) -> Record:
    """Return the record of a recording whose drift is about to be corrected."""
    return standing(seen, Phase.DRIFTED, Reason.DRIFT, now)


def as_waiting(seen: Record, reason: Reason | str, detail: str, now: datetime) -> Record:
    """Return the record of a recording that nothing can be sent to yet."""
    return standing(seen, Phase.WAITING, reason, now)._replace(error=detail)


# A PATCH and its answer.


def as_intended(seen: Record, reason: Reason, now: datetime, grace: timedelta, revision: str | None) -> Record:
    """Return the record of a PATCH that is about to leave, and that has so long to show an effect if it gets lost."""
    first = seen.first_sent_at if seen.sent is seen.desired else None
    return standing(seen, Phase.SENDING, reason, now)._replace(
        sent=seen.desired,
        sent_at=now,
        first_sent_at=first or now,
        accepted_at=None,
        confirm_by=now + grace,
        due_at=None,
        revision=revision,
    )


def as_accepted(intent: Record, now: datetime, confirm: timedelta) -> Record:
    """Return the record of a PATCH that the API accepted, which is not yet its effect."""
    accepted = standing(intent, Phase.CONFIRMING, Reason.CONFIRMING, now)
    return accepted._replace(accepted_at=now, confirm_by=now + confirm, error="", due_at=None)


def as_confirming(seen: Record, now: datetime) -> Record:
    """Return the record of a PATCH whose effect is waited for: accepted, or of unknown fate."""
    return standing(seen, Phase.SENDING if seen.accepted_at is None else Phase.CONFIRMING, Reason.CONFIRMING, now)


def as_found(seen: Record, now: datetime) -> Record:
    """Return the record of a PATCH that was rejected, where the wanted status is there all the same."""
    return standing(seen, Phase.APPLIED, Reason.IN_SYNC, now)._replace(
        last_applied=seen.desired,
        applied_at=now,
        sent=None,
        sent_at=None,
        accepted_at=None,
        confirm_by=None,
        first_sent_at=None,
        attempts=0,
        error="",
        restored=False,
    )


def as_rejected(seen: Record, live: Live, error: ProviderError, now: datetime) -> Record:
    """Return the record of a PATCH that was rejected: kept until either side changes."""
    phase, reason = (Phase.ENDED, Reason.ENDED_BEFORE_EFFECT) if live.final else (Phase.REJECTED, REJECTED)
    return standing(seen, phase, reason, now)._replace(
        rejected=seen.desired,
        rejected_live=live.word,
        attempts=0,
        error=str(error),
    )


# Failures.


def as_failed(record: Record, error: ProviderError, now: datetime) -> Record:
    """Return the record of a turn that was answered, and whose PATCH then could not leave."""
    # A refusal by the API is still the last that is known, and its words are what a person needs.
    if record.phase is Phase.REJECTED:
        return record
    if record.phase in (Phase.SENDING, Phase.CONFIRMING, Phase.UNCONFIRMED):
        return record._replace(error=str(error))
    return standing(record, Phase.FAILED, why(error), now)._replace(error=str(error))


def as_blind(record: Record, error: ProviderError, now: datetime) -> Record:
    """Return the record of a recording whose look was not answered.

    One that was seen as desired keeps its record, since nothing new is known of it: that its workspace is out of sight
    is told by the workspace, at no cost for each of a hundred thousand.
    """
    if record.phase in (Phase.APPLIED, Phase.REJECTED, Phase.REFUSED, Phase.ENDED):
        return record
    if record.phase in _NOT_BLINDED or why(error) == THROTTLED:
        return record._replace(error=str(error))
    return standing(record, Phase.BLIND, why(error), now)._replace(error=str(error))


def as_not_sent(seen: Record, error: ProviderError, now: datetime) -> Record:
    """Return the record of a PATCH that was not processed: what was under way before it is under way still."""
    failed = standing(seen, Phase.FAILED, why(error), now)
    return failed._replace(attempts=seen.attempts + 1, error=str(error))


def as_unanswered(intent: Record, error: ProviderError, confirm_by: datetime | None) -> Record:
    """Return the record of a PATCH that may have had its effect; until the deadline a look may show it."""
    return intent._replace(attempts=intent.attempts + 1, error=str(error), confirm_by=confirm_by)


def as_unconfirmed(seen: Record, confirm: timedelta, again: timedelta, now: datetime) -> Record:
    """Return the record of a PATCH that was accepted and then showed no effect, and that leaves again after a wait."""
    return standing(seen, Phase.UNCONFIRMED, NO_EFFECT, now)._replace(
        confirm_by=None,
        attempts=seen.attempts + 1,
        due_at=now + again,
        error=f"accepted, but not {seen.desired} within {confirm.total_seconds():g} s",
    )
