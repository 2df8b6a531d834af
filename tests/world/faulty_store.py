"""The installed command with a disk that fails on order: for faults that no test can cause from outside.

    python tests/world/faulty_store.py CONTROL run ...

While the file CONTROL is there, each statement that its JSON matches fails as SQLite would let it fail:
`{"code": "SQLITE_READONLY", "words": "...", "statement": "COMMIT", "value": "..."}`; a statement matches by how it
begins and, where a value is given, by holding that value. Everything else is the product as it is.
"""

from __future__ import annotations

import functools
import json
import sqlite3
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reconciler.cli.program import main


def connections_that_fail(control: Path) -> type[sqlite3.Connection]:
    """Return a class of connections that look at the control file before each statement."""

    class Failing(sqlite3.Connection):
        def execute(self, statement: str, values: Any = (), /) -> sqlite3.Cursor:
            try:
                fault = json.loads(control.read_text())
            except FileNotFoundError:
                return super().execute(statement, values)
            if statement.startswith(fault["statement"]) and _holds(values, fault.get("value")):
                error = sqlite3.OperationalError(fault["words"])
                error.sqlite_errorcode = getattr(sqlite3, fault["code"])
                raise error
            return super().execute(statement, values)

    return Failing


def _holds(values: Iterable[object], wanted: str | None) -> bool:
    return wanted is None or wanted in values


if __name__ == "__main__":
    failing = connections_that_fail(Path(sys.argv[1]))
    sqlite3.connect = functools.partial(sqlite3.connect, factory=failing)  # type: ignore[assignment]
    main(sys.argv[2:])
