"""Whose commits may change anything: signatures made on the spot, judged by the installed daemon and by its source.

Aspects: what comes into force under each mode and scope, the ways out of a refusal, keys that change while it runs, GPG
keyrings, and keys that only the user trusts. The source is driven by the test where nothing is said of the daemon.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from reconciler.git.mirror.signatures import Mode
from reconciler.model.errors import ReconcilerError, SettingsError
from tests.world.git_scene import BOB, Branch, GitScene, Team
from tests.world.scene import COMMAND, Scene

GPG = shutil.which("gpg")


class Signers:
    """SSH keys made on the spot, and the file of those that may sign."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.allowed = folder / "allowed_signers"
        self.allowed.write_text("")

    def make(self, name: str) -> Path:
        key = self.folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)], check=True)
        return key

    def allow(self, *names: str) -> None:
        """Name those who may sign, and nobody else; the file is replaced, as editors and mounts do."""
        lines = [f"{name}@example.org {(self.folder / f'{name}.pub').read_text()}" for name in names]
        part = self.folder / ".part"
        part.write_text("".join(lines))
        part.replace(self.allowed)


@pytest.fixture
def signers(tmp_path: Path) -> Signers:
    made = Signers(tmp_path)
    for name in ("ada", "bob", "eve"):
        made.make(name)
    made.allow("ada", "bob")
    return made


def signed(team: Team, key: Path, text: str, **more: Any) -> str:
    return team.commit({"docs/one.yaml": f"# {text}\n"}, sign=key, **more)


def test_only_what_an_allowed_key_signed_comes_into_force(team: Team, signers: Signers, tmp_path: Path) -> None:
    good = signed(team, tmp_path / "ada", "1")
    team.push()
    branch = Branch(team, tmp_path / "state", mode="enforce", allowed_signers=signers.allowed).opened()
    assert branch.source.newest_revision == good
    by_another = signed(team, tmp_path / "bob", "2", by=BOB)
    team.push()
    assert branch.look() == by_another
    unknown = signed(team, tmp_path / "eve", "3")
    team.push()
    assert branch.look() == by_another
    assert branch.refused == [unknown]
    assert branch.source.read("docs/one.yaml") == b"# 2\n"
    # What lies above a bad commit is as bad, however well it is signed.
    unsigned = team.commit({"docs/one.yaml": "# 4\n"})
    signed(team, tmp_path / "ada", "5")
    team.push()
    assert branch.look() == by_another
    assert branch.refused == [unsigned, unknown]
    assert "no signature" in {each.revision.id: each.why for each in branch.source.state.refused}[unsigned]
    # And a start changes nothing of that.
    again = Branch(team, tmp_path / "state", mode="enforce", allowed_signers=signers.allowed).opened()
    assert (again.source.newest_revision, again.refused) == (by_another, [unsigned, unknown])


def test_a_bad_commit_on_a_merged_side_branch_is_found(team: Team, signers: Signers, tmp_path: Path) -> None:
    base = signed(team, tmp_path / "ada", "1")
    good = signed(team, tmp_path / "ada", "2")
    team.push()
    branch = Branch(team, tmp_path / "state", mode="enforce", allowed_signers=signers.allowed).opened()
    team.git("checkout", "--quiet", "-b", "side", base)
    bad = team.commit({"docs/other.yaml": ""})
    team.git("checkout", "--quiet", "-")
    team.git("-c", "gpg.format=ssh", "-c", f"user.signingKey={tmp_path / 'ada'}", "merge", "-S", "--no-ff", "side")
    team.push()
    assert branch.look() == good
    assert branch.refused == [bad]


def test_with_scope_tip_only_the_newest_is_judged(team: Team, signers: Signers, tmp_path: Path) -> None:
    signed(team, tmp_path / "ada", "1")
    team.push()
    branch = Branch(team, tmp_path / "state", mode="enforce", scope="tip", allowed_signers=signers.allowed).opened()
    team.commit({"docs/one.yaml": "# 2\n"})
    tip = signed(team, tmp_path / "ada", "3")
    team.push()
    assert branch.look() == tip
    team.commit({"docs/one.yaml": "# 4\n"})
    team.push()
    assert branch.look() == tip


