"""The hooks that we ship, run by pre-commit itself in a repository made on the spot; and single files of a large tree.

The hooks' own `language: python` would have pre-commit install the program anew from the package index; here they run
the one under test, and nothing else about them is changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reconciler.desired.documents.limits import DEFAULT_LIMITS
from reconciler.desired.index.file import Index
from reconciler.desired.load import Loaded, load_documents
from reconciler.desired.scan import load_against
from reconciler.desired.sources.folder import Source
from tests.world.documents import document as yaml_document
from tests.world.git import git
from tests.world.ids import numbered
from tests.world.places import CHECKOUT
from tests.world.shell import COMMAND

Files = dict[str, str]


def item(number: int, *, name: str | None = None, status: str = "paused") -> str:
    return yaml_document(status, name=name or f"card-{number}", recording=numbered(number))


# Single files of a tree.


def load(folder: Path, *files: str, index: Index | None = None) -> Loaded:
    """Load some files of a tree by their names below it."""
    given = Source([folder / file for file in files], max_file_bytes=DEFAULT_LIMITS.max_file_bytes)
    root = Source([folder], max_file_bytes=DEFAULT_LIMITS.max_file_bytes)
    return load_against(given, root, folder, DEFAULT_LIMITS, index)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Files], Path]:
    def written(files: Files) -> Path:
        for name, text in files.items():
            path = tmp_path / "tree" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "tree"

    return written


ESCAPED = item(7).replace("name: card-7", 'name: "card\\x2d1"')
SET = f"""\
apiVersion: reconciler/v1
kind: CallRecordingSet
metadata: {{name: card-1}}
spec:
  workspaceId: {numbered(1)}
  channelId: {numbered(2)}
  recordings:
    - {{name: a, callId: {numbered(3)}, recordingId: {numbered(4)}, status: paused}}
