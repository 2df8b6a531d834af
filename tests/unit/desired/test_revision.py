"""Which commit documents are of, file by file, asked of real repositories."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from reconciler.desired.documents.limits import DEFAULT_LIMITS
from reconciler.desired.load import load_documents
from reconciler.desired.revision import Revisions, find_revisions
from reconciler.desired.sources.folder import Source
from reconciler.git.blobs import content_digest
from tests.world.git import git


@pytest.fixture(params=["sha1", "sha256"])
def repository(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository, the working directory, with one commit: two documents in `desired_state/`, one elsewhere."""
    root = tmp_path / "repository"
    (root / "desired_state" / "team").mkdir(parents=True)
    for name in ("desired_state/a.yaml", "desired_state/team/b.yaml", "other.yaml"):
        (root / name).write_text(f"# nothing yet in {name}\n")
    git(root, "init", "--quiet", f"--object-format={request.param}")
    commit(root)
    monkeypatch.chdir(root)
    return root


def commit(root: Path) -> str:
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--no-verify", "--message", "Add documents")
    return git(root, "rev-parse", "HEAD")


def ask(*paths: str) -> Revisions:
    """Read the documents as a command does, and ask which commit they are of."""
    source = Source(paths or ("desired_state",), max_file_bytes=DEFAULT_LIMITS.max_file_bytes)
    loaded = load_documents(source, DEFAULT_LIMITS)
    assert loaded.problems == ()
    return find_revisions(paths or ("desired_state",), loaded.columns.files, loaded.digests, source.read)


A, B = "desired_state/a.yaml", "desired_state/team/b.yaml"


def test_committed_documents_have_their_commit(repository: Path) -> None:
    head = git(repository, "rev-parse", "HEAD")
    assert re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", head)
    for paths in (("desired_state",), (str(repository / "desired_state"),), ("other.yaml", "desired_state"), (".",)):
        assert ask(*paths).whole == head
    found = ask().describe()
    assert found is not None
    assert (found.id, found.author, found.subject) == (head, "Tess Ting <tess@example.com>", "Add documents")


def test_a_file_that_was_edited_has_none_and_the_others_keep_theirs(repository: Path) -> None:
    (repository / A).write_text("# edited\n")
    found = ask()
    assert (found.whole, found.of(A), found.of(B)) == (None, None, git(repository, "rev-parse", "HEAD"))


@pytest.mark.parametrize("name", ["new.yaml", "team/ü ñ.yaml"])
def test_a_file_that_is_new_has_none(repository: Path, name: str) -> None:
    (repository / "desired_state" / name).write_text("# new\n")
    found = ask()
    assert (found.whole, found.of(f"desired_state/{name}")) == (None, None)
    assert found.of(A) == git(repository, "rev-parse", "HEAD")


def test_a_removed_file_is_no_release_of_the_commit(repository: Path) -> None:
    (repository / A).unlink()
    found = ask()
    assert (found.whole, found.of(A)) == (None, None)
    head = commit(repository)
    found = ask()
    assert (found.whole, found.of(A)) == (head, head), "the commit took it away"


def test_what_was_edited_elsewhere_does_not_matter(repository: Path) -> None:
    (repository / "other.yaml").write_text("# edited\n")
    assert ask().whole == git(repository, "rev-parse", "HEAD")


def test_an_ignored_file_has_none(repository: Path) -> None:
    (repository / ".gitignore").write_text("local.yaml\n")
    head = commit(repository)
    (repository / "desired_state" / "local.yaml").write_text("# local\n")
    found = ask()
    assert (found.whole, found.of("desired_state/local.yaml"), found.of(A)) == (None, None, head)


def test_an_edit_behind_a_link_is_an_edit(repository: Path) -> None:
    (repository / "envs").mkdir()
    (repository / "desired_state").rename(repository / "envs" / "blue")
    (repository / "desired_state").symlink_to("envs/blue")
    head = commit(repository)
    assert ask().whole == head
    (repository / "envs" / "blue" / "a.yaml").write_text("# edited\n")
    found = ask()
    assert (found.whole, found.of(A), found.of(B)) == (None, None, head)


def test_a_link_to_what_git_ignores_has_none(repository: Path) -> None:
    (repository / ".gitignore").write_text(".v/\n")
    (repository / "desired_state" / ".v").mkdir()
    (repository / "desired_state" / ".v" / "1.yaml").write_text("# one\n")
    (repository / "desired_state" / "c.yaml").symlink_to(".v/1.yaml")
    commit(repository)
    assert ask().of("desired_state/c.yaml") is None