def test_a_team_recovers_by_taking_the_commit_back_or_by_judging_the_tip_alone_once(
    team: Team, signers: Signers, tmp_path: Path
) -> None:
    allowed = signers.allowed
    good = signed(team, tmp_path / "ada", "1")
    team.push()
    branch = Branch(team, tmp_path / "state", mode="enforce", allowed_signers=allowed).opened()
    team.commit({"docs/one.yaml": "# bad\n"})
    team.push()
    assert branch.look() == good
    # Taken back: the branch stands where the good one is, then goes on.
    team.git("reset", "--quiet", "--hard", good)
    team.push("--force")
    assert (branch.look(), branch.refused) == (good, [])
    better = signed(team, tmp_path / "ada", "2")
    team.push()
    assert branch.look() == better
    # Left where it is, with a signed commit on top, and one start that judges the tip alone.
    team.commit({"docs/one.yaml": "# bad\n"})
    tip = signed(team, tmp_path / "ada", "3")
    team.push()
    assert branch.look() == better
    assert Branch(team, tmp_path / "state", mode="enforce", scope="tip", allowed_signers=allowed).opened().look() == tip
    later = Branch(team, tmp_path / "state", mode="enforce", allowed_signers=allowed).opened()
    assert (later.source.newest_revision, later.refused) == (tip, [])
    last = signed(team, tmp_path / "ada", "4")
    team.push()
    assert later.look() == last


def test_a_rewritten_history_is_judged_as_far_as_it_is_new(team: Team, signers: Signers, tmp_path: Path) -> None:
    first = signed(team, tmp_path / "ada", "1")
    signed(team, tmp_path / "ada", "2")
    team.push()
    branch = Branch(team, tmp_path / "state", mode="enforce", allowed_signers=signers.allowed).opened()
    team.git("reset", "--quiet", "--hard", first)
    bad = team.commit({"docs/one.yaml": "# bad\n"})
    signed(team, tmp_path / "ada", "3")
    team.push("--force")
    branch.look()
    assert branch.refused == [bad]
    team.git("reset", "--quiet", "--hard", first)
    good = signed(team, tmp_path / "ada", "4")
    team.push("--force")
    assert branch.look() == good


def test_a_way_longer_than_git_depth_is_refused_with_what_helps(team: Team, signers: Signers, tmp_path: Path) -> None:
    first = signed(team, tmp_path / "ada", "0")
    team.push()
    allowed = signers.allowed
    Branch(team, tmp_path / "state", mode="enforce", allowed_signers=allowed).opened()
    for number in range(1, 6):
        tip = signed(team, tmp_path / "ada", str(number))
    team.push()
    short = Branch(team, tmp_path / "state", mode="enforce", depth=3, allowed_signers=allowed).opened()
    assert short.source.newest_revision == first
    assert "--git-depth" in short.source.state.refused[-1].why
    assert (
        Branch(team, tmp_path / "state", mode="enforce", allowed_signers=allowed).opened().source.newest_revision == tip
    )


def test_a_signer_added_to_the_file_is_taken_without_a_start_and_one_taken_out_signs_no_more(
    team: Team, signers: Signers, tmp_path: Path
) -> None:
    good = signed(team, tmp_path / "ada", "1")
    team.push()
    branch = Branch(team, tmp_path / "state", mode="enforce", allowed_signers=signers.allowed).opened()
    by_eve = signed(team, tmp_path / "eve", "2")
    team.push()
    assert branch.look() == good
    signers.allow("ada", "eve")
    assert branch.look() == by_eve
    signed(team, tmp_path / "bob", "3")
    team.push()
    assert branch.look() == by_eve
    signers.allowed.unlink()
    assert branch.look() == by_eve
    assert "allowed_signers" in branch.source.state.error


