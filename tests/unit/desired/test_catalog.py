"""The catalog: what is in force after any sequence of updates, and what each update says that it did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from reconciler.desired.catalog import Catalog, CatalogChange
from reconciler.desired.documents.conflicts import FileDocuments, cross_check
from reconciler.model.documents import Desired, Problem, Suspend
from reconciler.model.keys import CallKey, RecordingKey
from reconciler.model.statuses import Drift, Status

WORKSPACE = "5f4f2f2e-6c0e-4c57-9f65-2f6cf0a1d7a1"
CHANNEL = "0b6b0f5e-7d5a-4c55-8f0e-6f2a4cf5b9b7"


def key_of(number: int, call: int = 0) -> RecordingKey:
    return RecordingKey.of(WORKSPACE, CHANNEL, *(f"00000000-0000-0000-0000-{each:012d}" for each in (call, number)))


def desired(file: str, number: int, *, name: str = "", line: int = 1, status: Status = Status.PAUSED) -> Desired:
    return Desired(key_of(number), name or f"r{number}", status, file, line)


def content(file: str, *documents: Desired | int, sets: Sequence[tuple[str, int]] = ()) -> FileDocuments:
    """A valid file; a bare number stands for that recording, on a line of its own."""
    numbered = (
        desired(file, each, line=line) if isinstance(each, int) else each
        for line, each in enumerate(documents, start=1)
    )
    return FileDocuments(file, tuple(numbered), (), tuple(sets))


def broken(file: str, message: str = "a mistake") -> FileDocuments:
    return FileDocuments(file, (), (Problem(file, 1, 1, message),))


def give(catalog: Catalog, *contents: FileDocuments) -> CatalogChange:
    return catalog.update({each.file: each for each in contents})


def in_force(catalog: Catalog) -> dict[str, list[int]]:
    """The numbers of the recordings in force by file."""
    found: dict[str, list[int]] = {}
    for key, each in sorted(catalog.desired.items()):
        found.setdefault(each.file, []).append(int(key.recording_id[-12:]))
    return found


def keys(*numbers: int) -> tuple[RecordingKey, ...]:
    return tuple(key_of(number) for number in numbers)


# One file at a time.


def test_new_file_is_in_force_and_reported_in_its_order() -> None:
    catalog = Catalog()
    assert give(catalog, content("b", 3), content("a", 2, 1)) == CatalogChange(changed=keys(2, 1, 3))
    assert in_force(catalog) == {"a": [1, 2], "b": [3]}
    assert catalog.invalid == {}


@pytest.mark.parametrize(
    "edit",
    [
        {"status": Status.ONGOING},
        {"drift": Drift.HEAL},
        {"suspend": Suspend("incident", datetime(2099, 1, 1, tzinfo=UTC))},
        {"name": "renamed"},
    ],
    ids=lambda edit: next(iter(edit)),
)
def test_edit_that_a_decision_depends_on_is_a_change(edit: Mapping[str, object]) -> None:
    catalog = Catalog()
    before = desired("a", 1)
    give(catalog, content("a", before, 2))
    after = before._replace(**edit)  # type: ignore[arg-type]  # the table holds only fields of Desired
    assert give(catalog, content("a", after, 2)) == CatalogChange(changed=keys(1))
    assert catalog.desired[key_of(1)] == after


def test_edit_that_no_decision_depends_on_is_only_recorded() -> None:
    catalog = Catalog()
    before = desired("a", 1)
    give(catalog, content("a", before))
    after = before._replace(line=7)
    assert give(catalog, content("a", after)) == CatalogChange(moved=keys(1))
    assert catalog.desired[key_of(1)] == after


def test_same_content_again_changes_nothing() -> None:
    catalog = Catalog()
    give(catalog, content("a", 1, 2))
    assert give(catalog, content("a", 1, 2)) == CatalogChange()


def test_document_that_is_taken_away_is_removed_and_so_is_all_of_a_file_that_is_gone() -> None:
    catalog = Catalog()
    give(catalog, content("a", 1, 2), content("b", 3))
    assert give(catalog, content("a", 2)).removed == keys(1)
    assert catalog.update({"a": None, "never-there": None}) == CatalogChange(removed=keys(2))
    assert in_force(catalog) == {"b": [3]}


def test_invalid_file_keeps_its_last_valid_version_until_it_is_mended() -> None:
    catalog = Catalog()
    give(catalog, content("a", 1), content("b", 2))
    assert give(catalog, broken("a")) == CatalogChange(became_invalid=("a",))
    assert catalog.invalid == {"a": broken("a").problems}
    assert in_force(catalog) == {"a": [1], "b": [2]}
    assert give(catalog, broken("a")) == CatalogChange()
    assert give(catalog, broken("a", "another mistake")) == CatalogChange(became_invalid=("a",))
    mended = content("a", desired("a", 1, status=Status.ONGOING))
    assert give(catalog, mended) == CatalogChange(changed=keys(1), became_valid=("a",))
    assert catalog.invalid == {}


def test_file_that_disappears_while_invalid_releases_its_last_valid_version() -> None:
    catalog = Catalog()
    give(catalog, content("a", 1))
    give(catalog, broken("a"))
    assert catalog.update({"a": None}) == CatalogChange(removed=keys(1))
    assert catalog.invalid == {}


# Documents that move.


def test_document_may_move_between_files_within_one_update() -> None:
    catalog = Catalog()
    give(catalog, content("a", 1, 2), content("b", 3))
    assert give(catalog, content("a", 2), content("b", 1, 3)) == CatalogChange(moved=keys(1, 2, 3))
    assert in_force(catalog) == {"a": [2], "b": [1, 3]}
    assert catalog.update({"b": None, "c": content("c", 1, 3)}) == CatalogChange(moved=keys(1, 3))


def test_document_that_arrives_before_it_leaves_comes_into_force_when_it_left() -> None:
    catalog = Catalog()
    give(catalog, content("a", 1, 2))
    assert give(catalog, content("b", 1)) == CatalogChange(became_invalid=("b",))
    change = give(catalog, content("a", 2))
    assert change == CatalogChange(moved=keys(1, 2), became_valid=("b",))
    assert in_force(catalog) == {"a": [2], "b": [1]}


def test_two_files_may_trade_their_recordings_in_two_saves() -> None:
    catalog = Catalog()
    give(catalog, content("a", 1), content("b", 2))
    assert give(catalog, content("a", 2)) == CatalogChange(became_invalid=("a",))
    assert give(catalog, content("b", 1)) == CatalogChange(moved=keys(1, 2), became_valid=("a",))
    assert in_force(catalog) == {"a": [2], "b": [1]}


def test_files_that_wait_in_a_row_all_come_into_force_when_the_first_gives_way() -> None:
    catalog = Catalog()
    give(catalog, content("a", 1), content("b", 2), content("c", 3))
    give(catalog, content("c", 2))
    give(catalog, content("b", 1))
    change = catalog.update({"a": None})
    assert in_force(catalog) == {"b": [1], "c": [2]}
    assert change == CatalogChange(moved=keys(1, 2), removed=keys(3), became_valid=("b", "c"))


# Conflicts.


def test_content_that_arrived_later_is_invalid_and_both_places_are_named() -> None:
    catalog = Catalog()
    give(catalog, content("z", 5, 1))
    change = give(catalog, content("a", 6, 1))
    assert change == CatalogChange(became_invalid=("a",))
    assert in_force(catalog) == {"z": [1, 5]}
    [problem] = catalog.invalid["a"]
    assert (problem.file, problem.line) == ("a", 2)
    assert "z:2" in str(problem)
    assert problem.rule == "duplicate-name"


@pytest.mark.parametrize(
    ("first", "second", "rules"),
    [
        (content("a", desired("a", 1, name="x")), content("b", desired("b", 2, name="x")), ["duplicate-name"]),
        (content("a", desired("a", 1, name="x")), content("b", desired("b", 1, name="y")), ["duplicate-recording"]),
        (content("a", 1, sets=[("s", 1)]), content("b", 2, sets=[("s", 1)]), ["duplicate-name"]),
        (content("a", 1, sets=[("s", 1)]), content("b", desired("b", 2, name="s")), ["duplicate-name"]),
        (content("a", 1, 2), content("b", 2, 1), ["duplicate-name", "duplicate-name"]),
    ],
    ids=["name", "recording", "set", "set-and-recording", "two"],
)
def test_conflict_of_one_load_is_told_at_the_later_file_as_the_commands_tell_it(
    first: FileDocuments, second: FileDocuments, rules: list[str]
) -> None:
    catalog = Catalog()
    change = give(catalog, second, first)
    assert change.became_invalid == ("b",)
    assert list(catalog.invalid["b"]) == cross_check([first, second])
    assert [problem.rule for problem in catalog.invalid["b"]] == rules
    assert set(in_force(catalog)) == {"a"}


def test_file_that_repeats_itself_is_invalid_whoever_else_gives_way() -> None:
    catalog = Catalog()
    give(catalog, content("a", 1), content("b", 2))
    twice = content("b", 1, desired("b", 1, name="other", line=2))
    assert give(catalog, twice).became_invalid == ("b",)
    assert list(catalog.invalid["b"]) == cross_check([twice])
    assert catalog.update({"a": None}) == CatalogChange(removed=keys(1))
    assert in_force(catalog) == {"b": [2]}


def test_file_that_keeps_its_version_keeps_it_against_the_others_of_its_update() -> None:
    catalog = Catalog()
    give(catalog, content("a", 1), content("b", 2), content("c", 3))
    # `b` may not have 3, so it keeps 2, so `a` may not have 2 and keeps 1, so `d` may not have that.
    change = give(catalog, content("a", 2), content("b", 3), content("d", 1))
    assert change == CatalogChange(became_invalid=("a", "b", "d"))
    assert in_force(catalog) == {"a": [1], "b": [2], "c": [3]}
    assert give(catalog, content("c", 4)) == CatalogChange(
        changed=keys(4), moved=keys(1, 2, 3), became_valid=("a", "b", "d")
    )
    assert in_force(catalog) == {"a": [2], "b": [3], "c": [4], "d": [1]}


def test_content_that_only_a_displaced_one_stood_in_the_way_of_gets_its_turn() -> None:
    catalog = Catalog()
    give(catalog, *(content(file, number) for file, number in {"a": 9, "k": 6, "m": 1, "n": 2, "z": 5}.items()))
    # `m` and `n` trade, if 7 is free; `a` takes it, until `z`, which may not have 6, takes its 5 back from `a`.
    change = give(catalog, content("a", 7, 5), content("m", 2, 7), content("n", 1), content("z", 6))
    assert change.became_invalid == ("a", "z")
    assert in_force(catalog) == {"a": [9], "k": [6], "m": [2, 7], "n": [1], "z": [5]}


def test_displaced_content_comes_in_after_all_when_what_displaced_it_moves_on() -> None:
    catalog = Catalog()
    give(catalog, *(content(file, number) for file, number in {"a": 8, "b": 9, "c": 1, "d": 5, "k": 6}.items()))
    # `c` meets 2 in `b` and takes its 1 back from `a`; `d` takes its 5 back from `b`; so `c` has its 2, and `a` its 1.
    change = give(catalog, content("a", 1), content("b", 2, 5), content("c", 2), content("d", 6))
    assert change.became_invalid == ("b", "d")
    assert in_force(catalog) == {"a": [1], "b": [9], "c": [2], "d": [5], "k": [6]}


def test_name_of_a_set_is_free_again_when_the_set_is_gone() -> None:
    catalog = Catalog()
    give(catalog, content("a", 1, sets=[("s", 1)]))
    assert give(catalog, content("b", desired("b", 2, name="s"))).became_invalid == ("b",)
    assert give(catalog, content("a", 1)) == CatalogChange(changed=keys(2), became_valid=("b",))


def test_earliest_of_two_that_wait_comes_first() -> None:
    catalog = Catalog()
    give(catalog, content("a", 1))
    give(catalog, content("z", 1))
    give(catalog, content("b", 1))
    catalog.update({"a": None})
    assert in_force(catalog) == {"z": [1]}
    assert "z:1" in str(catalog.invalid["b"][0])


def test_place_in_a_conflict_follows_the_holder() -> None:
    catalog = Catalog()
    give(catalog, content("a", desired("a", 1, line=1)))
    give(catalog, content("b", 1))
    assert "a:1" in str(catalog.invalid["b"][0])
    assert give(catalog, content("a", desired("a", 1, line=9))).became_invalid == ("b",)
    assert "a:9" in str(catalog.invalid["b"][0])


def test_conflicts_can_be_asked_for_beforehand() -> None:
    catalog = Catalog()
    give(catalog, content("a", 1))
    assert catalog.conflicts(content("a", 1, 2)) == ()
    later = content("b", 2, 1)
    asked = catalog.conflicts(later)
    give(catalog, later)
    assert asked == catalog.invalid["b"] != ()


# Look-ups.


def test_recordings_are_found_by_name_call_and_file() -> None:
    catalog = Catalog()
    one, two = (Desired(key_of(number, call=7), f"r{number}", Status.PAUSED, "a", number) for number in (1, 2))
    elsewhere = one._replace(key=one.key._replace(recording_id=key_of(9).recording_id, channel_id=WORKSPACE), name="r9")
    give(catalog, content("a", one, two, elsewhere))
    call = one.key.call
    assert catalog.by_call(call) == (one.key, two.key)
    assert catalog.by_call(elsewhere.key.call) == (elsewhere.key,)
    assert catalog.by_call(CallKey(WORKSPACE, CHANNEL, CHANNEL)) == ()
    assert catalog.by_name("r2") == two
    assert catalog.by_name("nobody") is None
    assert catalog.documents_of("a") == {each.key: each for each in (one, two, elsewhere)}
    assert catalog.documents_of("b") == {}
    give(catalog, content("a", two))
    assert catalog.by_call(call) == (two.key,)
    catalog.update({"a": None})
    assert catalog.by_call(call) == ()


def test_update_looks_at_no_more_than_it_changes() -> None:
    class Counting(dict[str, FileDocuments]):
        looked = 0

        def __getitem__(self, file: str) -> FileDocuments:
            self.looked += 1
            return super().__getitem__(file)

        def get(self, file: str, default: object = None) -> object:  # type: ignore[override]  # only what is used
            self.looked += 1
            return super().get(file, default)

        def __iter__(self) -> object:  # type: ignore[override]  # never to be called
            raise AssertionError("an update went over all files")

        items = values = keys = __iter__  # type: ignore[assignment]  # nor these

    catalog = Catalog()
    catalog.update({f"f{number}": content(f"f{number}", number) for number in range(2000)})
    counting = Counting(catalog._in_force)
    catalog._in_force = counting
    give(catalog, content("f7", desired("f7", 7, status=Status.ONGOING)))
    assert counting.looked <= 3


# Any sequence.

FILES = ["a", "b", "c", "d"]
#: Few recordings and names for many files, so that nearly every content meets another.
SCARCE = st.lists(
    st.tuples(st.integers(1, 5), st.sampled_from(["r1", "r2", "r3", "r4", "r5"]), st.sampled_from(Status)),
    max_size=3,
    unique_by=(lambda each: each[0], lambda each: each[1]),
)
UPDATES = st.dictionaries(
    st.sampled_from(FILES), st.one_of(SCARCE, SCARCE, SCARCE, st.none(), st.just("broken")), min_size=1
)


def build(file: str, drawn: object) -> FileDocuments | None:
    if drawn is None:
        return None
    if not isinstance(drawn, list):
        return broken(file)
    documents = (
        desired(file, number, name=name, line=line, status=status) for line, (number, name, status) in enumerate(drawn)
    )
    return content(file, *documents)


class CatalogMachine(RuleBasedStateMachine):
    """Every rule of the catalog, held against what was given, without knowing how it goes about it."""

    def __init__(self) -> None:
        super().__init__()
        self.catalog = Catalog()
        self.newest: dict[str, FileDocuments] = {}
        self.before: dict[str, Mapping[RecordingKey, Desired]] = {file: {} for file in FILES}

    @rule(drawn=UPDATES)
    def update(self, drawn: Mapping[str, object]) -> None:
        contents = {file: build(file, each) for file, each in drawn.items()}
        all_before, invalid_before = dict(self.catalog.desired), dict(self.catalog.invalid)
        self.before = {file: self.catalog.documents_of(file) for file in FILES}
        for file, each in contents.items():
            self.newest.pop(file, None)
            if each is not None:
                self.newest[file] = each
        change = self.catalog.update(contents)
        self.check_change(change, all_before, invalid_before)

    def check_change(
        self,
        change: CatalogChange,
        before: Mapping[RecordingKey, Desired],
        invalid_before: Mapping[str, tuple[Problem, ...]],
    ) -> None:
        now = self.catalog.desired
        differs = {key for key in now if before.get(key) != now[key]}
        decisive = {key for key in differs if key not in before or deciding(before[key]) != deciding(now[key])}
        assert sorted(change.changed) == sorted(decisive)
        assert sorted(change.moved) == sorted(differs - decisive)
        assert sorted(change.removed) == sorted(before.keys() - now.keys())
        invalid = self.catalog.invalid
        assert set(change.became_invalid) == {
            file for file, found in invalid.items() if invalid_before.get(file) != found
        }
        assert set(change.became_valid) == (invalid_before.keys() - invalid.keys()) & self.newest.keys()

    @invariant()
    def each_file_has_its_newest_content_in_force_or_what_it_had(self) -> None:
        for file in FILES:
            newest = self.newest.get(file)
            found = self.catalog.documents_of(file)
            if newest is None:
                assert found == {}
            elif file in self.catalog.invalid:
                assert found == self.before[file]
            else:
                assert found == {each.key: each for each in newest.desired}

    @invariant()
    def nothing_is_in_force_twice_and_every_look_up_agrees(self) -> None:
        held = [each for file in FILES for each in self.catalog.documents_of(file).values()]
        assert len(held) == len(self.catalog.desired)
        assert len({each.name for each in held}) == len(held)
        for each in held:
            assert self.catalog.desired[each.key] == each
            assert self.catalog.by_name(each.name) == each
        assert set(self.catalog.by_call(key_of(1).call)) == set(self.catalog.desired)

    @invariant()
    def what_is_kept_out_has_a_reason_that_holds_now(self) -> None:
        for file, problems in self.catalog.invalid.items():
            newest = self.newest[file]
            assert problems == (newest.problems or self.catalog.conflicts(newest))
            assert problems

    @invariant()
    def contents_that_agree_with_one_another_are_all_in_force(self) -> None:
        valid = [each for each in self.newest.values() if not each.problems]
        if len(valid) == len(self.newest) and not cross_check(valid):
            assert self.catalog.invalid == {}


TestCatalogMachine = CatalogMachine.TestCase
TestCatalogMachine.settings = settings(max_examples=150, stateful_step_count=12)


def deciding(each: Desired) -> tuple[object, ...]:
    return each.name, each.status, each.drift, each.suspend


@settings(max_examples=100)
@given(
    st.lists(st.dictionaries(st.sampled_from(FILES), st.one_of(st.none(), st.just("broken"), st.sampled_from(Status))))
)
def test_without_conflicts_the_catalog_is_a_dictionary_of_last_valid_versions(
    updates: list[dict[str, Status | str | None]],
) -> None:
    catalog = Catalog()
    model: dict[RecordingKey, Desired] = {}
    for update in updates:
        contents: dict[str, FileDocuments | None] = {}
        for file, drawn in update.items():
            number = FILES.index(file)
            if drawn is None:
                contents[file] = None
                model.pop(key_of(number), None)
            elif isinstance(drawn, Status):
                each = desired(file, number, status=drawn)
                contents[file] = content(file, each)
                model[each.key] = each
            else:
                contents[file] = broken(file)
        catalog.update(contents)
        assert catalog.desired == model
