"""What a repository holds chooses neither what runs nor what is compared: the installed command among traps.

Each trap is a program that leaves a mark when it runs. What a commit can bring are files: a folder that looks like a
repository, attributes, links and submodules; what else lies about are `.git` files and settings of the environment.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.world.documents import item
from tests.world.git import TESS, commit_all, git
from tests.world.ids import WORKSPACE
from tests.world.shell import COMMAND, Shell


@pytest.fixture
def shell(shell: Shell) -> Shell:
    """A repository with two documents on `main`; the work tree ends a recording, which `main` wants paused."""
    git(shell.folder, "init", "--quiet", "--initial-branch", "main")
    shell.env |= {**TESS, "BIRD_ACCESS_KEY": "AccessKeyOfSomebody"}
    for number in (1, 2):
        shell.write(f"desired_state/{number}.yaml", item(number))
    commit_all(shell.folder)
    return shell


@pytest.fixture
def trap(shell: Shell) -> Iterator[str]:
    """A program that leaves its environment behind, and shows what it was given."""
    script = shell.folder.parent / "trap"
    mark = shell.folder.parent / "sprung"
    script.write_text(f"#!/bin/sh\nenv >> {mark}\ncat\n")
    script.chmod(0o755)
    yield str(script)
    assert not mark.exists(), mark.read_text()


def bury(folder: Path, trap: str, *, work_tree: str = "..") -> None:
    """Make a folder look like a repository, as files of a commit can."""
    # With commits, branches and an index, as whoever makes it would have it.
    real = folder.parent / ".git"
    git(folder, "clone", "--quiet", "--bare", str(folder.parent), "buried")
    for name in ("HEAD", "config", "objects", "refs", "packed-refs"):
        (folder / "buried" / name).rename(folder / name)
    shutil.rmtree(folder / "buried")
    shutil.copy(real / "index", folder / "index")
    for file in folder.glob("*.yaml"):
        file.touch()  # so that a git that compares the files has them filtered
    settings = f"""\
[core]
    repositoryformatversion = 0
    bare = false
    worktree = {work_tree}
    fsmonitor = {trap}
    hooksPath = {folder}
    sshCommand = {trap}
    alternateRefsCommand = {trap}
    pager = {trap}
[filter "trap"]
    clean = {trap}
    smudge = {trap}
    process = {trap}
    required = true
[diff "trap"]
    textconv = {trap}
    command = {trap}
[log]
    showSignature = true
[gpg]
    program = {trap}
[include]
    path = {folder}/included
