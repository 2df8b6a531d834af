"""`plan --base REF`: what a change of the documents does, told from a real repository, and from live state where asked.

Aspects: the decision about a change and its causes, the documents at a commit, hostile repositories, the command. Which
action follows from three states is `test_decide`'s; what reports look like is `test_reports`'.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from reconciler.desired.baseline import Baseline, read_baseline
from reconciler.desired.documents import DEFAULT_LIMITS, DocumentLimits
from reconciler.model.actions import ActionKind
from reconciler.model.documents import Desired, Suspend
from reconciler.model.errors import ReconcilerError
from reconciler.model.keys import RecordingKey
from reconciler.model.records import Record
from reconciler.model.statuses import Live, Phase, Status
from reconciler.plan.limits import Limits
from reconciler.plan.plan import Cause, Plan, make_change_plan
from tests.house.rooms import HEAVY
from tests.world.documents import item
from tests.world.foreign_api import running
from tests.world.git import commit_all, git
from tests.world.ids import numbered, recording
from tests.world.nouns import NOW, document, key, look, record
from tests.world.places import SCHEMAS
from tests.world.shell import KEY, Shell

SCHEMA = json.loads((SCHEMAS / "plan.schema.json").read_text())
SUSPENDED = Suspend("incident 4411", NOW + timedelta(hours=1))


# The decision.


def change_plan(
    desired: list[Desired],
    before: list[Desired],
    applied: list[Record] | None = None,
    live: dict[int, str] | None = None,
) -> Plan:
    records: dict[RecordingKey, Record] = {each.key: each for each in applied or ()}
    seen: dict[RecordingKey, Live] | None = None
    if live is not None:
        seen = {key(number): look(word) for number, word in live.items()}
    return make_change_plan(desired, before, records, seen, base="b" * 40, now=NOW, limits=Limits())


def told(plan: Plan) -> list[tuple[str, str, str | None]]:
    """What a plan says: of each action its name, what is done, and the cause."""
    assert plan.causes is not None
    return [(action.name, action.kind.value, plan.causes.get(action.key)) for action in plan.actions]


@pytest.mark.parametrize(
    ("now", "before", "expected"),
    [
        ([document()], [document()], [("card-001", "noop", None)]),
        ([document()], [document(status="ongoing")], [("card-001", "patch", "change")]),
        ([document()], [], [("card-001", "patch", "change")]),
        ([], [document()], [("card-001", "release", "change")]),
        ([document(name="renamed", file="moved.yaml")], [document()], [("renamed", "noop", None)]),
        (
            [document(2, name="card-001")],
            [document()],
            [("card-001", "release", "change"), ("card-001", "patch", "change")],
        ),
        ([document(suspend=SUSPENDED)], [document()], [("card-001", "hold", "change")]),
        ([document(suspend=SUSPENDED)], [document(suspend=SUSPENDED)], [("card-001", "hold", "pending")]),
        ([document()], [document(suspend=SUSPENDED)], [("card-001", "patch", "change")]),
        (
            [document(status="completed", suspend=SUSPENDED)],
            [document(suspend=SUSPENDED)],
            [("card-001", "hold", "change")],
        ),
    ],
    ids=["same", "edit", "new", "removed", "renamed", "other recording", "suspends", "suspended", "resumes", "both"],
)
def test_without_a_look_only_the_documents_are_compared(
    now: list[Desired], before: list[Desired], expected: list[tuple[str, str, str | None]]
) -> None:
    assert told(change_plan(now, before)) == expected


def test_with_a_look_change_drift_and_pending_edits_are_told_apart() -> None:
    edited, drifted, pending, waiting, synced = (document(number) for number in (1, 2, 3, 4, 5))
    before = [document(1, "ongoing"), drifted, pending, waiting, synced]
    applied = [
        record(1, "ongoing", last_applied=Status.ONGOING, phase=Phase.APPLIED),
        record(2, last_applied=Status.PAUSED, phase=Phase.APPLIED),
        record(3, "ongoing", last_applied=Status.ONGOING, phase=Phase.APPLIED),
        record(4),
        record(5, last_applied=Status.PAUSED, phase=Phase.APPLIED),
        record(9, name="taken-away-before", last_applied=Status.PAUSED),
    ]
    live = {1: "ongoing", 2: "ongoing", 3: "ongoing", 4: "accepted", 5: "paused"}
    assert told(change_plan([edited, drifted, pending, waiting, synced], before, applied, live)) == [
        ("card-001", "patch", "change"),
        ("card-002", "patch", "drift"),
        ("card-003", "patch", "pending"),
        ("card-004", "wait", "pending"),
        ("card-005", "noop", None),
        ("taken-away-before", "release", "pending"),
    ]


def test_an_edit_of_what_has_drifted_is_because_of_the_change() -> None:
    applied = [record(last_applied=Status.PAUSED)]
    plan = change_plan([document(status="completed")], [document()], applied, {1: "ongoing"})
    assert told(plan) == [("card-001", "patch", "change")]


def test_where_nothing_is_recorded_the_documents_before_stand_in_for_it() -> None:
    plan = change_plan(
        [document(), document(2)], [document(), document(2, "ongoing")], [], {1: "ongoing", 2: "ongoing"}
    )
    assert told(plan) == [("card-001", "patch", "drift"), ("card-002", "patch", "change")]
    assert [action.last_applied for action in plan.actions] == [Status.PAUSED, Status.ONGOING]


def test_a_removed_document_that_was_never_recorded_is_shown() -> None:
    plan = change_plan([document()], [document(), document(2)], [record(last_applied=Status.PAUSED)], {1: "paused"})
    assert told(plan) == [("card-001", "noop", None), ("card-002", "release", "change")]


STATUSES = st.sampled_from(list(Status))


@given(
    documents=st.lists(st.tuples(st.integers(1, 6), STATUSES), unique_by=lambda each: each[0]),
    last_applied=st.dictionaries(st.integers(1, 6), st.none() | STATUSES),
    live=st.dictionaries(st.integers(1, 6), st.sampled_from(["accepted", "ongoing", "paused", "completed", "failed"])),
    refresh=st.booleans(),
)
def test_no_change_is_never_a_cause(
    documents: list[tuple[int, Status]],
    last_applied: dict[int, Status | None],
    live: dict[int, str],
    refresh: bool,
) -> None:
    desired = [document(number, status) for number, status in documents]
    applied = [record(number, last_applied=status) for number, status in last_applied.items()]
    seen = {number: live.get(number, "gone") for number, _ in documents} if refresh else None
    plan = change_plan(desired, desired, applied, seen)
    assert plan.causes is not None
    assert Cause.CHANGE not in plan.causes.values()
    assert plan.causes.keys() == {action.key for action in plan.actions if action.kind is not ActionKind.NOOP}


# The documents at a commit.


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository, the working directory, with two documents in a commit."""
    root = tmp_path / "repository"
    (root / "desired_state" / "team").mkdir(parents=True)
    git(root, "init", "--quiet", "--initial-branch", "main")
    (root / "desired_state" / "a.yaml").write_text(item(1))
    (root / "desired_state" / "team" / "b.yml").write_text(item(2))
    commit_all(root, "Add documents")
    monkeypatch.chdir(root)
    return root


