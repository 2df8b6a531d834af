"""The table of settings and the settings file."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from reconciler.model.errors import SettingsError
from reconciler.settings.content import SettingsFile, read_settings
from reconciler.settings.keys import KeySource
from reconciler.settings.sections import SECTIONS, LogSettings, PaceSettings, Settings
from reconciler.settings.setting import Section, Setting
from reconciler.settings.table import COMMAND_OPTIONS, SETTINGS, is_service_link

WORKSPACE = str(UUID(int=1))
KEY = "canaryCANARY0123456789canary"

# The table.


@pytest.fixture(params=list(SETTINGS))
def setting(request: pytest.FixtureRequest) -> Setting[Any]:
    return SETTINGS[request.param]


def test_the_three_ways_to_say_a_setting_follow_from_its_name(setting: Setting[Any]) -> None:
    assert SETTINGS[setting.name] is setting
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", setting.name)
    assert setting.option == "--" + "-".join(setting.name.split("_"))
    assert setting.variable == "RECONCILER_" + setting.name.upper()


def test_a_default_is_a_valid_value_of_its_kind(setting: Setting[Any]) -> None:
    kinds: dict[str, type | tuple[type, ...]] = {
        "text": str,
        "whole": int,
        "number": float,
        "choice": str,
        "flag": bool,
    }
    of_its_kind = isinstance(setting.default, kinds[setting.kind])
    assert of_its_kind
    assert bool(setting.choices) == (setting.kind == "choice")
    assert not setting.choices or setting.default in setting.choices
    assert setting.minimum is None or setting.default >= setting.minimum
    assert setting.maximum is None or setting.default <= setting.maximum


def test_a_setting_says_what_it_is_for_and_a_period_says_its_unit(setting: Setting[Any]) -> None:
    assert re.fullmatch(r"[A-Z].*\.", setting.help)
    for unit in ("seconds", "bytes", "days", "percent"):
        assert not setting.name.endswith(f"_{unit}") or setting.unit == unit
    assert setting.kind != "number" or setting.unit
    assert not setting.unit or setting.kind in ("number", "whole")


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
        ("history_days", 400),
        ("history_rows", 0),
        ("override_limits", False),
        ("allow_empty", False),
    ],
)
def test_defaults_are_those_of_the_contract(name: str, default: object) -> None:
    assert SETTINGS[name].default == default


# The sections.


def test_each_setting_stands_in_one_section_of_an_invocation() -> None:
    values = {name: object() for name in SETTINGS}
    settings = Settings(values)
    assert [setting for setting, _ in settings.given()] == list(SETTINGS.values())
    sections = [each for each in vars(settings).values() if isinstance(each, Section)]
    assert {type(each) for each in sections} == set(SECTIONS)
    read = {each.name: getattr(section, each.name) for section in sections for each in section.settings}
    assert read == values
    assert sum(len(section.settings) for section in SECTIONS) == len(SETTINGS)


def test_settings_do_not_change_while_a_command_runs() -> None:
    pace = Settings({"rate_limit": 10.0}).pace
    with pytest.raises(AttributeError, match="settings do not change"):
        setattr(pace, "rate_limit", 20.0)  # noqa: B010 - the type checker refuses it as an assignment
    with pytest.raises(AttributeError, match="settings do not change"):
        setattr(pace, "rate", 20.0)  # noqa: B010 - as above
    assert pace.rate_limit == 10.0


def test_a_setting_for_which_a_command_has_no_option_is_never_its_default() -> None:
    with pytest.raises(LookupError, match=r"no option --concurrency"):
        _ = PaceSettings({"rate_limit": 10.0}).concurrency


def test_a_section_shows_what_it_holds() -> None:
    assert repr(LogSettings({"log_level": "debug", "state": "x"})) == "LogSettings(log_level='debug')"
    assert LogSettings.log_level is SETTINGS["log_level"]


# The file.


def test_names_may_be_written_with_dashes_or_underscores() -> None:
    content = {"rate-limit": 10, "confirm_seconds": 5, "workspaces": {WORKSPACE.upper(): {"access_key_env": "KEY_A"}}}
    assert read_settings(content, "reconciler.yaml") == SettingsFile(
        {"rate_limit": "10", "confirm_seconds": "5"}, {WORKSPACE: KeySource("KEY_A", None)}
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
    assert len({option.parameter for option in COMMAND_OPTIONS.values()}) == len(COMMAND_OPTIONS)


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
        ({"state": True}, "`state` takes a text, so put it in quotes"),
        ({"rate_limit": True}, "`rate_limit` takes a number"),
        ({"concurrency": False}, "`concurrency` takes a number"),
        ({"rate-limit": 1, "rate_limit": 2}, "`rate_limit` is said twice"),
        ({"no-refresh": True, "no_refresh": False}, "`no_refresh` is said twice"),
        ({"all": [1]}, "`all` takes a single value"),
        ({"format": {"a": "b"}}, "`format` takes a single value"),
        ({"report": [["a"]]}, "`report` takes a single value"),
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


# A file that was found.

#: What such a file may say at all; of what can be lowered, a value that is low enough.
NARROWING = {
    "log_format": "json",
    "log_level": "debug",
    "no_color": True,
    "format": "json",
    "all": True,
    "limit": 5,
    "detailed_exitcode": True,
    "strict": True,
    "label": "team=billing",
    "rate_limit": 45,
    "concurrency": 32,
    "max_irreversible": 0,
    "max_resumes": 25,
    "max_change_percent": 49.5,
    "max_pause_percent": 1,
    "max_file_bytes": 1024,
    "max_depth": 32,
    "max_aliases": 0,
    "max_documents": 1,
    "max_keys": 1,
    "min_managed": 20,
}
EVERY_NAME = [*SETTINGS, *COMMAND_OPTIONS, "workspaces"]


def test_the_table_lets_a_found_file_set_what_narrows_and_nothing_else() -> None:
    found: dict[str, str] = {name: row.found for name, row in SETTINGS.items()}
    found |= {name: row.found for name, row in COMMAND_OPTIONS.items()}
    assert {name for name, allowed in found.items() if allowed != "refused"} <= NARROWING.keys()
    assert all(row.kind in ("whole", "number") for row in SETTINGS.values() if row.found.startswith("lower"))


@pytest.mark.parametrize("name", EVERY_NAME)
@pytest.mark.parametrize("written", [str, lambda name: name.replace("_", "-")], ids=["underscores", "dashes"])
def test_a_found_file_may_say_what_narrows_and_is_told_how_to_say_the_rest(name: str, written: Callable[[str], str]):
    content = {written(name): NARROWING.get(name, "x")}
    if name in NARROWING:
        assert read_settings(content, "reconciler.yaml", found=True) == read_settings(content, "reconciler.yaml")
        return
    with pytest.raises(SettingsError) as caught:
        read_settings(content, "reconciler.yaml", found=True)
    assert str(caught.value).startswith(f"reconciler.yaml: `{name}` may not be set by a settings file that was found")
    assert "--config reconciler.yaml" in str(caught.value)
    assert "RECONCILER_CONFIG=reconciler.yaml" in str(caught.value)


@pytest.mark.parametrize("name", [name for name, setting in SETTINGS.items() if setting.found.startswith("lower")])
@pytest.mark.parametrize(
    "more",
    [
        lambda default: default + 1,
        lambda default: str(default * 2),
        lambda _: "1e300",
        lambda _: ".inf",
        lambda _: float("inf"),
        lambda _: float("nan"),
        lambda _: "nan",
        lambda _: True,
        lambda _: None,
        lambda _: "fast",
        lambda _: [1],
    ],
    ids=[
        "more",
        "text",
        "huge",
        "a word for infinity",
        "infinity",
        "nan",
        "nan as text",
        "flag",
        "none",
        "word",
        "list",
    ],
)
def test_a_found_file_raises_no_limit(name: str, more: Callable[[float], object]) -> None:
    with pytest.raises(SettingsError, match=f"`{name}` may be at most {SETTINGS[name].default:.0f}"):
        read_settings({name: more(SETTINGS[name].default)}, "reconciler.yaml", found=True)


@pytest.mark.parametrize("zero", [0, 0.0, "0", "-0", -1])
def test_a_found_file_does_not_lift_a_limit_by_saying_0(zero: object) -> None:
    with pytest.raises(SettingsError, match="`rate_limit` may be at most 45 and not 0"):
        read_settings({"rate_limit": zero}, "reconciler.yaml", found=True)
    assert read_settings({"max_resumes": 0}, "reconciler.yaml", found=True).values == {"max_resumes": "0"}


def test_a_name_without_end_is_neither_quoted_whole_nor_compared() -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings({"rate_limit" * 100_000: 1}, "reconciler.yaml", found=True)
    assert len(str(caught.value)) < 200


# The environment.

LINKS = {
    "RECONCILER_PORT": "tcp://10.96.1.2:8420",
    "RECONCILER_SERVICE_HOST": "10.96.1.2",
    "RECONCILER_SERVICE_PORT": "8420",
    "RECONCILER_SERVICE_PORT_HTTP": "8420",
    "RECONCILER_PORT_8420_TCP": "tcp://10.96.1.2:8420",
    "RECONCILER_PORT_8420_TCP_PROTO": "tcp",
    "RECONCILER_PORT_8420_TCP_PORT": "8420",
    "RECONCILER_PORT_8420_TCP_ADDR": "10.96.1.2",
    "RECONCILER_HOOK_PORT": "udp://[fd00::1]:53",
    "RECONCILER_HOOK_SERVICE_HOST": "fd00::1",
}


@pytest.mark.parametrize("name", LINKS)
def test_what_kubernetes_sets_for_a_service_is_told_apart(name: str) -> None:
    assert is_service_link(name, LINKS[name])


@pytest.mark.parametrize(
    ("name", "value"), [("RECONCILER_PORT", "8421"), ("RECONCILER_PORT", "x"), ("RECONCILER_GIT", "tcp://x")]
)
def test_what_somebody_sets_is_read_or_refused(name: str, value: str) -> None:
    assert not is_service_link(name, value)


def test_no_setting_has_a_name_that_would_always_be_a_link() -> None:
    names = [setting.variable for setting in SETTINGS.values()]
    names += [f"RECONCILER_{name.upper()}" for name in COMMAND_OPTIONS]
    assert [name for name in names if is_service_link(name, "8421")] == []
