"""How the simulated world looks in Bird's words: its JSON objects, its queries, its pages.

Values in, values out: no request and no socket in this room. No answer may hold anything that Bird's pages do not show,
and a query that Bird would refuse must not be read as if it were another one.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2s
from itertools import islice
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

from reconciler.model import parse_uuid
from reconciler.providers.bird.sandbox.world import Call, Recording

#: Part of every media link, so that a test can search logs and reports for a link that got away.
LINK_CANARY: Final = "sandbox-presigned-link"
#: A page when no `limit` is sent. Small, as at Bird, so that a client that does not page misses items at once.
DEFAULT_LIMIT: Final = 10
CALLS_LIMIT: Final = 1000
RECORDINGS_LIMIT: Final = 99
#: The longest token that Bird documents.
_TOKEN_CHARACTERS: Final = 8000

_DATE_TIME: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:(?P<second>\d{2})(\.\d+)?(Z|[+-]\d{2}:\d{2})", re.ASCII | re.IGNORECASE
)
_Item = TypeVar("_Item", Call, Recording)


class Invalid(ValueError):
    """Something that was sent does not validate; `details` lists messages by the name of what is wrong."""

    def __init__(self, details: Mapping[str, list[str]]) -> None:
        self.details = dict(details)
        super().__init__("; ".join(f"{name} {', '.join(messages)}" for name, messages in details.items()))


def call_json(call: Call, now: datetime) -> dict[str, Any]:
    """Return a call as Bird's call operations show it."""
    answer = {
        "id": call.key.call_id,
        "channelId": call.key.channel_id,
        "from": call.from_number,
        "to": call.to_number,
        "originator": _party(call.from_number),
        "receiver": _party(call.to_number),
        "direction": call.direction,
        "status": call.status,
        "type": "pstn",
        "duration": _seconds(call.created_at, call.ended_at or now),
        "createdAt": _moment(call.created_at),
        "updatedAt": _moment(call.ended_at or call.created_at),
        "answeredAt": _moment(call.created_at),
    }
    if call.ended_at is not None:
        answer |= {"endedAt": _moment(call.ended_at), "hangupSource": "caller"}
    return answer


def call_recording_json(recording: Recording, now: datetime, *, status: str | None = None) -> dict[str, Any]:
    """Return a recording as the operations below a call show it.

    Args:
        status: the word to show in place of its own: a 202 says `accepted`, whatever the recording is.
    """
    answer = {
        "id": recording.key.recording_id,
        "callId": recording.key.call_id,
        "channelId": recording.key.channel_id,
        "status": recording.status if status is None else status,
        "origin": "call-command-record-call",
        "duration": _seconds(recording.created_at, recording.ended_at or now),
        "stereo": True,
        "createdAt": _moment(recording.created_at),
        "updatedAt": _moment(recording.updated_at),
        "startedAt": _moment(recording.created_at),
    }
    if recording.ended_at is not None:
        answer["endedAt"] = _moment(recording.ended_at)
    return answer


def past_recording_json(recording: Recording) -> dict[str, Any]:
    """Return a recording as the workspace's operations show it, once it is over."""
    call = recording.call
    answer = {
        "id": recording.key.recording_id,
        "source": "call",
        "sourceId": recording.key.call_id,
        "channelId": recording.key.channel_id,
        "status": recording.status,
        "direction": call.direction,
        "originator": _party(call.from_number),
        "receiver": _party(call.to_number),
        "origin": "call-command-record",
        "duration": _seconds(recording.created_at, recording.ended_at or recording.updated_at),
        "stereo": True,
        "format": "mp3",
        "transcription": False,
        "createdAt": _moment(recording.created_at),
        "updatedAt": _moment(recording.updated_at),
        "startedAt": _moment(recording.created_at),
        "endedAt": _moment(recording.ended_at or recording.updated_at),
    }
    if recording.status == "available":
        answer["url"] = media_link(recording)
    return answer


def media_link(recording: Recording) -> str:
    """Return a link of the pre-signed kind. It leads nowhere: `.invalid` is reserved for that."""
    key = recording.key
    return (
        f"https://media.sandbox.invalid/{key.workspace_id}/{key.recording_id}.mp3"
        f"?X-Amz-Expires=900&X-Amz-Signature={LINK_CANARY}"
    )


