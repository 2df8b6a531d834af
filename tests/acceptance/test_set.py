"""`set`, `suspend` and `resume`: one value changes in its file, and not one byte besides.

Aspects: every way in which YAML can write a status, line ends, byte order mark, comments, anchors; what is refused; the
file's mode and links; a change that comes between; the commit.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.desired.documents.parse import parse_documents
from reconciler.desired.documents.spans import read_spans
from reconciler.desired.edit import CannotEdit, Suspension, add_suspend, remove_suspend, set_status
from reconciler.desired.rewrite import replace_file
from reconciler.model.errors import DesiredStateError, ReconcilerError
from reconciler.model.statuses import Status
from tests.world.documents import document
from tests.world.git import TESS, git
from tests.world.ids import CALL, CHANNEL, RECORDING, WORKSPACE, numbered
from tests.world.places import CHECKOUT
from tests.world.shell import Shell

SUSPENSION = Suspension.of('an "incident": 4411 # é', "2026-12-01T00:00:00Z")

#: How a status may be written behind `status:`; `%s` is the word.
DRESSES = {
    "plain": " %s",
    "double quotes": ' "%s"',
    "single quotes": "  '%s'",
    "literal block": " |-  # is paused now\n    %s",
    "folded block": " >-\n    %s",
    "block with indentation": " |2-\n    %s",
    "anchor": " &mine %s",
    "anchor and quotes": ' &mine "%s"',
    "on the next line": "\n      %s",
    "tab": "\t%s",
}
#: What may stand behind it.
TAILS = ("", "  # status: paused", "\t# a 'quote\" and {brackets}")


def single(value: str, *, more: str = "") -> str:
    ids = f"workspaceId: {WORKSPACE}\n  channelId: {CHANNEL}\n  callId: {CALL}\n  recordingId: {RECORDING}\n"
    head = "# paused ongoing completed é 😀\napiVersion: reconciler/v1\nkind: CallRecording\nmetadata: {name: one}\n"
    return f"{head}spec:\n  {ids}  status:{value}\n{more}# status: paused\n"


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("dress", DRESSES)
def test_only_the_word_changes_however_it_is_written(dress: str, bom: str, line_break: str):
    for tail in TAILS if "block" not in dress else ("",):

        def text(word: str, tail: str = tail) -> bytes:
            written = bom + single(DRESSES[dress].replace("%s", word) + tail, more="  drift: heal\n")
            return written.replace("\n", line_break).encode()

        for before in Status:
            for after in Status:
                assert set_status(text(before), "one.yaml", "one", after) == text(after)


def test_a_word_behind_escapes_is_replaced_between_its_quotes():
    hidden, plain = (single(value).encode() for value in (r' "pau\x73\u0065d"', ' "ongoing"'))
    assert set_status(hidden, "one.yaml", "one", Status.ONGOING) == plain


def test_an_alias_is_replaced_by_the_word_and_its_anchor_stays():
    text = single(" *word", more="").replace("{name: one}", "{name: one, annotations: {is: &word paused}}")
    edited = set_status(text.encode(), "one.yaml", "one", Status.ONGOING)
    assert edited.decode() == text.replace("*word", "ongoing")


def test_a_status_that_others_share_by_an_anchor_is_refused():
    items = "\n".join(
        f"    - {{name: a-{number}, callId: {CALL}, recordingId: {numbered(number)}, status: {word}}}"
        for number, word in enumerate(("&word paused", "*word"))
    )
    text = (
        f"apiVersion: reconciler/v1\nkind: CallRecordingSet\nmetadata: {{name: s}}\nspec:\n  workspaceId: {WORKSPACE}\n"
        f"  channelId: {CHANNEL}\n  recordings:\n{items}\n"
    )
    with pytest.raises(CannotEdit, match=r"sets\.yaml:8: s/a-0"):
        set_status(text.encode(), "sets.yaml", "s/a-0", Status.ONGOING)
    edited = set_status(text.encode(), "sets.yaml", "s/a-1", Status.ONGOING)
    assert edited.decode() == text.replace("*word", "ongoing")


def test_what_cannot_be_edited_is_refused_with_a_reason():
    with pytest.raises(ReconcilerError, match="no document named two"):
        set_status(document().encode(), "one.yaml", "two", Status.PAUSED)
    with pytest.raises(DesiredStateError, match="unknown field"):
        set_status(document().replace("spec:", "spec:\n  stats: x").encode(), "one.yaml", "one", Status.PAUSED)
    for reason, until in (("", "2026-12-01T00:00:00Z"), ("x\x07", "2026-12-01T00:00:00Z"), ("x", "tomorrow")):
        with pytest.raises(ReconcilerError):
            Suspension.of(reason, until)


# Anything valid.

IDS = st.integers(0, 2**48 - 1).map(numbered)
COMMENT = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp")), max_size=12)
SCALARS = st.sampled_from(list(DRESSES))


@st.composite
def files(draw: st.DrawFn) -> tuple[str, dict[str, Status]]:
    """Draw a valid file in any dress, and what it says of each name."""
    documents: list[str] = []
    names: dict[str, Status] = {}
    ids = iter(draw(st.lists(IDS, min_size=12, max_size=12, unique=True)))

    def note(indent: str = "") -> str:
        return f"{indent}# {draw(COMMENT)}\n" if draw(st.booleans()) else ""

    def fields(name: str | None) -> list[tuple[str, str]]:
        found = [("callId", CALL), ("recordingId", next(ids)), ("status", draw(st.sampled_from(Status)))]
        if name is not None:
            found.append(("name", name))
        if draw(st.booleans()):
            found.append(("drift", "heal"))
        if draw(st.booleans()):
            found.append(("suspend", '{reason: "a, b} # c", until: 2026-11-30T00:00:00+01:00}'))
        return list(draw(st.permutations(found)))

    def mapping(parts: list[tuple[str, str]], indent: str) -> str:
        """A block mapping, its first line without indentation."""
        lines = []
        for key, value in parts:
            written = f" {value}"
            if key == "status":
                dress = DRESSES[draw(SCALARS)].replace("%s", value)
                written = dress.replace("    ", indent + "  ")
                written = written if "\n" in written else written + draw(st.sampled_from(TAILS))
            elif key == "suspend" and draw(st.booleans()):
                written = (
                    f"  # why\n{indent}  reason: 'it''s'\n{indent}  # x\n{indent}  until: 2026-11-30T00:00:00Z # y"
                )
            lines.append(f"{key}:{written}\n")
        return indent.join(lines)

    def flow(parts: list[tuple[str, str]], gap: str) -> str:
        comma = draw(st.sampled_from(["", ","]))
        quote = draw(st.sampled_from(["", '"']))
        inner = f",{gap}".join(f"{quote}{key}{quote}: {value}" for key, value in parts)
        return f"{{{gap}{inner}{comma}{gap}}}"

    for number in range(draw(st.integers(1, 2))):
        name = f"one-{number}"
        head = f"{note()}apiVersion: reconciler/v1\nkind: CallRecording\nmetadata: {{name: {name}}}\n{note()}"
        spec = [("workspaceId", WORKSPACE), ("channelId", CHANNEL), *fields(None)]
        names[name] = Status(next(value for key, value in spec if key == "status"))
        if draw(st.booleans()):
            body = f"spec:\n{note('  ')}  {mapping(spec, '  ')}{note('  ')}"
        else:
            body = f"spec: {flow(spec, draw(st.sampled_from(['', ' ', chr(10) + '  '])))}\n"
        documents.append(head + body)
    items = []
    for number in range(draw(st.integers(0, 3))):
        parts = fields(f"a-{number}")
        names[f"set/a-{number}"] = Status(next(value for key, value in parts if key == "status"))
        dash = f"{note('    ')}  - "
        if draw(st.booleans()):
            items.append(dash + mapping(parts, "    "))
        else:
            items.append(f"{dash}{flow(parts, draw(st.sampled_from(['', ' '])))}{draw(st.sampled_from(TAILS))}\n")
    if items:
        kind = "apiVersion: reconciler/v1\nkind: CallRecordingSet\nmetadata: {name: set}\n"
        documents.append(
            f"{kind}spec:\n  workspaceId: {WORKSPACE}\n  channelId: {CHANNEL}\n  recordings:\n{''.join(items)}"
        )
    text = "---\n".join(documents)
    if draw(st.booleans()) and "#" not in text.rsplit("\n", 2)[-2]:
        text = text.removesuffix("\n")
    text = text.replace("\n", draw(st.sampled_from(["\n", "\r\n"])))
    return draw(st.sampled_from(["", "\ufeff"])) + text, names


def changed(text: str, other: str) -> str:
    """What is left of a text without what it has in common with another before and behind it."""

    def common(one: str, two: str) -> int:
        return next((at for at, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))

    start = common(text, other)
    return text[start : len(text) - common(text[start:][::-1], other[start:][::-1])]


@given(files(), st.data())
def test_set_changes_the_one_status_and_no_other_byte(file: tuple[str, dict[str, Status]], data: st.DataObject):
    text, names = file
    before = parse_documents(text.encode(), "f.yaml")
    assert before.problems == ()
    name, word = data.draw(st.sampled_from(sorted(names))), data.draw(st.sampled_from(Status))
    edited = set_status(text.encode(), "f.yaml", name, word).decode()
    old = names[name]
    assert changed(text, edited) in old.value
    assert changed(edited, text) in word.value
    after = parse_documents(edited.encode(), "f.yaml")
    assert after.desired == tuple(
        desired._replace(status=word) if desired.name == name else desired for desired in before.desired
    )
    assert set_status(edited.encode(), "f.yaml", name, Status(old)).decode() == text


@given(files(), st.data())
def test_a_suspension_comes_and_goes_without_a_trace(file: tuple[str, dict[str, Status]], data: st.DataObject):
    text, names = file
    before = parse_documents(text.encode(), "f.yaml")
    assert before.problems == ()
    name = data.draw(st.sampled_from(sorted(names)))
    suspended = add_suspend(text.encode(), "f.yaml", name, SUSPENSION)
    of_it = next(desired for desired in before.desired if desired.name == name)
    for edited, suspend in (
        (suspended, SUSPENSION.as_read),
        (remove_suspend(text.encode(), "f.yaml", name), None),
        (remove_suspend(suspended, "f.yaml", name), None),
    ):
        after = parse_documents(edited, "f.yaml")
        assert [desired._replace(line=0, begins=0) for desired in after.desired] == [
            desired._replace(line=0, begins=0, suspend=suspend if desired is of_it else desired.suspend)
            for desired in before.desired
        ]
    if of_it.suspend is None:
        assert remove_suspend(suspended, "f.yaml", name).decode() == text


@given(st.text(st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp")), max_size=20))
@example("😀 \U0001f600 é")
def test_a_span_is_where_its_text_stands(comment: str):
    text = f"# {comment}\n? 'a' # {comment}\n: [x, \"{'é' * len(comment)}\", {{b: 'c d'}}]  # {comment}\n"
    (root,) = read_spans(text)
    (value,) = (value for _, value in root.parts.values())
    assert text[value.start] == "["
    assert text[value.end - 1] == "]"
    assert [text[item.start : item.end] for item in value.items] == ["x", f'"{"é" * len(comment)}"', "{b: 'c d'}"]


def test_a_suspension_that_is_there_gets_the_new_words_in_its_own_quotes():
    text = single(" paused", more="  suspend:\n    reason: 'old'  # why\n    until: 2026-11-30T00:00:00Z # till\n")
    other = Suspension.of("it's new", "2027-01-01T00:00:00Z")
    edited = add_suspend(text.encode(), "one.yaml", "one", other).decode()
    assert edited == text.replace("'old'", "'it''s new'").replace("2026-11-30", "2027-01-01")
    block = text.replace("'old'  # why", "|  # why\n      old\n      words")
    assert add_suspend(block.encode(), "one.yaml", "one", other).decode() == block.replace(
        "|  # why\n      old\n      words", '"it\'s new"  # why'
    ).replace("2026-11-30", "2027-01-01")


# The commands.


def test_set_finds_the_document_wherever_it_is_and_keeps_mode_and_link(shell: Shell):
    shell.write("desired_state/broken.yaml", "a: [")
    target = shell.write("desired_state/deep/er/real.yml", document("ongoing") + "---\n" + _two("ongoing"))
    target.chmod(0o640)
    done = shell("set", "two", "paused")
    assert (done.code, done.out) == (0, "")
    assert "desired_state/deep/er/real.yml:21: Set two to paused." in done.err
    assert target.read_text() == document("ongoing") + "---\n" + _two("paused")
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert {path.name for path in target.parent.iterdir()} == {"real.yml"}
    again = shell("set", "two", "paused")
    assert (again.code, "nothing was changed" in again.err) == (0, True)
    link = shell.folder / "elsewhere" / "link.yaml"
    link.parent.mkdir()
    link.symlink_to(target)
    assert shell("set", "two", "completed", "elsewhere/link.yaml").code == 0
    assert link.is_symlink()
    assert target.read_text() == document("ongoing") + "---\n" + _two("completed")


def _two(status: str) -> str:
    return document(status, name="two", recording=numbered(2))


def test_what_is_not_found_or_not_unique_is_refused(shell: Shell):
    shell.write("desired_state/one.yaml", document())
    missing = shell("set", "ony", "ongoing")
    assert (missing.code, "did you mean `one`?" in missing.err) == (1, True)
    shell.write("desired_state/two.yaml", document(recording=numbered(2)))
    twice = shell("set", "one", "ongoing")
    assert twice.code == 1
    assert "desired_state/one.yaml:1, desired_state/two.yaml:1" in twice.err
    shell.write("desired_state/two.yaml", "a: [")
    unseen = shell("suspend", "two", "--reason", "x", "--until", "2h")
    assert (unseen.code, "invalid: desired_state/two.yaml" in unseen.err) == (1, True)
    assert shell("set", "one", "ongoing", "nowhere").code == 1
    assert (shell("set", "one", "off").code, shell("set", "one").code) == (64, 64)
    assert shell("set", "one", "ongoing", "-m", "why").code == 64
    assert (shell.folder / "desired_state/one.yaml").read_text() == document()


def test_suspend_and_resume_in_a_file_of_every_kind(shell: Shell):
    for name, text in (("one", document()), ("json", json.dumps(_as_json()))):
        file = shell.write("desired_state/it.yaml", text)
        done = shell("suspend", name, "--reason", 'an  "incident"', "--until", "2099-12-01T00:00:00+01:00")
        assert done.code == 0, done.err
        if name == "json":
            assert json.loads(file.read_text())["spec"]["suspend"]["reason"] == 'an "incident"'
        assert shell("validate").code == 0
        assert shell("resume", name).code == 0
        assert file.read_text() == text
    assert "is not suspended" in shell("resume", "json").err
    assert shell("suspend", "json", "--reason", "x", "--until", "2001-01-01T00:00:00Z").code == 1
    assert shell("suspend", "json", "--reason", "x", "--until", "90m").code == 0


def _as_json() -> dict[str, object]:
    ids = {"workspaceId": WORKSPACE, "channelId": CHANNEL, "callId": CALL, "recordingId": RECORDING}
    head = {"apiVersion": "reconciler/v1", "kind": "CallRecording", "metadata": {"name": "json"}}
    return {**head, "spec": {**ids, "status": "paused"}}


def test_a_commit_holds_the_edit_and_nothing_else(shell: Shell):
    file = shell.write("desired_state/one.yaml", document())
    shell.write("desired_state/two.yaml", _two("paused"))
    outside = shell("set", "one", "ongoing", "--commit")
    assert (outside.code, file.read_text()) == (1, document())
    shell.env |= TESS
    git(shell.folder, "init", "--quiet")
    git(shell.folder, "add", "desired_state")
    git(shell.folder, "commit", "--quiet", "--message=first")
    shell.write("desired_state/two.yaml", _two("ongoing"))
    shell.write("staged.txt", "staged")
    git(shell.folder, "add", "staged.txt", "desired_state/two.yaml")
    assert shell("set", "one", "ongoing", "--commit").code == 0
    assert git(shell.folder, "show", "--format=%s", "--name-only").split("\n\n") == [
        "Set one to ongoing",
        "desired_state/one.yaml",
    ]
    assert git(shell.folder, "diff", "--cached", "--name-only").split() == ["desired_state/two.yaml", "staged.txt"]
    assert shell("suspend", "one", "--reason", "r", "--until", "2099-01-01T00:00:00Z", "--commit", "-m", "-x").code == 0
    assert git(shell.folder, "log", "-1", "--format=%s") == "-x"
    # A file with other edits would take them along.
    own = shell("set", "two", "completed", "--commit")
    assert (own.code, "not committed" in own.err) == (1, True)
    assert (shell.folder / "desired_state/two.yaml").read_text() == _two("ongoing")


def test_a_hook_that_refuses_leaves_the_edit_and_says_so(shell: Shell):
    file = shell.write("desired_state/one.yaml", document())
    shell.env |= TESS
    git(shell.folder, "init", "--quiet")
    git(shell.folder, "add", ".")
    git(shell.folder, "commit", "--quiet", "--message=first")
    hook = shell.write(".git/hooks/pre-commit", "#!/bin/sh\necho no such day\nexit 1\n")
    hook.chmod(0o755)
    done = shell("set", "one", "ongoing", "--commit")
    assert (done.code, done.out) == (1, "")
    assert "no such day" in done.err
    assert "is edited and not committed" in done.err
    assert file.read_text() == document("ongoing")


def test_a_change_that_came_between_is_not_written_over(tmp_path: Path):
    file = tmp_path / "one.yaml"
    for expected, there in ((b"old", b"newer"), (None, b"newer"), (b"old", None)):
        file.unlink(missing_ok=True)
        if there is not None:
            file.write_bytes(there)
        with pytest.raises(ReconcilerError):
            replace_file(file, expected, b"mine")
        assert (file.read_bytes() if file.exists() else None) == there
        assert len(list(tmp_path.iterdir())) == (there is not None)
    replace_file(file := tmp_path / "made.yaml", None, b"mine")
    assert file.read_bytes() == b"mine"
    assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~_umask()
    with pytest.raises(ReconcilerError, match="cannot be written"):
        replace_file(tmp_path / "nowhere" / "x.yaml", None, b"mine")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_samples_can_all_be_edited():
    for path in sorted((CHECKOUT / "desired_state").rglob("*.yaml")):
        data = path.read_bytes()
        for desired in parse_documents(data, path.name).desired:
            for status in Status:
                edited = set_status(data, path.name, desired.name, status)
                assert set_status(edited, path.name, desired.name, desired.status) == data
            suspended = add_suspend(data, path.name, desired.name, SUSPENSION)
            assert desired.suspend or remove_suspend(suspended, path.name, desired.name) == data
