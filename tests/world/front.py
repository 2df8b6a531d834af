"""The installed command before the independent API: how it gets there, what may go wrong, and its daemon's pages."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Any

from tests.world.foreign_api import ForeignApi
from tests.world.started import Started


def reach(api: ForeignApi, *more: str) -> tuple[str, ...]:
    """Return the options that point a command at the independent API, as fast as it can."""
    return ("--api-url", api.url, "--rate-limit", "0", *more)


def daemon_options(api: ForeignApi, *more: str) -> tuple[str, ...]:
    """Return a daemon's options under which only an event can make it act within a test."""
    return reach(api, "--log-format", "json", "--resync-seconds", "3600", "--poll-seconds", "3600", *more)


def get(daemon: Started, path: str) -> tuple[int, str]:
    """Read a page of the daemon."""
    address = daemon.wait_for("listening")["address"]
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


FAULTS: dict[str, tuple[dict[str, Any], int]] = {
    # What goes wrong, and how many PATCHes may be seen: two only where the first had no effect.
    "500 to a list": ({"action": "answer", "method": "GET", "status": 500}, 1),
    "an HTML page from a proxy": ({"action": "answer", "method": "GET", "status": 502, "body": "<html>no</html>"}, 1),
    "200 with a body that is no JSON": ({"action": "answer", "method": "GET", "status": 200, "body": "{"}, 1),
    "200 with a list": ({"action": "answer", "method": "GET", "status": 200, "body": "[]"}, 1),
    "a list cut off in the middle": ({"action": "truncate", "method": "GET", "status": 200}, 1),
    "no answer to a list": ({"action": "close", "method": "GET"}, 1),
    "429 with a time": ({"action": "answer", "method": "GET", "status": 429, "headers": {"Retry-After": "1"}}, 1),
    "429 to the PATCH": ({"action": "answer", "method": "PATCH", "status": 429}, 2),
    "503 to the PATCH, without effect": ({"action": "answer", "method": "PATCH", "status": 503}, 2),
    "503 to the PATCH, with effect": ({"action": "effect_then_answer", "method": "PATCH", "status": 503}, 1),
    "the PATCH's answer lost, with effect": ({"action": "effect_then_close", "method": "PATCH"}, 1),
    "the PATCH's answer lost, without effect": ({"action": "close", "method": "PATCH"}, 2),
    "409 to the PATCH, with effect": ({"action": "effect_then_answer", "method": "PATCH", "status": 409}, 1),
    "404 to the PATCH, with effect": ({"action": "effect_then_answer", "method": "PATCH", "status": 404}, 1),
    "200 in place of 202": ({"action": "effect_then_answer", "method": "PATCH", "status": 200, "body": "{}"}, 1),
    "a 202 without a body": ({"action": "effect_then_answer", "method": "PATCH", "status": 202, "body": ""}, 1),
}
