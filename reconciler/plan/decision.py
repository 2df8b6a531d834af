"""The decision about one recording, and nothing else.

A table, read from the top; the first row that matches wins. `plan`, `apply` and the daemon all ask this function, so
what a plan shows is what would be sent. Nothing here reads a file, a clock or the network, and nothing is remembered.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from reconciler.model import Action, ActionKind, Desired, Drift, Live, LiveStatus, Reason, Record, RecordingKey, Status

#: Live but not controllable: Bird's first status, which nothing may be sent to yet (assumed), and words not yet known.
_NOT_CONTROLLABLE = frozenset({LiveStatus.ACCEPTED, LiveStatus.UNKNOWN})

#: How long a call may live, in seconds, unless a setting says so: Bird ends one after four hours by default; a quarter
#: of an hour more is for ringing, and for an API that shows it late.
CALL_SECONDS: Final = 15300.0
#: A look that contradicts one which is no older than this counts only once another look agrees with it.
SUSPECT: Final = timedelta(seconds=5)


def decide(
    key: RecordingKey,
    desired: Desired | None,
    applied: Record | None,
    live: Live | None,
    now: datetime,
    *,
    call_seconds: float = CALL_SECONDS,
) -> Action:
    """Decide what to do about one recording.

    Args:
        key: the recording.
        desired: what its document asks for; None when there is no document (any more).
        applied: our record of it; None when it has never been seen.
        live: what the API answered; None when nobody looked, and then no row that needs a look can match.
        now: against which a suspension, the deadline of a confirmation and the life of a call are measured.
        call_seconds: how long a call may live, and so how long a recording that is not found is waited for.
    """
    if desired is None:
        return _action(ActionKind.RELEASE, Reason.REMOVED, key, desired, applied, live)
    last_applied = effective_last_applied(applied)

    if desired.suspend is not None and now < desired.suspend.until:
        return _action(ActionKind.HOLD, Reason.SUSPENDED, key, desired, applied, live)
    if live is not None:
        if live.satisfies(desired.status):
            return _action(ActionKind.NOOP, Reason.IN_SYNC, key, desired, applied, live)
        if live.final:
            never_confirmed = last_applied is not desired.status
            ended = Reason.ENDED_BEFORE_EFFECT if never_confirmed else Reason.ENDED
            return _action(ActionKind.REPORT, ended, key, desired, applied, live)
        if live.moved_to is not None:
            return _action(ActionKind.REPORT, Reason.MOVED, key, desired, applied, live)
        if live.missing:
            waits = now < _missing_since(applied, live) + timedelta(seconds=call_seconds)
            kind = ActionKind.WAIT if waits else ActionKind.REPORT
            return _action(kind, Reason.NOT_FOUND, key, desired, applied, live)
        if live.status in _NOT_CONTROLLABLE:
            return _action(ActionKind.WAIT, Reason.NOT_CONTROLLABLE, key, desired, applied, live)
    if awaits_confirmation(applied, desired.status, now):
        return _action(ActionKind.WAIT, Reason.CONFIRMING, key, desired, applied, live)
    if last_applied is desired.status:
        if live is None:
            return _action(ActionKind.NOOP, Reason.IN_SYNC, key, desired, applied, live)
        if contradicts(applied, desired.status, live):
            return _action(ActionKind.WAIT, Reason.CONTRADICTED, key, desired, applied, live)
        if desired.drift is Drift.REPORT:
            return _action(ActionKind.REPORT, Reason.DRIFT, key, desired, applied, live)
        if desired.status is Status.ONGOING and live.status is LiveStatus.PAUSED and desired.drift is Drift.SAFE:
            return _action(ActionKind.REPORT, Reason.FOREIGN_PAUSE, key, desired, applied, live)
        return _action(ActionKind.PATCH, Reason.DRIFT, key, desired, applied, live)
    if applied is not None and applied.restored and _may_be_anybodys_pause(desired, live):
        # What happened after the backup is not known: the record's own pause may have been resumed long ago.
        return _action(ActionKind.REPORT, Reason.FOREIGN_PAUSE, key, desired, applied, live)
    return _action(ActionKind.PATCH, Reason.EDIT, key, desired, applied, live)


def _may_be_anybodys_pause(desired: Desired, live: Live | None) -> bool:
    return (
        desired.status is Status.ONGOING
        and live is not None
        and live.status is LiveStatus.PAUSED
        and desired.drift is not Drift.HEAL
    )


def effective_last_applied(applied: Record | None) -> Status | None:
    """Return the status that is known to have been brought about and not to have been overtaken since.

    While a PATCH to another status is unconfirmed, nobody knows which of the two holds: it may still take effect. Then
    a pause that appears is ours and not an agent's, so the earlier status must not be taken for the last word.
    """
    if applied is None or (applied.sent is not None and applied.sent is not applied.last_applied):
        return None
    return applied.last_applied


def awaits_confirmation(applied: Record | None, status: Status, now: datetime) -> bool:
    """Return whether a PATCH to `status` has been sent, is not confirmed, and may still show its effect."""
    return (
        applied is not None and applied.sent is status and applied.confirm_by is not None and now < applied.confirm_by
    )


def contradicts(applied: Record | None, status: Status, live: Live) -> bool:
    """Return whether the look before this one, a moment older or younger, showed `status`, which this one does not.

    Bird promises no order between two reads: either may come from a copy that is behind.
    """
    if applied is None or applied.live is None or applied.observed_at is None:
        return False
    before = Live.from_word(applied.live, applied.observed_at)
    return before.satisfies(status) and abs(live.observed_at - applied.observed_at) <= SUSPECT


def _missing_since(applied: Record | None, live: Live) -> datetime:
    """Return when the recording was first not found; a moment ahead is one of before the clock was set back."""
    known = None if applied is None else applied.missing_since
    return live.observed_at if known is None else min(known, live.observed_at)


def _action(
    kind: ActionKind,
    reason: Reason,
    key: RecordingKey,
    desired: Desired | None,
    applied: Record | None,
    live: Live | None,
) -> Action:
    patch = kind is ActionKind.PATCH
    status = None if desired is None else desired.status
    resumes = patch and status is Status.ONGOING and live is not None and live.status is LiveStatus.PAUSED
    if desired is not None:
        name, file, line = desired.name, desired.file, desired.line
    elif applied is not None:
        name, file, line = applied.name, applied.file, applied.line
    else:
        raise ValueError("there is nothing to decide about: neither a document nor a record")
    # By place, not by word: half the time, and there may be a hundred thousand.
    return Action(
        kind,
        reason,
        key,
        name,
        file,
        line,
        status,
        None if applied is None else applied.last_applied,
        live,
        patch and status is Status.COMPLETED,
        resumes,
        resumes and not _paused_by_us(applied),
    )


def _paused_by_us(applied: Record | None) -> bool:
    """Return whether the live pause is one that this program brought about or has sent, as far as anybody knows."""
    return applied is not None and not applied.restored and Status.PAUSED in (applied.sent, applied.last_applied)
