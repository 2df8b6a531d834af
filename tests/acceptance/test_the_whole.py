"""The whole: the installed command, real files, real sockets, against an API that owes nothing to the product.

What a team relies on, as a stranger would try it: a plan that names exactly what needs a change, an apply that sends
exactly that, a daemon that notices, and nothing secret written anywhere (each test's folder and output are searched).
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import random
import re
import signal
import sys
import textwrap
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.world.documents import document
from tests.world.foreign_api import ForeignApi, running
from tests.world.front import FAULTS, daemon_options, get, reach
from tests.world.ids import RECORDING, WORKSPACE, numbered, recording
from tests.world.shell import KEY, Shell
from tests.world.started import eventually

SATISFIES = {"ongoing": {"ongoing"}, "paused": {"paused"}, "completed": {"completed", "available"}}


@dataclass(frozen=True)
class Wanted:
    """A recording of the world: where it is, what it is, what its document will say."""

    name: str
    workspace: str
    channel: str
    call: str
    recording: str
    live: str
    desired: str

    @property
    def needs_change(self) -> bool:
        return self.live not in SATISFIES[self.desired]

    def as_seed(self) -> dict[str, str]:
        ids = {"workspaceId": self.workspace, "channelId": self.channel, "callId": self.call}
        return {**ids, "recordingId": self.recording, "status": self.live}


def make_world(calls: int) -> list[Wanted]:
    """Return two recordings for each call, a third of them in need of a change, within the safety limits."""
    chance = random.Random(calls)

    def new_id() -> str:
        return str(uuid.UUID(int=chance.getrandbits(128), version=4))

    channels = [(workspace, new_id()) for workspace in (new_id(), new_id(), new_id()) for _ in range(2)]
    # From, to; of the changes, the irreversible and the resuming ones stay few.
    changes = [("ongoing", "completed")] * 10 + [("paused", "completed")] * 10 + [("paused", "ongoing")] * 20
    settled = [("ongoing", "ongoing"), ("paused", "paused"), ("completed", "completed"), ("available", "completed")]
    world = []
    for number in range(calls):
        workspace, channel = channels[number % len(channels)]
        call = new_id()
        for position in range(2):
            index = number * 2 + position
            if index % 3 == 0:
                live, desired = changes.pop() if changes and chance.random() < 0.4 else ("ongoing", "paused")
            else:
                live, desired = chance.choice(settled)
            world.append(Wanted(f"r-{index:05}", workspace, channel, call, new_id(), live, desired))
    return world


@dataclass(frozen=True)
class Written:
    """A world in files: the recordings under the names that they have there, and where each stands."""

    recordings: list[Wanted]
    #: Name -> file and line, as reports show them.
    places: dict[str, tuple[str, int]]


def write_world(folder: Path, world: list[Wanted]) -> Written:
    """Write documents of both kinds, alone and many to a file, in folders of any depth, in every accepted dress."""
    chance = random.Random(7)
    shuffled = sorted(world, key=lambda _: chance.random())
    half, quarter = len(world) // 2, len(world) // 4
    singles, streams, sets = shuffled[:quarter], shuffled[quarter:half], shuffled[half:]
    places, recordings = {}, []

    def put(file: str, text: str, *, dress: int = 0) -> None:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        data = text.replace("\n", "\r\n" if dress % 5 == 3 else "\n").encode()
        path.write_bytes((b"\xef\xbb\xbf" if dress % 7 == 3 else b"") + data)

    for number, item in enumerate(singles):
        file = "/".join(("desired_state", *("abcdefgh"[: number % 8]), f"{item.name}.{('yaml', 'yml')[number % 2]}"))
        text = "# a comment before\n" + _single(item, upper=number % 3 == 0)
        put(file, text, dress=number)
        places[item.name] = file, _line_of_status(text, 0)
        recordings.append(item)
    for number in range(0, len(streams), 7):
        file, text = f"desired_state/streams/{number % 3}/s{number}.yaml", "# nothing yet\n---\n"
        for item in streams[number : number + 7]:
            begins = len(text)
            text += _single(item) + "---\n"
            places[item.name] = file, _line_of_status(text, begins)
            recordings.append(item)
        put(file, text)
    by_channel = defaultdict(list)
    for item in sets:
        by_channel[item.workspace, item.channel].append(item)
    for number, items in enumerate(by_channel.values()):
        file, name = f"desired_state/sets/{number}/set.yaml", f"set-{number}"
        text = _set_head(name, items[0])
        for item in items:
            full = f"{name}/{item.name}"
            places[full] = file, text.count("\n") + 1
            text += (
                f"    - {{name: {item.name}, callId: {item.call}, recordingId: {item.recording},"
                f" status: {item.desired}}}\n"
            )
            recordings.append(replace(item, name=full))
        put(file, text)
    put("desired_state/.hidden/bad.yaml", "{")
    put("desired_state/.bad.yaml", "{")
    put("desired_state/notes.txt", "kind: {")
    put("desired_state/empty.yaml", "")
    return Written(recordings, places)


def _line_of_status(text: str, begins: int) -> int:
    return text.count("\n", 0, text.index("  status:", begins)) + 1


def _single(item: Wanted, *, upper: bool = False) -> str:
    def shown(text: str) -> str:
        return text.upper() if upper else text

    return textwrap.dedent(f"""\
        apiVersion: reconciler/v1
        kind: CallRecording
        metadata: {{name: {item.name}, labels: {{team: "no"}}, annotations: {{at: "010"}}}}
        spec:
          workspaceId: {shown(item.workspace)}
          channelId: "{shown(item.channel)}"
          callId: {shown(item.call)}
          recordingId: {shown(item.recording)}
          status: {item.desired}
        """)


def _set_head(name: str, first: Wanted) -> str:
    return textwrap.dedent(f"""\
        kind: CallRecordingSet
        apiVersion: reconciler/v1
        metadata:
          name: {name}
        spec:
          workspaceId: {first.workspace}
          channelId: {first.channel}
          drift: safe
          recordings:
        """)


BEHAVIOURS: dict[str, tuple[str, ...]] = {
    "as in the sheet": (),
    "one token for ever": ("--same-token",),
    "one recording a page, IDs in upper case, no callId in a 202": (
        *("--page-cap", "1", "--last-token", "null"),
        *("--upper-case", "--no-call-id"),
    ),
    "what is completed leaves the list, filters do nothing, a 202 echoes": (
        *("--drop-final", "--ignore-filters", "--accepted-word", ""),
        *("--page-cap", "7", "--last-token", "empty"),
    ),
}


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_a_third_needs_a_change_and_exactly_that_is_planned_sent_and_confirmed(shell: Shell, behaviour: str) -> None:
    check_the_main_job(shell, calls=30 if BEHAVIOURS[behaviour] else 100, options=BEHAVIOURS[behaviour])


def check_the_main_job(shell: Shell, *, calls: int, options: tuple[str, ...]) -> None:
    """Plan, apply and plan again a whole world, and hold every request and every report against what was meant."""
    written = write_world(shell.folder, make_world(calls))
    changing = {item.name: item for item in written.recordings if item.needs_change}
    with running(*options, key=KEY) as api:
        api.seed([item.as_seed() for item in written.recordings])
        planned = shell("plan", *reach(api), "--detailed-exitcode", "--report", "json=plan.json", "--report", "text")
        assert (planned.code, planned.err) == (2, "")
        plan = json.loads((shell.folder / "plan.json").read_text())
        assert {action["name"]: (action["live"], action["desired"]) for action in plan["actions"]} == {
            name: (item.live, item.desired) for name, item in changing.items()
        }
        assert {action["name"]: (action["file"], action["line"]) for action in plan["actions"]} == {
            name: written.places[name] for name in changing
        }
        assert planned.out.splitlines()[-1] == (
            f"Plan: {len(changing)} to patch (0 drift), 0 waiting, 0 held, 0 to report, 0 to release,"
            f" {len(written.recordings) - len(changing)} in sync."
        )
        assert api.patches() == []
        assert not list(shell.folder.rglob("*.db*"))

        applied = shell("apply", *reach(api), "--yes")
        assert applied.code == 0, applied.err
        assert sorted(api.patches()) == sorted((item.recording, item.desired) for item in changing.values())
        statuses = api.statuses()
        assert [item for item in written.recordings if statuses[item.recording] not in SATISFIES[item.desired]] == []

        assert api.violations() == []
        api.forget()
        again = shell("plan", *reach(api), "--detailed-exitcode")
        assert again.code == 0, again.out
        assert api.patches() == []
        assert api.violations() == []
    phases = Counter(item["phase"] for item in shell("status", "--format", "json").json()["recordings"])
    assert phases == {"applied": len(written.recordings)}
    events = shell("history", "--format", "json", "--limit", "100000").json()["events"]
    counts = Counter(event["event"] for event in events)
    assert (counts["patch_sent"], counts["patch_accepted"], counts["applied"]) == (len(changing),) * 3


# One recording and what can become of it.


def one(shell: Shell, api: ForeignApi, *, desired: str = "paused", live: str = "ongoing") -> None:
    """Declare one recording and let the API hold it."""
    shell.write("desired_state/one.yaml", document(desired))
    api.seed([recording(live)])


def record_of(shell: Shell, name: str = "one") -> dict[str, Any]:
    """Return what the state knows of a recording."""
    found: dict[str, Any] = shell("status", name, "--format", "json").json()["recordings"][0]
    return found


def test_passing_faults_are_survived_and_no_patch_is_sent_twice_that_had_an_effect(
    shell: Shell, api: ForeignApi
) -> None:
    calls = {fault: (numbered(number), numbered(100 + number)) for number, fault in enumerate(FAULTS)}
    texts = []
    for number, (fault, (call, item)) in enumerate(calls.items()):
        texts.append(document(name=f"f-{number}", call=call, recording=item))
        api.seed([recording(call=call, recording_id=item)])
        api.fault(**FAULTS[fault][0], path=call)
    shell.write("desired_state/faults.yaml", "---\n".join(texts))
    api.control("POST", "settle", {"ms": 0})
    done = shell("apply", *reach(api), "--yes")
    assert done.code == 0, done.err
    assert set(api.statuses().values()) == {"paused"}
    for fault, (call, item) in calls.items():
        methods = [entry["method"] for entry in api.requests() if call in entry["target"]]
        assert methods.count("PATCH") == FAULTS[fault][1], fault
        assert ("PATCH", "PATCH") not in itertools.pairwise(methods), fault
        assert (item, "paused") in api.patches()


def test_a_patch_that_takes_no_effect_stays_unconfirmed_and_exits_3(shell: Shell, api: ForeignApi) -> None:
    one(shell, api)
    api.control("POST", "settle", {"ms": 3_600_000})
    done = shell("apply", *reach(api), "--yes", "--confirm-seconds", "0.3", "--give-up-seconds", "0")
    assert done.code == 3, done.err
    assert "unconfirmed" in done.out + done.err
    assert api.patches() == [(RECORDING, "paused")]
    assert (record_of(shell)["phase"], record_of(shell)["lastApplied"]) == ("unconfirmed", None)


def test_a_refused_patch_is_rejected_with_the_code_and_not_sent_again(shell: Shell, api: ForeignApi) -> None:
    one(shell, api)
    api.fault("answer", method="PATCH", status=422, times=-1, body='{"code": "NotToday", "message": "no"}')
    for _ in range(2):
        done = shell("apply", *reach(api), "--yes")
        assert (done.code, "NotToday" in done.err) == (3, True), done.err
    assert api.patches() == [(RECORDING, "paused")]
    assert record_of(shell)["phase"] == "rejected"


def test_what_many_recordings_were_refused_for_is_said_once(shell: Shell, api: ForeignApi) -> None:
    names = [f"k-{number}" for number in range(5)]
    for number, name in enumerate(names):
        ids = {"call": numbered(100 + number), "recording": numbered(200 + number)}
        shell.write(f"desired_state/{name}.yaml", document(name=name, **ids))
        api.seed([recording(call=ids["call"], recording_id=ids["recording"])])
    api.fault("answer", method="PATCH", status=422, times=-1, body='{"code": "NotToday", "message": "no"}')
    done = shell("apply", *reach(api), "--yes", "--log-level", "error")
    assert done.code == 3
    *each, together = (line for line in done.err.splitlines() if not line.startswith("{"))
    assert each == [f"{name}: rejected" for name in names]
    assert re.fullmatch(r"5 recordings: rejected: .*NotToday.*", together)


@pytest.mark.parametrize(
    ("command", "status"),
    [(("plan",), 401), (("plan",), 403), (("apply", "--yes"), 401), (("run", "--once", "--listen", "off"), 403)],
)
def test_a_refused_key_exits_7_without_hammering_and_nothing_is_sent(
    shell: Shell, api: ForeignApi, command: tuple[str, ...], status: int
) -> None:
    texts = [document(name=f"k-{number}", call=numbered(number), recording=numbered(number)) for number in range(40)]
    shell.write("desired_state/many.yaml", "---\n".join(texts))
    api.fault("answer", status=status, times=-1)
    done = shell(*command, *reach(api))
    assert done.code == 7, done.out + done.err
    assert api.patches() == []
    assert len(api.requests()) <= 32  # no more than were in flight at once


def test_a_refused_patch_key_exits_7(shell: Shell, api: ForeignApi) -> None:
    one(shell, api)
    api.fault("answer", method="PATCH", status=403, times=-1)
    assert shell("apply", *reach(api), "--yes").code == 7
    assert len(api.patches()) == 1


def test_a_redirect_is_not_followed_and_takes_the_key_nowhere(shell: Shell, api: ForeignApi) -> None:
    one(shell, api)
    with running(key=KEY) as elsewhere:
        elsewhere.seed([recording("ongoing")])
        api.fault("answer", status=307, times=-1, headers={"Location": elsewhere.url + "/workspaces"})
        assert shell("apply", *reach(api), "--yes", "--give-up-seconds", "0").code in (1, 3)
        assert elsewhere.requests() == []


def test_a_server_that_is_not_there_is_given_up_on_with_a_reason(shell: Shell) -> None:
    shell.write("desired_state/one.yaml", document())
    options = ("--api-url", "http://127.0.0.1:1", "--give-up-seconds", "0")
    done = shell("plan", *options)
    assert done.code == 1
    assert "could not be read" in done.err
    assert shell("apply", *options, "--yes").code == 3


LIVES = {
    # Live word, desired: what is planned.
    ("accepted", "paused"): ("wait", "not_controllable"),
    ("dozing", "paused"): ("wait", "not_controllable"),
    ("absent", "completed"): ("report", "ended_before_effect"),
    ("failed", "paused"): ("report", "ended_before_effect"),
    ("completed", "ongoing"): ("report", "ended_before_effect"),
    ("available", "paused"): ("report", "ended_before_effect"),
    ("completed", "completed"): ("noop", "in_sync"),
    ("available", "completed"): ("noop", "in_sync"),
    ("paused", "completed"): ("patch", "edit"),
}


def test_each_live_word_leads_to_its_action(shell: Shell, api: ForeignApi) -> None:
    names, texts = {}, []
    for number, (live, desired) in enumerate(LIVES):
        item = numbered(10 + number)
        names[f"l-{number}"] = live, desired
        texts.append(document(desired, name=f"l-{number}", recording=item))
        api.seed([recording(live, recording_id=item)])
    shell.write("desired_state/lives.yaml", "---\n".join(texts))
    plan = shell("plan", *reach(api), "--report", "json", "--all").json()
    assert {names[item["name"]]: (item["action"], item["reason"]) for item in plan["actions"]} == LIVES
    assert [item["live"] for item in plan["actions"]] == [live for live, _ in LIVES]


def test_what_can_no_longer_change_is_reported_and_never_sent(shell: Shell, api: ForeignApi) -> None:
    one(shell, api, live="failed")
    done = shell("apply", *reach(api), "--yes")
    assert done.code == 3, "nobody ever saw it paused"
    assert "one: ended before it took effect" in done.err
    assert api.patches() == []
    assert record_of(shell)["phase"] == "ended"


@pytest.mark.parametrize("options", [(), ("--ended", "empty"), ("--forget-calls", "--ignore-filters")])
def test_a_call_that_ended_is_reported_by_what_the_workspace_keeps_of_it(
    shell: Shell, options: tuple[str, ...]
) -> None:
    for number, status in enumerate(("paused", "completed"), start=1):
        text = document(status, name=status, call=numbered(number), recording=numbered(number + 10))
        shell.write(f"desired_state/{status}.yaml", text)
    with running(*options, key=KEY) as api:
        api.seed([recording(call=numbered(number), recording_id=numbered(number + 10)) for number in (1, 2)])
        for number in (1, 2):
            api.end_call(numbered(number))
        plan = shell("plan", *reach(api), "--report", "json", "--all").json()
        assert {action["name"]: (action["action"], action["reason"], action["live"]) for action in plan["actions"]} == {
            "paused": ("report", "ended_before_effect", "available"),
            "completed": ("noop", "in_sync", "available"),
        }
        assert api.violations() == []


def test_a_recording_that_bird_does_not_know_is_reported_and_nothing_is_sent(shell: Shell, api: ForeignApi) -> None:
    shell.write("desired_state/one.yaml", document())
    done = shell("apply", *reach(api), "--yes", "--confirm-seconds", "1")
    assert done.code == 3, done.err
    assert "one: not found" in done.err
    assert "gone" in done.out
    assert api.patches() == []
    assert api.violations() == []


def test_a_foreign_pause_is_left_alone_unless_the_document_says_heal(shell: Shell, api: ForeignApi) -> None:
    one(shell, api, desired="ongoing")
    assert shell("apply", *reach(api), "--yes").code == 0
    api.set_status(**{RECORDING: "paused"})
    for drift, said in (("report", " drift "), ("safe", " paused by somebody else ")):
        shell.write("desired_state/one.yaml", document("ongoing") + f"  drift: {drift}\n")
        done = shell("apply", *reach(api), "--yes")
        assert (done.code, api.patches()) == (0, []), done.err
        assert said in done.out
        assert "Plan: 0 to patch (1 drift), 0 waiting, 0 held, 1 to report," in done.out
    shell.write("desired_state/one.yaml", document("ongoing") + "  drift: heal\n")
    done = shell("apply", *reach(api), "--yes")
    assert (done.code, "Plan: 1 to patch (1 drift)," in done.out) == (0, True)
    assert api.patches() == [(RECORDING, "ongoing")]


def test_a_suspended_document_is_held_until_its_time(shell: Shell, api: ForeignApi) -> None:
    one(shell, api)
    suspend = "  suspend: {{reason: incident, until: {}}}\n".format
    shell.write("desired_state/one.yaml", document() + suspend("2999-01-01T00:00:00Z"))
    assert shell("apply", *reach(api), "--yes").code == 0
    assert api.patches() == []
    shell.write("desired_state/one.yaml", document() + suspend("2001-01-01T01:00:00+01:00"))
    assert shell("apply", *reach(api), "--yes").code == 0
    assert api.patches() == [(RECORDING, "paused")]


def test_a_document_taken_away_releases_its_recording_and_sends_nothing(shell: Shell, api: ForeignApi) -> None:
    one(shell, api)
    shell.write("desired_state/two.yaml", document(name="two", recording=numbered(2)))
    api.seed([recording("paused", recording_id=numbered(2))])
    assert shell("apply", *reach(api), "--yes").code == 0
    api.forget()
    (shell.folder / "desired_state/one.yaml").unlink()
    done = shell("apply", *reach(api), "--yes")
    assert (done.code, "1 to release, 1 in sync." in done.out) == (0, True)
    assert api.patches() == []
    assert [item["name"] for item in shell("status", "--format", "json").json()["recordings"]] == ["two"]
    assert "released" in shell("history", "one").out


def test_one_file_given_alone_releases_nothing_that_another_file_still_declares(shell: Shell, api: ForeignApi) -> None:
    one(shell, api)
    shell.write("desired_state/two.yaml", document("ongoing", name="two", recording=numbered(2)))
    api.seed([recording("ongoing", recording_id=numbered(2))])
    assert shell("apply", *reach(api), "--yes").code == 0
    api.set_status(**{numbered(2): "paused"})
    for command in (("apply", "--yes"), ("run", "--once", "--listen", "off")):
        assert shell(command[0], *reach(api), *command[1:], "desired_state/one.yaml").code == 0
    api.forget()
    done = shell("apply", *reach(api), "--yes")
    assert (done.code, "1 to report, 0 to release" in done.out) == (0, True), "the pause is known to be an agent's"
    assert api.patches() == []
    shell.folder.joinpath("desired_state/two.yaml").unlink()
    assert "0 to release" in shell("plan", *reach(api), "desired_state/one.yaml").out, "it was given only one file"
    assert "1 to release" in shell("plan", *reach(api)).out


def test_paths_without_a_document_are_refused_unless_emptiness_is_meant(shell: Shell, api: ForeignApi) -> None:
    one(shell, api)
    assert shell("apply", *reach(api), "--yes").code == 0
    api.forget()
    shell.write("desired_state/one.yaml", "# nothing\n")
    for command in (("apply", "--yes"), ("run", "--once", "--listen", "off")):
        refused = shell(*command, *reach(api))
        assert (refused.code, "--allow-empty" in refused.err) == (4, True)
    assert record_of(shell)["phase"] == "applied"
    assert shell("apply", "--yes", *reach(api), "--allow-empty").code == 0
    assert shell("status", "--format", "json").json()["recordings"] == []
    assert api.patches() == []


# Safety limits.


def many(shell: Shell, count: int, status: str, *, first: int = 0) -> list[dict[str, str]]:
    """Declare `count` recordings of one call in a file, and return what the API is seeded with."""
    ids = [numbered(1000 + number) for number in range(first, first + count)]
    text = "---\n".join(document(status, name=f"m-{item[-4:]}", recording=item) for item in ids)
    shell.write(f"desired_state/{status}.yaml", text)
    return [recording(recording_id=item) for item in ids]


def test_26_irreversible_patches_are_refused_and_the_others_are_sent(shell: Shell, api: ForeignApi) -> None:
    api.seed(many(shell, 26, "completed"))
    others = many(shell, 3, "paused", first=100)
    api.seed(others)
    planned = shell("plan", *reach(api), "--detailed-exitcode")
    assert (planned.code, "IRREVERSIBLE" in planned.out) == (2, True)
    refused = shell("apply", *reach(api), "--yes")
    assert refused.code == 4, refused.out + refused.err
    for word in ("26", "25", "max_irreversible", "--override-limits"):
        assert word in refused.out + refused.err
    assert sorted(api.patches()) == sorted((item["recordingId"], "paused") for item in others)
    api.forget()
    assert shell("apply", *reach(api), "--yes", "--override-limits").code == 0
    assert Counter(status for _, status in api.patches()) == {"completed": 26}


def test_25_irreversible_patches_pass(shell: Shell, api: ForeignApi) -> None:
    api.seed(many(shell, 25, "completed"))
    assert shell("apply", *reach(api), "--yes").code == 0
    assert len(api.patches()) == 25


@pytest.mark.parametrize("command", [("apply", "--yes"), ("run", "--once", "--listen", "off")])
def test_a_lost_state_file_cannot_undo_every_agents_pause(
    shell: Shell, api: ForeignApi, command: tuple[str, ...]
) -> None:
    api.seed([item | {"status": "paused"} for item in many(shell, 26, "ongoing")])
    refused = shell(*command, *reach(api))
    assert (refused.code, "max_resumes" in refused.out + refused.err) == (4, True), refused.err
    assert api.patches() == []
    assert shell(*command, *reach(api), "--override-limits").code == 0


@pytest.mark.parametrize(("managed", "changing", "code"), [(20, 10, 0), (20, 11, 4)])
def test_at_most_half_of_what_was_applied_changes_at_once(
    shell: Shell, api: ForeignApi, managed: int, changing: int, code: int
) -> None:
    api.seed([item | {"status": "paused"} for item in many(shell, managed, "paused")])
    assert shell("apply", *reach(api), "--yes").code == 0
    file = shell.folder / "desired_state/paused.yaml"
    file.write_text(file.read_text().replace("status: paused", "status: ongoing", changing))
    for command in (("run", "--once", "--listen", "off"), ("apply", "--yes")) if code else (("apply", "--yes"),):
        done = shell(*command, *reach(api))
        assert done.code == code, done.out + done.err
        assert len(api.patches()) == (changing if code == 0 else 0)
        assert ("max_change_percent" in done.out + done.err) == (code == 4)
    if code:
        assert shell("apply", *reach(api), "--yes", "--override-limits").code == 0
        assert len(api.patches()) == changing


def test_all_that_was_applied_may_pause_at_once_unless_everything_must_be_recorded(
    shell: Shell, api: ForeignApi
) -> None:
    api.seed(many(shell, 20, "ongoing"))
    assert shell("apply", *reach(api), "--yes").code == 0
    file = shell.folder / "desired_state/ongoing.yaml"
    file.write_text(file.read_text().replace("status: ongoing", "status: paused"))
    refused = shell("apply", *reach(api), "--yes", "--max-pause-percent", "90")
    assert (refused.code, api.patches()) == (4, [])
    assert "20 recordings that already have an applied status would pause at once, at most 18 may" in refused.out
    assert shell("apply", *reach(api), "--yes").code == 0
    assert len(api.patches()) == 20


# A saved plan.


def test_a_saved_plan_sends_exactly_what_it_showed(shell: Shell, api: ForeignApi) -> None:
    api.seed(many(shell, 3, "paused"))
    assert shell("plan", *reach(api), "--out", "plan.json").code == 0
    later = many(shell, 2, "completed", first=50)  # declared after the plan was saved: no part of it
    api.seed(later)
    done = shell("apply", "--plan", "plan.json", *reach(api), "--yes")
    assert done.code == 0, done.err
    assert Counter(status for _, status in api.patches()) == {"paused": 3}
    assert len(shell("status", "--format", "json").json()["recordings"]) == 3


def test_a_saved_plan_is_stale_once_anything_it_covers_has_moved(shell: Shell, api: ForeignApi) -> None:
    api.seed(many(shell, 2, "paused"))
    assert shell("plan", *reach(api), "--out", "plan.json").code == 0
    api.set_status(**{numbered(1000): "completed"})
    stale = shell("apply", "--plan", "plan.json", *reach(api), "--yes")
    assert (stale.code, "m-03e8" in stale.err) == (5, True), stale.err
    api.set_status(**{numbered(1000): "ongoing"})
    many(shell, 2, "ongoing")
    (shell.folder / "desired_state/paused.yaml").unlink()
    assert shell("apply", "--plan", "plan.json", *reach(api), "--yes").code == 5
    assert api.patches() == []


def test_a_saved_plan_that_was_applied_is_stale(shell: Shell, api: ForeignApi) -> None:
    api.seed(many(shell, 2, "paused"))
    assert shell("plan", *reach(api), "--out", "plan.json").code == 0
    assert shell("apply", "--plan", "plan.json", *reach(api), "--yes").code == 0
    assert shell("apply", "--plan", "plan.json", *reach(api), "--yes").code == 5
    assert len(api.patches()) == 2


TAMPERED: dict[str, Callable[[str], str]] = {
    "another status": lambda text: text.replace('"desired": "paused"', '"desired": "completed"', 1),
    "another recording": lambda text: text.replace(numbered(1000), numbered(1007), 1),
    "an action taken out": lambda text: json.dumps({**json.loads(text), "actions": json.loads(text)["actions"][1:]}),
    "cut off": lambda text: text[:-40],
    "a list": lambda _: "[]",
}


def test_a_tampered_plan_is_refused_and_nothing_is_sent(shell: Shell, api: ForeignApi) -> None:
    api.seed(many(shell, 2, "paused"))
    assert shell("plan", *reach(api), "--out", "plan.json").code == 0
    text = (shell.folder / "plan.json").read_text()
    for case, change in TAMPERED.items():
        shell.write("tampered.json", change(text))
        refused = shell("apply", "--plan", "tampered.json", *reach(api), "--yes")
        assert (refused.code, refused.err.startswith("Error: tampered.json ")) == (1, True), (case, refused.err)
    assert api.patches() == []


def test_without_a_refresh_a_plan_needs_neither_key_nor_network(shell: Shell, api: ForeignApi) -> None:
    offline = ("plan", "--no-refresh", "--detailed-exitcode", "--api-url", "http://127.0.0.1:1", "--report", "json")
    one(shell, api)
    first = shell(*offline, BIRD_ACCESS_KEY="")
    assert (first.code, first.json()["refreshed"], first.json()["actions"][0]["live"]) == (2, False, None)
    assert shell("apply", *reach(api), "--yes").code == 0
    assert shell(*offline, BIRD_ACCESS_KEY="").code == 0
    shell.write("desired_state/one.yaml", document("ongoing"))
    assert shell(*offline, BIRD_ACCESS_KEY="").json()["actions"][0]["reason"] == "edit"


# The daemon.


def test_the_daemon_notices_edits_mistakes_and_removals_and_ends_when_asked(shell: Shell, api: ForeignApi) -> None:
    one(shell, api)
    shell.write("desired_state/two.yaml", document(name="two", recording=numbered(2)))
    api.seed([recording("paused", recording_id=numbered(2))])
    with shell.start("run", *daemon_options(api), "--listen", "127.0.0.1:0") as daemon:
        daemon.wait_for("applied", name="one")
        daemon.wait_for("resync_done")
        assert (get(daemon, "/healthz")[0], get(daemon, "/readyz")[0]) == (200, 200)
        shell.write("desired_state/one.yaml", document("ongoing"))
        daemon.wait_for("applied", name="one", count=2)
        assert api.patches() == [(RECORDING, "paused"), (RECORDING, "ongoing")]

        shell.write("desired_state/one.yaml", document("paused").replace("kind:", "knd:"))
        assert daemon.wait_for("document_invalid")["file"] == "desired_state/one.yaml"
        shell.write("desired_state/deep/er/new.yml", document("completed", name="new", recording=numbered(3)))
        assert daemon.wait_for("waiting", name="new")["reason"] == "not_found"  # Bird does not know it yet
        assert "one.yaml:2:1" in get(daemon, "/status")[1]
        assert "\nreconciler_invalid_files 1.0\n" in get(daemon, "/metrics")[1]
        shell.write("desired_state/one.yaml", document("paused"))
        daemon.wait_for("document_valid_again")
        daemon.wait_for("applied", name="one", count=3)

        (shell.folder / "desired_state/two.yaml").unlink()
        daemon.wait_for("released", name="two")
        assert len(api.patches()) == 3
        daemon.signal(signal.SIGTERM)
        assert daemon.ended() == 0
        assert len({event["run_id"] for event in daemon.events()}) == 1
    assert api.violations() == []


def test_sighup_looks_at_everything_now(shell: Shell, api: ForeignApi) -> None:
    one(shell, api)
    with shell.start("run", *daemon_options(api), "--listen", "off") as daemon:
        daemon.wait_for("applied")
        daemon.wait_for("resync_done")
        api.set_status(**{RECORDING: "ongoing"})
        daemon.signal(signal.SIGHUP)
        assert daemon.wait_for("drift_detected", name="one")["recording_id"] == RECORDING
        daemon.wait_for("applied", count=2)
        daemon.signal(signal.SIGINT)
        assert daemon.ended() == 0
    assert api.patches() == [(RECORDING, "paused")] * 2


def test_one_workspace_that_refuses_the_key_does_not_hold_up_another(shell: Shell, api: ForeignApi) -> None:
    one(shell, api)
    other = numbered(77)
    shell.write("desired_state/two.yaml", document(name="two", recording=numbered(2)).replace(WORKSPACE, other))
    api.seed([recording(recording_id=numbered(2)) | {"workspaceId": other}])
    api.control("POST", "keys", {other: "another-key"})
    key_file = shell.folder.parent / "key"
    key_file.write_text("wrong-for-now\n")
    shell.write("reconciler.yaml", f"workspaces:\n  {other}:\n    access_key_file: {key_file}\n")
    shell.env["RECONCILER_CONFIG"] = "reconciler.yaml"
    refused = shell("run", "--once", "--listen", "off", *reach(api))
    assert refused.code == 7, refused.err
    assert refused.err.count('"unauthorized"') == 1
    assert api.statuses() == {RECORDING: "paused", numbered(2): "ongoing"}
    key_file.write_text("another-key\n")
    assert shell("apply", *reach(api), "--yes").code == 0
    assert api.statuses() == {RECORDING: "paused", numbered(2): "paused"}


def test_one_edit_opens_no_other_file(shell: Shell, api: ForeignApi) -> None:
    folders = [shell.folder / f"desired_state/{number}" for number in range(4)]
    ids = [numbered(2000 + number) for number in range(200)]
    for number, item in enumerate(ids):
        text = document("ongoing", name=f"e-{number}", recording=item)
        shell.write(f"desired_state/{number % 4}/{number}.yaml", text)
    api.seed([recording(recording_id=item) for item in ids])
    with shell.start("run", *daemon_options(api), "--listen", "off") as daemon:
        daemon.wait_for("resync_done")
        # The first edit may meet the walk with which watching begins.
        pause(folders[0] / "4.yaml")
        daemon.wait_for("applied", name="e-4")
        with opened_below(folders) as opened:
            pause(folders[1] / "5.yaml")
            daemon.wait_for("applied", name="e-5")
            assert opened() == {"5.yaml"}


def pause(file: Path) -> None:
    """Ask for a pause in a file that asks for none."""
    file.write_text(file.read_text().replace("ongoing", "paused"))


@contextmanager
def opened_below(folders: list[Path]) -> Iterator[Callable[[], set[str]]]:
    """Watch which files of some folders are opened, by inotify."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK)
    assert descriptor >= 0
    for folder in folders:
        assert libc.inotify_add_watch(descriptor, os.fsencode(folder), 0x20) >= 0  # IN_OPEN

    def names() -> set[str]:
        data, found = os.read(descriptor, 1 << 20), set()
        while data:
            size = int.from_bytes(data[12:16], sys.byteorder)
            found.add(data[16 : 16 + size].rstrip(b"\0").decode())
            data = data[16 + size :]
        return found - {""}  # the folder itself

    try:
        yield names
    finally:
        os.close(descriptor)


