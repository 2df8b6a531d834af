"""A delivery of a Git host, from its headers to the hint that it gives.

What must never happen here: a body that is kept, or that is read at all before its headers have the form of a host's;
more bodies under way at once than a bound says; a hint of somebody with the secret that is lost.
"""

from __future__ import annotations

import asyncio
import math
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

from reconciler.model import SettingsError
from reconciler.web.hook import Hook, Seal, is_push, kind_of

#: A host sends a delivery in one go: when there is one too many, another that has taken longer than this makes room.
_LONG_SECONDS: Final = 1.0


class Deliveries:
    """Takes deliveries."""

    def __init__(self, hook: Hook) -> None:
        self._hook = hook
        #: When each body that is being read began, the oldest first.
        self._under_way: dict[asyncio.Timeout, float] = {}

    async def take(self, request: Request) -> Response:
        """Answer one delivery."""
        hook = self._hook
        kind = kind_of(request.headers)
        said = request.headers.get("content-length", "0")
        if not said.isdecimal() or int(said) > hook.max_bytes:
            return self._too_large(kind)
        try:
            seal = Seal.of(kind, request.headers, hook.secret())
        except SettingsError:
            hook.told(kind, "the secret's file cannot be read")
            return PlainTextResponse("failed: reason withheld\n", 503)
        if seal is None:
            return self._unauthorized(kind)
        if not seal.covers_body:
            return self._judged(kind, seal, request)
        if len(self._under_way) >= hook.at_once and not self._make_room():
            return self._crowded(kind)
        limit = asyncio.timeout(hook.seconds)
        self._under_way[limit] = asyncio.get_running_loop().time()
        try:
            return await self._read(kind, seal, request, limit)
        finally:
            self._under_way.pop(limit, None)

    def _make_room(self) -> bool:
        """End the oldest if it takes long, so that who sends in one go gets through; return whether it did."""
        now = asyncio.get_running_loop().time()
        oldest, began = next(iter(self._under_way.items()))
        if now - began < _LONG_SECONDS:
            return False
        del self._under_way[oldest]
        oldest.reschedule(now)
        return True

    async def _read(self, kind: str, seal: Seal, request: Request, limit: asyncio.Timeout) -> Response:
        size = 0
        try:
            async with limit:
                async for part in request.stream():
                    size += len(part)
                    if size > self._hook.max_bytes:
                        return self._too_large(kind)
                    seal.feed(part)
        except TimeoutError:
            if limit not in self._under_way:
                return self._crowded(kind)  # it had to make room
            words = f"the delivery took longer than hook_seconds allows ({self._hook.seconds:g})\n"
            return self._turned_away(kind, "slower than hook_seconds allows", PlainTextResponse(words, 408))
        except ClientDisconnect:
            return Response(status_code=400)
        return self._judged(kind, seal, request)

    def _judged(self, kind: str, seal: Seal, request: Request) -> Response:
        if not seal.holds():
            return self._unauthorized(kind)
        if is_push(request.headers):
            self._hook.nudge()
            self._hook.told(kind, "taken")
        return PlainTextResponse("ok\n", 202)

    def _unauthorized(self, kind: str) -> Response:
        return self._turned_away(kind, "wrong signature or token", PlainTextResponse("unauthorized\n", 401))

    def _crowded(self, kind: str) -> Response:
        words = f"more deliveries at once than hook_at_once allows ({self._hook.at_once})\n"
        answer = PlainTextResponse(words, 503, {"Retry-After": "1"})
        return self._turned_away(kind, "more at once than hook_at_once allows", answer)

    def _too_large(self, kind: str) -> Response:
        words = f"the delivery has more than hook_max_bytes allows ({self._hook.max_bytes:,})\n"
        return self._turned_away(kind, "larger than hook_max_bytes allows", PlainTextResponse(words, 413))

    def _turned_away(self, kind: str, why: str, answer: Response) -> Response:
        """Say why a delivery is not taken that nobody with the secret may have sent, unless there are too many."""
        wait_seconds = self._hook.refused.wait_seconds()
        if wait_seconds == 0:
            self._hook.told(kind, why)
            return answer
        if self._hook.refused.first_refusal:
            self._hook.told(kind, "more than hook_limit allows in a minute, without the secret")
        return PlainTextResponse("too many deliveries\n", 429, {"Retry-After": str(math.ceil(wait_seconds))})
