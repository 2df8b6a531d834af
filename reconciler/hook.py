"""A Git host's word that a branch moved: whose it is, and whether it may be taken now. A hint, and never more.

Whatever a delivery says of commits is not looked at: it wakes the source, which asks the repository itself. What must
never happen in this room: a secret is compared in a time that tells how much of it was right; a body is read that is
larger than allowed, or without an end.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hook:
    """What the page needs to take deliveries."""

    #: Answers the secret; its file may change.
    secret: Callable[[], str]
    #: Wakes the source.
    nudge: Callable[[], None]
    #: Told of each delivery: the host's kind, and what became of it.
    told: Callable[[str, str], None]
    #: Of deliveries with the secret, and of those without it.
    taken: Limiter
    refused: Limiter
    max_bytes: int


class Limiter:
    """Lets through so many in a minute, evenly: a bucket that fills again as time passes."""

    def __init__(self, per_minute: int, monotonic: Callable[[], float]) -> None:
        self._per_second = per_minute / 60
        self._most = float(per_minute)
        self._left = self._most
        self._monotonic = monotonic
        self._at = monotonic()
        self._refusals = 0

    @property
    def first_refusal(self) -> bool:
        """Whether the last one that was not let through was the first of its flood, which is worth a line."""
        return self._refusals == 1

    def wait_seconds(self) -> float:
        """Take one, and return 0; or return how many seconds remain until there is one to take."""
        now = self._monotonic()
        self._left = min(self._most, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            self._refusals += 1
            return (1 - self._left) / self._per_second
        if self._left >= self._most / 2:
            self._refusals = 0  # the flood is over
        self._left -= 1
        return 0.0


def kind_of(headers: Mapping[str, str]) -> str:
    """Return which host's form a delivery has: `github`, `gitlab`, `gitea`, or `unknown`.

    Args:
        headers: by their names in lower case.
    """
    # Gitea's and Forgejo's deliveries carry GitHub's headers as well.
    if "x-gitea-signature" in headers:
        return "gitea"
    if "x-hub-signature-256" in headers:
        return "github"
    return "gitlab" if "x-gitlab-token" in headers else "unknown"


def is_genuine(kind: str, headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    """Return whether a delivery comes from somebody who knows the secret.

    GitHub and Gitea sign the body with it (HMAC-SHA256, hexadecimal); GitLab sends the secret itself.

    Args:
        kind: of `kind_of`.
        headers: by their names in lower case.
        body: as it was sent.
        secret: ours.
    """
    if kind == "gitlab":
        return hmac.compare_digest(headers["x-gitlab-token"].encode(), secret.encode())
    signed = hmac.new(secret.encode(), body, "sha256").hexdigest()
    if kind == "github":
        return hmac.compare_digest(headers["x-hub-signature-256"].encode(), f"sha256={signed}".encode())
    if kind == "gitea":
        return hmac.compare_digest(headers["x-gitea-signature"].encode(), signed.encode())
    return False


def is_push(headers: Mapping[str, str]) -> bool:
    """Return whether a delivery may say that a branch moved; a host's first word, its ping, does not."""
    return headers.get("x-github-event", headers.get("x-gitea-event", "push")) != "ping"