#: What is no file of allowed signers, with what is said of it.
NO_SIGNERS = {
    "empty": (b"", "names nobody"),
    "comments only": (b"# ADA\n\n   \n\t# ada\r\n", "names nobody"),
    "words": (b"ada@example.org may sign\n", "signers:1: ssh-keygen cannot read it: "),
    "a bare public key": (b"# Ada\n\nADA\n", "signers:3: ssh-keygen cannot read it: missing key"),
    "a key cut short": (b"ada@example.org ssh-ed25519 AAAA\n", "signers:1: ssh-keygen cannot read it: invalid key"),
    "an unknown option": (b"ada@example.org may=1 ADA\n", "signers:1: ssh-keygen cannot read it: "),
    "one bad entry among good ones": (b"ada@example.org ADA\nbob\nbob@example.org ADA\n", "signers:2: "),
    "no text": (b"\0\1\2", "is no text"),
    "a keyring": (bytes(range(256)), "is no text"),
}


def written(signers: Signers, content: bytes) -> Path:
    path = signers.folder / "signers"
    path.write_bytes(content.replace(b"ADA", (signers.folder / "ada.pub").read_bytes().strip()))
    return path


@pytest.mark.parametrize("case", NO_SIGNERS)
def test_a_file_that_names_no_signer_or_has_a_line_that_is_no_entry_is_refused_at_the_start(
    team: Team, signers: Signers, tmp_path: Path, case: str
) -> None:
    content, said = NO_SIGNERS[case]
    path = written(signers, content)
    with pytest.raises(SettingsError, match=r"^allowed_signers: ") as caught:
        Branch(team, tmp_path / "state", mode="enforce", allowed_signers=path)
    assert said in str(caught.value)
    assert "an entry is a line such as" in str(caught.value)


def test_whatever_a_file_of_signers_may_hold_is_taken(team: Team, signers: Signers, tmp_path: Path) -> None:
    good = signed(team, tmp_path / "ada", "1")
    team.push()
    path = written(
        signers,
        b"# Ours\r\n\r\n \n"
        b'"eve@example.org,eve x" cert-authority ADA\r\n'
        b'bob@example.org namespaces="git",valid-after="20200101" ADA a comment of hers\n'
        b"*@example.org ADA",
    )
    branch = Branch(team, tmp_path / "state", mode="enforce", allowed_signers=path).opened()
    assert branch.source.newest_revision == good


def test_without_ssh_keygen_no_file_of_signers_is_taken(
    team: Team, signers: Signers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SettingsError, match=r"allowed_signers: ssh-keygen cannot be run: .*; install"):
        Branch(team, tmp_path / "state", mode="enforce", allowed_signers=signers.allowed)


def test_a_file_of_signers_that_becomes_garbage_is_said_and_brings_nothing_into_force(
    team: Team, signers: Signers, tmp_path: Path
) -> None:
    good = signed(team, tmp_path / "ada", "1")
    team.push()
    branch = Branch(team, tmp_path / "state", mode="enforce", allowed_signers=signers.allowed).opened()
    newer = signed(team, tmp_path / "ada", "2")
    team.push()
    for content, said in NO_SIGNERS.values():
        written(signers, content).replace(signers.allowed)
        assert branch.look() == good
        assert branch.source.state.error.startswith("allowed_signers: ")
        assert said.replace("signers:", "allowed_signers:") in branch.source.state.error
        assert branch.refused == []
    signers.allow("ada")
    assert (branch.look(), branch.source.state.error) == (newer, "")


