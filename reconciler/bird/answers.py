"""What an answer says: JSON within a limit, error bodies, `Retry-After`, and words that are safe to repeat.

Pure functions over bytes and header text. Nothing that the API wrote may reach an error unless it went through `scrub`.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from reconciler.errors import BODY_CHARACTERS
from reconciler.model import UUID_PATTERN

#: The longest wait that an answer can impose, in seconds; as long as the work queue's own longest backoff. One absurd
#: header must not leave a pause unsent for hours.
RETRY_AFTER_LIMIT_SECONDS: Final = 60.0

_JSON_TYPE: Final = re.compile(r"\s*(?:application|text)/(?:[\w.+-]+\+)?json\s*(?:;.*)?", re.IGNORECASE)
_CODE: Final = re.compile(r"[A-Za-z][\w.:-]{0,63}", re.ASCII)
_DELAY: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,3})?")
_LONG_DELAY: Final = re.compile(r"[0-9]{10,64}")
_TIMESTAMP: Final = re.compile(r"@[0-9]{1,11}")
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


def read_json(body: bytes) -> object:
    """Parse a body.

    Raises:
        ValueError: it is not JSON, or nested too deeply to be anything that was asked for.
    """
    try:
        content: object = json.loads(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return content


def is_json_type(content_type: str | None) -> bool:
    """Tell whether a Content-Type may be read as JSON. None (no such header) may: the body then speaks for itself."""
    return content_type is None or _JSON_TYPE.fullmatch(content_type) is not None


def error_words(body: bytes, secret: str) -> tuple[str | None, str]:
    """Return the `code` and a short, scrubbed text of an error body; None and "" where it has another shape.

    Source: https://docs.bird.com/api/api-access/common-api-usage, where both `code` and `message` are required. That
    a body may lack them is assumed.
    """
    try:
        content = read_json(body)
    except ValueError:
        return None, ""
    if not isinstance(content, dict):
        return None, ""
    code, message = content.get("code"), content.get("message")
    code = scrub(code, secret) if isinstance(code, str) else ""
    if not _CODE.fullmatch(code):
        code = ""
    words = [code, scrub(message, secret) if isinstance(message, str) else ""]
    return code or None, ": ".join(word for word in words if word)


def scrub(text: str, secret: str) -> str:
    """Return foreign text without key, link, phone number or control character, cut to `BODY_CHARACTERS`."""
    if secret:
        text = text.replace(secret, "<key>")
    text = "".join(character if character.isprintable() else " " for character in text)
    # Cut last: a cut first could leave half a number, too short to be known for one.
    text = _SENSITIVE.sub(_replacement, text)
    return text if len(text) <= BODY_CHARACTERS else text[: BODY_CHARACTERS - 3] + "..."


def notice_text(value: str, secret: str) -> str:
    """Return the value of a `Deprecation` or `Sunset` header, whose timestamps (RFC 9745) are no phone numbers."""
    return value if _TIMESTAMP.fullmatch(value) else scrub(value, secret)


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """Read a `Retry-After` header, in seconds or as an HTTP date, capped at `RETRY_AFTER_LIMIT_SECONDS`.

    A value that cannot be read is no value. A date in the past is zero.
    """
    if value is None:
        return None
    value = value.strip()
    if _DELAY.fullmatch(value):
        seconds = float(value)
    elif _LONG_DELAY.fullmatch(value):
        seconds = RETRY_AFTER_LIMIT_SECONDS
    else:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, TypeError, OverflowError):
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - now).total_seconds()
    return min(max(seconds, 0.0), RETRY_AFTER_LIMIT_SECONDS)


def _replacement(match: re.Match[str]) -> str:
    kind = match.lastgroup
    return match.group() if kind in ("uuid", "date") else f"<{kind}>"
