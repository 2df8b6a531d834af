"""Why a file is refused: every mistake of it, each in one line with its place, the bad value and what is allowed.

Slow on purpose: it runs only for files that the fast way has refused. One mistake is one problem: a misspelled field is
not also a missing one, and a document whose kind nobody can tell is not measured by the rules of some kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Final

from reconciler.desired.documents import schema
from reconciler.desired.documents.limits import DocumentLimits, Patience
from reconciler.desired.documents.nodes import (
    MAX_PROBLEMS,
    Enough,
    Node,
    OutOfTime,
    ProblemList,
    decode,
    found_in_words,
    read_nodes,
)
from reconciler.desired.documents.schema import Mistake
from reconciler.desired.documents.wording import SHOWN_CHARACTERS, cut, nearest, place_name, pointer, quoted
from reconciler.desired.documents.yaml_events import Document, Irregular
from reconciler.model import Problem

_TYPES: Final = {"string": "a string", "object": "a mapping", "array": "a list"}
#: Of several mistakes about one value the first of these is told; the others follow from it.
_WEIGHT: Final = ("type", "const", "enum", "minLength", "maxLength", "pattern", "format")
_RULES: Final = {
    "type": "wrong-type",
    "const": "not-allowed",
    "enum": "not-allowed",
    "minLength": "empty",
    "maxLength": "too-long",
    "pattern": "malformed",
    "format": "malformed",
}
_HEAD: Final = ("apiVersion", "kind")
_API_VERSION: Final = "reconciler/v1"
#: Among how many fields a misspelled `kind` is looked for; a document of ours has four.
_LOOKED_AT: Final = 16


#: What the lines of a file may take that there is no time to explain, in seconds of the processor.
ROUGHLY_SECONDS: Final = 0.5


def find_problems(
    data: bytes, file: str, limits: DocumentLimits, refusal: Callable[[], Irregular], patience: Patience
) -> tuple[Problem, ...]:
    """Return the problems of a file that was refused, in order of line; at least one.

    Args:
        data: the content of the file.
        file: its path as it shall be shown.
        limits: what one file may ask of this program.
        refusal: tells what the fast reader knows, which counts once the time for explaining has passed.
        patience: how much time there is.
    """
    seconds = patience.begin()
    problems = ProblemList(file, seconds)
    try:
        if (text := decode(data, limits, problems)) is not None:
            for document in read_nodes(text, limits, problems):
                _explain_document(document, problems)
    except OutOfTime:
        if not problems:
            known = refusal()
            problems.allow(ROUGHLY_SECONDS)
            _explain_roughly(known, problems)
        problems.say_that_there_is_more("this file is too large, or too broken, to look at all of it")
    except Enough:
        pass  # what is known is in the list
    finally:
        patience.end()
    if not problems:
        # The gate and the explainer disagree. A refused file must never look like one without documents.
        problems.add(1, 1, "schema", "the file is refused, and the reason could not be determined")
    return problems.sorted()


def _explain_document(root: Node, problems: ProblemList) -> None:
    if root.tainted:
        return
    if not isinstance(root.value, dict):
        found = found_in_words(root)
        problems.add(root.line, root.column, "wrong-type", f"a document must be a mapping, found {found}")
        return
    kind = root.value.get("kind")
    if isinstance(kind, str) and kind in schema.KINDS:
        if not schema.gate(kind)(root.value):
            _add_mistakes(root, schema.mistakes(kind, root.value), problems)
        return
    # The kind itself is wrong, missing or unreadable: say that, and go on only with a kind that was surely meant.
    if not _is_ours(root):
        missing = "missing fields `apiVersion` and `kind`, which begin every document"
        problems.add(root.line, root.column, "missing-field", missing, hint=f"write `apiVersion: {_API_VERSION}`")
        return
    head = [m for m in schema.mistakes(schema.ANY_KIND, root.value) if _concerns_head(m)]
    meant = _meant_kind(root)
    if meant is not None:
        head = [m for m in head if m.path == ("kind",)]
        value = {**root.value, "kind": meant}
        _add_mistakes(root, [*head, *schema.mistakes(meant, value)], problems)
        return
    _add_mistakes(root, head, problems)


def _explain_roughly(refusal: Irregular, problems: ProblemList) -> None:
    """Tell of the first document that is refused what can be told without a second look at the text: lines alone."""
    document = refusal.document
    value = document.value if document is not None else None
    kind = value.get("kind") if isinstance(value, dict) else None
    if document is not None and isinstance(kind, str) and kind in schema.KINDS:
        try:
            for mistake in islice(schema.mistakes(kind, value), MAX_PROBLEMS):
                _add_mistake_at_line(document, mistake, problems)
        except Enough:
            pass
    if not problems and refusal.breach is not None:
        problems.add(refusal.line, 1, *refusal.breach)
    elif not problems:
        problems.add(refusal.line, 1, "unexplained", "something is wrong here, or in the document that begins here")


def _add_mistake_at_line(document: Document, mistake: Mistake, problems: ProblemList) -> None:
    problems.check_time()
    path = mistake.path
    in_items = len(path) > 2 and path[:2] == ("spec", "recordings") and isinstance(path[2], int)
    line = document.item_lines[int(path[2])] if in_items else document.line
    value = mistake.value
    node = Node(value, line, 1, raw=str(value).lower() if isinstance(value, bool | int | float) else "")
    if mistake.keyword not in _WEIGHT:
        node.keys = dict.fromkeys(value, (line, 1))
        _add_field_problems(node, path, {mistake.keyword: mistake}, problems)
        return
    message, hint = _in_words(node, path, mistake)
    at = pointer(path)
    problems.add(line, 1, _RULES[mistake.keyword], message, hint=hint, at=at, about=at)


def _is_ours(root: Node) -> bool:
    """Say whether anything at a document's head shows that it was written for this program."""
    if "apiVersion" in root.children or "kind" in root.children or root.partial:
        return True
    return any(
        nearest(str(key), ["kind"]) or nearest(child.raw, [_API_VERSION])
        for key, child in islice(root.children.items(), _LOOKED_AT)
    )


