"""The hooks that we ship, run by pre-commit itself in a repository made on the spot; and single files of a large tree.

The hooks' own `language: python` would have pre-commit install the program anew from the package index; here they run
the one under test, and nothing else about them is changed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from test_cli import COMMAND, numbered
from test_cli import document as yaml_document
from test_plan_base import git

from reconciler.documents import DEFAULT_LIMITS
from reconciler.index import Index
from reconciler.load import Loaded, load_documents
from reconciler.scan import load_against
from reconciler.source import Source

CHECKOUT = Path(__file__).parent.parent
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
    monkeypatch.setattr("reconciler.load.LEAST_BYTES", 0)
    monkeypatch.setattr("reconciler.load.SETTLED_NS", -(10**18))
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
    assert "desired_state/3.yaml:1:1: duplicate name `card-1`, already given in desired_state/1.yaml:1" in done.stdout


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
    assert (done.returncode, done.stdout.count("Skipped")) == (0, 2)


def test_the_first_commit_has_a_plan_too(repository: Path) -> None:
    git(repository, "update-ref", "-d", "HEAD")
    done = pre_commit(repository, "run")
    assert done.returncode == 0, done.stdout
    assert "Because of this change (2)" in done.stdout


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
