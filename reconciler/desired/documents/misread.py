"""Text that the parsers take without a word and read otherwise than YAML 1.2 says: found, so that it can be refused.

libyaml speaks YAML 1.1 with liberties of its own. Where these change what a text means, or drop the rest of a line,
nobody who wrote it would notice. Only what `suspects` points at is looked at so closely.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final, NamedTuple, TypeAlias

import yaml
from yaml.events import CollectionEndEvent, CollectionStartEvent, ScalarEvent, StreamEndEvent

#: As in `yaml_events`.
AnyEvent: TypeAlias = Any

_TEXT: Final = re.compile(r"(?<=[,\"'\]}])#|(?<=[\[{,\s])\?(?=[^\s,\]}])|&[0-9A-Za-z_-]+[?:%@`]")
_BLOCK_HEADER: Final = re.compile(r"(?:&\S+[ \t]+)?[|>][-+0-9]*#")
_COMMENT: Final = re.compile(r"(?<!\S)#")
_LINE_END: Final = re.compile(r"[\r\n]")
#: So many places of one kind are told; a file that is full of them is explained by the first.
MOST: Final = 100
#: No setting lets a document be nested deeper, so what is has no scalars that matter; the parser's cost grows with the
#: square of the depth.
DEEPEST: Final = 200
_SPACES_AT_END: Final = re.compile(r"[\r\n][ \t]+\Z")


class Misread(NamedTuple):
    """A place, counted in characters of the text, and what is wrong with it."""

    at: int
    message: str
    hint: str


def find_misread(text: str, get_event: Callable[[], AnyEvent]) -> Iterator[Misread]:
    """Yield what would be read otherwise, `MOST` places at most.

    Args:
        text: of a suspect file, without a byte order mark.
        get_event: of a parser of that text.
    """
    scalars = _Scalars(text, get_event)
    for match in islice((match for match in _TEXT.finditer(text) if not scalars.cover(match.start())), MOST):
        if match[0] == "#":
            yield _comment(match.start())
        elif match[0] == "?":
            yield Misread(match.start(), "the `?` at the begin of this text would be lost", "quote the text")
        else:
            message = f"the name of an anchor ends before `{match[0][-1]}`, and what follows would be a text"
            yield Misread(match.start(), message, "use letters, digits, - and _")
    for start, end in islice(scalars.blocks, MOST):
        if header := _BLOCK_HEADER.match(text, start):
            yield _comment(header.end() - 1)
        elif not text[end:].strip() and (spaces := _SPACES_AT_END.search(text, start)):
            hint = "end the last line with a line break, or take the spaces away"
            yield Misread(spaces.start() + 1, "a line of spaces at the end of a block text is lost", hint)


def _comment(index: int) -> Misread:
    return Misread(index, "a `#` here would drop the rest of the line", "put a space before it, or quote the text")


class _Scalars:
    """Where the scalars of a text stand, without their anchors, up to the first mistake; and where its comments do."""

    def __init__(self, text: str, get_event: Callable[[], AnyEvent]) -> None:
        self._text = text
        self._starts = array("Q")
        self._ends = array("Q")
        #: Block texts that begin with a `#` behind their header, or end with the text.
        self.blocks: list[tuple[int, int]] = []
        last: tuple[int, int] | None = None
        #: Places before it are known to be in a comment, once one was found there.
        self._comment_end = 0
        depth = 0
        try:
            while depth <= DEEPEST and not isinstance(event := get_event(), StreamEndEvent):
                if isinstance(event, ScalarEvent):
                    last = self._add(event)
                elif isinstance(event, CollectionStartEvent):
                    depth += 1
                elif isinstance(event, CollectionEndEvent):
                    depth -= 1
        except yaml.YAMLError:
            pass  # it is told as what it is
        if last is not None and last not in self.blocks[-1:] and not text[last[1] :].strip():
            self.blocks.append(last)

    def _add(self, event: AnyEvent) -> tuple[int, int] | None:
        """Take a scalar in; return its place where it is a block text."""
        start, end = event.start_mark.index, event.end_mark.index
        if event.anchor is not None:
            start += 1 + len(event.anchor)
            while self._text[start : start + 1] in (" ", "\t"):
                start += 1
        self._starts.append(start)
        self._ends.append(end)
        if event.style not in ("|", ">"):
            return None
        if _BLOCK_HEADER.match(self._text, start):
            self.blocks.append((start, end))
        return start, end

    def cover(self, index: int) -> bool:
        """Return whether a place is inside of a scalar or of a comment. To be asked in the order of the text."""
        if index < self._comment_end or self._is_in_scalar(index):
            return True
        text = self._text
        line = max(text.rfind("\n", 0, index), text.rfind("\r", 0, index)) + 1
        for match in _COMMENT.finditer(text, line, index):
            if not self._is_in_scalar(match.start()):
                line_end = _LINE_END.search(text, index)
                self._comment_end = line_end.start() if line_end else len(text)
                return True
        return False

    def _is_in_scalar(self, index: int) -> bool:
        at = bisect_right(self._starts, index) - 1
        return at >= 0 and index < self._ends[at]
