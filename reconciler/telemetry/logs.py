"""Structured logs: constant event words with keys beside them. Owns structlog, which only a command that logs imports.

No access key, Authorization header, phone number or pre-signed link may reach a log: callers pass none, a key that
names a credential is masked whatever its value, and the secrets that are known are hidden wherever they stand. What
libraries have to say comes out as one line of ours, without their tracebacks, and what they repeat as a count a minute.
A log that cannot be written never stops the work that it tells of, nor does one that nobody reads when its stream is an
`Outlet`; and no line waits for longer than the step of the event loop that it was written in.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol, TextIO, cast

from reconciler.telemetry.outlet import Outlet
from reconciler.telemetry.scrubbing import hide, scrub, visible_lines

#: Answers the secrets that no line may hold, such as the access keys in use.
Secrets = Callable[[], Iterable[str]]

#: Keys whose values never appear, whatever they are.
_MASKED = frozenset({"access_key", "authorization", "key", "password", "phone", "secret", "token", "url"})
#: One for all lines: `json.dumps` with a default makes a new one each time.
_ENCODER = json.JSONEncoder(default=str)
#: What libraries say again within so many seconds is counted only; of so many different things at once.
_REPEAT_SECONDS: Final = 60.0
_MOST_DIFFERENT: Final = 20


class Log(Protocol):
    """What the rooms know of a logger: constant words, values beside them."""

    def debug(self, event: str, /, **values: object) -> object: ...
    def info(self, event: str, /, **values: object) -> object: ...
    def warning(self, event: str, /, **values: object) -> object: ...
    def error(self, event: str, /, **values: object) -> object: ...


def make_log(
    log_format: str,
    level: str,
    *,
    run_id: str,
    secrets: Secrets,
    stream: TextIO | Outlet | None = None,
    color: bool = True,
) -> Log:
    """Return a logger that writes to `stream`, by default standard error.

    Args:
        log_format: `json` for one object a line, `text` for people, `auto` for text on a terminal and JSON elsewhere.
        level: `debug`, `info`, `warning` or `error`: what is below it is dropped.
        run_id: stands on every line.
        secrets: what may stand on no line; asked at each line, since a key file may change.
        stream: where the lines go.
        color: whether text on a terminal may be coloured.
    """
    import structlog  # imported by the commands that log, not by each command that could

    out = sys.stderr if stream is None else stream
    terminal = out.isatty()
    json_lines = log_format == "json" or (log_format == "auto" and not terminal)
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _in_order,
        structlog.dev.ConsoleRenderer(colors=color and terminal, sort_keys=False),
    ]
    logger = structlog.wrap_logger(
        _Lines(out, secrets),
        processors=[_as_json] if json_lines else processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
        run_id=run_id,
    )
    log = cast("Log", logger)
    if isinstance(out, Outlet):
        out.on_dropped = lambda lines: log.warning("log_dropped", lines=lines)
    return log


class _Lines:
    """Writes lines, and drops those that cannot be written: the disk is full, the terminal is gone.

    Where an event loop runs, the lines of one of its steps leave together at its end, for each write costs as much as
    making three lines; a warning or an error leaves at once, with what came before it.
    """

    def __init__(self, out: TextIO | Outlet, secrets: Secrets) -> None:
        # Here, because only a command that logs shall pay for its import.
        from asyncio import get_running_loop

        self._out = out
        self._secrets = secrets
        self._running_loop = get_running_loop
        #: Taken from and added to by any thread; whoever writes, writes all that waits.
        self._waiting: deque[str] = deque()
        #: The loop that is going to write them at the end of its step.
        self._asked: object = None

    def debug(self, line: str) -> None:
        self._waiting.append(line)
        try:
            loop = self._running_loop()
        except RuntimeError:
            self._write()
            return
        if loop is not self._asked:
            self._asked = loop
            loop.call_soon(self._write)

    info = msg = debug

    def error(self, line: str) -> None:
        self._waiting.append(line)
        self._write()

    warning = error

    def _write(self) -> None:
        self._asked = None
        lines = []
        while self._waiting:
            lines.append(self._waiting.popleft())
        if not lines:
            return
        try:
            self._out.write(hide(visible_lines("\n".join([*lines, ""])), self._secrets()))
            self._out.flush()
        except (OSError, ValueError):  # a closed stream is a ValueError
            pass


def adopt_libraries(log: Log) -> None:
    """Write the warnings and errors of libraries as lines of this log from now on; else each has a form of its own."""
    logging.captureWarnings(capture=True)
    logging.getLogger().handlers[:] = [_Foreign(log)]


class _Foreign(logging.Handler):
    """Takes what was logged by way of the standard library: each thing once, then how often it was said in a minute.

    A stranger who can make a library complain could fill the disk else.
    """

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log
        self._again: Counter[tuple[str, str, str]] = Counter()
        self._others = 0
        self._minute: threading.Timer | None = None

    def emit(self, record: logging.LogRecord) -> None:
        # The first line only, and of an exception only its kind: the rest may quote a request with all that is in it.
        error = record.exc_info[0] if record.exc_info else None
        said = (
            record.name,
            scrub(record.getMessage().partition("\n")[0]),
            "" if error is None else error.__name__,
        )
        if said in self._again:
            self._again[said] += 1
        elif len(self._again) < _MOST_DIFFERENT:
            self._again[said] = 0
            self._say(said)
        else:
            self._others += 1
        if self._minute is None:
            self._minute = threading.Timer(_REPEAT_SECONDS, self._end_minute)
            self._minute.daemon = True
            self._minute.start()

    def _end_minute(self) -> None:
        self.acquire()  # `emit` is called under this lock
        again, others = self._again, self._others
        self._again, self._others, self._minute = Counter(), 0, None
        self.release()
        for said, times in again.items():
            if times:
                self._say(said, again=times)
        if others:
            self._log.warning("library_warning", library="others", detail="too many to name them", again=others)

    def _say(self, said: tuple[str, str, str], **more: object) -> None:
        library, detail, error = said
        self._log.warning("library_warning", library=library, detail=detail, error=error, **more)


def _as_json(_logger: object, method: str, event: MutableMapping[str, Any]) -> str:
    """Render a line in one step: a convergence logs three a recording."""
    line = {"timestamp": f"{datetime.now(UTC).isoformat()[:-6]}Z", "level": method, "event": event.pop("event", "")}
    line |= event
    for key in _MASKED & line.keys():
        line[key] = "****"
    return _ENCODER.encode(line)


def _in_order(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put what every reader looks for first at the front of the line, and mask what names a credential."""
    ordered = {key: event.pop(key) for key in ("timestamp", "level", "event") if key in event}
    for key, value in event.items():
        ordered[key] = "****" if key in _MASKED else value
    return ordered
