"""Which commit the documents are, asked of real repositories."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from reconciler.revision import revision_of


def git(folder: Path, *arguments: str) -> str:
    identity = {
        f"GIT_{role}_{part}": value
        for role in ("AUTHOR", "COMMITTER")
        for part, value in (("NAME", "Tess Ting"), ("EMAIL", "tess@example.com"))
    }
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env={**os.environ, **identity, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"},
        capture_output=True,
        check=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit: two documents in `desired_state/`, one elsewhere."""
    root = tmp_path / "repository"
    (root / "desired_state" / "team").mkdir(parents=True)
    for name in ("desired_state/a.yaml", "desired_state/team/b.yaml", "other.yaml"):
        (root / name).write_text("# nothing yet\n")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--no-verify", "--message", "Add documents")
    return root


def documents(repository: Path) -> list[str]:
    return [str(repository / "desired_state")]


def test_committed_documents_have_their_commit(repository: Path) -> None:
    revision = revision_of(documents(repository))
    assert revision == git(repository, "rev-parse", "HEAD")
    assert re.fullmatch("[0-9a-f]{40,64}", revision)
    assert revision_of([str(repository / "other.yaml"), *documents(repository)]) == revision


def test_a_path_may_be_relative(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    assert revision_of(["desired_state", "other.yaml"]) == git(repository, "rev-parse", "HEAD")
    assert revision_of(["other.yaml"]) == git(repository, "rev-parse", "HEAD")


@pytest.mark.parametrize("name", ["desired_state/a.yaml", "desired_state/new.yaml", "desired_state/team/ü\n.yaml"])
def test_documents_edited_since_are_no_commit(repository: Path, name: str) -> None:
    (repository / name).write_text("# edited\n")
    assert revision_of(documents(repository)) is None


def test_a_file_whose_name_is_in_no_encoding_is_an_edit_too(repository: Path) -> None:
    git(repository, "config", "core.quotePath", "false")
    Path(os.fsdecode(os.fsencode(repository) + b"/desired_state/\xff.yaml")).write_text("# edited\n")
    assert revision_of(documents(repository)) is None


def test_a_removed_document_is_an_edit_too(repository: Path) -> None:
    (repository / "desired_state" / "a.yaml").unlink()
    assert revision_of(documents(repository)) is None


def test_what_was_edited_elsewhere_does_not_matter(repository: Path) -> None:
    (repository / "other.yaml").write_text("# edited\n")
    assert revision_of(documents(repository)) == git(repository, "rev-parse", "HEAD")


def test_outside_git_there_is_no_commit(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "documents").mkdir()
    assert revision_of([str(tmp_path / "documents")]) is None
    assert revision_of([*documents(repository), str(tmp_path / "documents")]) is None, "not all of them are in it"


def test_before_the_first_commit_and_where_nothing_is_there_is_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    assert revision_of([str(tmp_path)]) is None
    assert revision_of([str(tmp_path / "missing" / "missing.yaml")]) is None


def test_without_the_git_command_there_is_no_commit(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository))
    assert revision_of(documents(repository)) is None


def test_a_repository_cannot_make_it_run_a_program(repository: Path) -> None:
    trap = repository / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {repository}/sprung\n")
    trap.chmod(0o755)
    git(repository, "config", "core.fsmonitor", str(trap))
    git(repository, "config", "core.hooksPath", str(repository))
    revision_of(documents(repository))
    assert not (repository / "sprung").exists()


def test_a_name_that_looks_like_an_option_is_a_path(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    assert revision_of(["--help"]) == git(repository, "rev-parse", "HEAD")
