"""Who gets a turn, and when: the daemon, the single convergence of `apply`, the resync, and what people ask for.

What a turn does is decided by `reconcile`. What must never happen here: two turns of one recording at once, or an edit
that waits behind a resync.
"""

from reconciler import face

TYPE_CHECKING = False
if TYPE_CHECKING:
    from reconciler.controller.daemon import Daemon as Daemon
    from reconciler.controller.observing import Observed as Observed
    from reconciler.controller.observing import look as look
    from reconciler.controller.once import Agreed as Agreed
    from reconciler.controller.once import Ended as Ended
    from reconciler.controller.once import Wanted as Wanted
    from reconciler.controller.once import converge as converge
    from reconciler.controller.pace import Pace as Pace
    from reconciler.controller.parts import Conduct as Conduct
    from reconciler.controller.parts import Following as Following
    from reconciler.controller.parts import Memory as Memory
    from reconciler.controller.parts import Reach as Reach
    from reconciler.controller.parts import Run as Run
    from reconciler.controller.standing import Standings as Standings
    from reconciler.controller.systemd import notify as notify
    from reconciler.controller.wakes import Wakes as Wakes
else:
    __getattr__ = face(
        __name__,
        {
            "daemon": ("Daemon",),
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
            "parts": (
                "Conduct",
                "Following",
                "Memory",
                "Reach",
                "Run",
            ),
            "standing": ("Standings",),
            "systemd": ("notify",),
            "wakes": ("Wakes",),
        },
    )
