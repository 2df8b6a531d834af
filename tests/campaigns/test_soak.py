"""The long run: what may grow while the daemon works, and what may not.

Aspects: the history's retention (what goes, what stays, who may delete, when the writer does it); a short form of the
soak, in which memory, tasks, descriptors, threads and the state file stay as they are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.model.records import Event
from reconciler.state.base import Writer
from reconciler.state.opening import open_store, open_writer
from reconciler.state.sqlite import retention, schema
from reconciler.state.sqlite.connection import open_for_writing, transaction
from reconciler.state.sqlite.lease import LeaseClock
from reconciler.state.sqlite.retention import LINES_AT_ONCE, LINES_BETWEEN, SECONDS_BETWEEN, Retention, prune
from tests.campaigns.soak import soak
from tests.world.nouns import NOW, key, record
from tests.world.started import eventually

# The history's retention.


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def event(number: int, *, hours_ago: float = 1000.0, **changes: Any) -> Event:
    made = Event(NOW - timedelta(hours=hours_ago), "applied", key(1), f"e-{number:06}")
    return made._replace(**changes)


def writer(path: Path, retention: Retention, clock: LeaseClock | None = None) -> Writer:
    return open_writer(
        f"sqlite:///{path}", holder="test", retention=retention, clock=clock or LeaseClock(wall=lambda: NOW.timestamp())
    )


def names(path: Path) -> list[str]:
    """Return the names of the history's lines, oldest first."""
    with open_store(f"sqlite:///{path}") as store:
        return [event.name for event in store.history(limit=1_000_000)][::-1]


def pruned(path: Path, retention: Retention) -> int:
    """Prune a state that nobody holds until nothing is left to go; return how many lines went."""
    total = 0
    with closing(open_for_writing(path, schema.layout_version)) as connection:
        while True:
            with transaction(connection):
                gone = prune(connection, retention, NOW)
            total += gone
            if gone < LINES_AT_ONCE:
                return total


def filled(path: Path, *events: Event) -> None:
    with writer(path, Retention()) as pen:
        pen.append(*events).result()


@pytest.mark.parametrize(
    ("retention", "left"),
    [
        (Retention(), [0, 1, 2, 3, 4]),
        (Retention(rows=2), [3, 4]),
        (Retention(rows=5), [0, 1, 2, 3, 4]),
        (Retention(days=1), [3, 4]),
        (Retention(days=1, rows=1), [4]),
        (Retention(days=1, rows=100), [3, 4]),
    ],
    ids=str,
)
def test_the_oldest_lines_go(path: Path, retention: Retention, left: list[int]) -> None:
    filled(path, *(event(number, hours_ago=30 - number * 2.5) for number in range(5)))
    pruned(path, retention)
    assert names(path) == [f"e-{number:06}" for number in left]


@pytest.mark.parametrize("change", [{"irreversible": True}, {"resumes_foreign": True}], ids=str)
def test_what_the_safety_limits_count_stays_until_they_count_it_no_longer(path: Path, change: dict[str, bool]) -> None:
    counted = event(0, event="patch_sent", hours_ago=0.1, **change)
    old = event(1, event="patch_sent", hours_ago=0.5, **change)
    filled(path, counted, old, event(2, event="patch_sent", hours_ago=0.1), event(3))
    assert pruned(path, Retention(rows=1)) == 2
    assert names(path) == ["e-000000", "e-000003"]
    with open_store(f"sqlite:///{path}") as store:
        assert len(store.patches_since(NOW - timedelta(minutes=10))) == 1


