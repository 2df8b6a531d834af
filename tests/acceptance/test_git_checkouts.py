"""Checkouts that hold less than the commit: sparse, partial, without submodules, by the installed command and real git.

What is not there was not taken away: it is named, stays as it is, and nothing is fetched behind anybody's back.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.world.documents import item
from tests.world.foreign_api import ForeignApi
from tests.world.git import TESS, commit_all, git, run_git
from tests.world.ids import numbered, recording
from tests.world.shell import Shell

#: What takes a document for released that is not there any more.
COMMANDS = (
    ("plan",),
    ("plan", "--no-refresh"),
    ("apply", "--yes"),
    ("run", "--once", "--listen", "off"),
)
TEAM_A, TEAM_B = "desired_state/team-a/1.yaml", "desired_state/team-b/2.yaml"


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A repository that serves filtered clones: two teams with a document each, on `main` and, edited, on `side`."""
    root = tmp_path / "origin"
    for number, name in ((1, TEAM_A), (2, TEAM_B)):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text(item(number))
    git(root, "init", "--quiet", "--initial-branch", "main")
    git(root, "config", "uploadpack.allowFilter", "true")
    git(root, "config", "uploadpack.allowAnySHA1InWant", "true")
    commit_all(root)
    git(root, "switch", "--quiet", "--create", "side")
    (root / TEAM_A).write_text(item(1, "completed"))
    commit_all(root)
    git(root, "switch", "--quiet", "main")
    return root


@pytest.fixture
def shell(shell: Shell, api: ForeignApi, tmp_path: Path) -> Shell:
    """A place for a clone, beside an API that knows the recordings."""
    api.seed([recording(recording_id=numbered(number)) for number in (1, 2, 3)])
    shell.env |= {
        "RECONCILER_API_URL": api.url,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "RECONCILER_STATE": f"sqlite:///{tmp_path}/state/state.db",
    }
    return shell


def clone(origin: Path, shell: Shell, *options: str) -> None:
    git(shell.folder, "clone", "--quiet", *options, f"file://{origin}", ".")


def objects(shell: Shell) -> str:
    return git(shell.folder, "count-objects", "--verbose")


@pytest.mark.parametrize("way", [("--cone",), ("--no-cone",), ()], ids=["cone", "patterns", "skip-worktree"])
def test_what_a_sparse_checkout_leaves_out_is_named_and_not_released(
    origin: Path, shell: Shell, way: tuple[str, ...]
) -> None:
    clone(origin, shell)
    assert shell("apply", "--yes").code == 0
    if way:
        git(shell.folder, "sparse-checkout", "set", *way, "desired_state/team-a")
    else:
        git(shell.folder, "update-index", "--skip-worktree", TEAM_B)
        (shell.folder / TEAM_B).unlink()
    assert not (shell.folder / TEAM_B).exists()
    assert git(shell.folder, "status", "--porcelain") == ""
    for arguments in COMMANDS:
        done = shell(*arguments)
        assert done.code == 0, (arguments, done.err)
        assert f"{TEAM_B}: left out of the work tree by a sparse checkout" in done.err, arguments
        assert "release" not in done.out.replace("0 to release", ""), arguments
    assert shell("history", "--format", "json").out.count('"released"') == 0
    unchanged = shell("plan", "--base", "HEAD", "--detailed-exitcode")
    assert (unchanged.code, unchanged.out.splitlines()[0]) == (0, "This change leads to no action.")
    changed = shell("plan", "--base", "origin/side")
    assert "card-1  completed -> paused  edit" in changed.out
    assert "card-2" not in changed.out
    git(shell.folder, "sparse-checkout", "disable")
    git(shell.folder, "update-index", "--no-skip-worktree", TEAM_B)
    git(shell.folder, "rm", "--quiet", TEAM_B)
    assert "To release (1)" in shell("plan", "--no-refresh").out, "taken away by a person"


@pytest.mark.parametrize("filters", ["blob:none", "tree:0"])
def test_a_partial_clone_fetches_nothing_by_itself_and_the_remedy_works(
    origin: Path, shell: Shell, filters: str
) -> None:
    clone(origin, shell, f"--filter={filters}")
    # As a person's settings may have it, for submodules from a folder.
    shell.env |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "protocol.file.allow", "GIT_CONFIG_VALUE_0": "always"}
    before = objects(shell)
    assert shell("plan", "--base", "HEAD", "--detailed-exitcode").code == 0, "nothing differs, so nothing is needed"
    done = shell("plan", "--base", "origin/side")
    assert (done.code, done.out) == (1, "")
    assert "partial clone" in done.err
    assert objects(shell) == before
    remedy = done.err.partition("`")[2].partition("`")[0]
    subprocess.run(remedy, shell=True, cwd=shell.folder, env={**os.environ, **shell.env}, check=True)
    done = shell("plan", "--base", "origin/side")
    assert "card-1  completed -> paused  edit" in done.out, (shlex.quote(remedy), done.err)
    assert shell("plan", "--no-refresh", "--report", "json").json()["revision"] == git(
        shell.folder, "rev-parse", "HEAD"
    )


