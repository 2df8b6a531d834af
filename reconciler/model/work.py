"""How urgent a look or a turn is."""

from __future__ import annotations

from enum import IntEnum


class Priority(IntEnum):
    """How urgent a piece of work or a request is; the lower goes first."""

    #: A PATCH, once decided, goes before every read.
    WRITE = 0
    #: A document changed and wants a pause: somebody is about to say what must not be heard.
    PAUSE = 1
    #: A document changed.
    EDIT = 2
    #: A PATCH was accepted and its effect is looked for.
    CONFIRM = 3
    #: Something failed and is tried again.
    RETRY = 4
    #: The periodic look at everything.
    RESYNC = 5
