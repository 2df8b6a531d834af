"""The exit codes, and which failure has which."""

from __future__ import annotations

from typing import Final

from reconciler.model import CredentialRefused, LeaseLost, ReconcilerError, StalePlan, StateHeld, UnsafePlan

DONE: Final = 0
ERROR: Final = 1
CHANGES_PRESENT: Final = 2
SOME_FAILED: Final = 3
LIMIT_REFUSED: Final = 4
STALE_PLAN: Final = 5
STATE_HELD: Final = 6
UNAUTHORIZED: Final = 7
USAGE: Final = 64
INTERRUPTED: Final = 130


def exit_code(error: ReconcilerError) -> int:
    """Return the exit code of a failure that ended a command."""
    match error:
        case UnsafePlan():
            return LIMIT_REFUSED
        case StalePlan():
            return STALE_PLAN
        case StateHeld() | LeaseLost():
            return STATE_HELD
        case CredentialRefused():
            return UNAUTHORIZED
        case _:
            return ERROR
