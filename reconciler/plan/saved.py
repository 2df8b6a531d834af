"""Saved plans: read one back, refuse one that was tampered with, and refuse one that no longer fits.

Reads a file that was named; sends nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from reconciler.model import ActionKind, ReconcilerError, RecordingKey, StalePlan
from reconciler.plan.data import as_data
from reconciler.plan.plan import FORMAT, Plan, digest_line, digest_of, line_of
from reconciler.settings import read_regular
from reconciler.telemetry import visible

#: The format before: its plans named neither their API nor their paths in their digest.
_BEFORE = "reconciler.plan/v1"
#: The largest saved plan that is read, in bytes: one of a million actions has half of this.
_LARGEST_BYTES: Final = 1024 * 1024 * 1024
#: How many differences a refusal names.
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """A plan as it was saved: what the digest covers of each recording, and what it is bound to."""

    digest: str
    #: Scheme, host and path of the API that was looked at, or `sandbox`.
    api: str
    #: Files and folders that it was made from, as they were given.
    paths: tuple[str, ...]
    lines: Mapping[RecordingKey, str]

    @property
    def keys(self) -> frozenset[RecordingKey]:
        return frozenset(self.lines)


def as_saved(plan: Plan) -> dict[str, Any]:
    """Return a plan as it is saved: its JSON form, and a checksum over all of it."""
    data = as_data(plan)
    return {**data, "checksum": _checksum(data)}


def _checksum(data: Mapping[str, Any]) -> str:
    """Return the checksum of all but itself; unlike the digest it covers the time, the files and the counts."""
    covered = {name: value for name, value in data.items() if name != "checksum"}
    text = json.dumps(covered, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def load_saved(file: str) -> SavedPlan:
    """Read a saved plan.

    Raises:
        ReconcilerError: it is no saved plan, of another version, or its content does not have the digest it names.
    """
    try:
        data = json.loads(read_regular(file, _LARGEST_BYTES))
    except OSError as error:
        raise ReconcilerError(f"the saved plan {file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ReconcilerError(f"{file} is not a saved plan: it is not JSON, or nested too deep") from error
    try:
        return _from_data(data, file)
    except (KeyError, TypeError, ValueError) as error:
        raise ReconcilerError(f"{file} is not a saved plan, or it is damaged; make it again with plan --out") from error


def _from_data(data: dict[str, Any], file: str) -> SavedPlan:
    if data["format"] == _BEFORE:
        raise StalePlan(
            f"{file} was saved by an earlier version ({_BEFORE}), which did not say of which API it told, so nothing"
            " was sent; make it again with plan --out"
        )
    if data["format"] != FORMAT:
        raise ReconcilerError(f"{file} has the format {str(data['format'])[:64]!r}; this program reads {FORMAT}")
    lines = {}
    for action in data["actions"]:
        _check_words(action)
        key = RecordingKey.of(action["workspaceId"], action["channelId"], action["callId"], action["recordingId"])
        lines[key] = line_of(
            key,
            action["name"],
            (action["action"], action["reason"]),
            (action["desired"], action["lastApplied"], action["live"]),
        )
    api, paths = data["api"], data["paths"]
    if not isinstance(api, str) or not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise TypeError("the API or the paths are of another type")
    if not api or not paths:
        raise ReconcilerError(f"{file} does not say of which API and paths it tells; make it with plan --out")
    found = digest_of(lines.values(), api=api, paths=paths)
    if data["digest"] != found or len(lines) != len(data["actions"]):
        raise ReconcilerError(
            f"{file} was changed after it was saved: what it says has the digest {found}, it names"
            f" {str(data['digest'])[:80]}; make it again with plan --out"
        )
    if not data["refreshed"]:
        raise ReconcilerError(
            f"{file} was made without a look at what is live (--no-refresh, or --base without --refresh); make it again"
            " with one"
        )
    if data["checksum"] != _checksum(data):
        raise ReconcilerError(
            f"{file} was changed after it was saved: its checksum does not fit what it says beside its actions;"
            " make it again with plan --out"
        )
    return SavedPlan(found, api, tuple(paths), lines)


def _check_words(action: Mapping[str, object]) -> None:
    words = [action[name] for name in ("name", "action", "reason")]
    states = [action[name] for name in ("desired", "lastApplied", "live") if action[name] is not None]
    if not all(isinstance(word, str) for word in (*words, *states)):
        raise TypeError("a word of an action is none")


def check_approved(saved: SavedPlan, digest: str) -> None:
    """Hold a saved plan against the digest that somebody has approved.

    Raises:
        StalePlan: it is another plan.
    """
    if saved.digest != digest:
        raise StalePlan(
            f"the saved plan is not the one that was approved, so nothing was sent: it has the digest {saved.digest},"
            f" approved was {digest}"
        )


def check_place(saved: SavedPlan, api: str) -> None:
    """Hold a saved plan against where it is to be applied.

    Raises:
        StalePlan: it tells of another API, or of files and folders that are not there.
    """
    if saved.api != api:
        raise StalePlan(f"the saved plan tells of {saved.api}, and this is {api}, so nothing was sent")
    lacking = [path for path in saved.paths if not os.path.lexists(path)]
    if lacking:
        raise StalePlan(
            f"the saved plan was made from {', '.join(lacking)}, which is not there from {Path.cwd()}, so nothing was"
            " sent; apply it where it was made"
        )


def check_fits(saved: SavedPlan, plan: Plan) -> None:
    """Hold a saved plan against what a new one decides for the same recordings.

    Raises:
        StalePlan: they differ; the message names the differences.
    """
    now = {action.key: digest_line(action) for action in plan.actions}
    differences = []
    for key, line in saved.lines.items():
        if now.get(key) != line:
            differences.append(f"{_name_of(line)}: {_described(line)}, now {_now(now.get(key))}")
    if differences and all(difference.endswith(", now already so") for difference in differences):
        raise StalePlan("all that the saved plan would do is already so, so nothing was sent")
    if differences:
        shown = "\n".join(f"  {difference}" for difference in differences[:_SHOWN])
        more = f"\n  and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
        raise StalePlan(f"the saved plan no longer fits, so nothing was sent; make it again:\n{shown}{more}")


def _now(line: str | None) -> str:
    if line is None:
        return "nothing to decide"
    action = json.loads(line)[5]
    return "already so" if action == ActionKind.NOOP else _described(line)


def _name_of(line: str) -> str:
    name: str = json.loads(line)[4]
    return visible(name)


def _described(line: str) -> str:
    action, reason, desired, last_applied, live = json.loads(line)[5:]
    words = [state or "none" for state in (desired, last_applied, live)]
    return f"{action} ({reason}), desired {words[0]}, last-applied {words[1]}, live {visible(words[2])}"
