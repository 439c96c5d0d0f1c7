"""The files around the package agree with each other."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def names(requirements):
    return {re.split(r"[<>=!~\[ ]", requirement)[0].lower() for requirement in requirements}


def test_conda_users_get_the_same_packages():
    (pip,) = [
        part["pip"]
        for part in yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
        if isinstance(part, dict)
    ]
    listed = names(line for line in pip if not line.startswith("--"))
    assert listed == names(PROJECT["dependencies"]) | {"nbval"}
    assert "--constraint constraints.txt" in pip
    assert "--editable ." in pip


def test_every_requirement_is_pinned_by_name_and_version_only():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+", line) for line in lines)
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines}
    wanted = names(PROJECT["dependencies"]) | names(PROJECT["optional-dependencies"]["dev"])
    assert {name.replace("_", "-") for name in wanted} <= pinned


@pytest.mark.parametrize("package", ["jupyterlab", "papermill", "pandas", "matplotlib", "kubernetes", "azure-mgmt-containerservice", "scapy", "nbval"])  # fmt: skip
def test_the_packages_that_were_asked_for_are_there(package):
    assert package in names(PROJECT["dependencies"]) | names(PROJECT["optional-dependencies"]["dev"])


def test_the_top_level_stays_as_it_was_asked_for():
    allowed = {
        "notebooks", "labkit", "data", "environment.yml", "tests", "README.md",
        "pyproject.toml", "constraints.txt", "Makefile", ".ci", ".git", ".gitignore", ".gitattributes",
    }  # fmt: skip
    made = {".venv", "runs", "labkit.egg-info", ".pytest_cache", ".mypy_cache", ".ruff_cache"}
    assert {path.name for path in ROOT.iterdir()} - made <= allowed
