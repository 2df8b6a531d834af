"""A repository whose content means harm: nothing in it runs, nothing outside it is read, and no memory is filled by it.

Each content is pushed by a real git and taken by the source as the daemon uses it.
"""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path

import pytest

from reconciler.desired.sources.branch import GitSource
from reconciler.git.mirror import repository
from reconciler.model.documents import Problem
from tests.world.git import run_git
from tests.world.git_scene import Branch, Team


@pytest.fixture
def branch(team: Team) -> Branch:
    """Return a source that has taken a first, harmless commit."""
    team.publish({"docs/good.yaml": "# good\n"})
    return Branch(team, team.folder / "state").opened()


def files(source: GitSource) -> list[str]:
    return sorted(source.walk().files)


def test_hooks_filters_and_attributes_of_the_repository_run_nothing(team: Team, branch: Branch, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    script = f"#!/bin/sh\ntouch {ran}\n"
    hooks = ("post-checkout", "post-merge", "reference-transaction", "fsmonitor-watchman", "pre-auto-gc")
    for name in hooks:
        team.write({f"hooks/{name}": script, f".githooks/{name}": script})
        for folder in ("hooks", ".githooks"):
            (team.clone / folder / name).chmod(0o755)
    team.write(
        {
            ".gitattributes": "*.yaml filter=evil diff=evil merge=evil ident eol=crlf\n",
            ".gitconfig": f'[filter "evil"]\n\tsmudge = touch {ran}\n[core]\n\tfsmonitor = touch {ran}\n',
            "docs/lfs.yaml": "version https://git-lfs.github.com/spec/v1\noid sha256:" + "1" * 64 + "\nsize 12\n",
        }
    )
    commit = team.publish({})
    # As the user's own settings, a filter of that name is there.
    user = Path(os.environ["GIT_CONFIG_GLOBAL"])
    user.write_text(
        user.read_text() + f'[filter "evil"]\n\tsmudge = touch {ran}\n\tprocess = touch {ran}\n\trequired = true\n'
        f'[diff "evil"]\n\ttextconv = touch {ran}\n\tcommand = touch {ran}\n[filter "lfs"]\n\tsmudge = touch {ran}\n'
        f"[core]\n\thooksPath = {team.clone / 'hooks'}\n\tfsmonitor = touch {ran}\n"
    )
    assert branch.look() == commit
    content = branch.source.read("docs/lfs.yaml")
    assert isinstance(content, bytes)
    assert content.startswith(b"version https://git-lfs")
    assert files(branch.source) == ["docs/good.yaml", "docs/lfs.yaml"]
    assert not ran.exists()


def test_a_submodule_is_neither_fetched_nor_a_document(team: Team, branch: Branch, tmp_path: Path) -> None:
    team.write({".gitmodules": f'[submodule "x"]\n\tpath = docs/sub.yaml\n\turl = ext::sh -c "touch {tmp_path}/ran"\n'})
    user = Path(os.environ["GIT_CONFIG_GLOBAL"])
    user.write_text(user.read_text() + "[fetch]\n\trecurseSubmodules = true\n[submodule]\n\trecurse = true\n")
    team.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},docs/sub.yaml")
    team.git("add", ".gitmodules")
    team.git("commit", "--quiet", "-m", "x")
    team.push("--no-recurse-submodules")
    assert branch.look() == team.git("rev-parse", "HEAD")
    assert files(branch.source) == ["docs/good.yaml"]
    assert not (tmp_path / "ran").exists()


def test_a_link_gives_nothing_but_what_is_a_document_already(team: Team, branch: Branch, tmp_path: Path) -> None:
    secret = tmp_path / "secret.yaml"
    secret.write_text("# secret\n")
    links = {
        "inside.yaml": "good.yaml",
        "up.yaml": "../other/elsewhere.yaml",
        "out.yaml": "../" * 20 + str(secret)[1:],
        "absolute.yaml": str(secret),
        "nothing.yaml": "absent.yaml",
        "itself.yaml": "itself.yaml",
        "mirror.yaml": "../HEAD",
        "device.yaml": "/dev/zero",
        "folder.yaml": "folder",
        "odd.yaml": "\udcff\n",
    }
    (team.clone / "docs" / "folder").mkdir()
    for name, target in links.items():
        (team.clone / "docs" / name).symlink_to(target)
    (team.clone / "docs" / "linked").symlink_to(tmp_path)
    team.publish({"other/elsewhere.yaml": "# elsewhere\n", "docs/folder/a.yaml": "# a\n"})
    branch.look()
    assert branch.source.read("docs/inside.yaml") == b""
    for name in links.keys() - {"inside.yaml"}:
        problem = branch.source.read(f"docs/{name}")
        assert isinstance(problem, Problem), name
        assert "symbolic link to" in problem.message
        assert problem.message.isprintable()
    assert files(branch.source) == sorted(["docs/good.yaml", "docs/folder/a.yaml", *(f"docs/{name}" for name in links)])


