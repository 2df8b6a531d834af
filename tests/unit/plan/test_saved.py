"""Saved plans: what `plan --out` writes is read back whole, and whatever else it may be is refused.

Aspects: the file, the fit to a new plan, the guard before each PATCH, the approval of a digest. A saved plan from its
making to the end is in `test_the_whole`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.model.documents import Desired
from reconciler.model.errors import ReconcilerError, StalePlan
from reconciler.model.keys import RecordingKey
from reconciler.model.records import Record
from reconciler.model.statuses import Live, Outcome, Status
from reconciler.plan.limits import Limits
from reconciler.plan.plan import Plan, digest_line, make_plan
from reconciler.plan.saved import as_saved, check_approved, check_fits, check_place, load_saved
from tests.world.bench import Bench, Fault, statuses
from tests.world.documents import document as yaml_document
from tests.world.foreign_api import running
from tests.world.ids import recording
from tests.world.nouns import NOW, document, key, look, record
from tests.world.shell import KEY, Shell

Data = dict[str, Any]


def plan_of(live: dict[int, str], *, refresh: bool = True, desired: list[Desired] | None = None) -> Plan:
    documents = [document(number) for number in live] if desired is None else desired
    applied: dict[RecordingKey, Record] = {key(9): record(9, last_applied=Status.PAUSED)}
    seen: dict[RecordingKey, Live] = {key(number): look(word) for number, word in live.items()}
    plan = make_plan(documents, applied, seen if refresh else None, now=NOW, limits=Limits())
    return replace(plan, api="https://api.example", paths=("desired_state",))


def saved_form(plan: Plan) -> Data:
    """The body that the command line writes for `--out`."""
    return json.loads(json.dumps(as_saved(plan)))  # type: ignore[no-any-return]  # an object


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "plan.json"


@pytest.fixture
def plan() -> Plan:
    return plan_of({1: "ongoing", 2: "paused", 3: "transcoding", 4: "failed"})


def test_a_saved_plan_is_read_back_whole(file: Path, plan: Plan) -> None:
    plan = replace(plan, paths=("desired_state", "more.yaml"))
    file.write_text(json.dumps(saved_form(plan)))
    saved = load_saved(str(file))
    assert saved.paths == ("desired_state", "more.yaml")
    assert saved.digest == plan.digest
    assert saved.keys == {key(1), key(3), key(4), key(9)}, "all but what is in sync"
    assert saved.lines == {action.key: digest_line(action) for action in plan.actions if action.kind != "noop"}
    check_fits(saved, plan)


def test_a_plan_of_nothing_can_be_saved(file: Path) -> None:
    empty = replace(make_plan([], {}, {}, now=NOW, limits=Limits()), api="sandbox", paths=("desired_state",))
    file.write_text(json.dumps(saved_form(empty)))
    assert load_saved(str(file)).keys == frozenset()


def change(path: list[Any], value: object) -> Callable[[Data], object]:
    def changed(data: Data) -> object:
        inner: Any = data
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = value
        return data

    return changed


def without(name: str) -> Callable[[Data], object]:
    return lambda data: {kept: value for kept, value in data.items() if kept != name}


def doubled(data: Data) -> object:
    data["actions"].append(data["actions"][0])
    return data


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (change(["actions", 0, "desired"], "completed"), "was changed after it was saved"),
        (change(["actions", 0, "live"], "paused"), "was changed after it was saved"),
        (change(["actions", 0, "lastApplied"], "paused"), "was changed after it was saved"),
        (change(["actions", 0, "recordingId"], key(77).recording_id), "was changed after it was saved"),
        (change(["actions", 0, "action"], "noop"), "was changed after it was saved"),
        (change(["digest"], "sha256:0"), "was changed after it was saved"),
        (change(["actions"], []), "was changed after it was saved"),
        (doubled, "was changed after it was saved"),
        (change(["format"], "reconciler.plan/v3"), "has the format 'reconciler.plan/v3'"),
        (change(["api"], "https://other.example"), "was changed after it was saved"),
        (change(["paths"], ["elsewhere"]), "was changed after it was saved"),
        (change(["api"], ""), "of which API"),
        (change(["api"], None), "damaged"),
        (without("api"), "damaged"),
        (change(["refreshed"], False), "without a look at what is live"),
        (change(["actions", 0, "irreversible"], True), "checksum"),
        (change(["actions", 0, "file"], "elsewhere.yaml"), "checksum"),
        (change(["summary", "patch"], 0), "checksum"),
        (change(["revision"], "0" * 40), "checksum"),
        (change(["checksum"], "sha256:0"), "checksum"),
        (without("checksum"), "damaged"),
        (change(["paths"], []), "and paths"),
        (change(["paths"], "desired_state"), "damaged"),
        (change(["paths"], [1]), "damaged"),
        (without("paths"), "damaged"),
        (without("digest"), "damaged"),
        (without("format"), "damaged"),
        (without("actions"), "damaged"),
        (change(["actions", 0, "recordingId"], "../calls"), "damaged"),
        (change(["actions", 0, "recordingId"], 5), "damaged"),
        (change(["actions", 0], None), "damaged"),
        (change(["actions"], 5), "damaged"),
        (lambda data: [data], "damaged"),
        (lambda _data: "plan", "damaged"),
        (lambda _data: None, "damaged"),
    ],
)
def test_what_is_no_whole_plan_is_refused(
    file: Path, plan: Plan, tamper: Callable[[Data], object], message: str
) -> None:
    file.write_text(json.dumps(tamper(saved_form(plan))))
    with pytest.raises(ReconcilerError, match=message) as caught:
        load_saved(str(file))
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"Plan: 1 to patch", b"\xff\xfe", b"[" * 100_000, b'{"format"'], ids=lambda content: content[:8]
)
def test_what_is_no_json_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(ReconcilerError, match="is not a saved plan"):
        load_saved(str(file))


@pytest.mark.parametrize("field", ["name", "action", "reason", "desired", "lastApplied", "live"])
@pytest.mark.parametrize("value", [5, ["paused"], {"a": 1}, True])
def test_words_that_are_none_are_damage_whatever_the_digest_says(
    file: Path, plan: Plan, field: str, value: object
) -> None:
    file.write_text(json.dumps(change(["actions", 0, field], value)(saved_form(plan))))
    with pytest.raises(ReconcilerError, match="is not a saved plan, or it is damaged"):
        load_saved(str(file))


def test_a_file_that_is_not_there_or_a_folder_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ReconcilerError, match="cannot be read") as caught:
            load_saved(str(path))
        assert str(path) in str(caught.value)


def test_a_plan_without_a_look_cannot_be_applied(file: Path) -> None:
    file.write_text(json.dumps(saved_form(plan_of({1: "ongoing"}, refresh=False))))
    with pytest.raises(ReconcilerError, match="--no-refresh"):
        load_saved(str(file))


def test_only_the_approved_plan_may_be_sent(file: Path, plan: Plan) -> None:
    file.write_text(json.dumps(saved_form(plan)))
    saved = load_saved(str(file))
    check_approved(saved, plan.digest)
    with pytest.raises(StalePlan, match="not the one that was approved") as caught:
        check_approved(saved, replace(plan, actions=()).digest)
    assert plan.digest in str(caught.value)


def test_a_plan_of_an_earlier_version_is_stale(file: Path, plan: Plan) -> None:
    file.write_text(json.dumps(change(["format"], "reconciler.plan/v1")(saved_form(plan))))
    with pytest.raises(StalePlan, match="earlier version") as caught:
        load_saved(str(file))
    assert str(file) in str(caught.value)


def test_a_plan_is_applied_where_it_was_made_and_nowhere_else(
    file: Path, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "desired_state").mkdir()
    monkeypatch.chdir(tmp_path)
    file.write_text(json.dumps(saved_form(plan)))
    saved = load_saved(str(file))
    check_place(saved, "https://api.example")
    for other in ("sandbox", "https://api.example/v2", "http://api.example"):
        with pytest.raises(StalePlan, match=r"tells of https://api\.example, and this is"):
            check_place(saved, other)
    monkeypatch.chdir(tmp_path / "desired_state")
    with pytest.raises(StalePlan, match="desired_state, which is not there"):
        check_place(saved, "https://api.example")


def test_a_plan_of_which_all_is_so_already_says_that(file: Path) -> None:
    file.write_text(json.dumps(saved_form(plan_of({1: "ongoing"}, desired=[document(1)]))))
    with pytest.raises(StalePlan, match="is already so"):
        check_fits(load_saved(str(file)), plan_of({1: "paused"}, desired=[document(1)]))


def test_a_file_or_line_that_moved_does_not_make_a_plan_stale(file: Path, plan: Plan) -> None:
    file.write_text(json.dumps(saved_form(plan)))
    moved = replace(plan, actions=tuple(action._replace(file="moved.yaml", line=99) for action in plan.actions))
    check_fits(load_saved(str(file)), moved)


def test_a_stale_plan_names_what_differs(file: Path, plan: Plan) -> None:
    file.write_text(json.dumps(saved_form(plan)))
    now = plan_of({1: "paused", 2: "paused", 3: "transcoding"})
    with pytest.raises(StalePlan) as caught:
        check_fits(load_saved(str(file)), now)
    first, *lines = str(caught.value).splitlines()
    assert "nothing was sent" in first
    assert [line.split(", now ") for line in lines] == [
        [
            "  card-001: patch (edit), desired paused, last-applied none, live ongoing",
            "already so",
        ],
        [
            "  card-004: report (ended_before_effect), desired paused, last-applied none, live failed",
            "nothing to decide",
        ],
    ]


def test_a_stale_plan_names_ten_differences_at_most(file: Path) -> None:
    file.write_text(json.dumps(saved_form(plan_of(dict.fromkeys(range(1, 40), "ongoing")))))
    with pytest.raises(StalePlan) as caught:
        check_fits(load_saved(str(file)), plan_of({}))
    assert len(str(caught.value).splitlines()) == 1 + 10 + 1
    assert str(caught.value).endswith("and 29 more")


def test_recordings_that_the_plan_does_not_list_do_not_make_it_stale(file: Path, plan: Plan) -> None:
    file.write_text(json.dumps(saved_form(plan)))
    more = plan_of({1: "ongoing", 2: "ongoing", 3: "transcoding", 4: "failed", 5: "ongoing"})
    check_fits(load_saved(str(file)), more)


# The guard before each PATCH.


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A bench on which a saved plan is carried out: one recording, live `ongoing`, to be paused."""
    plan = make_plan([document(1)], {}, {key(1): look("ongoing")}, now=NOW, limits=Limits())
    made = Bench(tmp_path, expected={action.key: action for action in plan.actions})
    made.world.add(key(1), "ongoing")
    made.declare(document(1))
    yield made
    made.close()


