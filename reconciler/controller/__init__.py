"""Who gets a turn, and when: the daemon, the single convergence of `apply`, the resync, and what people ask for.

What a turn does is decided by `reconcile`. What must never happen here: two turns of one recording at once, or an edit
that waits behind a resync.
"""

from typing import TYPE_CHECKING

from reconciler import face

if TYPE_CHECKING:
    from reconciler.controller.daemon import Daemon as Daemon
    from reconciler.controller.daemon import Reach as Reach
    from reconciler.controller.daemon import Timing as Timing
    from reconciler.controller.observing import Observed as Observed
    from reconciler.controller.observing import look as look
    from reconciler.controller.once import Agreed as Agreed
    from reconciler.controller.once import Ended as Ended
    from reconciler.controller.once import Wanted as Wanted
    from reconciler.controller.once import converge as converge
    from reconciler.controller.pace import Pace as Pace
    from reconciler.controller.standing import Standings as Standings
    from reconciler.controller.systemd import notify as notify
else:
    __getattr__ = face(
        __name__,
        {
            "daemon": (
                "Daemon",
                "Reach",
                "Timing",
            ),
            "observing": (
                "Observed",
                "look",
            ),
            "once": (
                "Agreed",
                "Ended",
                "Wanted",
                "converge",
            ),
            "pace": ("Pace",),
            "standing": ("Standings",),
            "systemd": ("notify",),
        },
    )
