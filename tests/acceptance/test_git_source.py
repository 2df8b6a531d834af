"""A branch in place of a folder: people push, and the installed daemon follows them against the sandbox.

Aspects: what a push changes and whom the history names, files that move or break, histories that are rewritten, a
repository that is out of reach, the end of a daemon whose server hangs. Signatures, hooks, credentials and hostile
content have files of their own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from reconciler.cli.branch import path_in_repository
from reconciler.model.errors import SettingsError
from tests.world.git_scene import ADA, BOB, Branch, GitScene, Team, isolate
from tests.world.started import Started, eventually


def page(daemon: Started) -> httpx.Client:
    """Return what reads the daemon's page."""
    return httpx.Client(base_url=f"http://{daemon.wait_for('listening')['address']}", trust_env=False)


# What a push changes


def test_a_push_is_followed_and_log_status_metrics_and_history_name_its_commit(world: GitScene) -> None:
    one, other = world.recordings(2)
    first = world.team.publish(
        {"docs/one.yaml": one.document("paused"), "docs/other.yaml": other.document("ongoing"), "README.md": "# Ours"}
    )
    with world.daemon("--listen", "127.0.0.1:0") as daemon, page(daemon) as http:
        daemon.wait_for("applied", name=one.name)
        source = http.get("/status").json()["source"]
        assert source["revision"] == {
            "id": first,
            "author": ADA,
            "subject": "Change",
            "committedAt": source["revision"]["committedAt"],
        }
        shown = (source["address"], source["branch"], source["path"], source["error"], source["refused"])
        assert shown == (str(world.team.remote), "main", "docs", None, [])
        second = world.team.publish({"docs/one.yaml": one.document("ongoing")}, by=BOB, subject="Let one go on")
        daemon.wait_for("applied", name=one.name, count=2)
        assert (
            daemon.wait_for("source_revision", revision=second).items()
            >= {
                "before": first,
                "author": BOB,
                "subject": "Let one go on",
                "files": 1,
            }.items()
        )
        assert http.get("/status").json()["source"]["revision"]["id"] == second
        metrics = http.get("/metrics").text
        assert f'reconciler_source_revision_info{{revision="{second}"}} 1.0' in metrics
        age = re.search(r"^reconciler_source_fetch_age_seconds ([\d.]+)$", metrics, re.MULTILINE)
        assert age is not None
        assert 0 <= float(age[1]) < 60
        assert "reconciler_source_refused 0.0" in metrics
        daemon.process.terminate()
        assert daemon.ended() == 0
    assert world.patches(one, other) == [["paused", "ongoing"], []]
    sent = [event for event in world.history(one) if event["event"] == "patch_sent"]
    assert [(event["revision"], event["author"], event["subject"]) for event in sent] == [
        (second, BOB, "Let one go on"),
        (first, ADA, "Change"),
    ]
    text = world.scene.run("history", "--state", world.scene.state, one.name).stdout
    assert f"commit {second[:12]} by {BOB}: Let one go on" in text


def test_of_commits_pushed_at_once_each_patch_names_the_one_that_changed_its_file(world: GitScene) -> None:
    one, other, third = world.recordings(3)
    everything = {f"docs/{each.name}.yaml": each.document("ongoing") for each in (one, other, third)}
    world.team.publish(everything)
    with world.daemon() as daemon:
        daemon.wait_for("resync_done")
        of_ada = world.team.commit({f"docs/{one.name}.yaml": one.document("paused")}, by=ADA, subject="Ada's")
        # A side branch, and a merge that changes nothing by itself.
        world.team.git("checkout", "--quiet", "-b", "side", "HEAD~1")
        of_bob = world.team.commit({f"docs/{other.name}.yaml": other.document("paused")}, by=BOB, subject="Bob's")
        world.team.git("checkout", "--quiet", "-")
        world.team.git("merge", "--quiet", "--no-ff", "-m", "Merge", "side")
        last = world.team.commit({f"docs/{third.name}.yaml": third.document("paused")}, by=BOB, subject="Last")
        world.team.push()
        for each in (one, other, third):
            daemon.wait_for("applied", name=each.name)
    named = {e["name"]: e["revision"] for e in world.history(one, other, third) if e["event"] == "patch_sent"}
    assert named == {one.name: of_ada, other.name: of_bob, third.name: last}


def test_once_converges_on_the_branch_and_ends(world: GitScene) -> None:
    (one,) = world.recordings(1)
    world.team.publish({"docs/one.yaml": one.document("paused")})
    assert world.run("--once").returncode == 0
    assert world.patches(one) == [["paused"]]


