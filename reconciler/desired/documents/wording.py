"""How a mistake is put into words: values cut and escaped, places named, the nearest right word.

Pure text. Whatever a file holds, nothing built here has a line break or a control character in it, so that a problem
stays one line and a file cannot steer the terminal that shows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

#: Enough to recognise a value by, too little to fill a terminal with it.
SHOWN_CHARACTERS: Final = 60
#: The similarity from which a word counts as a slip of the pen; difflib's own default.
_SIMILAR: Final = 0.6
#: Among how many words the nearest is looked for, and how many of these, of like length, are compared: a file may offer
#: hundreds of thousands.
_SEEN: Final = 5000
_COMPARED: Final = 200
_PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")

#: The way from a document's root to a value: keys of mappings, 0-based positions in lists.
ValuePath = Sequence[str | int]


def cut(text: str) -> str:
    """Shorten to `SHOWN_CHARACTERS` and escape what cannot be printed."""
    shortened = text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
    if shortened.isprintable():
        return shortened
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shortened)


def quoted(text: str) -> str:
    """Show a bad value: cut, escaped, in quotes."""
    return f"'{cut(text)}'"


def nearest(word: str, allowed: Iterable[str]) -> str | None:
    """Return the allowed word that was most likely meant, or None when nothing comes near.

    Of very many words only the first few thousand are looked at.
    """
    # Imported late: only a mistake needs it, and commands that find none should not wait for it.
    import difflib

    # The cut bounds the comparison, which grows with the square of the length.
    given = word[:SHOWN_CHARACTERS].lower()
    # Words of lengths that differ by more cannot be as similar as is asked for.
    shortest, longest = (len(given) * part for part in (_SIMILAR / (2 - _SIMILAR), (2 - _SIMILAR) / _SIMILAR))
    by_lower: dict[str, str] = {}
    for candidate in islice(allowed, _SEEN):
        if shortest <= len(candidate) <= longest:
            by_lower.setdefault(candidate.lower(), candidate)
            if len(by_lower) == _COMPARED:
                break
    found = difflib.get_close_matches(given, by_lower, n=1, cutoff=_SIMILAR)
    return by_lower[found[0]] if found else None


def place_name(path: ValuePath) -> str:
    """Name a value as people do: `spec.recordings[3].status`."""
    name = ""
    for step in path:
        if isinstance(step, int):
            name += f"[{step}]"
        elif _PLAIN_KEY.fullmatch(step) and len(step) <= SHOWN_CHARACTERS:
            name += f".{step}" if name else step
        else:
            name += f"[{quoted(step)}]"
    return name


def pointer(path: ValuePath) -> str:
    """Name a value as programs do: RFC 6901, with overlong keys cut as everywhere else."""
    steps = (cut(str(step)).replace("~", "~0").replace("/", "~1") for step in path)
    return "".join(f"/{step}" for step in steps)
