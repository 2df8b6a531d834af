"""The contract of the state, which every kind of it keeps: what is saved, served, counted, fenced and answered.

A kind of state is one entry of `KINDS`: how a fresh one is named, and what ends its present place under a running
owner. Each test below then runs on it. What only one kind can do or suffer stands in that kind's own tests.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from reconciler.model.actions import Rule
from reconciler.model.documents import Desired, InForce, Revision
from reconciler.model.errors import StateHeld, StoreError
from reconciler.model.keys import RecordingKey
from reconciler.model.records import Event, Judged, Judgements, Record, Resting
from reconciler.model.statuses import Phase, Status
from reconciler.state import batches
from reconciler.state.base import EventQuery, Store, Writer
from reconciler.state.opening import open_asker, open_store, open_writer
from reconciler.state.receipts import Receipt
from tests.world.nouns import NOW


@dataclass(frozen=True)
class Kind:
    """One kind of state."""

    #: Returns the URL of a state that is not there yet, given a folder of the test's own.
    url: Callable[[Path], str]
    #: Puts an empty state in the place of the one at a URL, under whoever holds it.
    replace: Callable[[str], None]
    #: Keeps whoever writes to the state at a URL waiting, for the length of a block.
    stalled: Callable[[str], AbstractContextManager[object]]


def _path(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def _remove_file(url: str) -> None:
    path = _path(url)
    for end in ("", "-wal", "-shm"):
        path.with_name(f"{path.name}{end}").unlink(missing_ok=True)


@contextmanager
def _locked_file(url: str) -> Iterator[None]:
    with closing(sqlite3.connect(_path(url), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


KINDS = {"sqlite": Kind(lambda folder: f"sqlite:///{folder / 'state.db'}", _remove_file, _locked_file)}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def url(kind: Kind, tmp_path: Path) -> str:
    return kind.url(tmp_path)


@pytest.fixture
def writer(url: str) -> Iterator[Writer]:
    with open_writer(url, holder="contract") as opened:
        yield opened


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with open_store(url) as opened:
        yield opened


def key(number: int) -> RecordingKey:
    return RecordingKey.of(*(str(UUID(int=part)) for part in (1, 2, number // 3, number)))


def record(number: int, **changes: Any) -> Record:
    made = Record(key(number), f"card-{number}", "cards.yaml", number, Status.PAUSED, observed_at=NOW)
    return made._replace(**changes)


def event(number: int, word: str = "applied", **changes: Any) -> Event:
    return Event(NOW + timedelta(seconds=number), word, key(number), f"card-{number}")._replace(**changes)


SETTLED: dict[str, Any] = {"phase": Phase.APPLIED, "last_applied": Status.PAUSED, "applied_at": NOW, "live": "paused"}


# Records


def test_a_record_is_the_last_one_that_was_saved_of_its_key_and_a_released_one_is_gone(
    writer: Writer, store: Store
) -> None:
    writer.save(record(1))
    writer.save(record(2, error="no answer"))
    writer.save(record(1, **SETTLED)).result()
    assert list(store.all()) == [record(1, **SETTLED), record(2, error="no answer")]
    assert store.get(key(1)) == record(1, **SETTLED)
    writer.release(key(1)).result()
    assert (store.get(key(1)), [each.key for each in store.all()]) == (None, [key(2)])


def test_how_all_stand_is_what_their_records_say(writer: Writer, store: Store) -> None:
    writer.save(record(1, **SETTLED))
    writer.save(record(2, phase=Phase.BLIND, reason="api_away", phase_since=NOW, unmet_since=NOW)).result()
    first, second = store.standings()
    assert (first.key, first.phase, first.last_applied, first.since) == (key(1), Phase.APPLIED, Status.PAUSED, None)
    assert (second.phase, second.reason, second.since, second.unmet_since) == (Phase.BLIND, "api_away", NOW, NOW)
    assert store.count_last_applied() == 1


def test_a_plan_is_told_the_lines_that_hold_and_the_records_of_all_others(writer: Writer, store: Store) -> None:
    writer.save(record(1, **SETTLED))
    writer.save(record(2, **SETTLED))
    writer.save(record(3)).result()
    line = " ".join((*key(1), "paused"))
    holding, others = store.apart_from({line, "another"})
    assert set(holding) == {line}
    assert [each.key for each in others] == [key(2), key(3)]


# Records from memory


def documents(*numbers: int) -> dict[RecordingKey, Desired]:
    made = [Desired(key(number), f"card-{number}", Status.PAUSED, "cards.yaml", number) for number in numbers]
    return {document.key: document for document in made}


def test_the_owner_serves_what_was_there_and_what_it_writes_as_a_reader_finds_it(writer: Writer, store: Store) -> None:
    writer.save(record(1, **SETTLED, labels=(("team", "cards"),)))
    writer.save(record(2, sent=Status.PAUSED, sent_at=NOW)).result()
    own = writer.load(documents(1, 2))
    changes: tuple[Callable[[], Receipt], ...] = (
        lambda: writer.save(record(3, **SETTLED)),
        lambda: writer.save(record(1, desired=Status.ONGOING)),
        lambda: writer.release(key(2)),
        lambda: writer.save(record(1, **SETTLED, error="x" * 5000)),
    )
    for change in changes:
        change().result()
        assert sorted(own.all_keys()) == [each.key for each in store.all()]
        assert [own.get(each) for each in sorted(own.all_keys())] == list(store.all())
        assert [own.standing(each) for each in sorted(own.all_keys())] == list(store.standings())
        assert own.count_last_applied() == store.count_last_applied()
    assert (own.get(key(2)), own.standing(key(2))) == (None, None)


def test_the_owner_shares_the_keys_of_the_documents(writer: Writer) -> None:
    writer.save(record(1)).result()
    declared = documents(1)
    own = writer.load(declared)
    assert own.all_keys()[0] is next(iter(declared.values())).key


def test_what_could_not_be_kept_is_not_served(writer: Writer, store: Store) -> None:
    own = writer.load({})
    writer.save(record(1)).result()
    with pytest.raises(StoreError):
        writer.save(record(1, name="\udc80")).result()
    assert own.get(key(1)) == store.get(key(1)) == record(1)


def test_the_last_event_is_asked_for_beside_the_loop(writer: Writer) -> None:
    own = writer.load({})
    writer.append(event(1, "seen_once"), event(1, "applied"), event(2, "ended")).result()
    assert asyncio.run(own.last_event(key(1))) == "applied"
    assert asyncio.run(own.last_event(key(3))) is None


def test_an_owner_whose_state_was_replaced_serves_the_new_one(kind: Kind, url: str, writer: Writer) -> None:
    writer.save(record(1, **SETTLED)).result()
    own = writer.load({})
    kind.replace(url)
    with pytest.raises(StoreError, match="removed or replaced"):
        writer.save(record(2)).result()
    writer.append(event(1)).result()
    assert (own.all_keys(), own.count_last_applied()) == ([], 0)


def test_a_record_that_waited_while_the_state_was_replaced_is_not_written_into_the_new_one(
    kind: Kind, url: str, writer: Writer, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_BATCH", 1)
    writer.save(record(1)).result()
    with kind.stalled(url):
        waiting = [writer.save(record(number)) for number in range(2, 50)]
        kind.replace(url)
    for receipt in waiting:
        with pytest.raises(StoreError, match="replaced"):
            receipt.result()
    writer.save(record(50)).result()
    assert [each.key for each in store.all()] == [key(50)]


# The log


def test_the_history_is_newest_first_and_found_by_name_moment_and_number(writer: Writer, store: Store) -> None:
    writer.append(*(event(number) for number in range(1, 5))).result()
    assert [each.name for each in store.history(limit=2)] == ["card-4", "card-3"]
    assert [each.name for each in store.history(since=NOW + timedelta(seconds=3))] == ["card-4", "card-3"]
    assert [line.event.name for line in store.events(EventQuery(("card-2",)))] == ["card-2"]
    numbers = [line.seq for line in store.events(EventQuery())]
    assert numbers == sorted(numbers, reverse=True)
    assert store.last_event(key(4)) == "applied"


def test_what_is_known_of_commits_is_the_last_word_on_each(writer: Writer, store: Store) -> None:
    revision = Revision("a" * 40, "Ada", "Pause", NOW)
    writer.describe(revision, in_force=InForce("a" * 40, judged=True))
    writer.describe(replace(revision, subject="Pause it")).result()
    assert store.revisions({"a" * 40, "b" * 40}) == {"a" * 40: replace(revision, subject="Pause it")}
    assert store.in_force() == InForce("a" * 40, judged=True)


# The ledger


def test_the_ledger_tells_what_was_sent_since_a_moment(writer: Writer, store: Store) -> None:
    writer.append(event(1, "patch_sent", irreversible=True), event(2, "applied"), event(3, "patch_sent")).result()
    sent = store.patches_since(NOW + timedelta(seconds=1))
    assert [(each.key, each.irreversible) for each in sent] == [(key(1), True), (key(3), False)]
    assert store.patches_since(NOW + timedelta(seconds=4)) == []


def test_what_the_limits_let_pass_is_forgotten_once_it_is_brought_about(writer: Writer, store: Store) -> None:
    writer.save(record(1))
    said = [Judged(key(1), Rule.IRREVERSIBLE, Status.PAUSED), Judged(key(2), Rule.IRREVERSIBLE, Status.PAUSED, "r-1")]
    writer.judge(Judgements(judged=said)).result()
    assert list(store.judged()) == said
    writer.save(record(1, **SETTLED)).result()
    assert list(store.judged()) == said[1:]


# Who holds it


def test_one_process_at_a_time_holds_a_state_and_the_next_is_told_which(url: str, writer: Writer, store: Store) -> None:
    assert writer.lease_valid()
    seen = store.writer()
    assert seen is not None
    assert (seen.alive, seen.holder) == (True, "contract")
    with pytest.raises(StateHeld, match="`contract`"):
        open_writer(url, holder="another")
    writer.close()
    assert (store.writer(), writer.lease_valid()) == (None, False)
    open_writer(url, holder="another").close()


def test_after_its_end_a_writer_keeps_nothing_and_what_waited_is_kept(writer: Writer, store: Store) -> None:
    receipt = writer.save(record(1))
    writer.close()
    receipt.result(0)
    with pytest.raises(StoreError, match="closed"):
        writer.save(record(2))
    assert [each.key for each in store.all()] == [key(1)]


def test_accounts_that_rest_are_known_to_others(writer: Writer, store: Store) -> None:
    rest = Resting(key(1).workspace_id, NOW, "api_away", "no answer", blind=True)
    writer.rest(rest.workspace_id, rest).result()
    assert store.resting() == [rest]
    writer.rest(rest.workspace_id, None).result()
    assert store.resting() == []


# What others ask


def test_a_request_is_asked_taken_and_answered_and_one_that_was_taken_back_is_not(
    url: str, writer: Writer, store: Store
) -> None:
    asker = open_asker(url)
    taken, withdrawn = asker.ask("sync", "{}", "a call"), asker.ask("sync", "{}", "a call")
    now = store.request(taken).at  # type: ignore[union-attr]
    assert [each.id for each in store.open_requests(now, 5)] == [taken, withdrawn]
    assert asker.withdraw(withdrawn)
    request = store.request(taken)
    assert request is not None
    writer.take(request, now).result()
    assert not asker.withdraw(taken)
    writer.answer(request, "done", "{}", event(1, "asked")).result()
    answered = asker.look(taken)
    assert answered is not None
    assert (answered.outcome, store.open_requests(now, 5)) == ("done", [])
