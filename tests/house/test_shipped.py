"""What ships beside the code is true: schemas, samples, locks."""

from __future__ import annotations

import json
import re
import tomllib

import pytest
import yaml
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.world.places import CHECKOUT


def test_every_schema_is_valid() -> None:
    json_schemas = sorted((CHECKOUT / "schemas").glob("*.json"))
    for path in json_schemas:
        schema = json.loads(path.read_text())
        assert schema.get("$schema") == "https://json-schema.org/draft/2020-12/schema", path.name
        Draft202012Validator.check_schema(schema)
    interfaces = sorted((CHECKOUT / "schemas").glob("*.openapi.yaml"))
    for path in interfaces:
        OpenAPIV31SpecValidator(yaml.safe_load(path.read_text())).validate()
    assert {path.name for path in [*json_schemas, *interfaces]} == {
        path.name for path in (CHECKOUT / "schemas").iterdir()
    }
    assert json_schemas
    assert interfaces


def test_every_sample_is_valid() -> None:
    from reconciler.desired.documents.conflicts import cross_check
    from reconciler.desired.documents.parse import parse_documents

    paths = sorted((CHECKOUT / "desired_state").rglob("*.y*ml"))
    files = [parse_documents(path.read_bytes(), str(path.relative_to(CHECKOUT))) for path in paths]
    assert [str(problem) for file in files for problem in file.problems] == []
    assert [str(problem) for problem in cross_check(files)] == []
    assert all(file.desired for file in files)
    assert files


def pins(lock: str) -> dict[str, str]:
    """The version of each package that a lock names, with its extras or without."""
    pin = r"^([a-z0-9-]+)(?:\[[a-z0-9,-]+\])?==([^\s;]+)"
    return dict(re.findall(pin, (CHECKOUT / lock).read_text(), re.MULTILINE))


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_names_no_address_and_hashes_every_pin(lock: str) -> None:
    text = (CHECKOUT / lock).read_text()
    assert "://" not in text
    assert not re.search(r"^\s*-(?!-hash=sha256:[0-9a-f]{64}\b)", text, re.MULTILINE)
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(entries) == len(pins(lock)) > 0
    assert [entry for entry in entries if "--hash=" not in entry] == []


def test_the_locks_agree_with_each_other_and_with_the_project() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    build = project["build-system"]["requires"]
    assert build == project["dependency-groups"]["build"]
    extras = [item for extra in project["project"]["optional-dependencies"].values() for item in extra]
    run, everything = pins("requirements.lock"), pins("requirements-dev.lock")
    assert run.items() <= everything.items()
    for pinned, requirements in (
        (run, [*project["project"]["dependencies"], *build]),
        (everything, extras),
    ):
        for requirement in map(Requirement, requirements):
            version = pinned.get(canonicalize_name(requirement.name))
            assert version in requirement.specifier if version else False, f"{requirement}: run `make lock`"
