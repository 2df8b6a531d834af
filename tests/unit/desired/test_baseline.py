"""The documents at a commit, told from real repositories, hostile ones among them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.desired.baseline.commit import Baseline, read_baseline
from reconciler.desired.documents.limits import DEFAULT_LIMITS, DocumentLimits
from reconciler.model.errors import ReconcilerError
from reconciler.model.statuses import Status
from tests.world.documents import item
from tests.world.git import commit_all, git


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