"""


@pytest.mark.parametrize(
    ("other", "rule"),
    [
        (item(9, name="card-1"), "duplicate-name"),
        (item(1, name="another"), "duplicate-recording"),
        (item(1), "duplicate-name"),
        (item(1, name="another").upper().replace("ANOTHER", "another"), None),
        (ESCAPED, "duplicate-name"),
        (SET, "duplicate-name"),
        (item(9), None),
        (item(9, name="card-1") + "broken: [", None),
    ],
    ids=["name", "recording", "both", "no document", "escaped", "set", "nothing", "invalid"],
)
def test_a_file_is_held_against_the_rest_of_its_tree(
    write: Callable[[Files], Path], other: str, rule: str | None
) -> None:
    tree = write({"given.yaml": item(1), "a/other.yaml": other})
    problems = load(tree, "given.yaml").problems
    assert [problem.rule for problem in problems] == ([rule] if rule else [])
    assert all(problem.file == str(tree / "given.yaml") and "other.yaml:" in problem.message for problem in problems)


@pytest.mark.parametrize("other", [item(9, name="card-1"), item(1, name="another"), item(1), ESCAPED, SET, item(9)])
def test_an_index_of_the_tree_answers_as_its_files_do(
    write: Callable[[Files], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    monkeypatch.setattr("reconciler.desired.load.LEAST_BYTES", 0)
    monkeypatch.setattr("reconciler.desired.load.CONCLUSIVE_NS", -(10**18))
    tree = write({"given.yaml": item(1), "a/other.yaml": other, "b.yaml": item(3), "empty.yaml": "", "z.yaml": item(4)})
    searched = load(tree, "given.yaml")
    index = Index(tmp_path / "state", [str(tree)], DEFAULT_LIMITS)
    load_documents(Source([tree], max_file_bytes=DEFAULT_LIMITS.max_file_bytes), DEFAULT_LIMITS, index)
    assert index.exists()
    assert load(tree, "given.yaml", index=index) == searched
    write({"a/other.yaml": item(5), "c.yaml": other})
    assert load(tree, "given.yaml", index=index) == load(tree, "given.yaml")


def test_a_recording_in_upper_case_is_the_same_recording(write: Callable[[Files], Path]) -> None:
    letters = item(1).replace(numbered(1), "abcdef00-0000-4000-8000-000000000001")
    upper = letters.replace("card-1", "another").replace("abcdef00", "ABCDEF00")
    for one, two in ((letters, upper), (upper, letters)):
        tree = write({"given.yaml": one, "other.yaml": two})
        assert [problem.rule for problem in load(tree, "given.yaml").problems] == ["duplicate-recording"]


def test_a_file_is_never_in_conflict_with_itself(write: Callable[[Files], Path], tmp_path: Path) -> None:
    tree = write({"given.yaml": item(1)})
    (tree / "link.yaml").symlink_to("given.yaml")
    (tmp_path / "way").symlink_to(tree)
    assert load(tree, "given.yaml").problems == ()
    assert load(tmp_path / "way", "given.yaml").problems == ()
    os.link(tree / "given.yaml", tree / "copy.yaml")
    assert [problem.rule for problem in load(tree, "given.yaml").problems] == ["duplicate-name"]


def test_a_file_outside_of_the_tree_is_no_part_of_it(write: Callable[[Files], Path]) -> None:
    tree = write({"in/other.yaml": item(1), "out.yaml": item(1)})
    given = Source([tree / "out.yaml"], max_file_bytes=DEFAULT_LIMITS.max_file_bytes)
    root = Source([tree / "in"], max_file_bytes=DEFAULT_LIMITS.max_file_bytes)
    assert load_against(given, root, tree / "in", DEFAULT_LIMITS).problems == ()


def test_mistakes_of_other_files_are_not_ours(write: Callable[[Files], Path]) -> None:
    tree = write({"given.yaml": item(1), "a.yaml": item(2), "b.yaml": item(2), "broken.yaml": "card-1: ["})
    loaded = load(tree, "given.yaml")
    assert (loaded.problems, loaded.files, len(loaded.desired)) == ((), 1, 1)


NAMES = st.sampled_from(["a", "b", "card-1", "card-1.x"])
NUMBERS = st.integers(1, 4)


@given(
    documents=st.lists(st.tuples(NAMES, NUMBERS), min_size=1, max_size=6), chosen=st.sets(st.integers(0, 5), min_size=1)
)
def test_every_conflict_of_a_given_file_is_found_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, documents: list[tuple[str, int]], chosen: set[int]
) -> None:
    tree = tmp_path_factory.mktemp("tree")
    for number, (name, recording) in enumerate(documents):
        (tree / f"{number}.yaml").write_text(item(recording, name=name))
    given = sorted(number % len(documents) for number in chosen)
    expected = any(
        mine == theirs
        for number in given
        for other in range(len(documents))
        if other != number
        for mine, theirs in zip(documents[number], documents[other], strict=True)
    )
    assert bool(load(tree, *{f"{number}.yaml": None for number in given}).problems) is expected


# The hooks.


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository whose pre-commit uses our hooks, with two documents in a commit."""
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    text = (CHECKOUT / ".pre-commit-hooks.yaml").read_text()
    (hooks / ".pre-commit-hooks.yaml").write_text(text.replace("language: python", "language: system"))
    git(hooks, "init", "--quiet")
    git(hooks, "add", "--all")
    git(hooks, "commit", "--quiet", "--message", "Hooks")
    root = tmp_path / "repository"
    (root / "desired_state").mkdir(parents=True)
    git(root, "init", "--quiet", "--initial-branch", "main")
    ids = [hook["id"] for hook in yaml.safe_load(text)]
    revision = git(hooks, "rev-parse", "HEAD")
    config = {"repos": [{"repo": str(hooks), "rev": revision, "hooks": [{"id": name} for name in ids]}]}
    (root / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    for number in (1, 2):
        (root / "desired_state" / f"{number}.yaml").write_text(item(number))
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "Documents")
    return root


