"""A problem as a terminal shows it: its line, the line of the file, a caret below the place."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from reconciler.model import Problem

#: The part of a long line that is shown, and how much of it stands before the caret.
_WIDTH: Final = 100
_BEFORE: Final = 60
#: Of a line that is longer, in bytes, the rest is not looked at.
_LONGEST: Final = 100_000
_LINE_BREAK: Final = re.compile(rb"\r\n|\r|\n")


class Lines:
    """The lines of a file, cheap for whoever asks for them in their order."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        #: Where a line begins, and its 1-based number.
        self._begin = 0
        self._number = 1

    def get(self, number: int) -> str:
        """Return one line by its 1-based number, empty where there is none."""
        if number < self._number:
            self._begin, self._number = 0, 1
        while self._number < number:
            match = _LINE_BREAK.search(self._data, self._begin)
            if match is None:
                return ""
            self._begin = match.end()
            self._number += 1
        match = _LINE_BREAK.search(self._data, self._begin)
        line = self._data[self._begin : match.start() if match else len(self._data)]
        return line[:_LONGEST].decode("utf-8", errors="replace").removeprefix("\ufeff")


def explain(problem: Problem, lines: Lines | None) -> str:
    """Return the problem's line and, if the file's content is at hand, the source line with a caret below the column.

    The source line is safe for a terminal: what cannot be printed is shown as `·`.
    """
    source = lines.get(problem.line) if lines is not None else ""
    if not source.strip():
        return str(problem)
    at = min(problem.column - 1, len(source))
    begin = max(0, at - _BEFORE) if len(source) > _WIDTH else 0
    shown = "".join(c if c.isprintable() or c == "\t" else "·" for c in source[begin : begin + _WIDTH])
    # Tabs stay, so that they are as wide below as above; a wide character takes two columns.
    padding = "".join("\t" if c == "\t" else " " * _columns(c) for c in shown[: at - begin])
    return f"{problem}\n  {shown}\n  {padding}^"


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
