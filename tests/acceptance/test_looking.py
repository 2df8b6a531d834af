"""`status` and `history` on the installed command: what an on-call person and an auditor ask of a state.

States are made by the store itself, so that times are known; what commands write into it is told elsewhere.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema
import pytest

from reconciler.desired.shipped import read_schema
from reconciler.model.actions import Rule
from reconciler.model.documents import Revision
from reconciler.model.keys import NO_RECORDING
from reconciler.model.records import Event, Judgements, RefusedSet
from reconciler.model.statuses import Phase
from reconciler.report.refusals import refusal_of
from reconciler.state.base import EventQuery
from reconciler.state.opening import open_store, open_writer
from reconciler.state.sqlite import schema, selects
from tests.world.documents import document
from tests.world.ids import numbered
from tests.world.nouns import NOW
from tests.world.shell import COMMAND, Done, Shell, not_root
from tests.world.states import COMMIT, LONG, before, key, record, records


@dataclass(frozen=True, slots=True)
class Made:
    """A state, and the moment of its making, from which all of its times are counted back."""

    path: Path
    now: datetime

    def ago(self, **span: float) -> datetime:
        return before(self.now, **span)


def seen(number: int, name: str, at: datetime, word: str, way: tuple[str, str], **more: Any) -> Event:
    return Event(at, word, key(number), name, from_status=way[0], to_status=way[1])._replace(**more)


def events(now: datetime) -> list[Event]:
    ago = partial(before, now)
    return [
        seen(2, "kept", ago(hours=3), "applied", ("ongoing", "paused"), reason="confirm", revision=COMMIT),
        seen(
            2, "kept", ago(hours=2), "drift_detected", ("paused", "ongoing"), reason="drift", by_kind="somebody"
        )._replace(last_seen="paused", last_seen_at=ago(hours=2, seconds=20)),
        seen(2, "kept", ago(hours=2, seconds=-5), "applied", ("ongoing", "paused"), reason="confirm"),
        seen(77, "gone", ago(days=300), "released", ("paused", "paused"), cause="removed"),
        seen(7, "agent", ago(minutes=7), "drift_detected", ("paused", "ongoing"), cause="foreign_pause"),
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    made = Made(tmp_path_factory.mktemp("made") / "state.db", datetime.now(UTC).replace(microsecond=0))
    with open_writer(f"sqlite:///{made.path}", holder="test") as writer:
        writer.describe(Revision(COMMIT, "Ann Lee <ann@example.org>", "Pause them", made.ago(days=3)))
        for event in sorted(events(made.now), key=lambda event: event.at):
            writer.append(event)
        for each in records(made.now):
            writer.save(each)
    return made


@pytest.fixture
def shell(tmp_path: Path, made: Made) -> Shell:
    shell = Shell(tmp_path)
    shutil.copyfile(made.path, tmp_path / "state.db")
    shell.env["RECONCILER_STATE"] = f"sqlite:///{tmp_path}/state.db"
    return shell


def checked(done: Done, kind: str) -> Any:
    """Return a command's JSON, once the shipped schema takes it."""
    assert done.code == 0, done.err
    document = done.json()
    jsonschema.validate(document, json.loads(read_schema(f"{kind}.schema.json")), jsonschema.Draft202012Validator)
    return document


def names(done: Done) -> list[str]:
    return [each["name"] for each in checked(done, "status")["recordings"]]


def test_status_begins_with_what_needs_somebody_and_leaves_out_old_ordinary_ends(shell: Shell) -> None:
    order = ["agent", "stuck", "too-late", "held", "kept", LONG, "sets/a-1", "just-left"]
    everything = shell("status", "--format", "json")
    assert names(everything) == order
    assert everything.json()["leftOut"] == 1
    assert names(shell("status", "--all", "--format", "json")) == [*order, "left"]
    text = shell("status").out
    assert "1 recording whose call ended by itself over an hour ago: not shown; --all shows all." in text
    assert names(shell("status", "left", "--format", "json")) == ["left"]
    assert names(shell("status", "--phase", "ended", "--format", "json")) == ["too-late", "just-left", "left"]


