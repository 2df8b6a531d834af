"""A list of the API, page by page, within bounds.

What must never happen here: a list that is read without end, whatever it says of itself.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from reconciler.model import Priority, Unanswered
from reconciler.providers.bird.guard import Route
from reconciler.providers.bird.wire import Wire

#: What one list may give in all, whatever it says of itself: objects, bytes of all its pages, and seconds on the wire.
#: A hundred full pages have fewer objects, and a tenth of these bytes.
LIST_ENTRIES: Final = 10_000
LIST_BYTES: Final = 16 * 1024 * 1024
LIST_SECONDS: Final = 60.0


async def read_pages(
    wire: Wire, route: Route, workspace_id: str, target: str, priority: Priority
) -> AsyncGenerator[tuple[list[Mapping[str, Any]], datetime], None]:
    """Yield the objects of each page, and when it was asked for; nothing after a 404 but an empty page.

    A page token that has been used before ends the list: no order or stability of cursors is promised.
    """
    used: set[str] = set()
    token: str | None = None
    entries = size = 0
    seconds = 0.0
    while True:
        following = "" if token is None else f"&pageToken={quote(token, safe='')}"
        answer = await wire.get(route, workspace_id, target + following, priority)
        if answer.status == 404:
            yield [], answer.asked_at
            return
        content = answer.content
        if not isinstance(content, dict) or not isinstance(content.get("results"), list):
            raise unexpected(route, "holds no list of results")
        entries += len(content["results"])
        size += answer.size
        seconds += answer.seconds
        if entries > LIST_ENTRIES or size > LIST_BYTES:
            limit = f"{LIST_ENTRIES:,} entries or {LIST_BYTES:,} bytes"
            raise unexpected(route, f"has more than {limit} on its pages", code="endless_list")
        yield [entry for entry in content["results"] if isinstance(entry, dict)], answer.asked_at
        token = content.get("nextPageToken")
        # Absent, null and empty all mean the last page (the latter two are assumed).
        if not token:
            return
        if not isinstance(token, str):
            raise unexpected(route, "has a page token that is not text")
        if token in used:
            return
        if seconds > LIST_SECONDS:
            raise unexpected(route, f"does not end within {LIST_SECONDS:.0f} s", code="endless_list")
        used.add(token)


def unexpected(route: Route, what: str, *, code: str = "unexpected_body") -> Unanswered:
    """Return the error for an answer that came and cannot be used."""
    return Unanswered(f"GET {route}: the answer {what}", code=code)
