"""Records keep their place: a command releases only what its own paths held, wherever it is run from.

Each on the installed command, against an API that owes nothing to the product. A record that is released by mistake
forgets that a status was ours: the next apply then takes an agent's pause for an edit that waits, and resumes it.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconciler.desired.sources.folder import Source
from tests.world.documents import document
from tests.world.foreign_api import ForeignApi
from tests.world.git_scene import Team
from tests.world.ids import RECORDING, numbered, recording
from tests.world.shell import Done, Shell

TWO = numbered(2)


@pytest.fixture
def api(api: ForeignApi) -> ForeignApi:
    api.seed([recording("ongoing"), recording("paused", recording_id=TWO)])
    return api


@dataclass
class Machine:
    """One state for all folders of a machine, and commands that are run from any of them."""

    root: Path
    api: ForeignApi

    def __post_init__(self) -> None:
        self.state = f"sqlite:///{self.root}/state/state.db"

    def __call__(self, folder: str, *arguments: str) -> Done:
        """Run a command in a folder."""
        shell = Shell(self.root / folder)
        shell.env["RECONCILER_STATE"] = self.state
        reach = ("--api-url", self.api.url, "--rate-limit", "0")
        done = shell(*arguments, *(reach if arguments[0] in ("plan", "apply", "run") else ()))
        assert done.code in (0, 2), done
        return done

    def write(self, file: str, text: str) -> None:
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def records(self) -> dict[str, tuple[str, str]]:
        """Return the file of each record, and what it is relative to."""
        status = self(".", "status", "--format", "json").json()
        with closing(sqlite3.connect(self.root / "state/state.db")) as state:
            found = state.execute("SELECT name, file, base FROM recordings").fetchall()
        assert {name for name, _, _ in found} == {item["name"] for item in status["recordings"]}
        return {name: (file, base) for name, file, base in found}


@pytest.fixture
def machine(tmp_path: Path, api: ForeignApi) -> Machine:
    made = Machine(tmp_path, api)
    made.write("srv/rec/team-a/a.yaml", document("ongoing", name="a"))
    made.write("srv/rec/team-b/b.yaml", document("paused", name="b", recording=TWO))
    return made


def apply(machine: Machine, folder: str, *paths: str) -> Done:
    return machine(folder, "apply", "--yes", *paths)


def run_once(machine: Machine, folder: str, *paths: str) -> Done:
    return machine(folder, "run", "--once", "--listen", "off", *paths)


ALIKE = pytest.mark.parametrize("converge", [apply, run_once])


@ALIKE
def test_a_command_in_another_folder_leaves_what_its_paths_never_held(
    machine: Machine, api: ForeignApi, converge: Callable[..., Done]
) -> None:
    converge(machine, "srv", "rec/team-a")
    api.set_status(**{RECORDING: "paused"})
    converge(machine, "srv/rec", "team-b")
    api.forget()
    done = apply(machine, "srv", "rec/team-a")
    assert "1 to report" in done.out, "the pause is known to be an agent's"
    assert api.patches() == []
    assert machine.records() == {
        "a": ("rec/team-a/a.yaml", f"{machine.root}/srv"),
        "b": ("team-b/b.yaml", f"{machine.root}/srv/rec"),
    }


def test_every_plan_says_so_too(machine: Machine) -> None:
    apply(machine, "srv", "rec/team-a")
    for more in ((), ("--no-refresh",), ("--no-refresh", "--all"), ("--refresh",)):
        assert "0 to release" in machine("srv/rec", "plan", "team-b", *more).out
        assert "0 to release" in machine("srv/rec", "plan", "team-b", "--detailed-exitcode", *more).out


@ALIKE
def test_what_a_folder_held_is_released_from_wherever_that_folder_is_given(
    machine: Machine, converge: Callable[..., Done]
) -> None:
    converge(machine, "srv", "rec/team-a", "rec/team-b")
    (machine.root / "srv/rec/team-b/b.yaml").unlink()
    converge(machine, "srv/rec", ".")
    assert machine.records().keys() == {"a"}
    (machine.root / "srv/rec/team-a/a.yaml").unlink()
    machine("srv/rec/team-a", "apply", "--yes", "--allow-empty", f"{machine.root}/srv/rec")
    assert machine.records() == {}


@ALIKE
def test_a_checkout_that_is_gone_took_nothing_away_that_another_checkout_may_declare(
    machine: Machine, converge: Callable[..., Done]
) -> None:
    build = machine.root / "build/1"
    shutil.copytree(machine.root / "srv", build)
    converge(machine, ".", str(build / "rec/team-a"))
    shutil.move(build, machine.root / "build/2")
    converge(machine, ".", f"{machine.root}/build/2/rec/team-b")
    assert machine.records().keys() == {"a", "b"}
    # The whole of it in its new place: known again under the place where it is now.
    converge(machine, "build/2", "rec")
    assert machine.records()["a"] == ("rec/team-a/a.yaml", f"{machine.root}/build/2")


@ALIKE
def test_the_same_relative_path_of_another_project_is_another_place(
    machine: Machine, converge: Callable[..., Done]
) -> None:
    machine.write("one/desired_state/a.yaml", document("ongoing", name="a"))
    machine.write("two/desired_state/b.yaml", document("paused", name="b", recording=TWO))
    converge(machine, "one")
    shutil.move(machine.root / "one", machine.root / "elsewhere")
    converge(machine, "two")
    assert machine.records().keys() == {"a", "b"}


def test_an_invalid_file_keeps_what_that_very_file_declared_and_nothing_of_a_namesake(machine: Machine) -> None:
    machine.write("one/desired_state/x.yaml", document("ongoing", name="a"))
    machine.write("two/desired_state/x.yaml", "not a document")
    machine.write("two/desired_state/b.yaml", document("paused", name="b", recording=TWO))
    apply(machine, "one")
    shell = Shell(machine.root / "two")
    shell.env["RECONCILER_STATE"] = machine.state
    done = shell("run", "--once", "--listen", "off", "--api-url", machine.api.url)
    assert done.code == 1, "a file is invalid"
    assert machine.records()["a"] == ("desired_state/x.yaml", f"{machine.root}/one")


def test_a_file_for_one_recording_releases_nothing_of_a_branch(machine: Machine, tmp_path: Path) -> None:
    team = Team(tmp_path)
    team.commit({"docs/a.yaml": document("ongoing", name="a")})
    team.push()
    git = ("run", "--once", "--listen", "off", "--git", str(team.remote), "--path", "docs")
    machine(".", *git)
    machine.write("hot/hot.yaml", document("paused", name="b", recording=TWO))
    for folder, path in (("hot", "hot.yaml"), (".", "hot"), ("hot", ".")):
        apply(machine, folder, path)
        run_once(machine, folder, path)
    assert machine.records().keys() == {"a", "b"}
    # And the branch takes nothing of the folder, nor of another repository.
    machine(".", *git)
    assert machine.records().keys() == {"a", "b"}
    other = tmp_path / "other"
    other.mkdir()
    others = Team(other)
    others.commit({"docs/b.yaml": document("paused", name="b", recording=TWO)})
    others.push()
    machine(".", "run", "--once", "--listen", "off", "--git", str(others.remote), "--path", "docs")
    assert machine.records().keys() == {"a", "b"}
    team.commit({"docs/a.yaml": None, "docs/c.yaml": document("ongoing", name="c", recording=numbered(3))})
    team.push()
    machine.api.seed([recording("ongoing", recording_id=numbered(3))])
    machine(".", *git)
    assert machine.records().keys() == {"b", "c"}


def test_a_record_that_does_not_say_its_place_is_released_only_where_its_path_leads(machine: Machine) -> None:
    apply(machine, "srv", "rec/team-a", "rec/team-b")
    with closing(sqlite3.connect(machine.root / "state/state.db")) as state:
        state.execute("UPDATE recordings SET base = ''")  # as an earlier version wrote it
        state.commit()
    (machine.root / "srv/rec/team-b/b.yaml").unlink()
    apply(machine, "srv/rec", "team-a")
    assert machine.records()["b"] == ("rec/team-b/b.yaml", "")
    apply(machine, "srv", "rec")
    assert machine.records().keys() == {"a"}


def test_what_a_source_calls_a_file_that_a_record_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "srv").mkdir()
    monkeypatch.chdir(tmp_path / "srv")
    source = Source(["rec", "one.yaml", "/elsewhere/all", "../beside"], max_file_bytes=1)
    here = f"{tmp_path}/srv"
    assert source.base == here == os.path.realpath(here)
    for file, base, name in (
        ("rec/a.yaml", here, "rec/a.yaml"),
        ("one.yaml", here, "one.yaml"),
        ("recs/a.yaml", here, None),
        ("one.yaml.yaml", here, None),
        ("a.yaml", f"{here}/rec", "rec/a.yaml"),
        ("srv/rec/deep/a.yaml", str(tmp_path), "rec/deep/a.yaml"),
        (f"{here}/rec/a.yaml", "/", "rec/a.yaml"),
        ("../beside/a.yaml", here, "../beside/a.yaml"),
        ("beside/a.yaml", str(tmp_path), "../beside/a.yaml"),
        ("rec/a.yaml", str(tmp_path), None),
        ("rec/a.yaml", "", "rec/a.yaml"),
        ("elsewhere/all/a.yaml", "/", "/elsewhere/all/a.yaml"),
        ("rec/a.yaml", "git", None),
        ("rec/a.yaml", "git:https://example.org/r.git", None),
        ("/elsewhere/all/a.yaml", "git", None),
    ):
        assert source.name_of(file, base) == name, (file, base)
    assert Source(["."], max_file_bytes=1).name_of("rec/a.yaml", here) == "rec/a.yaml"