def test_a_sparse_clone_without_contents_as_a_ci_system_makes_it_shows_the_change(origin: Path, shell: Shell) -> None:
    clone(origin, shell, "--filter=blob:none", "--no-checkout")
    git(shell.folder, "sparse-checkout", "set", "desired_state/team-a")
    git(shell.folder, "checkout", "--quiet", "side")
    before = objects(shell)
    unchanged = shell("plan", "--base", "HEAD", "--detailed-exitcode")
    assert unchanged.code == 0, unchanged.err
    done = shell("plan", "--base", "origin/main")
    assert (done.code, "partial clone" in done.err) == (1, True)
    assert objects(shell) == before
    remedy = done.err.partition("`")[2].partition("`")[0]
    subprocess.run(remedy, shell=True, cwd=shell.folder, env={**os.environ, **shell.env}, check=True)
    done = shell("plan", "--base", "origin/main")
    assert "card-1  paused -> completed  edit" in done.out, done.err
    assert "card-2" not in done.out


@pytest.mark.parametrize("file", [(), (TEAM_A,)], ids=["all", "one file, as a hook"])
def test_a_commit_in_a_sparse_clone_without_contents_is_looked_at_as_far_as_it_is_here(
    origin: Path, shell: Shell, file: tuple[str, ...]
) -> None:
    clone(origin, shell, "--filter=blob:none", "--no-checkout")
    git(shell.folder, "sparse-checkout", "set", "desired_state/team-a")
    git(shell.folder, "checkout", "--quiet", "main")
    (shell.folder / TEAM_A).write_text(item(1, "completed"))
    git(shell.folder, "add", TEAM_A)
    before = objects(shell)
    done = shell("validate", "--staged", *file)
    assert (done.code, "1 recording: all valid" in done.err) == (0, True), done.err
    assert f"Warning: {TEAM_B}: the same at both, not here, as in a partial clone" in done.err
    assert objects(shell) == before, "nothing is fetched"
    (shell.folder / TEAM_A).write_text(item(1, "no status"))
    git(shell.folder, "add", TEAM_A)
    assert shell("validate", "--staged", *file).code == 1


@pytest.fixture
def with_submodule(origin: Path, tmp_path: Path) -> Path:
    """The origin, with another repository as a submodule below the documents."""
    team = tmp_path / "team"
    team.mkdir()
    git(team, "init", "--quiet", "--initial-branch", "main")
    (team / "3.yaml").write_text(item(3))
    commit_all(team)
    git(origin, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(team), "desired_state/team-c")
    commit_all(origin)
    return team


ALLOWED = ("-c", "protocol.file.allow=always")


def test_a_clone_without_its_submodules_releases_nothing_of_them(
    origin: Path, with_submodule: Path, shell: Shell
) -> None:
    git(shell.folder, *ALLOWED, "clone", "--quiet", "--recurse-submodules", f"file://{origin}", ".")
    assert shell("apply", "--yes").code == 0
    git(shell.folder, "submodule", "--quiet", "deinit", "--all", "--force")
    for arguments in COMMANDS:
        done = shell(*arguments)
        assert done.code == 0, (arguments, done.err)
        assert "desired_state/team-c: a submodule that is not checked out" in done.err, arguments
        assert "release" not in done.out.replace("0 to release", ""), arguments
    same = shell("plan", "--base", "HEAD", "--detailed-exitcode")
    assert (same.code, "desired_state/team-c: a submodule whose commit is not here" in same.err) == (0, True)
    moved = shell("plan", "--base", "HEAD~1")
    assert (moved.code, "nobody can tell what the change of it does" in moved.err) == (1, True)


def test_of_a_submodule_that_is_not_here_a_hook_says_that_it_does_not_look_at_it(
    origin: Path, with_submodule: Path, shell: Shell
) -> None:
    clone(origin, shell)
    for file in ((), (TEAM_A,)):
        done = shell("validate", "--staged", *file)
        assert done.code == 0, done.err
        assert "Warning: desired_state/team-c: a submodule whose commit is not here" in done.err


def test_a_submodule_as_the_whole_folder_is_never_answered_by_its_own_branches(shell: Shell, tmp_path: Path) -> None:
    team = tmp_path / "team"
    team.mkdir()
    git(team, "init", "--quiet", "--initial-branch", "main")
    (team / "1.yaml").write_text(item(1))
    commit_all(team)
    git(shell.folder, "init", "--quiet", "--initial-branch", "main")
    git(shell.folder, *ALLOWED, "submodule", "--quiet", "add", str(team), "desired_state")
    commit_all(shell.folder)
    git(shell.folder, "switch", "--quiet", "--create", "bump")
    inside = shell.folder / "desired_state"
    (inside / "1.yaml").write_text(item(1, "completed"))
    commit_all(inside)
    commit_all(shell.folder)
    done = shell("plan", "--base", "main")
    assert "card-1  paused -> completed  edit" in done.out, done.err
    assert "IRREVERSIBLE" in done.out
    assert "card-1  paused -> completed  edit" in shell("plan", "--base", "main", "desired_state/1.yaml").out
    assert shell("plan", "--base", "nowhere").err.count(f"in {shell.folder};") == 1, "of the repository that holds it"


