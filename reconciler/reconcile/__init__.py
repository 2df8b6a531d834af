"""One turn of one recording: read the three states, decide, send at most one PATCH, record what came of it.

This room knows one key and no queue: it answers "done" or "again after t". It is level-triggered: whatever woke it, it
reads the world and corrects it. Intent is on disk before a PATCH leaves and the outcome before the turn ends, so a kill
at any moment leaves the truth behind; a PATCH whose fate is unknown is never repeated before a look.

`turn` goes from the document to the decision; `looks` gets the look that it is decided on. What sends nothing is ended
by `unsent`. What wants a PATCH asks `permits` what may keep it back, and `patch` sends it. All of them turn to
`failures` when they get no further, and to `accounts` for whether a workspace that refused its access key is left
alone. `record` computes each next record, `notes` makes the lines of the history and measures. `parts` is what a
composition fills in, and `surroundings` what all of them need of the rest of the program.
"""

from reconciler import face

TYPE_CHECKING = False
if TYPE_CHECKING:
    from reconciler.reconcile.accounts import UNAUTHORIZED_SECONDS as UNAUTHORIZED_SECONDS
    from reconciler.reconcile.accounts import RefusedKeys as RefusedKeys
    from reconciler.reconcile.observer import LiveReader as LiveReader
    from reconciler.reconcile.observer import Observer as Observer
    from reconciler.reconcile.parts import Desires as Desires
    from reconciler.reconcile.parts import Guards as Guards
    from reconciler.reconcile.parts import LiveState as LiveState
    from reconciler.reconcile.parts import Run as Run
    from reconciler.reconcile.parts import State as State
    from reconciler.reconcile.parts import TurnSettings as TurnSettings
    from reconciler.reconcile.record import with_look as with_look
    from reconciler.reconcile.surroundings import NoMeters as NoMeters
    from reconciler.reconcile.surroundings import Sender as Sender
    from reconciler.reconcile.surroundings import Turn as Turn
    from reconciler.reconcile.surroundings import Writer as Writer
    from reconciler.reconcile.surroundings import check_lease as check_lease
    from reconciler.reconcile.turn import Reconciler as Reconciler
    from reconciler.reconcile.unsent import CONTRADICTED_SECONDS as CONTRADICTED_SECONDS
else:
    __getattr__ = face(
        __name__,
        {
            "accounts": (
                "RefusedKeys",
                "UNAUTHORIZED_SECONDS",
            ),
            "observer": (
                "LiveReader",
                "Observer",
            ),
            "parts": (
                "LiveState",
                "Desires",
                "Guards",
                "Run",
                "State",
                "TurnSettings",
            ),
            "record": ("with_look",),
            "surroundings": (
                "NoMeters",
                "Sender",
                "Turn",
                "Writer",
                "check_lease",
            ),
            "turn": ("Reconciler",),
            "unsent": ("CONTRADICTED_SECONDS",),
        },
    )