def test_what_came_into_force_unjudged_is_no_ground_to_judge_on(team: Team, signers: Signers, tmp_path: Path) -> None:
    bad = team.commit({"docs/one.yaml": "# bad\n"})
    team.push()
    modes: tuple[Mode, ...] = ("off", "warn")
    for mode in modes:
        branch = Branch(team, tmp_path / "state", mode=mode, allowed_signers=signers.allowed)
        assert branch.opened().source.newest_revision == bad
    with pytest.raises(ReconcilerError, match=rf"commit {bad[:12]} by Ada Lovelace .* is refused: .*no signature"):
        Branch(team, tmp_path / "state", mode="enforce", allowed_signers=signers.allowed).opened()
    good = signed(team, tmp_path / "ada", "good")
    team.push()
    with pytest.raises(ReconcilerError, match=f"commit {bad[:12]} by"):
        Branch(team, tmp_path / "state", mode="enforce", allowed_signers=signers.allowed).opened()
    tip = Branch(team, tmp_path / "state", mode="enforce", scope="tip", allowed_signers=signers.allowed)
    assert tip.opened().look() == good
    assert Branch(team, tmp_path / "state", mode="enforce", allowed_signers=signers.allowed).opened().look() == good


@pytest.mark.parametrize("loss", ["other address", "empty HEAD", "no mirror"])
def test_what_was_in_force_is_judged_against_whatever_became_of_the_mirror(
    team: Team, signers: Signers, tmp_path: Path, loss: str
) -> None:
    state = tmp_path / "state"
    good = signed(team, tmp_path / "ada", "1")
    team.push()
    branch = Branch(team, state, mode="enforce", allowed_signers=signers.allowed).opened()
    assert branch.source.newest_revision == good
    bad = team.commit({"docs/one.yaml": "# bad\n"})
    signed(team, tmp_path / "ada", "2")
    team.push()
    folder = branch.source._mirror.folder
    if loss == "empty HEAD":
        (folder / "HEAD").write_bytes(b"")
    else:
        # What another address, or another way to write this one, comes to: a mirror that is not there yet.
        folder.rename(tmp_path / "moved") if loss == "other address" else shutil.rmtree(folder)
    with pytest.raises(ReconcilerError, match=f"commit {bad[:12]} by .* is refused: no signature"):
        Branch(team, state, mode="enforce", allowed_signers=signers.allowed).opened()


def test_a_broken_mirror_is_made_anew_and_what_is_new_is_judged(team: Team, signers: Signers, tmp_path: Path) -> None:
    signed(team, tmp_path / "ada", "1")
    team.push()
    allowed = signers.allowed
    branch = Branch(team, tmp_path / "state", mode="enforce", allowed_signers=allowed).opened()
    bad = team.commit({"docs/one.yaml": "# bad\n"})
    team.push()
    for pack in branch.source._mirror.folder.glob("objects/pack/*.pack"):
        pack.chmod(0o600)
        pack.write_bytes(b"PACK" + bytes(100))
    with pytest.raises(ReconcilerError, match=f"commit {bad[:12]} by .* is refused"):
        Branch(team, tmp_path / "state", mode="enforce", allowed_signers=allowed).opened()


def test_keys_that_only_the_user_trusts_count_for_nothing(team: Team, signers: Signers, tmp_path: Path) -> None:
    good = signed(team, tmp_path / "ada", "1")
    team.push()
    by_eve = signed(team, tmp_path / "eve", "2")
    everyone = tmp_path / "everyone"
    everyone.write_text(f"* {(tmp_path / 'eve.pub').read_text()}")
    yes = tmp_path / "yes"
    yes.write_text('#!/bin/sh\necho "[GNUPG:] GOODSIG 0 Eve"\nexit 0\n')
    yes.chmod(0o755)
    programs = "".join(f'[gpg "{kind}"]\n\tprogram = {yes}\n' for kind in ("ssh", "openpgp", "x509"))
    user = Path(os.environ["GIT_CONFIG_GLOBAL"])
    user.write_text(
        f'{user.read_text()}[gpg "ssh"]\n\tallowedSignersFile = {everyone}\n[gpg]\n\tprogram = {yes}\n{programs}'
    )
    branch = Branch(team, tmp_path / "state", mode="enforce", allowed_signers=signers.allowed).opened()
    team.push()
    assert branch.look() == good
    assert branch.refused == [by_eve]