def read(reference: str = "main", *paths: str, limits: DocumentLimits = DEFAULT_LIMITS) -> Baseline:
    return read_baseline(reference, paths or ("desired_state",), limits)


def places(baseline: Baseline) -> list[tuple[str, str]]:
    return [(each.name, each.file) for each in baseline.desired]


def test_the_work_tree_is_neither_read_nor_touched(repository: Path) -> None:
    (repository / "desired_state" / "a.yaml").write_text("broken: [")
    (repository / "desired_state" / "team" / "b.yml").unlink()
    before = sorted((str(path), path.stat().st_mtime_ns) for path in repository.rglob("*"))
    baseline = read()
    assert (places(baseline), baseline.problems) == ([("card-1", A), ("card-2", B)], ())
    assert baseline.commit == git(repository, "rev-parse", "main")
    assert sorted((str(path), path.stat().st_mtime_ns) for path in repository.rglob("*")) == before


A, B = "desired_state/a.yaml", "desired_state/team/b.yml"


def test_paths_mean_what_they_mean_on_disk(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "desired_state" / ".hidden").mkdir()
    (repository / "desired_state" / ".hidden" / "c.yaml").write_text(item(3))
    (repository / "desired_state" / ".d.yaml").write_text(item(4))
    (repository / "desired_state" / "notes.txt").write_text("no document")
    (repository / "single.txt").write_text(item(5))
    commit_all(repository)
    assert places(read("main", A)) == [("card-1", A)]
    assert places(read("main", "desired_state/team", A)) == [("card-1", A), ("card-2", B)]
    assert places(read("main", "desired_state", A)) == [("card-1", A), ("card-2", B)], "what is given twice counts once"
    assert places(read("main", "single.txt")) == [("card-5", "single.txt")]
    assert places(read("main", ".")) == [("card-1", A), ("card-2", B)]
    assert places(read("main", str(repository / "desired_state"))) == [
        ("card-1", str(repository / A)),
        ("card-2", str(repository / B)),
    ]
    monkeypatch.chdir(repository / "desired_state")
    assert places(read("main", ".")) == [("card-1", "a.yaml"), ("card-2", "team/b.yml")]
    assert places(read("main", "team", "../single.txt")) == [("card-2", "team/b.yml"), ("card-5", "../single.txt")]


def test_a_path_that_is_nowhere_any_more_is_found_at_the_commit(repository: Path) -> None:
    git(repository, "rm", "--quiet", "-r", "desired_state/team")
    assert places(read("main", "desired_state/team")) == [("card-2", "desired_state/team/b.yml")]
    assert read("main", "desired_state/team", "elsewhere").present == {"desired_state/team"}


