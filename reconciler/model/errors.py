"""Every failure this program knows, in one tree.

The tree answers the one question a caller has: may waiting help?

    ReconcilerError
    |- SettingsError          a setting, an option or the key is missing or wrong
    |- DesiredStateError      invalid documents: all problems at once
    |- ResourceFault          the system had nothing left to read documents with: waiting may help
    |- BirdError
    |  |- BirdUnavailable     network, 429, 5xx, an unreadable answer: waiting may help
    |  |- BirdUnauthorized    401, 403: stop sending to that workspace and say so
    |  '- BirdRejected        any other 4xx: read again first, the wanted state may already hold
    |- StoreError             the state cannot be read or written
    |  |- StateHeld           another writer holds the state
    |  '- LeaseLost           this process held the state and no longer does: it must send nothing more
    |- UnsafePlan             too much would change at once; an explicit override applies it
    '- StalePlan              a saved plan no longer fits what is there

A library's exception never leaves the room that owns the library: it is wrapped here, chained with ``from``, its text
shortened. No message holds an access key, an Authorization header, a phone number or a pre-signed link.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.model.documents import Problem

#: How much of a foreign body an error may quote: enough for a code and a sentence, too little to flood a log.
BODY_CHARACTERS = 256


class ReconcilerError(Exception):
    """The reconciler could not do what it was asked."""


class SettingsError(ReconcilerError):
    """A setting is missing or wrong."""


class DesiredStateError(ReconcilerError):
    """The documents are invalid; `problems` holds every one of them, in order of file and line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ResourceFault(ReconcilerError):
    """The system could not read a document or folder for want of something: nothing is known of what it holds."""


class BirdError(ReconcilerError):
    """The API did not do what it was asked."""


class BirdUnavailable(BirdError):
    """The API could not be reached, was too slow, was too busy, or answered what cannot be read. Waiting may help.

    Attributes:
        retry_after: seconds that the API asked to wait, already capped, or None.
        sent: whether the request may have reached the API. False only where it certainly never left, or where the API
            said that it was not processed (429).
        throttled: whether this was a 429, or what came of one: the workspace's budget has no room for now.
        held: whether this program held the request back by itself. Then nothing was tried, so nothing failed anew, and
            `retry_after` says when it may be.
        code: a short constant word for logs and metrics, such as ``timeout``, ``connect`` or ``http_503``.
        said: whether it was said of the workspace as a whole that it does not answer: then nobody needs a line about
            this one request.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        retry_after: float | None = None,
        sent: bool = True,
        throttled: bool = False,
        held: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after
        self.sent = sent
        self.throttled = throttled
        self.held = held
        self.said = held


class BirdUnauthorized(BirdError):
    """The API refused the key (401) or the key's rights (403) for a workspace.

    Attributes:
        status: of HTTP.
        workspace_id: the workspace that is to be left alone.
        fingerprint: the `hash` of the key that was sent, which tells it from another one within this process; None
            where there was none to send.
    """

    def __init__(self, message: str, *, status: int, workspace_id: str, fingerprint: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.workspace_id = workspace_id
        self.fingerprint = fingerprint


class BirdRejected(BirdError):
    """The API refused the request itself (a 4xx other than 401, 403 and 429)."""

    def __init__(self, message: str, *, status: int, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class StoreError(ReconcilerError):
    """The state cannot be read or written."""


class StateHeld(StoreError):
    """Another writer holds the state."""


class LeaseLost(StoreError):
    """This process no longer holds the state, so it must not send anything."""


class UnsafePlan(ReconcilerError):
    """More would change than a safety limit allows."""


class StalePlan(ReconcilerError):
    """The saved plan no longer fits what is there now."""