def test_once_ends_with_1_when_the_branch_is_out_of_reach_though_it_converges_on_what_is_in_force(
    world: GitScene,
) -> None:
    one, late = world.recordings(1)[0], world.unknown()
    first = world.team.publish({"docs/one.yaml": one.document("paused"), "docs/late.yaml": late.document("paused")})
    world.run("--once")
    assert world.patches(one, late) == [["paused"], []]
    world.scene.sandbox.seed([late.seed()])
    away = world.team.remote.rename(world.team.remote.with_name("away.git"))
    done = world.run("--once")
    assert done.returncode == 1
    assert world.patches(one, late) == [["paused"], ["paused"]]
    (said,) = [json.loads(line) for line in done.stderr.splitlines() if '"source_unreachable"' in line]
    assert said["in_force"] == first
    away.rename(world.team.remote)
    assert world.run("--once").returncode == 0


# Files that move, go and break


def test_a_rename_is_no_event_a_move_is_no_release_and_a_deletion_releases_without_a_patch(world: GitScene) -> None:
    one, other, stays = world.recordings(3)
    world.team.publish(
        {"docs/a.yaml": one.document("paused"), "docs/b.yaml": other.document("paused") + "---\n", "docs/c.yaml": ""}
    )
    with world.daemon() as daemon:
        daemon.wait_for("applied", count=2)
        world.team.git("mv", "docs/a.yaml", "docs/renamed.yaml")
        world.team.publish({"docs/stays.yaml": stays.document("paused")})
        daemon.wait_for("applied", name=stays.name)
        # Both ways at once: what one file loses another one has in the same commit.
        moved = {"docs/b.yaml": "", "docs/c.yaml": other.document("paused"), "docs/z.yaml": one.document("ongoing")}
        world.team.publish({**moved, "docs/renamed.yaml": None})
        daemon.wait_for("applied", name=one.name, count=2)
        assert daemon.events("released", "document_invalid") == []
        gone = world.team.publish({"docs/z.yaml": None}, by=BOB)
        daemon.wait_for("released", name=one.name)
        assert [event["name"] for event in daemon.events("released")] == [one.name]
    assert world.patches(one, other, stays) == [["paused", "ongoing"], ["paused"], ["paused"]]
    released = world.history(one)[0]
    assert (released["event"], released["revision"], released["author"]) == ("released", gone, BOB)


def test_an_invalid_file_keeps_its_last_good_content_while_others_of_its_commit_act(world: GitScene) -> None:
    one, other = world.recordings(2)
    world.team.publish({"docs/one.yaml": one.document("paused"), "docs/other.yaml": other.document("ongoing")})
    with world.daemon() as daemon:
        daemon.wait_for("applied", name=one.name)
        world.team.publish({"docs/one.yaml": "kind: {", "docs/other.yaml": other.document("paused")})
        daemon.wait_for("applied", name=other.name)
        daemon.wait_for("document_invalid", file="docs/one.yaml")
        world.team.publish({"docs/one.yaml": one.document("ongoing")})
        daemon.wait_for("document_valid_again", file="docs/one.yaml")
        daemon.wait_for("applied", name=one.name, count=2)
        assert daemon.events("released") == []
    assert world.patches(one, other) == [["paused", "ongoing"], ["paused"]]


def test_a_folder_that_vanishes_from_the_branch_releases_nothing_and_comes_back(world: GitScene) -> None:
    one, other = world.recordings(2)
    files = {"docs/one.yaml": one.document("paused"), "docs/other.yaml": other.document("paused")}
    world.team.publish({**files, "elsewhere.yaml": ""})
    with world.daemon() as daemon:
        daemon.wait_for("applied", count=2)
        world.team.git("mv", "docs", "moved")
        world.team.publish({})
        daemon.wait_for("source_vanished", path="docs")
        world.team.git("mv", "moved", "docs")
        world.team.publish({"docs/one.yaml": one.document("ongoing")})
        daemon.wait_for("source_back", path="docs")
        daemon.wait_for("applied", name=one.name, count=2)
        assert daemon.events("released") == []
    assert world.patches(one, other) == [["paused", "ongoing"], ["paused"]]


