"""The mirror of a branch, and the addresses it takes: what is fetched, what lies between two commits, what is written.

The walk is held to git's own answer in a full clone. Everything is a real repository, made on the spot.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.cli.branch import figures_of
from reconciler.git.mirror import repository
from reconciler.git.mirror.address import parse_address
from reconciler.git.mirror.command import GitFailed
from reconciler.git.mirror.repository import Mirror
from reconciler.model.errors import SettingsError
from tests.world.git import run_git
from tests.world.git_scene import Branch, Team, isolate

NEVER = threading.Event()


def mirror_of(team: Team, *, branch: str = "main", address: str = "", limit: int = 1000, timeout: float = 60) -> Mirror:
    return Mirror(
        team.folder / "state",
        parse_address(address or str(team.remote)),
        branch,
        max_file_bytes=limit,
        token_file="",
        timeout_seconds=timeout,
        depth=256,
    )


# Addresses


@pytest.mark.parametrize(
    ("text", "url", "shown", "protocol"),
    [
        ("https://git.example/team/repo.git", "https://git.example/team/repo.git", None, "https"),
        ("https://ada@git.example:8443/a", "https://git.example:8443/a", None, "https"),
        ("https://[::1]:8443/a", "https://[::1]:8443/a", None, "https"),
        ("ssh://git@git.example:22/a", "ssh://git@git.example:22/a", "ssh://git.example:22/a", "ssh"),
        ("git@git.example:team/repo", "git@git.example:team/repo", "git.example:team/repo", "ssh"),
        ("git.example:team/repo", "git.example:team/repo", None, "ssh"),
        ("git@[2001:db8::1]:team/repo", "git@[2001:db8::1]:team/repo", "[2001:db8::1]:team/repo", "ssh"),
        ("[::1]:team/repo", "[::1]:team/repo", None, "ssh"),
        ("/srv/git/repo.git", "/srv/git/repo.git", None, "file"),
        ("/srv/a:b/repo.git", "/srv/a:b/repo.git", None, "file"),
    ],
)
def test_an_address_is_taken_and_shown_without_its_user(text: str, url: str, shown: str | None, protocol: str) -> None:
    address = parse_address(text)
    assert (address.url, address.shown, address.protocol) == (url, shown or url, protocol)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-u./evil",
        "--upload-pack=evil",
        "ext::sh -c evil",
        "[2001:db8::1]::evil",
        "ext::[2001:db8::1]:evil",
        "ext::https://git.example/a",
        "fd::7",
        "https://git.example/a\n",
        "http://git.example/a",
        "git://git.example/a",
        "file:///srv/git/a",
        "ftp://git.example/a",
        "HTTPS+evil://git.example/a",
        "https:///a",
        "https://git.example",
        "https://git.example/a?token=hunter2",
        "https://git.example/a#hunter2",
        "https://git.example:port/a",
        "https://ada:hunter2@git.example/a",
        "https://:hunter2@git.example/a",
        "https://ada%3Ahunter2@git.example/a",
        "ssh://git:hunter2@git.example/a",
        "ssh://-oProxyCommand=hunter2/a",
        "ssh://-oProxyCommand=hunter2@git.example/a",
        "-oProxyCommand=hunter2:a",
        "x@-oProxyCommand=hunter2:a",
        "git.example:-a",
    ],
)
def test_an_address_that_could_run_something_or_holds_a_password_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_address(text)
    assert "hunter2" not in str(caught.value)
    assert "evil" not in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_an_address_without_a_leading_dash_or_a_settings_error(text: str) -> None:
    try:
        address = parse_address(text)
    except SettingsError:
        return
    assert not address.url.startswith("-")
    assert address.shown.isprintable()


# The way between two commits


def grow(team: Team, chance: random.Random, commits: int) -> list[str]:
    """Make a history with side branches and merges, and with clocks that are wrong; return its commits."""
    tree = run_git(team.remote, "mktree", stdin=b"")
    made: list[str] = []
    for number in range(commits):
        parents = chance.sample(made[-4:], k=min(len(made[-4:]), chance.choice((1, 1, 1, 2, 2, 3))))
        date = f"{1_790_000_000 + chance.randint(-5000, 5000)} +0000"
        options = [word for parent in parents for word in ("-p", parent)]
        made.append(
            run_git(
                team.remote,
                *("commit-tree", *options, "-m", str(number), tree),
                environment={"GIT_COMMITTER_DATE": date, "GIT_AUTHOR_DATE": date},
            )
        )
    return made


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), commits=st.integers(3, 24))
def test_the_way_is_what_git_finds_in_the_whole_repository(team: Team, seed: int, commits: int) -> None:
    chance = random.Random(seed)
    made = grow(team, chance, commits)
    shutil.rmtree(team.folder / "state", ignore_errors=True)
    mirror = mirror_of(team)
    mirror.open()
    old = ""
    for new in (chance.choice(made), chance.choice(made), made[-1]):
        run_git(team.remote, "update-ref", "refs/heads/main", new)
        assert mirror.fetch(NEVER) == new
        if old:
            way = mirror.way(old, new, NEVER)
            missing = run_git(team.remote, "rev-list", new, f"^{old}").split()
            assert way.complete
            if way.rewritten:
                # How far the one in force and the new one share their past is seen only as far as it is here.
                assert set(missing) <= set(way.commits)
            else:
                assert sorted(way.commits) == sorted(missing)
            assert way.rewritten == (old != run_git(team.remote, "merge-base", old, new, check=False) and new != old)
            order = {commit: position for position, commit in enumerate(way.commits)}
            for commit in way.commits:
                for parent in run_git(team.remote, "rev-parse", f"{commit}^@").split():
                    assert order[commit] < order.get(parent, len(order))
        mirror.accept(new)
        old = new


def test_each_file_is_the_last_commits_that_changed_it_whatever_their_clocks_say(team: Team) -> None:
    team.publish({"a.yaml": "0", "b.yaml": "0", "c.yaml": "0"})
    mirror = mirror_of(team)
    mirror.open()
    old = mirror.fetch(NEVER)
    mirror.accept(old)
    team.commit({"a.yaml": "1", "b.yaml": "1"})
    # Made on a machine whose clock is ten years behind.
    late = {"GIT_COMMITTER_DATE": "1480000000 +0000", "GIT_AUTHOR_DATE": "1480000000 +0000"}
    second = team.commit({"a.yaml": "2"}, environment=late)
    third = team.commit({"c.yaml": "3", ":0 odd\tname.yaml": "3"}, environment=late)
    team.push()
    new = mirror.fetch(NEVER)
    touched = mirror.touched(mirror.way(old, new, NEVER), "")
    assert touched == {
        "a.yaml": second,
        "b.yaml": run_git(team.remote, "rev-parse", "main~2"),
        "c.yaml": third,
        ":0 odd\tname.yaml": third,
    }


def test_a_second_parent_below_the_author_is_none_and_a_date_that_is_none_ends_nothing(team: Team) -> None:
    old = team.publish({"docs/a.yaml": ""})
    branch = Branch(team, team.folder / "state").opened()
    other = team.commit({"docs/b.yaml": ""})
    raw = team.git("cat-file", "commit", other) + "\n"
    for odd in (
        raw.replace("\n\n", f"\nparent {'1' * 40}\nparent \xff not an id\n\n", 1),
        raw.replace(" +0000\n\n", " 99999999999999999999999 +0000\n\n", 1),
        raw.replace("+0000\n\n", "\n\n", 1).replace("> 17", "> x17"),
        raw + "x" * 3_000_000,
    ):
        commit = team.git("hash-object", "-t", "commit", "-w", "--literally", "--stdin", stdin=odd.encode("latin-1"))
        team.git("push", "--quiet", "--force", "origin", f"{commit}:refs/heads/main")
        assert branch.look() == commit, branch.source.state.error
        team.git("push", "--quiet", "--force", "origin", f"{old}:refs/heads/main")
        assert branch.look() == old


# What is fetched, and what is kept


@pytest.mark.parametrize("bitmaps", [False, True])
def test_a_file_that_comes_back_after_a_deep_fetch_is_read(team: Team, bitmaps: bool) -> None:
    team.publish({"docs/a.yaml": "# first\n"})
    branch = Branch(team, team.folder / "state").opened()
    # What only a commit in between has, and which is fetched for its name alone.
    team.commit({"docs/a.yaml": "# between\n"})
    team.commit({"docs/a.yaml": "# second\n"})
    for number in range(4):
        team.commit({"docs/b.yaml": f"# {number}\n"})
    team.push()
    branch.look()
    if bitmaps:
        run_git(team.remote, "repack", "-adbq")
    for number in range(3):
        again = {"docs/a.yaml": "# between\n", "docs/b.yaml": f"# {number}\n"}
        commit = team.publish(again)
        assert branch.look() == commit
        assert branch.source.read("docs/a.yaml") == b"# between\n"
        assert branch.source.read("docs/b.yaml") == f"# {number}\n".encode()


def test_a_commit_that_is_pushed_while_older_ones_are_fetched_is_read_in_whole(team: Team) -> None:
    old = team.publish({"a.yaml": "0"})
    mirror = mirror_of(team)
    mirror.open()
    mirror.accept(mirror.fetch(NEVER))
    for number in range(3):
        team.commit({"a.yaml": str(number)})
    team.push()
    new = mirror.fetch(NEVER)
    last = team.publish({"a.yaml": "the last"})
    assert len(mirror.way(old, new, NEVER).commits) == 3
    assert mirror.fetch(NEVER) == last
    (entry,) = mirror.entries(last, "").values()
    assert list(mirror.blobs([entry.id])) == [(entry.id, b"the last")]


@pytest.mark.parametrize("filtering", [False, True])
def test_a_blob_beyond_the_limit_is_a_problem_of_its_file_whether_the_server_filters_or_not(
    team: Team, filtering: bool
) -> None:
    run_git(team.remote, "config", "uploadpack.allowFilter", str(filtering).lower())
    team.publish(
        {"docs/a.yaml": "x" * 10_001, "docs/b.yaml": "x" * 10_000, "bulk.bin": random.Random(1).randbytes(500_000)}
    )
    branch = Branch(team, team.folder / "state").opened()
    problem = branch.source.read("docs/a.yaml")
    assert not isinstance(problem, bytes)
    assert problem.message == "the file has more bytes than max_file_bytes allows (10,000)"
    assert branch.source.read("docs/b.yaml") == b"x" * 10_000
    held = sum(file.stat().st_size for file in branch.source._mirror.folder.rglob("*") if file.is_file())
    assert (held < 300_000) == filtering


def test_no_file_of_the_repository_appears_under_its_name(team: Team) -> None:
    team.publish({"docs/distinct-name.yaml": "# distinct text\n"})
    branch = Branch(team, team.folder / "state").opened()
    branch.source._mirror.tidy(NEVER)
    files = [file for file in (team.folder / "state").rglob("*") if file.is_file()]
    assert files
    for file in files:
        assert "distinct" not in str(file.relative_to(team.folder))
        assert b"distinct text" not in file.read_bytes()


def test_a_repository_of_sha256_and_one_whose_branch_is_not_named_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, tmp_path / "home")
    monkeypatch.setenv("GIT_DEFAULT_HASH", "sha256")
    team = Team(tmp_path, object_format="sha256")
    commit = team.publish({"a.yaml": "1"})
    mirror = mirror_of(team, branch="")
    mirror.open()
    assert mirror.fetch(NEVER) == commit
    mirror.accept(commit)
    newer = team.publish({"a.yaml": "2"})
    assert mirror.fetch(NEVER) == newer
    assert mirror.way(commit, newer, NEVER).commits == (newer,)


def test_a_revision_that_could_not_be_put_in_force_is_taken_in_whole_at_the_next_look(team: Team) -> None:
    """What git cannot note, as on a full disk, is no reason to lose sight of what the revision changed."""
    first = team.publish({"docs/a.yaml": "# 1\n", "docs/b.yaml": "# 1\n"})
    branch = Branch(team, team.folder / "state").opened()
    newer = team.publish({"docs/a.yaml": "# 2\n", "docs/b.yaml": None, "docs/c.yaml": "# 2\n"})
    in_the_way = branch.source._mirror.folder / "refs" / "reconciler" / "accepted.lock"
    in_the_way.touch()
    assert branch.look() == first
    assert branch.source.state.error
    assert branch.source.walk().files.keys() == {"docs/a.yaml", "docs/b.yaml"}
    in_the_way.unlink()
    assert branch.source._update(NEVER) == {"docs/a.yaml", "docs/b.yaml", "docs/c.yaml"}
    assert branch.source.newest_revision == newer
    assert branch.source.walk().files.keys() == {"docs/a.yaml", "docs/c.yaml"}
    assert branch.source.read("docs/a.yaml") == b"# 2\n"


def test_what_git_packs_and_forgets_when_it_tidies_is_not_missed(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository, "_SHALLOW_BYTES", 100)
    team.publish({"docs/a.yaml": "# 0\n"})
    branch = Branch(team, team.folder / "state").opened()
    user = team.folder / "home" / "gitconfig"
    user.write_text("[user]\nname = Nobody\nemail = nobody@example.org\n[gc]\nauto = 1\nautoPackLimit = 2\n")
    for number in range(1, 6):
        base = team.commit({"docs/b.yaml": f"# {number}\n"})
        team.commit({"docs/b.yaml": f"# then {number}\n"})
        commit = team.publish({"docs/a.yaml": f"# {number}\n"})
        assert branch.look() == commit
        assert branch.source.revision_of("docs/b.yaml") == team.git("rev-parse", "HEAD~1") != base
        branch.source._mirror.tidy(NEVER)
        assert branch.source.read("docs/a.yaml") == f"# {number}\n".encode()
    folder = branch.source._mirror.folder
    assert len(list(folder.glob("objects/pack/*.pack"))) <= 3
    # What every fetch tells the server of, and what would else grow with each commit.
    assert len((folder / "shallow").read_text().splitlines()) <= 3


def broken(mirror: Path, how: str) -> None:
    packs = list(mirror.glob("objects/pack/*.pack"))
    if how == "head":
        (mirror / "HEAD").unlink()
    elif how == "ref":
        (mirror / "refs/reconciler/accepted").write_text("no commit\n")
    elif how == "nothing left":
        shutil.rmtree(mirror)
        mirror.mkdir()
    for pack in packs if how in ("packs gone", "packs empty", "packs cut") else ():
        pack.chmod(0o600)
        if how == "packs gone":
            pack.unlink()
        else:
            pack.write_bytes(b"" if how == "packs empty" else pack.read_bytes()[:40])


@pytest.mark.parametrize("how", ["head", "ref", "nothing left", "packs gone", "packs empty", "packs cut"])
def test_a_mirror_that_cannot_be_read_is_thrown_away_with_a_warning_and_made_anew(
    team: Team, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    commit = team.publish({"docs/a.yaml": "# text\n"})
    broken(Branch(team, team.folder / "state").opened().source._mirror.folder, how)
    branch = Branch(team, team.folder / "state", log_level="warning").opened()
    assert branch.source.newest_revision == commit
    assert branch.source.read("docs/a.yaml") == b"# text\n"
    assert "source_mirror_renewed" in capsys.readouterr().err


def test_a_mirror_is_not_thrown_away_for_a_git_that_is_not_there(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = team.publish({"docs/a.yaml": ""})
    kept = Branch(team, team.folder / "state").opened().source._mirror
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(team.folder))
        with pytest.raises(GitFailed, match="there is no `git` command"):
            Branch(team, team.folder / "state").opened()
    assert kept.accepted == commit


@pytest.mark.parametrize("lock", ["shallow.lock", "config.lock", "packed-refs.lock", "refs/reconciler/fetched.lock"])
def test_an_old_lock_of_a_git_that_was_killed_is_removed(team: Team, lock: str) -> None:
    team.publish({"a.yaml": "1"})
    mirror = mirror_of(team, timeout=5)
    mirror.open()
    mirror.accept(mirror.fetch(NEVER))
    left = mirror.folder / lock
    left.write_text("")
    os.utime(left, (1_000_000_000, 1_000_000_000))
    newer = team.publish({"a.yaml": "2"})
    assert mirror.fetch(NEVER) == newer
    assert not left.exists()


LEFTOVERS = (
    "shallow.lock",
    "config.lock",
    "packed-refs.lock",
    "refs/reconciler/accepted.lock",
    "refs/reconciler/fetched.lock",
    "objects/pack/tmp_pack_a1B2c3",
    "objects/pack/tmp_idx_a1B2c3",
)


@pytest.mark.parametrize("name", LEFTOVERS)
def test_at_a_start_nothing_is_left_of_a_git_that_was_killed_a_moment_ago(team: Team, name: str) -> None:
    team.publish({"docs/a.yaml": "# 1\n"})
    left = Branch(team, team.folder / "state").opened().source._mirror.folder / name
    left.write_bytes(b"PACK")
    newer = team.publish({"docs/a.yaml": "# 2\n"})
    assert Branch(team, team.folder / "state").opened().source.newest_revision == newer
    assert not left.exists()


def test_a_lock_of_a_moment_ago_is_left_to_the_git_whose_it_is(team: Team) -> None:
    team.publish({"a.yaml": "1"})
    mirror = mirror_of(team)
    mirror.open()
    mirror.fetch(NEVER)
    lock = mirror.folder / "shallow.lock"
    lock.write_text("")
    team.publish({"a.yaml": "2"})
    with pytest.raises(GitFailed, match=r"shallow\.lock"):
        mirror.fetch(NEVER)
    assert lock.exists()


# What is lost, and what was never there


def unpack(mirror: Path) -> None:
    """Store each object in a file of its own."""
    for pack in mirror.glob("objects/pack/*.pack"):
        content = pack.read_bytes()
        for part in mirror.glob(f"objects/pack/{pack.stem}.*"):
            part.unlink()
        run_git(mirror, "unpack-objects", "-q", stdin=content)


def test_a_document_that_the_mirror_has_lost_is_fetched_anew_at_the_start(
    team: Team, capsys: pytest.CaptureFixture[str]
) -> None:
    commit = team.publish({"docs/a.yaml": "# a\n", "docs/b.yaml": "# b\n", "docs/big.yaml": "x" * 20_000})
    folder = Branch(team, team.folder / "state").opened().source._mirror.folder
    unpack(folder)
    lost = run_git(team.remote, "rev-parse", "main:docs/a.yaml")
    (folder / "objects" / lost[:2] / lost[2:]).unlink()
    branch = Branch(team, team.folder / "state", log_level="warning").opened()
    assert "source_mirror_renewed" in capsys.readouterr().err
    assert branch.source.newest_revision == commit
    assert branch.source.read("docs/a.yaml") == b"# a\n"


def test_what_was_left_out_for_its_size_is_no_loss(team: Team, capsys: pytest.CaptureFixture[str]) -> None:
    team.publish({"docs/a.yaml": "# a\n", "docs/big.yaml": "x" * 20_000})
    branch = Branch(team, team.folder / "state").opened()
    # By the first look, and by one that sees only what changed.
    commit = team.publish({"docs/bigger.yaml": "x" * 30_000})
    assert branch.look() == commit
    team.remote.rename(team.remote.with_name("away.git"))
    again = Branch(team, team.folder / "state", log_level="warning").opened()
    assert again.source.newest_revision == commit
    assert again.source.read("docs/a.yaml") == b"# a\n"
    for name in ("docs/big.yaml", "docs/bigger.yaml"):
        problem = again.source.read(name)
        assert not isinstance(problem, bytes)
        assert problem.rule == "too-large"
    assert "source_mirror_renewed" not in capsys.readouterr().err


def flip(pack: Path) -> None:
    """Change one bit of a pack, as a disk may."""
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)


def test_a_mirror_is_damaged_when_it_is_gone_or_one_bit_of_it_differs(team: Team) -> None:
    team.publish({"a.yaml": "1", "b.yaml": "x" * 2000})
    mirror = mirror_of(team)
    assert mirror.is_damaged()
    mirror.open()
    assert not mirror.is_damaged()
    mirror.fetch(NEVER)
    assert not mirror.is_damaged()
    (pack,) = mirror.folder.glob("objects/pack/*.pack")
    whole = pack.read_bytes()
    flip(pack)
    assert mirror.is_damaged()
    pack.write_bytes(whole)
    assert not mirror.is_damaged()
    pack.with_suffix(".idx").unlink()
    assert mirror.is_damaged()


@pytest.mark.parametrize("how", ["head", "nothing left", "packs empty", "packs cut"])
def test_a_mirror_that_breaks_under_a_daemon_is_made_anew_and_followed_again(
    team: Team, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = team.publish({"docs/a.yaml": "# 1\n"})
    branch = Branch(team, team.folder / "state", log_level="warning").opened()
    broken(branch.source._mirror.folder, how)
    newer = team.publish({"docs/b.yaml": "# 2\n"})
    assert branch.look() == first, "what is in force does not depend on the mirror"
    assert "source_mirror_renewed" in capsys.readouterr().err
    assert branch.look() == newer
    assert branch.source.state.error == ""
    assert branch.source.read("docs/a.yaml") == b"# 1\n"
    assert branch.source.read("docs/b.yaml") == b"# 2\n"


def test_a_whole_mirror_is_kept_while_the_repository_is_away(team: Team, capsys: pytest.CaptureFixture[str]) -> None:
    commit = team.publish({"docs/a.yaml": "# 1\n"})
    branch = Branch(team, team.folder / "state", log_level="warning").opened()
    team.remote.rename(team.remote.with_name("away.git"))
    assert branch.look() == commit
    assert branch.source.state.error
    assert "source_mirror_renewed" not in capsys.readouterr().err
    assert Branch(team, team.folder / "state").opened().source.newest_revision == commit


def test_the_age_of_the_last_good_fetch_is_known_after_a_start_without_one(team: Team) -> None:
    team.publish({"docs/a.yaml": "# 1\n"})
    before = datetime.now(UTC)
    branch = Branch(team, team.folder / "state").opened()
    after = datetime.now(UTC)
    team.remote.rename(team.remote.with_name("away.git"))
    branch.look()
    state = Branch(team, team.folder / "state").opened().source.state
    assert state.error
    assert state.fetched_at is not None
    # A file system's clock may be some milliseconds behind the other one.
    assert before - timedelta(seconds=1) < state.fetched_at < after
    age = figures_of(state, after + timedelta(hours=1)).fetch_age_seconds
    assert age is not None
    assert 3600 <= age < 3601 + (after - before).total_seconds()


# Whose settings count


def test_what_the_callers_environment_and_settings_say_of_git_leads_nowhere_else(
    team: Team, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = team.publish({"docs/a.yaml": "# 1\n"})
    elsewhere = Team(tmp_path / "home", object_format="sha1")
    elsewhere.publish({"docs/a.yaml": "# elsewhere\n"})
    for name, value in {
        "GIT_DIR": str(elsewhere.remote),
        "GIT_WORK_TREE": str(elsewhere.clone),
        "GIT_INDEX_FILE": "/nowhere",
        "GIT_OBJECT_DIRECTORY": "/nowhere",
        "GIT_ICASE_PATHSPECS": "1",
        "GIT_QUARANTINE_PATH": "/nowhere",
        "GIT_NAMESPACE": "other",
        "GIT_CONFIG_COUNT": "many",
        "GIT_CONFIG_PARAMETERS": "'protocol.ext.allow=always'",
        "GIT_ALLOW_PROTOCOL": "ext",
        "GIT_TRACE": "1",
        "GIT_TRACE_CURL": "1",
    }.items():
        monkeypatch.setenv(name, value)
    user = tmp_path / "home" / "gitconfig"
    user.write_text(
        f'{user.read_text()}[remote "origin"]\n\turl = {elsewhere.remote}\n\tfetch = +refs/heads/*:refs/heads/*\n'
        "[log]\n\tshowSignature = true\n\tfollow = true\n[core]\n\tquotePath = true\n[color]\n\tui = always\n"
        "[diff]\n\trenames = copies\n\tnoprefix = true\n[fetch]\n\tprune = true\n\twriteCommitGraph = true\n"
    )
    branch = Branch(team, team.folder / "state").opened()
    assert branch.source.newest_revision == first
    assert branch.source.read("docs/a.yaml") == b"# 1\n"


@pytest.mark.parametrize("target", ["ext::sh -c 'touch RAN' ", "http://127.0.0.1:9/", "git://127.0.0.1:9/", "ssh://x/"])
def test_an_address_is_not_led_to_another_protocol_by_the_users_settings(
    team: Team, target: str, tmp_path: Path
) -> None:
    team.publish({"a.yaml": "1"})
    user = tmp_path / "home" / "gitconfig"
    ran = tmp_path / "ran"
    target = target.replace("RAN", str(ran))
    user.write_text(
        f'{user.read_text()}[url "{target}"]\n\tinsteadOf = {team.remote}\n'
        + "".join(f'[protocol "{name}"]\n\tallow = always\n' for name in ("ext", "http", "git", "ssh"))
    )
    mirror = mirror_of(team)
    mirror.open()
    with pytest.raises(GitFailed, match="not allowed"):
        mirror.fetch(NEVER)
    assert not ran.exists()


@pytest.mark.parametrize(
    "branch", ["-x", "--upload-pack=x", "a..b", "x y", "x:y", "refs/heads/main", "v1", "*", "^main"]
)
def test_a_name_that_is_no_branch_is_said_and_runs_nothing(team: Team, branch: str) -> None:
    team.publish({"a.yaml": "1"})
    team.git("tag", "v1")
    team.git("push", "--quiet", "origin", "v1")
    mirror = mirror_of(team, branch=branch)
    mirror.open()
    with pytest.raises(GitFailed, match=r"invalid refspec|couldn't find remote ref"):
        mirror.fetch(NEVER)


@pytest.mark.parametrize("says", ["", "yes 'words of a server' | head -c 20000000 >&2"])
def test_what_a_fetch_leaves_behind_and_how_much_a_server_says_hold_up_nothing(
    team: Team, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    # As ssh does where connections are shared: its standard error stays open when git has long ended.
    ssh, left = team.folder / "ssh", team.folder / "left"
    leave = f"sleep 1000 </dev/null >/dev/null &\necho $! >{left}\n{says}\n"
    ssh.write_text(f'#!/bin/sh\n{leave}for last; do :; done\nexec sh -c "$last"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(ssh))
    monkeypatch.setenv("GIT_SSH_VARIANT", "ssh")
    team.publish({"a.yaml": "1"})
    mirror = mirror_of(team, address=f"git@git.example:{team.remote}", timeout=15)
    mirror.open()
    assert mirror.fetch(NEVER) == team.git("rev-parse", "HEAD")
    # It is still there: nobody waited for its end, nor ended it as what takes too long.
    os.kill(int(left.read_text()), signal.SIGKILL)
    ssh.write_text('#!/bin/sh\necho "git@git.example: Permission denied (publickey)." >&2\nexit 255\n')
    with pytest.raises(GitFailed, match=r"^git.example: Permission denied"):
        mirror.fetch(NEVER)


def test_a_branch_with_a_slash_is_followed(team: Team) -> None:
    commit = team.commit({"a.yaml": "1"})
    team.git("push", "--quiet", "origin", "HEAD:refs/heads/release/2026")
    mirror = mirror_of(team, branch="release/2026")
    mirror.open()
    assert mirror.fetch(NEVER) == commit


def test_a_fetch_that_was_killed_leaves_a_mirror_that_fetches(team: Team) -> None:
    team.publish({"a.yaml": "1"})
    mirror = mirror_of(team)
    mirror.open()
    stop = threading.Event()
    stop.set()
    user = team.folder / "home" / "gitconfig"
    before = user.read_text()
    user.write_text(f'{before}[uploadpack]\n\tpackObjectsHook = "sleep 1000; true"\n')
    with pytest.raises(GitFailed, match="ended before its time"):
        mirror.fetch(stop)
    user.write_text(before)
    assert mirror.fetch(NEVER) == team.git("rev-parse", "HEAD")
