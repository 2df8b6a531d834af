"""When a recording comes back after its turn: an edit stays an edit, and what its workspace keeps waiting rests."""

from __future__ import annotations

from collections import Counter
from typing import Final

from reconciler.controller.parts import Run
from reconciler.controller.rests import Rests
from reconciler.model import (
    CircuitOpen,
    CredentialRefused,
    NoRoom,
    Phase,
    Priority,
    RecordingKey,
    Throttled,
    Unavailable,
)
from reconciler.reconcile import Turn
from reconciler.telemetry import frames, scrub
from reconciler.work import Again, retry_seconds

#: An edit whose look failed is looked at again this soon, in seconds, so many times: until it is known whether it is
#: this one look that fails, or its workspace that is not answered, which is then asked about for all.
EDIT_RETRY_SECONDS: Final = 1.0
EDIT_RETRIES: Final = 8
#: Phases in which a PATCH is under way, be its fate known or not.
_SENT: Final = frozenset({Phase.SENDING, Phase.CONFIRMING, Phase.UNCONFIRMED})


class Comebacks:
    """Answers when a recording has its next turn."""

    def __init__(self, rests: Rests, run: Run) -> None:
        self._rests = rests
        self._run = run
        #: How often in a row the turn of a recording has ended by an error that nobody foresaw.
        self._failures: Counter[RecordingKey] = Counter()
        #: How often the look of an edit has failed.
        self._failed_looks: Counter[RecordingKey] = Counter()

    def answered(self, key: RecordingKey) -> None:
        """Note that a recording's turn has come to an end of its own."""
        self._failures.pop(key, None)

    def after_failure(self, key: RecordingKey, error: Exception) -> Again:
        """Say that a turn ended by an error that nobody foresaw; return when the next is, ever later."""
        run = self._run
        run.metrics.turn_errors.inc()
        self._failures[key] += 1
        seconds = retry_seconds(self._failures[key], run.clock.random)
        run.log.error(
            "turn_failed",
            recording_id=key.recording_id,
            error=scrub(f"{type(error).__name__}: {error}"),
            where=frames(error),
            after_seconds=round(seconds, 3),
        )
        return Again(seconds, Priority.RETRY)

    def after(self, key: RecordingKey, priority: Priority, turn: Turn) -> Again | None:
        """Return when a recording's next turn is: what its workspace keeps waiting rests, and an edit stays an edit."""
        again, error = turn.again, turn.error
        throttled = isinstance(error, (Throttled, NoRoom))
        if again is None or throttled or not isinstance(error, (Unavailable, CredentialRefused)):
            self._failed_looks.pop(key, None)
            return again
        urgent = min(priority, again.priority) if priority in (Priority.PAUSE, Priority.EDIT) else again.priority
        held = isinstance(error, (CredentialRefused, CircuitOpen))
        if self._rests.looks_rest(key.workspace_id) or (held and self._rests.patches_rest(key.workspace_id)):
            return Again(again.after_seconds, urgent, rests=True)
        soon = min(again.after_seconds, EDIT_RETRY_SECONDS)
        if held:
            # What held it back has ended since.
            return Again(soon, urgent)
        if urgent <= Priority.EDIT and turn.phase not in _SENT and self._failed_looks[key] < EDIT_RETRIES:
            self._failed_looks[key] += 1
            return Again(soon, urgent)
        return again
