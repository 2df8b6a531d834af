"""What the safety limits have said: rows and statements.

What was let pass is forgotten once it has been brought about, by a trigger, so that no writer can forget to. What must
never happen here: something let pass that outlives what it was let pass for, or a refusal that a restart forgets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from typing import Final

from reconciler.model import Judged, Judgements, RecordingKey, RefusedSet, Rule, Status
from reconciler.state.rows import KEY, Row, micros, moment

#: Rows in one statement at most.
_ROWS: Final = 64
_JUDGED: Final = (*KEY, "rule", "status", "refusal")
_REFUSAL: Final = ("name", "at", "rule", "recordings", "count", "allowed", "setting", "sample")

SELECT_JUDGED: Final = f"SELECT {', '.join(_JUDGED)} FROM judged ORDER BY {', '.join(KEY)}"  # noqa: S608 (constants)
SELECT_REFUSALS: Final = f"SELECT {', '.join(_REFUSAL)} FROM refusals ORDER BY at, name"  # noqa: S608 (constants)
_PUT_REFUSAL: Final = f"INSERT OR REPLACE INTO refusals VALUES ({', '.join('?' * len(_REFUSAL))})"  # noqa: S608 (constants)
_DELETE_REFUSAL: Final = "DELETE FROM refusals WHERE name = ?"

TABLES: Final = (
    # What a rule said of one recording: `refusal` names what is refused, and is empty of what was let pass.
    """
    CREATE TABLE judged (
        workspace_id TEXT NOT NULL,
        channel_id TEXT NOT NULL,
        call_id TEXT NOT NULL,
        recording_id TEXT NOT NULL,
        rule TEXT NOT NULL,
        status TEXT NOT NULL,
        refusal TEXT,
        PRIMARY KEY (workspace_id, channel_id, call_id, recording_id, rule)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TRIGGER judged_met AFTER UPDATE OF phase ON recordings
    WHEN new.phase = 'applied' AND old.phase <> 'applied'
    BEGIN
        DELETE FROM judged WHERE workspace_id = new.workspace_id AND channel_id = new.channel_id
        AND call_id = new.call_id AND recording_id = new.recording_id
        AND status = new.last_applied AND refusal IS NULL;
    END
    """,
    """
    CREATE TABLE refusals (
        name TEXT PRIMARY KEY,          -- digits over what is refused
        at INTEGER NOT NULL,
        rule TEXT NOT NULL,
        recordings INTEGER NOT NULL,    -- how many it holds back
        count INTEGER NOT NULL,         -- how many were counted when it was judged
        allowed INTEGER NOT NULL,
        setting TEXT NOT NULL,
        sample TEXT NOT NULL            -- a JSON list of the names of some of them
    ) STRICT, WITHOUT ROWID
    """,
)


def statements(judgements: Judgements) -> Iterator[tuple[str, Row]]:
    """Yield the statements, each with its values, that write down what was said."""
    forgotten = list(judgements.forgotten)
    for at in range(0, len(forgotten), _ROWS):
        keys = forgotten[at : at + _ROWS]
        places = ", ".join([f"({', '.join('?' * len(KEY))})"] * len(keys))
        yield (
            f"DELETE FROM judged WHERE ({', '.join(KEY)}) IN (VALUES {places})",  # noqa: S608 (constants)
            tuple(chain.from_iterable(keys)),
        )
    for name in judgements.lifted:
        yield _DELETE_REFUSAL, (name,)
        # Those that hold still come again below, under the name that fits.
        yield "DELETE FROM judged WHERE refusal = ?", (name,)
    judged = list(judgements.judged)
    for at in range(0, len(judged), _ROWS):
        rows = [(*each.key, each.rule.value, each.status.value, each.refusal) for each in judged[at : at + _ROWS]]
        places = ", ".join([f"({', '.join('?' * len(_JUDGED))})"] * len(rows))
        yield f"INSERT OR REPLACE INTO judged VALUES {places}", tuple(chain.from_iterable(rows))  # noqa: S608 (constants)
    for refused in judgements.refused:
        yield (
            _PUT_REFUSAL,
            (
                *(refused.name, micros(refused.at), refused.rule.value, refused.recordings, refused.count),
                *(refused.allowed, refused.setting, json.dumps(refused.sample)),
            ),
        )


def judged_from_row(row: Row) -> Judged:
    """Return what a rule said of one recording.

    Raises:
        ValueError: a rule or a status is a word that this program does not know.
    """
    return Judged(RecordingKey(row[0], row[1], row[2], row[3]), Rule(row[4]), Status(row[5]), row[6])


def refusal_from_row(row: Row) -> RefusedSet:
    """Return what is refused as a whole.

    Raises:
        ValueError: its rule is a word that this program does not know.
    """
    return RefusedSet(
        row[0], moment(row[1]), Rule(row[2]), row[3], row[4], row[5], row[6], tuple(map(str, json.loads(row[7])))
    )