@dataclass(frozen=True, slots=True)
class Query:
    """A checked query string.

    `values` holds the filters that were sent, by name; a filter that may be repeated is read with `many`.
    """

    limit: int
    after: int
    values: Mapping[str, str]
    many: Mapping[str, tuple[str, ...]]
    start_at: datetime | None
    end_at: datetime | None
    binding: bytes

    @classmethod
    def parse(cls, path: str, text: str, *, filters: Mapping[str, Filter], maximum: int) -> Query:
        """Read a list's query string. Names that the operation does not have are ignored (assumed).

        Args:
            path: the path that is asked, which a page token is bound to along with the filters.
            text: the raw query string.
            filters: the operation's own filters by name; `startAt` and `endAt` are read where they are among them.
            maximum: the largest `limit`.

        Raises:
            Invalid: a value is outside what the operation takes, or the page token is not one of this query's.
        """
        wrong: dict[str, list[str]] = {}
        values: dict[str, str] = {}
        many: dict[str, tuple[str, ...]] = {}
        for name, value in parse_qsl(text, keep_blank_values=True):
            check = filters.get(name) or _PAGING.get(name)
            if check is None:
                continue
            if check.repeats:
                many[name] = (*many.get(name, ()), value)
            elif name in values:
                wrong.setdefault(name, []).append("must be given once")
            else:
                values[name] = value
                if (message := check.refuse(value)) is not None:
                    wrong.setdefault(name, []).append(message)
        limit = DEFAULT_LIMIT
        if "limit" in values and "limit" not in wrong:
            limit = int(values["limit"])
            if not 1 <= limit <= maximum:
                wrong["limit"] = [f"must be between 1 and {maximum}"]
        binding = _binding(path, values, many)
        after = 0
        if "pageToken" in values:
            try:
                after = _read_token(values["pageToken"], binding)
            except ValueError:
                wrong.setdefault("pageToken", []).append("is not a token of this list")
        if wrong:
            raise Invalid(wrong)
        start_at, end_at = (_read_moment(values[name]) if name in values else None for name in ("startAt", "endAt"))
        return cls(limit, after, values, many, start_at, end_at, binding)

    def within(self, moment: datetime) -> bool:
        """Whether a moment lies in the period that was asked for."""
        return (self.start_at is None or moment >= self.start_at) and (self.end_at is None or moment <= self.end_at)

    def page(self, items: Iterable[_Item], show: Callable[[_Item], dict[str, Any]]) -> dict[str, Any]:
        """Return one page of what is left of `items`, with a token when there is more.

        The token says after which item to go on, so that items which leave the list meanwhile shift no others.
        """
        found = list(islice(items, self.limit + 1))
        page: dict[str, Any] = {"results": [show(item) for item in found[: self.limit]]}
        if len(found) > self.limit:
            page["nextPageToken"] = _token(found[self.limit - 1].sequence, self.binding)
        return page


@dataclass(frozen=True, slots=True)
class Filter:
    """What one query parameter may be: `refuse` answers what is wrong with a value, or None."""

    refuse: Callable[[str], str | None]
    repeats: bool = False


def anything(_value: str) -> None:
    """Refuse nothing."""


def one_of(*words: str) -> Filter:
    """Accept these words only."""
    return Filter(lambda value: None if value in words else f"must be one of {', '.join(words)}")


def uuid() -> Filter:
    """Accept a UUID in either case."""

    def refuse(value: str) -> str | None:
        try:
            parse_uuid(value)
        except ValueError:
            return "must be a UUID"
        return None

    return Filter(refuse)


def date_time() -> Filter:
    """Accept an RFC 3339 date-time."""

    def refuse(value: str) -> str | None:
        try:
            _read_moment(value)
        except ValueError:
            return "must be a date-time"
        return None

    return Filter(refuse)


def whole_number() -> Filter:
    """Accept a whole number, 0 or more."""
    # Eighteen digits hold any count of seconds; more would only make the conversion slow.
    pattern = re.compile(r"[0-9]{1,18}")
    return Filter(lambda value: None if pattern.fullmatch(value) else "must be a whole number")


def text_of(shortest: int, longest: int) -> Filter:
    """Accept a text of some length."""
    return Filter(
        lambda value: None if shortest <= len(value) <= longest else f"must have {shortest} to {longest} characters"
    )


_PAGING: Final = {"limit": whole_number(), "pageToken": text_of(0, _TOKEN_CHARACTERS)}


def _party(number: str) -> dict[str, Any]:
    return {"number": {"type": "pstn", "number": number, "anonymous": False}}


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"


def _seconds(start: datetime, end: datetime) -> int:
    return max(0, int((end - start).total_seconds()))


def _read_moment(text: str) -> datetime:
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        raise ValueError(text[:64])
    if match["second"] == "60":
        # A leap second is a valid date-time, which Python's own does not know.
        text = f"{text[: match.start('second')]}59{text[match.end('second') :]}"
    return datetime.fromisoformat(text.upper())


def _binding(path: str, values: Mapping[str, str], many: Mapping[str, tuple[str, ...]]) -> bytes:
    filters = sorted((name, value) for name, value in values.items() if name not in _PAGING)
    return blake2s(repr((path, filters, sorted(many.items()))).encode(), digest_size=8).digest()


def _token(sequence: int, binding: bytes) -> str:
    return urlsafe_b64encode(sequence.to_bytes(8, "big") + binding).decode()


def _read_token(text: str, binding: bytes) -> int:
    if not text:
        # An empty token is the first page: a client that sends back the empty one of a last page starts over (assumed).
        return 0
    try:
        raw = b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("not base64") from error
    if len(raw) != 16 or raw[8:] != binding:
        raise ValueError("of another list")
    return int.from_bytes(raw[:8], "big")
