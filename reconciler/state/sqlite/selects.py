"""The statements that read a state file, for each layout that a file may have.

A reader takes a file as it is: bringing it up to date is a writer's business. Where a layout is older than a column,
the statement gives what a record of that time is known to have meant. What must never happen in this room: a statement
that an older file cannot run, or one whose rows are not in the order that `rows` expects.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final

from reconciler.state.base import EventQuery
from reconciler.state.rows import EVENT, KEY, RECORDING, RESTING, REVISION, Row, micros
from reconciler.state.sqlite import judgements, lease

#: The layouts that brought what is asked for here.
_REVISIONS_SINCE: Final = 2
_EVIDENCE_SINCE: Final = 3
#: What stands for the columns that layout 3 brought. A state that has followed a Git source may hold files of that
#: source, and no other command may take those for its own.
_BEFORE_EVIDENCE: Final = {
    "base": "CASE WHEN EXISTS (SELECT 1 FROM source) THEN 'git' ELSE '' END",
    "labels": "''",
    "reason": "''",
    "phase_since": "NULL",
    "unmet_since": "NULL",
    "missing_since": "NULL",
    "first_sent_at": "NULL",
    "restored": "0",
    "by_kind": "''",
    "by_text": "''",
    "last_seen": "NULL",
    "last_seen_at": "NULL",
}
_KEYS: Final = ", ".join(KEY)
_AT_REST: Final = "last_applied IS NOT NULL AND sent IS NULL"
_LINE: Final = " || ' ' || ".join((*KEY, "last_applied"))

#: The `status_line` of each recording of which nothing is on its way.
LINES: Final = f"SELECT {_LINE} FROM recordings WHERE {_AT_REST}"  # noqa: S608 (constants)
#: Who holds the state; every layout has the same columns.
LEASE: Final = lease.SELECT
COUNT_LAST_APPLIED: Final = "SELECT last_applied FROM totals"
#: The newest event of a recording, which its ID finds: the other parts of the key tell it from one of another call.
LAST_EVENT: Final = (
    f"SELECT event FROM history WHERE {' AND '.join(f'{column} = ?' for column in KEY)} "  # noqa: S608 (constants)
    "ORDER BY id DESC LIMIT 1"
)
PATCHES: Final = (
    f"SELECT at, {_KEYS}, irreversible, resumes_foreign FROM history "  # noqa: S608 (constants)
    "WHERE event = 'patch_sent' AND at >= ? ORDER BY at, id"
)


@cache
def all_recordings(layout: int) -> str:
    """Return what reads every record, ordered by key."""
    return f"{_recordings(layout)} ORDER BY {_KEYS}"


@cache
def one_recording(layout: int) -> str:
    """Return what reads the record of a key."""
    return f"{_recordings(layout)} WHERE {' AND '.join(f'{column} = ?' for column in KEY)}"


@cache
def on_the_way(layout: int) -> str:
    """Return what reads the records that `LINES` leaves out."""
    return f"{_recordings(layout)} WHERE NOT ({_AT_REST})"


@cache
def standings(layout: int) -> str:
    """Return what reads how each recording stands, ordered by key."""
    base = _columns(("base",), layout)
    reason, since, unmet_since = (_columns((name,), layout) for name in ("reason", "phase_since", "unmet_since"))
    # Nearly all are in sync, and of these nobody asks since when.
    since = f"CASE WHEN phase <> 'applied' THEN coalesce({since}, observed_at) END"
    return (
        f"SELECT {_KEYS}, file, {base}, phase, desired, last_applied, sent, {reason}, {since}, {unmet_since} "  # noqa: S608 (constants)
        f"FROM recordings ORDER BY {_KEYS}"
    )


def revision(layout: int) -> str | None:
    """Return what reads a commit by its ID; None where the layout keeps none."""
    if layout < _REVISIONS_SINCE:
        return None
    return f"SELECT {', '.join(REVISION)} FROM revisions WHERE id = ?"  # noqa: S608 (constants)


def judged(layout: int) -> str:
    """Return what reads what the limits said; nothing where the layout keeps none of it."""
    return judgements.SELECT_JUDGED if layout >= _EVIDENCE_SINCE else "SELECT 1 WHERE 0"


def refusals(layout: int) -> str | None:
    """Return what reads what is refused as a whole; None where the layout keeps none of it."""
    return judgements.SELECT_REFUSALS if layout >= _EVIDENCE_SINCE else None


def in_force(layout: int) -> str | None:
    """Return what reads the revision in force; None where the layout keeps none."""
    return None if layout < _REVISIONS_SINCE else "SELECT revision, judged FROM source"


def resting(layout: int) -> str | None:
    """Return what reads the workspaces that rest; None where the layout keeps none."""
    if layout < _EVIDENCE_SINCE:
        return None
    return f"SELECT {', '.join(RESTING)} FROM resting ORDER BY workspace_id"  # noqa: S608 (constants)


def events(query: EventQuery, layout: int) -> tuple[str, Row]:
    """Return the statement and its values for a look at the history, newest first; the event's number comes last.

    Rows come as they are found, in the order of their numbers: nothing is sorted but what a few IDs or names match.
    """
    where: list[str] = []
    values: list[object] = []
    if query.words:
        which = " OR ".join(_which(word) for word in query.words)
        where.append(f"({which})")
        for word in query.words:
            # Its brackets are SQLite's, which knows no `!`; IDs are kept in lower case, and so are names.
            given = word.replace("[!", "[^") if is_glob(word) else word.lower()
            values.extend([given] * _which(word).count("?"))
    # The numbers between two moments bound the walk; the moments still decide, for the clock may have been set. With
    # the sign they are found by the index of moments; without, by a walk from the oldest line on.
    if query.since is not None:
        where.append("at >= ?")
        values.append(micros(query.since))
        if not query.words:
            where.append("id >= (SELECT min(+id) FROM history WHERE at >= ?)")
            values.append(micros(query.since))
    if query.until is not None:
        where.append("at < ?")
        values.append(micros(query.until))
        if not query.words:
            where.append("id <= (SELECT max(+id) FROM history WHERE at < ?)")
            values.append(micros(query.until))
    condition = f"WHERE {' AND '.join(where)} " if where else ""
    statement = (
        f"SELECT {_columns(EVENT, layout)}, id FROM history {condition}"  # noqa: S608 (constants)
        "ORDER BY id DESC LIMIT ?"
    )
    return statement, (*values, -1 if query.limit is None else query.limit)


def _which(word: str) -> str:
    # An ID is a valid name as well.
    return "name GLOB ?" if is_glob(word) else "name = ? OR recording_id = ? OR call_id = ?"


def is_glob(word: str) -> bool:
    """Whether a word stands for many names: no name and no ID holds any of these characters."""
    return any(character in word for character in "*?[")


def _recordings(layout: int) -> str:
    return f"SELECT {_columns(RECORDING, layout)} FROM recordings"  # noqa: S608 (constants)


def _columns(names: Sequence[str], layout: int) -> str:
    if layout >= _EVIDENCE_SINCE:
        return ", ".join(names)
    before = dict(_BEFORE_EVIDENCE)
    if layout < _REVISIONS_SINCE:
        before["base"] = "''"
    return ", ".join(before.get(name, name) for name in names)
