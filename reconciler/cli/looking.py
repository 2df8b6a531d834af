"""What the commands share that only look into the state: which state it is, which recordings, which moments."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from reconciler.cli.options import state_url
from reconciler.model import ReconcilerError, Record
from reconciler.report import UNBOUNDED
from reconciler.settings import Settings, state_path
from reconciler.state import Store, open_store
from reconciler.telemetry import visible

F = TypeVar("F", bound=Callable[..., Any])

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGO: Final = re.compile(r"([0-9]{1,6})([smhdw])")
_CLOCK: Final = re.compile(r"[0-9]{2}:[0-9]{2}(:[0-9]{2})?")


def format_option(function: F) -> F:
    """Add `--format text|json`."""
    return click.option(
        "--format",
        "output",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="How it is written.",
    )(function)


def open_existing(settings: Settings, *, sandbox: bool) -> tuple[Store, Path]:
    """Open the state to look into it; return it with its file.

    Raises:
        ReconcilerError: there is none, which says nothing about what is recorded and must not look as if it did.
    """
    url = state_url(settings, sandbox=sandbox)
    path = state_path(url)
    if not path.exists():
        raise ReconcilerError(
            f"there is no state at {visible(str(path))}: nothing has been applied from this folder. Name the state of"
            " the daemon with --state (RECONCILER_STATE), or go to its folder"
        )
    return open_store(url), path


def say_note(store: Store) -> None:
    """Say how the state had to be read, where that was not the ordinary way."""
    if store.note:
        click.echo(f"Note: {visible(store.note)}.", err=True)


def columns() -> int:
    """Return how wide the terminal is; without a terminal nothing has to fit."""
    import shutil
    import sys

    if not sys.stdout.isatty():
        return UNBOUNDED
    return max(40, shutil.get_terminal_size().columns)


def select(records: Iterable[Record], words: Sequence[str]) -> tuple[list[Record], list[str]]:
    """Return the records that any of the words is about, and the words that are about none.

    Args:
        records: to select from.
        words: full names, globs over names, recording IDs or call IDs; none for all.
    """
    found = list(records)
    if not words:
        return found, []
    exact = {word.lower(): word for word in words}
    globs = [word for word in words if is_glob(word)]
    met: set[str] = set()
    selected = []
    for record in found:
        hits = {exact[text] for text in (record.name, record.key.recording_id, record.key.call_id) if text in exact}
        hits.update(glob for glob in globs if fnmatchcase(record.name, glob))
        if hits:
            met |= hits
            selected.append(record)
    return selected, [word for word in words if word not in met]


def is_glob(word: str) -> bool:
    """Whether a word stands for many names: no name and no ID holds any of these characters."""
    return any(character in word for character in "*?[")


class Moment(click.ParamType[datetime]):
    """A moment: RFC 3339, a date, a time of today, or how long ago, such as `2h`. Without an offset it is UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:  # noqa: ANN401 - click's
        if isinstance(value, datetime):
            return value
        moment = parse_moment(value, datetime.now(UTC))
        if moment is None:
            self.fail(
                f"{value[:100]!r} is no moment: write 2026-11-26T10:02:00Z, 2026-11-26, 10:02 (today, UTC) or how long"
                " ago, such as 90s, 30m, 2h or 7d",
                param,
                ctx,
            )
        return moment


def parse_moment(text: str, now: datetime) -> datetime | None:
    """Return the moment that a text names, None where it names none.

    Args:
        text: RFC 3339; a date, which is its first moment; a time of the present day; or a number and one of `s`, `m`,
            `h`, `d`, `w`, which is so long ago. Without an offset all of them are UTC.
        now: the present moment, aware and in UTC.
    """
    text = text.strip()
    if ago := _AGO.fullmatch(text):
        try:
            return now - timedelta(seconds=int(ago[1]) * _UNITS[ago[2]])
        except OverflowError:
            return None
    try:
        if _CLOCK.fullmatch(text):
            return datetime.combine(now.date(), time.fromisoformat(text), UTC)
        if len(text) == len("2026-11-26"):
            return datetime.combine(date.fromisoformat(text), time(), UTC)
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