@pytest.mark.parametrize("kind", ["submodule", "link to a folder", "link to nothing"])
def test_a_folder_that_becomes_a_submodule_or_a_link_is_out_of_sight_and_not_released(
    world: GitScene, kind: str
) -> None:
    one, other = world.recordings(2)
    team = world.team
    first = team.publish({"docs/team/one.yaml": one.document("paused"), "docs/other.yaml": other.document("paused")})
    with world.daemon() as daemon:
        daemon.wait_for("applied", count=2)
        team.git("rm", "--quiet", "-r", "--cached", "docs/team")
        (team.clone / "docs" / "team").rename(team.clone / "elsewhere")
        if kind != "submodule":
            (team.clone / "docs" / "team").symlink_to("../elsewhere")
        else:
            team.git("update-index", "--add", "--cacheinfo", f"160000,{first},docs/team")
        team.write({"docs/other.yaml": other.document("ongoing")})
        team.git(
            "add",
            "docs/other.yaml",
            *{"submodule": [], "link to a folder": ["docs/team", "elsewhere"], "link to nothing": ["docs/team"]}[kind],
        )
        team.git("commit", "--quiet", "-m", "Move the team")
        team.push()
        daemon.wait_for("applied", name=other.name, count=2)
        warned = daemon.wait_for("source_warning")["detail"]
        assert warned.startswith(f"docs/team: a {kind}")
        assert daemon.events("released") == []
    again = world.run("--once")
    assert again.returncode == 0, again.stderr
    assert '"released"' not in again.stderr, "not at a start either"
    with world.daemon() as daemon:
        daemon.wait_for("resync_done")
        team.git("rm", "--quiet", "--cached", "docs/team")
        team.git("commit", "--quiet", "-m", "Take the team away")
        team.push()
        daemon.wait_for("released", name=one.name)
    assert world.patches(one, other) == [["paused"], ["paused", "ongoing"]]


def test_a_place_that_is_not_read_for_another_reason_than_before_is_named_again(world: GitScene) -> None:
    (one,) = world.recordings(1)
    team = world.team
    first = team.publish({"docs/one.yaml": one.document("paused"), "elsewhere/x": ""})
    with world.daemon() as daemon:
        daemon.wait_for("applied")
        for number, entry in enumerate((f"160000,{first},docs/team", None, f"160000,{first},docs/team"), 1):
            if entry is None:
                (team.clone / "docs" / "team").symlink_to("../elsewhere")
                team.git("add", "docs/team")
                (team.clone / "docs" / "team").unlink()
            else:
                team.git("update-index", "--add", "--cacheinfo", entry)
            team.git("commit", "--quiet", "-m", f"Turn {number}")
            team.push()
            daemon.wait_for("source_warning", count=number)
        kinds = [event["detail"].partition(", ")[0] for event in daemon.events("source_warning")]
    assert kinds == ["docs/team: a submodule", "docs/team: a link to a folder", "docs/team: a submodule"]


def test_a_name_that_differs_only_in_case_is_named_once(world: GitScene) -> None:
    (one,) = world.recordings(1)
    world.team.publish({"docs/one.yaml": one.document("paused"), "docs/B.YAML": "", "docs/.c.YML": ""})
    with world.daemon() as daemon:
        daemon.wait_for("applied")
        world.team.publish({"docs/one.yaml": one.document("ongoing")})
        daemon.wait_for("applied", count=2)
        (warning,) = daemon.events("source_warning")
        assert warning["detail"].startswith("docs/B.YAML: not read")


def test_a_path_that_was_never_there_is_said_to_be_none_at_the_first_start(world: GitScene) -> None:
    (one,) = world.recordings(1)
    world.team.publish({"docs/one.yaml": one.document("paused")})
    for _ in range(2):
        done = world.run("--once", "--path", "dosc")
        assert done.returncode == 1
        assert re.search(r"path: there is no such folder or file in commit [0-9a-f]{12}: dosc", done.stderr)
        assert "stays in force" not in done.stderr
    assert world.run("--once").returncode == 0


# Histories that are rewritten


def test_an_amended_commit_an_older_one_and_an_unrelated_one_come_into_force_and_are_called_rewritten(
    world: GitScene,
) -> None:
    (one,) = world.recordings(1)
    older = world.team.publish({"docs/one.yaml": one.document("ongoing")})
    tip = world.team.publish({"docs/one.yaml": one.document("paused")})
    with world.daemon() as daemon:
        daemon.wait_for("applied", name=one.name)
        amended = world.team.commit({"docs/one.yaml": one.document("ongoing")}, options=("--amend",))
        world.team.push("--force")
        assert daemon.wait_for("source_rewritten")["before"] == tip
        daemon.wait_for("applied", name=one.name, count=2)
        world.team.git("checkout", "--quiet", "--orphan", "fresh")
        fresh = world.team.commit({"docs/one.yaml": one.document("paused")})
        world.team.push("--force")
        daemon.wait_for("source_rewritten", before=amended, revision=fresh)
        daemon.wait_for("applied", name=one.name, count=3)
        world.team.git("push", "--quiet", "--force", "origin", f"{older}:refs/heads/main")
        daemon.wait_for("source_rewritten", before=fresh, revision=older)
        daemon.wait_for("applied", name=one.name, count=4)
    assert world.patches(one) == [["paused", "ongoing", "paused", "ongoing"]]


