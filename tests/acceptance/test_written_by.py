"""What earlier versions wrote, opened by this one: nothing is lost, and what is refused is refused in words.

`tests/data/written_by/README.md` says what is in the archives.
"""

from __future__ import annotations

import shutil
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from reconciler.state import EventQuery, open_store, open_writer
from tests.world.places import WRITTEN_BY
from tests.world.shell import Shell

ARCHIVES = sorted(WRITTEN_BY.glob("*.tar.gz"))
STATES = ("state/sandbox-state.db", "git-state/state.db")


@pytest.fixture(params=ARCHIVES, ids=lambda archive: archive.name.partition(".")[0])
def left(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder as that version left it."""
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def rows_of(path: Path, table: str) -> list[dict[str, Any]]:
    """Return what a table holds, past all code of ours."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as state:
        state.row_factory = sqlite3.Row
        key = "1, 2, 3, 4" if table == "recordings" else "1"
        return [dict(row) for row in state.execute(f"SELECT * FROM {table} ORDER BY {key}")]


@pytest.mark.parametrize("name", STATES)
def test_a_state_loses_no_record_and_no_event_row_by_row(left: Path, name: str) -> None:
    path = left / name
    before = {table: rows_of(path, table) for table in ("recordings", "history", "revisions", "source")}
    assert before["recordings"]
    assert before["history"]
    with open_store(f"sqlite:///{path}") as store:
        as_it_is = list(store.all()), list(store.events(EventQuery())), list(store.standings()), store.in_force()
        with open_writer(f"sqlite:///{path}", holder="test"):
            pass
        assert (
            list(store.all()),
            list(store.events(EventQuery())),
            list(store.standings()),
            store.in_force(),
        ) == as_it_is
        assert len(as_it_is[0]) == len(before["recordings"])
        assert [line.seq for line in as_it_is[1]] == sorted((row["id"] for row in before["history"]), reverse=True)
        named = {row["id"] for row in before["revisions"]}
        assert store.revisions(named).keys() == named
    for table, rows in before.items():
        after = rows_of(path, table)
        assert [{column: row[column] for column in old} for old, row in zip(rows, after, strict=True)] == rows, table
    (copy,) = path.parent.glob("*.bak")
    assert {table: rows_of(copy, table) for table in before} == before


def test_the_installed_command_opens_it_and_goes_on_from_there(left: Path) -> None:
    shell = Shell(left)
    shutil.move(left / "state", left / ".reconciler")
    url = "sqlite:///.reconciler/sandbox-state.db"
    names = {row["name"] for row in rows_of(left / ".reconciler/sandbox-state.db", "recordings")}
    events = {row["id"] for row in rows_of(left / ".reconciler/sandbox-state.db", "history")}

    def known() -> set[str]:
        return {
            each["name"] for each in shell("status", "--all", "--state", url, "--format", "json").json()["recordings"]
        }

    def told() -> set[int]:
        history = shell("history", "--limit", "0", "--state", url, "--format", "json").json()
        return {each["seq"] for each in history["events"]}

    assert (known(), told()) == (names, events), "before any writer came"
    planned = shell("plan", "--sandbox", "--no-refresh")
    assert planned.code == 0, planned.err
    saved = shell("apply", "--plan", "plan.json", "--yes", "--sandbox")
    assert (saved.code, "plan/v1" in saved.err) == (5, True), saved.err
    done = shell("run", "--once", "--sandbox", "--listen", "off")
    assert done.code in (0, 3), done.err
    assert known() == names
    assert told() > events
    checked = shell("state", "check", "--state", url)
    assert (checked.code, "layout 3" in checked.out) == (0, True), checked.err


def test_its_settings_are_read_as_they_were_or_refused_by_name(left: Path) -> None:
    shell = Shell(left)
    done = shell("validate", "--config", "settings.yaml", "desired_state")
    assert done.code == 0, done.err
    shown = shell(
        "doctor", "--config", "settings.yaml", "--format", "json", "desired_state", VOICE_KEY="a-key-for-tests"
    )
    values = {each["name"]: each for each in shown.json()["settings"]}
    assert str(values["history_days"]["value"]).startswith("30")
    shutil.move(left / "settings.yaml", left / "reconciler.yaml")
    found = shell("validate", "desired_state")
    assert (found.code, "--config reconciler.yaml" in found.err) == (1, True), found.err


def test_an_index_of_it_is_used_or_passed_over_and_never_believed_wrongly(left: Path) -> None:
    shell = Shell(left / "many")
    (left / "many/declared").joinpath("extra.yaml").write_text("kind: CallRecordng\n")
    first = shell("validate", "declared")
    assert (first.code, "extra.yaml" in first.err + first.out) == (1, True)
    (left / "many/declared/extra.yaml").unlink()
    for _ in range(2):
        again = shell("validate", "declared")
        assert (again.code, "300 recordings" in again.out + again.err) == (0, True), again
        assert shell("plan", "declared", "--no-refresh").code == 0


def test_a_mirror_of_it_is_followed_on_or_fetched_anew(left: Path) -> None:
    shell = Shell(left)
    shutil.move(left / "git-state", left / ".reconciler")
    names = {row["name"] for row in rows_of(left / ".reconciler/state.db", "recordings")}
    done = shell(
        *("run", "--once", "--sandbox", "--listen", "off", "--git", str(left / "origin.git")),
        *("--state", "sqlite:///.reconciler/state.db", "--path", "desired_state"),
    )
    assert done.code in (0, 3), done.err
    with open_store(f"sqlite:///{left}/.reconciler/state.db") as store:
        assert {each.name for each in store.all()} == names
        assert all(each.base.startswith("git") for each in store.all())
