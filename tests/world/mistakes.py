"""The mistakes that people make in documents, each with the place and the word that its message must have."""

from __future__ import annotations

from tests.world.documents import document
from tests.world.ids import CALL, RECORDING, numbered


def changed(before: str, after: str) -> str:
    """Return the valid document with one change."""
    assert before in document()
    return document().replace(before, after, 1)


def with_items(*items: str) -> str:
    """Return a set, valid but for its items."""
    head = changed("kind: CallRecording", "kind: CallRecordingSet").partition("  callId")[0]
    return head + "  recordings:\n" + "".join(f"    - {{{item}}}\n" for item in items)


ITEM = f"callId: {CALL}, recordingId: {RECORDING}, status: paused"
AFTER = "status: paused\n  "
BOMB = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [{f'*{a}, ' * 9}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))


#: What is written, where the mistake is, and a word that must be in its line.
MISTAKES: dict[str, tuple[str | bytes, str, str]] = {
    "an open bracket": ("apiVersion: [", "1:", ""),
    "an open quote": (changed("name: one", 'name: "one'), "4:9", "quote"),
    "a tab for indentation": ("kind:\n\t- x\n", "2:1", "tab"),
    "wrong indentation": (changed("  name: one", "  name: one\n bad: 1"), "5:2", ""),
    "a duplicate key": (changed("status: paused", AFTER + "status: ongoing"), "11:3", "duplicate"),
    "a duplicate label": (changed("name: one", "name: one\n  labels: {a: b, a: c}"), "5:18", "duplicate"),
    "a custom tag": (changed("status: paused", "status: !now paused"), "10:11", "tag"),
    "a tag of Python": (changed("paused", "!!python/object/apply:os.system [id]"), "10:11", "tag"),
    "an undefined alias": (changed("status: paused", "status: *before"), "10:11", "before"),
    "an alias bomb": (BOMB, "", "alias"),
    "65 aliases": ("a: &a b\nc: [" + "*a, " * 65 + "]\n", "2:", "64"),
    "40 brackets": ("a: " + "[" * 40 + "]" * 40, "1:", "32"),
    "100,000 brackets": ("[" * 100_000, "1:", "32"),
    "a NUL byte": (changed("name: one", "name: o\0ne"), "4:10", "NUL"),
    "Latin-1": (changed("metadata:", "# caf\xe9\nmetadata:").encode("latin-1"), "3:6", "UTF-8"),
    "UTF-16": (document().encode("utf-16"), "1:1", "UTF-8"),
    "a control character": (changed("name: one", "name: o\x07ne"), "4:10", "U+0007"),
    "a merge key": (changed("spec:\n", "spec:\n  <<: {drift: heal}\n"), "6:3", "<<"),
    "just text": ("just text\n", "1:1", "mapping"),
    "a list": ("- a\n", "1:1", "mapping"),
    "no kind": (changed("kind: CallRecording\n", ""), "1:1", "kind"),
    "an unknown kind": (changed("kind: CallRecording", "kind: Callrecording"), "2:7", "did you mean `CallRecording`?"),
    "another version": (changed("reconciler/v1", "reconciler/v2"), "1:13", "reconciler/v1"),
    "an unknown field": (changed("recordingId", "recordingID"), "9:3", "did you mean `recordingId`?"),
    "a stray field": (document() + "extra: 1\n", "11:1", "extra"),
    "a misspelt status": (changed("paused", "pausd"), "10:11", "did you mean `paused`?"),
    "a status of the API's": (changed("paused", "available"), "10:11", "ongoing, paused, completed"),
    "no for a status": (changed("paused", "no"), "10:11", "'no'"),
    "a status of nothing": (changed("status: paused", "status:"), "10:", "ongoing, paused, completed"),
    "a short UUID": (changed(RECORDING, RECORDING[:-1]), "9:16", "UUID"),
    "a path in a UUID": (changed(CALL, f"{CALL}/../x"), "8:11", "UUID"),
    "a UUID with a line end": (changed(CALL, f'"{CALL}\\n"'), "8:11", "UUID"),
    "an upper-case name": (changed("name: one", "name: One"), "4:9", "did you mean `one`?"),
    "a long name": (changed("name: one", "name: " + "a" * 254), "4:9", "253"),
    "a slash in a name": (changed("name: one", "name: a/b"), "4:9", "a/b"),
    "no name": (changed("metadata:\n  name: one", "metadata: {}"), "3:11", "name"),
    "a number for a label": (changed("name: one", "name: one\n  labels: {a: 10}"), "5:15", 'quote it: "'),
    "a misspelt drift": (changed("status: paused", AFTER + "drift: haeal"), "11:10", "did you mean `heal`?"),
    "suspended for ever": (changed("status: paused", AFTER + "suspend: {reason: x}"), "11:12", "until"),
    "no time zone": (
        changed("status: paused", AFTER + "suspend: {reason: x, until: 2026-12-01T00:00:00}"),
        "11:31",
        "2026-12-01T00:00:00Z",
    ),
    "the 30th of February": (
        changed("status: paused", AFTER + "suspend: {reason: x, until: 2026-02-30T00:00:00Z}"),
        "11:31",
        "2026-02-30",
    ),
    "one name twice": (document() + "---\n" + document(recording=numbered(1)), "12:", "one.yaml:1"),
    "one recording twice": (document() + "---\n" + document(name="two", recording=RECORDING.upper()), "12:", RECORDING),
    "an item's name twice": (with_items(f"name: a, {ITEM}", f"name: a, {ITEM}"), "10:", "one/a"),
    "an item without a call": (with_items(f"name: a, recordingId: {RECORDING}, status: paused"), "9:7", "callId"),
    "an item's misspelt field": (with_items(f"name: a, {ITEM}, suspnd: 1"), "9:", "did you mean `suspend`?"),
}
