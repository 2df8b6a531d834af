"""What the pages list is compared with the source that it lists; generated pages are fresh; no link is dead.

Aspects: README's size, examples of documents, settings, hooks and pipelines, tables, links. That what the pages show is
what happens is held in `tests/acceptance/test_shown.py`.
"""

from __future__ import annotations

import json
import re
import runpy
import shlex
import tomllib
from collections.abc import Iterator
from typing import Any

import yaml

from reconciler.cli.program import cli
from reconciler.cli.reports import FORMATS
from reconciler.desired.documents.parse import parse_documents
from reconciler.desired.documents.plain import load_plain
from reconciler.model.actions import Reason
from reconciler.model.statuses import Phase
from reconciler.plan.plan import Cause
from reconciler.providers.bird.guard import Route
from reconciler.settings.content import read_settings
from tests.house.pages import BLOCKS, PAGES, Block, anchors, prose, quoted, rows
from tests.house.rooms import FLOORS
from tests.house.shown import check_usage
from tests.world.places import CHECKOUT

#: The pages with YAML, which is checked each in its own way.
DOCUMENTS, CONFIGURE = "docs/reference/documents.md", "docs/how-to/configure.md"
PRE_COMMIT, GITHUB, GITLAB = (f"docs/how-to/{name}.md" for name in ("pre-commit", "github-actions", "gitlab-ci"))
DEVELOP, METRICS = "docs/develop.md", "docs/reference/metrics.md"


def test_the_readme_can_be_read_in_one_go() -> None:
    assert len(PAGES["README.md"].encode()) <= 12 * 1024


def test_the_generated_pages_are_fresh() -> None:
    generated = runpy.run_path(str(CHECKOUT / "docs" / "generate.py"))["pages"]()
    assert len(generated) == 6
    stale = [path.name for path, text in generated.items() if not path.is_file() or path.read_text() != text]
    assert not stale, "run `make docs`"


def test_every_page_says_its_kind_and_for_whom_it_is() -> None:
    kinds = {"tutorial": "Tutorial", "how-to": "How-to", "reference": "Reference", "explanation": "Explanation"}
    silent = []
    for page, text in PAGES.items():
        kind = kinds.get(page.split("/")[1] if page.count("/") == 2 else "", "")
        if page != "README.md" and not re.match(rf"(<!--.*-->\n\n)?# .+\n\n\*{kind}[^|]*\.", text):
            silent.append(page)
    assert not silent


def test_every_page_is_named_in_the_readme() -> None:
    named = re.findall(r"\]\((docs/[^)#]+)", PAGES["README.md"])
    assert sorted(named) == sorted(page for page in PAGES if page != "README.md")


def examples(page: str) -> list[Block]:
    """The YAML of a page."""
    return [block for block in BLOCKS if block.language == "yaml" and block.page == page]


def test_shown_documents_are_valid() -> None:
    assert len(examples(DOCUMENTS)) == 2
    for block in examples(DOCUMENTS):
        parsed = parse_documents(block.text.encode(), block.place)
        assert [str(problem) for problem in parsed.problems] == []
        assert parsed.desired


def test_shown_settings_are_known() -> None:
    (block,) = examples(CONFIGURE)
    assert read_settings(load_plain(block.text.encode(), block.place), block.place).values


def test_shown_hooks_exist() -> None:
    shipped = {hook["id"] for hook in yaml.safe_load((CHECKOUT / ".pre-commit-hooks.yaml").read_text())}
    (block,) = examples(PRE_COMMIT)
    (repository,) = yaml.safe_load(block.text)["repos"]
    assert {hook["id"] for hook in repository["hooks"]} == shipped
    assert {word for word in quoted(prose(PRE_COMMIT)) if word.startswith("reconciler-")} == shipped