def test_a_link_means_at_the_commit_what_it_meant_there(shell: Shell) -> None:
    for name, status in (("blue", "ongoing"), ("green", "completed")):
        shell.write(f"envs/{name}/a.yaml", item(1, status))
    link = shell.folder / "desired_state"
    link.symlink_to("envs/blue")
    git(shell.folder, "init", "--quiet", "--initial-branch", "main")
    commit_all(shell.folder)
    link.unlink()
    link.symlink_to("envs/green")
    for commits in (0, 1):
        done = shell("plan", "--base", f"HEAD~{commits}" if commits else "HEAD", "--detailed-exitcode")
        assert (done.code, "card-1  ongoing -> completed  edit" in done.out) == (2, True), done.err
        assert "IRREVERSIBLE" in done.out
        if not commits:
            commit_all(shell.folder)
    elsewhere = shell.folder.parent / "way"
    elsewhere.symlink_to(shell.folder)
    done = shell("plan", "--base", "HEAD~1", f"{elsewhere}/desired_state")
    assert "card-1  ongoing -> completed  edit" in done.out, "a checkout behind a link outside of it"


def test_a_clean_tree_is_no_change_whatever_lies_about_in_it(shell: Shell) -> None:
    shell.write("desired_state/a.yaml", item(1))
    shell.write("desired_state/.v/1.yaml", item(2))
    (shell.folder / "desired_state" / "b.yaml").symlink_to(".v/1.yaml")
    shell.write(".gitignore", "local.yaml\ninner/\n")
    git(shell.folder, "init", "--quiet", "--initial-branch", "main")
    commit_all(shell.folder)
    shell.write("desired_state/local.yaml", item(3))
    shell.write("desired_state/inner/c.yaml", item(4))
    git(shell.folder / "desired_state" / "inner", "init", "--quiet")
    commit_all(shell.folder / "desired_state" / "inner")
    assert git(shell.folder, "status", "--porcelain") == ""
    done = shell("plan", "--base", "HEAD", "--detailed-exitcode")
    assert (done.code, done.out.splitlines()[0]) == (0, "This change leads to no action.")
    for name in ("local.yaml", "inner/c.yaml"):
        assert f"desired_state/{name}: left out, since no commit would hold it" in done.err
    shell.write("desired_state/draft.yaml", item(3, "completed"))
    (shell.folder / "desired_state" / "local.yaml").unlink()
    assert "card-3  ? -> completed" in shell("plan", "--base", "HEAD").out, "a draft would be part of a commit of all"


def test_a_name_that_differs_only_in_case_is_named(shell: Shell) -> None:
    shell.write("desired_state/a.yaml", item(1))
    shell.write("desired_state/B.YAML", item(2))
    shell.write("desired_state/c.Yml", item(3))
    for arguments in (("validate",), ("plan",), ("run", "--once", "--listen", "off")):
        done = shell(*arguments)
        assert done.code == 0, done.err
        assert "desired_state/B.YAML: not read" in done.err
        assert "desired_state/c.Yml: not read" in done.err
    (shell.folder / "desired_state" / "l.YAML").symlink_to("a.yaml")
    git(shell.folder, "init", "--quiet", "--initial-branch", "main")
    git(shell.folder, "add", "--all")
    for of_hook in (("validate", "--staged"), ("plan", "--staged"), ("validate", "--staged", "desired_state/a.yaml")):
        done = shell(*of_hook)
        assert done.code == 0, done.err
        for name in ("B.YAML", "c.Yml", "l.YAML"):
            assert f"desired_state/{name}: not read" in done.err, of_hook


@pytest.mark.parametrize("state", ["merge", "cherry-pick", "skip-worktree", "assume-unchanged", "staged", "mode"])
def test_what_git_would_refuse_to_commit_alone_is_refused_before_the_edit(shell: Shell, state: str) -> None:
    shell.write("desired_state/a.yaml", item(1))
    shell.write("other", "one\n")
    git(shell.folder, "init", "--quiet", "--initial-branch", "main")
    commit_all(shell.folder)
    git(shell.folder, "switch", "--quiet", "--create", "side")
    shell.write("other", "two\n")
    commit_all(shell.folder)
    git(shell.folder, "switch", "--quiet", "main")
    shell.write("other", "three\n")
    commit_all(shell.folder)
    file = shell.folder / "desired_state" / "a.yaml"
    if state in ("merge", "cherry-pick"):
        assert "CONFLICT" in run_git(shell.folder, state, "side", check=False, environment=TESS)
    elif state == "staged":
        file.write_text(item(1, "ongoing"))
        git(shell.folder, "add", "--all")
        file.write_text(item(1))
    elif state == "mode":
        file.chmod(0o755)
    else:
        git(shell.folder, "update-index", f"--{state}", "desired_state/a.yaml")
    before = file.read_bytes()
    done = shell("set", "card-1", "completed", "--commit")
    assert (done.code, file.read_bytes()) == (1, before), done.err
    assert "leave out --commit" in done.err
    assert shell("set", "card-1", "completed").code == 0
