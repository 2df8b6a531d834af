"""`plan --base REF` on the installed command: what a change of the documents does, with a look at live state or not.

What reports look like is `test_reports`'.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.house.rooms import HEAVY
from tests.world.documents import item
from tests.world.foreign_api import running
from tests.world.git import commit_all, git
from tests.world.ids import numbered, recording
from tests.world.places import SCHEMAS
from tests.world.shell import KEY, Shell

SCHEMA = json.loads((SCHEMAS / "plan.schema.json").read_text())


@pytest.fixture
def shell(shell: Shell) -> Shell:
    """A repository with four documents on `main`; no key, and nowhere to send one."""
    git(shell.folder, "init", "--quiet", "--initial-branch", "main")
    shell.env = {"RECONCILER_API_URL": "http://127.0.0.1:1", "GIT_CONFIG_GLOBAL": os.devnull}
    for number in range(1, 5):
        shell.write(f"desired_state/{number}.yaml", item(number))
    commit_all(shell.folder)
    git(shell.folder, "switch", "--quiet", "--create", "branch")
    return shell


def causes(data: dict[str, Any]) -> dict[str, str]:
    Draft202012Validator(SCHEMA).validate(data)
    return {action["name"]: f"{action['action']} {action['cause']}" for action in data["actions"]}


def test_a_branch_with_edits_a_rename_a_move_and_a_deletion(shell: Shell) -> None:
    shell.write("desired_state/1.yaml", item(1, "completed"))
    git(shell.folder, "mv", "desired_state/2.yaml", "desired_state/renamed.yaml")
    shell.write("desired_state/renamed.yaml", item(2) + "---\n" + item(3))
    (shell.folder / "desired_state/3.yaml").unlink()
    git(shell.folder, "rm", "--quiet", "desired_state/4.yaml")
    shell.write("desired_state/5.yaml", item(5))
    done = shell("plan", "--base", "main", "--report", "json", "--detailed-exitcode")
    assert done.code == 2, done.err
    plan = done.json()
    assert causes(plan) == {"card-1": "patch change", "card-4": "release change", "card-5": "patch change"}
    assert (plan["refreshed"], plan["base"]) == (False, git(shell.folder, "rev-parse", "main"))
    assert plan["actions"][0]["lastApplied"] == "paused"
    assert plan["actions"][0]["irreversible"] is True
    assert not (shell.folder / ".reconciler").exists(), "neither read nor made"
    commit_all(shell.folder)
    again = shell("plan", "--base", "main", "--report", "json").json()
    assert (again["actions"], again["digest"]) == (plan["actions"], plan["digest"])
    assert again["revision"] == git(shell.folder, "rev-parse", "HEAD")
    text = shell("plan", "--base", "main").out
    assert "Because of this change (3)" in text
    assert "card-1  paused -> completed  edit" in text


def test_no_change_is_exit_code_0_and_says_so(shell: Shell) -> None:
    done = shell("plan", "--base", "main", "--detailed-exitcode")
    assert (done.code, done.out.splitlines()[0]) == (0, "This change leads to no action.")


def test_an_invalid_file_on_the_branch_is_exit_code_1(shell: Shell) -> None:
    shell.write("desired_state/1.yaml", item(1, "pausd"))
    done = shell("plan", "--base", "main", "--detailed-exitcode")
    assert (done.code, done.out) == (1, "")
    assert "desired_state/1.yaml:10:11: " in done.err


def test_an_invalid_file_at_the_commit_is_exit_code_1_and_named_with_it(shell: Shell) -> None:
    shell.write("desired_state/1.yaml", item(1, "pausd"))
    commit_all(shell.folder)
    shell.write("desired_state/1.yaml", item(1))
    done = shell("plan", "--base", "HEAD", "--detailed-exitcode")
    assert (done.code, done.out) == (1, "")
    assert "HEAD:desired_state/1.yaml:10:11: " in done.err


def test_a_folder_or_file_that_the_branch_removed_is_a_deletion(shell: Shell) -> None:
    git(shell.folder, "rm", "--quiet", "-r", "desired_state")
    done = shell("plan", "--base", "main", "--report", "json")
    assert set(causes(done.json()).values()) == {"release change"}
    one = shell("plan", "--base", "main", "--report", "json", "desired_state/1.yaml")
    assert causes(one.json()) == {"card-1": "release change"}
    nowhere = shell("plan", "--base", "main", "nowhere")
    assert (nowhere.code, "no such file or folder" in nowhere.err) == (1, True)


def test_it_starts_without_what_only_live_state_needs(shell: Shell) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "reconciler", "plan", "--base", "main"],
        cwd=shell.folder,
        # What measures the tests imports modules of its own.
        env={name: value for name, value in os.environ.items() if not name.startswith("COV")},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    assert "reconciler" in imported
    assert imported & HEAVY == set()


@pytest.mark.parametrize("more", [(), ("--staged",)])
def test_an_empty_commit_as_of_a_variable_that_is_not_set_is_refused(shell: Shell, more: tuple[str, ...]) -> None:
    done = shell("plan", "--base", "", *more)
    assert (done.code, done.out) == (1, "")
    assert "`` names no commit" in done.err


def test_an_unknown_commit_and_contradictions_are_refused(shell: Shell) -> None:
    unknown = shell("plan", "--base", "mian")
    assert (unknown.code, "`mian` names no commit" in unknown.err) == (1, True)
    assert "`git branch --all` and `git tag` list what there is" in unknown.err
    assert "shallow" not in unknown.err


def test_a_clone_is_called_shallow_where_it_is(shell: Shell) -> None:
    clone = shell.folder.parent / "clone"
    git(shell.folder, "commit", "--quiet", "--allow-empty", "--message", "Another")
    git(shell.folder, "clone", "--quiet", "--depth=1", f"file://{shell.folder}", str(clone))
    shell.folder = clone
    unknown = shell("plan", "--base", "HEAD~1")
    assert (unknown.code, "`HEAD~1` names no commit" in unknown.err) == (1, True)
    assert "this clone is shallow: fetch it first" in unknown.err
    assert shell("plan", "--refresh", "--no-refresh").code == 64


def test_with_a_look_the_report_separates_the_causes(shell: Shell) -> None:
    with running(key=KEY) as api:
        shell.env |= {"RECONCILER_API_URL": api.url, "BIRD_ACCESS_KEY": KEY}
        api.seed([recording(recording_id=numbered(number)) for number in range(1, 6)])
        assert shell("apply", "--yes").code == 0
        shell.write("desired_state/3.yaml", item(3, "completed"))
        commit_all(shell.folder)
        api.set_status(**{numbered(2): "ongoing"})
        sent = len(api.patches())
        shell.write("desired_state/1.yaml", item(1, "ongoing"))
        done = shell("plan", "--base", "HEAD", "--refresh", "--report", "json", "--report", "text=plan.txt")
        assert causes(done.json()) == {"card-1": "patch change", "card-2": "patch drift", "card-3": "patch pending"}
        assert done.json()["refreshed"] is True
        text = (shell.folder / "plan.txt").read_text()
        headings = [line for line in text.splitlines() if line and not line.startswith(" ")]
        assert [line for line in headings if not line.startswith("To patch")] == [
            "Because of this change (1)",
            "Drift that was there before (1)",
            "Other pending edits (1)",
            "Plan: 3 to patch (1 drift), 0 waiting, 0 held, 0 to report, 0 to release, 1 in sync.",
        ]
        assert len(api.patches()) == sent
        assert shell("plan", "--base", "HEAD", "--refresh", "--out", "saved.json").code == 0
        assert shell("apply", "--plan", "saved.json", "--yes").code == 0
        assert sorted(api.patches()[sent:]) == [
            (numbered(1), "ongoing"),
            (numbered(2), "paused"),
            (numbered(3), "completed"),
        ]


def test_a_change_plan_without_a_look_cannot_be_applied(shell: Shell) -> None:
    shell.write("desired_state/1.yaml", item(1, "completed"))
    assert shell("plan", "--base", "main", "--out", "saved.json").code == 0
    refused = shell("apply", "--plan", "saved.json", "--yes")
    assert (refused.code, "--base without --refresh" in refused.err) == (1, True)
