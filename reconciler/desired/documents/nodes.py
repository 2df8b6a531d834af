"""YAML text to values that know their place, slowly: for files in which there is something to explain.

The same rules as in `yaml_events`, but every breach becomes a `Problem` and reading goes on wherever the rest still
means something. What lies at or below a breach is *tainted*: its true value is unknown, so that the schema must say
nothing more about it. One mistake stays one problem.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Any, Final, NoReturn

import yaml
from yaml.error import Mark
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)
from yaml.reader import ReaderError

from reconciler.desired.documents import yaml_events
from reconciler.desired.documents.limits import ALIASED_VALUES, BYTES_PER_VALUE, EXPLAINING_SECONDS, DocumentLimits
from reconciler.desired.documents.misread import find_misread
from reconciler.desired.documents.suspects import is_suspect
from reconciler.desired.documents.wording import cut, nearest, pointer, quoted
from reconciler.desired.documents.yaml_events import AnyEvent
from reconciler.model import Problem

#: How many problems of one file are shown. Nobody reads so many; a hostile file would otherwise fill the memory with
#: them.
MAX_PROBLEMS: Final = 1000
#: The clock is asked once for so many values, since asking takes as long as reading one.
_VALUES_A_LOOK: Final = 64
LINE_BREAK: Final = re.compile(r"\r\n|\r|\n")
_NOT_TEXT: Final = re.compile("[^\t\n\r -~\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
#: Where a merge tool left a file to be finished by hand. No document of ours has such a line at its margin.
_CONFLICT: Final = re.compile(r"^(?:<{7}|>{7})(?=[ \t\r\n]|\Z)|^(?:\|{7}|={7})(?=[ \t]*\r?$)", re.MULTILINE)
#: So many markers of a file are told.
_MOST_CONFLICTS: Final = 30
_YAML_TAGS: Final = "tag:yaml.org,2002:"


class Enough(Exception):
    """The rest of the file cannot be read, or need not be."""


class OutOfTime(Enough):
    """The time for explaining this file has passed."""


class ProblemList:
    """Collects the problems of one file, each place and mistake once."""

    def __init__(self, file: str, seconds: float = EXPLAINING_SECONDS) -> None:
        """Begin with a file.

        Args:
            file: its path as it shall be shown.
            seconds: how much time of the processor may pass until `check_time` raises.
        """
        self.file = file
        self._deadline = time.thread_time() + seconds
        #: Where the text ends, once it is known: libyaml puts the end of an unfinished line on a line of its own.
        self.end: tuple[int, int] | None = None
        self._found: dict[tuple[int, int, str, str], Problem] = {}

    def add(
        self, line: int, column: int, rule: str, message: str, *, hint: str = "", at: str = "", about: str = ""
    ) -> None:
        """Add one, unless the same was said of the same place: a value that an alias repeats is explained once.

        Args:
            at: the JSON pointer.
            about: tells apart the problems of one rule at one place, such as the name of a missing field.

        Raises:
            Enough: the list is full.
        """
        if self.end is not None:
            line, column = min((line, column), self.end)
        if len(self._found) >= MAX_PROBLEMS:
            self.say_that_there_is_more(f"there are more than {MAX_PROBLEMS:,} in this file", line, column)
            raise Enough
        problem = Problem(self.file, line, column, message, pointer=at, hint=hint, rule=rule)
        self._found.setdefault((line, column, rule, about), problem)

    def say_that_there_is_more(self, why: str, line: int = 1, column: int = 1) -> None:
        """Add that not all problems are here, after all that are."""
        line, column = max([(line, column), *(found[:2] for found in self._found)])
        message = f"only some problems are explained: {why}"
        self._found.setdefault(
            (line, column, "too-many", ""), Problem(self.file, line, column, message, rule="too-many")
        )

    def check_time(self) -> None:
        """Look at the clock of this thread; call it before anything that costs time.

        Raises:
            OutOfTime: the time for this file has passed.
        """
        if time.thread_time() > self._deadline:
            raise OutOfTime

    def allow(self, seconds: float) -> None:
        """Let so much more time pass from now on."""
        self._deadline = time.thread_time() + seconds

    def __len__(self) -> int:
        return len(self._found)

    def sorted(self) -> tuple[Problem, ...]:
        """Return all in order of place."""
        return tuple(sorted(self._found.values(), key=lambda problem: (problem.line, problem.column, problem.rule)))


#: Shared by all scalars: two empty dictionaries each would be a third of their memory.
_NONE: Final[Mapping[Any, Any]] = MappingProxyType({})


class Node:
    """A value, where it begins (both 1-based), and its parts by key or position."""

    __slots__ = ("children", "column", "keys", "line", "partial", "raw", "tainted", "value")

    def __init__(self, value: object, line: int, column: int, raw: str = "") -> None:
        self.value = value
        self.line = line
        self.column = column
        #: A scalar as it is written, without its quotes.
        self.raw = raw
        #: The true value is unknown.
        self.tainted = False
        #: A mapping of which a part could not be read, so that nothing can be called missing.
        self.partial = False
        self.children: Mapping[str | int, Node] = _NONE
        #: Line and column of each key of a mapping.
        self.keys: Mapping[str, tuple[int, int]] = _NONE


def decode(data: bytes, limits: DocumentLimits, problems: ProblemList) -> str | None:
    """Return the file's text without a byte order mark, or add the one problem that forbids reading it."""
    if len(data) > limits.max_file_bytes:
        size = f"the file has {len(data):,} bytes, more than max_file_bytes allows ({limits.max_file_bytes:,})"
        problems.add(1, 1, "too-large", size)
        return None
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        problems.add(1, 1, "encoding", "the file is encoded in UTF-16 or UTF-32", hint="save it as UTF-8")
        return None
    data = data.removeprefix(yaml_events.BOM)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line, column = _place(data[: error.start].decode("utf-8"))
        problems.add(
            line, column, "encoding", f"byte 0x{data[error.start]:02x} is not UTF-8", hint="save the file as UTF-8"
        )
        return None
    if (match := _NOT_TEXT.search(text)) is None:
        return text
    line, column = _place(text[: match.start()])
    if match[0] == "\0":
        problems.add(line, column, "nul-byte", "a NUL byte: this is no text file", hint="save it as UTF-8")
    else:
        message = f"the invisible character U+{ord(match[0]):04X} is not allowed"
        problems.add(
            line, column, "control-character", message, hint="remove it, or write it as an escape in double quotes"
        )
    return None


