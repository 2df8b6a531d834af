"""Words that are safe to repeat: foreign text and quoted values without keys, links, phone numbers, control characters.

Pure text. What must never happen here: a secret that is cut in half before it is looked for, and so is not found.

A number of seven digits in a row is taken for a phone number, whoever wrote it. Messages of ours write a size or a
limit in groups of three, `{size:,}`, which nobody does with a phone number, and so they stay readable.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from reconciler.model import BODY_CHARACTERS, UUID_PATTERN, Problem

#: A shorter text is no key that anyone was given, and hiding it would only make holes in words.
LEAST_SECRET_CHARACTERS: Final = 8

#: What must not be repeated, and what only looks like it: the first two groups stay, the rest is replaced. A number of
#: seven digits or more, however it is separated, counts as a phone number.
_SENSITIVE: Final = re.compile(
    rf"(?P<uuid>(?<![0-9a-fA-F-]){UUID_PATTERN}(?![0-9a-fA-F-]))"
    r"|(?P<date>(?<![\d+-])\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\d(?:\.\d+)?Z?)?(?![\d-]))"
    r"|(?P<link>\b[a-z][a-z0-9+.-]{0,19}://\S+)"
    r"|(?P<query>[?&][\w.%-]{1,64}=\S*|\b[\w-]{0,40}signature=\S+)"
    r"|(?P<key>\b(?:AccessKey|Bearer|Basic)[\s:]+\S+|\bbk_\w+)"
    r"|(?P<number>[+(]{0,2}\d(?:[\s().\-/]{0,3}\d){6,})",
    re.IGNORECASE,
)


#: The user, and mostly a password, of a URL.
_USER: Final = re.compile(r"(?<=://)[^/@\s]+(?=@)")


def scrub(text: str, secret: str = "") -> str:
    """Return foreign text without key, link, phone number or control character, cut to `BODY_CHARACTERS`."""
    if secret:
        text = text.replace(secret, "<key>")
    text = "".join(character if character.isprintable() else " " for character in text)
    # Cut last: a cut first could leave half a number, too short to be known for one.
    text = _SENSITIVE.sub(_replacement, text)
    return text if len(text) <= BODY_CHARACTERS else text[: BODY_CHARACTERS - 3] + "..."


#: What a runner of GitHub Actions takes for a command, in any line of any program's output.
#: Source: src/Runner.Common/ActionCommand.cs of actions/runner
_COMMAND: Final = re.compile(r"##(?=\[)|^(\s*):(?=:)")

#: The same at the beginning of a line, but for the annotations that our own report for it consists of.
_LINE_COMMAND: Final = re.compile(r"^([^\S\n]*):(?=:(?!(?:error|warning|notice) (?:file|title)=))", re.MULTILINE)

#: Tabs, and the colours, bold and dim that our own texts have on a terminal; none that conceals.
_COLOUR: Final = re.compile(r"(\t|\x1b\[(?:[012]|3[0-7])m)")


def is_visible(text: str) -> bool:
    """Return whether nothing in a text acts on whoever shows it: no control character, no mark, no command."""
    return text.isprintable() and "##[" not in text and "::" not in text[: len(text) - len(text.lstrip()) + 2]


def visible(text: str) -> str:
    """Return text without anything that acts on its reader's screen, such as a mark that turns its direction.

    Nor on the runner of a CI job that shows it: what would be a command there is broken by an escape.
    """
    if is_visible(text):
        return text
    return _COMMAND.sub(lambda match: r"#\x23" if match.group().endswith("#") else rf"{match[1]}\x3a", _escaped(text))


def visible_lines(text: str) -> str:
    """Return text of several lines in which nothing acts on a screen but line breaks, tabs and our own colours.

    Nor on a runner, which takes `##[` for a command anywhere in a line, and `::` where one begins. The first is broken
    in such a way that JSON, which may be among the text, says the same as before.
    """
    text = _LINE_COMMAND.sub(r"\1\\x3a", text.replace("##[", "#\\u0023["))
    return "\n".join(line if line.isprintable() else _visible_line(line) for line in text.split("\n"))


def _visible_line(line: str) -> str:
    # What the line was split at stands at the odd places.
    parts = enumerate(_COLOUR.split(line))
    return "".join(part if at % 2 else _escaped(part) for at, part in parts)


def _escaped(text: str) -> str:
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def scrubbed(problem: Problem) -> Problem:
    """Return a problem whose words may leave the author's terminal: a bad value that they quote may be a phone number.

    File, line, column and rule stay as they are.
    """
    return replace(problem, message=scrub(problem.message), pointer=scrub(problem.pointer), hint=scrub(problem.hint))


def hide(text: str, secrets: Iterable[str]) -> str:
    """Return our own text without these secrets, as they are and as JSON writes them, and without any URL's user part.

    The last wall, not the first: what is hidden here should not have come so far.
    """
    if "://" in text:
        text = _USER.sub("<user>", text)
    for secret in secrets:
        if len(secret) >= LEAST_SECRET_CHARACTERS:
            text = text.replace(secret, "<key>").replace(json.dumps(secret)[1:-1], "<key>")
    return text


def frames(error: BaseException, count: int = 3) -> str:
    """Return where an error nobody foresaw came from, innermost last: files, lines and functions, never a value.

    A traceback quotes lines of source and the error's own words, and those may quote a request with its key.
    """
    found: deque[str] = deque(maxlen=count)
    trace = error.__traceback__
    while trace is not None:  # not by the module traceback, which opens the files to quote from
        code = trace.tb_frame.f_code
        found.append(f"{'/'.join(code.co_filename.split('/')[-2:])}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return " > ".join(found)


def _replacement(match: re.Match[str]) -> str:
    kind = match.lastgroup
    return match.group() if kind in ("uuid", "date") else f"<{kind}>"
