"""What others write into the table of requests, and a daemon that goes on whatever it is.

Aspects: rows that nobody of ours would write, a flood of them, who is waited for and how long, and what the history
keeps. That a request is done is in `test_approve.py`.
"""

from __future__ import annotations

import getpass
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.world.scene import Scene, subjects
from tests.world.started import Started, eventually


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Scene(tmp_path_factory.mktemp("requests"), settle_ms=20) as scene:
        (subject,) = subjects(1)
        scene.sandbox.seed([subject.seed()])
        scene.write("one.yaml", subject.document("paused"))
        yield scene


@pytest.fixture(scope="module")
def daemon(scene: Scene) -> Iterator[Started]:
    with scene.daemon() as daemon:
        daemon.wait_for("resync_done")
        yield daemon


def path(scene: Scene) -> Path:
    return Path(scene.state.removeprefix("sqlite:///"))


def write(scene: Scene, *rows: tuple[Any, ...]) -> list[int]:
    """Write rows as a stranger could, who knows the table and may write the file."""
    numbers = []
    with closing(sqlite3.connect(path(scene), timeout=30)) as connection:
        for at, kind, about, by, reason in rows:
            done = connection.execute(
                "INSERT INTO requests (at, kind, about, by, reason) VALUES (?, ?, ?, ?, ?)",
                (at, kind, about, by, reason),
            )
            numbers.append(done.lastrowid or 0)
        connection.commit()
    return numbers


def read(scene: Scene, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path(scene), timeout=30)) as connection:
        return connection.execute(statement, values).fetchall()


def outcome(scene: Scene, number: int) -> tuple[str | None, str]:
    ((taken, said, answer),) = read(scene, "SELECT taken_at, outcome, answer FROM requests WHERE id = ?", number)
    return said, json.loads(answer)["text"] if answer else ("taken" if taken else "")


def now() -> int:
    return round(time.time() * 1e6)


HOSTILE = {
    "no JSON": ("approve", "{"),
    "another form": ("approve", "[1, 2]"),
    "nested without end": ("approve", "[" * 60_000),
    "a number for a name": ("approve", '{"name": 7}'),
    "no name": ("approve", "{}"),
    "a huge name": ("approve", json.dumps({"name": "x" * 60_000})),
    "text that acts on a terminal": ("approve\x1b[2J\u202e", '{"name": "\\u001b[31m"}'),
    "names that are none": ("sync", '{"names": [1, null]}'),
    "names of nothing": ("sync", json.dumps({"names": ["\x1b[2J", "../../etc", "'; DROP TABLE requests; --"]})),
    "a number that is infinite": ("sync", '{"names": Infinity}'),
    "a lone surrogate": ("sync", '{"names": ["\\ud800"]}'),
    "an unknown kind": ("launch", "{}"),
    "an empty kind": ("", ""),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_whatever_a_row_holds_it_is_refused_in_words_and_the_daemon_goes_on(
    scene: Scene, daemon: Started, case: str
) -> None:
    kind, about = HOSTILE[case]
    (number,) = write(scene, (now(), kind, about, "some\x1b[31mbody", "because\nof \x1b[2J"))
    eventually(lambda: outcome(scene, number)[0] is not None, daemon.said)
    said, text = outcome(scene, number)
    assert said == "refused"
    assert text.isprintable()
    assert len(text) < 1000
    ((detail, by, reason),) = read(
        scene, "SELECT detail, by_text, reason FROM history WHERE event = 'asked' ORDER BY id DESC LIMIT 1"
    )
    for kept in (detail, by, reason):
        assert kept.isprintable()
    assert scene.run("sync", "--state", scene.state).returncode == 0
    assert daemon.process.poll() is None


def test_a_row_can_hold_only_so_much(scene: Scene, daemon: Started) -> None:
    for about, by, reason in (("x" * 70_000, "", ""), ("", "x" * 300, ""), ("", "", "x" * 2000)):
        with pytest.raises(sqlite3.IntegrityError):
            write(scene, (now(), "sync", about, by, reason))
    assert daemon.process.poll() is None


@pytest.mark.parametrize("age_seconds", [3600, 61, -3600])
def test_a_request_that_nobody_waits_for_any_more_is_not_taken(scene: Scene, daemon: Started, age_seconds: int) -> None:
    (number,) = write(scene, (now() - age_seconds * 1_000_000, "sync", '{"names": []}', "x", ""))
    assert scene.run("sync", "--state", scene.state).returncode == 0
    assert outcome(scene, number) == (None, "")


def test_a_flood_holds_nobody_up_and_ends_by_itself(scene: Scene, daemon: Started) -> None:
    old = now() - 2 * 3600 * 1_000_000
    write(scene, *((old, "sync", '{"names": []}', "x", "") for _ in range(20_000)))
    write(scene, *((now(), "launch", "{}", "x", "") for _ in range(500)))
    (subject,) = subjects(1)
    # An edit goes its way beside it.
    applied = len(daemon.events("applied"))
    scene.write("one.yaml", subject.document("ongoing"))
    daemon.wait_for("applied", applied + 1)
    eventually(
        lambda: (
            read(scene, "SELECT count(*) FROM requests WHERE kind = 'launch' AND outcome IS NULL") == [(0,)]
            or now() > old + 2 * 3600 * 1_000_000 + 61_000_000
        ),
        daemon.said,
    )
    assert daemon.process.poll() is None


def test_an_asker_takes_its_row_back_when_nobody_takes_it(scene: Scene, tmp_path: Path) -> None:
    (subject,) = subjects(1, first=50)
    other = scene.at(tmp_path)
    other.sandbox.seed([subject.seed()])
    other.write("one.yaml", subject.document("paused"))
    with other.daemon() as busy:
        busy.wait_for("resync_done")
        busy.process.send_signal(19)  # SIGSTOP: alive, and takes nothing
        try:
            done = other.run("approve", "0" * 12, "--reason", "because", "--state", other.state)
        finally:
            busy.process.send_signal(18)
        assert done.returncode == 1
        assert "did not take the request within 10 s; nothing was done" in done.stderr
        assert read(other, "SELECT outcome FROM requests") == [("withdrawn",)]
        busy.process.terminate()
        assert busy.ended() == 0
    assert read(other, "SELECT count(*) FROM history WHERE event IN ('asked', 'approved')") == [(0,)]


def test_many_may_ask_at_once(scene: Scene, daemon: Started) -> None:
    codes: list[int] = []
    askers = [
        threading.Thread(target=lambda: codes.append(scene.run("sync", "--state", scene.state).returncode))
        for _ in range(4)
    ]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert codes == [0] * 4


def test_what_was_asked_stands_in_the_history_with_who_and_why(scene: Scene, daemon: Started) -> None:
    done = scene.run("approve", "0123456789ab", "--reason", "call me at +49 30 123456789", "--state", scene.state)
    assert done.returncode == 1
    ((cause, said, by_kind, by, reason),) = read(
        scene,
        "SELECT cause, outcome, by_kind, by_text, reason FROM history WHERE event = 'asked' ORDER BY id DESC LIMIT 1",
    )

    assert (cause, said, by_kind, by) == ("approve", "refused", "command", getpass.getuser())
    assert reason.startswith("call me at ")
    assert "123456789" not in reason
