"""`state backup` and `state check` on the installed command, and what holds after a restore."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.state.opening import open_store, open_writer
from tests.world.documents import document
from tests.world.foreign_api import ForeignApi
from tests.world.ids import RECORDING, recording
from tests.world.nouns import NOW
from tests.world.old_layouts import old_layout
from tests.world.shell import Shell, not_root
from tests.world.states import COMMIT, record, records

RECORDS = records(NOW)


def test_a_backup_beside_a_writer_is_whole_and_holds_what_was_acknowledged(shell: Shell, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/state/state.db"
    target = shell.folder / "copy.db"
    with open_writer(url, holder="reconciler run") as writer:
        for each in RECORDS:
            writer.save(each).result()
        ended = threading.Event()

        def write_on() -> None:
            while not ended.is_set():
                writer.save(record(NOW, 99, "more", revision=COMMIT)).result()

        thread = threading.Thread(target=write_on)
        thread.start()
        try:
            done = shell("state", "backup", "copy.db", "--state", url)
        finally:
            ended.set()
            thread.join()
        assert done.code == 0, done.err
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [each.name for each in shell.folder.iterdir()] == ["copy.db"]
    copy = f"sqlite:///{target}"
    checked = shell("state", "check", "--state", copy)
    assert (checked.code, "whole" in checked.out, "held by nobody" in checked.out) == (0, True, True)
    with open_store(copy) as store:
        kept = {each.name: each for each in store.all()}
        assert store.writer() is None
    assert kept.keys() >= {each.name for each in RECORDS}
    assert all(kept[each.name] == each._replace(restored=True) for each in RECORDS)


def test_a_backup_replaces_nothing_unless_that_is_asked_for_and_leaves_nothing_half_done(
    shell: Shell, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/state/state.db"
    with open_writer(url, holder="test") as writer:
        writer.save(RECORDS[0])
    target = shell.folder / "copy.db"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    for there in (lambda: target.write_text("mine"), lambda: target.symlink_to(elsewhere)):
        there()
        done = shell("state", "backup", "copy.db", "--state", url)
        assert (done.code, "is there already" in done.err, target.read_text()) == (1, True, "mine")
        assert shell("state", "backup", "copy.db", "--force", "--state", url).code == 0
        assert shell("state", "check", "--state", f"sqlite:///{target}").code == 0
        target.unlink()
    assert elsewhere.read_text() == "mine"
    for wrong in ("no/such/folder.db", "."):
        assert shell("state", "backup", wrong, "--state", url).code in (1, 64)
    assert shell("state", "backup", "copy.db", "--state", "sqlite:///nothing.db").code == 1
    assert list(shell.folder.iterdir()) == []


def test_a_backup_of_an_older_layout_or_of_a_read_only_folder_is_one_of_today(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "old" / "state.db"
    old_layout(path, 2)
    with open_store(f"sqlite:///{path}") as store:
        before = [each._replace(restored=True) for each in store.all()], store.history()
    with not_root(path.parent):
        assert shell("state", "backup", "copy.db", "--state", f"sqlite:///{path}").code == 0
    with open_store(f"sqlite:///{shell.folder}/copy.db") as store:
        assert (list(store.all()), store.history()) == before


def test_a_check_finds_damage_and_rows_that_contradict_one_another(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "state" / "state.db"
    with open_writer(f"sqlite:///{path}", holder="test") as writer:
        for each in RECORDS:
            writer.save(each)
    url = f"sqlite:///{path}"
    done = shell("state", "check", "--state", url)
    assert (done.code, f"{len(RECORDS)} recordings" in done.out) == (0, True)
    spoilt = tmp_path / "spoilt.db"
    shutil.copyfile(path, spoilt)
    with closing(sqlite3.connect(spoilt)) as other:
        other.execute("UPDATE totals SET last_applied = 4711")
        other.commit()
    done = shell("state", "check", "--state", f"sqlite:///{spoilt}")
    assert (done.code, "says otherwise" in done.err, "put a backup in its place" in done.err.replace("\n", " ")) == (
        *(1, True, True),
    )
    data = bytearray(path.read_bytes())
    data[8192:12288] = os.urandom(4096)
    spoilt.write_bytes(data)
    done = shell("state", "check", "--state", f"sqlite:///{spoilt}")
    assert (done.code, "damaged" in done.out + done.err) == (1, True)
    assert shell("state", "check", "--state", f"sqlite:///{tmp_path}/nothing.db").code == 1


ENDLESS = "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n)"


@pytest.mark.parametrize(
    ("named", "statements"),
    [
        ("the trigger sly", (f"CREATE TRIGGER sly AFTER UPDATE ON lease BEGIN SELECT {ENDLESS}; END",)),
        ("the view recordings", ("DROP TABLE recordings", f"CREATE VIEW recordings AS SELECT {ENDLESS} AS phase")),
        ("the index sly", ("CREATE INDEX sly ON history (hex(hex(name)))",)),
        (
            "another trigger history_is_never_deleted",
            (
                "DROP TRIGGER history_is_never_deleted",
                f"CREATE TRIGGER history_is_never_deleted BEFORE DELETE ON history BEGIN SELECT {ENDLESS}; END",
            ),
        ),
        (
            "another table resting",
            (
                "DROP TABLE resting",
                "CREATE TABLE resting (workspace_id, since, cause, reason, blind AS (hex(zeroblob(400000000))))",
            ),
        ),
    ],
    ids=["trigger", "view", "index", "other-trigger", "generated"],
)
def test_what_is_planted_in_the_state_is_named_and_never_run(
    shell: Shell, tmp_path: Path, named: str, statements: tuple[str, ...]
) -> None:
    path = tmp_path / "state" / "state.db"
    url = f"sqlite:///{path}"
    with open_writer(url, holder="test") as writer:
        writer.save(RECORDS[0])
    with closing(sqlite3.connect(path)) as other:
        for statement in statements:
            other.execute(statement)
        other.commit()
    shell.write("desired_state/one.yaml", document())
    here = ("--state", url)
    # One that only checks, one that reads, one that writes: each way in which a file is opened.
    for command in (
        ("state", "check", *here),
        ("status", *here),
        ("run", "--once", "--listen", "off", "--api-url", "http://127.0.0.1:9", *here),
    ):
        done = shell(*command)
        assert (done.code, named in done.err) == (1, True), (command, done.err)


def test_no_command_runs_what_is_planted_in_the_state(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "state" / "state.db"
    url = f"sqlite:///{path}"
    with open_writer(url, holder="test") as writer:
        writer.save(RECORDS[0])
    with closing(sqlite3.connect(path)) as other:
        other.execute("DROP TABLE requests")
        other.execute(f"CREATE VIEW requests AS SELECT {ENDLESS} AS id")
        other.execute(f"CREATE TRIGGER sly AFTER UPDATE ON lease BEGIN SELECT {ENDLESS}; END")
        other.commit()
    shell.write("desired_state/one.yaml", document())
    here = ("--state", url)
    asking = ("--api-url", "http://127.0.0.1:9", *here)
    for command in (
        ("state", "backup", "copy.db", *here),
        ("history", *here),
        ("plan", *asking),
        ("apply", "--yes", *asking),
        ("run", "--listen", "off", *asking),
        ("sync", *here),
        ("approve", "abcdefabcdef", "--reason", "x", *here),
        ("doctor", *asking),
    ):
        done = shell(*command)
        assert (done.code, "the view requests" in done.out + done.err) == (1, True), (command, done.out, done.err)
    assert not (shell.folder / "copy.db").exists()


@pytest.mark.parametrize("beside", ["-wal", "-shm", "-journal"])
def test_a_pipe_beside_the_state_is_named_and_not_waited_for(shell: Shell, tmp_path: Path, beside: str) -> None:
    path = tmp_path / "state" / "state.db"
    with open_writer(f"sqlite:///{path}", holder="test") as writer:
        writer.save(RECORDS[0])
    os.mkfifo(f"{path}{beside}")
    done = shell("status", "--state", f"sqlite:///{path}")
    assert (done.code, f"{path.name}{beside} is not a regular file" in done.err) == (1, True), done.err


def test_what_sqlite_itself_adds_is_not_foreign(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "state" / "state.db"
    with open_writer(f"sqlite:///{path}", holder="test") as writer:
        writer.save(RECORDS[0])
    with closing(sqlite3.connect(path)) as other:
        other.execute("ANALYZE")
        other.execute("VACUUM")
    done = shell("state", "check", "--state", f"sqlite:///{path}")
    assert (done.code, done.err) == (0, "")


def test_a_check_names_what_the_layout_lacks_and_each_record_that_no_command_can_read(
    shell: Shell, tmp_path: Path
) -> None:
    path = tmp_path / "state" / "state.db"
    url = f"sqlite:///{path}"
    with open_writer(url, holder="test") as writer:
        for each in RECORDS:
            writer.save(each)
    for statement, names, why in (
        ("UPDATE recordings SET phase = 'humming'", RECORDS[:1], "'humming'"),
        ("UPDATE recordings SET labels = '[]', phase = 'applied'", RECORDS[:1], "labels are a mapping"),
        ("UPDATE recordings SET labels = '', name = CAST(x'ff' AS TEXT)", RECORDS[:1], "not UTF-8"),
        ("UPDATE recordings SET name = 'x', observed_at = 9223372036854775807", RECORDS[:1], "cannot be read"),
    ):
        with closing(sqlite3.connect(path)) as other:
            other.execute(f"{statement} WHERE recording_id = ?", (RECORDS[0].key.recording_id,))
            other.commit()
        done = shell("state", "check", "--state", url)
        assert (done.code, why in done.err) == (1, True), done.err
        assert all(each.key.recording_id in done.err for each in names), done.err
    with closing(sqlite3.connect(path)) as other:
        other.execute("DROP TRIGGER history_is_never_changed")
        other.commit()
    done = shell("state", "check", "--state", url)
    assert (done.code, "lacks the trigger history_is_never_changed" in done.err) == (1, True)


@pytest.mark.parametrize("drift", ["safe", "heal"])
def test_after_a_restore_a_pause_that_may_be_an_agents_is_reported_and_not_resumed(
    shell: Shell, api: ForeignApi, drift: str
) -> None:
    """Our pause was backed up; then we resumed, and then an agent paused: the backup takes that pause for ours."""
    reach = ("--api-url", api.url, "--rate-limit", "0")
    api.seed([recording("ongoing")])
    shell.write("desired_state/one.yaml", document("paused"))
    assert shell("apply", "--yes", *reach).code == 0
    assert shell("state", "backup", "before.db").code == 0
    wish = document("ongoing") + (f"  drift: {drift}\n" if drift != "safe" else "")
    shell.write("desired_state/one.yaml", wish)
    assert shell("apply", "--yes", *reach).code == 0
    api.set_status(**{RECORDING: "paused"})
    for left in (shell.folder / ".reconciler").glob("state.db*"):
        left.unlink()
    shutil.copy(shell.folder / "before.db", shell.folder / ".reconciler/state.db")
    api.forget()
    done = shell("plan", *reach)
    assert ("1 to report" in done.out) == (drift == "safe"), done.out
    for command in (("apply", "--yes"), ("run", "--once", "--listen", "off")):
        shell(*command, *reach)
    if drift == "safe":
        assert api.patches() == []
        # Once a look has shown it as declared, the record is as good as any.
        api.set_status(**{RECORDING: "ongoing"})
        assert shell("apply", "--yes", *reach).code == 0
        with open_store(f"sqlite:///{shell.folder}/.reconciler/state.db") as store:
            assert [each.restored for each in store.all()] == [False]
    else:
        assert api.patches() == [(RECORDING, "ongoing")]
