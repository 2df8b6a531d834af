"""Small valid nouns for the tests of the pure rooms: one of each, to be changed where a test cares."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from reconciler.model.actions import Action, ActionKind, Reason
from reconciler.model.documents import Desired
from reconciler.model.keys import RecordingKey
from reconciler.model.records import Record
from reconciler.model.statuses import Live, Status

NOW = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)


def key(number: int = 1, *, call: int = 3, workspace: int = 1) -> RecordingKey:
    return RecordingKey.of(*(str(UUID(int=part)) for part in (workspace, 2, call, number)))


def document(number: int = 1, status: str = "paused", **changes: Any) -> Desired:
    made = Desired(key(number), f"card-{number:03}", Status(status), "desired_state/cards.yaml", number)
    return made._replace(**changes)


def record(number: int = 1, status: str = "paused", **changes: Any) -> Record:
    made = Record(key(number), f"card-{number:03}", "desired_state/cards.yaml", number, Status(status))
    return made._replace(**changes)


def look(word: str, **changes: Any) -> Live:
    return Live.gone(NOW, **changes) if word == "gone" else Live.from_word(word, NOW, **changes)


def patch(number: int = 1, status: str = "paused", **changes: Any) -> Action:
    made = Action(
        ActionKind.PATCH,
        Reason.EDIT,
        key(number),
        f"card-{number:03}",
        "desired_state/cards.yaml",
        number,
        Status(status),
        None,
        look("ongoing"),
    )
    return made._replace(**changes)
