"""`import`: live recordings become documents that ask for what is, and hand-written files stay as they are.

Aspects: the round trip against two independent APIs, scopes, pages and tokens, what is skipped, where the documents go
and how they join what is there, faults, and what must never be written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from reconciler.desired.documents.parse import parse_documents
from reconciler.desired.export import Export, append, document_text, give_names, join, status_of
from reconciler.model.keys import RecordingKey
from reconciler.model.statuses import Status
from reconciler.providers.bird.sandbox import DEFAULT_KEY, SandboxServer, SeedRecording, World
from tests.world.documents import document
from tests.world.foreign_api import CANARY_PHONE, ForeignApi, running
from tests.world.ids import CALL, CHANNEL, RECORDING, WORKSPACE, numbered, recording
from tests.world.shell import KEY, Shell

OTHER_CHANNEL = numbered(77)
WORDS = ("ongoing", "paused", "completed", "available", "accepted", "failed", "absent", "dreaming")


@contextmanager
def an_api(*options: str) -> Iterator[ForeignApi]:
    with running(*options, key=KEY) as api:
        yield api
        assert api.violations() == []
        assert api.patches() == []


def seed(api: ForeignApi, calls: int, *, channel: str = CHANNEL) -> None:
    api.seed(
        [
            {**recording(WORDS[number % 3], call=numbered(1000 + number), recording_id=numbered(number))}
            | {"channelId": channel}
            for number in range(calls)
        ]
    )


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--page-cap", "7", "--last-token", "null"),
        ("--same-token",),
        ("--last-token", "empty", "--upper-case"),
    ],
    ids=lambda options: " ".join(options) or "plain",
)
def test_what_was_imported_needs_no_change(shell: Shell, options: tuple[str, ...]):
    with an_api(*options) as api:
        seed(api, 30)
        api.seed([recording("paused", recording_id=numbered(900)), recording("ongoing", recording_id=numbered(901))])
        shell.env["RECONCILER_API_URL"] = api.url
        scope = ("--workspace", WORKSPACE.upper(), "--channel", CHANNEL)
        done = shell("import", *scope, "--out-dir", "desired_state")
        assert (done.code, done.out) == (0, ""), done.err
        assert len(list((shell.folder / "desired_state").iterdir())) == 32
        assert shell("plan", "--detailed-exitcode").code == 0
        # Once more, and nothing is left to import.
        again = shell("import", *scope, "--out", "desired_state/more.yaml")
        assert (again.code, "wrote 0 documents" in again.err) == (0, True)
        assert not (shell.folder / "desired_state/more.yaml").exists()
        api.forget()


def test_a_document_is_ready_to_commit_and_names_nobody(shell: Shell):
    with an_api() as api:
        api.seed([recording("available")])
        done = shell("import", "--workspace", WORKSPACE, "--channel", CHANNEL, "--call", CALL, "--api-url", api.url)
        api.forget()
    assert CANARY_PHONE not in done.out
    assert done.out.startswith("# Incoming call")
    assert "; recording since 2" in done.out.splitlines()[0]
    (only,) = parse_documents(done.out.encode(), "-").desired
    assert only.key == RecordingKey(WORKSPACE, CHANNEL, CALL, RECORDING)
    assert (only.name, only.status) == (f"recording-{RECORDING[:8]}", Status.COMPLETED)
    metadata = yaml.safe_load(done.out)["metadata"]
    assert metadata["labels"] == {"direction": "incoming", "origin": "call-command-record-call"}


async def test_a_workspace_of_the_sandbox_round_trips(tmp_path: Path):
    world = World()
    keys = [
        RecordingKey(WORKSPACE, CHANNEL if n < 5 else OTHER_CHANNEL, numbered(n), numbered(500 + n)) for n in range(9)
    ]
    world.seed(SeedRecording(key, direction="outgoing", call_ended=n == 8) for n, key in enumerate(keys))
    shell = Shell(tmp_path)
    async with SandboxServer(world) as server:
        shell.env = {"BIRD_ACCESS_KEY": DEFAULT_KEY, "RECONCILER_API_URL": server.url}

        async def command(*arguments: str) -> int:
            done = await asyncio.to_thread(shell, *arguments)
            assert "Error" not in done.err
            return done.code

        # By call without its channel, by channel, and the rest.
        for scope, count in ((("--call", numbered(0)), 1), (("--channel", OTHER_CHANNEL), 4), ((), 8)):
            assert await command("import", "--workspace", WORKSPACE, *scope, "--out", "desired_state/all.yaml") == 0
            data = (tmp_path / "desired_state/all.yaml").read_bytes()
            assert len(parse_documents(data, "all.yaml").desired) == count
        assert data.count(b"# Outgoing call, began 2") == 8
        assert await command("plan", "--detailed-exitcode") == 0


def test_what_no_document_can_ask_for_is_skipped_with_a_note(shell: Shell):
    with an_api() as api:
        api.seed([recording(word, recording_id=numbered(n)) for n, word in enumerate(WORDS)])
        done = shell("import", "--workspace", WORKSPACE, "--channel", CHANNEL, "--api-url", api.url)
        api.forget()
    assert done.code == 0
    assert [each["spec"]["status"] for each in yaml.safe_load_all(done.out)] == [
        "ongoing",
        "paused",
        "completed",
        "completed",
    ]
    skipped = [line for line in done.err.splitlines() if line.startswith("Skipped")]
    assert len(skipped) == 4
    assert "has not begun yet" in skipped[0]
    assert {status_of(word) for word in WORDS[4:]} == {None}


def test_hand_written_parts_stay_and_what_they_declare_is_left_out(shell: Shell):
    mine = "\ufeff# by hand\r\n" + document("completed").replace("\n", "\r\n") + "# the end, without a break"
    file = shell.write("desired_state/mine.yaml", mine)
    with an_api() as api:
        api.seed([recording("ongoing"), recording("paused", recording_id=numbered(5))])
        shell.env["RECONCILER_API_URL"] = api.url
        scope = ("--workspace", WORKSPACE, "--channel", CHANNEL)
        assert shell("import", *scope, "--out", str(file)).code == 0
        api.forget()
    written = file.read_bytes().decode()
    assert written.startswith(mine + "\r\n---\r\n")
    assert "\n" not in written.replace("\r\n", "")
    names = [desired.name for desired in parse_documents(written.encode(), "mine.yaml").desired]
    assert names == ["one", "recording-00000000"]
    assert {path.name for path in file.parent.iterdir()} == {"mine.yaml"}


def test_an_invalid_tree_is_not_added_to(shell: Shell):
    shell.write("desired_state/bad.yaml", "a: [")
    done = shell(
        "import", "--workspace", WORKSPACE, "--out", "desired_state/bad.yaml", "--api-url", "http://127.0.0.1:9"
    )
    assert (done.code, done.out) == (1, "")
    assert "desired_state/bad.yaml:" in done.err
    assert shell("import", "--workspace", WORKSPACE, "nowhere").code == 1
    assert shell("import").code == 64
    assert shell("import", "--workspace", "x").code == 64
    assert shell("import", "--workspace", WORKSPACE, "--out", "a", "--out-dir", "b").code == 64


def test_faults_are_waited_out_and_what_stays_away_is_missing(shell: Shell):
    with an_api() as api:
        seed(api, 5)
        shell.env["RECONCILER_API_URL"] = api.url
        scope = ("--workspace", WORKSPACE, "--channel", CHANNEL)
        for status, path in ((503, "/calls[?]"), (429, "/recordings"), (500, "/calls/[^/]*$")):
            api.fault("answer", path=path, status=status)
        done = shell("import", *scope)
        assert (done.code, done.out.count("recordingId")) == (0, 5)
        api.mend()
        api.fault("answer", path=f"/{numbered(1002)}/", status=422, times=-1)
        done = shell("import", *scope)
        assert (done.code, done.out.count("recordingId")) == (1, 4)
        assert f"Missing: call {numbered(1002)}" in done.err
        api.mend()
        refused = shell("import", *scope, BIRD_ACCESS_KEY="another-key-1234")
        assert (refused.code, refused.out) == (7, "")
        shell.env["BIRD_ACCESS_KEY"] = KEY
        nobody = shell("import", "--workspace", WORKSPACE, "--channel", CHANNEL, "--call", numbered(404))
        assert (nobody.code, "does not know call" in nobody.err) == (1, True)
        # Its lists do not say the channel of a call.
        unplaced = shell("import", "--workspace", WORKSPACE)
        assert (unplaced.code, unplaced.err.count("import it with --channel")) == (1, 5)
        api.end_call(numbered(1000))
        ended = shell("import", *scope, "--call", numbered(1000))
        assert (ended.code, ended.out, "0 of them under way" in ended.err) == (0, "", True)
        api.forget()


def an_export(number: int, status: Status = Status.PAUSED) -> Export:
    key = RecordingKey(WORKSPACE, CHANNEL, CALL, f"{number:08x}-0000-4000-8000-000000000000")
    return Export(key, status, "", "", None, datetime(2026, 11, 22, tzinfo=UTC))


def test_a_short_name_that_is_taken_becomes_the_long_one():
    exports = [an_export(1), an_export(2)]
    names = [name for name, _ in give_names(exports, {"recording-00000001"})]
    assert names == ["recording-00000001-0000-4000-8000-000000000000", "recording-00000002"]


ENDS = ["", "\n", "\n\n", "\n# c", "\n...\n", "\n---\n", "\n---\n# c\n", "  # c"]


@given(
    st.sampled_from(["", "# only a comment", "one", "many"]),
    st.sampled_from(ENDS),
    st.sampled_from(["\n", "\r\n"]),
    st.lists(st.integers(1, 2**32 - 1), min_size=1, max_size=4, unique=True),
)
def test_whatever_a_file_ends_with_it_stays_and_the_documents_follow(
    content: str, end: str, line_break: str, numbers: list[int]
):
    start = {"one": document(), "many": document() + "---\n" + document(name="two", recording=RECORDING[::-1])}
    text = (start.get(content, content).removesuffix("\n") + end).replace("\n", line_break)
    text = text.replace(RECORDING[::-1], numbered(1))
    before = parse_documents(text.encode(), "f.yaml")
    assume(not before.problems)  # `...` ends nothing in an empty file
    texts = [document_text(f"x-{number}", an_export(number)) for number in numbers]
    joined = append(text.encode(), "f.yaml", texts)
    assert joined.startswith(text.encode())
    after = parse_documents(joined, "f.yaml")
    assert after.desired[: len(before.desired)] == before.desired
    assert [desired.name for desired in after.desired[len(before.desired) :]] == [f"x-{number}" for number in numbers]
    assert parse_documents(join(texts).encode(), "g.yaml").problems == ()