def test_a_commit_that_was_altered_after_it_was_signed_is_refused(team: Team, signers: Signers, tmp_path: Path) -> None:
    good = signed(team, tmp_path / "ada", "1")
    team.push()
    branch = Branch(team, tmp_path / "state", mode="enforce", allowed_signers=signers.allowed).opened()
    signed(team, tmp_path / "ada", "2", subject="What Ada signed")
    raw = team.git("cat-file", "commit", "HEAD") + "\n"
    altered = team.git(
        "hash-object", "-t", "commit", "-w", "--stdin", stdin=raw.replace("What Ada signed", "What Eve says").encode()
    )
    team.git("push", "--quiet", "origin", f"{altered}:refs/heads/main")
    assert branch.look() == good
    assert branch.refused == [altered]


@pytest.mark.skipif(GPG is None, reason="needs gpg")
def test_a_gpg_keyring_decides_and_the_users_own_does_not(
    team: Team, signers: Signers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Sockets have short names only.
    home = Path(subprocess.check_output(["mktemp", "-d", "/tmp/gpg-XXXXXX"], text=True).strip())
    monkeypatch.setenv("GNUPGHOME", str(home))

    def gpg(*arguments: str) -> bytes:
        return subprocess.run(
            ["gpg", "--batch", "--quiet", "--passphrase", "", *arguments], check=True, capture_output=True
        ).stdout

    try:
        for name in ("gina", "eve"):
            gpg("--quick-generate-key", f"{name}@example.org", "ed25519", "sign", "never")
        keyring = tmp_path / "keyring.gpg"
        keyring.write_bytes(gpg("--export", "gina@example.org"))

        def by(name: str, text: str) -> str:
            sign = ("-c", f"user.signingKey={name}@example.org", "commit", "-S")
            return team.commit({"docs/one.yaml": text}, command=sign)

        good = by("gina", "# 1\n")
        team.push()
        state = tmp_path / "state"
        branch = Branch(team, state, mode="enforce", gpg_keyring=keyring, allowed_signers=signers.allowed).opened()
        assert branch.source.newest_revision == good
        bad = by("eve", "# 2\n")
        team.push()
        assert branch.look() == good
        assert branch.refused == [bad]
        keyring.write_bytes(gpg("--export", "gina@example.org", "eve@example.org"))
        assert branch.look() == bad
        # Either kind counts where both are named.
        by_ssh = signed(team, tmp_path / "ada", "3")
        team.push()
        assert branch.look() == by_ssh
        signed(team, tmp_path / "ada", "4")
        team.push()
        keyring.write_bytes(b"no keys")
        assert branch.look() == by_ssh
        assert "gpg_keyring" in branch.source.state.error
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], check=False, capture_output=True)
        shutil.rmtree(home, ignore_errors=True)


# The installed daemon


@pytest.fixture
def world(team: Team, sandbox: Scene, tmp_path: Path) -> GitScene:
    return GitScene(sandbox.at(tmp_path), team)


def test_the_daemon_refuses_says_whose_and_which_goes_on_refusing_after_a_start_and_warns_where_told_to(
    world: GitScene, signers: Signers, tmp_path: Path
) -> None:
    one, other = world.recordings(2)
    enforce = ("--verify", "enforce", "--allowed-signers", str(signers.allowed))
    good = world.team.commit({"docs/one.yaml": one.document("paused")}, sign=tmp_path / "ada")
    world.team.push()
    with world.daemon(*enforce) as daemon:
        daemon.wait_for("applied", name=one.name)
        bad = world.team.publish({"docs/other.yaml": other.document("paused")}, by=BOB, subject="Sneaky")
        said = daemon.wait_for("revision_refused")
        assert said.items() >= {"revision": bad, "author": BOB, "subject": "Sneaky", "in_force": good}.items()
        daemon.kill()
    with world.daemon(*enforce, "--listen", "127.0.0.1:0") as daemon:
        daemon.wait_for("revision_refused", revision=bad, in_force=good)
        daemon.wait_for("resync_done")
        with httpx.Client(base_url=f"http://{daemon.wait_for('listening')['address']}", trust_env=False) as http:
            source = http.get("/status").json()["source"]
            assert (source["revision"]["id"], source["refusedRevision"]["id"]) == (good, bad)
            assert [(each["id"], each["author"]) for each in source["refused"]] == [(bad, BOB)]
            assert "reconciler_source_refused 1.0" in http.get("/metrics").text
        assert world.patches(other) == [[]]
    with world.daemon("--verify", "warn", "--allowed-signers", str(signers.allowed)) as daemon:
        daemon.wait_for("revision_unsigned", revision=bad)
        daemon.wait_for("applied", name=other.name)


