"""What other processes ask of this one, which holds the state: taken, answered, and kept in the history.

A request is a row of the state that anybody may have written who may write the state. It is not trusted: whatever
stands in it, it is refused in words and never stops the daemon, and only so much of it is looked at in a beat. What
must never happen here: a request that is done and stands in no history, or one that its asker has taken back and that
is done.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from reconciler.controller.parts import Run
from reconciler.model import NO_RECORDING, Event, LeaseLost, ReconcilerError, Request, StoreError
from reconciler.state import Requests, Writer
from reconciler.telemetry import Alarm, frames, scrub

#: Seconds between two looks for requests: each is taken well within a second.
LOOK_SECONDS: Final = 0.4
#: So many requests at most are taken in one look; the others wait for the next.
_AT_ONCE: Final = 16
#: Seconds between two times that old requests are taken away.
_FORGET_SECONDS: Final = 60.0
#: How much of what was written by others goes into a log and the history.
_SHOWN_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request that could be done came to."""

    #: For a person, in one sentence.
    text: str
    data: Mapping[str, Any] = field(default_factory=dict)
    #: Whether the history has it already, because it had to be there before anything came of it.
    told: bool = False


class RequestRefused(ReconcilerError):
    """A request that cannot be done; the words say why."""


#: Does what a request asks for, given the request and its `about`.
Handler = Callable[[Request, Mapping[str, Any]], Awaitable[Answer]]


class Desk:
    """Takes requests, has them done, and answers them, one after the other."""

    def __init__(self, requests: Requests, writer: Writer, run: Run) -> None:
        self._requests = requests
        self._writer = writer
        self._clock = run.clock
        self._log = run.log
        self._run_id = run.run_id
        self._handlers: dict[str, Handler] = {}
        self._unreadable = Alarm(run.log, "requests_unreadable", "requests_readable_again", run.clock.monotonic)

    def serve(self, kind: str, handler: Handler) -> None:
        """Have requests of a kind done by a handler, which may raise `RequestRefused`."""
        self._handlers[kind] = handler

    async def work(self) -> None:
        """Take requests until cancelled.

        Raises:
            LeaseLost: another process took the state over, and with it the requests.
        """
        forgotten_at = self._clock.monotonic()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                # In a thread: a file system that hangs must not hold up the loop.
                found = await asyncio.to_thread(self._requests.open_requests, self._clock.now(), _AT_ONCE)
                for request in found:
                    await self._serve(request)
                if self._clock.monotonic() - forgotten_at >= _FORGET_SECONDS:
                    forgotten_at = self._clock.monotonic()
                    await self._writer.forget_requests(self._clock.now())
            except LeaseLost:
                raise
            except StoreError as error:
                self._unreadable.met(error)
            self._unreadable.look()

    def event(self, request: Request, event: str, *, outcome: str, cause: str = "", detail: str = "") -> Event:
        """Return a line of the history about a request: about no recording, but with who asked for it, and why."""
        return Event(
            at=self._clock.now(),
            event=event,
            key=NO_RECORDING,
            name="",
            cause=cause,
            outcome=outcome,
            run_id=self._run_id,
            detail=detail,
            reason=scrub(request.reason),
            by_kind="command",
            by_text=_shown(request.by),
        )

    def asked(self, request: Request) -> dict[str, str]:
        """Return what a log line says of who asks, and why."""
        return {"by": _shown(request.by), "reason": scrub(request.reason)}

    async def _serve(self, request: Request) -> None:
        await self._writer.take(request, self._clock.now())
        taken = await asyncio.to_thread(self._requests.request, request.id)
        if taken is None or taken.taken_at is None:
            return  # Whoever asked was faster and has taken it back.
        outcome, answer = "done", None
        try:
            answer = await self._do(request)
            text, data = answer.text, answer.data
        except LeaseLost:
            raise
        except ReconcilerError as error:
            outcome, text, data = "refused", str(error), {}
        except Exception as error:  # noqa: BLE001 - whatever somebody wrote into a row must not end the daemon
            outcome, text, data = "refused", scrub(f"{type(error).__name__}: {error}"), {}
            self._log.error("request_failed", request=_shown(request.kind), error=text, where=frames(error))
        events = []
        if answer is None or not answer.told:
            event = self.event(request, "asked", outcome=outcome, cause=_shown(request.kind), detail=text)
            events.append(event)
        await self._writer.answer(request, outcome, json.dumps({**data, "text": text}), *events)
        log = self._log.warning if answer is None else self._log.info
        log("request_answered", request=_shown(request.kind), **self.asked(request), outcome=outcome, answer=text)

    async def _do(self, request: Request) -> Answer:
        handler = self._handlers.get(request.kind)
        if handler is None:
            raise RequestRefused(f"this reconciler knows no request {_shown(request.kind)!r}: use one version for both")
        try:
            about = json.loads(request.about)
        except (ValueError, RecursionError):
            about = None
        if not isinstance(about, dict):
            raise RequestRefused("the request is not in the form that this reconciler writes")
        return await handler(request, about)


def _shown(text: str) -> str:
    return scrub(text)[:_SHOWN_CHARACTERS]
