"""The table of settings, the settings file, and the keys, of which no text but the header of a request may know."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import SettingsError
from reconciler.settings import (
    COMMAND_OPTIONS,
    KEY_FILE_VARIABLE,
    KEY_VARIABLE,
    SETTINGS,
    KeyRing,
    KeySource,
    Setting,
    SettingsFile,
    read_settings,
)

WORKSPACE = str(UUID(int=1))
OTHER = str(UUID(int=2))
KEY = "canaryCANARY0123456789canary"

# The table.


@pytest.fixture(params=list(SETTINGS))
def setting(request: pytest.FixtureRequest) -> Setting:
    return SETTINGS[request.param]


def test_the_three_ways_to_say_a_setting_follow_from_its_name(setting: Setting) -> None:
    assert SETTINGS[setting.name] is setting
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", setting.name)
    assert setting.option == "--" + "-".join(setting.name.split("_"))
    assert setting.variable == "RECONCILER_" + setting.name.upper()


def test_a_default_is_a_valid_value_of_its_kind(setting: Setting) -> None:
    kinds: dict[str, type | tuple[type, ...]] = {
        "text": str,
        "whole": int,
        "number": float,
        "choice": str,
        "flag": bool,
        "paths": tuple,
    }
    of_its_kind = isinstance(setting.default, kinds[setting.kind])
    assert of_its_kind
    assert bool(setting.choices) == (setting.kind == "choice")
    assert not setting.choices or setting.default in setting.choices
    assert setting.minimum is None or setting.default >= setting.minimum
    assert setting.maximum is None or setting.default <= setting.maximum


def test_a_setting_says_what_it_is_for_and_a_period_says_its_unit(setting: Setting) -> None:
    assert re.fullmatch(r"[A-Z].*\.", setting.help)
    if any(word in setting.name for word in ("resync", "poll", "confirm", "give_up", "health")):
        assert setting.name.endswith("_seconds")


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("api_url", "https://api.bird.com"),
        ("state", "sqlite:///.reconciler/state.db"),
        ("listen", "127.0.0.1:8420"),
        ("rate_limit", 45),
        ("concurrency", 32),
        ("confirm_seconds", 30),
        ("resync_seconds", 300),
        ("poll_seconds", 30),
        ("max_irreversible", 25),
        ("max_resumes", 25),
        ("max_change_percent", 50),
        ("min_managed", 20),
        ("max_pause_percent", 100.0),
        ("override_limits", False),
        ("allow_empty", False),
    ],
)
def test_defaults_are_those_of_the_contract(name: str, default: object) -> None:
    assert SETTINGS[name].default == default


# The file.


def test_names_may_be_written_with_dashes_or_underscores() -> None:
    content = {"rate-limit": 10, "confirm_seconds": 5, "workspaces": {WORKSPACE.upper(): {"access_key_env": "KEY_A"}}}
    assert read_settings(content, "reconciler.yaml") == SettingsFile(
        {"rate_limit": 10, "confirm_seconds": 5}, {WORKSPACE: KeySource("KEY_A", None)}
    )


def test_options_of_single_commands_may_stand_in_the_file_too() -> None:
    content = {"once": True, "detailed-exitcode": True, "report": ["text", "json=plan.json"], "plan": "saved.json"}
    assert read_settings(content, "reconciler.yaml").values == {
        "once": True,
        "detailed_exitcode": True,
        "reports": ["text", "json=plan.json"],
        "plan_file": "saved.json",
    }
    assert not COMMAND_OPTIONS.keys() & SETTINGS.keys()
    assert len(set(COMMAND_OPTIONS.values())) == len(COMMAND_OPTIONS)


@pytest.mark.parametrize("content", [None, {}])
def test_an_empty_file_is_one_without_settings(content: object) -> None:
    assert read_settings(content, "reconciler.yaml") == SettingsFile()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"rate_limt": 1}, "unknown setting `rate_limt`, did you mean `rate_limit`?"),
        ({"workspace": {}}, "unknown setting `workspace`, did you mean `workspaces`?"),
        ({"zzz": 1}, "unknown setting `zzz`"),
        ({1: 1}, "unknown setting `1`"),
        ({"access_key": KEY}, "unknown setting `access_key`"),
        ([], "a mapping of names to values"),
        ("rate_limit", "a mapping of names to values"),
        ({"rate_limit": [1]}, "`rate_limit` takes a single value"),
        ({"state": {"url": "x"}}, "`state` takes a single value"),
        ({"workspaces": None}, "`workspaces` is a mapping"),
        ({"workspaces": {"acme": {"access_key_env": "A"}}}, "'acme' is not a UUID"),
        ({"workspaces": {WORKSPACE: KEY}}, "the key itself never stands in the settings"),
        ({"workspaces": {WORKSPACE: {"access_key": KEY}}}, "the key itself never stands in the settings"),
        ({"workspaces": {WORKSPACE: {}}}, "say either `access_key_env`"),
        ({"workspaces": {WORKSPACE: {"access_key_env": "A", "access_key_file": "B"}}}, "say either"),
        ({"workspaces": {WORKSPACE: {"access_key_env": None}}}, "say either"),
        ({"workspaces": {WORKSPACE: {"access_key_env": 5}}}, "say either"),
        ({"workspaces": {WORKSPACE: {"access_key_file": ""}}}, "say either"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named_with_the_file_and_never_with_a_key(content: object, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(content, "conf/reconciler.yaml")
    assert str(caught.value).startswith("conf/reconciler.yaml: ")
    assert message in str(caught.value)
    assert KEY not in str(caught.value)


# The keys.


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
        (f"\ufeff{KEY}".encode(), "characters that no key has"),
        (KEY.encode("utf-16"), "cannot be read: UnicodeDecodeError"),
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