def read_nodes(text: str, limits: DocumentLimits, problems: ProblemList) -> Iterator[Node]:
    """Yield the documents of a text that `decode` returned, leaving out the empty ones.

    Raises:
        Enough: the rest cannot be read; the reason is among the problems.
    """
    problems.end = _place(text)
    try:
        _refuse_merge_conflict(text, problems)
        data = text.encode("utf-8")
        if is_suspect(data):
            for misread in find_misread(text, yaml_events.new_parser(data).get_event):
                problems.add(*_place(text[: misread.at]), "misread", misread.message, hint=misread.hint)
        parser = yaml_events.new_parser(data)
        yield from _Composer(parser.get_event, limits, problems).documents()
    except yaml.MarkedYAMLError as error:
        _add_syntax_problem(error, text, problems)
        raise Enough from error
    except yaml.YAMLError as error:
        # Left for the parsers' own ideas of a character, which `decode` is there to forestall.
        position = error.position if isinstance(error, ReaderError) else 0
        problems.add(*_place(text[:position]), "syntax", f"not valid YAML: {cut(str(error))}")
        raise Enough from error


def _refuse_merge_conflict(text: str, problems: ProblemList) -> None:
    """Tell of a merge that is not finished, and of nothing else: the rest follows from it."""
    for marker in islice(_CONFLICT.finditer(text), _MOST_CONFLICTS):
        hint = "choose what shall stand, and remove the lines that begin with <<<<<<<, |||||||, ======= and >>>>>>>"
        message = f"a merge conflict was left here (`{marker[0]}`)"
        problems.add(*_place(text[: marker.start()]), "merge-conflict", message, hint=hint)
    if problems:
        raise Enough


