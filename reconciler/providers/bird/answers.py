"""What an answer says: JSON within a limit, error bodies, `Retry-After`, and words that are safe to repeat.

Pure functions over bytes and header text. Nothing that the API wrote may reach an error unless it went through `scrub`.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from reconciler.telemetry import scrub

#: The longest wait that an answer can impose, in seconds; as long as the work queue's own longest backoff. One absurd
#: header must not leave a pause unsent for hours.
RETRY_AFTER_LIMIT_SECONDS: Final = 60.0

_JSON_TYPE: Final = re.compile(r"\s*(?:application|text)/(?:[\w.+-]+\+)?json\s*(?:;.*)?", re.IGNORECASE)
_CODE: Final = re.compile(r"[A-Za-z][\w.:-]{0,63}", re.ASCII)
_DELAY: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,3})?")
_LONG_DELAY: Final = re.compile(r"[0-9]{10,64}")
_TIMESTAMP: Final = re.compile(r"@[0-9]{1,11}")


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