def _concerns_head(mistake: Mistake) -> bool:
    if mistake.path:
        return mistake.path[0] in _HEAD
    return mistake.keyword in ("required", "additionalProperties")


def _meant_kind(root: Node) -> str | None:
    """Return the kind that a wrong or misplaced word stands for, when it is near enough to one."""
    for key, child in islice(root.children.items(), _LOOKED_AT):
        if nearest(str(key), _HEAD) == "kind" and isinstance(child.value, str):
            return nearest(child.value, schema.KINDS)
    return None


def _add_mistakes(root: Node, mistakes: Iterable[Mistake], problems: ProblemList) -> None:
    by_value: dict[tuple[str | int, ...], list[Mistake]] = {}
    # Two for each value at most: a list that is full anyway need not be made longer.
    for mistake in islice(mistakes, 2 * MAX_PROBLEMS + 2):
        by_value.setdefault(mistake.path, []).append(mistake)
    for path, about in by_value.items():
        problems.check_time()
        node = _follow(root, path)
        if node is None:
            continue
        fields = {mistake.keyword: mistake for mistake in about if mistake.keyword not in _WEIGHT}
        if fields:
            _add_field_problems(node, path, fields, problems)
        weighty = [mistake for mistake in about if mistake.keyword in _WEIGHT]
        if weighty:
            mistake = min(weighty, key=lambda mistake: _WEIGHT.index(mistake.keyword))
            message, hint = _in_words(node, path, mistake)
            rule = _RULES[mistake.keyword]
            problems.add(node.line, node.column, rule, message, hint=hint, at=pointer(path))


def _follow(root: Node, path: tuple[str | int, ...]) -> Node | None:
    """Return the value at a path, or None when it is tainted: its own problem is told already."""
    node = root
    for step in path:
        node = node.children[step]
        if node.tainted:
            return None
    return node


def _add_field_problems(
    node: Node, path: tuple[str | int, ...], about: Mapping[str, Mistake], problems: ProblemList
) -> None:
    """Tell of unknown and missing fields of one mapping, a misspelled one only as unknown."""
    some = next(iter(about.values()))
    known: Mapping[str, Any] = some.schema["properties"]
    missing = [field for field in some.schema.get("required", ()) if field not in node.keys]
    for key, (line, column) in node.keys.items():
        if key in known:
            continue
        problems.check_time()
        near = nearest(key, missing) or nearest(key, known)
        if near in missing:
            missing.remove(near)
        hint = f"did you mean `{near}`?" if near else f"allowed here: {', '.join(known)}"
        at = pointer((*path, key))
        problems.add(line, column, "unknown-field", f"unknown field `{cut(key)}`", hint=hint, at=at, about=key)
    for field in () if node.partial else missing:
        message = f"missing field `{field}` in {place_name(path)}" if path else f"missing field `{field}`"
        problems.add(node.line, node.column, "missing-field", message, at=pointer(path), about=field)


def _in_words(node: Node, path: tuple[str | int, ...], mistake: Mistake) -> tuple[str, str]:
    """Return the message and the hint for a bad value."""
    name = place_name(path)
    if mistake.keyword == "type":
        return f"`{name}` must be {_TYPES[mistake.allowed]}, found {found_in_words(node)}", _type_hint(node, mistake)
    if mistake.keyword == "minLength":
        return f"`{name}` must not be empty", ""
    text: str = mistake.value
    if mistake.keyword in ("const", "enum"):
        allowed = mistake.allowed if mistake.keyword == "enum" else [mistake.allowed]
        near = nearest(text, allowed)
        one_of = "one of " if len(allowed) > 1 else ""
        return f"{name}: {quoted(text)} is not {one_of}{', '.join(allowed)}", f"did you mean `{near}`?" if near else ""
    if mistake.keyword == "maxLength":
        return f"{name}: {quoted(text)} has {len(text):,} characters, at most {mistake.allowed} are allowed", ""
    if mistake.keyword == "format":
        form = "must be a date and time with a time zone, such as 2026-12-01T00:00:00Z"
        if re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9:.]+(?:[Zz]|[-+][0-9:]+)\Z", text):
            form = "is no date and time of the calendar, which look like 2026-12-01T00:00:00Z"
        return f"{name}: {quoted(text)} {form}", _mended(text, mistake.schema)
    return f"{name}: {quoted(text)} {mistake.schema['patternErrorMessage']}", _mended(text, mistake.schema)


def _type_hint(node: Node, mistake: Mistake) -> str:
    if "enum" in mistake.schema:
        return f"allowed: {', '.join(mistake.schema['enum'])}"
    if mistake.allowed == "string" and node.raw and schema.would_fit(mistake.schema, node.raw):
        return f'quote it: "{cut(node.raw)}"'
    return ""


def _mended(text: str, target: Mapping[str, Any]) -> str:
    """Guess what a malformed value was meant to be: a name in capitals, an unusual UUID, a date without its time."""
    digits = re.sub(r"[-{}]", "", text.lower().removeprefix("urn:uuid:"))
    date = text.replace(" ", "T", 1)
    guesses = (
        re.sub(r"[^-.0-9a-z]+", "-", text.lower()).strip("-"),
        "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])),
        date,
        f"{date}Z",
        f"{date}T00:00:00Z",
    )
    for guess in guesses:
        if len(guess) <= SHOWN_CHARACTERS and schema.would_fit(target, guess):
            return f"did you mean `{guess}`?"
    return ""