def test_status_is_asked_by_name_glob_id_phase_live_label_and_file(shell: Shell) -> None:
    for arguments, wanted in (
        (("kept", "stuck"), ["stuck", "kept"]),
        (("s*",), ["stuck", "sets/a-1"]),
        ((numbered(3),), ["stuck"]),
        ((numbered(3).upper(), numbered(1002)), ["stuck", "kept"]),
        (("--phase", "held", "--phase", "drifted"), ["agent", "held"]),
        (("--live", "ongoing"), ["stuck", "held"]),
        (("--label", "team=billing"), ["kept", "sets/a-1"]),
        (("--label", "team=billing", "--label", "shift=late"), ["sets/a-1"]),
        (("--file", "rec/held.yaml"), ["held"]),
        (("--file", "rec/sets"), ["sets/a-1"]),
        (("--file", "/srv/rec/sets/"), ["sets/a-1"]),
        (("--file", "rec/*el*.yaml"), ["held"]),
        (("--label", "team=none"), []),
    ):
        assert names(shell("status", "--format", "json", *arguments)) == wanted, arguments
    for word in ("nobody", numbered(4711), "zz*"):
        done = shell("status", "kept", word)
        assert (done.code, done.out) == (1, "")
        assert word in done.err
        assert "kept" not in done.err


def test_status_says_since_when_and_by_whom(shell: Shell, made: Made) -> None:
    found = {each["name"]: each for each in checked(shell("status", "--format", "json"), "status")["recordings"]}
    assert found["agent"]["by"] == {"kind": "somebody", "text": "somebody else, past this program"}
    assert found["agent"]["since"] == made.ago(minutes=7).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert found[LONG]["by"] == {
        "kind": "commit",
        "text": "commit 0a6a9bfae71c by Ann Lee <ann@example.org>: Pause them",
    }
    assert found["kept"]["by"]["kind"] == "command"
    assert found["kept"]["labels"] == {"team": "billing"}
    assert (found["kept"]["reason"], found["kept"]["policy"]) == ("in_sync", None)
    earliest = minutes_since(made.ago(minutes=7))
    text = shell("status").out
    assert "Ann Lee" in text
    latest = minutes_since(made.ago(minutes=7))
    assert any(f" {age}m " in text for age in range(earliest, latest + 1)), text


def minutes_since(moment: datetime) -> int:
    return (datetime.now(UTC) - moment) // timedelta(minutes=1)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_status_fits_the_terminal_and_one_long_name_widens_no_other_row(shell: Shell, width: int) -> None:
    shell.env["COLUMNS"] = str(width)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shell.terminal("status").out).splitlines()
    assert [line for line in plain if len(line) > width] == [LONG]
    (heading,) = (line for line in plain if line.startswith("NAME"))
    assert "PHASE" in heading
    assert ("BY" in heading) == (width >= 60)
    assert ("WHERE" in heading) == (width >= 200)


def test_what_many_recordings_have_in_common_is_said_once(shell: Shell, made: Made) -> None:
    rule, counted = Rule.IRREVERSIBLE, "would be ended for good"
    refused = RefusedSet("ef8a2da1709f", made.ago(minutes=1), rule, 40, 40, 25, "max_irreversible: 25", ("refused-0",))
    limit = {"phase": Phase.REFUSED, "error": str(refusal_of(refused))}
    away = {"phase": Phase.FAILED, "error": "the API answered 502: bad gateway"}
    alone = {"phase": Phase.FAILED, "error": "the API answered 500: something of its own"}
    with open_writer(shell.env["RECONCILER_STATE"], holder="test") as writer:
        writer.judge(Judgements(refused=[refused]))
        for number in range(40):
            writer.save(record(made.now, 100 + number, f"refused-{number}", **limit))
            writer.save(record(made.now, 200 + number, f"away-{number}", **away))
        writer.save(record(made.now, 300, "alone", **alone))
    shown = shell("status", "--phase", "refused", "--phase", "failed")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.count(counted) == 1, "said by the line of the limit"
    assert shown.out.count(str(away["error"])) == 1
    assert f"\n40 recordings: {away['error']}\n" in shown.out
    assert re.search(rf"\nalone .*\n    {alone['error']}\n", shown.out), "what one has alone stands below it"
    everything = checked(shell("status", "refused-*", "away-*", "--format", "json"), "status")["recordings"]
    assert {each["error"] for each in everything} == {limit["error"], away["error"]}, "programs find it at each"


