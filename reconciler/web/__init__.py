"""The daemon's page: health, readiness, metrics, status; and the one place where a Git host may knock.

It knows neither the daemon nor the store: it is handed functions that answer. It changes nothing: a hook only wakes.
What must never happen here: names and IDs of recordings shown to another machine without a token, or to a web page that
calls this machine by a name of its own; an answer's failure that takes a traceback outside; a stranger who holds
descriptors, memory or the log for longer or in larger number than a bound says.

`address` opens the socket. `page` serves it in a thread with a loop of its own, from before the documents are loaded
until the end, whatever the daemon's loop does; `front` is what stands between the two loops. `app` answers, `hosts`
says to whom, `delivery` takes what a Git host sends, and `server` is the wall against strangers: connections.
"""

from reconciler import face

TYPE_CHECKING = False
if TYPE_CHECKING:
    from reconciler.web.address import AddressInUse as AddressInUse
    from reconciler.web.address import bind as bind
    from reconciler.web.address import is_exposed as is_exposed
    from reconciler.web.app import Guards as Guards
    from reconciler.web.app import make_app as make_app
    from reconciler.web.front import Answers as Answers
    from reconciler.web.front import Front as Front
    from reconciler.web.hook import Hook as Hook
    from reconciler.web.hook import Limiter as Limiter
    from reconciler.web.hosts import parse_hosts as parse_hosts
    from reconciler.web.page import Page as Page
    from reconciler.web.server import Bounds as Bounds
else:
    __getattr__ = face(
        __name__,
        {
            "address": (
                "AddressInUse",
                "bind",
                "is_exposed",
            ),
            "app": (
                "Guards",
                "make_app",
            ),
            "front": (
                "Answers",
                "Front",
            ),
            "hook": (
                "Hook",
                "Limiter",
            ),
            "hosts": ("parse_hosts",),
            "page": ("Page",),
            "server": ("Bounds",),
        },
    )
