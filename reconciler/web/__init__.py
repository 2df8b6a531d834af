"""The daemon's page: health, readiness, metrics, status; and the one place where a Git host may knock.

It knows neither the daemon nor the store: it is handed functions that answer. It changes nothing: a hook only wakes.
What must never happen here: names and IDs of recordings shown to another machine without a token, or to a web page that
calls this machine by a name of its own; an answer's failure that takes a traceback outside; a stranger who holds
descriptors, memory or the log for longer or in larger number than a bound says.

`address` opens the socket. `page` serves it in a thread with a loop of its own, from before the documents are loaded
until the end, whatever the daemon's loop does; `front` is what stands between the two loops. `app` answers, `hosts`
says to whom, `delivery` takes what a Git host sends, and `server` is the wall against strangers: connections.
"""

from reconciler.web.address import AddressInUse, bind, is_exposed, shown
from reconciler.web.app import Guards, make_app
from reconciler.web.front import Answers, Front
from reconciler.web.hosts import parse_hosts
from reconciler.web.page import Page
from reconciler.web.server import Bounds, Server

__all__ = [
    "AddressInUse",
    "Answers",
    "Bounds",
    "Front",
    "Guards",
    "Page",
    "Server",
    "bind",
    "is_exposed",
    "make_app",
    "parse_hosts",
    "shown",
]