def test_the_shown_action_has_its_inputs_and_outputs() -> None:
    action = yaml.safe_load((CHECKOUT / "action.yml").read_text())
    explained = {quoted(row[0])[0]: row for row in rows(GITHUB)}
    assert explained.keys() == action["inputs"].keys() | action["outputs"].keys()
    for name, given in action["inputs"].items():
        for default in quoted(explained[name][1]):
            assert default == given["default"]
    (block,) = examples(GITHUB)
    (job,) = yaml.safe_load(block.text)["jobs"].values()
    (step,) = (step for step in job["steps"] if "id" in step)
    assert step["with"].keys() <= action["inputs"].keys()
    used = re.findall(rf"steps\.{step['id']}\.outputs\.([\w-]+)", block.text)
    assert used
    assert set(used) <= action["outputs"].keys()


def test_the_shown_pipeline_keeps_the_reports_that_it_asks_for() -> None:
    (block,) = examples(GITLAB)
    (job,) = yaml.safe_load(block.text).values()
    (words,) = (shlex.split(line)[1:] for line in job["script"] if line.startswith("reconciler "))
    check_usage(cli, words)
    written = {word.partition("=")[2] for word in words if "=" in word}
    assert {*job["artifacts"]["paths"], *job["artifacts"]["reports"].values()} == written


def test_no_example_is_left_unchecked() -> None:
    checked = {DOCUMENTS, CONFIGURE, PRE_COMMIT, GITHUB, GITLAB}
    assert {block.page for block in BLOCKS if block.language == "yaml"} == checked


def test_every_report_is_explained() -> None:
    assert [quoted(cell)[0] for cell, *_ in rows("docs/reference/reports.md")] == list(FORMATS)


def test_every_field_is_in_the_reference() -> None:
    def fields(schema: dict[str, Any], pointer: str, definitions: dict[str, Any]) -> Iterator[str]:
        schema = {**definitions.get(str(schema.get("$ref", "")).rpartition("/")[2], {}), **schema}
        for name, value in schema.get("properties", {}).items():
            yield f"{pointer}{name}"
            yield from fields(value, f"{pointer}{name}.", definitions)
        if "items" in schema:
            yield from fields(schema["items"], f"{pointer.removesuffix('.')}[].", definitions)

    explained: set[str] = set()
    for cell, *_ in rows(DOCUMENTS):
        first, *others = quoted(cell)
        explained |= {first, *(first.rpartition(".")[0] + other for other in others)}
    declared = set()
    for name in ("call-recording", "call-recording-set"):
        schema = json.loads((CHECKOUT / "schemas" / f"{name}.schema.json").read_text())
        declared |= set(fields(schema, "", schema["$defs"]))
    # Two that only hold others, and an item's suspension, whose fields are those of a document's.
    declared = {field for field in declared - {"metadata", "spec"} if "[].suspend." not in field}
    assert explained == declared


def test_every_phase_is_explained() -> None:
    shown = [word for cell, *_ in rows("docs/reference/words.md", "Phases") for word in quoted(cell)]
    assert shown == [phase.value for phase in Phase]


def test_every_reason_is_explained() -> None:
    cells = rows("docs/explanation/how-it-works.md", "The decision")
    assert {word for *_, cell in cells for word in quoted(cell)} == {reason.value for reason in Reason}


def test_every_cause_is_explained() -> None:
    cells = [quoted(cell)[0] for cell, *_ in rows("docs/how-to/review.md", "Why is an action there?")]
    assert [cell for cell in cells if not cell.startswith("-")] == [cause.value for cause in Cause]


def test_the_policy_grants_what_is_asked_and_no_more() -> None:
    granted: dict[str, set[str]] = {"View": set(), "Update": set()}
    action = ""
    for _, named, resource in rows("docs/tutorial/real-key.md"):
        action = named or action
        granted[action] |= set(quoted(resource))
    routes = {re.sub(r"\{[^w]\}", "*", route).replace("{w}", "{ws}") for route in Route}
    assert granted == {"View": routes, "Update": {"/workspaces/{ws}/channels/*/calls/*/recordings/*"}}