async def test_what_the_plan_says_is_sent_and_tried_again(bench: Bench) -> None:
    bench.world.patch_faults.append(Fault.SERVER_ERROR)
    await bench.until_idle(key(1))
    assert statuses(bench.world.patches) == ["paused", "paused"]
    assert bench.row(key(1)).last_applied is Status.PAUSED


@pytest.mark.parametrize("word", ["paused", "transcoding", "completed", "gone"])
async def test_what_needs_no_patch_any_more_gets_none(bench: Bench, word: str) -> None:
    bench.world.set(key(1), word)
    await bench.turn(key(1))
    assert bench.world.patches == []


async def test_a_patch_that_the_plan_does_not_say_is_not_sent(bench: Bench) -> None:
    for changed in (document(1, "completed"), document(2)):
        bench.world.add(changed.key, "ongoing")
        bench.declare(changed)
        turn = await bench.turn(changed.key)
        assert (turn.outcome, turn.again) == (Outcome.SKIPPED, None)
        assert isinstance(turn.error, StalePlan)
    assert bench.world.patches == []
    assert bench.words() == []


# The approval.


def test_an_approval_is_bound_to_a_digest(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    with running(key=KEY) as api:
        api.seed([recording()])
        shell.env["RECONCILER_API_URL"] = api.url
        shell.write("desired_state/one.yaml", yaml_document())
        digest = shell("plan", "--out", "plan.json", "--report", "json").json()["digest"]
        apply = ("apply", "--plan", "plan.json", "--yes", "--expect-digest")
        other = shell(*apply, "sha256:" + "0" * 64)
        assert (other.code, digest in other.err, api.patches()) == (5, True, [])
        assert shell(*apply, digest[:-1]).code == 64
        assert shell("apply", "--yes", "--expect-digest", digest).code == 64
        assert shell(*apply, digest).code == 0
        assert len(api.patches()) == 1
    assert shell.leaks() == []
