"""The exit codes, and which failure has which.

The comment on each is its row of `docs/reference/exit-codes.md`.
"""

from __future__ import annotations

from typing import Final

from reconciler.model import CredentialRefused, LeaseLost, ReconcilerError, StalePlan, StateHeld, UnsafePlan

#: Done, or nothing to do.
DONE: Final = 0
#: An error: invalid documents or settings, the API or the state out of reach, anything unforeseen.
ERROR: Final = 1
#: Changes present (`plan --detailed-exitcode` only).
CHANGES_PRESENT: Final = 2
#: Some recordings failed, were rejected, stayed unconfirmed, were not found or ended too soon.
SOME_FAILED: Final = 3
#: Refused by a safety limit.
LIMIT_REFUSED: Final = 4
#: The saved plan is stale.
STALE_PLAN: Final = 5
#: Another writer holds the state.
STATE_HELD: Final = 6
#: The API refused the key.
UNAUTHORIZED: Final = 7
#: Wrong usage.
USAGE: Final = 64
#: Interrupted.
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
