"""Ask the daemon that holds the state, and wait for its answer: what the commands that do so share.

Nothing is written where no daemon lives: a request that nobody takes would be acted upon by the next one, long after
whoever asked has given up.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import click

from reconciler.model import BODY_CHARACTERS, ReconcilerError, Request, StoreError
from reconciler.state import Asker, open_asker
from reconciler.telemetry import scrub, visible

#: What holds the state where there is somebody to ask.
DAEMON: Final = "reconciler run"
#: Seconds for which a request waits to be taken, then for its answer, and between two looks at it.
TAKEN_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.05
#: How much one request may say.
_ABOUT_CHARACTERS: Final = 65_536


class Asked(NamedTuple):
    """What the daemon answered."""

    done: bool
    text: str


class NobodyToAsk(ReconcilerError):
    """No daemon holds the state."""


def check_reason(reason: str) -> str:
    """Return a reason as it is kept: on one line, without what no log may hold.

    Raises:
        click.UsageError: it is empty, or longer than a reason may be.
    """
    kept = " ".join(reason.split())
    if not kept:
        raise click.UsageError("--reason is empty; say why, for whoever reads the history")
    if len(kept) > BODY_CHARACTERS:
        raise click.UsageError(f"--reason has {len(kept)} characters; at most {BODY_CHARACTERS} are kept")
    return scrub(kept)


def ask(state: str, kind: str, about: Mapping[str, Any], reason: str = "") -> Asked:
    """Ask the daemon, and return its answer.

    Args:
        state: the URL of the state that it holds.
        kind: what is asked.
        about: what the request is about.
        reason: why, for the history.

    Raises:
        NobodyToAsk: no daemon holds the state.
        ReconcilerError: it did not take the request in time, or ended before it answered.
        click.UsageError: the request says too much.
    """
    text = json.dumps(about)
    if len(text) > _ABOUT_CHARACTERS:
        raise click.UsageError("these are too many names for one request; without a name it is about all of them")
    asker = open_asker(state)
    who = check_daemon(asker)
    number = asker.ask(kind, text, reason)
    try:
        request = _wait(asker, number, TAKEN_SECONDS)
    except BaseException:  # Ctrl-C too: what nobody waits for any more is not to be done
        asker.withdraw(number)
        raise
    if request is None:
        if asker.withdraw(number):
            raise ReconcilerError(
                f"{who}, which holds {asker.place}, did not take the request within {TAKEN_SECONDS:g} s; nothing was"
                " done"
            )
        request = _wait(asker, number, ANSWER_SECONDS, answered=True)
    elif request.outcome is None:
        request = _wait(asker, number, ANSWER_SECONDS, answered=True)
    if request is None:
        raise ReconcilerError(
            f"{who} took the request and has not answered within {ANSWER_SECONDS:g} s; `reconciler history` says what"
            " became of it"
        )
    return Asked(request.outcome == "done", _text(request.answer))


def _wait(asker: Asker, number: int, seconds: float, *, answered: bool = False) -> Request | None:
    """Wait until a request has been taken, or answered; None where it is not in time."""
    until = time.monotonic() + seconds
    while True:
        request = asker.look(number)
        if request is None:
            raise StoreError(f"{asker.place}: the request is gone from the state")
        if request.outcome is not None or (request.taken_at is not None and not answered):
            return request
        if time.monotonic() >= until:
            return None
        time.sleep(_LOOK_SECONDS)  # a look in between: no event crosses from the daemon's process


def check_daemon(asker: Asker) -> str:
    """Return who is to be asked, in words.

    Raises:
        NobodyToAsk: no daemon holds the state.
    """
    holder = asker.holder()
    if holder is None:
        raise NobodyToAsk(f"no daemon holds {asker.place}, so there is nobody to ask; `reconciler run` starts one")
    if holder.holder != DAEMON:
        raise NobodyToAsk(f"{visible(str(holder))} holds {asker.place}, and takes no requests; wait for it to end")
    return visible(str(holder))


def _text(answer: str | None) -> str:
    try:
        return visible(str(json.loads(answer or "{}")["text"]))
    except (ValueError, KeyError, TypeError):
        return "it was taken back"