@settings(max_examples=40)  # each makes a state file
@given(hours=st.lists(st.floats(0, 5000), max_size=40), rows=st.integers(0, 50), days=st.floats(0, 300))
def test_what_stays_are_the_newest_lines_and_never_more_than_asked_for(
    hours: list[float], rows: int, days: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("retention") / "state.db"
    hours = sorted(hours, reverse=True)
    filled(path, *(event(number, hours_ago=ago) for number, ago in enumerate(hours)))
    pruned(path, Retention(days=days, rows=rows))
    young = [number for number, ago in enumerate(hours) if timedelta(hours=ago) <= timedelta(days=days)]
    assert names(path) == [f"e-{number:06}" for number in young[max(0, len(young) - rows) :]]


def test_pruning_goes_in_bounded_steps(path: Path) -> None:
    filled(path, *(event(number) for number in range(LINES_AT_ONCE + 10)))
    with closing(open_for_writing(path, schema.layout_version)) as connection:
        with transaction(connection):
            assert prune(connection, Retention(rows=0), NOW) == LINES_AT_ONCE
        with transaction(connection):
            assert prune(connection, Retention(rows=0), NOW) == 10
        with transaction(connection):
            assert prune(connection, Retention(rows=0), NOW) == 0


def test_nobody_else_may_delete_or_change_a_line_before_or_after_a_prune(path: Path) -> None:
    filled(path, event(0), event(1))
    for rows in (1, 1):
        with closing(sqlite3.connect(path)) as connection:
            for statement in ("DELETE FROM history", "UPDATE history SET name = ''"):
                with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                    connection.execute(statement)
        pruned(path, Retention(rows=rows))
    assert names(path) == ["e-000001"]


def test_a_prune_that_is_cut_off_leaves_the_guard_and_the_lines(path: Path) -> None:
    filled(path, event(0), event(1))
    with closing(open_for_writing(path, schema.layout_version)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        assert prune(connection, Retention(rows=0), NOW) == 2
    with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute("DELETE FROM history")
    assert names(path) == ["e-000000", "e-000001"]


def test_the_writer_prunes_as_lines_come_in(path: Path) -> None:
    with writer(path, Retention(rows=100)) as pen:
        for start in range(0, 10 * LINES_BETWEEN, 50):
            pen.save(record(), *(event(number) for number in range(start, start + 50))).result()
            assert len(names(path)) <= 100 + LINES_BETWEEN + 50
    assert names(path)[-1] == f"e-{10 * LINES_BETWEEN - 1:06}"


def test_the_writer_prunes_what_an_earlier_setting_let_grow_although_nothing_is_written(path: Path) -> None:
    filled(path, *(event(number) for number in range(3 * LINES_AT_ONCE)))
    with writer(path, Retention(rows=10)) as pen:
        pen.append(event(999_999)).result()
        eventually(lambda: len(names(path)) == 10)


def test_age_alone_brings_the_writer_to_prune(path: Path) -> None:
    elapsed = 0.0
    hours = 0.0
    clock = LeaseClock(wall=lambda: NOW.timestamp() + hours * 3600, elapsed=lambda: elapsed)
    with writer(path, Retention(days=1), clock) as pen:
        pen.append(event(0, hours_ago=1)).result()
        pen.append().result()  # taken up only after the look for old lines that comes with the start
        hours = 30.0
        pen.append(event(1, hours_ago=-29)).result()
        assert names(path) == ["e-000000", "e-000001"]
        elapsed += SECONDS_BETWEEN
        pen.append(event(2, hours_ago=-30)).result()
        eventually(lambda: names(path) == ["e-000001", "e-000002"])


@pytest.mark.parametrize("fault", [sqlite3.OperationalError("disk I/O error"), ValueError("a fault of ours")], ids=repr)
def test_a_prune_that_fails_does_not_end_the_writer(
    path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    faults = [fault]

    def failing(connection: sqlite3.Connection, retention: Retention, now: datetime) -> int:
        if faults:
            raise faults.pop()
        return prune(connection, retention, now)

    monkeypatch.setattr(retention, "prune", failing)
    with writer(path, Retention(rows=1)) as pen:
        pen.append(event(0), event(1)).result()
        pen.append(*(event(number) for number in range(2, 2 + LINES_BETWEEN))).result()
        eventually(lambda: len(names(path)) == 1)
        eventually(lambda: pen.error is None)
    assert faults == []


def test_a_reader_under_way_is_not_disturbed_by_a_prune(path: Path) -> None:
    filled(path, *(event(number) for number in range(500)))
    with open_store(f"sqlite:///{path}") as store:
        with writer(path, Retention()) as pen:
            pen.save(record()).result()
        under_way: Iterator[object] = store.all()
        next(under_way)
        assert pruned(path, Retention(rows=5)) == 495
        assert list(under_way) == []
        assert len(store.history(limit=1000)) == 5


# The soak.


def test_thousands_of_turns_leave_memory_tasks_descriptors_threads_and_the_state_file_as_they_are(
    tmp_path: Path,
) -> None:
    figures = soak(tmp_path, turns=3000, recordings=600, history_rows=100)
    print(figures)
    assert figures.wrong == []
    # Else nothing happened that could have made anything grow.
    assert min(figures.edits, figures.came_and_went, figures.patches, figures.history_lines) > 10