def test_nothing_is_proven_of_a_time_in_which_the_clock_was_set(shell: Shell, made: Made) -> None:
    asked = ("history", "kept", "--at", f"{made.ago(minutes=30):%Y-%m-%dT%H:%M:%SZ}")
    assert shell(*asked).out.startswith("kept  paused, proven from ")
    step = Event(
        made.ago(minutes=20), "clock_stepped", NO_RECORDING, "", from_status=f"{made.ago(minutes=40).isoformat()}"
    )
    with open_writer(shell.env["RECONCILER_STATE"], holder="test") as writer:
        writer.append(step._replace(to_status=f"{made.ago(minutes=20).isoformat()}", detail="the clock was set"))
    assert shell(*asked).out.startswith("kept  not proven: last seen paused at ")
    assert "clock_stepped" in shell("history").out


@pytest.mark.parametrize("name", ["state.db", "of the night #2 100%.db"])
def test_the_state_is_named_so_that_a_reader_elsewhere_finds_it(shell: Shell, tmp_path: Path, name: str) -> None:
    (tmp_path / "state.db").rename(tmp_path / name)
    relative = f"sqlite:///{quote(name)}"
    said = checked(shell("status", "--format", "json", "--state", relative), "status")["state"]
    assert said == f"sqlite:///{quote(str(tmp_path / name))}"
    assert f"State: {tmp_path / name} (" in shell("status", "--state", relative).out
    assert checked(Shell(tmp_path.parent)("status", "--format", "json", "--state", said), "status")["state"] == said


def test_status_says_whether_a_daemon_is_alive(shell: Shell, tmp_path: Path) -> None:
    url = shell.env["RECONCILER_STATE"]
    assert checked(shell("status", "--format", "json"), "status")["writer"] is None
    assert "No daemon is alive" in shell("status").out
    with open_writer(url, holder="reconciler run"):
        alive = checked(shell("status", "--format", "json"), "status")["writer"]
        assert (alive["alive"], alive["host"], alive["holder"]) == (True, os.uname().nodename, "reconciler run")
        assert "Held by `reconciler run`" in shell("status").out
        copy = tmp_path / "copy.db"
        with closing(sqlite3.connect(tmp_path / "state.db")) as state, closing(sqlite3.connect(copy)) as other:
            state.backup(other)
            # As after a kill: of a process that is no more.
            other.execute("UPDATE lease SET pid = 999999999, pid_started = '1'")
            other.commit()
    killed = shell("status", "--format", "json", "--state", f"sqlite:///{copy}")
    assert checked(killed, "status")["writer"]["alive"] is False
    assert "ended without giving the state back" in shell("status", "--state", f"sqlite:///{copy}").out


