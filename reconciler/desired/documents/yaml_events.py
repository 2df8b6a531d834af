"""YAML text to plain values, fast: for files that hold no mistake.

Built on the parser's events, never on a loader's constructors: stock ones turn `no` into False, `1:30` into 90 and
`010` into 8, and drop duplicate keys. Only the scalars of YAML 1.2's core schema become anything but text. Whatever is
out of the ordinary raises `Irregular` at once and without a reason; `nodes` reads such a file a second time, slowly, to
say why. Both readers obey the same rules, and a property test holds them together.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import yaml
from yaml.events import (
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.scanner import Scanner

from reconciler.desired.documents.limits import ALIASED_CHARACTERS, ALIASED_VALUES, DocumentLimits
from reconciler.desired.documents.suspects import is_suspect

BOM: Final = b"\xef\xbb\xbf"
_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
#: U+0085, U+2028 and U+2029: line breaks to YAML 1.1, which libyaml speaks, ordinary text to YAML 1.2 and to every
#: editor. A comment that holds one would end in the middle of its line.
_HIDDEN_BREAKS: Final = (b"\xc2\x85", b"\xe2\x80\xa8", b"\xe2\x80\xa9")
#: The depth of a set's list of recordings: document, spec, list.
_ITEMS_DEPTH: Final = 3
#: The field by whose place a recording is found in a file.
_STATUS_KEY: Final = "status"

_WORDS: Final[dict[str, bool | None]] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
#: YAML 1.2 core numbers, less those with a leading zero: `010` is no number that anyone would write back as `010`.
_NUMBER: Final = re.compile(
    r"""(?P<decimal>[-+]?(?:0|[1-9][0-9]*))
      | [-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?
      | (?P<octal>0o[0-7]+) | (?P<hexadecimal>0x[0-9a-fA-F]+)
      | (?P<special>[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))""",
    re.VERBOSE,
)
#: The first characters of all that may be more than text; the empty scalar is asked for apart.
_SUSPECT: Final = frozenset("-+.0123456789~nNtTfF")
#: A number has one hyphen for its sign and one for its exponent. An ID has more, and is what most documents hold most.
_HYPHENS: Final = 2
#: Keys that each document has. They are text, however they are written, so that nothing about them is looked at.
_FIELDS: Final = frozenset(
    [
        *("apiVersion", "kind", "metadata", "name", "spec", "recordings"),
        *("workspaceId", "channelId", "callId", "recordingId", _STATUS_KEY),
    ]
)
#: No field takes a number, so that a longer one only has to remain one. Bounds the cost of the conversion.
_DIGITS: Final = 64


class Irregular(Exception):
    """The file is not plainly valid; why is not known here. It sends the file to the slow reader.

    Attributes:
        line: 1-based, where the reader met what it does not take.
        document: the one that its schema refuses, where it was read as YAML.
        breach: the rule and the words, where the reader knows them all the same.
    """

    def __init__(self, line: int = 1, document: Document | None = None, breach: tuple[str, str] | None = None) -> None:
        super().__init__()
        self.line = line
        self.document = document
        self.breach = breach


def too_many_documents(limits: DocumentLimits) -> tuple[str, str]:
    """Return the rule and the words for a file of too many documents."""
    most = f"{limits.max_documents:,}"
    return "too-many-documents", f"the file holds more documents than max_documents allows ({most})"


#: PyYAML's stubs know the classes of events, not which one comes next, and give each of them marks that may be None.
AnyEvent: TypeAlias = Any


class EventParser(Protocol):
    """What is used of PyYAML's parsers."""

    def get_event(self) -> AnyEvent: ...


class Document(NamedTuple):
    """One document's value, and the 1-based lines of its parts."""

    value: object
    #: Where it begins.
    line: int
    #: Where the items of its `spec.recordings` begin.
    item_lines: list[int]
    #: Where a mapping has its key `status`, by the identity of the mapping, which an alias shares.
    status_lines: dict[int, int]


class PureParser(Reader, Scanner, Parser):
    """PyYAML's parser in Python, for machines whose PyYAML was built without libyaml. Ten times slower."""

    def __init__(self, stream: bytes) -> None:
        Reader.__init__(self, stream)
        Scanner.__init__(self)
        Parser.__init__(self)


def _fastest_parser() -> Callable[[bytes], EventParser]:
    try:
        from yaml._yaml import CParser
    except ImportError:
        return PureParser
    return CParser


new_parser: Callable[[bytes], EventParser] = _fastest_parser()


def resolve(text: str) -> object:
    """Return what a plain scalar means in YAML 1.2's core schema: None, a bool, a number or the text itself."""
    if text.count("-") > _HYPHENS:
        return text
    if text in _WORDS:
        return _WORDS[text]
    match = _NUMBER.fullmatch(text)
    if match is None:
        return text
    if match["special"] is not None or len(text) > _DIGITS:
        return math.nan if "n" in text[-1].lower() else math.inf
    if match["decimal"] is not None:
        return int(text)
    if match["octal"] is not None or match["hexadecimal"] is not None:
        return int(text, 0)
    return float(text)


def plain_value(event: ScalarEvent) -> object:
    """Return a scalar's value: quoted and block scalars are always text."""
    text: str = event.value
    if event.implicit[0] and (not text or text[0] in _SUSPECT):
        return resolve(text)
    return text


def expanded_size(value: object, at_most: int) -> int:
    """Count the values that `value` stands for once its aliases are followed; stops counting past `at_most`.

    A long text counts for several.
    """
    count = 0
    waiting = [value]
    while waiting and count <= at_most:
        current = waiting.pop()
        count += 1
        if isinstance(current, dict):
            waiting.extend(current.values())
        elif isinstance(current, list):
            waiting.extend(current)
        elif isinstance(current, str):
            count += len(current) // ALIASED_CHARACTERS
    return count


def read_documents(data: bytes, limits: DocumentLimits) -> Iterator[Document]:
    """Yield the documents of a file, leaving out the empty ones.

    Raises:
        Irregular: the file breaks a rule of YAML or of ours. Documents yielded before stay as they were.
    """
    # Most files hold nothing but ASCII, which is known at once, and nothing of this then.
    if not data.isascii():
        if data.startswith(_UTF16_MARKS) or any(mark in data for mark in _HIDDEN_BREAKS):
            raise Irregular
        data = data.removeprefix(BOM)
    if is_suspect(data):
        _refuse_misread(data)
    try:
        yield from _Builder(new_parser(data).get_event, limits).documents()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Irregular(mark.line + 1 if mark else 1) from error
    except yaml.YAMLError as error:
        raise Irregular from error


def _refuse_misread(data: bytes) -> None:
    from reconciler.desired.documents.misread import find_misread  # late: few files hold such text

    for misread in find_misread(data.decode("utf-8", errors="replace"), new_parser(data).get_event):
        raise Irregular(1 + data.decode("utf-8", errors="replace").count("\n", 0, misread.at))


class _Builder:
    """Builds values from events. Its loops are the hot path of a cold plan: each event counts."""

    __slots__ = (
        "_aliased",
        "_aliases",
        "_anchors",
        "_documents",
        "_get",
        "_item_lines",
        "_limits",
        "_max_depth",
        "_max_keys",
        "_status_lines",
        "_values",
    )

    def __init__(self, get_event: Callable[[], AnyEvent], limits: DocumentLimits) -> None:
        self._get = get_event
        self._limits = limits
        self._max_depth = limits.max_depth
        self._max_keys = limits.max_keys
        self._values = limits.max_values
        self._documents = limits.max_documents
        self._aliases = limits.max_aliases
        self._aliased = ALIASED_VALUES
        self._anchors: dict[str, object] = {}
        self._item_lines: list[int] = []
        self._status_lines: dict[int, int] = {}

    def documents(self) -> Iterator[Document]:
        get = self._get
        get()  # the stream's start
        while (event := get()).__class__ is not StreamEndEvent:
            if event.__class__ is not DocumentStartEvent:
                continue  # a document's end
            self._documents -= 1
            if self._documents < 0:
                raise Irregular(_irregular(event).line, breach=too_many_documents(self._limits))
            self._spend(1, event)
            self._anchors = {}
            self._item_lines = []
            self._status_lines = {}
            root = get()
            value = self._value(root, 1)
            if value is None and not root.value:
                continue
            yield Document(value, root.start_mark.line + 1, self._item_lines, self._status_lines)

    def _value(self, event: AnyEvent, depth: int) -> object:
        kind = event.__class__
        if kind is ScalarEvent:
            if event.tag is not None:
                raise _irregular(event)
            value = plain_value(event)
            if event.anchor is not None:
                self._anchors[event.anchor] = value
            return value
        if kind is MappingStartEvent:
            return self._mapping(event, depth)
        if kind is SequenceStartEvent:
            return self._sequence(event, depth)
        return self._alias(event)

    def _mapping(self, event: AnyEvent, depth: int) -> object:
        if event.tag is not None or depth > self._max_depth:
            raise _irregular(event)
        anchor = self._begin(event)
        get = self._get
        result: dict[str, object] = {}
        while True:
            event = get()
            if event.__class__ is not ScalarEvent:
                if event.__class__ is MappingEndEvent:
                    break
                raise _irregular(event)
            if event.tag is not None:
                raise _irregular(event)
            key: str = event.value
            if key not in _FIELDS and event.implicit[0] and (key == "<<" or plain_value(event).__class__ is not str):
                raise _irregular(event)
            if event.anchor is not None:
                self._anchors[event.anchor] = key
            if key in result or len(result) >= self._max_keys:
                raise _irregular(event)
            if key == _STATUS_KEY:
                mark: AnyEvent = event.start_mark
                self._status_lines[id(result)] = mark.line + 1
            # The body of `_value` for the commonest case, without the call.
            event = get()
            if event.__class__ is ScalarEvent and event.tag is None and event.anchor is None:
                text = event.value
                if event.implicit[0] and (not text or text[0] in _SUSPECT):
                    result[key] = resolve(text)
                else:
                    result[key] = text
            else:
                result[key] = self._value(event, depth + 1)
        self._spend(len(result), event)
        if anchor is not None:
            self._anchors[anchor] = result
        return result

    def _sequence(self, event: AnyEvent, depth: int) -> object:
        if event.tag is not None or depth > self._max_depth:
            raise _irregular(event)
        anchor = self._begin(event)
        get = self._get
        lines = self._item_lines if depth == _ITEMS_DEPTH else None
        result: list[object] = []
        while (event := get()).__class__ is not SequenceEndEvent:
            if len(result) >= self._values:
                raise _irregular(event)
            if lines is not None:
                lines.append(event.start_mark.line + 1)
            result.append(self._value(event, depth + 1))
        self._spend(len(result), event)
        if anchor is not None:
            self._anchors[anchor] = result
        return result

    def _spend(self, values: int, event: AnyEvent) -> None:
        self._values -= values
        if self._values < 0:
            raise _irregular(event)

    def _begin(self, event: AnyEvent) -> str | None:
        """Forget an older anchor of this name: an alias inside its own anchor must not mean the older one."""
        anchor: str | None = event.anchor
        if anchor is not None:
            self._anchors.pop(anchor, None)
        return anchor

    def _alias(self, event: AnyEvent) -> object:
        self._aliases -= 1
        if self._aliases < 0 or event.anchor not in self._anchors:
            raise _irregular(event)
        value = self._anchors[event.anchor]
        self._aliased -= expanded_size(value, self._aliased)
        if self._aliased < 0:
            raise _irregular(event)
        return value


def _irregular(event: AnyEvent) -> Irregular:
    mark: AnyEvent = event.start_mark
    return Irregular(mark.line + 1)
