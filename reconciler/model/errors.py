"""Every failure this program knows, in one tree.

The tree answers the one question a caller has: may waiting help?

    ReconcilerError
    |- SettingsError          a setting, an option or the key is missing or wrong
    |- DesiredStateError      invalid documents: all problems at once
    |- ResourceFault          the system had nothing left to read documents with: waiting may help
    |- ProviderError
    |  |- Unavailable          waiting may help
    |  |  |- Postponed         our own gate kept the request back: it never left
    |  |  |  |- NoRoom         its share of the rate is spent for now, which is no failure
    |  |  |  '- CircuitOpen    requests failed one after the other, so none leaves for a while
    |  |  |- Unreached         no connection could be made: it never left
    |  |  |- Throttled         429: it was not processed
    |  |  '- Unanswered        no answer, a 5xx, or an answer that cannot be read: its fate is unknown
    |  |- CredentialRefused    401, 403: stop sending to that workspace and say so
    |  '- Rejected             any other 4xx: read again first, the wanted state may already hold
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


class ProviderError(ReconcilerError):
    """The API did not do what it was asked."""


class Unavailable(ProviderError):
    """The API could not be asked, or did not say what became of the request. Waiting may help.

    Its leaves say what a caller must know before it sends a write again: whether this one may have had an effect.

    Attributes:
        code: a short constant word for logs and metrics, such as ``timeout``, ``connect`` or ``http_503``.
        retry_after: seconds to wait at least, already capped, or None where nobody said.
        said: whether it was said of the workspace as a whole that it does not answer: then nobody needs a line about
            this one request.
    """

    code: str

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.said = False


class Postponed(Unavailable):
    """This program kept the request back: it never left, so nothing failed anew. `retry_after` says when it may."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message, retry_after=retry_after)
        self.said = True


class NoRoom(Postponed):
    """The workspace's share of the rate has no room for now."""

    code = "no_room"


class CircuitOpen(Postponed):
    """Requests to the workspace failed one after the other, so that none leaves for a while."""

    code = "circuit_open"


class Unreached(Unavailable):
    """No connection to the API could be made: the request certainly never left."""

    code = "connect"


class Throttled(Unavailable):
    """The API had too many requests (429): it says of this one that it was not processed."""

    code = "http_429"


class Unanswered(Unavailable):
    """The request left, and no answer came that says what became of it: none at all, a 5xx, or one that is unreadable.

    Attributes:
        status: of HTTP where the API answered with an error of its own (5xx), which it calls safe to send again; None
            where the request may still be taking effect.
    """

    def __init__(self, message: str, *, code: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.code = code
        self.status = status


class CredentialRefused(ProviderError):
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


class Rejected(ProviderError):
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
