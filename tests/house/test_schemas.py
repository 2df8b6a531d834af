"""The schemas: valid, complete enough for editors, of one mind with each other, and the samples that go with them."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.controller.overview import FORMAT
from reconciler.controller.rests import Cause
from reconciler.desired import shipped
from reconciler.desired.documents import schema
from reconciler.desired.documents.conflicts import cross_check
from reconciler.desired.documents.parse import parse_documents
from reconciler.desired.documents.schema import schema_text
from reconciler.desired.shipped import read_schema
from reconciler.model.actions import ActionKind, Reason
from reconciler.model.errors import ReconcilerError, SettingsError
from reconciler.model.keys import UUID_PATTERN
from reconciler.model.statuses import Drift, Phase, Status
from reconciler.model.work import Priority
from tests.world.places import CHECKOUT

FILES = (
    "desired-state.schema.json",
    "call-recording.schema.json",
    "call-recording-set.schema.json",
    "plan.schema.json",
    "daemon.schema.json",
    "status.schema.json",
    "history.schema.json",
    "settings.schema.json",
)
SCHEMAS: dict[str, dict[str, Any]] = {file: json.loads(read_schema(file)) for file in FILES}
DESIRED, ONE, MANY, PLAN, DAEMON, STATUS, HISTORY, _ = SCHEMAS.values()
SAMPLES = sorted((CHECKOUT / "desired_state").glob("*.yaml"))


def parts(value: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema inside a schema that describes a value, with its place."""
    if "$schema" in value:
        yield where, value
    for key in ("properties", "$defs"):
        for name, part in value.get(key, {}).items():
            yield f"{where}/{name}", part
            yield from parts(part, f"{where}/{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(value.get(key), dict):
            yield f"{where}/{key}", value[key]
            yield from parts(value[key], f"{where}/{key}")


PARTS = [found for file, content in SCHEMAS.items() for found in parts(content, file)]


@pytest.mark.parametrize("file", FILES)
def test_every_schema_is_valid_and_stands_alone(file: str) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[file])
    assert SCHEMAS[file]["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    text = json.dumps(SCHEMAS[file])
    assert text.count('"$ref"') == text.count('"$ref": "#/$defs/')


def test_every_schema_has_an_id_of_its_own() -> None:
    assert len({content["$id"] for content in SCHEMAS.values()}) == len(FILES)


@pytest.mark.parametrize(("where", "part"), PARTS, ids=[where for where, _ in PARTS])
def test_every_field_says_what_it_is(where: str, part: dict[str, Any]) -> None:
    name = where.partition(".schema.json")[0] + ".schema.json"
    merged = dict(part)
    if "$ref" in part:
        merged = {**SCHEMAS[name]["$defs"][part["$ref"].removeprefix("#/$defs/")], **part}
    assert {"title", "description", "examples"} <= merged.keys()
    if merged.get("type") == "object" and "properties" in merged:
        assert merged["additionalProperties"] is False
        assert set(merged.get("required", ())) <= merged["properties"].keys()
    whole = {**part, "$defs": SCHEMAS[name].get("$defs", {})}
    for example in merged["examples"]:
        jsonschema.validate(example, whole, jsonschema.Draft202012Validator)


def test_shared_definitions_are_the_same_everywhere() -> None:
    for name, definition in {**ONE["$defs"], **MANY["$defs"]}.items():
        assert DESIRED["$defs"][name] == definition
    for name in ONE["$defs"].keys() & MANY["$defs"].keys():
        assert ONE["$defs"][name] == MANY["$defs"][name]
    assert PLAN["$defs"]["uuid"] == DESIRED["$defs"]["uuid"]


def test_the_words_are_those_of_the_program() -> None:
    assert DESIRED["$defs"]["status"]["enum"] == [status.value for status in Status]
    assert DESIRED["$defs"]["drift"]["enum"] == [drift.value for drift in Drift]
    assert DESIRED["$defs"]["drift"]["default"] == Drift.SAFE.value
    assert DESIRED["$defs"]["uuid"]["pattern"] == f"^{UUID_PATTERN}$"
    assert DESIRED["properties"]["kind"]["enum"] == list(schema.KINDS)
    action = PLAN["$defs"]["action"]["properties"]
    assert action["action"]["enum"] == [kind.value for kind in ActionKind]
    assert action["reason"]["enum"] == [reason.value for reason in Reason]
    page = DAEMON["properties"]
    assert page["format"]["const"] == FORMAT
    assert list(page["phases"]["properties"]) == [phase.value for phase in Phase]
    assert page["notInSync"]["items"]["properties"]["phase"]["enum"] == [phase.value for phase in Phase]
    assert list(page["queue"]["properties"]) == [priority.name.lower() for priority in Priority]
    assert set(page["resting"]["items"]["properties"]["cause"]["enum"]) == {cause.value for cause in Cause}
    assert set(STATUS["$defs"]["recording"]["properties"]["phase"]["enum"]) == {phase.value for phase in Phase}
    assert STATUS["$defs"]["by"] == HISTORY["$defs"]["by"]


def test_the_kind_is_chosen_by_if_and_then() -> None:
    # With `oneOf` a misspelled field would only be told as "not valid under any of the given schemas".
    assert "oneOf" not in json.dumps(DESIRED)
    assert "anyOf" not in json.dumps(DESIRED)
    assert [branch["if"]["properties"]["kind"]["const"] for branch in DESIRED["allOf"]] == list(schema.KINDS)


# -- the gate and the explainer

#: What may stand in a YAML file as it is.
TEXT = st.characters(exclude_categories=["C", "Zl", "Zp"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(TEXT, max_size=5)
    | st.sampled_from(["reconciler/v1", "CallRecording", "CallRecordingSet", "paused", "safe", "a\n", "a" * 254, "A"])
    | st.sampled_from(["2026-12-01T00:00:00Z", "2026-13-45T00:00:00Z", "2026-12-01"])
    | st.sampled_from([f"3fa85f64-5717-4562-b3fc-2c963f66afa6{tail}" for tail in ("", "\n", "0")]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(TEXT, max_size=3), inner, max_size=2),
    max_leaves=4,
)
KEYS = [*sorted({where.rpartition("/")[2] for where, _ in PARTS}), "recordingID", ""]


@st.composite
def changed(draw: st.DrawFn) -> Any:
    """A valid document of either kind after a few changes anywhere in it."""
    root: Any = copy.deepcopy(draw(st.sampled_from(DESIRED["examples"])))
    for _ in range(draw(st.integers(0, 3))):
        here = root
        while isinstance(here, dict | list) and here:
            key: Any = draw(st.sampled_from(sorted(here) if isinstance(here, dict) else range(len(here))))
            if isinstance(here[key], dict | list) and draw(st.booleans()):
                here = here[key]
                continue
            change = draw(st.sampled_from(["replace", "delete", "add"]))
            if change == "replace":
                here[key] = draw(VALUES)
            elif change == "delete":
                del here[key]
            elif isinstance(here, dict):
                here[draw(st.sampled_from(KEYS))] = draw(VALUES)
            else:
                here.append(copy.deepcopy(here[key]))
            break
    return root


@given(st.sampled_from([*schema.KINDS, schema.ANY_KIND, schema.ITEM]), changed() | VALUES)
def test_the_gate_and_the_explainer_are_of_one_mind(name: str, value: Any) -> None:
    assert schema.gate(name)(value) == (not list(schema.mistakes(name, value)))


@given(changed())
def test_the_schema_of_all_kinds_says_what_the_schema_of_the_kind_says(value: Any) -> None:
    by_kind = any(schema.gate(kind)(value) for kind in schema.KINDS)
    assert schema.gate(schema.ANY_KIND)(value) == by_kind


@given(st.lists(changed(), min_size=1, max_size=3))
def test_a_file_is_refused_exactly_when_the_gate_refuses_one_of_its_documents(values: list[Any]) -> None:
    content = "\n--- ".join(["", *(json.dumps(value, ensure_ascii=False) for value in values)]).encode()
    accepted = all(schema.gate(schema.ANY_KIND)(value) for value in values)
    result = parse_documents(content, "f.yaml")
    assert bool(result.problems) != accepted


def test_what_json_cannot_express_fits_no_schema() -> None:
    assert not schema.gate(schema.ANY_KIND)({"kind": "\ud800"})
    assert not schema.gate(schema.ANY_KIND)({1: 2})
    assert not schema.gate(schema.ANY_KIND)(math.nan)


# -- what is shipped


def test_schemas_are_printed_as_they_are_shipped() -> None:
    kinds = (None, "CallRecording", "CallRecordingSet", "Plan", "Daemon")
    assert [json.loads(schema_text(kind)) for kind in kinds] == [DESIRED, ONE, MANY, PLAN, DAEMON]


@pytest.mark.parametrize(
    ("kind", "hint"), [("callrecording", "did you mean `CallRecording`"), ("any", "there are CallRecording, ")]
)
def test_an_unknown_schema_is_refused_with_the_right_word(kind: str, hint: str) -> None:
    with pytest.raises(SettingsError, match=hint):
        schema_text(kind)


def test_a_shipped_file_is_looked_for_in_the_package_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "_FOLDERS", (tmp_path / "package", tmp_path / "checkout"))
    (tmp_path / "checkout").mkdir()
    (tmp_path / "checkout" / "a.json").write_text("checkout")
    assert read_schema("a.json") == "checkout"
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "a.json").write_text("package")
    assert read_schema("a.json") == "package"


def test_a_missing_or_damaged_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ReconcilerError, match=r"schemas/none\.json is missing"):
        read_schema("none.json")
    monkeypatch.setattr(shipped, "_FOLDERS", (tmp_path,))
    (tmp_path / "b.json").mkdir()
    with pytest.raises(ReconcilerError, match=r"b\.json cannot be read"):
        read_schema("b.json")


# -- the samples


def test_the_samples_are_valid_together_and_show_both_kinds_and_every_status() -> None:
    files = [parse_documents(path.read_bytes(), path.name) for path in SAMPLES]
    assert [problem for file in files for problem in file.problems] == []
    assert cross_check(files) == []
    found = [desired for file in files for desired in file.desired]
    assert {desired.status for desired in found} == set(Status)
    assert {desired.drift for desired in found} == set(Drift)
    assert any(file.sets for file in files)
    assert any(desired.suspend for desired in found)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_editors_find_the_schema_of_a_sample(path: Path) -> None:
    modeline, _, rest = path.read_text(encoding="utf-8").partition("\n")
    assert modeline == "# yaml-language-server: $schema=../schemas/desired-state.schema.json"
    assert (path.parent / modeline.partition("=")[2]).is_file()
    assert rest.startswith("#\n# "), "a sample says what it shows"