# Kills, signals and second writers.


@pytest.mark.parametrize("seconds", [0.05, 0.2])
def test_a_kill_amid_an_apply_loses_nothing_and_repeats_nothing_that_was_done(
    shell: Shell, api: ForeignApi, seconds: float
) -> None:
    api.seed(many(shell, 60, "paused"))
    api.control("POST", "settle", {"ms": 0})
    api.fault("stall", method="PATCH", path=numbered(1059), seconds=60)
    with shell.start("apply", *reach(api, "--concurrency", "4"), "--yes") as killed:
        eventually(lambda: len(api.patches()) > 60 * seconds * 4)
        killed.process.kill()
        killed.ended()
    api.mend()
    done = shell("apply", *reach(api), "--yes")
    assert done.code == 0, done.err
    counts = Counter(api.patches())
    assert set(counts) == {(numbered(1000 + number), "paused") for number in range(60)}
    assert set(api.statuses().values()) == {"paused"}
    # The stalled one had no effect, so it alone may have been sent again.
    assert {item for item, count in counts.items() if count > 1} <= {(numbered(1059), "paused")}


def test_a_second_writer_exits_6_and_names_the_holder_while_readers_go_on(shell: Shell, api: ForeignApi) -> None:
    one(shell, api)
    with shell.start("run", *daemon_options(api), "--listen", "off") as daemon:
        daemon.wait_for("applied")
        for command in (("apply", "--yes"), ("run", "--listen", "off"), ("run", "--once", "--listen", "off")):
            refused = shell(*command, *reach(api))
            assert refused.code == 6
            assert "reconciler run" in refused.err
            assert str(daemon.process.pid) in refused.err
        assert shell("plan", *reach(api)).code == 0
        assert record_of(shell)["phase"] == "applied"
        assert shell("history").code == 0
        daemon.signal(signal.SIGTERM)
        assert daemon.ended() == 0
    assert shell("apply", *reach(api), "--yes").code == 0  # a writer that ended well leaves no lease to wait for


