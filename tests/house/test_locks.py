"""The locks install with old and new versions of pip, whatever has been published since they were made.

Nothing is downloaded: an index on disk lists, for each pin, a package of that name and version with the requirements
of the real one, and a newer version of everything, as the public index does a year later.
"""

from __future__ import annotations

import base64
import ensurepip
import hashlib
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.world.places import CHECKOUT

#: pip resolves a hundred packages, beside whatever else the machine does.
pytestmark = pytest.mark.timeout(300)
LOCKS = ("requirements.lock", "requirements-dev.lock")
#: The first line of an entry: the name, its extras, its version, and on which systems it is wanted.
PIN = re.compile(
    r"^(?P<name>[a-z0-9-]+)(?P<extras>\[[a-z0-9,-]+\])?==(?P<version>[^\s;]+)(?P<marker> ;[^\\]*)?", re.MULTILINE
)


def requirements_of(name: str) -> list[str]:
    """What a package asks for, as its installed version says; nothing where it is not for this system."""
    try:
        return distribution(name).requires or []
    except PackageNotFoundError:
        return []


def make_wheel(folder: Path, name: str, version: str, requires: list[str]) -> str:
    """Make a package that holds nothing, and return its SHA-256."""
    about = f"{name.replace('-', '_')}-{version}.dist-info"
    extras = sorted({extra for line in requires for extra in re.findall(r"extra\s*==\s*['\"]([^'\"]+)", line)})
    files = {
        f"{about}/METADATA": "\n".join(
            [
                "Metadata-Version: 2.1",
                f"Name: {name}",
                f"Version: {version}",
                *(f"Provides-Extra: {extra}" for extra in extras),
                *(f"Requires-Dist: {line}" for line in requires),
                "",
            ]
        ),
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},{len(text)}"
        for path, text in files.items()
    ]
    files[f"{about}/RECORD"] = "\n".join([*record, f"{about}/RECORD,,", ""])
    path = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for inside, text in files.items():
            wheel.writestr(inside, text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def a_year_later(lock: str, place: Path) -> Path:
    """Make the index, and return the lock with the hashes of what that index serves and all else as it is."""
    index = place / "index"
    index.mkdir()
    lines = []
    for pin in PIN.finditer((CHECKOUT / lock).read_text()):
        requires = requirements_of(pin["name"])
        digest = make_wheel(index, pin["name"], pin["version"], requires)
        make_wheel(index, pin["name"], f"{int(pin['version'].split('.')[0]) + 1}.0", requires)
        lines.append(f"{pin.group().rstrip()} --hash=sha256:{digest}")
    written = place / "lock"
    written.write_text("\n".join([*lines, ""]))
    return written


def bundled_pip() -> Path:
    """The pip that this Python brings, which a new environment begins with."""
    (wheel,) = (Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl")
    return wheel


def install(pip: Path | None, lock: Path, place: Path) -> subprocess.CompletedProcess[str]:
    """Install a lock into an empty environment, by a pip of that path, or else by the newest one that is installed."""
    venv.create(place / "env", with_pip=False, symlinks=True)
    command = [sys.executable, str(pip / "pip")] if pip else [sys.executable, "-m", "pip"]
    if pip is None:
        command += ["--python", str(place / "env")]
    else:
        command[0] = str(place / "env" / "bin" / "python")
    return subprocess.run(
        [
            *(*command, "--isolated", "--disable-pip-version-check", "--no-cache-dir", "install", "--dry-run"),
            *("--no-index", "--find-links", str(place / "index"), "--require-hashes", "--requirement", str(lock)),
        ],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.mark.parametrize("which", ["bundled", "installed"])
@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_installs_when_newer_versions_of_everything_have_been_published(
    lock: str, which: str, tmp_path: Path
) -> None:
    done = install(bundled_pip() if which == "bundled" else None, a_year_later(lock, tmp_path), tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(
    int(bundled_pip().name.split("-")[1].split(".")[0]) >= 24,
    reason="this pip takes a pin for the same one with extras",
)
def test_a_lock_without_an_extra_that_is_asked_for_would_be_found_out(tmp_path: Path) -> None:
    lock = a_year_later("requirements-dev.lock", tmp_path)
    lock.write_text(lock.read_text().replace("coverage[toml]==", "coverage=="))
    done = install(bundled_pip(), lock, tmp_path)
    assert done.returncode != 0
    assert "--require-hashes" in done.stderr


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_each_extra_that_another_of_its_packages_asks_for(lock: str) -> None:
    pins = {
        pin["name"]: set((pin["extras"] or "[]")[1:-1].split(","))
        for pin in PIN.finditer((CHECKOUT / lock).read_text())
    }
    lacking = [
        f"{name} asks for {requirement}"
        for name in pins
        for requirement in map(Requirement, requirements_of(name))
        if requirement.extras
        and requirement.name in pins
        and (requirement.marker is None or requirement.marker.evaluate({"extra": ""}))
        and not requirement.extras <= pins[requirement.name]
    ]
    assert not lacking


def test_every_lower_bound_of_the_program_is_a_version_that_its_tools_can_stand_beside() -> None:
    """What `make test-lowest` installs; a bound that a tool of the tests excludes could never be tried."""
    lowest = {
        requirement.name: str(next(iter(requirement.specifier)).version)
        for requirement in map(
            Requirement, tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["dependencies"]
        )
    }
    pins = {pin["name"] for pin in PIN.finditer((CHECKOUT / "requirements-dev.lock").read_text())}
    refused = [
        f"{name} refuses {requirement.name} {lowest[requirement.name]}: it asks for {requirement.specifier}"
        for name in sorted(pins)
        for requirement in map(Requirement, requirements_of(name))
        if requirement.name in lowest
        and (requirement.marker is None or requirement.marker.evaluate({"extra": ""}))
        and lowest[requirement.name] not in requirement.specifier
    ]
    assert not refused
