"""Where in a file's text each value is written: for edits that leave every other byte as it is.

It reads files that are known to be valid and explains nothing. What must never happen in this room: a place that is
off by a character, which is why places are counted in characters of the text and never in lines or bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)

from reconciler.desired.documents import yaml_events
from reconciler.desired.documents.yaml_events import AnyEvent

#: How a value is written; a mapping or list without brackets is `block`.
Style = Literal["plain", "'", '"', "|", ">", "alias", "flow", "block"]

_STYLES: Final[Mapping[str, Style]] = {"'": "'", '"': '"', "|": "|", ">": ">"}


@dataclass(frozen=True, slots=True)
class Span:
    """A value as it is written, from `start` up to `end`, quotes and brackets included."""

    #: Where it begins; where it has an anchor, that is the anchor's place.
    start: int
    #: Past its last character: neither a comment nor a line break after it belongs to it.
    end: int
    style: Style
    #: What a scalar says.
    text: str = ""
    #: The parts of a mapping in their order: each key, and its value.
    parts: Mapping[str, tuple[Span, Span]] = field(default_factory=dict)
    #: The items of a list.
    items: tuple[Span, ...] = ()
    #: What an alias stands for.
    target: Span | None = None

    @property
    def meant(self) -> Span:
        """The value itself, or the one that an alias stands for."""
        return self if self.target is None else self.target


def read_spans(text: str) -> list[Span]:
    """Return the documents of a text, leaving out the empty ones.

    Args:
        text: the content of a valid file, without a byte order mark.
    """
    return _Reader(text, yaml_events.new_parser(text.encode("utf-8")).get_event).documents()


class _Reader:
    def __init__(self, text: str, get_event: Callable[[], AnyEvent]) -> None:
        self._text = text
        self._get = get_event
        self._anchors: dict[str, Span] = {}

    def documents(self) -> list[Span]:
        found = []
        self._get()  # the stream's start
        while not isinstance(event := self._get(), StreamEndEvent):
            if isinstance(event, DocumentStartEvent):
                self._anchors = {}
                root = self._span(self._get())
                if root.style != "plain" or root.text:
                    found.append(root)
        return found

    def _span(self, event: AnyEvent) -> Span:
        start: int = event.start_mark.index
        end: int = event.end_mark.index
        anchor: str | None = event.anchor
        if isinstance(event, AliasEvent):
            target = self._anchors[event.anchor or ""]
            return Span(start, end, "alias", target.text, target=target)
        if isinstance(event, ScalarEvent):
            style = _STYLES.get(event.style or "", "plain")
            if style in ("|", ">"):
                # The parsers let a block scalar end where the next thing begins.
                end = start + len(self._text[start:end].rstrip())
            span = Span(start, end, style, event.value)
        elif isinstance(event, MappingStartEvent):
            span = self._mapping(start, flow=bool(event.flow_style))
        else:
            span = self._list(start, flow=bool(event.flow_style))
        if anchor is not None:
            self._anchors[anchor] = span
        return span

    def _mapping(self, start: int, *, flow: bool) -> Span:
        parts: dict[str, tuple[Span, Span]] = {}
        end = start
        event: AnyEvent = self._get()
        while not isinstance(event, MappingEndEvent):
            key = self._span(event)
            value = self._span(self._get())
            parts[key.text] = key, value
            end = max(key.end, value.end)
            event = self._get()
        closed: AnyEvent = event
        return Span(start, closed.end_mark.index if flow else end, "flow" if flow else "block", parts=parts)

    def _list(self, start: int, *, flow: bool) -> Span:
        items = []
        event: AnyEvent = self._get()
        while not isinstance(event, SequenceEndEvent):
            items.append(self._span(event))
            event = self._get()
        closed: AnyEvent = event
        end = closed.end_mark.index if flow else items[-1].end
        return Span(start, end, "flow" if flow else "block", items=tuple(items))
