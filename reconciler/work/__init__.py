"""Keys to work on: which is next, when one comes back, and how long a failure waits.

Nothing here knows what a key stands for. What must never happen here: two workers on one key, or a key that is lost.
"""

from reconciler import face

TYPE_CHECKING = False
if TYPE_CHECKING:
    from reconciler.work.backoff import LONGEST_SECONDS as LONGEST_SECONDS
    from reconciler.work.backoff import confirm_seconds_after as confirm_seconds_after
    from reconciler.work.backoff import missing_seconds as missing_seconds
    from reconciler.work.backoff import repeat_seconds as repeat_seconds
    from reconciler.work.backoff import retry_seconds as retry_seconds
    from reconciler.work.queue import Again as Again
    from reconciler.work.workers import Workers as Workers
else:
    __getattr__ = face(
        __name__,
        {
            "backoff": (
                "LONGEST_SECONDS",
                "confirm_seconds_after",
                "missing_seconds",
                "repeat_seconds",
                "retry_seconds",
            ),
            "queue": ("Again",),
            "workers": ("Workers",),
        },
    )