@pytest.mark.parametrize("mark", ["--assume-unchanged", "--skip-worktree"])
def test_an_edit_that_git_was_told_not_to_see_is_an_edit(repository: Path, mark: str) -> None:
    git(repository, "update-index", mark, A)
    (repository / A).write_text("# edited\n")
    assert git(repository, "status", "--porcelain") == ""
    assert ask().of(A) is None


def test_another_repository_in_the_folder_does_not_answer(repository: Path) -> None:
    inner = repository / "desired_state" / "inner"
    inner.mkdir()
    (inner / "c.yaml").write_text("# c\n")
    git(inner, "init", "--quiet")
    theirs = commit(inner)
    found = ask()
    assert found.of("desired_state/inner/c.yaml") is None
    assert ask("desired_state/inner").whole == theirs, "asked about it alone, nobody else knows the place"


def test_a_submodule_is_of_the_commit_that_records_its_commit(repository: Path, tmp_path: Path) -> None:
    if len(git(repository, "rev-parse", "HEAD")) == 64:
        pytest.skip("a submodule and what holds it have IDs of one kind, and this one is made with the usual")
    team = tmp_path / "team"
    team.mkdir()
    git(team, "init", "--quiet")
    (team / "c.yaml").write_text("# c\n")
    commit(team)
    git(repository, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(team), "desired_state/sub")
    head = commit(repository)
    assert ask().whole == ask("desired_state/sub").whole == head
    (repository / "desired_state" / "sub" / "c.yaml").write_text("# edited\n")
    assert ask().of("desired_state/sub/c.yaml") is None


def test_line_ends_alone_are_no_edit(repository: Path) -> None:
    (repository / A).write_bytes((repository / A).read_bytes().replace(b"\n", b"\r\n"))
    assert ask().whole == git(repository, "rev-parse", "HEAD")


def test_what_a_filter_makes_of_a_file_is_not_of_the_commit_and_no_filter_runs(repository: Path) -> None:
    trap = repository / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {repository}/sprung\ncat\n")
    trap.chmod(0o755)
    (repository / ".gitattributes").write_text("*.yaml filter=trap diff=trap\n")
    head = commit(repository)
    for name in ("core.fsmonitor", "filter.trap.clean", "filter.trap.process", "diff.trap.textconv", "gpg.program"):
        git(repository, "config", name, str(trap))
    git(repository, "config", "core.hooksPath", str(repository))
    git(repository, "config", "log.showSignature", "true")
    assert ask().whole == head
    (repository / A).write_text("# as a filter may write it\n")
    found = ask()
    assert found.of(A) is None
    assert found.describe() is not None
    assert not (repository / "sprung").exists()


def test_a_file_that_changes_while_it_is_asked_about_counts_as_it_was_read(repository: Path) -> None:
    read = content_digest((repository / A).read_bytes().replace(b"\n", b"\r\n"))
    now = b"# nothing yet in desired_state/a.yaml\r\n# and more\r\n"
    found = find_revisions(["desired_state"], [A], read, lambda _file: now)
    assert found.of(A) is None


def test_outside_git_there_is_no_commit(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    outside = tmp_path / "documents"
    outside.mkdir()
    (outside / "c.yaml").write_text("# c\n")
    assert ask(str(outside)) == Revisions()
    found = ask("desired_state", str(outside))
    assert (found.whole, found.of(A)) == (None, git(repository, "rev-parse", "HEAD")), "not all of them are in it"


def test_before_the_first_commit_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "--quiet")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("# a\n")
    found = ask("a.yaml")
    assert (found.whole, found.of("a.yaml"), found.error) == (None, None, "")


def test_where_git_cannot_answer_that_is_said(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / ".git" / "HEAD").write_text("damaged\n")
    found = ask()
    assert found.whole is None
    assert "not a git repository" in found.error
    monkeypatch.setenv("PATH", str(repository))
    assert "install git" in ask().error


def test_a_name_that_looks_like_an_option_is_a_path(repository: Path) -> None:
    (repository / "--help").mkdir()
    (repository / "--help" / "c.yaml").write_text("# c\n")
    head = commit(repository)
    assert ask("--help").whole == head


def test_a_name_in_no_encoding_is_never_of_a_commit(repository: Path) -> None:
    name = os.fsdecode(os.fsencode(repository) + b"/desired_state/\xff.yaml")
    Path(name).write_text("# edited\n")
    source = Source(["desired_state"], max_file_bytes=1000)
    assert [problem.rule for problem in load_documents(source, DEFAULT_LIMITS).problems] == ["file-name"]
