"""Structured logs: constant event words with keys beside them. Owns structlog, which only a command that logs imports.

No access key, Authorization header, phone number or pre-signed link may reach a log: callers pass none, a value whose
type is `Secret` shows as asterisks, and a key that names a credential is masked whatever its value.
"""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from typing import Any, Protocol, TextIO, cast

#: Keys whose values never appear, whatever they are.
_MASKED = frozenset({"access_key", "authorization", "key", "password", "phone", "secret", "token", "url"})


class Log(Protocol):
    """What the rooms know of a logger: constant words, values beside them."""

    def debug(self, event: str, /, **values: object) -> object: ...
    def info(self, event: str, /, **values: object) -> object: ...
    def warning(self, event: str, /, **values: object) -> object: ...
    def error(self, event: str, /, **values: object) -> object: ...


def make_log(log_format: str, level: str, *, run_id: str, stream: TextIO | None = None, color: bool = True) -> Log:
    """Return a logger that writes to `stream`, by default standard error.

    Args:
        log_format: `json` for one object a line, `text` for people, `auto` for text on a terminal and JSON elsewhere.
        level: `debug`, `info`, `warning` or `error`: what is below it is dropped.
        run_id: stands on every line.
        stream: where the lines go.
        color: whether text on a terminal may be coloured.
    """
    import structlog  # imported by the commands that log, not by each command that could

    out = sys.stderr if stream is None else stream
    terminal = out.isatty()
    json_lines = log_format == "json" or (log_format == "auto" and not terminal)
    renderer: Any = (
        structlog.processors.JSONRenderer(default=str)
        if json_lines
        else structlog.dev.ConsoleRenderer(colors=color and terminal, sort_keys=False)
    )
    logger = structlog.wrap_logger(
        structlog.WriteLogger(out),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _mask,
            structlog.processors.format_exc_info,
            _in_order,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
        run_id=run_id,
    )
    return cast("Log", logger)


def _mask(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key in event:
        if key in _MASKED:
            event[key] = "****"
    return event


def _in_order(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put what every reader looks for first at the front of the line."""
    head = {key: event.pop(key) for key in ("timestamp", "level", "event") if key in event}
    return {**head, **event}
