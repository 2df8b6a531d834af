"""A plan as people and programs read it. The golden files show whole reports, as they are meant to be read."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from reconciler.model.documents import Suspend
from reconciler.model.moments import instant
from reconciler.model.statuses import Drift, Live, Status
from reconciler.plan.data import as_data, as_json
from reconciler.plan.limits import Limits
from reconciler.plan.plan import Plan, Summary, make_plan
from reconciler.report.text import as_text, plain
from reconciler.report.words import summary_line
from tests.world.nouns import NOW, document, key, look, record
from tests.world.places import DATA, SCHEMAS

SCHEMA = json.loads((SCHEMAS / "plan.schema.json").read_text())


@pytest.fixture
def plan() -> Plan:
    """One recording for each thing that a report can say."""
    applied = {"last_applied": Status.PAUSED}
    ongoing = {"last_applied": Status.ONGOING}
    desired = [
        document(1),
        document(2),
        document(3, "completed"),
        document(4, "ongoing"),
        document(5, "ongoing", name="evening-shift/a-5"),
        document(6, suspend=Suspend("incident 4411", NOW + timedelta(hours=1))),
        document(7, "ongoing"),
        document(8, drift=Drift.REPORT),
        document(9),
        document(10),
        document(11),
        document(12),
        document(13),
        document(14),
    ]
    records = [
        record(2, **applied),
        record(4, "ongoing", **applied),
        record(7, "ongoing", **ongoing),
        record(8, **applied),
        record(9, **applied),
        record(11, sent=Status.PAUSED, confirm_by=NOW + timedelta(seconds=20)),
        record(12, **applied),
        record(20, name="taken-away", **applied),
        record(21, name="taken-away-before-it-took-effect"),
    ]
    live: dict[int, Live] = {
        1: look("ongoing"),
        2: look("ongoing"),
        3: look("paused"),
        4: look("paused"),
        5: look("paused"),
        6: look("ongoing"),
        7: look("paused"),
        8: look("ongoing"),
        9: look("completed"),
        10: look("gone", detail="the call has ended (completed) and the workspace has no such recording", ended=True),
        11: look("ongoing"),
        12: look("paused"),
        13: look("accepted"),
        14: look("transcoding"),
    }
    return make_plan(
        desired,
        {kept.key: kept for kept in records},
        {key(number): seen for number, seen in live.items()},
        now=NOW,
        limits=Limits(max_resumes=0),
        revision="4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    )


def golden(name: str, text: str) -> None:
    """Compare with the golden file; where it is missing it is written, to be read and kept by a person."""
    path = DATA / name
    if not path.exists():
        path.write_text(text)
        pytest.fail(f"{path.name} was missing and has been written: read it, and run again")
    assert text == path.read_text()


def test_the_text_report(plan: Plan) -> None:
    golden("plan.txt", as_text(plan))


def test_the_text_report_with_what_is_in_sync(plan: Plan) -> None:
    golden("plan-all.txt", as_text(plan, show_all=True))


def test_the_json_report(plan: Plan) -> None:
    golden("plan.json", as_json(plan))


def test_painted_text_says_the_same(plan: Plan) -> None:
    roles = []

    def paint(text: str, role: str) -> str:
        roles.append(role)
        return f"<{role}>{text}</>"

    painted = as_text(plan, paint=paint)
    assert set(roles) == {"change", "danger", "quiet", "heading"}
    for role in roles:
        painted = painted.replace(f"<{role}>", "")
    assert painted.replace("</>", "") == as_text(plan)
    assert plain("text", "danger") == "text"


def test_the_summary_line_is_the_contracts_example() -> None:
    line = "Plan: 1 to patch (1 drift), 0 waiting, 0 held, 0 to report, 0 to release, 41 in sync."
    assert summary_line(Summary(patch=1, noop=41, drift=1)) == line


def test_a_plan_of_nothing_is_one_line() -> None:
    empty = make_plan([], {}, {}, now=NOW, limits=Limits())
    assert as_text(empty) == summary_line(Summary()) + "\n"


def test_the_text_report_ends_with_its_summary(plan: Plan) -> None:
    assert as_text(plan).splitlines()[-1] == summary_line(plan.summary)


def test_without_a_look_the_live_status_is_a_question_mark() -> None:
    offline = make_plan([document()], {}, None, now=NOW, limits=Limits())
    assert "? -> paused" in as_text(offline)


def problems(data: Any) -> list[str]:
    validator = Draft202012Validator(SCHEMA, format_checker=FormatChecker())
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(data)]


@pytest.mark.parametrize("show_all", [False, True])
def test_the_json_report_fits_its_schema(plan: Plan, show_all: bool) -> None:
    data = json.loads(as_json(plan, show_all=show_all))
    assert data == as_data(plan, show_all=show_all)
    assert problems(data) == []
    assert problems(data | {"createdAt": "yesterday"}), "the check of the schema looks at formats too"


def test_a_plan_without_git_and_without_a_look_fits_its_schema() -> None:
    offline = make_plan([document()], {}, None, now=NOW, limits=Limits())
    data = as_data(offline)
    assert problems(data) == []
    assert (data["revision"], data["refreshed"], data["actions"][0]["live"]) == (None, False, None)


def test_actions_leave_out_what_is_in_sync_unless_all_are_asked_for(plan: Plan) -> None:
    shown, everything = as_data(plan), as_data(plan, show_all=True)
    assert "noop" not in {action["action"] for action in shown["actions"]}
    assert [action["name"] for action in everything["actions"]] == [action.name for action in plan.actions]
    assert shown["digest"] == everything["digest"] == plan.digest


def test_a_report_shows_chosen_fields_only(plan: Plan) -> None:
    secret = "a reason that was not meant to be shown"
    hidden = document(1)._replace(suspend=Suspend(secret, NOW + timedelta(hours=1)))
    shown = make_plan([hidden], {}, {key(1): look("ongoing")}, now=NOW, limits=Limits())
    assert secret not in as_text(shown) + as_json(shown)


def test_an_instant_is_utc_with_milliseconds() -> None:
    assert instant(NOW) == "2026-11-22T18:00:00.000Z"
    assert instant(NOW + timedelta(microseconds=123456)) == "2026-11-22T18:00:00.123Z"