def _place(before: str) -> tuple[int, int]:
    """Return the 1-based line and column of what follows `before`."""
    line = 1
    begin = 0
    for match in LINE_BREAK.finditer(before):
        line += 1
        begin = match.end()
    return line, len(before) - begin + 1


class _Composer:
    """Builds nodes from events, noting each breach of the rules."""

    def __init__(self, get_event: Callable[[], AnyEvent], limits: DocumentLimits, problems: ProblemList) -> None:
        self._get = get_event
        self._limits = limits
        self._problems = problems
        self._values = limits.max_values
        self._documents = limits.max_documents
        self._aliases = 0
        self._aliased = ALIASED_VALUES
        #: None while the anchored value is not complete.
        self._anchors: dict[str, Node | None] = {}
        self._path: list[str | int] = []

    def documents(self) -> Iterator[Node]:
        get = self._get
        get()  # the stream's start
        while not isinstance(event := get(), StreamEndEvent):
            if not isinstance(event, DocumentStartEvent):
                continue  # a document's end
            self._documents -= 1
            if self._documents < 0:
                began: AnyEvent = event.start_mark
                self._stop(began, *yaml_events.too_many_documents(self._limits))
            self._anchors = {}
            self._path = []
            node = self._node(get(), 1)
            if node.value is not None or node.raw:
                yield node

    def _add(self, mark: Mark, rule: str, message: str, *, hint: str = "") -> None:
        self._problems.add(mark.line + 1, mark.column + 1, rule, message, hint=hint, at=pointer(self._path))

    def _stop(self, mark: Mark, rule: str, message: str) -> NoReturn:
        self._add(mark, rule, message)
        raise Enough

    def _node(self, event: AnyEvent, depth: int) -> Node:
        mark: Mark = event.start_mark
        self._values -= 1
        if not self._values % _VALUES_A_LOOK:
            self._problems.check_time()
        if self._values < 0:
            most = self._limits.max_values
            self._stop(
                mark,
                "too-many-values",
                f"the file holds more than {most:,} values, one for {BYTES_PER_VALUE} bytes of max_file_bytes",
            )
        if isinstance(event, AliasEvent):
            return self._alias(event)
        node = Node(None, mark.line + 1, mark.column + 1)
        anchor: str | None = event.anchor
        if anchor is not None:
            self._anchors[anchor] = None
        if event.tag is not None:
            node.tainted = True
            self._add(mark, "tag", f"the tag {_shown_tag(event.tag)} is not allowed", hint="write the value without it")
        if isinstance(event, ScalarEvent):
            node.raw = event.value
            node.value = yaml_events.plain_value(event)
            self._refuse_half_characters(event, node)
        else:
            if depth > self._limits.max_depth:
                self._stop(mark, "too-deep", f"nested deeper than max_depth allows ({self._limits.max_depth:,})")
            if isinstance(event, MappingStartEvent):
                self._fill_mapping(node, depth)
            else:
                self._fill_list(node, depth)
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _refuse_half_characters(self, event: AnyEvent, node: Node) -> None:
        r"""Refuse `"\ud800"`, as libyaml does by itself; PyYAML's pure parser lets it through."""
        if not event.value.isprintable() and any("\ud800" <= c <= "\udfff" for c in event.value):
            node.tainted = True
            self._add(event.start_mark, "syntax", "an escape in double quotes names no character")

    def _fill_mapping(self, node: Node, depth: int) -> None:
        value: dict[str, object] = {}
        keys: dict[str, tuple[int, int]] = {}
        children: dict[str | int, Node] = {}
        node.value, node.keys, node.children = value, keys, children
        while not isinstance(event := self._get(), MappingEndEvent):
            mark: Mark = event.start_mark
            key = self._key(event, depth, node)
            if len(keys) >= self._limits.max_keys:
                most = self._limits.max_keys
                self._stop(mark, "too-many-keys", f"a mapping holds more keys than max_keys allows ({most:,})")
            self._path.append(key if key is not None else getattr(event, "value", "?"))
            if key is None:
                self._node(self._get(), depth + 1)  # its own problems count all the same
            elif key in keys:
                first = keys[key][0]
                self._add(mark, "duplicate-key", f"duplicate key `{cut(key)}`, first given on line {first}")
                self._node(self._get(), depth + 1)
            else:
                keys[key] = (mark.line + 1, mark.column + 1)
                child = self._node(self._get(), depth + 1)
                children[key] = child
                value[key] = child.value
            self._path.pop()

    def _key(self, event: AnyEvent, depth: int, mapping: Node) -> str | None:
        """Return the key that `event` begins, or None when it cannot be one, which is then noted."""
        mark: Mark = event.start_mark
        if isinstance(event, ScalarEvent):
            if event.implicit[0] and event.tag is None and event.value == "<<":
                mapping.partial = True
                self._add(mark, "merge-key", "merge keys (`<<`) are not part of YAML 1.2", hint="write the fields out")
                return None
            self._values += 1  # a key counts with its value
            node = self._node(event, depth)
            if isinstance(node.value, str):
                return node.value
            found = f"found {found_in_words(node)}"
            self._add(
                mark, "key", f"a key must be a string, {found}", hint=f'quote it: "{cut(node.raw)}"' if node.raw else ""
            )
            return None
        if isinstance(event, AliasEvent):
            mapping.partial = True
            self._add(mark, "key", "a key must be a string, found an alias", hint="write the key out")
            return None
        node = self._node(event, depth + 1)
        self._add(mark, "key", f"a key must be a string, found {found_in_words(node)}")
        return None

    def _fill_list(self, node: Node, depth: int) -> None:
        value: list[object] = []
        children: dict[str | int, Node] = {}
        node.value, node.children = value, children
        while not isinstance(event := self._get(), SequenceEndEvent):
            self._path.append(len(value))
            child = self._node(event, depth + 1)
            children[len(value)] = child
            value.append(child.value)
            self._path.pop()

    def _alias(self, event: AnyEvent) -> Node:
        mark: Mark = event.start_mark
        self._aliases += 1
        if self._aliases > self._limits.max_aliases:
            self._stop(mark, "too-many-aliases", f"more aliases than max_aliases allows ({self._limits.max_aliases:,})")
        target = self._anchors.get(event.anchor)
        if target is not None:
            self._aliased -= yaml_events.expanded_size(target.value, self._aliased)
            if self._aliased < 0:
                self._stop(
                    mark, "alias-expansion", f"the aliases of this file expand to more than {ALIASED_VALUES:,} values"
                )
            return target
        name = cut(event.anchor)
        if event.anchor in self._anchors:
            self._add(mark, "undefined-alias", f"the alias *{name} stands inside its own anchor")
        else:
            self._problems.check_time()
            near = nearest(event.anchor, self._anchors)
            hint = f"did you mean *{cut(near)}?" if near else f"nothing before it is marked &{name}"
            self._add(mark, "undefined-alias", f"the alias *{name} is not defined", hint=hint)
        node = Node(None, mark.line + 1, mark.column + 1, raw=f"*{name}")
        node.tainted = True
        return node