def warned(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return what was warned of since the last time."""
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    return sorted(event["detail"] for event in events if event["event"] == "source_warning")


def test_each_link_to_a_folder_is_named_once_and_what_is_behind_it_is_none_of_the_documents(
    team: Team, capsys: pytest.CaptureFixture[str]
) -> None:
    docs = team.clone / "docs"
    docs.mkdir()
    links = {
        "common": "../common",
        "again": "common",
        "out": "../../out",
        "odd name tree 5": "/etc",
        "readme": "../README.md",
        "gone tree 5": "nowhere",
        "loop": "loop",
        "through a file": "../README.md/x",
        ".hidden": "../common",
    }
    for name, target in links.items():
        (docs / name).symlink_to(target)
    team.publish({"docs/good.yaml": "# good\n", "common/one.yaml": "# one\n", "README.md": ""})
    tail = ", and what is there is not followed in a Git source"
    first = [
        f"docs/again: a link to a folder{tail}",
        f"docs/common: a link to a folder{tail}",
        f"docs/odd name tree 5: a link to a place outside the repository{tail}",
        f"docs/out: a link to a place outside the repository{tail}",
    ]
    branch = Branch(team, team.folder / "state", log_level="warning").opened()
    assert warned(capsys) == first
    assert files(branch.source) == ["docs/good.yaml"]
    (docs / "later").symlink_to("../common")
    team.publish({"docs/good.yaml": "# better\n"})
    branch.look()
    assert warned(capsys) == [f"docs/later: a link to a folder{tail}"]
    team.publish({"docs/good.yaml": "# best\n"})
    branch.look()
    assert warned(capsys) == []
    # A start says what there is, also where the repository is out of reach.
    team.remote.rename(team.remote.with_name("away"))
    Branch(team, team.folder / "state", log_level="warning").opened()
    assert warned(capsys) == sorted([*first, f"docs/later: a link to a folder{tail}"])


def test_a_path_that_is_itself_a_link_to_a_folder_is_named(team: Team, capsys: pytest.CaptureFixture[str]) -> None:
    (team.clone / "docs").symlink_to("common")
    team.publish({"common/one.yaml": "# one\n"})
    Branch(team, team.folder / "state", log_level="warning").opened()
    assert warned(capsys) == ["docs: a link to a folder, and what is there is not followed in a Git source"]


def test_a_folder_of_documents_that_becomes_a_link_is_a_folder_that_vanished(
    team: Team, branch: Branch, tmp_path: Path
) -> None:
    (tmp_path / "evil.yaml").write_text("# evil\n")
    team.git("rm", "--quiet", "-r", "docs")
    (team.clone / "docs").symlink_to(tmp_path)
    team.publish({})
    branch.look()
    tree = branch.source.walk()
    assert (dict(tree.files), tree.vanished_roots) == ({}, ("docs",))


def test_names_that_no_line_can_hold_are_problems_and_others_are_names(team: Team, branch: Branch) -> None:
    odd = [b"new\nline.yaml", b"not-utf8-\xff.yaml", b"tab\t.yaml", b"esc\x1b[2J.yaml"]
    plain = ["-rf.yaml", "--output=x.yaml", "*.yaml", ":(top)x.yaml", "sp ace.yaml", "ü.yaml", "$(touch ran).yaml"]
    hidden = [".hidden.yaml", ".dir/a.yaml"]
    folder = os.fsencode(team.clone / "docs")
    for odd_name in odd:
        Path(os.fsdecode(folder + b"/" + odd_name)).write_text("# odd\n")
    commit = team.publish({f"docs/{name}": f"# {name}\n" for name in (*plain, *hidden)})
    assert branch.look() == commit
    for name in plain:
        assert branch.source.read(f"docs/{name}") == f"# {name}\n".encode()
    others = set(files(branch.source)) - {f"docs/{name}" for name in (*plain, "good.yaml")}
    assert len(others) == len(odd)
    for name in others:
        problem = branch.source.read(name)
        assert isinstance(problem, Problem)
        assert problem.rule == "file-name"
        assert name.isprintable()
        assert str(problem).isprintable()


def peak_kilobytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_trees_nested_to_stand_for_billions_of_names_end_the_look_and_not_the_memory(
    team: Team, branch: Branch, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A twentieth of the true number, and of the time that it takes.
    monkeypatch.setattr(repository, "_COMPARED", 50_000)
    before = branch.source.newest_revision
    blob = run_git(team.remote, "hash-object", "-w", "--stdin", stdin=b"# bomb\n")
    tree = run_git(team.remote, "mktree", stdin="".join(f"100644 blob {blob}\t{n}.yaml\n" for n in range(10)).encode())
    for _ in range(9):
        lines = "".join(f"040000 tree {tree}\td{number}\n" for number in range(10))
        tree = run_git(team.remote, "mktree", stdin=lines.encode())
    root = run_git(team.remote, "mktree", stdin=f"040000 tree {tree}\tdocs\n".encode())
    parent = run_git(team.remote, "rev-parse", "main")
    commit = run_git(team.remote, "commit-tree", "-p", parent, "-m", "bomb", root)
    run_git(team.remote, "update-ref", "refs/heads/main", commit)
    at_first = peak_kilobytes()
    assert branch.look() == before
    assert "more than 50,000 files differ" in branch.source.state.error
    assert peak_kilobytes() - at_first < 60_000
    # A start finds the last good revision, and the team takes the commit back.
    again = Branch(team, team.folder / "state").opened()
    assert again.source.newest_revision == before
    run_git(team.remote, "update-ref", "refs/heads/main", parent)
    assert again.look() == before
    assert again.source.state.error == ""


def test_a_blob_that_packs_well_is_not_read_into_memory(team: Team, branch: Branch) -> None:
    huge = team.clone / "docs" / "huge.yaml"
    with huge.open("wb") as file:
        file.truncate(120_000_000)
    at_first = peak_kilobytes()
    commit = team.publish({})
    assert branch.look() == commit
    problem = branch.source.read("docs/huge.yaml")
    assert isinstance(problem, Problem)
    assert "max_file_bytes" in problem.message
    assert peak_kilobytes() - at_first < 60_000


def test_deep_trees_and_ten_thousand_files_are_taken_in_one_go(team: Team, branch: Branch) -> None:
    deep = "docs/" + "d/" * 500 + "deep.yaml"
    blob = team.git("hash-object", "-w", "--stdin", stdin=b"# many\n")
    names = [deep, *(f"docs/{number % 100}/f{number}.yaml" for number in range(10_000))]
    team.git("update-index", "--add", "--index-info", stdin="".join(f"100644 {blob} 0\t{n}\n" for n in names).encode())
    team.git("commit", "--quiet", "-m", "Many")
    team.push()
    assert branch.look() == team.git("rev-parse", "HEAD")
    assert files(branch.source) == sorted([*names, "docs/good.yaml"])
    assert all(branch.source.read(name) == b"# many\n" for name in names)


def test_a_hundred_thousand_files_elsewhere_cost_a_change_of_one_document_nothing(team: Team, branch: Branch) -> None:
    blob = team.git("hash-object", "-w", "--stdin", stdin=b"# elsewhere\n")
    names = (f"src/{number % 300}/f{number}.yaml" for number in range(100_000))
    team.git("update-index", "--add", "--index-info", stdin="".join(f"100644 {blob} 0\t{n}\n" for n in names).encode())
    team.git("commit", "--quiet", "-m", "Many")
    team.push()
    assert branch.look() == team.git("rev-parse", "HEAD")
    assert files(branch.source) == ["docs/good.yaml"]
    base = branch.source.base
    assert branch.source.name_of("docs/gone.yaml", base) == "docs/gone.yaml"
    assert branch.source.name_of("docs/gone.yaml", "/srv") is None
    assert branch.source.name_of("src/0/f0.yaml", base) is None