# A repository that is out of reach


def test_a_branch_that_is_deleted_and_a_remote_that_vanishes_change_nothing_until_they_are_back(
    world: GitScene,
) -> None:
    (one,) = world.recordings(1)
    first = world.team.publish({"docs/one.yaml": one.document("paused")})
    # Other branches stay: the repository itself is well.
    world.team.git("push", "--quiet", "origin", "HEAD:refs/heads/other")
    away = world.team.remote.with_name("away.git")
    with world.daemon("--listen", "127.0.0.1:0") as daemon, page(daemon) as http:
        daemon.wait_for("applied", name=one.name)
        world.team.git("push", "--quiet", "origin", ":refs/heads/main")
        said = daemon.wait_for("source_unreachable", in_force=first)
        assert "refs/heads/main" in said["error"]
        world.team.push()
        daemon.wait_for("source_reachable_again")
        world.team.remote.rename(away)
        daemon.wait_for("source_unreachable", count=2)
        status = http.get("/status").json()["source"]
        assert (status["revision"]["id"], bool(status["error"])) == (first, True)
        assert http.get("/healthz").status_code == 200
        away.rename(world.team.remote)
        daemon.wait_for("source_reachable_again", count=2)
        world.team.publish({"docs/one.yaml": one.document("ongoing")})
        daemon.wait_for("applied", name=one.name, count=2)
        assert daemon.events("released") == []
        assert http.get("/status").json()["source"]["error"] is None


def test_a_daemon_started_while_the_remote_is_away_goes_on_from_its_mirror(world: GitScene) -> None:
    one, late = world.recordings(1)[0], world.unknown()
    commit = world.team.publish({"docs/one.yaml": one.document("paused"), "docs/late.yaml": late.document("paused")})
    with world.daemon() as daemon:
        daemon.wait_for("applied", name=one.name)
        daemon.kill()
    away = world.team.remote.rename(world.team.remote.with_name("away.git"))
    world.scene.sandbox.seed([late.seed()])
    with world.daemon() as daemon:
        daemon.wait_for("source_unreachable", in_force=commit)
        # It still brings about what the mirror declares.
        daemon.wait_for("applied", name=late.name)
        assert daemon.events("released") == []
        away.rename(world.team.remote)
        daemon.wait_for("source_reachable_again")


@pytest.mark.parametrize("state", ["empty", "absent", "without the branch"])
def test_a_first_start_without_a_commit_to_take_exits_1_with_the_reason(world: GitScene, state: str) -> None:
    if state == "absent":
        shutil.rmtree(world.team.remote)
    if state == "without the branch":
        world.team.commit({"docs/one.yaml": ""})
        world.team.git("push", "--quiet", "origin", "HEAD:refs/heads/other")
    done = world.run()
    assert done.returncode == 1
    assert str(world.team.remote) in done.stderr
    assert ("not appear to be a git repository" if state == "absent" else "couldn't find remote ref") in done.stderr
    assert "Traceback" not in done.stderr


def test_the_mirror_goes_to_the_folder_for_caches(world: GitScene, tmp_path: Path) -> None:
    (one,) = world.recordings(1)
    world.team.publish({"docs/one.yaml": one.document("paused")})
    cache = tmp_path / "cache"
    with world.daemon("--cache-dir", str(cache)) as daemon:
        daemon.wait_for("applied", name=one.name)
    assert [len(list(mirrors.iterdir())) for mirrors in cache.glob("mirrors-*")] == [1]
    assert cache.stat().st_mode & 0o777 == 0o700
    assert not list(tmp_path.rglob("mirrors"))


# The end


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Give the address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"https://127.0.0.1:{listening.getsockname()[1]}/team/repo.git"