def found_in_words(node: Node) -> str:
    """Say what a value is, by kind and text: `the number 5`, `a mapping`, `nothing`."""
    value = node.value
    if value is None:
        return "null" if node.raw else "nothing"
    if isinstance(value, bool):
        return f"the boolean {node.raw}"
    if isinstance(value, int | float):
        return f"the number {cut(node.raw)}"
    if isinstance(value, str):
        return f"the text {quoted(value)}"
    return "a mapping" if isinstance(value, dict) else "a list"


def _shown_tag(tag: str) -> str:
    return cut(f"!!{tag.removeprefix(_YAML_TAGS)}" if tag.startswith(_YAML_TAGS) else tag)


_QUOTE: Final = "this quote is never closed"
#: What the parsers say (libyaml first, then the pure one), what is said instead, and whether the place that counts is
#: where the broken thing began rather than where the parser gave up. `{line}` is the line where it began.
_SYNTAX: Final[tuple[tuple[str, str, bool], ...]] = (
    ("mapping values are not allowed", "a `:` is out of place: check the indentation, or quote the text", False),
    ("found unexpected ':'", "a `:` is out of place: put a space after it, or quote the text", False),
    ("could not find expected ':'", "this line lacks the `:` of `key: value`", True),
    ("',' or ']'", "the `[` of line {line} is not closed, or a comma is missing", False),
    ("',' or '}'", "the `{{` of line {line} is not closed, or a comma is missing", False),
    ("found unexpected end of stream", _QUOTE, True),
    ("found unexpected document", _QUOTE + " before the next document begins", True),
    ("unknown escape character", r"unknown escape in double quotes: write `\\`, or use single quotes", False),
    ("hexdecimal number", "an escape in double quotes lacks its hexadecimal digits", False),
    ("hexadecimal numbers", "an escape in double quotes lacks its hexadecimal digits", False),
    ("invalid Unicode character", "an escape in double quotes names no character", False),
    ("tab character", "a tab cannot be used for indentation: use spaces", False),
    ("sequence entries are not allowed", "a list item (`-`) is out of place: begin it on a line of its own", False),
    ("mapping keys are not allowed", "a key is out of place: check the indentation", False),
    ("undefined tag handle", "tags (`!...`) are not allowed", False),
    ("<document start>", "the document has ended before this: begin the next one with `---`", False),
    ("node content", "a value is missing here", False),
    ("alphabetic or numeric character", "`&` and `*` begin a name: quote the text", False),
    ("comment or line break", "only a line break may follow `|` or `>`", False),
    ("indentation indicator", "only a line break may follow `|` or `>`", False),
    ("incompatible YAML document", "this version of YAML is not known: write `%YAML 1.2`", False),
    ("directive", "a directive (`%...`) that is not understood: remove the line", False),
)


def _add_syntax_problem(error: yaml.MarkedYAMLError, text: str, problems: ProblemList) -> None:
    """Say in our words, in one line, what the parser found."""
    problem = error.problem or ""
    context = error.context or ""
    mark = error.problem_mark or error.context_mark
    begin = error.context_mark or mark
    message = ""
    for pattern, words, at_begin in _SYNTAX:
        if pattern in problem:
            message = words.format(line=begin.line + 1 if begin else 1)
            mark = begin if at_begin else mark
            break
    line, column, index = (mark.line + 1, mark.column + 1, mark.index) if mark else (1, 1, 0)
    if "cannot start any token" in problem:
        character = text[index : index + 1]
        tab = "a tab cannot be used for indentation: use spaces"
        message = tab if character == "\t" else f"a value cannot begin with `{cut(character)}`: quote the text"
    elif "tag" in context:
        message = "tags (`!...`) are not allowed"
    elif "block" in context and not message:
        thing = "list" if "collection" in context or "sequence" in context else "mapping"
        began = begin.line + 1 if begin else 1
        message = f"this does not fit the {thing} that begins on line {began}: check indentation, quotes and brackets"
    problems.add(line, column, "syntax", message or f"not valid YAML: {cut(problem)}")
