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
    from reconciler.controller.once import Observed as Observed
    from reconciler.controller.once import converge as converge
    from reconciler.controller.once import doubtful as doubtful
    from reconciler.controller.once import observe_all as observe_all
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
            "once": (
                "Observed",
                "converge",
                "doubtful",
                "observe_all",
            ),
            "standing": ("Standings",),
            "systemd": ("notify",),
        },
    )
