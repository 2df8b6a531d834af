"""One turn of one recording: read the three states, decide, send at most one PATCH, record what came of it.

This room knows one key and no queue: it answers "done" or "again after t". It is level-triggered: whatever woke it, it
reads the world and corrects it. Intent is on disk before a PATCH leaves and the outcome before the turn ends, so a kill
at any moment leaves the truth behind; a PATCH whose fate is unknown is never repeated before a look.

`turn` goes from the document to the decision and does all that sends nothing; `patch` goes on from there, through what
may hold a PATCH back, to the API's answer. Both turn to `failures` when one of them gets no further, and to
`refused_keys` for whether a workspace is left alone. `record` computes each next record, `notes` makes the lines of the
history and measures, and `surroundings` says what all of them need of the rest of the program.
"""

from typing import TYPE_CHECKING

from reconciler import face

if TYPE_CHECKING:
    from reconciler.reconcile.accounts import UNAUTHORIZED_SECONDS as UNAUTHORIZED_SECONDS
    from reconciler.reconcile.observer import LiveReader as LiveReader
    from reconciler.reconcile.observer import Observer as Observer
    from reconciler.reconcile.record import with_look as with_look
    from reconciler.reconcile.surroundings import ClockSteps as ClockSteps
    from reconciler.reconcile.surroundings import Sender as Sender
    from reconciler.reconcile.surroundings import Turn as Turn
    from reconciler.reconcile.surroundings import Writer as Writer
    from reconciler.reconcile.surroundings import check_lease as check_lease
    from reconciler.reconcile.turn import CONTRADICTED_SECONDS as CONTRADICTED_SECONDS
    from reconciler.reconcile.turn import Reconciler as Reconciler
else:
    __getattr__ = face(
        __name__,
        {
            "accounts": ("UNAUTHORIZED_SECONDS",),
            "observer": (
                "LiveReader",
                "Observer",
            ),
            "record": ("with_look",),
            "surroundings": (
                "ClockSteps",
                "Sender",
                "Turn",
                "Writer",
                "check_lease",
            ),
            "turn": (
                "CONTRADICTED_SECONDS",
                "Reconciler",
            ),
        },
    )
