"""What turns are put together from: values that a composition fills in once, each of things that belong together.

None of the guards has a default: whoever puts turns together says what keeps a PATCH back, and cannot forget to. What
must never happen here: a do-nothing in the place of a guard.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import NamedTuple

from reconciler.model import Action, Clock, Desired, Live, Postponed, Record, RecordingKey
from reconciler.plan import CALL_SECONDS, Window
from reconciler.reconcile.accounts import RefusedKeys
from reconciler.reconcile.observer import Observer
from reconciler.reconcile.surroundings import Meters, Reader, Sender, Writer
from reconciler.telemetry import Log, Sparing

#: How far looks lie apart at most where nobody says how often everything is looked at: two periods of the default, for
#: a look may be early in one period and late in the next.
APART_SECONDS = 600.0


class Desires(NamedTuple):
    """What the documents ask for, and which commit asks for it."""

    #: What the files of the documents are relative to; see `Record.base`.
    base: str
    #: Answers what a recording's document asks for; None when there is none.
    document_of: Callable[[RecordingKey], Desired | None]
    #: Answers which Git commit gave a recording its document, or took it away; None where that is not known.
    revision_of: Callable[[RecordingKey], str | None]
    #: Answers which Git commit all documents are of; None outside Git.
    newest_revision: Callable[[], str | None]

    def changed_by(self, key: RecordingKey) -> str | None:
        """Return the commit to which a change of a document is put down: its own, or else the newest."""
        return self.revision_of(key) or self.newest_revision()

    def asked_by(self, record: Record) -> str | None:
        """Return the commit that asked for what is decided now: its document's own, or the last one known of it."""
        return self.revision_of(record.key) or record.revision or self.newest_revision()


class State(NamedTuple):
    """The state store, as turns use it."""

    #: The committed records, from memory, and the history.
    reader: Reader
    #: Whoever may write them; the state lease is held.
    writer: Writer


class LiveState(NamedTuple):
    """How live state is read and changed."""

    observer: Observer
    #: Sends the PATCH.
    sender: Sender
    #: What a command has just seen for its plan. It serves each recording's first turn, except that no PATCH is decided
    #: on a look that is no longer fresh.
    first_looks: Mapping[RecordingKey, Live]


class Guards(NamedTuple):
    """What may keep a PATCH back."""

    #: The safety limits, and what they remember.
    window: Window
    #: Answers how many recordings have a last-applied status: of so many a change is a part.
    managed: Callable[[], int]
    #: Answers why a PATCH to a workspace could not leave now; None when it could.
    postponed: Callable[[str], Postponed | None]
    #: The workspaces that refused the access key.
    refused_keys: RefusedKeys
    #: The actions of a saved plan; None where none is followed. A PATCH that is not one of them, or whose precondition
    #: (desired, last-applied and live status) no longer holds, is not sent.
    expected: Mapping[RecordingKey, Action] | None


class TurnSettings(NamedTuple):
    """How long what is waited for, in seconds, and whether anybody looks on."""

    #: For the effect of a PATCH.
    confirm_seconds: float
    #: How long a call may live, and so how long a recording that is not found is waited for.
    call_seconds: float = CALL_SECONDS
    #: How far looks may lie apart and still prove what a recording was between them.
    apart_seconds: float = APART_SECONDS
    #: Whether this process goes on looking, so that its looks prove what lies between them.
    watches: bool = True

    @property
    def confirm(self) -> timedelta:
        """How long an effect is waited for."""
        return timedelta(seconds=self.confirm_seconds)


class Run(NamedTuple):
    """The run that turns belong to: its time and chance, and where it says what it does."""

    clock: Clock
    log: Log
    #: Through which is said what may meet very many recordings at once. Whoever runs turns for long looks at it now and
    #: then, and ends it.
    sparing: Sparing
    #: What is measured.
    meters: Meters
    #: Stands in every event of the history.
    run_id: str
    #: Stands in the history as the author of what no commit asked for.
    command: str