"""
    (folder / "config").write_text(settings)
    # Git wants the folders, and they hold nothing that it would leave out of a commit.
    (folder / "refs" / "heads").mkdir(exist_ok=True)
    (folder / "refs" / "heads" / "keep").write_text("")
    (folder / "objects" / "keep").write_text("")


COMMANDS = (
    ("plan", "--base", "main"),
    ("plan", "--base", "HEAD", "--detailed-exitcode"),
    ("plan", "--staged"),
    ("plan", "--no-refresh"),
    ("validate", "desired_state"),
    ("validate", "desired_state/1.yaml"),
    ("apply", "--sandbox", "--yes"),
    ("set", "card-2", "ongoing", "--commit"),
    ("doctor",),
)


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_folder_that_looks_like_a_repository_is_only_a_folder(
    shell: Shell, trap: str, arguments: tuple[str, ...]
) -> None:
    bury(shell.folder / "desired_state", trap)
    shell.write("desired_state/.gitattributes", "*.yaml filter=trap diff=trap\n")
    shell.write("desired_state/1.yaml", item(1, "completed"))
    git(shell.folder, "add", "--all")
    git(shell.folder, "commit", "--quiet", "--message", "Innocent", "--", "desired_state/.gitattributes")
    before = git(shell.folder, "rev-parse", "HEAD")
    done = shell(*arguments)
    if arguments[0] == "plan":
        assert "card-1" in done.out, (done.out, done.err)
        assert "completed" in done.out
        assert "IRREVERSIBLE" in done.out
    if arguments[0] == "set":
        assert done.code == 0, done.err
        assert git(shell.folder, "rev-parse", "HEAD~1") == before, "committed where the file is tracked"
        assert git(shell.folder, "show", "--format=", "--name-only", "HEAD") == "desired_state/2.yaml"


def test_a_git_file_in_the_documents_leads_nobody_elsewhere(shell: Shell, trap: str) -> None:
    elsewhere = shell.folder.parent / "elsewhere"
    elsewhere.mkdir()
    git(elsewhere, "init", "--quiet", "--initial-branch", "main")
    (elsewhere / "1.yaml").write_text(item(1, "completed"))
    commit_all(elsewhere)
    for name in ("core.fsmonitor", "filter.trap.clean", "core.hooksPath"):
        git(elsewhere, "config", name, trap)
    shell.write("desired_state/.git", f"gitdir: {elsewhere}/.git\n")
    shell.write("desired_state/1.yaml", item(1, "completed"))
    done = shell("plan", "--base", "main")
    assert "card-1  paused -> completed  edit" in done.out, (done.out, done.err)
    assert shell("plan", "--base", "main", "desired_state/1.yaml").out.count("card-1  paused -> completed") == 1
    refused = shell("set", "card-1", "paused", "--commit")
    assert (refused.code, "has edits that are not committed" in refused.err) == (1, True)
    assert shell("apply", "--sandbox", "--yes").code in (0, 3)
    history = shell("history", "--sandbox", "--format", "json").json()["events"]
    assert {event["revision"] for event in history if event["name"] == "card-1"} == {None}


def test_settings_of_the_environment_win_over_no_guard(shell: Shell, trap: str) -> None:
    settings = {"core.fsmonitor": trap, "core.hooksPath": trap, "safe.bareRepository": "all", "filter.trap.clean": trap}
    shell.env["GIT_CONFIG_COUNT"] = str(len(settings))
    for number, (name, value) in enumerate(settings.items()):
        shell.env |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    bury(shell.folder / "desired_state", trap)
    shell.write("desired_state/.gitattributes", "*.yaml filter=trap\n")
    shell.write("desired_state/1.yaml", item(1, "completed"))
    assert "card-1  paused -> completed  edit" in shell("plan", "--base", "main").out


def test_a_hook_of_the_user_runs_at_a_commit_and_sees_none_of_our_keys(shell: Shell) -> None:
    mark = shell.folder.parent / "seen"
    hook = shell.folder / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\nenv > {mark}\n")
    hook.chmod(0o755)
    settings = shell.folder.parent / "settings.yaml"
    settings.write_text(f"workspaces: {{{WORKSPACE}: {{access_key_env: KEY_OF_SALES}}}}\n")
    done = shell("set", "card-1", "ongoing", "--commit", "--config", str(settings), KEY_OF_SALES="AccessKeyOfSales")
    assert done.code == 0, done.err
    assert "AccessKeyOf" not in mark.read_text()
    assert "BIRD_" not in mark.read_text()
    assert "RECONCILER_" not in mark.read_text()


def test_a_git_that_cannot_be_guarded_is_refused_in_words(shell: Shell) -> None:
    old = shell.folder.parent / "old"
    old.mkdir()
    (old / "git").write_text("#!/bin/sh\necho git version 2.37.9\n")
    (old / "git").chmod(0o755)
    shell.env["PATH"] = f"{old}{os.pathsep}{os.environ['PATH']}"
    done = shell("plan", "--base", "main")
    assert (done.code, "git 2.38 or newer is needed" in done.err) == (1, True)
    assert "git 2.38 or newer" in shell("doctor").out


def run_in_alias(shell: Shell, folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of ours by an alias of git, which exports what it knows of the repository."""
    return subprocess.run(
        ["git", "-c", f"alias.ours=!{COMMAND} {command}", "ours"],
        cwd=folder,
        env={**os.environ, **shell.env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_alias_in_a_linked_work_tree_works_in_it(shell: Shell) -> None:
    linked = shell.folder.parent / "linked"
    git(shell.folder, "worktree", "add", "--quiet", "-b", "side", str(linked))
    done = run_in_alias(shell, linked, "set card-1 ongoing --commit")
    assert done.returncode == 0, done.stderr
    assert git(shell.folder, "show", "side:desired_state/1.yaml").count("ongoing") == 1
    done = run_in_alias(shell, linked, "plan --base main")
    assert "card-1  paused -> ongoing  edit" in done.stdout, done.stderr


def test_a_repository_that_the_environment_names_is_used_by_all_commands(shell: Shell) -> None:
    kept = shell.folder.parent / "kept.git"
    (shell.folder / ".git").rename(kept)
    shell.env |= {"GIT_DIR": str(kept), "GIT_WORK_TREE": str(shell.folder)}
    head = git(shell.folder.parent, "--git-dir", str(kept), "rev-parse", "HEAD")
    assert shell("plan", "--no-refresh", "--report", "json").json()["revision"] == head
    done = shell("set", "card-1", "ongoing", "--commit")
    assert done.code == 0, done.err
    assert "card-1  paused -> ongoing  edit" in shell("plan", "--base", "HEAD~1").out
    git(shell.folder.parent, "--git-dir", str(kept), "config", "core.bare", "false")
    git(shell.folder.parent, "--git-dir", str(kept), "config", "core.worktree", str(shell.folder))
    del shell.env["GIT_WORK_TREE"]
    assert "card-1  paused -> ongoing  edit" in shell("plan", "--base", "HEAD~1").out, "as its settings say"


def test_a_hook_of_a_bare_repository_may_work_in_a_checkout(shell: Shell) -> None:
    bare = shell.folder.parent / "bare.git"
    git(shell.folder, "clone", "--quiet", "--bare", ".", str(bare))
    shell.env |= {"GIT_DIR": "."}
    done = shell("set", "card-1", "ongoing", "--commit")
    assert done.code == 0, done.err
    assert "card-1  paused -> ongoing  edit" in shell("plan", "--base", "HEAD~1").out


def test_a_repository_of_somebody_else_is_refused_with_the_remedy_of_git(shell: Shell) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder to somebody else")
    os.chown(shell.folder, 12345, 12345)
    os.chown(shell.folder / ".git", 12345, 12345)
    remedy = f"git config --global --add safe.directory {shell.folder}"
    for arguments in (("plan", "--base", "main"), ("set", "card-1", "ongoing", "--commit")):
        done = shell(*arguments)
        assert done.code == 1
        assert "detected dubious ownership" in done.err
        assert remedy in done.err
    planned = shell("plan", "--no-refresh")
    assert planned.code == 0
    assert "no commit is named" in planned.err
    assert remedy in planned.err
    assert remedy in shell("doctor").out
    shell.env |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
    assert shell("plan", "--base", "main").code == 0, "as CI systems allow it"