def test_history_is_asked_by_name_glob_id_label_and_time(shell: Shell) -> None:
    def told(*arguments: str) -> list[tuple[str, str]]:
        events = checked(shell("history", "--format", "json", *arguments), "history")["events"]
        return [(each["name"], each["event"]) for each in events]

    kept = [("kept", "applied"), ("kept", "drift_detected"), ("kept", "applied")]
    for arguments, wanted in (
        (("kept",), kept),
        (("ke*",), kept),
        ((numbered(2),), kept),
        ((numbered(1002).upper(),), kept),
        (("gone",), [("gone", "released")]),
        (("gone", numbered(2)), [*kept, ("gone", "released")]),
        (("--label", "team=billing"), kept),
        (("--label", "team=billing", "--limit", "1"), kept[:1]),
        (("--since", "150m"), [("agent", "drift_detected"), *kept[:2]]),
        (("--since", "150m", "--until", "1h"), kept[:2]),
        (("kept", "--until", "150m"), kept[2:]),
        (("--until", "100d"), [("gone", "released")]),
        (("--since", "1m"), []),
        (("held",), []),
        (("--limit", "0"), [("agent", "drift_detected"), *kept, ("gone", "released")]),
    ):
        assert told(*arguments) == wanted, arguments
    unknown: list[tuple[str, ...]] = [("nobody",), (numbered(4711),), ("zz*",), ("--label", "team=none")]
    for asked in unknown:
        done = shell("history", *asked)
        assert (done.code, done.out) == (1, ""), asked
        assert "knows no" in done.err
    wrong: list[tuple[str, ...]] = [("--since", "soon"), ("--at", "2h"), ("--intervals",)]
    for asked in (*wrong, ("kept", "--at", "2h", "--since", "3h")):
        assert shell("history", *asked).code == 64, asked
    assert "Nothing has happened in that time." in shell("history", "kept", "--since", "1m").out
    assert "Nothing has happened yet." in shell("history", "held").out


def test_history_says_from_what_to_what_who_and_until_when_it_was_so(shell: Shell) -> None:
    events = checked(shell("history", "kept", "--format", "json"), "history")["events"]
    drift = events[1]
    assert (drift["from"], drift["to"], drift["lastSeen"]) == ("paused", "ongoing", "paused")
    assert drift["by"] == {"kind": "somebody", "text": ""}
    assert [event["seq"] for event in events] == sorted((event["seq"] for event in events), reverse=True)
    assert events[2]["author"] == "Ann Lee <ann@example.org>"
    text = shell("history", "kept").out
    assert "paused -> ongoing" in text
    assert "commit 0a6a9bfae71c by Ann Lee <ann@example.org>: Pause them" in text
    # What an earlier version wrote: seen paused, wanted ongoing; nothing went that way.
    assert "? -> paused  (foreign_pause)" in shell("history", "agent").out


def test_that_a_recording_was_paused_between_two_moments_is_proven_or_not_by_one_command(
    shell: Shell, made: Made
) -> None:
    def instant(moment: datetime) -> str:
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    ago = made.ago
    since, until = instant(ago(hours=2, minutes=30)), instant(ago(hours=1, minutes=30))
    for word in ("kept", "k?pt", numbered(2), numbered(1002)):
        done = shell("history", word, "--intervals", "--since", since, "--until", until)
        marks = [ago(hours=2, seconds=20), ago(hours=2), ago(hours=2), ago(hours=2, seconds=-5)]
        ends = [since, *map(instant, marks), until]
        words = (
            "paused, proven",
            "not proven: paused at its beginning, ongoing at its end",
            "ongoing, seen once",
            "not proven: ongoing at its beginning, paused at its end",
            "paused, proven",
        )
        spans = zip(pairwise(ends), words, strict=True)
        assert done.out.splitlines()[1:] == [f"  {start} to {end}  {said}" for (start, end), said in spans]
    told = checked(shell("history", "kept", "--intervals", "--since", since, "--format", "json"), "history")
    assert [each["status"] for each in told["intervals"]] == ["paused", None, "ongoing", None, "paused", None]
    then = checked(shell("history", "kept", "--at", "150m", "--format", "json"), "history")["at"][0]
    assert (then["status"], then["from"]) == ("paused", instant(ago(hours=3)))
    between = shell("history", "kept", "--at", instant(ago(hours=2, seconds=10)))
    assert between.out == (
        f"kept  not proven: last seen paused at {instant(ago(hours=2, seconds=20))},"
        f" next seen ongoing at {instant(ago(hours=2))}\n"
    )


