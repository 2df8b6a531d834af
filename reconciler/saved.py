"""Saved plans: read one back, refuse one that was tampered with, and refuse one that no longer fits.

Reads a file that was named; sends nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.errors import ReconcilerError, StalePlan
from reconciler.model import RecordingKey
from reconciler.plan import FORMAT, Plan, digest_line, digest_of, line_of
from reconciler.report import as_data

#: How many differences a refusal names.
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """A plan as it was saved: what the digest covers of each recording, and the paths that it was made from."""

    digest: str
    paths: tuple[str, ...]
    lines: Mapping[RecordingKey, str]

    @property
    def keys(self) -> frozenset[RecordingKey]:
        return frozenset(self.lines)


def as_saved(plan: Plan, paths: Sequence[str]) -> dict[str, Any]:
    """Return a plan as it is saved: its JSON form, the paths that it was made from, and a checksum over all of it."""
    data = {**as_data(plan), "paths": list(paths)}
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
        data = json.loads(Path(file).read_bytes())
    except OSError as error:
        raise ReconcilerError(f"the saved plan {file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ReconcilerError(f"{file} is not a saved plan: it is not JSON, or nested too deep") from error
    try:
        return _from_data(data, file)
    except (KeyError, TypeError, ValueError) as error:
        raise ReconcilerError(f"{file} is not a saved plan, or it is damaged; make it again with plan --out") from error


def _from_data(data: dict[str, Any], file: str) -> SavedPlan:
    if data["format"] != FORMAT:
        raise ReconcilerError(f"{file} has the format {str(data['format'])[:64]!r}; this program reads {FORMAT}")
    lines = {}
    for action in data["actions"]:
        key = RecordingKey.of(action["workspaceId"], action["channelId"], action["callId"], action["recordingId"])
        lines[key] = line_of(
            key,
            action["name"],
            (action["action"], action["reason"]),
            (action["desired"], action["lastApplied"], action["live"]),
        )
    found = digest_of(lines.values())
    if data["digest"] != found or len(lines) != len(data["actions"]):
        raise ReconcilerError(
            f"{file} was changed after it was saved: its actions have the digest {found}, it names"
            f" {str(data['digest'])[:80]}; make it again with plan --out"
        )
    if not data["refreshed"]:
        raise ReconcilerError(
            f"{file} was made without a look at what is live (--no-refresh, or --base without --refresh); make it again"
            " with one"
        )
    paths = data["paths"]
    if not isinstance(paths, list) or not paths or not all(isinstance(path, str) for path in paths):
        raise ReconcilerError(f"{file} does not say which paths it was made from; make it with plan --out")
    if data["checksum"] != _checksum(data):
        raise ReconcilerError(
            f"{file} was changed after it was saved: its checksum does not fit what it says beside its actions;"
            " make it again with plan --out"
        )
    return SavedPlan(found, tuple(paths), lines)


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


def check_fits(saved: SavedPlan, plan: Plan) -> None:
    """Hold a saved plan against what a new one decides for the same recordings.

    Raises:
        StalePlan: they differ; the message names the differences.
    """
    now = {action.key: digest_line(action) for action in plan.actions}
    differences = []
    for key, line in saved.lines.items():
        if now.get(key) != line:
            differences.append(f"{_described(line)}, now {_described(now[key]) if key in now else 'nothing to decide'}")
    if differences:
        shown = "\n".join(f"  {difference}" for difference in differences[:_SHOWN])
        more = f"\n  and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
        raise StalePlan(f"the saved plan no longer fits, so nothing was sent; make it again:\n{shown}{more}")


def _described(line: str) -> str:
    name, action, reason, desired, last_applied, live = json.loads(line)[4:]
    words = [state or "none" for state in (desired, last_applied, live)]
    return f"{name}: {action} ({reason}), desired {words[0]}, last-applied {words[1]}, live {words[2]}"
