"""What time the API has, as far as its answers say: for `doctor`: a wrong clock ends suspensions at wrong times."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx

from reconciler.providers.bird.guard import refuse_writes
from reconciler.providers.bird.transport import TransportName, checked_url, make_transport


class DatedTransport(httpx.AsyncBaseTransport):
    """Passes requests on, and compares the `Date` of each answer with our own clock."""

    def __init__(self, name: TransportName, api_url: str, now: Callable[[], datetime]) -> None:
        """Wrap the transport of a name for one connection at a time.

        Raises:
            SettingsError: the address, or the environment's proxy, cannot be used.
        """
        self._inner = make_transport(name, checked_url(api_url), 1, refuse_writes)
        self._now = now
        #: How far our clock is ahead of the API's at least, negative when behind, at the answer where that was least
        #: in doubt; None as long as no answer had a date.
        self.ahead: timedelta | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        asked = self._now()
        response = await self._inner.handle_async_request(request)
        answered = self._now()
        try:
            date = parsedate_to_datetime(response.headers.get("date", ""))
        except (TypeError, ValueError):
            return response
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        ahead = _surely_ahead(asked, answered, date)
        if self.ahead is None or abs(ahead) < abs(self.ahead):
            self.ahead = ahead
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


def _surely_ahead(asked: datetime, answered: datetime, date: datetime) -> timedelta:
    """Return the least difference that explains a date, which is cut to a second, somewhere between two moments."""
    if asked > date + timedelta(seconds=1):
        return asked - (date + timedelta(seconds=1))
    return min(answered - date, timedelta())