def test_ctrl_c_exits_130(shell: Shell, api: ForeignApi) -> None:
    one(shell, api)
    api.fault("stall", times=-1, seconds=600)
    commands = (("plan",), ("apply", "--yes"), ("run", "--once", "--listen", "off"))
    for number, command in enumerate(commands):
        with shell.start(*command, *reach(api, "--state", f"sqlite:///{number}.db")) as started:
            eventually(lambda: bool(api.requests()))
            started.signal(signal.SIGINT)
            assert started.ended() == 130, command
            api.forget()


def test_a_terminal_is_asked_and_no_means_nothing(shell: Shell, api: ForeignApi) -> None:
    one(shell, api)
    asked = shell.terminal("apply", *reach(api), typed="n\n")
    assert (asked.code, "Nothing was sent." in asked.out) == (0, True)
    assert api.patches() == []
    agreed = shell.terminal("apply", *reach(api), typed="y\n")
    assert agreed.code == 0, agreed.out
    assert api.patches() == [(RECORDING, "paused")]


# Without an API at all.


def test_the_embedded_sandbox_stands_in_for_the_api_and_keeps_its_recordings(shell: Shell) -> None:
    shell.write("desired_state/one.yaml", document())
    no_key = {"BIRD_ACCESS_KEY": ""}
    planned = shell("plan", "--sandbox", "--detailed-exitcode", **no_key)
    assert planned.code == 2, planned.err
    assert shell("apply", "--sandbox", "--yes", **no_key).code == 0
    assert shell("plan", "--sandbox", "--detailed-exitcode", **no_key).code == 0
    shell.write("desired_state/one.yaml", document("ongoing"))
    assert shell("run", "--sandbox", "--once", "--listen", "off", **no_key).code == 0
    # The real API's state is another one, and was not touched.
    assert "there is no state at" in shell("status", **no_key).err
