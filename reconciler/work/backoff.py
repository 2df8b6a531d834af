"""Growing, jittered delays, and the schedule of looks that confirm a PATCH. Random numbers are passed in."""

from __future__ import annotations

from collections.abc import Callable

#: The first wait after a failure and the longest one, in seconds. Half a second lets a brief fault pass;
#: beyond a minute a late pause is worse than one more request.
FIRST_SECONDS = 0.5
LONGEST_SECONDS = 60.0

#: Looks for a recording that is not found: one that is just being made appears within seconds.
MISSING_FIRST_SECONDS = 1.0
MISSING_LONGEST_SECONDS = 30.0

#: Looks for the effect of a PATCH: soon, because most take effect at once and a pause must be known to hold; then ever
#: slower, because a late one should not cost a request each tenth of a second.
CONFIRM_FIRST_SECONDS = 0.1
CONFIRM_GROWTH = 1.6
CONFIRM_LONGEST_SECONDS = 3.0


def retry_seconds(attempts: int, random: Callable[[], float], *, at_least: float = 0.0) -> float:
    """Return how long to wait after the given number of failures in a row, with full jitter.

    Args:
        attempts: failures so far, at least 1.
        random: gives a float from 0 up to 1.
        at_least: what the API asked for with `Retry-After`, in seconds; the jitter comes on top of it, so that everyone
            who was told the same moment does not come back in the same moment.
    """
    ceiling = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(attempts - 1, 16))
    return at_least + ceiling * (0.1 + 0.9 * random())


def repeat_seconds(attempts: int) -> float:
    """Return how long after its deadline a PATCH that showed no effect is sent again: 1, 2, 4 and at most 60 seconds.

    Args:
        attempts: how often it has shown none so far, at least 1, counted from the first time.
    """
    return min(LONGEST_SECONDS, 2.0 ** min(attempts - 1, 16))


def missing_seconds(elapsed: float) -> float:
    """Return how long to wait for the next look when a recording has not been found for `elapsed` seconds.

    A third of the time that it has been waited for, from 1 to 30 seconds: so one that appears late is found late by no
    more than a third, and no counter has to be kept over a restart.
    """
    return min(MISSING_LONGEST_SECONDS, max(MISSING_FIRST_SECONDS, elapsed / 3.0))


def confirm_seconds_after(elapsed: float) -> float:
    """Return how long to wait for the next look when `elapsed` seconds have passed since the PATCH was accepted.

    The waits grow with the time already waited, so no counter has to be kept over a restart: about 0.1 s, 0.26 s,
    0.5 s, 0.9 s, 1.6 s, 2.8 s after the acceptance, then every three seconds.
    """
    return min(CONFIRM_LONGEST_SECONDS, CONFIRM_FIRST_SECONDS + (CONFIRM_GROWTH - 1.0) * max(0.0, elapsed))
