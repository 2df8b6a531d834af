"""The built wheel, installed away from the checkout, is whole: command, schemas, types and licence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler import __version__
from tests.world.places import CHECKOUT

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("dist")
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(target),
        str(CHECKOUT),
    ]
    subprocess.run(build, check=True, capture_output=True, timeout=100)
    (built,) = target.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment that holds the wheel, and borrows what the wheel depends on."""
    place = tmp_path_factory.mktemp("elsewhere") / "env"
    venv.create(place, with_pip=False, symlinks=True)
    python = place / "bin" / "python"
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--no-index",
        "--no-deps",
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True, timeout=100)
    # By a path file, so that no path file of the borrowed folder is read: one of those leads to the checkout.
    (site_packages,) = place.glob("lib/python*/site-packages")
    (site_packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place / "bin"


@pytest.fixture
def run(installed: Path, tmp_path: Path) -> Run:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(installed / program), *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_the_wheel_holds_the_package_the_schemas_and_the_licence_and_nothing_else(wheel: Path) -> None:
    shipped = set(zipfile.ZipFile(wheel).namelist())
    package = {
        path.relative_to(CHECKOUT).as_posix()
        for path in (CHECKOUT / "reconciler").rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }
    schemas = {f"reconciler/schemas/{path.name}" for path in (CHECKOUT / "schemas").iterdir()}
    about = f"reconciler-{__version__}.dist-info/"
    assert {name for name in shipped if not name.startswith(about)} == package | schemas
    assert f"{about}licenses/LICENSE" in shipped
    assert "reconciler/py.typed" in shipped


def test_the_installed_package_is_not_the_checkout(run: Run, installed: Path) -> None:
    done = run("python", "-c", "import reconciler; print(reconciler.__file__)")
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(installed.parent)


def test_the_installed_command_says_its_version(run: Run) -> None:
    done = run("reconciler", "--version")
    assert done.returncode == 0, done.stderr
    assert __version__ in done.stdout


def test_the_installed_command_knows_the_schemas(run: Run) -> None:
    done = run("reconciler", "schema")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((CHECKOUT / "schemas" / "desired-state.schema.json").read_text())


def test_the_installed_command_validates_documents(run: Run, tmp_path: Path) -> None:
    done = run("reconciler", "validate", str(CHECKOUT / "desired_state"))
    assert done.returncode == 0, done.stderr
    broken = tmp_path / "broken.yaml"
    broken.write_text("kind: CallRecordin\n")
    assert run("reconciler", "validate", str(broken)).returncode == 1


def test_the_checkout_reads_its_own_schemas(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "reconciler", "schema"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip() == (CHECKOUT / "schemas" / "desired-state.schema.json").read_text().rstrip()
