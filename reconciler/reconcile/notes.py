"""What is noted of a turn beside its record: the lines of the history, and how long an edit takes.

An edit's time begins when its document is seen to change, and ends with what became of it. Nothing here is saved: an
event goes to disk together with the record that it tells of.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from reconciler.model import Event, Outcome, Phase, Record, RecordingKey
from reconciler.reconcile.parts import Run
from reconciler.reconcile.record import SEEN_AGAIN, SEEN_ONCE


def named(record: Record) -> dict[str, str]:
    """Return what every log line about a recording says of it."""
    return {"name": record.name, "recording_id": record.key.recording_id}


class Notes:
    """Makes events, and measures edits that were seen."""

    def __init__(self, run: Run) -> None:
        #: The run that is told of.
        self.run: Final = run
        self._clock = run.clock
        self._edits_seen: dict[RecordingKey, float] = {}

    def done(
        self,
        event: str,
        record: Record,
        *,
        cause: str = "",
        requested_at: datetime | None = None,
        request_ms: float | None = None,
        answer: str | None = None,
        outcome: Outcome | None = None,
        irreversible: bool = False,
        resumes_foreign: bool = False,
        detail: str = "",
    ) -> Event:
        """Return a line about something that this program did or tried, as of now: from what is live to what is asked.

        Who did it is who asked for it: the commit that the document is of, or the command where there is none.
        """
        return Event(
            at=self._clock.now(),
            event=event,
            key=record.key,
            name=record.name,
            cause=str(cause),
            revision=record.revision,
            from_status=record.live,
            to_status=record.desired.value,
            requested_at=requested_at,
            request_ms=request_ms,
            answer=answer,
            outcome=None if outcome is None else outcome.value,
            irreversible=irreversible,
            resumes_foreign=resumes_foreign,
            run_id=self.run.run_id,
            detail=detail,
            reason=record.reason,
            by_kind="commit" if record.revision else "command",
            by_text=record.revision or self.run.command,
        )

    def seen(
        self,
        event: str,
        before: Record,
        record: Record,
        *,
        cause: str = "",
        ours: bool = False,
        detail: str = "",
    ) -> Event:
        """Return a line about something that a look has shown, as of now: from what was seen before to what is now.

        Args:
            event: its word.
            before: the record with the look before.
            record: the record with this look.
            cause: its cause.
            ours: whether this program brought it about; else somebody has, or the recording by itself.
            detail: what a person should know beside it.
        """
        done = self.done(event, record, cause=cause, detail=detail)
        changed = before.live is not None and before.live != record.live
        whose = (done.by_kind, done.by_text) if ours or before.live == record.live else ("somebody", "")
        return done._replace(
            from_status=before.live,
            to_status=record.live,
            by_kind=whose[0],
            by_text=whose[1],
            last_seen=before.live if changed else None,
            last_seen_at=before.observed_at if changed else None,
        )

    def seen_again(self, before: Record, record: Record, *, once: bool = False, detail: str = "") -> Event:
        """Return a line about the first look after a time in which nobody looked: of that time nothing is proven.

        Args:
            before: the record with the look before that time.
            record: the record with this look.
            once: whether nobody is going to look on, so that of the time after it nothing is proven either.
            detail: why nobody looked, where that is known.
        """
        since = (before.phase_since if before.phase is Phase.BLIND else before.observed_at) or self._clock.now()
        told = f"not seen since {since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        word = SEEN_ONCE if once else SEEN_AGAIN
        event = self.seen(word, before, record, cause=word, detail=": ".join(filter(None, (told, detail))))
        # As of the look, which a command may have taken for its plan a while ago.
        at = record.observed_at or event.at
        return event._replace(at=at, last_seen=before.live, last_seen_at=before.observed_at)

    def saw_edit(self, key: RecordingKey) -> None:
        """Begin to measure an edit."""
        self._edits_seen[key] = self._clock.monotonic()

    def drop_edit(self, key: RecordingKey) -> None:
        """Measure an edit no longer: there is no PATCH of it to wait for."""
        self._edits_seen.pop(key, None)

    def edit_step(self, key: RecordingKey, step: str) -> None:
        """Measure how far an edit has come, if this recording was edited."""
        seen_at = self._edits_seen.get(key)
        if seen_at is not None:
            self.run.meters.edit_step(step, self._clock.monotonic() - seen_at)

    def patch_failed(self) -> None:
        """Count a PATCH that left and failed; the edit that asked for it goes on being measured."""
        self.run.meters.patched(Outcome.FAILED)

    def patch_ended(self, key: RecordingKey, outcome: Outcome) -> None:
        """Count a PATCH that has come to its end, and end the measure of the edit that asked for it."""
        self.run.meters.patched(outcome)
        if outcome is Outcome.APPLIED:
            self.edit_step(key, "confirmed")
        self._edits_seen.pop(key, None)
