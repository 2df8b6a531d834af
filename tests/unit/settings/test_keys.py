"""The keys and the tokens, of which no text but the header of a request may know."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.errors import SettingsError
from reconciler.settings.keys import KEY_FILE_VARIABLE, KEY_VARIABLE, KeyRing, KeySource, read_token

WORKSPACE = str(UUID(int=1))
OTHER = str(UUID(int=2))
KEY = "canaryCANARY0123456789canary"


def ring(environment: Mapping[str, str], source: KeySource) -> KeyRing:
    return KeyRing(environment, {WORKSPACE: source})


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(KEY + "\n")
    return path


def test_the_variable_serves_every_workspace(key_file: Path) -> None:
    keys = KeyRing({KEY_VARIABLE: f" {KEY}\n", KEY_FILE_VARIABLE: str(key_file.with_name("missing"))})
    assert keys.key_for(WORKSPACE) == keys.key_for(OTHER) == KEY


@pytest.mark.parametrize("unset", [{}, {KEY_VARIABLE: ""}], ids=["unset", "empty"])
def test_without_it_the_file_is_read(key_file: Path, unset: dict[str, str]) -> None:
    assert KeyRing({**unset, KEY_FILE_VARIABLE: str(key_file)}).key_for(WORKSPACE) == KEY


def test_a_workspace_may_have_a_key_of_its_own(key_file: Path) -> None:
    environment = {KEY_VARIABLE: "the-common-key", "KEY_A": KEY}
    for source in (KeySource(variable="KEY_A"), KeySource(file=str(key_file))):
        keys = ring(environment, source)
        assert (keys.key_for(WORKSPACE), keys.key_for(OTHER)) == (KEY, "the-common-key")


def test_a_workspace_with_a_source_of_its_own_never_gets_the_common_key(tmp_path: Path) -> None:
    for source in (KeySource(variable="UNSET"), KeySource(file=str(tmp_path / "missing"))):
        with pytest.raises(SettingsError, match=WORKSPACE):
            ring({KEY_VARIABLE: KEY}, source).key_for(WORKSPACE)


def test_a_changed_file_is_read_again_and_an_unchanged_one_is_not(key_file: Path) -> None:
    keys = KeyRing({KEY_FILE_VARIABLE: str(key_file)})
    assert keys.key_for(WORKSPACE) == KEY
    stamp = key_file.stat()
    key_file.write_text("x" * len(KEY) + "\n")
    os.utime(key_file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert keys.key_for(WORKSPACE) == KEY, "the same file, size and time: not read"
    os.utime(key_file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    assert keys.key_for(WORKSPACE) == "x" * len(KEY)
    replacement = key_file.with_name("new")
    replacement.write_text("y" * len(KEY) + "\n")
    os.utime(replacement, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    replacement.replace(key_file)
    assert keys.key_for(WORKSPACE) == "y" * len(KEY), "another file of the same size and time"


def test_a_file_that_vanishes_says_so_and_one_that_comes_back_is_read(key_file: Path) -> None:
    keys = KeyRing({KEY_FILE_VARIABLE: str(key_file)})
    keys.key_for(WORKSPACE)
    key_file.rename(key_file.with_name("away"))
    with pytest.raises(SettingsError, match="cannot be read: No such file or directory"):
        keys.key_for(WORKSPACE)
    key_file.with_name("away").rename(key_file)
    assert keys.key_for(WORKSPACE) == KEY


def test_without_any_key_both_variables_are_named() -> None:
    with pytest.raises(SettingsError, match=f"no access key: set {KEY_VARIABLE}, or {KEY_FILE_VARIABLE}"):
        KeyRing({}).key_for(WORKSPACE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not set, or empty"),
        (b" \n", "not set, or empty"),
        (f"{KEY} {KEY}".encode(), "characters that no key has"),
        (f"{KEY}\n{KEY}".encode(), "characters that no key has"),
        (f"{KEY}\0".encode(), "characters that no key has"),
        (f"{KEY}ü".encode(), "characters that no key has"),
        (f"\ufeff{KEY}".encode(), "cannot be read: it begins with a byte order mark"),
        (KEY.encode("utf-16"), "cannot be read: it begins with the byte order mark of UTF-16"),
        (KEY.encode("utf-16-be") + b"\xd8", "cannot be read: UnicodeDecodeError"),
        (KEY.encode() * 10_000, "cannot be read: it is larger than 65,536 bytes"),
        (f"bk_{KEY}".encode(), "newest platform"),
    ],
    ids=repr,
)
def test_what_cannot_be_a_key_is_refused_without_being_shown(key_file: Path, content: bytes, message: str) -> None:
    key_file.write_bytes(content)
    with pytest.raises(SettingsError, match=message) as caught:
        KeyRing({KEY_FILE_VARIABLE: str(key_file)}).key_for(WORKSPACE)
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("path", ["folder", "a\0b", "missing"])
def test_a_file_that_cannot_be_read_is_an_error_of_the_settings(tmp_path: Path, path: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(SettingsError, match=f"the file that {KEY_FILE_VARIABLE} names cannot be read"):
        KeyRing({KEY_FILE_VARIABLE: str(tmp_path / path)}).key_for(WORKSPACE)


def every_text_about(keys: KeyRing) -> Iterator[str]:
    yield repr(keys)
    yield str(keys)
    try:
        keys.key_for(WORKSPACE)
    except SettingsError as error:
        yield str(error)
        yield repr(error)


@pytest.mark.parametrize(
    "keys",
    [
        KeyRing({KEY_VARIABLE: KEY}),
        KeyRing({KEY_VARIABLE: f"bk_{KEY}"}),
        KeyRing({KEY_VARIABLE: f"{KEY} {KEY}"}),
        KeyRing({KEY_FILE_VARIABLE: KEY}),
        ring({}, KeySource(variable=KEY)),
        ring({}, KeySource(file=KEY)),
    ],
    ids=["good", "newest platform", "odd", "key as path", "key as variable", "key as file"],
)
def test_no_text_ever_holds_a_key_not_even_one_written_in_the_wrong_place(keys: KeyRing) -> None:
    for text in every_text_about(keys):
        assert KEY not in text


@given(st.text(min_size=1, max_size=80))
def test_a_key_is_printable_ascii_or_refused(text: str) -> None:
    try:
        key = KeyRing({KEY_VARIABLE: text}).key_for(WORKSPACE)
    except SettingsError:
        return
    assert key == text.strip()
    assert re.fullmatch(r"[!-~]+", key)
    assert not key.startswith("bk_")


@pytest.mark.parametrize("ask", [lambda path: KeyRing({KEY_FILE_VARIABLE: path}).key_for(WORKSPACE), read_token])
def test_what_is_no_regular_file_is_refused_at_once_and_in_words(tmp_path: Path, ask: Callable[[str], str]) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "link").symlink_to(fifo)
    reader, writer = os.pipe()
    try:
        for path in (fifo, tmp_path / "link", Path(f"/dev/fd/{reader}"), Path("/dev/zero"), Path("/dev/null")):
            with pytest.raises(SettingsError, match="it is not a regular file; a pipe can be read only once"):
                ask(str(path))
    finally:
        os.close(reader)
        os.close(writer)


def test_what_hides_keys_opens_no_file_but_for_the_first_time(key_file: Path) -> None:
    keys = KeyRing({KEY_FILE_VARIABLE: str(key_file)})
    assert keys.secrets() == [KEY]
    key_file.unlink()
    os.mkfifo(key_file)
    assert keys.secrets() == [KEY]


def test_a_key_that_was_replaced_stays_hidden_beside_the_new_one(key_file: Path) -> None:
    keys = KeyRing({KEY_FILE_VARIABLE: str(key_file), "KEY_A": "a-key-of-its-own"}, {OTHER: KeySource("KEY_A")})
    assert keys.key_for(WORKSPACE) == KEY
    key_file.write_text("the-new-key\n")
    assert keys.key_for(WORKSPACE) == "the-new-key"
    assert set(keys.secrets()) == {KEY, "the-new-key", "a-key-of-its-own"}
    for number in range(100):
        key_file.write_text(f"the-key-number-{number}\n")
        keys.key_for(WORKSPACE)
    assert "the-key-number-99" in keys.secrets()
    assert len(keys.secrets()) < 10