def test_once_ends_with_1_when_the_newest_commit_is_refused_and_with_0_when_it_is_only_warned_of(
    world: GitScene, signers: Signers, tmp_path: Path
) -> None:
    one, other = world.recordings(2)
    signed_only = ("--once", "--verify", "enforce", "--allowed-signers", str(signers.allowed))
    world.team.commit({"docs/one.yaml": one.document("paused")}, sign=tmp_path / "ada")
    world.team.push()
    assert world.run(*signed_only).returncode == 0
    world.team.publish({"docs/other.yaml": other.document("paused")})
    done = world.run(*signed_only)
    assert done.returncode == 1
    assert '"revision_refused"' in done.stderr
    assert world.patches(one, other) == [["paused"], []]
    assert world.run(*signed_only, "--verify", "warn").returncode == 0
    assert world.patches(one, other) == [["paused"], ["paused"]]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--verify", "enforce"), "verify: enforce needs the keys that may sign"),
        (("--verify", "warn"), "verify: warn needs the keys that may sign"),
        (("--verify", "enforce", "--allowed-signers", "absent"), "allowed_signers: "),
        (("desired_state",), "git: documents come from the repository or from PATH..., not from both"),
    ],
)
def test_a_safety_that_would_not_hold_is_an_error_of_the_settings(
    world: GitScene, options: tuple[str, ...], said: str
) -> None:
    done = world.run(*options)
    assert done.returncode == 1
    assert said in done.stderr


# What `doctor` says of a branch.


def examined(team: Team, *options: str) -> dict[str, list[dict[str, str]]]:
    """Return the findings of the installed `doctor` on the branch, by check."""
    branch = ("--git", str(team.remote), "--branch", "main", "--path", "docs", "--api-url", "http://127.0.0.1:9")
    done = subprocess.run(
        [COMMAND, "doctor", "--format", "json", *branch, *options],
        cwd=team.folder,
        env={**os.environ, "BIRD_ACCESS_KEY": "key-of-nobody"},
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 1, done.stderr  # no API can be reached
    found: dict[str, list[dict[str, str]]] = {}
    for finding in json.loads(done.stdout)["findings"]:
        found.setdefault(finding["check"], []).append(finding)
    return found


def test_doctor_names_the_newest_commit_and_whose_signature_is_missing(
    team: Team, signers: Signers, tmp_path: Path
) -> None:
    signed(team, tmp_path / "ada", "1")
    unsigned = team.commit({"docs/one.yaml": "# 2\n"}, by=BOB)
    team.push()
    found = examined(team, "--verify", "enforce", "--allowed-signers", str(signers.allowed))
    assert [finding["level"] for finding in found["git_source"]] == ["ok"]
    assert unsigned[:8] in found["git_source"][0]["message"]
    (signature,) = found["signatures"]
    assert signature["level"] == "failure"
    assert unsigned[:8] in signature["message"]


def test_doctor_tells_a_repository_out_of_reach_from_a_setting_that_is_wrong(
    team: Team, signers: Signers, tmp_path: Path
) -> None:
    signed(team, tmp_path / "ada", "1")
    team.push()
    signers.allow()
    (finding,) = examined(team, "--verify", "enforce", "--allowed-signers", str(signers.allowed))["git_source"]
    assert "names nobody" in finding["message"]
    assert finding["remedy"] == "mend the setting that is named, or its file"
    team.remote.rename(tmp_path / "moved.git")
    (finding,) = examined(team)["git_source"]
    assert finding["level"] == "failure"
    assert "ls-remote" in finding["remedy"]