def test_names_that_git_would_quote_or_match_are_names(repository: Path) -> None:
    for number, name in enumerate(["ü ñ.yaml", "*.yaml", ":(top)x.yaml", "-r.yaml", 'q"uote.yaml'], start=10):
        (repository / "desired_state" / name).write_text(item(number))
    commit_all(repository)
    assert len(read().desired) == 7
    assert places(read("main", "desired_state/*.yaml")) == [("card-11", "desired_state/*.yaml")]


def test_mistakes_at_the_commit_are_named_with_it(repository: Path) -> None:
    (repository / A).write_text(item(1, "pausd"))
    (repository / "desired_state" / "again.yaml").write_text(item(2))
    Path(os.fsdecode(os.fsencode(repository) + b"/desired_state/\xff.yaml")).write_text(item(7))
    commit_all(repository)
    baseline = read("HEAD")
    assert baseline.desired == ()
    assert [(problem.file, problem.rule) for problem in baseline.problems] == [
        ("HEAD:desired_state/\\udcff.yaml", "file-name"),
        ("HEAD:desired_state/a.yaml", "not-allowed"),
        ("HEAD:desired_state/team/b.yml", "duplicate-name"),
    ]


def test_a_file_that_is_too_large_is_not_read(repository: Path) -> None:
    baseline = read(limits=DocumentLimits(max_file_bytes=100))
    assert {problem.rule for problem in baseline.problems} == {"too-large"}


def test_links_and_submodules_hold_no_document_of_their_own(repository: Path) -> None:
    (repository / "desired_state" / "link.yaml").symlink_to("a.yaml")
    (repository / "desired_state" / "out.yaml").symlink_to("/etc/passwd")
    commit = git(repository, "rev-parse", "HEAD")
    git(repository, "add", "--all")
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{commit},desired_state/module.yaml")
    git(repository, "commit", "--quiet", "--message", "Add links")
    assert places(read()) == [("card-1", A), ("card-2", B)]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nowhere", "names no commit"),
        ("release", "did you mean `origin/release`"),
        ("--output=/tmp/x", "names no commit"),
        ("", "names no commit"),
        ("main\0", "names no commit"),
        ("main:desired_state", "names no commit"),
    ],
)
def test_what_names_no_commit_is_explained(repository: Path, reference: str, message: str) -> None:
    git(repository, "update-ref", "refs/remotes/origin/release", "HEAD")
    with pytest.raises(ReconcilerError, match=message):
        read(reference)


def test_outside_of_a_repository_or_across_two_it_is_explained(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(ReconcilerError, match="not a git repository"):
        read("main", str(tmp_path))
    with pytest.raises(ReconcilerError, match="is not in the repository"):
        read("main", "desired_state", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ReconcilerError, match="install git"):
        read()


def test_before_the_first_commit_head_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "--quiet")
    monkeypatch.chdir(tmp_path)
    assert read("HEAD") == Baseline("HEAD", None, (), (), frozenset())
    with pytest.raises(ReconcilerError, match="names no commit"):
        read("main~1")


def test_a_hook_of_another_repository_does_not_mislead_it(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"GIT_DIR": ".git", "GIT_INDEX_FILE": "/nowhere", "GIT_WORK_TREE": "/nowhere"}.items():
        monkeypatch.setenv(name, value)
    assert len(read("main", "desired_state/team").desired) == 1


@pytest.mark.parametrize("how", ["GLOB", "ICASE", "LITERAL", "NOGLOB"])
def test_paths_are_literal_whatever_the_environment_says(
    repository: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setenv(f"GIT_{how}_PATHSPECS", "1")
    assert len(read("main", "desired_state/team").desired) == 1


def test_a_repository_cannot_make_it_run_or_fetch_anything(repository: Path) -> None:
    trap = repository / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {repository}/sprung\ncat\n")
    trap.chmod(0o755)
    (repository / ".gitattributes").write_text("*.yaml filter=trap diff=trap\n*.yml filter=lfs\n")
    commit_all(repository)
    for name in (
        "core.fsmonitor",
        "filter.trap.smudge",
        "filter.trap.clean",
        "filter.lfs.process",
        "diff.trap.textconv",
    ):
        git(repository, "config", name, str(trap))
    git(repository, "config", "core.hooksPath", str(repository))
    git(repository, "config", "filter.lfs.smudge", str(trap))
    assert len(read().desired) == 2
    # An object that is missing here must not be fetched, as a partial clone would on its own.
    git(repository, "config", "remote.origin.url", f"ext::{trap}")
    git(repository, "config", "remote.origin.promisor", "true")
    git(repository, "config", "extensions.partialClone", "origin")
    git(repository, "config", "protocol.ext.allow", "always")
    blob = git(repository, "rev-parse", f"main:{A}")
    (repository / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(ReconcilerError, match=r"desired_state/a\.yaml of main is not in the repository"):
        read()
    assert not (repository / "sprung").exists()


def test_a_replaced_object_is_not_taken_for_what_was_committed(repository: Path) -> None:
    blob = git(repository, "rev-parse", f"main:{A}")
    (repository / "other").write_text(item(1, "completed"))
    git(repository, "replace", blob, git(repository, "hash-object", "-w", "other"))
    assert read().desired[0].status is Status.PAUSED


# The command.


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
