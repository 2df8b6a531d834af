"""One turn of one recording: read the three states, decide, send at most one PATCH, record what came of it.

This room knows one key and no queue: it answers "done" or "again after t". It is level-triggered: whatever woke it, it
reads the world and corrects it. Intent is on disk before a PATCH leaves and the outcome before the turn ends, so a kill
at any moment leaves the truth behind; a PATCH whose fate is unknown is never repeated before a look.

`turn` goes from the document to the decision and does all that sends nothing; `patch` goes on from there, through what
may hold a PATCH back, to the API's answer. Both turn to `failures` when one of them gets no further, and to
`refused_keys` for whether a workspace is left alone. `record` computes each next record, `notes` makes the lines of the
history and measures, and `surroundings` says what all of them need of the rest of the program.
"""

from reconciler.reconcile.patch import LIMIT_SECONDS, UNKNOWN_FATE_SECONDS
from reconciler.reconcile.record import with_look
from reconciler.reconcile.refused_keys import UNAUTHORIZED_SECONDS
from reconciler.reconcile.surroundings import Clock, ClockSteps, Sender, Turn, Writer, check_lease
from reconciler.reconcile.turn import (
    CONTRADICTED_SECONDS,
    FRESH_SECONDS,
    NOT_STARTED_SECONDS,
    UNKNOWN_STATUS_SECONDS,
    Reconciler,
)

__all__ = [
    "CONTRADICTED_SECONDS",
    "FRESH_SECONDS",
    "LIMIT_SECONDS",
    "NOT_STARTED_SECONDS",
    "UNAUTHORIZED_SECONDS",
    "UNKNOWN_FATE_SECONDS",
    "UNKNOWN_STATUS_SECONDS",
    "Clock",
    "ClockSteps",
    "Reconciler",
    "Sender",
    "Turn",
    "Writer",
    "check_lease",
    "with_look",
]