# A million events


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (EventQuery(limit=100), None),
        (EventQuery(("card-1",), limit=100), "history_by_name"),
        (EventQuery((numbered(1),), limit=100), "history_by_recording"),
        (EventQuery((numbered(1),), limit=100), "history_by_call"),
        (EventQuery(since=NOW - timedelta(days=9), until=NOW - timedelta(days=8), limit=100), "history_by_time"),
    ],
)
def test_no_question_walks_a_history_of_years(made: Made, query: EventQuery, index: str | None) -> None:
    statement, given = selects.events(query, len(schema.MIGRATIONS))
    with closing(sqlite3.connect(made.path)) as state:
        steps = [row[3] for row in state.execute(f"EXPLAIN QUERY PLAN {statement}", given)]
    scans = [step for step in steps if step.startswith("SCAN history") and "INDEX" not in step]
    # The newest of all are read backwards from the end, and no further than asked.
    assert len(scans) <= (index is None), steps
    assert index is None or any(index in step for step in steps), steps


def nobody_can_start_this_python() -> bool:
    """Whether the interpreter lies where only root may look, as that of a version manager in root's home does."""
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    started = subprocess.run([*as_nobody, sys.executable, "-c", ""], env={}, capture_output=True, check=False, cwd="/")
    return started.returncode != 0


@pytest.mark.skipif(os.geteuid() == 0 and nobody_can_start_this_python(), reason="only root can start this interpreter")
@pytest.mark.parametrize("log", [False, True], ids=["whole", "beside a log that holds more"])
def test_a_state_that_may_only_be_read_is_read(made: Made, tmp_path: Path, log: bool) -> None:
    folder = tmp_path / "backup"
    folder.mkdir()
    state = folder / "state.db"
    shutil.copyfile(made.path, state)
    if log:
        # As a machine leaves it that lost its power: the last record is in the log alone.
        with open_writer(f"sqlite:///{state}", holder="test") as writer:
            writer.save(record(made.now, 10, "in-the-log")).result()
            for part in ("state.db", "state.db-wal"):
                shutil.copyfile(folder / part, tmp_path / part)
        for left in folder.iterdir():
            left.unlink()
        for part in ("state.db", "state.db-wal"):
            shutil.move(tmp_path / part, folder / part)
    with not_root(folder) as other:
        for command in (("status",), ("history",), ("plan", "--no-refresh", str(tmp_path / "rec"))):
            (tmp_path / "rec").mkdir(exist_ok=True)
            ended = subprocess.run(
                [*other, COMMAND, *command, "--state", f"sqlite:///{state}"],
                cwd="/",
                env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
                capture_output=True,
                text=True,
                timeout=40,
                check=False,
            )
            assert ended.returncode == 0, ended.stderr
            assert "may only be read" in ended.stderr
            assert "cannot be written" not in ended.stderr
            if command == ("status",):
                assert ("in-the-log" in ended.stdout) == log
    with open_store(f"sqlite:///{state}") as store:
        assert len(list(store.all())) == len(records(made.now)) + log


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE recordings SET labels = 'no JSON'",
        "UPDATE recordings SET labels = '[1]'",
        "UPDATE recordings SET labels = '[]'",
        "UPDATE recordings SET phase_since = 9223372036854775807",
    ],
)
def test_a_record_that_nobody_can_have_written_is_named_as_damage(shell: Shell, made: Made, damage: str) -> None:
    url = f"sqlite:///{shell.folder}/state.db"
    with open_writer(url, holder="reconciler run") as writer:
        writer.save(record(made.now, 1, "one", revision=COMMIT)).result()
    with closing(sqlite3.connect(shell.folder / "state.db")) as connection, connection:
        connection.execute(damage)
    shell.write("desired_state/one.yaml", document())
    once = ("run", "--once", "--listen", "off")
    for command in (("status",), ("status", "--format", "json"), ("plan", "--no-refresh"), once):
        done = shell(*command, "--state", url)
        assert (done.code, "unforeseen" in done.err) == (1, False), done.err
        assert "state.db is damaged: one of its records cannot be read" in done.err