def test_the_layout_names_every_room_from_the_top() -> None:
    shown = [(int(floor), *quoted(room)) for floor, room, _ in rows(DEVELOP, "The map of rooms")]
    assert sorted((room, floor) for floor, room in shown) == sorted(FLOORS.items())
    assert [floor for floor, _ in shown] == sorted(FLOORS.values(), reverse=True)


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    text = prose("docs/decisions.md")
    names = [re.split(r"[^\w-]", dependency)[0] for dependency in project["dependencies"]]
    assert [name for name in names if f"`{name}`" not in text] == []


def test_every_make_target_is_explained() -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)
    shown = [quoted(cell)[0].removeprefix("make ") for cell, *_ in rows(DEVELOP, "Targets of make")]
    assert sorted(shown) == sorted(set(targets) - {"help", "venv"})


def test_links_lead_somewhere() -> None:
    dead, seen = [], 0
    for page in PAGES:
        for target in re.findall(r"\]\(([^)]+)\)", prose(page)):
            if "://" in target:
                continue
            seen += 1
            name, _, anchor = target.partition("#")
            path = (CHECKOUT / page).parent / name if name else CHECKOUT / page
            if not path.is_file():
                dead.append(f"{page}: {target}")
            elif anchor and anchor not in anchors(str(path.resolve().relative_to(CHECKOUT))):
                dead.append(f"{page}: {target}: no such heading")
    assert not dead
    assert seen > 100


def test_what_the_pages_call_by_name_is_there() -> None:
    """Settings, events, reasons, fields and formats in the code; options at a command."""
    name = r"[a-z]+(?:_[a-z0-9]+)+|--[a-z-]+"
    source = [path.read_text() for path in (CHECKOUT / "reconciler").rglob("*.py")]
    source += [PAGES["docs/reference/commands.md"], PAGES[METRICS], "--help --version"]
    known = {each for text in source for each in re.findall(rf"{name}|reconciler\.[a-z]+/v\d+", text)}
    unknown = []
    for page in PAGES.keys() - {"docs/long-tests.md"}:  # which shows the options of other programs
        named = {code.split()[0] for code in quoted(prose(page)) if re.fullmatch(rf"(?:{name})(?: [A-Z=]+)?", code)}
        named |= set(re.findall(r"reconciler\.[a-z]+/v\d+", PAGES[page]))
        unknown += [f"{page}: {each}" for each in named - known]
    assert sorted(unknown) == []


def test_what_the_map_calls_by_name_is_in_the_file_that_it_names() -> None:
    """Of each item of a list: classes, functions and tables, in one of the files or folders beside them."""
    wrong, seen = [], 0
    for item in re.split(r"^(?=\d+\. |- |#|\w)", prose(DEVELOP), flags=re.MULTILINE):
        places = [CHECKOUT / code for code in quoted(item) if re.fullmatch(r"(reconciler|tests|docs)/[a-z_./]+", code)]
        files = [file for place in places for file in ([place] if place.is_file() else place.rglob("*.py"))]
        text = "".join(file.read_text() for file in files)
        for name in quoted(item):
            if text and re.fullmatch(r"_?[A-Z]\w+|_\w+|\w+\(\)", name) and "NAME" not in name:
                seen += 1
                wrong += [f"{name}: {item}"] if not re.search(rf"\b{name.removesuffix('()')}\b", text) else []
    assert not wrong, "\n".join(wrong)
    assert seen > 8


def test_what_the_pages_name_in_the_tree_is_there() -> None:
    named = {
        word
        for page in PAGES
        for word in quoted(prose(page))
        if re.fullmatch(r"(reconciler|tests|schemas|docs)/[a-z_./-]+", word)
    }
    assert named
    assert [name for name in sorted(named) if not (CHECKOUT / name).exists()] == []


def test_a_source_distribution_holds_what_the_readme_links_to() -> None:
    build = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    included = tuple(entry.lstrip("/") for entry in build["targets"]["sdist"]["include"])
    linked = set(re.findall(r"\]\(([^)#:]+)[)#]", PAGES["README.md"])) - {"LICENSE"}  # which is always part of it
    assert sorted(name for name in linked if not name.startswith(included)) == []
