"""What goes wrong at the simulated API, by script or by rate, and how fast it may be asked.

A rule says which requests it is for, how often, and what happens; each matching request uses up one turn of the first
rule that fits. Only decisions here: the app carries them out. Nothing here may depend on a random source of its own, so
that a run repeats.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from math import ceil
from random import Random
from typing import Any, Final


class Unfit(ValueError):
    """A value that the switchboard was given is not what it should be."""


class Act(StrEnum):
    """What happens to a request."""

    #: Answer `status` with an error body. No effect.
    STATUS = "status"
    #: Wait `delay_ms`, then go on as usual: the effect comes late as well.
    DELAY = "delay"
    #: Take effect, then wait `delay_ms` before answering.
    DELAY_AFTER = "delay_after"
    #: Close the connection without an answer. No effect.
    DROP_BEFORE = "drop_before"
    #: Take effect, then close the connection without an answer.
    DROP_AFTER = "drop_after"
    #: Take effect, then close the connection in the middle of the answer.
    CUT_BODY = "cut_body"
    #: Answer an HTML page with `status` (502 unless given). No effect.
    HTML = "html"
    #: Take effect, then answer something that is called JSON and is not.
    NOT_JSON = "not_json"
    #: Take effect, then answer `bytes` (100 MB unless given) of JSON.
    HUGE_BODY = "huge_body"
    #: Answer 307 to another path of this server, where a client that follows is seen. No effect.
    REDIRECT = "redirect"
    #: Take effect, then answer 200 where 202 was due.
    OK_INSTEAD_OF_ACCEPTED = "200_instead_of_202"


#: Acts that stand in front of the API: the request never reaches it.
WITHOUT_EFFECT: Final = frozenset({Act.STATUS, Act.DROP_BEFORE, Act.HTML, Act.REDIRECT})
#: What a request suffers that the fault rate strikes, each as likely as the others.
_BY_RATE: Final = (Act.STATUS, Act.DROP_BEFORE, Act.DROP_AFTER, Act.CUT_BODY)
_MATCH_IDS: Final = ("workspaceId", "channelId", "callId", "recordingId")
_RULE_FIELDS: Final = frozenset({"match", "times", "action", "status", "retry_after", "delay_ms", "bytes"})
_MATCH_FIELDS: Final = frozenset({"method", "path_regex", *_MATCH_IDS})


@dataclass(frozen=True, slots=True)
class Fault:
    """What to do to one request."""

    act: Act
    status: int = 503
    #: The `Retry-After` header to send with it, empty for none.
    retry_after: str = ""
    #: Milliseconds to wait: before the effect, for `delay_after` behind it.
    delay_ms: float = 0
    #: The size of a huge body.
    bytes: int = 100_000_000


@dataclass(frozen=True, slots=True)
class Rule:
    """A scripted fault, which requests it is for, and how many of them (None: all)."""

    fault: Fault
    times: int | None = None
    method: str | None = None
    path: re.Pattern[str] | None = None
    #: IDs that the request's path must have, by the names of the API.
    ids: tuple[tuple[str, str], ...] = ()

    @classmethod
    def from_json(cls, data: object) -> Rule:
        """Read a rule as `/_sandbox/faults` takes it.

        Raises:
            Unfit: it is not one, with the reason.
        """
        if not isinstance(data, dict):
            raise Unfit("a rule is an object")
        match = data.get("match", {})
        if not isinstance(match, dict):
            raise Unfit("match is an object")
        _refuse_others(data, _RULE_FIELDS, "a rule")
        _refuse_others(match, _MATCH_FIELDS, "match")
        try:
            act = Act(_text(data, "action") or "")
        except ValueError as error:
            raise Unfit(f"action is one of {', '.join(Act)}") from error
        return cls(
            Fault(
                act,
                status=_number(data, "status", 502 if act is Act.HTML else 503, least=200, most=599),
                retry_after=_text(data, "retry_after") or "",
                delay_ms=_number(data, "delay_ms", 0),
                bytes=_number(data, "bytes", 100_000_000),
            ),
            times=None if data.get("times") is None else _number(data, "times", 1, least=1),
            method=_text(match, "method"),
            path=_pattern(match),
            ids=tuple((name, str(match[name]).lower()) for name in _MATCH_IDS if name in match),
        )

    def fits(self, method: str, path: str, ids: Mapping[str, str]) -> bool:
        """Whether the rule is for this request."""
        return (
            (self.method is None or self.method == method)
            and all(ids.get(name, "").lower() == value for name, value in self.ids)
            and (self.path is None or self.path.search(path) is not None)
        )


class Faults:
    """The rules in force, and the random ones."""

    def __init__(self, seed: int) -> None:
        self.rules: list[Rule] = []
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        """Start the sequence of random faults over."""
        # Not for secrets: it has to repeat.
        self._random = Random(seed)  # noqa: S311

    def add(self, rules: Iterable[Rule]) -> None:
        """Append rules; those that are in force already go first."""
        self.rules.extend(rules)

    def clear(self) -> None:
        self.rules.clear()

    def take(self, method: str, path: str, ids: Mapping[str, str], rate: float) -> Fault | None:
        """Answer what happens to this request, using up one turn of the rule that says so.

        Args:
            ids: the IDs in the path, by the names of the API.
            rate: the share of requests, of those that no rule is for, that suffer a random fault.
        """
        for index, rule in enumerate(self.rules):
            if rule.fits(method, path, ids):
                if rule.times is not None:
                    if rule.times == 1:
                        del self.rules[index]
                    else:
                        self.rules[index] = replace(rule, times=rule.times - 1)
                return rule.fault
        if rate and self._random.random() < rate:
            return Fault(self._random.choice(_BY_RATE))
        return None


class Throttle:
    """At most so many requests in any one second, counted per workspace."""

    def __init__(self) -> None:
        self._taken: dict[str, deque[float]] = {}

    def refuse(self, workspace_id: str, limit: int, now: datetime) -> int | None:
        """Count a request, or refuse it.

        Returns:
            None when it may pass, else the whole seconds to wait. Refused requests do not count.
        """
        if limit == 0:
            return None
        taken = self._taken.setdefault(workspace_id, deque())
        moment = now.timestamp()
        while taken and taken[0] <= moment - 1:
            taken.popleft()
        if len(taken) >= limit:
            return max(1, ceil(taken[0] + 1 - moment))
        taken.append(moment)
        return None


def _refuse_others(data: Mapping[str, Any], known: frozenset[str], what: str) -> None:
    for name in data:
        if name not in known:
            raise Unfit(f"{what} has no {str(name)[:64]!r}; it has {', '.join(sorted(known))}")


def _number(data: Mapping[str, Any], name: str, default: int, *, least: int = 0, most: int = 2**40) -> int:
    value = data.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise Unfit(f"{name} is a whole number from {least} to {most}")
    return value


def _text(data: Mapping[str, Any], name: str) -> str | None:
    value = data.get(name)
    if value is not None and not isinstance(value, str | int):
        raise Unfit(f"{name} is a text")
    return None if value is None else str(value)


def _pattern(match: Mapping[str, Any]) -> re.Pattern[str] | None:
    text = _text(match, "path_regex")
    try:
        return None if text is None else re.compile(text)
    except re.error as error:
        raise Unfit(f"path_regex does not compile: {error}") from error