def gits_of(folder: Path) -> list[str]:
    """Return the processes whose environment names a folder, and which are some git."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_bytes()
            environment = (process / "environ").read_bytes()
        except OSError:
            continue
        if process.name.isdigit() and b"git" in words.split(b"\0")[0] and f"GIT_DIR={folder}".encode() in environment:
            found.append(f"{process.name} {words!r}")
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes under /proc")
def test_a_server_that_hangs_holds_up_no_end_and_no_git_outlives_the_daemon(
    world: GitScene, silent_server: str, tmp_path: Path
) -> None:
    mirrors = tmp_path / "mirrors"
    # At the first start, before there is a loop.
    with world.daemon("--git", silent_server) as daemon:
        eventually(lambda: bool(gits_of(mirrors)))
        daemon.process.terminate()
        assert daemon.process.wait(8) == 0
    eventually(lambda: not gits_of(mirrors))
    # And later, where the same server answers no more.
    (one,) = world.recordings(1)
    world.team.publish({"docs/one.yaml": one.document("paused")})
    with world.daemon() as daemon:
        daemon.wait_for("applied", name=one.name)
        hang = tmp_path / "home" / "gitconfig"
        hang.write_text(hang.read_text() + '[uploadpack]\n\tpackObjectsHook = "sleep 1000; true"\n')
        world.team.publish({"docs/one.yaml": one.document("ongoing")})
        eventually(lambda: any("fetch" in each for each in gits_of(mirrors)))
        daemon.process.terminate()
        assert daemon.process.wait(8) == 0
    eventually(lambda: not gits_of(mirrors))


def test_a_fetch_that_takes_longer_than_allowed_is_ended_and_said(world: GitScene, silent_server: str) -> None:
    done = world.run("--git", silent_server, "--git-timeout-seconds", "1")
    assert done.returncode == 1
    assert "it took longer than git_timeout_seconds allows (1 s)" in done.stderr


def test_a_daemon_that_was_killed_amid_a_fetch_fetches_when_it_is_started_again(world: GitScene) -> None:
    one, other = world.recordings(2)
    world.team.publish({"docs/one.yaml": one.document("paused")})
    user = Path(os.environ["GIT_CONFIG_GLOBAL"])
    before = user.read_text()
    mirrors = world.team.folder / "mirrors"
    with world.daemon() as daemon:
        daemon.wait_for("applied", name=one.name)
        # A server that is halfway through: what it has sent is on disk, and locks are held.
        user.write_text(before + '[uploadpack]\n\tpackObjectsHook = "sleep 2; true"\n')
        world.team.publish({"docs/other.yaml": other.document("paused")})
        if Path("/proc/self/environ").exists():
            eventually(lambda: any("fetch" in each for each in gits_of(mirrors)))
        daemon.kill()
    user.write_text(before)
    with world.daemon() as daemon:
        daemon.wait_for("applied", name=other.name)
    assert world.patches(one, other) == [["paused"], ["paused"]]


# What the settings say


@pytest.mark.parametrize("path", ["docs", "docs/", "./docs", "/docs", "docs/../docs/.", "docs/one.yaml", "", "."])
def test_a_path_names_a_folder_or_a_file_of_the_repository(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, tmp_path / "home")
    team = Team(tmp_path)
    team.publish({"docs/one.yaml": "# 1\n", "docs/.two.yaml": "", "docs2/three.txt": "", "docs.txt": ""})
    branch = Branch(team, tmp_path / "state", path=path_in_repository(path)).opened()
    assert list(branch.source.walk().files) == ["docs/one.yaml"]
    team.publish({"docs/one.yaml": "# 2\n"})
    branch.look()
    assert branch.source.read("docs/one.yaml") == b"# 2\n"


@pytest.mark.parametrize("path", ["..", "../x", "docs/../../x", "./.."])
def test_a_path_out_of_the_repository_is_an_error_of_the_settings(path: str) -> None:
    with pytest.raises(SettingsError, match="leads out of the repository"):
        path_in_repository(path)


def test_what_a_commit_says_of_itself_is_kept_without_keys_numbers_and_control_characters(world: GitScene) -> None:
    (one,) = world.recordings(1)
    secret = "bk_0123456789abcdef"
    subject = f"Call +49 170 1234567 back, {secret} \x1b[31m\u202eevil"
    world.team.publish({"docs/one.yaml": one.document("paused")}, subject=subject, by="+49 170 7654321 <a@example.org>")
    with world.daemon("--listen", "127.0.0.1:0") as daemon, page(daemon) as http:
        daemon.wait_for("applied", name=one.name)
        shown = http.get("/status").text + daemon.log.read_text()
        daemon.process.terminate()
        daemon.ended()
    shown += world.scene.run("history", "--state", world.scene.state).stdout
    shown += json.dumps(world.history(one))
    state = b"".join(file.read_bytes() for file in world.team.folder.glob("state.db*"))
    assert "Call <number> back, <key>" in shown
    for word in ("1234567", "7654321", secret, "\x1b", "\u202e", "\\u001b", "\\u202e"):
        assert word not in shown
    assert not any(word.encode() in state for word in ("1234567", "7654321", secret))