def pre_commit(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pre_commit", *arguments],
        cwd=repository,
        env={
            **os.environ,
            "PATH": f"{Path(COMMAND).parent}{os.pathsep}{os.environ['PATH']}",
            "PRE_COMMIT_HOME": str(repository.parent / "pre-commit"),
            "GIT_CONFIG_GLOBAL": os.devnull,
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_hooks_are_the_two_that_are_promised() -> None:
    hooks = yaml.safe_load((CHECKOUT / ".pre-commit-hooks.yaml").read_text())
    assert [hook["id"] for hook in hooks] == ["reconciler-validate", "reconciler-plan"]
    assert {hook["language"] for hook in hooks} == {"python"}
    done = subprocess.run(
        [sys.executable, "-m", "pre_commit", "validate-manifest", str(CHECKOUT / ".pre-commit-hooks.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_a_good_commit_passes_and_shows_its_plan(repository: Path) -> None:
    (repository / "desired_state" / "1.yaml").write_text(item(1, status="completed"))
    (repository / "desired_state" / "2.yaml").write_text(item(2, status="broken, but not part of the commit"))
    git(repository, "add", "desired_state/1.yaml")
    done = pre_commit(repository, "run")
    assert done.returncode == 0, done.stdout
    assert "card-1  paused -> completed  edit" in done.stdout
    assert "Because of this change (1)" in done.stdout


def test_a_commit_that_takes_a_name_of_another_file_is_refused(repository: Path) -> None:
    (repository / "desired_state" / "3.yaml").write_text(item(3, name="card-1"))
    git(repository, "add", "--all")
    done = pre_commit(repository, "run", "reconciler-validate")
    assert done.returncode == 1
    assert "desired_state/3.yaml:1:1: duplicate name `card-1`, also given in desired_state/1.yaml:1" in done.stdout


def test_an_invalid_document_is_refused_with_its_place(repository: Path) -> None:
    (repository / "desired_state" / "1.yaml").write_text(item(1, status="pausd"))
    git(repository, "add", "--all")
    done = pre_commit(repository, "run")
    assert done.returncode == 1
    assert "desired_state/1.yaml:10:11: " in done.stdout


def test_a_commit_of_something_else_is_none_of_its_business(repository: Path) -> None:
    (repository / "notes.yaml").write_text("no: document\n")
    git(repository, "add", "--all")
    done = pre_commit(repository, "run")
    assert (done.returncode, done.stdout.count("Skipped")) == (0, 1)
    assert "Plan:" not in done.stdout


def test_a_commit_that_only_deletes_shows_what_is_released(repository: Path) -> None:
    git(repository, "rm", "--quiet", "desired_state/2.yaml")
    done = pre_commit(repository, "run")
    assert done.returncode == 0, done.stdout
    assert "To release (1)" in done.stdout
    assert "card-2" in done.stdout


def test_a_folder_that_became_a_link_shows_what_that_changes(repository: Path) -> None:
    (repository / "envs").mkdir()
    (repository / "envs" / "1.yaml").write_text(item(1, status="completed"))
    git(repository, "rm", "--quiet", "-r", "desired_state")
    (repository / "desired_state").symlink_to("envs")
    git(repository, "add", "--all")
    done = pre_commit(repository, "run", "reconciler-plan")
    assert done.returncode == 0, done.stdout
    assert "card-1  paused -> completed  edit" in done.stdout
    assert "To release (1)" in done.stdout


@pytest.mark.parametrize(
    "draft",
    [item(3, status="completed"), "broken: [", item(1)],
    ids=["draft", "mistake", "copy"],
)
def test_what_is_not_part_of_the_commit_does_not_matter(repository: Path, draft: str) -> None:
    (repository / "desired_state" / "0-draft.yaml").write_text(draft)
    (repository / "desired_state" / "1.yaml").write_text(item(1, status="completed"))
    git(repository, "add", "desired_state/1.yaml")
    done = pre_commit(repository, "run")
    assert done.returncode == 0, done.stdout
    assert "0-draft" not in done.stdout
    assert "Because of this change (1)" in done.stdout


def test_a_name_that_another_staged_file_gives_up_is_free(repository: Path) -> None:
    git(repository, "mv", "desired_state/1.yaml", "desired_state/3.yaml")
    assert pre_commit(repository, "run").returncode == 0
    (repository / "desired_state" / "4.yaml").write_text(item(4, name="card-2"))
    git(repository, "add", "--all")
    done = pre_commit(repository, "run")
    assert done.returncode == 1
    assert "desired_state/4.yaml:1:1: duplicate name `card-2`, also given in desired_state/2.yaml:1" in done.stdout


def test_two_commits_are_held_against_each_other_where_pre_commit_is_given_two(repository: Path) -> None:
    git(repository, "switch", "--quiet", "--create", "side")
    (repository / "desired_state" / "1.yaml").write_text(item(1, status="completed"))
    git(repository, "commit", "--quiet", "--all", "--message", "End card-1")
    git(repository, "switch", "--quiet", "main")
    (repository / "desired_state" / "2.yaml").write_text(item(2, status="ongoing"))
    git(repository, "commit", "--quiet", "--all", "--message", "Resume card-2")
    done = pre_commit(repository, "run", "--from-ref", "main", "--to-ref", "side")
    assert done.returncode == 0, done.stdout
    assert "card-1  paused -> completed  edit" in done.stdout
    assert "Because of this change (1)" in done.stdout, "what main has got since is no part of it"


def test_a_plain_hook_sees_the_commit_and_not_what_is_edited_beside_it(repository: Path) -> None:
    hook = repository / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\n{COMMAND} plan --staged\n")
    hook.chmod(0o755)
    (repository / "desired_state" / "1.yaml").write_text(item(1, status="completed"))
    (repository / "desired_state" / "2.yaml").write_text(item(2, status="ongoing"))
    identity = ("-c", "user.name=T", "-c", "user.email=t@example.com")
    done = subprocess.run(
        # Not what is staged but one file: git makes an index for this commit alone, and names it to the hook.
        ["git", *identity, "commit", "--quiet", "--message", "End card-1", "--", "desired_state/1.yaml"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "card-1  paused -> completed  edit" in said
    assert "card-2" not in said


def test_a_submodule_that_moves_shows_what_that_changes(repository: Path, tmp_path: Path) -> None:
    team = tmp_path / "team"
    team.mkdir()
    git(team, "init", "--quiet")
    (team / "5.yaml").write_text(item(5))
    git(team, "add", "--all")
    git(team, "commit", "--quiet", "--message", "Team")
    git(repository, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(team), "desired_state/team")
    git(repository, "commit", "--quiet", "--message", "Add the team", "--no-verify")
    inside = repository / "desired_state" / "team"
    (inside / "5.yaml").write_text(item(5, status="completed"))
    git(inside, "commit", "--quiet", "--all", "--message", "End card-5")
    (inside / "5.yaml").write_text(item(5, status="ongoing"))
    git(repository, "add", "desired_state/team")
    done = pre_commit(repository, "run")
    assert done.returncode == 0, done.stdout
    assert "card-5  paused -> completed  edit" in done.stdout


def test_the_first_commit_has_a_plan_too(repository: Path) -> None:
    git(repository, "update-ref", "-d", "HEAD")
    done = pre_commit(repository, "run")
    assert done.returncode == 0, done.stdout
    assert "Because of this change (2)" in done.stdout


@pytest.mark.parametrize("left", ["before the first document", "a draft beside it", "after the last document"])
def test_a_commit_where_no_document_is_staged_or_was_is_not_refused(repository: Path, left: str) -> None:
    git(repository, "rm", "--quiet", "-r", "--cached", "desired_state")
    if left != "a draft beside it":
        shutil.rmtree(repository / "desired_state")
    if left == "before the first document":
        git(repository, "update-ref", "-d", "HEAD")
    else:
        git(repository, "-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "--quiet", "-m", "All ended")
    done = pre_commit(repository, "run")
    assert done.returncode == 0, done.stdout
    assert "desired_state: nothing is there on either side" in done.stdout
    offline = subprocess.run(
        [COMMAND, "validate", "--staged"], cwd=repository, capture_output=True, text=True, check=False
    )
    assert offline.returncode == 0, "nor by a plain hook that names no file"
    assert "no document was found in desired_state" in offline.stderr


def test_a_git_hook_is_told_no_lies_by_its_environment(repository: Path) -> None:
    assert pre_commit(repository, "install").returncode == 0
    (repository / "desired_state" / "1.yaml").write_text(item(1, status="completed"))
    git(repository, "add", "--all")
    done = subprocess.run(
        ["git", "-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "--message", "End card-1"],
        cwd=repository,
        env={
            **os.environ,
            "PATH": f"{Path(COMMAND).parent}{os.pathsep}{os.environ['PATH']}",
            "PRE_COMMIT_HOME": str(repository.parent / "pre-commit"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "card-1  paused -> completed  edit" in done.stdout + done.stderr
