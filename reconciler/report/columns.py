"""Columns for a terminal of any width: nothing is cut that a person has to copy, and one long name widens no other row.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

#: Where nobody knows the width: a file or a pipe, which wraps nothing.
UNBOUNDED: Final = 10_000
_GAP: Final = "  "
#: A first cell that is longer than this stands on a line of its own, and the rest of its row below it.
_LONGEST: Final = 40


class Column(NamedTuple):
    """One column: its heading, and how soon it is left out where there is no room; 0 never."""

    heading: str
    drop: int = 0


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Return the heading and a text for each row, as many columns of it as fit.

    A row whose first cell is too long for its column becomes two lines in one text.
    """
    first = max([len(columns[0].heading), *(len(row[0]) for row in rows if len(row[0]) <= _LONGEST)])
    widths = [first, *(max(len(row[at]) for row in (_headings(columns), *rows)) for at in range(1, len(columns)))]
    shown = list(range(len(columns)))
    while len(shown) > 1 and _total(shown, widths) > width:
        dropped = max((at for at in shown if columns[at].drop), key=lambda at: columns[at].drop, default=None)
        if dropped is None:
            break
        shown.remove(dropped)
    # What is still too wide is taken from the names: a longer one then has its own line.
    widths[0] = max(len(columns[0].heading), min(widths[0], width - (_total(shown, widths) - widths[0])))
    return [_row([row[at] for at in shown], [widths[at] for at in shown]) for row in (_headings(columns), *rows)]


def wrapped(text: str, width: int, indent: str = "    ") -> list[str]:
    """Return a text as lines of at most this width, each indented."""
    import textwrap  # late: few commands fill lines, and all that write tables are here

    lines = textwrap.wrap(text, max(20, width), initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    return lines or [indent.rstrip()]


def age(since: datetime | None, now: datetime) -> str:
    """Return how long ago a moment is, in its largest whole unit, such as `12m`; a dash where nobody knows."""
    if since is None:
        return "-"
    seconds = max(0, int((now - since) / timedelta(seconds=1)))
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def byte_count(count: int) -> str:
    """Return a number of bytes for people."""
    value = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def _headings(columns: Sequence[Column]) -> list[str]:
    return [column.heading for column in columns]


def _total(shown: Sequence[int], widths: Sequence[int]) -> int:
    return sum(widths[at] for at in shown) + len(_GAP) * (len(shown) - 1)


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    rest = _GAP.join(f"{cell:<{width}}" for cell, width in zip(cells[1:], widths[1:], strict=True)).rstrip()
    if len(cells[0]) > widths[0]:
        return f"{cells[0]}\n{' ' * widths[0]}{_GAP}{rest}".rstrip()
    return f"{cells[0]:<{widths[0]}}{_GAP}{rest}".rstrip()
