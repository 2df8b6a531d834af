"""A Git host's word that a branch moved: whose it is, and whether it may be taken now. A hint, and never more.

Whatever a delivery says of commits is not looked at: it wakes the source, which asks the repository itself. What must
never happen in this room: a secret is compared in a time that tells how much of it was right; a body is kept.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

#: An HMAC-SHA256 as the hosts write it.
_SIGNATURE: Final = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Hook:
    """What the page needs to take deliveries."""

    #: Answers the secret; its file may change.
    secret: Callable[[], str]
    #: Wakes the source.
    nudge: Callable[[], None]
    #: Told of each delivery: the host's kind, and what became of it.
    told: Callable[[str, str], None]
    #: Of deliveries without the secret. Those with it are all taken: the source looks once for however many there are.
    refused: Limiter
    #: The largest delivery that is read.
    max_bytes: int
    #: How long one may take to arrive.
    seconds: float
    #: How many are read at once.
    at_once: int


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


class Seal:
    """What a delivery's headers say of it, and whether that can only come from somebody who knows the secret.

    GitHub and Gitea sign the body with it (HMAC-SHA256, hexadecimal); GitLab sends the secret itself.
    """

    def __init__(self, given: bytes, secret: bytes, *, covers_body: bool) -> None:
        #: Whether the body has to be fed before it can be judged.
        self.covers_body = covers_body
        self._given = given
        self._secret = secret
        self._signed = hmac.new(secret, digestmod="sha256") if covers_body else None

    @classmethod
    def of(cls, kind: str, headers: Mapping[str, str], secret: str) -> Seal | None:
        """Return the seal of a delivery; None for one whose headers have not the form of any host's.

        Args:
            kind: of `kind_of`.
            headers: by their names in lower case.
            secret: ours.
        """
        if kind == "gitlab":
            return cls(headers["x-gitlab-token"].encode(), secret.encode(), covers_body=False)
        signature = headers.get("x-gitea-signature" if kind == "gitea" else "x-hub-signature-256", "")
        if kind == "github":
            form, _, signature = signature.partition("=")
            if form != "sha256":
                return None
        if _SIGNATURE.fullmatch(signature) is None:
            return None
        return cls(signature.encode(), secret.encode(), covers_body=True)

    def feed(self, part: bytes) -> None:
        """Take the next part of the body; it is not kept."""
        if self._signed is not None:
            self._signed.update(part)

    def holds(self) -> bool:
        """Return whether it is genuine, compared in a time that tells nothing about the secret."""
        wanted = self._secret if self._signed is None else self._signed.hexdigest().encode()
        return hmac.compare_digest(self._given, wanted)


def is_push(headers: Mapping[str, str]) -> bool:
    """Return whether a delivery may say that a branch moved; a host's first word, its ping, does not."""
    return headers.get("x-github-event", headers.get("x-gitea-event", "push")) != "ping"
