"""The record of what was applied, what is under way and what happened; opened by URL.

The rest of the program knows the contract in `base` and the functions that open. What must never happen here: a PATCH
that could leave before its intent is on disk, or a record that is lost because a newer program wrote the file.
"""

from reconciler import face

TYPE_CHECKING = False
if TYPE_CHECKING:
    from reconciler.state.base import EventQuery as EventQuery
    from reconciler.state.base import Ledger as Ledger
    from reconciler.state.base import OwnRecords as OwnRecords
    from reconciler.state.base import Requests as Requests
    from reconciler.state.base import Standing as Standing
    from reconciler.state.base import Store as Store
    from reconciler.state.base import Writer as Writer
    from reconciler.state.base import Writing as Writing
    from reconciler.state.opening import open_asker as open_asker
    from reconciler.state.opening import open_store as open_store
    from reconciler.state.opening import open_writer as open_writer
    from reconciler.state.sqlite.backup import back_up as back_up
    from reconciler.state.sqlite.health import Health as Health
    from reconciler.state.sqlite.health import examine as examine
    from reconciler.state.sqlite.health import sqlite_version as sqlite_version
    from reconciler.state.sqlite.requests import Asker as Asker
    from reconciler.state.sqlite.retention import Retention as Retention
else:
    __getattr__ = face(
        __name__,
        {
            "base": (
                "EventQuery",
                "Ledger",
                "OwnRecords",
                "Requests",
                "Standing",
                "Store",
                "Writer",
                "Writing",
            ),
            "opening": (
                "open_asker",
                "open_store",
                "open_writer",
            ),
            "sqlite.backup": ("back_up",),
            "sqlite.health": (
                "Health",
                "examine",
                "sqlite_version",
            ),
            "sqlite.requests": ("Asker",),
            "sqlite.retention": ("Retention",),
        },
    )
