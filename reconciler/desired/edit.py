"""One change to one document in the bytes of its file: its status, or whether it is suspended.

Bytes in, bytes out; no file is opened. What must never happen in this room: a byte changes that does not belong to the
one value, or content goes out that declares anything but the old content with that one change. Both are made sure of by
splicing at the places that the parser gives, and by reading the result again before it is handed out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from reconciler.desired.documents.conflicts import FileDocuments, cross_check
from reconciler.desired.documents.convert import parse_date_time
from reconciler.desired.documents.limits import DEFAULT_LIMITS, DocumentLimits
from reconciler.desired.documents.parse import parse_documents
from reconciler.desired.documents.spans import Span, read_spans
from reconciler.model import Desired, DesiredStateError, ReconcilerError, Status, Suspend
from reconciler.telemetry import scrub

_BOM: Final = "\ufeff"
_BREAK: Final = re.compile(r"\r\n|\r|\n")
_BLOCK_HEADER: Final = re.compile(r"[|>][-+0-9]*")
_ANCHOR: Final = re.compile(r"&\S+\s+")


class CannotEdit(ReconcilerError):
    """The document is written in a way in which this one change cannot be made alone."""


@dataclass(frozen=True, slots=True)
class Suspension:
    """A suspension as it is to be written."""

    #: One line of printable text.
    reason: str
    #: A date and time with a zone (RFC 3339).
    until: str

    @classmethod
    def of(cls, reason: str, until: str) -> Suspension:
        """Build one from what a person typed: line breaks and runs of blanks in the reason become single ones.

        Raises:
            ReconcilerError: the reason is empty or holds what cannot be printed, or `until` is no such moment.
        """
        reason = " ".join(reason.split())
        if not reason or not reason.isprintable():
            raise ReconcilerError("a reason is one line of text that can be printed, and not empty")
        try:
            parse_date_time(until)
        except ValueError as error:
            raise ReconcilerError(f"until: {error}") from None
        return cls(reason, until)

    @property
    def as_read(self) -> Suspend:
        """What a document that holds it says."""
        return Suspend(scrub(self.reason), parse_date_time(self.until))


def set_status(data: bytes, file: str, name: str, status: Status, limits: DocumentLimits = DEFAULT_LIMITS) -> bytes:
    """Return the content with another status of one document; the same bytes where it says that status already.

    Args:
        data: the content of the file.
        file: its path as it shall be shown.
        name: the full name of the document or item.
        status: what it shall say.
        limits: what the file may ask of this program.

    Raises:
        DesiredStateError: the file is invalid.
        CannotEdit: the status is shared with another document by an anchor, or written in a way not foreseen here.
        ReconcilerError: the file has no such document.
    """

    def splice(text: str, spec: Span) -> str:
        return _with_word(text, spec.parts["status"][1], status.value)

    return _edit(data, file, name, limits, splice, lambda desired: desired._replace(status=status))


def add_suspend(
    data: bytes, file: str, name: str, suspension: Suspension, limits: DocumentLimits = DEFAULT_LIMITS
) -> bytes:
    """Return the content with one document suspended. Where it is already, the reason and the moment change in place.

    Args and errors as for `set_status`.
    """

    def splice(text: str, spec: Span) -> str:
        if "suspend" in spec.parts:
            return _with_other_suspension(text, spec.parts["suspend"][1], suspension)
        return _with_new_suspension(text, spec, suspension)

    return _edit(data, file, name, limits, splice, lambda desired: desired._replace(suspend=suspension.as_read))


def remove_suspend(data: bytes, file: str, name: str, limits: DocumentLimits = DEFAULT_LIMITS) -> bytes:
    """Return the content with one document no longer suspended; the same bytes where it is not.

    The whole lines of the suspension go, with what is said on them; comments on lines of their own around it stay. What
    `add_suspend` added is taken away to the byte.

    Args and errors as for `set_status`.
    """

    def splice(text: str, spec: Span) -> str:
        if "suspend" not in spec.parts:
            return text
        return _without_key(text, spec, "suspend")

    return _edit(data, file, name, limits, splice, lambda desired: desired._replace(suspend=None))


def _edit(
    data: bytes,
    file: str,
    name: str,
    limits: DocumentLimits,
    splice: Callable[[str, Span], str],
    change: Callable[[Desired], Desired],
) -> bytes:
    before = _valid(parse_documents(data, file, limits))
    at = next((index for index, desired in enumerate(before.desired) if desired.name == name), None)
    if at is None:
        raise ReconcilerError(f"{file} has no document named {name}")
    wanted = [*before.desired]
    wanted[at] = change(wanted[at])
    if wanted[at] == before.desired[at]:
        return data
    text = data.decode("utf-8")
    mark = _BOM if text.startswith(_BOM) else ""
    text = text.removeprefix(_BOM)
    specs = [spec for document in read_spans(text) for spec in _specs(document)]
    edited = (mark + splice(text, specs[at].meant)).encode("utf-8")
    after = parse_documents(edited, file, limits)
    # Lines may move, nothing else may.
    if after.problems or [desired._replace(line=0, begins=0) for desired in after.desired] != [
        desired._replace(line=0, begins=0) for desired in wanted
    ]:
        place = f"{file}:{before.desired[at].line}"
        raise CannotEdit(f"{place}: {name} is written in a way that this cannot change by itself; edit it by hand")
    return edited


def _valid(documents: FileDocuments) -> FileDocuments:
    problems = documents.problems or cross_check([documents])
    if problems:
        raise DesiredStateError(problems)
    return documents


def _specs(document: Span) -> tuple[Span, ...]:
    """Return what holds `status` and `suspend` of each recording that a document declares, in its order."""
    spec = document.parts["spec"][1].meant
    if document.parts["kind"][1].meant.text == "CallRecording":
        return (spec,)
    return spec.parts["recordings"][1].meant.items


def _with_word(text: str, value: Span, word: str) -> str:
    """Replace a single word, leaving its quotes, its anchor, or the header of its block."""
    if value.style == "alias":
        return text[: value.start] + word + text[value.end :]
    end = value.end - (value.style in ("'", '"'))
    begin = end - len(value.text)
    if text[begin:end] != value.text:
        # Only double quotes can hide a word, behind escapes; and a quote inside them would not be part of a word.
        begin = text.rindex('"', value.start, end) + 1
    return text[:begin] + word + text[end:]


def _with_other_suspension(text: str, value: Span, suspension: Suspension) -> str:
    if value.style == "alias":
        return text[: value.start] + _flow(suspension, json_keys=False) + text[value.end :]
    reason, until = value.parts["reason"][1], value.parts["until"][1]
    # The later one first, so that the earlier one's place still holds.
    for span, words in sorted(
        ((reason, suspension.reason), (until, suspension.until)), key=lambda pair: -pair[0].start
    ):
        text = _with_text(text, span, words)
    return text


def _with_text(text: str, value: Span, words: str) -> str:
    """Replace a scalar of any text, in the same quotes where they can hold it."""
    if value.style != "alias" and value.text == words:
        return text
    start = value.start
    if value.style != "alias" and (anchor := _ANCHOR.match(text, start)):
        start = anchor.end()
    if value.style in ("|", ">"):
        header = _BLOCK_HEADER.match(text, start)
        line_end = _BREAK.search(text, start)
        if header is not None and line_end is not None:
            # A comment behind the header stays.
            return text[:start] + _quoted(words) + text[header.end() : line_end.start()] + text[value.end :]
    if value.style == "'":
        return text[:start] + "'" + words.replace("'", "''") + "'" + text[value.end :]
    plain = value.style in ("plain", "alias") and re.fullmatch(r"[0-9][0-9Tt:.Zz+-]*", words)
    return text[:start] + (words if plain else _quoted(words)) + text[value.end :]


def _with_new_suspension(text: str, spec: Span, suspension: Suspension) -> str:
    last_key, last_value = list(spec.parts.values())[-1]
    at = last_value.end
    if spec.style == "flow":
        json_keys = last_key.style == '"'
        key = '"suspend"' if json_keys else "suspend"
        return f"{text[:at]}, {key}: {_flow(suspension, json_keys=json_keys)}{text[at:]}"
    line_end = _BREAK.search(text, at)
    if line_end is not None:
        at = line_end.start()
        line_break = line_end[0]
    else:
        at = len(text)
        before = _BREAK.search(text)
        line_break = before[0] if before is not None else "\n"
    indent = " " * (last_key.start - _line_start(text, last_key.start))
    return f"{text[:at]}{line_break}{indent}suspend: {_flow(suspension, json_keys=False)}{text[at:]}"


def _flow(suspension: Suspension, *, json_keys: bool) -> str:
    reason = _quoted(suspension.reason)
    if json_keys:
        return f'{{"reason": {reason}, "until": {_quoted(suspension.until)}}}'
    return f"{{reason: {reason}, until: {suspension.until}}}"


def _quoted(words: str) -> str:
    """Write text in double quotes; for text that can be printed, JSON's are YAML's."""
    return json.dumps(words, ensure_ascii=False)


def _without_key(text: str, mapping: Span, name: str) -> str:
    entries = list(mapping.parts.values())
    at = list(mapping.parts).index(name)
    key, value = entries[at]
    following = entries[at + 1][0].start if at + 1 < len(entries) else None
    if mapping.style == "flow":
        if following is not None:
            between = text[value.end : following]
            end = following if not between.strip(" \t\r\n,") else value.end + between.index(",") + 1
            return text[: key.start] + text[end:]
        before = entries[at - 1][1].end
        start = before if not text[before : key.start].strip(" \t\r\n,") else key.start
        return text[:start] + text[value.end :]
    line_start = _line_start(text, key.start)
    if text[line_start : key.start].strip(" "):
        # It stands behind the dash of its item: what follows takes its place.
        end = following if following is not None and not text[value.end : following].strip() else value.end
        return text[: key.start] + text[end:]
    line_end = _BREAK.search(text, value.end)
    if line_end is not None:
        return text[:line_start] + text[line_end.end() :]
    # The last line, without a break of its own: the one before it goes.
    return text[:line_start].removesuffix("\n").removesuffix("\r")


def _line_start(text: str, at: int) -> int:
    return max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1
