"""environment.yml, pyproject.toml and requirements.lock name the same set."""

import re
import tomllib

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from conftest import ROOT


def declared() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    return [Requirement(line) for line in [*project["dependencies"], *extras]]


def conda() -> dict[str, str]:
    """Return the packages of environment.yml with their version bounds."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    lines = environment["dependencies"]
    flat = [line for line in lines if isinstance(line, str)]
    flat += [line for part in lines if isinstance(part, dict) for line in part["pip"]]
    packages = {}
    for line in flat:
        if line.startswith("-e"):
            continue
        name, bounds = re.fullmatch(r"([A-Za-z0-9._-]+?)\s*([<>=!].*)?", line).groups()
        packages[canonicalize_name(name)] = bounds or ""
    return packages


def test_environment_yml_and_pyproject_agree():
    wanted = {
        canonicalize_name(requirement.name): set(str(requirement.specifier).split(","))
        for requirement in declared()
    }
    found = {
        name: set(bounds.replace(" ", "").split(","))
        for name, bounds in conda().items()
        if name != "python"
    }
    assert found == wanted


def test_python_range_agrees():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(conda()["python"].split(",")) == set(project["requires-python"].split(","))


def test_lock_satisfies_pyproject():
    """All but the doors to two vendors' stores, which few need and which pull in much."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    left_out = {Requirement(line).name for line in [*extras["s3"], *extras["gs"]]}
    locked = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)==([^ ;\\]+)", line):
            locked.setdefault(canonicalize_name(match[1]), set()).add(match[2])
    for requirement in declared():
        if requirement.name in left_out:
            continue
        versions = locked[canonicalize_name(requirement.name)]
        assert all(version in requirement.specifier for version in versions), requirement
