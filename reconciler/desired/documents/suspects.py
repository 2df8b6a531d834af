"""Which files may hold text that the parsers read otherwise than YAML 1.2 says: found out for next to nothing.

What must never happen in this room: a file that holds such text is passed as harmless.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

#: Each begins with the one character that is looked for, so that the search runs at the speed of C; the character is
#: looked for by its number before, which is faster still.
#: Behind a comma, a quote, a bracket or the header of a block text, which has two marks at most; behind anything else a
#: `#` is text.
_HASH: Final = rb"#(?:(?<=[,\"'\]}|>]#)|(?<=[|>][-+0-9]#)|(?<=[|>][-+0-9][-+0-9]#))"
_HASH_BYTE: Final = ord("#")
_QUESTION: Final = rb"\?(?<=[\[{,\s]\?)[^\s]"
_QUESTION_BYTE: Final = ord("?")
_ANCHOR: Final = rb"&[0-9A-Za-z_-]+[?:%@`]"
_ANCHOR_BYTE: Final = ord("&")
#: Behind a space, a `#` and what follows up to the end of the line or a quote is in a comment, or in a text that goes
#: on until there: nothing of it is read otherwise.
_COMMENTED: Final = rb"#(?<!\S#)[^\r\n\"']*"


def is_suspect(data: bytes) -> bool:
    """Return whether a file may hold such a text; False is certain.

    Comments name issues, such as `#12` in brackets, and addresses. They are left out before anything is looked at
    closely, which takes longer than to read the file.
    """
    return data[-1:] in (b" ", b"\t") or (_may_hold(data) and _may_hold(_pattern(_COMMENTED).sub(b"", data)))


def _may_hold(data: bytes) -> bool:
    return (
        (_HASH_BYTE in data and _pattern(_HASH).search(data) is not None)
        or (_QUESTION_BYTE in data and _pattern(_QUESTION).search(data) is not None)
        or (_ANCHOR_BYTE in data and _pattern(_ANCHOR).search(data) is not None)
    )


@cache
def _pattern(text: bytes) -> re.Pattern[bytes]:
    """Return a pattern; each takes as long to compile as a small file to be read, and most files need none."""
    return re.compile(text)
